//! Builds the shim (`src/sys/shim`): a static program without a C library, embedded in devbox.
//!
//! It is compiled by the same rustc for the same target; Cargo has no stable way to embed one binary in another.

#![allow(clippy::expect_used, clippy::disallowed_methods, clippy::print_stdout)] // a build script speaks to Cargo and may stop

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=src/sys/shim");
    println!("cargo:rerun-if-changed=src/sys/fakeroot.rs");
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    link_unwinder_in(&folder);

    let out = folder.join("shim");
    let rustc = env::var_os("RUSTC").expect("cargo sets RUSTC");
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let mut command = Command::new(rustc);
    command
        .args(["--crate-name", "shim", "--crate-type", "bin", "--edition", "2024", "--target", &target])
        .args([
            "-C",
            "panic=abort",
            "-C",
            "opt-level=s",
            "-C",
            "strip=symbols",
            "-C",
            "codegen-units=1",
            "-C",
            "relocation-model=static",
        ])
        .args(["-C", "link-arg=-nostartfiles", "-C", "link-arg=-nostdlib", "-C", "link-arg=-static"])
        .args(["-C", "link-arg=-Wl,--build-id=none", "-C", "link-arg=-Wl,-z,noexecstack"])
        .arg("-o")
        .arg(&out)
        .arg("src/sys/shim/main.rs");
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut argument = std::ffi::OsString::from("linker=");
        argument.push(linker);
        command.arg("-C").arg(argument);
    }
    let status = command.status().expect("rustc can be run");
    assert!(
        status.success(),
        "the shim could not be built for {target} (x86_64 and aarch64 Linux are supported)"
    );
}

/// Takes what is needed of libgcc's unwinder from its archive, where the compiler has it: a shared library less to
/// load at every start, a tenth of the time to join a box.
///
/// rustc asks for `gcc_s` by name. The linker looks into `folder` first and finds a linker script that leads on.
fn link_unwinder_in(folder: &Path) {
    if env::var_os("HOST") != env::var_os("TARGET") {
        return;
    }
    let compiler = env::var_os("RUSTC_LINKER").or_else(|| env::var_os("CC")).unwrap_or_else(|| "cc".into());
    let answer = Command::new(&compiler).arg("-print-file-name=libgcc_eh.a").output();
    let path = answer.ok().and_then(|answer| String::from_utf8(answer.stdout).ok()).unwrap_or_default();
    // a compiler that does not have it says the bare name
    if Path::new(path.trim()).is_absolute() {
        fs::write(folder.join("libgcc_s.so"), format!("INPUT(\"{}\")\n", path.trim()))
            .expect("OUT_DIR can be written");
        println!("cargo:rustc-link-search=native={}", folder.display());
    }
}
