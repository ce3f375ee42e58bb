//! What has to stand where in a box's root: plain data, carried out in order by `sandbox::mounts`.
//!
//! A *target* is an absolute path in the box, resolved inside its root. A *source* is an absolute path on the
//! host. Strings are C strings already.

use std::ffi::{CStr, CString, NulError, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Extended attribute of files and folders that were made in a box to mount on them, by which what the user made is
/// told from what a start did.
pub const SETUP: &CStr = c"user.devbox.setup";

/// How layers and a box's own files become its root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// The kernel's overlayfs.
    #[default]
    Overlay,
    /// fuse-overlayfs, a program of ours outside of the box.
    Fuse,
    /// A copy of all layers in the box.
    Copy,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Overlay => "overlay",
            Self::Fuse => "fuse",
            Self::Copy => "copy",
        })
    }
}

/// How the root itself comes about.
#[derive(Debug, Clone)]
pub enum Root {
    /// An overlay of read-only layers below a writable folder.
    Overlay(Overlay),
    /// The same, served by a program outside of the box.
    Fuse(Fuse),
    /// A host folder that is a whole root file system, writable.
    Tree(CString),
    /// The host's own root and all mounts below it, read-only.
    Host,
}

/// An overlay mount (kernel documentation, `filesystems/overlayfs.rst`), always with `userxattr`.
#[derive(Debug, Clone)]
pub struct Overlay {
    /// Host folder that `lowers` are relative to: mount options have little room.
    pub base: CString,
    /// Host folders, topmost first.
    pub lowers: Vec<CString>,
    /// Host folder of content that files of the lowers lead to, of which nothing else is seen.
    pub data: Option<CString>,
    /// Host folder that takes the writes.
    pub upper: CString,
    /// Empty host folder on the same filesystem as `upper`.
    pub work: CString,
    /// No sync when unmounted: for what is thrown away or synced by other means.
    pub volatile: bool,
}

/// An overlay that fuse-overlayfs(1) serves.
#[derive(Debug, Clone)]
pub struct Fuse {
    /// What is merged.
    pub overlay: Overlay,
    /// The program on the host.
    pub program: CString,
    /// A host file that takes what it says; made anew.
    pub log: CString,
}

/// One step of filling a root.
#[derive(Debug, Clone)]
pub enum Op {
    /// A folder and its parents, mode 0755 where they are missing.
    Dir(CString),
    /// An empty regular file (and its parents) to mount on, where it is missing.
    File(CString),
    /// A symbolic link `at` → `to`; an existing entry is left alone, or replaced when it is no folder.
    Link {
        /// The link's text.
        to: CString,
        /// Where it stands.
        at: CString,
        /// Whether what is there gives way.
        replace: bool,
    },
    /// A new file with this content, in a folder made by us.
    Write {
        /// Where it stands.
        at: CString,
        /// All of it.
        content: Vec<u8>,
        /// Permission bits.
        mode: u32,
    },
    /// Lines added to a regular file of the image; nothing happens when the file is missing or anything else.
    Append {
        /// The file.
        at: CString,
        /// What is added at its end.
        content: Vec<u8>,
    },
    /// An empty filesystem in memory.
    Tmpfs {
        /// Where.
        at: CString,
        /// Mount data, for example `mode=755`.
        options: CString,
    },
    /// A host file or folder, `nosuid`, and `nodev` unless it is a device.
    Bind {
        /// The source on the host.
        from: CString,
        /// Where.
        at: CString,
        /// Whether writes are refused.
        readonly: bool,
        /// Whether mounts below the source come along.
        recursive: bool,
        /// Whether device nodes work.
        devices: bool,
        /// Whether a link in the source's path is refused: it was found without one, and somebody judged what is there.
        exact: bool,
    },
    /// A file made earlier in the box, bound elsewhere in it.
    BindWithin {
        /// The source in the box.
        from: CString,
        /// Where.
        at: CString,
    },
    /// An overlay over a host folder, writes kept in the box.
    Overlay {
        /// What is mounted.
        overlay: Overlay,
        /// Where.
        at: CString,
        /// As of `Bind`, for the host folder.
        exact: bool,
    },
    /// `/dev`: six nodes, a `devpts` of its own, `shm`, `mqueue`, and the usual links.
    Dev,
    /// `/proc` of the box's pid namespace. Nothing may be written through a path of the image after it.
    Proc,
    /// A file of the kernel's, below `/proc`, covered by one that is empty; nothing happens when it is not there.
    MaskFile(CString),
    /// A folder of the kernel's, below `/proc` or `/sys`, covered by an empty one; as `MaskFile`.
    MaskFolder(CString),
    /// A file or folder below `/proc`, made read-only with all below it; as `MaskFile`.
    ReadOnly(CString),
    /// Hands a path of the image to another owner, keeping its mode.
    Chown {
        /// The path; a final symbolic link is not followed.
        at: CString,
        /// User id in the box.
        uid: u32,
        /// Group id in the box.
        gid: u32,
        /// Permission bits to set again unless it is a link, for chown clears set-id bits.
        mode: u32,
    },
}

