//! Builds the shim (`src/sys/shim`): a static program without a C library, embedded in devbox.
//!
//! It is compiled by the same rustc for the same target; Cargo has no stable way to embed one binary in another.

#![allow(clippy::expect_used, clippy::disallowed_methods, clippy::print_stdout)] // a build script speaks to Cargo and may stop

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=src/sys/shim");
    println!("cargo:rerun-if-changed=src/sys/fakeroot.rs");
    // One shared library less to load at every start; panics do not unwind in release builds.
    println!("cargo:rustc-link-arg-bins=-static-libgcc");

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("shim");
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
