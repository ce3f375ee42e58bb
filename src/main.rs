//! The `devbox` command: the library's answer is its exit code, nothing else.

#![no_main]

devbox::entry!(devbox::run);
