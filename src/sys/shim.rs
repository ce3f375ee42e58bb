//! The embedded in-box program; its source and its two purposes are in `src/sys/shim/main.rs`.

/// A static executable.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shim"));
