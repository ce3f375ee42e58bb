//! Start files for interactive shells in a box: its name in the prompt, a history of its own, and the way out for
//! `devbox hook`. The shim hands them to the shell it becomes; what the image and the user have is read first and stays.

use std::ffi::CString;

use crate::mount::Op;

/// What a box keeps of its own in its folder: histories, and where a session of the hook wants to go.
pub const STATE: &str = "/run/devbox/state";

/// The same in the box's folder on the host.
pub const STATE_FOLDER: &str = "state";

pub(super) fn add(ops: &mut Vec<Op>) {
    ops.push(Op::Dir(c"/run/devbox/state".into()));
    ops.push(Op::Dir(c"/run/devbox/shell".into()));
    for (name, content) in [
        (c"/run/devbox/shell/bashrc", include_str!("shell/bashrc")),
        (c"/run/devbox/shell/.zshenv", include_str!("shell/zshenv")),
        (c"/run/devbox/shell/.zshrc", include_str!("shell/zshrc")),
        (c"/run/devbox/shell/config.fish", include_str!("shell/config.fish")),
    ] {
        ops.push(Op::Write { at: CString::from(name), content: content.into(), mode: 0o644 });
    }
}
