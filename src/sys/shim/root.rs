//! `sudo`, `su` and `doas` for a box with one id: root of a nested user namespace (user_namespaces(7)).
//!
//! Inside, every file of the box belongs to root, because every file belongs to the one id there is. Other users
//! can't exist; asking for one is an error that says so.

use core::ffi::{CStr, c_char};

use crate::kernel::{self, Arguments, exit};
use crate::owners;
use crate::path::{self, Failure};
use crate::text::{Pointers, Text};

const O_WRONLY: usize = 1;

/// What a command line asked for.
struct Request {
    /// Index of the command's first word, or argc.
    command: usize,
    /// A shell instead of a command; with `-c` its argument.
    shell: Option<Option<*const c_char>>,
    /// Start in root's home.
    login: bool,
}

/// Never returns: becomes the command, or says why not.
pub fn become_root(name: &[u8], arguments: &Arguments) -> ! {
    let request = match name {
        b"sudo" => sudo(arguments),
        b"su" => su(arguments),
        b"doas" => doas(arguments),
        _ => fail(&[name, b": not a name this program answers to (sudo, su, doas)"], 125),
    };
    let (uid, gid) = kernel::ids();
    if uid != 0 {
        enter_namespace(uid, gid);
    }
    if owners::load_filter(arguments).is_err() {
        fail(&[name, b": the kernel refused the system-call filter that package managers need"], 125);
    }
    run(name, arguments, &request, uid, gid)
}

/// Makes the caller, `uid` and `gid`, root of a user namespace in which nobody else is.
pub fn enter_namespace(uid: u32, gid: u32) {
    if kernel::unshare_user().is_err() {
        fail(&[b"devbox: this box may not make user namespaces, so there is no root in it"], 125);
    }
    put(c"/proc/self/setgroups", b"deny");
    for (path, id) in [(c"/proc/self/uid_map", uid), (c"/proc/self/gid_map", gid)] {
        let mut map = Text::<32>::new();
        put(path, map.add(b"0 ").add_number(id).add(b" 1").bytes());
    }
}

fn put(path: &CStr, content: &[u8]) {
    match kernel::open(path, O_WRONLY) {
        Ok(fd) => {
            kernel::write(fd, content);
            kernel::close(fd);
        }
        Err(_) => fail(&[b"sudo: cannot write ", path.to_bytes()], 125),
    }
}

fn sudo(arguments: &Arguments) -> Request {
    let mut request = Request { command: 1, shell: None, login: false };
    while let Some(word) = arguments.get(request.command) {
        match word {
            b"--" => {
                request.command += 1;
                break;
            }
            b"-u" | b"--user" | b"-g" | b"--group" => {
                require_root(b"sudo", arguments.get(request.command + 1).unwrap_or(b""));
                request.command += 1;
            }
            b"-p" | b"-C" | b"-r" | b"-t" | b"-T" | b"-h" => request.command += 1,
            b"-D" | b"--chdir" => {
                request.command += 1;
                if let Some(folder) = arguments.pointer(request.command)
                    && kernel::chdir(folder).is_err()
                {
                    fail(&[b"sudo: no such folder"], 1);
                }
            }
            b"-i" | b"--login" => {
                request.login = true;
                request.shell = Some(None);
            }
            b"-s" | b"--shell" => request.shell = Some(None),
            b"-v" | b"-k" | b"-K" | b"--validate" | b"--reset-timestamp" | b"-l" if arguments.get(2).is_none() => exit(0),
            _ => {
                if let Some(user) = word.strip_prefix(b"--user=") {
                    require_root(b"sudo", user);
                } else if let Some(user) = word.strip_prefix(b"-u") {
                    require_root(b"sudo", user);
                } else if !word.starts_with(b"-") && !is_assignment(word) {
                    break;
                }
            }
        }
        request.command += 1;
    }
    if arguments.get(request.command).is_none() && request.shell.is_none() {
        fail(&[b"usage: sudo [-u root] [-i] [-s] [VAR=value] COMMAND [ARGUMENT...]"], 1);
    }
    request
}

fn su(arguments: &Arguments) -> Request {
    let mut request = Request { command: usize::MAX, shell: Some(None), login: false };
    let mut index = 1;
    let mut user: &[u8] = b"root";
    while let Some(word) = arguments.get(index) {
        match word {
            b"-" | b"-l" | b"--login" => request.login = true,
            b"-c" | b"--command" => {
                index += 1;
                request.shell = Some(arguments.pointer(index));
            }
            b"-s" | b"--shell" | b"-g" | b"-G" => index += 1,
            _ if word.starts_with(b"-") => {}
            _ => user = word,
        }
        index += 1;
    }
    require_root(b"su", user);
    request
}

