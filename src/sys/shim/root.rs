//! `sudo`, `su` and `doas` for a box with one id: root of a nested user namespace (user_namespaces(7)).
//!
//! Inside, every file of the box belongs to root, because every file belongs to the one id there is. Other users
//! can't exist; asking for one is an error that says so.

use core::ffi::{CStr, c_char};

use crate::kernel::{self, Arguments, ENOENT, exit};
use crate::notify;
use crate::options::{self, Request, Shell, lists};
use crate::owners;
use crate::path::{self, Failure};
use crate::session;
use crate::text::{self, Pointers, Text};

const O_WRONLY: usize = 1;
/// What a login keeps of the caller's variables: the terminal's, the locale, and those by which the box is known.
const LOGIN: &[u8] = b"TERM,COLORTERM,NO_COLOR,TZ,LANG,LANGUAGE,LC_ALL,LC_CTYPE,LC_MESSAGES,HOSTNAME,container,DEVBOX";
const LOGIN_PATH: &CStr = c"PATH=/run/devbox/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where the shims are, first in PATH.
const SHIMS: &[u8] = b"/run/devbox/bin";

/// Never returns: becomes the command, or says why not.
pub fn become_root(name: &[u8], arguments: &Arguments) -> ! {
    let (uid, gid) = kernel::ids();
    if has_more_ids() {
        pass_on(name, arguments, uid);
    }
    let request = match name {
        b"sudo" => options::sudo(arguments),
        b"su" => options::su(arguments),
        b"doas" => options::doas(arguments),
        _ => fail(&[name, b": not a name this program answers to (sudo, su, doas)"], 125),
    };
    if uid != 0 {
        enter_namespace(uid, gid);
    }
    if owners::load_filter(arguments).is_err() {
        fail(&[name, b": the kernel refused the system-call filter that package managers need"], 125);
    }
    run(name, arguments, &request, uid, gid)
}

/// Whether the box has more ids than one: a second line in its map, or a first of more.
pub fn has_more_ids() -> bool {
    let mut map = [0; 256];
    let map = text::read(c"/proc/self/uid_map", &mut map);
    let mut fields = map.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    fields.nth(2).is_some_and(|size| size != b"1") || fields.next().is_some()
}

/// In a box with more ids the image's own program does it, for root; nobody else can become another.
fn pass_on(name: &[u8], arguments: &Arguments, uid: u32) -> ! {
    if uid != 0 {
        let devbox = arguments.variable(b"DEVBOX").map_or(&b"BOX"[..], CStr::to_bytes);
        fail(
            &[
                name,
                b": no session gains rights in a box with `full` ids\nhint: on the host, `devbox run --root ",
                devbox,
                b" -- COMMAND` runs one as root, `devbox enter --root ",
                devbox,
                b"` opens a shell",
            ],
            1,
        );
    }
    let path = arguments.variable(b"PATH").map_or(&b""[..], CStr::to_bytes);
    let mut own = Text::<8192>::new();
    for folder in path.split(|byte| *byte == b':').filter(|folder| *folder != SHIMS) {
        own.add(if own.bytes().is_empty() { b"" } else { b":" }).add(folder);
    }
    let execute = |file: &CStr| kernel::execve(file.as_ptr(), arguments.after(0), arguments.environment());
    path::look_up(name, own.c_str(), execute);
    // Without one, root needs nobody's help to stay root.
    let request = match name {
        b"sudo" => options::sudo(arguments),
        b"doas" => options::doas(arguments),
        _ => options::su(arguments),
    };
    run(name, arguments, &request, 0, 0)
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

fn run(name: &[u8], arguments: &Arguments, request: &Request, uid: u32, gid: u32) -> ! {
    let mut passwd = [0; 32 << 10];
    let roots = roots_shell(text::read(c"/etc/passwd", &mut passwd));
    let callers = arguments.variable(b"SHELL").map_or(roots, CStr::to_bytes);
    let shell = match request.shell {
        None => None,
        Some(Shell::Root) => Some(roots),
        Some(Shell::Caller) => Some(callers),
        Some(Shell::Named(named)) => Some(named),
    };

    let mut texts = [const { Text::<300>::new() }; 4];
    let [user, user_id, group_id, doer] = &mut texts;
    let caller = arguments.variable(b"USER").map_or(&b"me"[..], CStr::to_bytes);
    let (mut path, mut own_shell) = (Text::<8192>::new(), Text::<300>::new());
    let own = [
        Some(c"USER=root"),
        Some(c"LOGNAME=root"),
        Some(c"APT_CONFIG=/run/devbox/apt.conf").filter(|_| !has_more_ids()),
        Some(c"HOME=/root").filter(|_| !request.keep_home),
        user.add(b"SUDO_USER=").add(caller).c_str().filter(|_| name == b"sudo"),
        user_id.add(b"SUDO_UID=").add_number(uid).c_str().filter(|_| name == b"sudo"),
        group_id.add(b"SUDO_GID=").add_number(gid).c_str().filter(|_| name == b"sudo"),
        doer.add(b"DOAS_USER=").add(caller).c_str().filter(|_| name == b"doas"),
        own_shell.add(b"SHELL=").add(shell.unwrap_or(roots)).c_str().filter(|_| request.login || name == b"su"),
        if request.login && !request.keep_all { Some(LOGIN_PATH) } else { with_system_folders(arguments, &mut path) },
    ];
    let mut envp = Pointers::new();
    // SAFETY: arguments and texts, all C strings that stay until the command is there.
    let mut add = |entry| unsafe { envp.push_variable(entry) };
    request.assignments.clone().filter_map(|at| arguments.pointer(at)).for_each(&mut add);
    own.into_iter().flatten().map(CStr::as_ptr).for_each(&mut add);
    arguments.each_variable(|entry, text| {
        let name = text.split(|byte| *byte == b'=').next().unwrap_or(text);
        let to_login = || request.keep_all || lists(LOGIN, name) || lists(request.kept, name);
        let replaced = matches!(name, b"MAIL" | b"SUDO_USER" | b"SUDO_UID" | b"SUDO_GID" | b"DOAS_USER");
        if !replaced && (!request.login || to_login()) {
            add(entry);
        }
    });

    if request.login && kernel::chdir(c"/root".as_ptr()).is_err() {
        let _ = kernel::chdir(c"/".as_ptr());
    }
    if let Some(first) = request.close_from {
        notify::close_from(first);
    }
    if request.background && kernel::fork().is_ok_and(|child| child != 0) {
        exit(0);
    }
    match shell {
        None => {
            let command = arguments.get(request.words).unwrap_or(b"");
            let argv = arguments.after(request.words);
            search(name, command, argv, envp.as_ptr(), envp.get(b"PATH="))
        }
        Some(shell) => become_shell(name, shell, arguments, request, &envp),
    }
}

/// The last field of root's line.
fn roots_shell(passwd: &[u8]) -> &[u8] {
    let root = passwd.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"root:"));
    let shell = root.and_then(|line| line.rsplit(|byte| *byte == b':').next());
    shell.filter(|shell| shell.starts_with(b"/")).unwrap_or(b"/bin/sh")
}

