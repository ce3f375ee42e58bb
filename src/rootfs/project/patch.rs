//! What a box changed in the text of its project, as a patch that git(1) and patch(1) read.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::fcntl::OFlag;
use similar::TextDiff;

use crate::sys::{self, fd};
use crate::userns;

use super::edits::{Kind, each};
use super::handles::Tree;
use super::{BASE, Error, Project, journal};

/// Larger files are only said to differ.
const MOST: usize = 4 << 20;
/// Where git looks for a NUL, by which it tells what is no text.
const LOOKED_AT: usize = 8000;
/// After this a coarser answer has to do.
const PATIENCE: Duration = Duration::from_secs(2);

/// One side of a difference: its mode as git has it, and its content; none when that is too much.
struct Side {
    mode: u32,
    content: Option<Vec<u8>>,
}

/// Gives `take` all differences, in order of path, while they are found. None when nothing is changed, and it is not asked.
pub fn patch<T>(project: &Project, take: impl FnOnce(&mut userns::Output) -> T) -> Result<Option<T>, Error> {
    if super::is_unchanged(project) {
        return Ok(None);
    }
    let work = |out: File| {
        let mut out = io::BufWriter::new(out);
        write_all(project, &mut out)?;
        Ok(out.flush()?)
    };
    Ok(Some(userns::piped(&super::own_ids(), work, take)?))
}

fn write_all(project: &Project, out: &mut dyn Write) -> Result<(), Error> {
    let below = if project.is_copy() { project.kept.join(BASE) } else { project.folder.clone() };
    let mut below = Tree::new(journal::open(&below)?);
    each(project, &mut |edit, change| {
        let failed = |source| Error::Call { what: "read", path: edit.path.clone(), source };
        if edit.kind == Kind::Deleted && change.before.is_some_and(|before| is(&before, libc::S_IFDIR)) {
            let (folder, name) = below.parent(&edit.path).map_err(failed)?;
            return all_gone(folder, name, &edit.path, out);
        }
        let before = match change.before {
            Some(_) => {
                let (folder, name) = below.parent(&edit.path).map_err(failed)?;
                side(folder, name).map_err(failed)?
            }
            None => None,
        };
        let after = match change.entry {
            Some(entry) => side(entry.folder, entry.name).map_err(failed)?,
            None => None,
        };
        one(&edit.path, before.as_ref(), after.as_ref(), out).map_err(told)
    })
}

fn told(source: io::Error) -> Error {
    Error::File { what: "write", path: "the patch".into(), source }
}

fn is(stat: &libc::stat, kind: libc::mode_t) -> bool {
    stat.st_mode & libc::S_IFMT == kind
}

/// Every file of a folder that is gone.
fn all_gone(folder: BorrowedFd<'_>, name: &[u8], path: &[u8], out: &mut dyn Write) -> Result<(), Error> {
    let failed = |source| Error::Call { what: "read", path: path.to_vec(), source };
    let found = fd::stat_at(folder, name).map_err(failed)?;
    if !is(&found, libc::S_IFDIR) {
        let before = side(folder, name).map_err(failed)?;
        return one(path, before.as_ref(), None, out).map_err(told);
    }
    let below = fd::open_folder(folder, name).map_err(failed)?;
    let mut names = fd::names(below.as_fd(), usize::MAX).map_err(failed)?;
    names.sort_unstable();
    names.iter().try_for_each(|name| all_gone(below.as_fd(), name, &[path, b"/", name].concat(), out))
}

