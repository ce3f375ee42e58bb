//! `exec`: from a child of pid 1 to a session's command.

use core::ffi::CStr;
use core::ops::Range;

use crate::job;
use crate::kernel::{self, Arguments, EINVAL, ENOENT, exit};
use crate::owners;
use crate::path::{self, Failure};
use crate::root;
use crate::text::{self, Pointers, Text};

/// Tag and steps of `sandbox::wire`, which has a test that holds them equal.
const TAG_FAILED: u8 = 2;
const STEP_LOOKUP: u8 = 3;
const STEP_FILTER: u8 = 4;
const STEP_EXEC: u8 = 5;
const STEP_FOLDER: u8 = 6;

/// `exec MODE LEADER STATUS_FD COUNT FOLDER… COUNT PROGRAM… [ARGV0 ARGUMENT…]`: goes to the first folder that can be gone to
/// and becomes the first program that is there. Without an ARGV0 the program is a shell: it is told its own name, and
/// SHELL the others.
///
/// MODE is `plain`, or `root` of a nested user namespace, with the filter of `fakeroot`. LEADER is `self`, or `parent`
/// for a program that is to be a job of the terminal at descriptor 0 (see `job`). When something fails, a
/// frame as `sandbox::wire` reads it goes to STATUS_FD, which the program does not get.
pub fn start(arguments: &Arguments) -> ! {
    let status = arguments.get(3).map_or(-1, text::number);
    kernel::close_on_exec(status);
    let as_root = arguments.get(1) == Some(b"root");
    if as_root {
        let (uid, gid) = kernel::ids();
        root::enter_namespace(uid, gid);
    }
    // Until the program is there, nobody in the box may take hold of STATUS_FD. Maps can't be written any more.
    kernel::set_undumpable();
    let folders = list(arguments, 4);
    let programs = list(arguments, folders.end);
    let arguments_at = programs.end;
    // First, for a folder may be named by a descriptor of ours.
    let mut reason = ENOENT;
    let there = folders.filter_map(|at| arguments.pointer(at)).any(|folder| match kernel::chdir(folder) {
        Ok(_) => kernel::is_inside(),
        Err(errno) => {
            reason = errno;
            false
        }
    });
    if !there {
        report(status, STEP_FOLDER, reason);
    }
    if as_root && let Err(errno) = owners::load_filter(arguments) {
        report(status, STEP_FILTER, errno);
    }
    if arguments.get(2) == Some(b"parent") {
        job::fork(status);
    }
    let is_shell = arguments.get(arguments_at).is_none();
    let mut worst = ENOENT;
    for program in programs.filter_map(|at| arguments.get(at)) {
        let failure = path::look_up(program, arguments.variable(b"PATH"), |file| match is_shell {
            true => become_shell(file, arguments),
            false => kernel::execve(file.as_ptr(), arguments.after(arguments_at), arguments.environment()),
        });
        match failure {
            Failure::Lookup(ENOENT) => {}
            Failure::Lookup(errno) => worst = errno,
            Failure::Exec(errno) => report(status, STEP_EXEC, errno),
        }
    }
    report(status, STEP_LOOKUP, worst)
}

/// Where the words of a list are that is headed by their count.
fn list(arguments: &Arguments, at: usize) -> Range<usize> {
    let count = arguments.get(at).map_or(0, text::number).max(0) as usize;
    at + 1..at + 1 + count
}

/// Start files of ours for shells, which the box has unless it was started by a devbox that knew none (`rootfs::shell`).
pub const BASH: &CStr = c"/run/devbox/shell/bashrc";
const FISH: &CStr = c"source /run/devbox/shell/config.fish";
const ZSH: &CStr = c"ZDOTDIR=/run/devbox/shell";

/// Returns only on failure.
fn become_shell(file: &CStr, arguments: &Arguments) -> i32 {
    let (mut shell, mut data) = (Text::<4200>::new(), Text::<300>::new());
    let Some(shell) = shell.add(b"SHELL=").add(file.to_bytes()).c_str() else { return EINVAL };
    let at = file.to_bytes().iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let name = file.to_bytes_with_nul()[at..].as_ptr().cast();
    let mut argv = [name, core::ptr::null(), core::ptr::null(), core::ptr::null()];
    let mut own = None;
    if kernel::exists(BASH) {
        match &file.to_bytes()[at..] {
            b"bash" => argv[1..3].copy_from_slice(&[c"--rcfile".as_ptr(), BASH.as_ptr()]),
            b"fish" => {
                argv[1..3].copy_from_slice(&[c"--init-command".as_ptr(), FISH.as_ptr()]);
                // the file takes it back
                let kept = arguments.variable(b"DEVBOX_HISTORY");
                own = kept.and_then(|folder| data.add(b"XDG_DATA_HOME=").add(folder.to_bytes()).c_str());
            }
            b"zsh" => own = Some(ZSH),
            _ => {}
        }
    }
    let mut envp = Pointers::new();
    let name_of = |entry: &[u8]| entry.iter().position(|byte| *byte == b'=').unwrap_or(entry.len());
    let is_own = |entry: &[u8]| {
        own.is_some_and(|own| own.to_bytes()[..name_of(own.to_bytes())] == entry[..name_of(entry)])
    };
    envp.extend(arguments.environment(), |entry| !is_own(entry));
    envp.push(shell.as_ptr());
    if let Some(own) = own {
        envp.push(own.as_ptr());
    }
    kernel::execve(file.as_ptr(), argv.as_ptr(), envp.as_ptr())
}

fn report(status: i32, step: u8, errno: i32) -> ! {
    let mut frame = [0; 10];
    let (length, rest) = frame.split_at_mut(4);
    length.copy_from_slice(&6_u32.to_ne_bytes());
    rest[0] = TAG_FAILED;
    rest[1] = step;
    rest[2..].copy_from_slice(&errno.to_ne_bytes());
    kernel::write(status, &frame);
    exit(126)
}
