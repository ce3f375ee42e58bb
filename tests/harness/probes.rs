//! The programs of `tests/probes`, which try from within a box what no box should allow.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::host::{source, works};

/// A compiler, and a C library to link statically.
pub fn compiler() -> Result<(), String> {
    if works(&["cc", "--version"]) { Ok(()) } else { Err("no C compiler (Debian: gcc libc6-dev)".into()) }
}

/// Builds `probe` into `folder`.
pub fn build(folder: &Path) -> PathBuf {
    build_named(folder, "probe")
}

/// Builds the program of this name into `folder`.
pub fn build_named(folder: &Path, name: &str) -> PathBuf {
    let program = folder.join(name);
    let text = source().join("tests/probes").join(name).with_extension("c");
    let made =
        Command::new("cc").args(["-static", "-O1", "-Wall", "-o"]).args([&program, &text]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    program
}
