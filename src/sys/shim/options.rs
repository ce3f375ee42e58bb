//! What the command lines of `sudo`, `su` and `doas` ask for, each as its manual has it (sudo(8), su(1), doas(1)).

use core::ops::Range;

use crate::kernel::{self, Arguments, exit};
use crate::root::{fail, has_more_ids};

/// What a command line asked for.
pub struct Request {
    /// Where the command's words begin among the arguments, or those of a shell's script.
    pub words: usize,
    /// A shell instead of a command.
    pub shell: Option<Shell>,
    /// What the shell does, instead of what it reads.
    pub script: Option<&'static [u8]>,
    /// A fresh start in root's home.
    pub login: bool,
    /// Where `NAME=value` stand.
    pub assignments: Range<usize>,
    /// The caller's home stays.
    pub keep_home: bool,
    /// All of the caller's variables, to a login too.
    pub keep_all: bool,
    /// Names of variables that a login gets all the same, divided by commas.
    pub kept: &'static [u8],
    pub background: bool,
    /// Descriptors from here up are closed.
    pub close_from: Option<i32>,
}

/// Which shell; each is a C string.
pub enum Shell {
    /// Root's own.
    Root,
    /// The caller's SHELL, else root's.
    Caller,
    Named(&'static [u8]),
}

impl Request {
    const fn new() -> Self {
        Self {
            words: usize::MAX,
            shell: None,
            script: None,
            login: false,
            assignments: 0..0,
            keep_home: false,
            keep_all: false,
            kept: b"",
            background: false,
            close_from: None,
        }
    }
}

/// Options as getopt_long(3) takes them. Every value is the end of an argument, and so a C string.
struct Options<'a> {
    arguments: &'a Arguments,
    name: &'a [u8],
    /// Long names, and the letters they stand for.
    long: &'a [(&'a [u8], u8)],
    index: usize,
    /// Letters left of a word of several.
    letters: &'static [u8],
    /// What stood behind a `=`.
    given: Option<&'static [u8]>,
}

impl Options<'_> {
    /// The next option's letter; None at an operand, and after a `--`.
    fn next(&mut self) -> Option<u8> {
        if self.given.is_some() {
            self.refuse(b"a value where none belongs");
        }
        if let [letter, rest @ ..] = self.letters {
            self.letters = rest;
            return Some(*letter);
        }
        let word = self.arguments.get(self.index)?;
        if !word.starts_with(b"-") || word == b"-" {
            return None;
        }
        self.index += 1;
        if word == b"--" {
            return None;
        }
        if let Some(name) = word.strip_prefix(b"--") {
            let end = name.iter().position(|byte| *byte == b'=').unwrap_or(name.len());
            self.given = name.get(end + 1..);
            let known = self.long.iter().find(|(long, _)| *long == &name[..end]);
            return Some(known.map_or_else(|| self.refuse(word), |(_, letter)| *letter));
        }
        self.letters = &word[2..];
        Some(word[1])
    }

    fn value(&mut self) -> &'static [u8] {
        if let Some(given) = self.given.take() {
            return given;
        }
        if !self.letters.is_empty() {
            return core::mem::take(&mut self.letters);
        }
        self.index += 1;
        self.arguments.get(self.index - 1).unwrap_or_else(|| self.refuse(b"an option without its value"))
    }

    fn refuse(&self, what: &[u8]) -> ! {
        fail(&[self.name, b": ", what, b": not an option it has in a devbox"], 1)
    }

    /// Root is who one can become.
    fn require_root(&self, user: &[u8]) {
        if matches!(user, b"root" | b"0" | b"#0") {
            return;
        }
        let why: &[u8] = match has_more_ids() {
            true => b"`: the image has no program of this name that could",
            false => b"`: this box has one user id; `ids = \"full\"` in the profile gives it more",
        };
        fail(&[self.name, b": cannot become `", user, why], 1);
    }
}

