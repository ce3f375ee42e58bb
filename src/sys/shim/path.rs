//! Programs by name, as execvp(3) finds them.

use core::ffi::CStr;

use crate::kernel::{self, EACCES, ENOENT, ENOTDIR};
use crate::text::Text;

const DEFAULT: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why no program was run.
pub enum Failure {
    /// None is there (ENOENT), or one that may not be run (EACCES).
    Lookup(i32),
    /// One is there, and the kernel does not take it.
    Exec(i32),
}

/// Tries `attempt`, which gives an errno, on each file `command` may stand for: itself when it has a slash, else one a
/// folder of `path`. Returns when all failed.
pub fn look_up(command: &[u8], path: Option<&CStr>, mut attempt: impl FnMut(&CStr) -> i32) -> Failure {
    let mut file = Text::<4200>::new();
    let mut worst = ENOENT;
    for folder in path.map_or(DEFAULT, CStr::to_bytes).split(|byte| *byte == b':') {
        file.clear();
        if !command.contains(&b'/') {
            file.add(if folder.is_empty() { b"." } else { folder }).add(b"/");
        }
        let Some(program) = file.add(command).c_str() else { continue };
        match attempt(program) {
            ENOENT | ENOTDIR => {}
            EACCES => worst = EACCES,
            errno => return Failure::Exec(errno),
        }
        if command.contains(&b'/') {
            // When it is there all the same, its interpreter is not.
            return if worst == ENOENT && kernel::exists(program) { Failure::Exec(ENOENT) } else { Failure::Lookup(worst) };
        }
    }
    Failure::Lookup(worst)
}
