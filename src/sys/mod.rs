//! System calls, each under its own name: the only place with `unsafe`.
//!
//! Everything else in the crate is safe code over these wrappers, `nix` and `std`.

#![allow(unsafe_code)]

pub mod fakeroot;
pub mod mount;
pub mod process;
pub mod shim;
pub mod tty;
