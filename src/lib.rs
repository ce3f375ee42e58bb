//! devbox: rootless, image-based developer boxes for Linux.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod dirs;
pub mod fetch;
pub mod oci;
pub mod plan;
pub mod pull;
pub mod store;
pub mod sys;

/// Runs the command line and gives the process's exit code.
pub fn run() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