/// What stands at a name; none for what a patch can't say, as folders.
fn side(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Side>, sys::Error> {
    let found = fd::stat_at(folder, name)?;
    match found.st_mode & libc::S_IFMT {
        libc::S_IFLNK => Ok(Some(Side { mode: 0o120_000, content: Some(fd::readlinkat(folder, name)?) })),
        libc::S_IFREG => {
            let mode = if found.st_mode & 0o100 == 0 { 0o100_644 } else { 0o100_755 };
            let opened = fd::openat(folder, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)?;
            let content = if found.st_size as usize > MOST {
                None
            } else {
                let mut content = Vec::new();
                let read = io::Read::read_to_end(
                    &mut io::Read::take(File::from(opened), MOST as u64 + 1),
                    &mut content,
                );
                read.map_err(|error| sys::Error {
                    call: "read",
                    args: name.escape_ascii().to_string(),
                    errno: nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
                })?;
                Some(content)
            };
            Ok(Some(Side { mode, content }))
        }
        _ => Ok(None),
    }
}

fn one(path: &[u8], before: Option<&Side>, after: Option<&Side>, out: &mut dyn Write) -> io::Result<()> {
    // a link and a file are never one difference
    if let (Some(a), Some(b)) = (before, after)
        && (a.mode == 0o120_000) != (b.mode == 0o120_000)
    {
        one(path, before, None, out)?;
        return one(path, None, after, out);
    }
    let same = |a: &Side, b: &Side| a.content.is_some() && a.content == b.content;
    let (a, b) = (quoted(b"a/", path), quoted(b"b/", path));
    let mut head = format!("diff --git {a} {b}\n");
    match (before, after) {
        (None, None) => return Ok(()),
        (None, Some(after)) => head += &format!("new file mode {:o}\n", after.mode),
        (Some(before), None) => head += &format!("deleted file mode {:o}\n", before.mode),
        (Some(before), Some(after)) if before.mode != after.mode => {
            head += &format!("old mode {:o}\nnew mode {:o}\n", before.mode, after.mode);
        }
        (Some(before), Some(after)) if same(before, after) => return Ok(()),
        _ => {}
    }
    out.write_all(head.as_bytes())?;
    if before.zip(after).is_some_and(|(before, after)| same(before, after)) {
        return Ok(());
    }
    let (a, b) = match (before, after) {
        (None, _) => ("/dev/null".to_owned(), b),
        (_, None) => (a, "/dev/null".to_owned()),
        _ => (a, b),
    };
    let text = |side: Option<&Side>| match side {
        None => Some(Vec::new()),
        Some(Side { content: Some(content), .. }) if !is_binary(content) => Some(content.clone()),
        Some(_) => None,
    };
    let (Some(old), Some(new)) = (text(before), text(after)) else {
        return writeln!(out, "Binary files {a} and {b} differ");
    };
    if old == new {
        return Ok(());
    }
    write!(out, "--- {a}\n+++ {b}\n")?;
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(&old[..], &new[..]);
    diff.unified_diff().context_radius(3).to_writer(out)
}

fn is_binary(content: &[u8]) -> bool {
    content[..content.len().min(LOOKED_AT)].contains(&0)
}

/// A path as git writes it: quoted as in C when it has anything odd.
fn quoted(prefix: &[u8], path: &[u8]) -> String {
    let whole = [prefix, path].concat();
    let plain = |byte: &u8| (b' '..0x7f).contains(byte) && !matches!(byte, b'"' | b'\\');
    if whole.iter().all(plain) {
        return String::from_utf8_lossy(&whole).into_owned();
    }
    let mut text = String::from("\"");
    for byte in whole {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b'\n' => text += "\\n",
            b'\t' => text += "\\t",
            b' '..0x7f => text.push(char::from(byte)),
            _ => text += &format!("\\{byte:03o}"),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(path: &[u8], before: Option<(u32, &[u8])>, after: Option<(u32, &[u8])>) -> String {
        let side = |(mode, content): (u32, &[u8])| Side { mode, content: Some(content.to_vec()) };
        let mut out = Vec::new();
        one(path, before.map(side).as_ref(), after.map(side).as_ref(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn as_git_writes_it() {
        let file = |text: &'static str| Some((0o100_644, text.as_bytes()));
        assert_eq!(
            patch(b"a b", file("one\ntwo\n"), file("one\n2\n")),
            "diff --git a/a b b/a b\n--- a/a b\n+++ b/a b\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"
        );
        assert_eq!(
            patch(b"x", None, file("new")),
            "diff --git a/x b/x\nnew file mode 100644\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+new\n\\ No newline at end of file\n"
        );
        assert_eq!(
            patch(b"x", file("old\n"), None),
            "diff --git a/x b/x\ndeleted file mode 100644\n--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-old\n"
        );
        assert_eq!(
            patch(b"x", file("same"), Some((0o100_755, b"same"))),
            "diff --git a/x b/x\nold mode 100644\nnew mode 100755\n"
        );
        assert_eq!(
            patch(b"\x1b\xff\"", None, Some((0o100_644, b"\0"))),
            "diff --git \"a/\\033\\377\\\"\" \"b/\\033\\377\\\"\"\nnew file mode 100644\n\
             Binary files /dev/null and \"b/\\033\\377\\\"\" differ\n"
        );
        let changed = patch(b"l", file("text\n"), Some((0o120_000, b"target")));
        assert!(
            changed.contains("deleted file mode 100644") && changed.contains("new file mode 120000"),
            "{changed}"
        );
        assert_eq!(patch(b"x", file("same"), file("same")), "");
    }
}
