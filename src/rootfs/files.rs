//! Files made for a box: hosts, markers, accounts.

use std::ffi::{CStr, CString};
use std::path::Path;

use crate::network;
use crate::plan::{Network, Plan};

use super::lookup::Merged;
use super::{Caller, Wanted};
use crate::sys::fd;

/// The host's `/etc/hosts` with the box's own name; loopback alone without a network. None when it is unreadable.
pub(super) fn hosts(hostname: &str, network: Network) -> Option<Vec<u8>> {
    let mut text = match network {
        Network::Host => fd::read_small("/etc/hosts".as_ref(), 16 << 20).ok()?,
        Network::None | Network::Private => b"127.0.0.1 localhost\n::1 localhost\n".to_vec(),
    };
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text.extend_from_slice(format!("127.0.1.1 {hostname}\n").as_bytes());
    Some(text)
}

/// The resolver configuration of a box with a network of its own; none where there is nobody to ask.
pub(super) fn own_resolv_conf(plan: &Plan) -> Option<Vec<u8>> {
    let address = match plan.network {
        Network::Host | Network::None => return None,
        Network::Private if plan.allow.is_empty() => network::STACK_RESOLVER,
        Network::Private => network::GATE_RESOLVER,
    };
    Some(format!("nameserver {address}\n").into_bytes())
}

/// The host's resolver configuration, if it has one.
pub(super) fn resolv_conf() -> Option<&'static Path> {
    Some(Path::new("/etc/resolv.conf")).filter(|path| path.exists())
}

/// The host's time zone; none when it keeps universal time by having none.
pub(super) fn local_time() -> Option<&'static Path> {
    Some(Path::new("/etc/localtime")).filter(|path| path.exists())
}

/// `/run/.containerenv`, by which tools know that they run in a container, and in which.
pub(super) fn containerenv(plan: &Plan) -> Vec<u8> {
    let image = plan.image.to_string();
    let image = image.escape_debug();
    format!("engine=\"devbox\"\nname=\"{}\"\nimage=\"{image}\"\nrootless=1\n", plan.name).into_bytes()
}

/// Lines for the image's `/etc/passwd` and `/etc/group` that name the caller, where no line has its id or name.
pub(super) fn accounts(wanted: &Wanted<'_>, merged: &Merged) -> Vec<(CString, Vec<u8>)> {
    let paths = [c"/etc/passwd", c"/etc/group"].into_iter().map(CStr::to_owned);
    let lines = paths.zip(account_files(wanted, merged));
    lines.filter_map(|(at, file)| Some((at, file.addition?))).collect()
}

/// The same files whole, by their names, with the lines in them.
pub(super) fn whole_accounts(wanted: &Wanted<'_>, merged: &Merged) -> Vec<(&'static str, Vec<u8>)> {
    let whole =
        |file: AccountFile| Some((file.name, [file.text?, file.addition.unwrap_or_default()].concat()));
    account_files(wanted, merged).into_iter().filter_map(whole).collect()
}

/// A file of `/etc`, and what it lacks.
struct AccountFile {
    name: &'static str,
    text: Option<Vec<u8>>,
    addition: Option<Vec<u8>>,
}

fn account_files(wanted: &Wanted<'_>, merged: &Merged) -> [AccountFile; 2] {
    let caller = wanted.caller;
    let shell = if merged.exists("bin/bash") { "/bin/bash" } else { "/bin/sh" };
    let [passwd, group] = account_lines(caller, shell);
    [("passwd", caller.uid, passwd), ("group", caller.gid, group)].map(|(name, id, line)| {
        let text = merged.read(&format!("etc/{name}"));
        let addition = text.as_ref().and_then(|text| addition(text, &caller.name, id, &line));
        AccountFile { name, text, addition }
    })
}

/// The caller's lines, for `passwd` and for `group`.
pub(super) fn account_lines(caller: &Caller, shell: &str) -> [String; 2] {
    let Caller { name, uid, gid, home } = caller;
    [format!("{name}:x:{uid}:{gid}::{}:{shell}\n", home.display()), format!("{name}:x:{gid}:\n")]
}

/// What to append to an account file, if anything. A field can't have a colon or a line break.
fn addition(text: &[u8], name: &str, id: u32, line: &str) -> Option<Vec<u8>> {
    let id = id.to_string();
    let known = text.split(|byte| *byte == b'\n').any(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        fields.next() == Some(name.as_bytes()) || fields.nth(1) == Some(id.as_bytes())
    });
    let clean = line.matches('\n').count() == 1
        && line.matches(':').count() == if line.contains("::") { 6 } else { 3 };
    if known || !clean {
        return None;
    }
    let missing_break = !text.is_empty() && !text.ends_with(b"\n");
    Some([if missing_break { "\n" } else { "" }, line].concat().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_added_once_and_whole() {
        let line = "me:x:1000:1000::/home/me:/bin/sh\n";
        let add = |text: &str| {
            addition(text.as_bytes(), "me", 1000, line).map(|bytes| String::from_utf8(bytes).unwrap())
        };
        assert_eq!(add("root:x:0:0::/root:/bin/sh\n").as_deref(), Some(line));
        assert_eq!(add("root:x:0:0::/root:/bin/sh").as_deref(), Some(&*format!("\n{line}")));
        assert_eq!(add("").as_deref(), Some(line));
        assert_eq!(add("you:x:1000:1000::/:/bin/sh\n"), None);
        assert_eq!(add("me:x:5:5::/:/bin/sh\n"), None);
        assert_eq!(addition(b"", "m:e", 1, "m:e:x:1:1::/:/bin/sh\n"), None);
        assert_eq!(addition(b"", "me", 1, "me:x:1:1::/a\nroot::0:0::/:/bin/sh\n"), None);
    }
}
