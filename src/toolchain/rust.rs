//! Rust: `Cargo.toml`, `rust-toolchain.toml`, `rust-toolchain`, and what `Cargo.lock` tells of libraries in C.

use toml::Value;

use super::folder::Folder;
use super::version::Version;
use super::{Step, Toolchain, asked};

/// Crates that want something of the system, and Debian's packages of it.
const SYSTEM: &[(&str, &[&str])] = &[
    ("alsa-sys", &["pkg-config", "libasound2-dev"]),
    ("bindgen", &["clang", "libclang-dev"]),
    ("clang-sys", &["clang", "libclang-dev"]),
    ("cmake", &["cmake"]),
    ("glib-sys", &["pkg-config", "libglib2.0-dev"]),
    ("gtk-sys", &["pkg-config", "libgtk-3-dev"]),
    ("gtk4-sys", &["pkg-config", "libgtk-4-dev"]),
    ("libdbus-sys", &["pkg-config", "libdbus-1-dev"]),
    ("libsqlite3-sys", &["pkg-config", "libsqlite3-dev"]),
    ("libudev-sys", &["pkg-config", "libudev-dev"]),
    ("mysqlclient-sys", &["pkg-config", "default-libmysqlclient-dev"]),
    ("openssl-sys", &["pkg-config", "libssl-dev"]),
    ("pcap", &["libpcap-dev"]),
    ("pkg-config", &["pkg-config"]),
    ("pq-sys", &["pkg-config", "libpq-dev"]),
    ("prost-build", &["protobuf-compiler"]),
    ("protobuf-codegen", &["protobuf-compiler"]),
    ("wayland-sys", &["pkg-config", "libwayland-dev"]),
    ("x11", &["pkg-config", "libx11-dev"]),
    ("yeslogic-fontconfig-sys", &["pkg-config", "libfontconfig-dev"]),
];

pub(super) fn find(folder: &Folder<'_>) -> Option<Toolchain> {
    let told_by = folder.first(&["Cargo.toml", "rust-toolchain.toml", "rust-toolchain"])?;
    let mut rust = Toolchain::new("Rust", "rust-env", "docker.io/library/rust", &folder.shown(told_by));
    rust.debian = &["cargo", "rustc"];
    pinned(folder, &mut rust);
    if rust.tag.is_none()
        && let Some(least) = least(folder)
    {
        let file = folder.shown("Cargo.toml");
        rust.remarks.push(format!(
            "{file} asks for {least} or later; `rust:{}` is the oldest that will do.",
            least.cut(2)
        ));
    }
    let lock = folder.text("Cargo.lock").unwrap_or_default();
    for name in lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')) {
        if let Some((name, packages)) = SYSTEM.iter().find(|(known, _)| *known == name) {
            rust.package(packages, &format!("{} has {name}", folder.shown("Cargo.lock")));
        }
    }
    Some(rust)
}

/// What the project's own toolchain file says.
fn pinned(folder: &Folder<'_>, rust: &mut Toolchain) {
    // rustup takes the older name first
    let Some((file, text)) = ["rust-toolchain", "rust-toolchain.toml"]
        .into_iter()
        .find_map(|file| Some((file, folder.text(file)?)))
    else {
        return;
    };
    let shown = folder.shown(file);
    let table = text.parse::<toml::Table>().ok();
    let toolchain = table.as_ref().and_then(|table| table.get("toolchain"));
    let channel = match toolchain.and_then(|toolchain| toolchain.get("channel")) {
        Some(channel) => channel.as_str().unwrap_or_default(),
        None if toolchain.is_some() => "stable",
        None => text.trim(),
    };
    // `1.85-x86_64-unknown-linux-gnu` names the machine as well
    let version =
        Version::parse(channel.split('-').next().unwrap_or_default()).filter(|version| version.len() > 1);
    if let Some(version) = version {
        rust.tag = asked(&version, &shown);
    } else if !is_channel(channel) {
        folder.ignore(file, "its channel is none that rustup knows");
        return;
    }
    let more = ["components", "targets"].iter().any(|key| {
        toolchain
            .and_then(|toolchain| toolchain.get(key))
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty())
    });
    // an image of 1.85 has 1.85.1 by that name, and rustup would fetch 1.85 beside it at the first use
    let whole = rust.tag.as_ref().is_some_and(|tag| tag.what.matches('.').count() == 2);
    if more || !whole {
        rust.steps.push(Step {
            // the first does it with rustup before 1.28, the second since
            command: folder.here("rustup show active-toolchain || rustup toolchain install"),
            files: vec![shown.clone()],
            why: format!("brings what {shown} asks for"),
        });
    }
}

/// `stable`, `beta`, `nightly`, with a date or not.
fn is_channel(text: &str) -> bool {
    let (name, date) = text.split_once('-').unwrap_or((text, ""));
    matches!(name, "stable" | "beta" | "nightly")
        && date.len() <= 64
        && date.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// `rust-version` of the package or the workspace.
fn least(folder: &Folder<'_>) -> Option<Version> {
    let manifest = folder.text("Cargo.toml")?.parse::<toml::Table>().ok()?;
    let package = manifest.get("package");
    let workspace = manifest.get("workspace").and_then(|workspace| workspace.get("package"));
    let version = |table: &Value| Version::parse(table.get("rust-version")?.as_str()?);
    package.and_then(version).or_else(|| workspace.and_then(version))
}