/// The caller's PATH, and behind it the folders of the system's programs that it lacks: few users have them.
fn with_system_folders<'a>(arguments: &Arguments, text: &'a mut Text<8192>) -> Option<&'a CStr> {
    let path = arguments.variable(b"PATH")?.to_bytes();
    text.add(b"PATH=").add(path);
    for folder in [&b"/usr/local/sbin"[..], b"/usr/sbin", b"/sbin"] {
        if !path.split(|byte| *byte == b':').any(|there| there == folder) {
            text.add(b":").add(folder);
        }
    }
    text.c_str()
}

fn become_shell(name: &[u8], shell: &[u8], arguments: &Arguments, request: &Request, envp: &Pointers) -> ! {
    let words = arguments.after(request.words);
    let mut argv = Pointers::new();
    argv.push(c"".as_ptr());
    if let Some(script) = request.script {
        argv.push(c"-c".as_ptr());
        argv.push(script.as_ptr().cast());
    } else if name != b"su" && arguments.get(request.words).is_some() {
        // sudo -i COMMAND: the words as a script's arguments, so that no quoting is lost.
        for word in [c"-c", c"\"$@\"", c"sudo"] {
            argv.push(word.as_ptr());
        }
    }
    let alone = !request.login && request.script.is_none() && arguments.get(request.words).is_none();
    let is_there = Text::<300>::new().add(shell).c_str().is_some_and(kernel::exists);
    if alone && text::base_name(shell) == b"bash" && is_there && kernel::exists(session::BASH) {
        // its prompt names the box like that of a session
        argv.push(c"--rcfile".as_ptr());
        argv.push(session::BASH.as_ptr());
    }
    argv.extend(words, |_| true);
    let named = matches!(request.shell, Some(Shell::Named(_)));
    for program in [shell, b"/bin/bash", b"/bin/sh"] {
        let (mut file, mut first) = (Text::<300>::new(), Text::<300>::new());
        first.add(if request.login { b"-" } else { b"" }).add(text::base_name(program));
        if let (Some(file), Some(first)) = (file.add(program).c_str(), first.c_str()) {
            argv.set(0, first.as_ptr());
            kernel::execve(file.as_ptr(), argv.as_ptr(), envp.as_ptr());
        }
        if named {
            break;
        }
    }
    fail(&[name, b": ", shell, b": the image has no such shell"], 127)
}

/// Becomes the command, as execvp(3).
fn search(name: &[u8], command: &[u8], argv: *const *const c_char, envp: *const *const c_char, path: Option<&CStr>) -> ! {
    // Our own folder comes first in PATH; `sudo sudo …` is fine, it is root already.
    match path::look_up(command, path, |file| kernel::execve(file.as_ptr(), argv, envp)) {
        Failure::Lookup(ENOENT) => fail(&[name, b": ", command, b": command not found"], 127),
        _ => fail(&[name, b": ", command, b": cannot be executed"], 126),
    }
}

pub fn fail(words: &[&[u8]], status: i32) -> ! {
    for word in words {
        kernel::write(2, word);
    }
    kernel::write(2, b"\n");
    exit(status)
}