pub fn sudo(arguments: &Arguments) -> Request {
    const LONG: [(&[u8], u8); 20] = [
        (b"background", b'b'),
        (b"bell", b'B'),
        (b"chdir", b'D'),
        (b"close-from", b'C'),
        (b"edit", b'e'),
        (b"group", b'g'),
        (b"help", b'?'),
        (b"list", b'l'),
        (b"login", b'i'),
        (b"no-update", b'N'),
        (b"non-interactive", b'n'),
        (b"preserve-env", b'E'),
        (b"preserve-groups", b'P'),
        (b"prompt", b'p'),
        (b"remove-timestamp", b'K'),
        (b"reset-timestamp", b'k'),
        (b"set-home", b'H'),
        (b"shell", b's'),
        (b"stdin", b'S'),
        (b"user", b'u'),
    ];
    const USAGE: &[u8] = b"usage: sudo [-EHbins] [-u root] [-D FOLDER] [VAR=value] COMMAND [ARGUMENT...]";
    let mut request = Request::new();
    let (mut set_home, mut idle) = (false, false);
    let mut options = Options { arguments, name: b"sudo", long: &LONG, index: 1, letters: b"", given: None };
    while let Some(option) = options.next() {
        match option {
            b'b' => request.background = true,
            b'C' => request.close_from = Some(crate::text::number(options.value())),
            b'D' => change_folder(b"sudo", options.value()),
            b'E' => match options.given.take() {
                Some(names) => request.kept = names,
                None => request.keep_all = true,
            },
            b'e' => fail(&[b"sudo: no sudoedit in a devbox; `sudo EDITOR FILE` edits as root"], 1),
            b'H' => set_home = true,
            b'i' => {
                request.login = true;
                request.shell = Some(Shell::Root);
            }
            b's' => request.shell = Some(Shell::Caller),
            b'u' | b'g' => {
                let user = options.value();
                options.require_root(user);
            }
            // Nobody is asked for a password.
            b'A' | b'B' | b'N' | b'n' | b'P' | b'S' => {}
            b'p' => drop(options.value()),
            b'k' | b'K' | b'v' => idle = true,
            b'l' => {
                kernel::write(1, b"(root) NOPASSWD: ALL\n");
                exit(0)
            }
            b'h' | b'?' => {
                kernel::write(1, USAGE);
                kernel::write(1, b"\n");
                exit(0)
            }
            letter => options.refuse(&[b'-', letter]),
        }
    }
    request.keep_home = !set_home && !request.login && (request.keep_all || lists(request.kept, b"HOME"));
    request.words = options.index;
    while arguments.get(request.words).is_some_and(is_assignment) {
        request.words += 1;
    }
    request.assignments = options.index..request.words;
    if arguments.get(request.words).is_none() && request.shell.is_none() {
        if idle {
            exit(0);
        }
        fail(&[USAGE], 1);
    }
    request
}

pub fn su(arguments: &Arguments) -> Request {
    const LONG: [(&[u8], u8); 9] = [
        (b"command", b'c'),
        (b"fast", b'f'),
        (b"group", b'g'),
        (b"login", b'l'),
        (b"preserve-environment", b'p'),
        (b"pty", b'P'),
        (b"session-command", b'c'),
        (b"shell", b's'),
        (b"whitelist-environment", b'w'),
    ];
    let mut request = Request::new();
    request.shell = Some(Shell::Root);
    let mut keep = false;
    let mut named = None;
    let mut user: Option<&[u8]> = None;
    let mut options = Options { arguments, name: b"su", long: &LONG, index: 1, letters: b"", given: None };
    loop {
        match options.next() {
            Some(b'c') => request.script = Some(options.value()),
            Some(b'f' | b'P') => {}
            Some(b'g' | b'G') => {
                let group = options.value();
                options.require_root(group);
            }
            Some(b'l') => request.login = true,
            Some(b'm' | b'p') => keep = true,
            Some(b's') => named = Some(options.value()),
            Some(b'w') => request.kept = options.value(),
            Some(letter) => options.refuse(&[b'-', letter]),
            // Options may stand behind the user, but not behind `--` or a word for the shell.
            None => {
                let ended = arguments.get(options.index - 1) == Some(b"--");
                let Some(word) = arguments.get(options.index) else { break };
                if user.is_some() {
                    request.words = options.index;
                    break;
                }
                options.index += 1;
                match word {
                    b"-" if !request.login => request.login = true,
                    _ => user = Some(word),
                }
                if ended {
                    request.words = options.index;
                    break;
                }
            }
        }
    }
    options.require_root(user.unwrap_or(b"root"));
    request.keep_home = keep && !request.login;
    if request.keep_home {
        request.shell = Some(Shell::Caller);
    }
    if let Some(named) = named {
        request.shell = Some(Shell::Named(named));
    }
    request
}

pub fn doas(arguments: &Arguments) -> Request {
    let mut request = Request::new();
    let mut options = Options { arguments, name: b"doas", long: &[], index: 1, letters: b"", given: None };
    while let Some(option) = options.next() {
        match option {
            b'u' => {
                let user = options.value();
                options.require_root(user);
            }
            b's' => request.shell = Some(Shell::Caller),
            b'n' => {}
            b'L' => exit(0),
            letter => options.refuse(&[b'-', letter]),
        }
    }
    request.words = options.index;
    if arguments.get(request.words).is_none() && request.shell.is_none() {
        fail(&[b"usage: doas [-ns] [-u root] COMMAND [ARGUMENT...]"], 1);
    }
    request
}

/// Whether `name` is one of `names`, which commas divide.
pub fn lists(names: &[u8], name: &[u8]) -> bool {
    names.split(|byte| *byte == b',').any(|one| one == name)
}

fn change_folder(name: &[u8], folder: &'static [u8]) {
    if kernel::chdir(folder.as_ptr().cast()).is_err() {
        fail(&[name, b": ", folder, b": no folder to go to"], 1);
    }
}

fn is_assignment(word: &[u8]) -> bool {
    word.iter().position(|byte| *byte == b'=').is_some_and(|at| at > 0 && !word[..at].contains(&b'/'))
}