fn doas(arguments: &Arguments) -> Request {
    let mut request = Request { command: 1, shell: None, login: false };
    while let Some(word) = arguments.get(request.command) {
        match word {
            b"-u" => {
                request.command += 1;
                require_root(b"doas", arguments.get(request.command).unwrap_or(b""));
            }
            b"-s" => request.shell = Some(None),
            b"-n" => {}
            _ => break,
        }
        request.command += 1;
    }
    if arguments.get(request.command).is_none() && request.shell.is_none() {
        fail(&[b"usage: doas [-u root] [-s] COMMAND [ARGUMENT...]"], 1);
    }
    request
}

fn require_root(name: &[u8], user: &[u8]) {
    if user != b"root" && user != b"0" && user != b"#0" {
        fail(&[name, b": cannot become `", user, b"`: this box has one user id; `ids = \"full\"` in the profile gives it more"], 1);
    }
}

fn is_assignment(word: &[u8]) -> bool {
    word.iter().position(|byte| *byte == b'=').is_some_and(|at| at > 0 && !word[..at].contains(&b'/'))
}

fn run(name: &[u8], arguments: &Arguments, request: &Request, uid: u32, gid: u32) -> ! {
    let mut sudo_uid = Text::<32>::new();
    let mut sudo_gid = Text::<32>::new();
    let mut sudo_user = Text::<300>::new();
    let caller = arguments.variable(b"USER").map_or(&b"me"[..], CStr::to_bytes);
    let mut envp = Pointers::new();
    let own = [
        Some(c"HOME=/root"),
        Some(c"USER=root"),
        Some(c"LOGNAME=root"),
        Some(c"APT_CONFIG=/run/devbox/apt.conf"),
        sudo_user.add(b"SUDO_USER=").add(caller).c_str(),
        sudo_uid.add(b"SUDO_UID=").add_number(uid).c_str(),
        sudo_gid.add(b"SUDO_GID=").add_number(gid).c_str(),
    ];
    for entry in own.into_iter().flatten() {
        envp.push(entry.as_ptr());
    }
    let mut index = 1;
    while name != b"su" && index < request.command {
        if let (Some(word), Some(pointer)) = (arguments.get(index), arguments.pointer(index))
            && is_assignment(word)
            && !word.starts_with(b"-")
        {
            envp.push(pointer);
        }
        index += 1;
    }
    envp.extend(arguments.environment(), is_inherited);

    if request.login && kernel::chdir(c"/root".as_ptr()).is_err() {
        let _ = kernel::chdir(c"/".as_ptr());
    }
    match request.shell {
        None => {
            let argv = arguments.after(request.command);
            let command = arguments.get(request.command).unwrap_or(b"");
            search(name, command, argv, envp.as_ptr(), arguments.variable(b"PATH"))
        }
        Some(inline) => {
            let mut argv = Pointers::new();
            argv.push(if request.login { c"-bash".as_ptr() } else { c"bash".as_ptr() });
            if let Some(script) = inline {
                argv.push(c"-c".as_ptr());
                argv.push(script);
            } else if name != b"su" && arguments.get(request.command).is_some() {
                // sudo -i COMMAND: the words as one script's arguments, so that no quoting is lost.
                argv.push(c"-c".as_ptr());
                argv.push(c"\"$@\"".as_ptr());
                argv.push(c"sudo".as_ptr());
                let mut index = request.command;
                while let Some(word) = arguments.pointer(index) {
                    argv.push(word);
                    index += 1;
                }
            }
            kernel::execve(c"/bin/bash".as_ptr(), argv.as_ptr(), envp.as_ptr());
            argv.set(0, if request.login { c"-sh".as_ptr() } else { c"sh".as_ptr() });
            kernel::execve(c"/bin/sh".as_ptr(), argv.as_ptr(), envp.as_ptr());
            fail(&[name, b": the image has no /bin/bash and no /bin/sh"], 127)
        }
    }
}

/// Becomes the command, as execvp(3).
fn search(name: &[u8], command: &[u8], argv: *const *const c_char, envp: *const *const c_char, path: Option<&CStr>) -> ! {
    // Our own folder comes first in PATH; `sudo sudo …` is fine, it is root already.
    match path::look_up(command, path, |file| kernel::execve(file.as_ptr(), argv, envp)) {
        Failure::Lookup(kernel::ENOENT) => fail(&[name, b": ", command, b": command not found"], 127),
        _ => fail(&[name, b": ", command, b": cannot be executed"], 126),
    }
}

/// False for variables that root has of its own.
fn is_inherited(entry: &[u8]) -> bool {
    const REPLACED: [&[u8]; 8] =
        [b"HOME=", b"USER=", b"LOGNAME=", b"MAIL=", b"SUDO_USER=", b"SUDO_UID=", b"SUDO_GID=", b"APT_CONFIG="];
    !REPLACED.iter().any(|name| entry.starts_with(name))
}

pub fn fail(words: &[&[u8]], status: i32) -> ! {
    for word in words {
        kernel::write(2, word);
    }
    kernel::write(2, b"\n");
    exit(status)
}