impl Op {
    /// What the operation works on, for messages.
    pub fn target(&self) -> &CStr {
        match self {
            Self::Dir(at)
            | Self::File(at)
            | Self::MaskFile(at)
            | Self::MaskFolder(at)
            | Self::ReadOnly(at) => at,
            Self::Link { at, .. }
            | Self::Write { at, .. }
            | Self::Append { at, .. }
            | Self::Tmpfs { at, .. }
            | Self::Bind { at, .. }
            | Self::BindWithin { at, .. }
            | Self::Overlay { at, .. }
            | Self::Chown { at, .. } => at,
            Self::Dev => c"/dev",
            Self::Proc => c"/proc",
        }
    }
}

/// A line of proc_pid_mountinfo(5).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mounted {
    /// Its number.
    pub id: u32,
    /// That of the mount it is in.
    pub parent: u32,
    /// Major and minor number of what is mounted.
    pub device: (u32, u32),
    /// The folder of that which stands there.
    pub root: PathBuf,
    /// Where it is mounted.
    pub at: PathBuf,
    /// Its own options, for example `rw,nosuid`.
    pub options: String,
    /// The type of file system.
    pub kind: String,
}

/// Reads a text of proc_pid_mountinfo(5), where space, tab, line end and backslash are written as `\` and three octal
/// digits.
pub fn mounted(text: &[u8]) -> impl Iterator<Item = Mounted> + '_ {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        let number = |field: &[u8]| str::from_utf8(field).ok()?.parse().ok();
        let (id, parent) = (number(fields.next()?)?, number(fields.next()?)?);
        let mut device = fields.next()?.split(|byte| *byte == b':');
        let device = (number(device.next()?)?, number(device.next()?)?);
        let (root, at) = (unescaped(fields.next()?), unescaped(fields.next()?));
        let options = text(fields.next()?);
        let kind = fields.skip_while(|field| field != b"-").nth(1).map(text).unwrap_or_default();
        Some(Mounted { id, parent, device, root, at, options, kind })
    })
}

fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = &tail[3..];
            }
            _ => bytes.push(first),
        }
    }
    OsString::from_vec(bytes).into()
}

/// A path as a C string; paths from the system have no NUL, those from a profile are refused when they do.
pub fn c_path(path: impl AsRef<Path>) -> Result<CString, NulError> {
    CString::new(path.as_ref().as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        let text = b"22 1 0:5 / /proc rw - proc proc rw\n23 1 0:6 /d\\040e /a\\040b\\134c ro,nosuid shared:1 - tmpfs x rw\nshort\n";
        let one = |id, device, root: &str, at: &str, options: &str, kind: &str| Mounted {
            id,
            parent: 1,
            device,
            root: root.into(),
            at: at.into(),
            options: options.into(),
            kind: kind.into(),
        };
        let expected = [
            one(22, (0, 5), "/", "/proc", "rw", "proc"),
            one(23, (0, 6), "/d e", "/a b\\c", "ro,nosuid", "tmpfs"),
        ];
        assert_eq!(mounted(text).collect::<Vec<_>>(), expected);
    }
}
