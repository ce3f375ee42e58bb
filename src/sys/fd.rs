//! File system calls relative to a folder's descriptor.
//!
//! A name given here is one path component as bytes; none of these calls follows a symbolic link at it.

use std::ffi::{CStr, CString};
use std::fmt::Display;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::UnlinkatFlags;

use super::Error;

/// Opens `name` in `dir`; `mode` counts when the flags create it.
pub fn openat(dir: BorrowedFd<'_>, name: &[u8], flags: OFlag, mode: u32) -> Result<OwnedFd, Error> {
    nix::fcntl::openat(
        dir,
        name,
        flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        Mode::from_bits_truncate(mode),
    )
    .map_err(|errno| failed("openat", name, errno))
}

/// Opens the folder `name` in `dir` for reading; `ENOTDIR` when it is anything else, a link included.
pub fn open_folder(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Error> {
    openat(dir, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)
}

/// Makes the folder `name` in `dir`; `mode` is cut by the umask.
pub fn mkdirat(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<(), Error> {
    nix::sys::stat::mkdirat(dir, name, Mode::from_bits_truncate(mode))
        .map_err(|errno| failed("mkdirat", name, errno))
}

/// Makes the FIFO `name` in `dir`, readable and writable by its owner alone.
pub fn mkfifoat(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Error> {
    nix::unistd::mkfifoat(dir, name, Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|errno| failed("mkfifoat", name, errno))
}

/// Makes the character device 0:0 `name` in `dir`: an overlay whiteout, allowed to everyone since Linux 5.8.
pub fn make_whiteout(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Error> {
    nix::sys::stat::mknodat(dir, name, SFlag::S_IFCHR, Mode::empty(), 0)
        .map_err(|errno| failed("mknodat", name, errno))
}

/// Makes the symbolic link `name` in `dir`, its target kept as it is.
pub fn symlinkat(target: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Error> {
    nix::unistd::symlinkat(target, dir, name).map_err(|errno| failed("symlinkat", name, errno))
}

/// The target of the symbolic link `name` in `dir`; `EINVAL` when it is anything else.
pub fn readlinkat(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>, Error> {
    use std::os::unix::ffi::OsStringExt;
    nix::fcntl::readlinkat(dir, name)
        .map(OsStringExt::into_vec)
        .map_err(|errno| failed("readlinkat", name, errno))
}

/// Gives `from_name` in `from` the further name `name` in `dir`.
pub fn linkat(from: BorrowedFd<'_>, from_name: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Error> {
    nix::unistd::linkat(from, from_name, dir, name, AtFlags::empty())
        .map_err(|errno| failed("linkat", name, errno))
}

/// Gives an open file the further name `path`.
pub fn link_handle(file: BorrowedFd<'_>, path: &std::path::Path) -> Result<(), Error> {
    // its own name below `/proc` leads to that very file, whatever became of its names
    let from = format!("/proc/self/fd/{}", file.as_raw_fd());
    nix::unistd::linkat(AT_FDCWD, from.as_str(), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW)
        .map_err(|errno| failed("linkat", path.as_os_str().as_encoded_bytes(), errno))
}

/// Moves the file at `path` to `name` in `dir`, over what is there.
pub fn rename_to(path: &std::path::Path, dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Error> {
    nix::fcntl::renameat(AT_FDCWD, path, dir, name).map_err(|errno| failed("renameat", name, errno))
}

/// Removes the name of a thing that is not a folder; `EISDIR` when it is one.
pub fn unlinkat(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Error> {
    nix::unistd::unlinkat(dir, name, UnlinkatFlags::NoRemoveDir)
        .map_err(|errno| failed("unlinkat", name, errno))
}

/// Removes an empty folder.
pub fn rmdirat(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Error> {
    nix::unistd::unlinkat(dir, name, UnlinkatFlags::RemoveDir).map_err(|errno| failed("rmdir", name, errno))
}

/// Moves `from_name` in `from` to `name` in `dir`, over what is there.
pub fn renameat(
    from: BorrowedFd<'_>,
    from_name: &[u8],
    dir: BorrowedFd<'_>,
    name: &[u8],
) -> Result<(), Error> {
    nix::fcntl::renameat(from, from_name, dir, name).map_err(|errno| failed("renameat", name, errno))
}

/// Moves `from_name` in `from` to `name` in `dir`, where nothing is: `EEXIST` when something is.
pub fn rename_new(
    from: BorrowedFd<'_>,
    from_name: &[u8],
    dir: BorrowedFd<'_>,
    name: &[u8],
) -> Result<(), Error> {
    rename_with(RenameFlags::RENAME_NOREPLACE, from, from_name, dir, name)
}

/// Lets two things change places, at once: renameat2(2).
pub fn exchange(
    from: BorrowedFd<'_>,
    from_name: &[u8],
    dir: BorrowedFd<'_>,
    name: &[u8],
) -> Result<(), Error> {
    rename_with(RenameFlags::RENAME_EXCHANGE, from, from_name, dir, name)
}

fn rename_with(
    flags: RenameFlags,
    from: BorrowedFd<'_>,
    from_name: &[u8],
    dir: BorrowedFd<'_>,
    name: &[u8],
) -> Result<(), Error> {
    nix::fcntl::renameat2(from, from_name, dir, name, flags).map_err(|errno| failed("renameat2", name, errno))
}

/// Writes all of `bytes` at the file's position.
pub fn write(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Error> {
    while !bytes.is_empty() {
        match nix::unistd::write(fd, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed("write", b"", errno)),
        }
    }
    Ok(())
}

/// Writes all of `bytes` at `offset`.
pub fn pwrite(fd: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> Result<(), Error> {
    while !bytes.is_empty() {
        match nix::sys::uio::pwrite(fd, bytes, offset as libc::off_t) {
            Ok(count) => (bytes, offset) = (&bytes[count..], offset + count as u64),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed("pwrite", b"", errno)),
        }
    }
    Ok(())
}

/// Makes a file `size` bytes long; `EFBIG` or `EINVAL` when that is more than it can be.
pub fn ftruncate(fd: BorrowedFd<'_>, size: u64) -> Result<(), Error> {
    let size = libc::off_t::try_from(size).map_err(|_| Errno::EFBIG);
    size.and_then(|size| nix::unistd::ftruncate(fd, size)).map_err(|errno| failed("ftruncate", b"", errno))
}

/// Sets the mode of an open file or folder.
pub fn fchmod(fd: BorrowedFd<'_>, mode: u32) -> Result<(), Error> {
    nix::sys::stat::fchmod(fd, Mode::from_bits_truncate(mode))
        .map_err(|errno| failed("fchmod", format!("{mode:o}").as_bytes(), errno))
}

/// Sets the mode of what an `O_PATH` handle stands for, which `fchmod` can't.
///
/// An unreadable folder gives no other descriptor; its name below `/proc` leads to that very folder and to
/// nothing put in its place.
pub fn chmod_handle(handle: BorrowedFd<'_>, mode: u32) -> Result<(), Error> {
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let (mode, follow) = (Mode::from_bits_truncate(mode), FchmodatFlags::FollowSymlink);
    nix::sys::stat::fchmodat(AT_FDCWD, path.as_str(), mode, follow)
        .map_err(|errno| failed("fchmodat", path.as_bytes(), errno))
}

/// Sets an open file's modification time and leaves its access time.
pub fn futimens(fd: BorrowedFd<'_>, modified: &TimeSpec) -> Result<(), Error> {
    nix::sys::stat::futimens(fd, &TimeSpec::UTIME_OMIT, modified)
        .map_err(|errno| failed("futimens", b"", errno))
}

/// Sets the modification time of `name` in `dir`, a link's own if it is one.
pub fn utimensat(dir: BorrowedFd<'_>, name: &[u8], modified: &TimeSpec) -> Result<(), Error> {
    let flag = UtimensatFlags::NoFollowSymlink;
    nix::sys::stat::utimensat(dir, name, &TimeSpec::UTIME_OMIT, modified, flag)
        .map_err(|errno| failed("utimensat", name, errno))
}

/// Sets an extended attribute of an open file or folder. `name` must be free of NUL.
pub fn fsetxattr(fd: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> Result<(), Error> {
    let c_name = CString::new(name).map_err(|_| failed("fsetxattr", name, Errno::EINVAL))?;
    // SAFETY: the descriptor is open, the name ends in NUL, and the value is read within its length.
    let result =
        unsafe { libc::fsetxattr(fd.as_raw_fd(), c_name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(result).map(drop).map_err(|errno| failed("fsetxattr", name, errno))
}

/// Removes an extended attribute of an open file or folder.
pub fn fremovexattr(fd: BorrowedFd<'_>, name: &[u8]) -> Result<(), Error> {
    let c_name = CString::new(name).map_err(|_| failed("fremovexattr", name, Errno::EINVAL))?;
    // SAFETY: the descriptor is open and the name ends in NUL.
    let result = unsafe { libc::fremovexattr(fd.as_raw_fd(), c_name.as_ptr()) };
    Errno::result(result).map(drop).map_err(|errno| failed("fremovexattr", name, errno))
}

/// Changes the owner of `name` in `dir`, of a link itself if it is one.
pub fn chown_at(dir: BorrowedFd<'_>, name: &[u8], uid: u32, gid: u32) -> Result<(), Error> {
    nix::unistd::fchownat(dir, name, Some(uid.into()), Some(gid.into()), AtFlags::AT_SYMLINK_NOFOLLOW)
        .map_err(|errno| failed("fchownat", name, errno))
}

/// Name and value of an extended attribute.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// Whether the file behind a handle (O_PATH will do) has an extended attribute whose name starts so.
pub fn has_xattrs_of(handle: BorrowedFd<'_>, prefix: &[u8]) -> Result<bool, Error> {
    let path = CString::new(format!("/proc/self/fd/{}", handle.as_raw_fd()))
        .map_err(|_| failed("listxattr", b"", Errno::EINVAL))?;
    let mut names = [0_u8; 65536]; // the most there can be: XATTR_LIST_MAX
    // SAFETY: the path ends in NUL, and no more than the buffer's length is written to it.
    let length = unsafe { libc::listxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    match Errno::result(length) {
        Err(Errno::ENOTSUP) => Ok(false),
        length => {
            let length = length.map_err(|errno| failed("listxattr", b"", errno))?.cast_unsigned();
            Ok(names[..length].split(|byte| *byte == 0).any(|name| name.starts_with(prefix)))
        }
    }
}

/// All extended attributes of an open file with their values, sorted by name.
pub fn xattrs(fd: BorrowedFd<'_>) -> Result<Vec<Xattr>, Error> {
    let mut names = vec![0_u8; 65536]; // the most there can be: XATTR_LIST_MAX, XATTR_SIZE_MAX
    // SAFETY: the descriptor is open, and no more than the buffer's length is written to it.
    let length = unsafe { libc::flistxattr(fd.as_raw_fd(), names.as_mut_ptr().cast(), names.len()) };
    let length = match Errno::result(length) {
        Err(Errno::ENOTSUP) => 0,
        length => length.map_err(|errno| failed("flistxattr", b"", errno))?.cast_unsigned(),
    };
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let c_name = CString::new(name).map_err(|_| failed("fgetxattr", name, Errno::EINVAL))?;
        let mut value = vec![0_u8; 65536];
        // SAFETY: the descriptor is open, the name ends in NUL, and the value is written within its length.
        let count = unsafe {
            libc::fgetxattr(fd.as_raw_fd(), c_name.as_ptr(), value.as_mut_ptr().cast(), value.len())
        };
        let count = Errno::result(count).map_err(|errno| failed("fgetxattr", name, errno))?;
        value.truncate(count.cast_unsigned());
        found.push((name.to_vec(), value));
    }
    found.sort_unstable();
    Ok(found)
}

/// The value of an extended attribute of an open file or folder.
#[cfg(test)]
pub(crate) fn fgetxattr(fd: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>, Error> {
    let c_name = CString::new(name).unwrap();
    let mut value = vec![0; 65536];
    // SAFETY: the descriptor is open, the name ends in NUL, and the value is written within its length.
    let count =
        unsafe { libc::fgetxattr(fd.as_raw_fd(), c_name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    value.truncate(Errno::result(count).map_err(|errno| failed("fgetxattr", name, errno))?.cast_unsigned());
    Ok(value)
}

/// Permission bits of an open file or folder, with setuid, setgid and sticky.
pub fn mode(fd: BorrowedFd<'_>) -> Result<u32, Error> {
    let found = nix::sys::stat::fstat(fd).map_err(|errno| failed("fstat", b"", errno))?;
    Ok(found.st_mode & 0o7777)
}

/// What the kernel knows of an open file or folder.
pub fn stat(fd: BorrowedFd<'_>) -> Result<libc::stat, Error> {
    nix::sys::stat::fstat(fd).map_err(|errno| failed("fstat", b"", errno))
}

/// What the kernel knows of `name` in `dir`, of a link itself if it is one.
pub fn stat_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<libc::stat, Error> {
    nix::sys::stat::fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
        .map_err(|errno| failed("fstatat", name, errno))
}

/// What is known of a file without asking who serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// Major and minor number of its file system.
    pub device: (u32, u32),
    /// Its number there.
    pub inode: u64,
    /// Names it has.
    pub names: u32,
    /// Whether it is a regular file.
    pub regular: bool,
    /// Bytes it takes.
    pub bytes: u64,
    /// Number of the mount it was opened on; none before Linux 5.8.
    pub mount: Option<u64>,
}

/// statx(2) of what `path` leads to, without a question to who serves it (AT_STATX_DONT_SYNC), who might never answer.
pub fn look(path: &CStr) -> nix::Result<Looked> {
    let wanted = libc::STATX_BASIC_STATS | libc::STATX_MNT_ID;
    // SAFETY: statx is plain numbers, for which all zeroes are valid.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: path is a C string, found has the size the kernel writes, and both outlive the call.
    let result = unsafe {
        libc::statx(libc::AT_FDCWD, path.as_ptr(), libc::AT_STATX_DONT_SYNC, wanted, &raw mut found)
    };
    Errno::result(result)?;
    Ok(Looked {
        device: (found.stx_dev_major, found.stx_dev_minor),
        inode: found.stx_ino,
        names: found.stx_nlink,
        regular: u32::from(found.stx_mode) & libc::S_IFMT == libc::S_IFREG,
        bytes: found.stx_blocks.saturating_mul(512),
        mount: (found.stx_mask & libc::STATX_MNT_ID != 0).then_some(found.stx_mnt_id),
    })
}

/// At most `limit` names in an open folder, from its start, without `.` and `..`.
pub fn names(folder: BorrowedFd<'_>, limit: usize) -> Result<Vec<Vec<u8>>, Error> {
    let list = || -> Result<Vec<Vec<u8>>, Errno> {
        // a descriptor of its own: reading moves its position and the iterator closes it
        let own = nix::fcntl::openat(
            folder,
            c".",
            OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        let mut names = Vec::new();
        for entry in Dir::from_fd(own)?.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
            if names.len() == limit {
                break;
            }
        }
        Ok(names)
    };
    list().map_err(|errno| failed("getdents", b"", errno))
}

/// Writes the whole file system of `fd` to its disk.
pub fn syncfs(fd: impl AsFd) -> Result<(), Error> {
    nix::unistd::syncfs(fd).map_err(|errno| failed("syncfs", b"", errno))
}

fn failed(call: &'static str, name: &[u8], errno: Errno) -> Error {
    let args: &dyn Display = &name.escape_ascii();
    Error { call, args: if name.is_empty() { String::new() } else { format!("\"{args}\"") }, errno }
}

/// The path of what `path` leads to, links followed: as realpath(3), but in three calls however deep it is.
pub fn real_path(path: &std::path::Path) -> std::io::Result<std::path::PathBuf> {
    let handle = nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let found = nix::fcntl::readlink(format!("/proc/self/fd/{}", handle.as_raw_fd()).as_str())?;
    // what the kernel appends to a path that is gone, and what may be a name
    if found.as_encoded_bytes().ends_with(b" (deleted)") { path.canonicalize() } else { Ok(found.into()) }
}

/// A handle on what stands at `path`, an absolute one without `..`; `ELOOP` when a link is in it.
pub fn open_exactly(path: &CStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match nix::fcntl::openat2(AT_FDCWD, path, how) {
        // filters that know no newer calls
        Err(Errno::ENOSYS | Errno::EPERM) => walk(path),
        opened => opened,
    }
}

/// The same, name by name.
fn walk(path: &CStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let mut here = nix::fcntl::open(c"/", flags, Mode::empty())?;
    for name in path.to_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        here = nix::fcntl::openat(&here, name, flags, Mode::empty())?;
        if nix::sys::stat::fstat(&here)?.st_mode & libc::S_IFMT == libc::S_IFLNK {
            return Err(Errno::ELOOP);
        }
    }
    Ok(here)
}

/// Reads a small file of the kernel's or of ours: one open, mostly one read. Over `limit` bytes is EFBIG.
pub fn read_small(path: &std::path::Path, limit: usize) -> std::io::Result<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    read_from(nix::fcntl::open(path, flags, Mode::empty())?, limit)
}

/// Reads the small regular file that an `O_PATH` handle stands for, by its name below `/proc`.
pub fn read_handle(handle: BorrowedFd<'_>, limit: usize) -> std::io::Result<Vec<u8>> {
    read_small(format!("/proc/self/fd/{}", handle.as_raw_fd()).as_ref(), limit)
}

/// Reads an open small file from where it stands, as `read_small`.
pub fn read_from(file: impl AsFd, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut content = vec![0; 4096];
    let mut filled = 0;
    loop {
        let count = nix::unistd::read(&file, &mut content[filled..])?;
        filled += count;
        if filled > limit {
            return Err(Errno::EFBIG.into());
        }
        // A short read is the end of such a file.
        if filled < content.len() {
            content.truncate(filled);
            return Ok(content);
        }
        content.resize(filled * 2, 0);
    }
}

/// Whether the file behind a handle (O_PATH will do) has the extended attribute `name` with this value.
pub fn has_xattr(handle: impl AsFd, name: &CStr, value: &[u8]) -> bool {
    let Ok(path) = CString::new(format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd())) else {
        return false;
    };
    let mut found = [0_u8; 64];
    // SAFETY: both strings end in NUL, and at most the buffer's length is written to it.
    let length =
        unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), found.as_mut_ptr().cast(), found.len()) };
    usize::try_from(length).is_ok_and(|length| found[..length] == *value)
}

/// Whether the file behind a handle (O_PATH will do) has the extended attribute `name`, whatever its value.
pub fn has_attribute(handle: impl AsFd, name: &CStr) -> bool {
    super::xattr::has(format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd()).as_ref(), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_paths() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().canonicalize().unwrap();
        for name in ["a", "b (deleted)"] {
            std::fs::write(folder.join(name), "").unwrap();
            std::os::unix::fs::symlink(name, folder.join("link")).unwrap();
            assert_eq!(real_path(&folder.join("./link")).unwrap(), folder.join(name));
            std::fs::remove_file(folder.join("link")).unwrap();
        }
        assert!(real_path(&folder.join("none")).is_err());
    }

    #[test]
    fn no_link_leads_elsewhere() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().canonicalize().unwrap();
        std::fs::create_dir_all(folder.join("a/b")).unwrap();
        std::fs::write(folder.join("a/b/c"), "").unwrap();
        std::os::unix::fs::symlink("a", folder.join("link")).unwrap();
        std::os::unix::fs::symlink("c", folder.join("a/b/last")).unwrap();
        let path =
            |name: &str| CString::new(folder.join(name).into_os_string().into_encoded_bytes()).unwrap();
        for open in [open_exactly, walk] {
            for name in ["a", "a/b", "a/b/c"] {
                let found = nix::sys::stat::fstat(open(&path(name)).unwrap()).unwrap();
                assert_eq!(
                    found.st_ino,
                    nix::sys::stat::stat(path(name).as_c_str()).unwrap().st_ino,
                    "{name}"
                );
            }
            for (name, errno) in [
                ("link", Errno::ELOOP),
                ("link/b", Errno::ELOOP),
                ("a/b/last", Errno::ELOOP),
                ("a/none", Errno::ENOENT),
                ("a/b/c/d", Errno::ENOTDIR),
            ] {
                assert_eq!(open(&path(name)).err(), Some(errno), "{name}");
            }
        }
    }

    #[test]
    fn links_are_not_followed() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("folder")).unwrap();
        std::fs::write(place.path().join("file"), "x").unwrap();
        let dir = std::fs::File::open(place.path()).unwrap();
        symlinkat(b"folder", dir.as_fd(), b"to-folder").unwrap();
        symlinkat(b"file", dir.as_fd(), b"to-file").unwrap();
        assert_eq!(open_folder(dir.as_fd(), b"to-folder").unwrap_err().errno, Errno::ENOTDIR);
        let error = openat(dir.as_fd(), b"to-file", OFlag::O_WRONLY, 0).unwrap_err();
        assert_eq!(error.errno, Errno::ELOOP);
        assert_eq!(error.to_string(), "openat(\"to-file\"): Too many symbolic links encountered");
        linkat(dir.as_fd(), b"to-file", dir.as_fd(), b"link").unwrap();
        assert_eq!(readlinkat(dir.as_fd(), b"link").unwrap(), b"file");
        unlinkat(dir.as_fd(), b"to-folder").unwrap();
        assert_eq!(unlinkat(dir.as_fd(), b"folder").unwrap_err().errno, Errno::EISDIR);
    }
}
