//! What `devbox` promises, seen from outside. Each file is one topic; `harness` is what they stand on.
//! `tests/run` installs what they need and runs them all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods
)]
#![allow(missing_docs, unreachable_pub, reason = "tests are read, not linked to")]

#[macro_use]
mod harness;

// The house itself: who may import whom, where `unsafe` and printing may stand.
mod floors;

// The door: arguments, help, exit codes; profiles; plans; the documents and completions made from them.
mod cli;
mod completions;
mod docs;
mod doctor;
mod editors;
mod init;
mod plan;
mod profile;
mod scripts;
mod trust;

// Images: from a registry, by every road, and what must not come in.
mod lock;
mod pull;
mod registry;
mod setup;
mod sources;
mod store;
mod toxic;

// The box: what stands in it, who one is in it, how commands live in it.
mod apt;
mod boxes;
mod boxes_as_data;
mod caches;
mod cage;
mod config;
mod drivers;
mod fs;
mod full_ids;
mod host_box;
mod ids;
mod life;
mod limits;
mod network;
mod owners;
mod packages;
mod project;
mod secrets;
mod session;
mod shell;
mod sudo;
mod syscalls;
mod tty;

// Wrong input and wrong moments, and what must not leak.
mod crash;
mod hostile;
mod hostile_project;
mod leaks;
