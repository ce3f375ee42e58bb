//! Carries out mount operations, in the order given, in two passes.
//!
//! `take` runs while the host's root is still there and gives every source as a detached mount. `carry_out` runs when
//! the box's root is all there is: links in the image resolve inside the box whatever they say, for there is no
//! host left for them to reach, and no magic link either before `/proc` is put in place, last.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, SFlag};

use crate::mount::{Op, Overlay};
use crate::sys;
use crate::sys::mount::{Attributes, Filesystem, mount_setattr, move_mount, open_tree};

pub(super) const LOCKED_DOWN: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

/// Device nodes of a box: on the host, and in it.
pub(super) const NODES: [(&CStr, &CStr); 6] = [
    (c"/dev/null", c"/dev/null"),
    (c"/dev/zero", c"/dev/zero"),
    (c"/dev/full", c"/dev/full"),
    (c"/dev/random", c"/dev/random"),
    (c"/dev/urandom", c"/dev/urandom"),
    (c"/dev/tty", c"/dev/tty"),
];

/// A mount that came from the host and is not yet where it belongs.
pub(super) enum Taken {
    /// It stands nowhere.
    Detached(OwnedFd),
    /// It stands at this name in the working directory (`classic`).
    Aside(CString),
}

/// Where a source is found, for as long as it is held.
pub(super) struct Source {
    pub(super) path: CString,
    _handle: Option<OwnedFd>,
}

impl Source {
    /// The source at `path`, held by a handle that no link led to when `exact`.
    pub(super) fn of(path: &CStr, exact: bool) -> nix::Result<Self> {
        if !exact {
            return Ok(Self { path: path.to_owned(), _handle: None });
        }
        let handle = sys::fd::open_exactly(path)?;
        let path =
            CString::new(format!("/proc/self/fd/{}", handle.as_raw_fd())).map_err(|_| Errno::EINVAL)?;
        Ok(Self { path, _handle: Some(handle) })
    }
}

/// An overlay over a host folder that may have to be held.
pub(super) struct HeldOverlay {
    pub(super) overlay: Overlay,
    _lower: Option<Source>,
}

impl HeldOverlay {
    pub(super) fn of(overlay: &Overlay, exact: bool) -> nix::Result<Self> {
        let overlay = overlay.clone();
        if !exact {
            return Ok(Self { overlay, _lower: None });
        }
        let [lower] = overlay.lowers.as_slice() else { return Err(Errno::EINVAL) };
        let lower = Source::of(lower, true)?;
        let overlay = Overlay { base: lower.path.clone(), lowers: vec![c".".into()], ..overlay };
        Ok(Self { overlay, _lower: Some(lower) })
    }
}

/// Detached mounts of what `op` brings from the host, in the order it needs them.
pub(super) fn take(op: &Op) -> nix::Result<Vec<Taken>> {
    detached(op).map(|mounts| mounts.into_iter().map(Taken::Detached).collect())
}

fn detached(op: &Op) -> nix::Result<Vec<OwnedFd>> {
    match op {
        Op::Bind { from, readonly, recursive, devices, exact, .. } => {
            let from = Source::of(from, *exact)?;
            let mount = open_tree(&from.path, *recursive)?;
            mount_setattr(
                &mount,
                *recursive,
                Attributes { readonly: *readonly, nodev: !devices, noexec: false },
            )?;
            Ok(vec![mount])
        }
        Op::Overlay { overlay, exact, .. } => {
            let overlay = HeldOverlay::of(overlay, *exact)?;
            Ok(vec![detached_overlay(&overlay.overlay)?])
        }
        Op::Dev => NODES.iter().map(|(from, _)| open_tree(from, false)).collect(),
        // Never the box's own, which is at a path of the image's.
        Op::MaskFile(_) => Ok(vec![open_tree(c"/dev/null", false)?]),
        // A new procfs is allowed only where another, unobscured one can be seen: the host's (mount_namespaces(7)).
        Op::Proc => {
            let attributes = Attributes { nodev: true, noexec: true, readonly: false };
            Ok(vec![Filesystem::open(c"proc")?.mount(attributes)?])
        }
        _ => Ok(Vec::new()),
    }
}

/// Does one operation with what `take` took for it.
pub(super) fn carry_out(op: &Op, taken: &[Taken]) -> nix::Result<()> {
    match op {
        Op::Dir(at) => make_folders(at, unmarked),
        Op::File(at) => make_file(at, unmarked),
        Op::Link { to, at, replace } => {
            let here = nix::fcntl::AT_FDCWD;
            if *replace {
                allow(
                    Errno::ENOENT,
                    nix::unistd::unlinkat(here, at.as_c_str(), nix::unistd::UnlinkatFlags::NoRemoveDir),
                )?;
            }
            allow(Errno::EEXIST, nix::unistd::symlinkat(to.as_c_str(), here, at.as_c_str()))
        }
        Op::Write { at, content, mode } => write_new(at, content, *mode),
        Op::Append { at, content } => append(at, content),
        Op::Tmpfs { at, options } => on(at, make_mount_folder, || mount_tmpfs(at, options)),
        Op::BindWithin { from, at } => {
            on(at, make_mount_file, || sys::mount::mount(Some(from), at, None, MsFlags::MS_BIND, None))
        }
        Op::Bind { at, .. } | Op::Overlay { at, .. } => attach(taken, at),
        Op::Dev => populate_dev(taken),
        Op::Proc => attach(taken, c"/proc"),
        Op::MaskFile(at) => where_it_is(put(taken.first().ok_or(Errno::EINVAL)?, at)),
        Op::MaskFolder(at) => where_it_is(mount_empty(at)),
        Op::ReadOnly(at) => where_it_is(make_read_only(at)),
        Op::Chown { at, uid, gid, mode } => chown(at, *uid, *gid, *mode),
    }
}

/// Puts a detached mount at `at`, which is made as a folder or file, as the mount is, when it is missing.
fn attach(taken: &[Taken], at: &CStr) -> nix::Result<()> {
    let mount = taken.first().ok_or(Errno::EINVAL)?;
    let make = |at: &CStr| {
        let found = match mount {
            Taken::Detached(mount) => nix::sys::stat::fstat(mount.as_fd())?,
            Taken::Aside(name) => nix::sys::stat::stat(name.as_c_str())?,
        };
        if is_folder(found.st_mode) { make_mount_folder(at) } else { make_mount_file(at) }
    };
    on(at, make, || put(mount, at))
}

fn put(mount: &Taken, at: &CStr) -> nix::Result<()> {
    match mount {
        Taken::Detached(mount) => move_mount(mount, at),
        Taken::Aside(name) => sys::mount::mount(Some(name), at, None, MsFlags::MS_MOVE, None),
    }
}

/// The root overlay, at a folder of the host. Its names fit into mount(2)'s page of options and need no escapes:
/// `rootfs` sees to that.
pub(super) fn mount_overlay(overlay: &Overlay, at: &CStr) -> nix::Result<()> {
    nix::unistd::chdir(overlay.base.as_c_str())?;
    let mut options = Vec::with_capacity(4096);
    options.extend_from_slice(b"userxattr,");
    if overlay.volatile {
        options.extend_from_slice(b"volatile,");
    }
    options.extend_from_slice(b"upperdir=");
    options.extend_from_slice(overlay.upper.as_bytes());
    options.extend_from_slice(b",workdir=");
    options.extend_from_slice(overlay.work.as_bytes());
    for (index, lower) in overlay.lowers.iter().enumerate() {
        options.extend_from_slice(if index == 0 { b",lowerdir=" } else { b":" });
        options.extend_from_slice(lower.as_bytes());
    }
    if let Some(data) = &overlay.data {
        options.extend_from_slice(b"::");
        options.extend_from_slice(data.as_bytes());
    }
    let options = CString::new(options).map_err(|_| Errno::EINVAL)?;
    sys::mount::mount(Some(c"overlay"), at, Some(c"overlay"), LOCKED_DOWN, Some(&options))
}

/// An overlay of one layer that stands nowhere yet.
fn detached_overlay(overlay: &Overlay) -> nix::Result<OwnedFd> {
    nix::unistd::chdir(overlay.base.as_c_str())?;
    let [lower] = overlay.lowers.as_slice() else { return Err(Errno::EINVAL) };
    let filesystem = Filesystem::open(c"overlay")?;
    filesystem.set(c"lowerdir", &escaped(lower))?;
    filesystem.set(c"upperdir", &escaped(&overlay.upper))?;
    filesystem.set(c"workdir", &escaped(&overlay.work))?;
    filesystem.flag(c"userxattr")?;
    if overlay.volatile {
        filesystem.flag(c"volatile")?;
    }
    filesystem.mount(Attributes { nodev: true, readonly: false, noexec: false })
}

/// `upperdir` and `workdir` take a backslash as an escape even here.
pub(super) fn escaped(path: &CStr) -> CString {
    let bytes = path.to_bytes().iter().flat_map(|byte| match byte {
        b'\\' | b':' | b',' => vec![b'\\', *byte],
        _ => vec![*byte],
    });
    CString::new(bytes.collect::<Vec<_>>()).unwrap_or_default()
}

/// A folder of the host as a root of its own, writable.
pub(super) fn mount_tree(tree: &CStr, at: &CStr) -> nix::Result<()> {
    let mount = open_tree(tree, false)?;
    mount_setattr(&mount, false, Attributes { readonly: false, nodev: true, noexec: false })?;
    move_mount(mount, at)
}

/// The host's whole tree, read-only.
pub(super) fn mount_host(at: &CStr) -> nix::Result<()> {
    let mount = open_tree(c"/", true)?;
    mount_setattr(&mount, true, Attributes { readonly: true, nodev: true, noexec: false })?;
    move_mount(mount, at)
}

/// A folder in memory with nothing in it, now and later.
fn mount_empty(at: &CStr) -> nix::Result<()> {
    let flags = LOCKED_DOWN | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    sys::mount::mount(Some(c"tmpfs"), at, Some(c"tmpfs"), flags, Some(c"mode=555,nr_inodes=1,size=4k"))
}

/// The plain calls, which every kernel has. The flags of `/proc` itself are named again, or they would be taken away.
fn make_read_only(at: &CStr) -> nix::Result<()> {
    sys::mount::mount(Some(at), at, None, MsFlags::MS_BIND | MsFlags::MS_REC, None)?;
    let kept = LOCKED_DOWN | MsFlags::MS_NOEXEC;
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | kept;
    sys::mount::mount(None, at, None, flags, None)
}

/// Kernels differ in what they show: what is not there needs no cover.
fn where_it_is(result: nix::Result<()>) -> nix::Result<()> {
    allow(Errno::ENOENT, result)
}

fn mount_tmpfs(at: &CStr, options: &CStr) -> nix::Result<()> {
    sys::mount::mount(Some(c"tmpfs"), at, Some(c"tmpfs"), LOCKED_DOWN, Some(options))
}

/// Tries, and makes the target only when it turns out to be missing: on most starts it is there.
fn on(
    at: &CStr,
    make: impl FnOnce(&CStr) -> nix::Result<()>,
    mount: impl Fn() -> nix::Result<()>,
) -> nix::Result<()> {
    match mount() {
        Err(Errno::ENOENT) => make(at).and_then(|()| mount()),
        result => result,
    }
}

/// `/dev` on a tmpfs of mode 0755: with the default 1777 the kernel's sticky-folder check (fs.protected_regular)
/// makes `echo > /dev/null` fail for everyone but the node's owner.
fn populate_dev(nodes: &[Taken]) -> nix::Result<()> {
    const LINKS: [(&CStr, &CStr); 5] = [
        (c"/proc/self/fd", c"/dev/fd"),
        (c"/proc/self/fd/0", c"/dev/stdin"),
        (c"/proc/self/fd/1", c"/dev/stdout"),
        (c"/proc/self/fd/2", c"/dev/stderr"),
        (c"pts/ptmx", c"/dev/ptmx"),
    ];
    on(c"/dev", make_mount_folder, || {
        let options = Some(c"mode=755,size=4m");
        sys::mount::mount(Some(c"tmpfs"), c"/dev", Some(c"tmpfs"), MsFlags::MS_NOSUID, options)
    })?;
    for ((_, at), node) in NODES.iter().zip(nodes) {
        make_file(at, unmarked)?;
        put(node, at)?;
    }
    for (to, at) in LINKS {
        nix::unistd::symlinkat(to, nix::fcntl::AT_FDCWD, at)?;
    }
    for folder in [c"/dev/pts", c"/dev/shm", c"/dev/mqueue"] {
        nix::unistd::mkdir(folder, Mode::from_bits_truncate(0o755))?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let options = Some(c"newinstance,ptmxmode=0666,mode=0620");
    sys::mount::mount(Some(c"devpts"), c"/dev/pts", Some(c"devpts"), flags, options)?;
    mount_tmpfs(c"/dev/shm", c"mode=1777")?;
    sys::mount::mount(
        Some(c"mqueue"),
        c"/dev/mqueue",
        Some(c"mqueue"),
        LOCKED_DOWN | MsFlags::MS_NOEXEC,
        None,
    )
}

fn make_mount_folder(at: &CStr) -> nix::Result<()> {
    make_folders(at, mark)
}

fn make_mount_file(at: &CStr) -> nix::Result<()> {
    make_file(at, mark)
}

/// What is made to mount on is no change of the user's, and says so. A file system that knows no attributes is not
/// kept in a box.
fn mark(at: &CStr) {
    sys::xattr::set(at, crate::mount::SETUP, b"y");
}

fn unmarked(_: &CStr) {}

fn make_folders(at: &CStr, made: fn(&CStr)) -> nix::Result<()> {
    let make = || nix::unistd::mkdir(at, Mode::from_bits_truncate(0o755)).map(|()| made(at));
    match make() {
        Err(Errno::EEXIST) => Ok(()),
        Err(Errno::ENOENT) => {
            make_folders(&parent(at).ok_or(Errno::ENOENT)?, made)?;
            allow(Errno::EEXIST, make())
        }
        result => result,
    }
}

fn make_file(at: &CStr, made: fn(&CStr)) -> nix::Result<()> {
    make_file_behind(at, made, 8)
}

/// Images come with links into folders that are empty until the system runs: then it is the link's target that is
/// made, in the box.
fn make_file_behind(at: &CStr, made: fn(&CStr), links: u32) -> nix::Result<()> {
    let mode = Mode::from_bits_truncate(0o644);
    let make = || nix::sys::stat::mknod(at, SFlag::S_IFREG, mode, 0).map(|()| made(at));
    match make() {
        Err(Errno::EEXIST) => match nix::fcntl::readlink(at) {
            Ok(target) if links > 0 => {
                let target = target.into_encoded_bytes();
                let folder = if target.starts_with(b"/") {
                    Vec::new()
                } else {
                    parent(at).unwrap_or_default().into_bytes()
                };
                let path = CString::new([&folder, &b"/"[..], &target].concat()).map_err(|_| Errno::EINVAL)?;
                make_file_behind(&path, made, links - 1)
            }
            _ => Ok(()),
        },
        Err(Errno::ENOENT) => {
            make_folders(&parent(at).ok_or(Errno::ENOENT)?, made)?;
            allow(Errno::EEXIST, make())
        }
        result => result,
    }
}

fn parent(at: &CStr) -> Option<CString> {
    let bytes = at.to_bytes();
    let end = bytes.iter().rposition(|byte| *byte == b'/').filter(|end| *end > 0)?;
    CString::new(&bytes[..end]).ok()
}

fn write_new(at: &CStr, content: &[u8], mode: u32) -> nix::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = open(at, flags, Mode::from_bits_truncate(mode))?;
    let mut rest = content;
    while !rest.is_empty() {
        rest = &rest[nix::unistd::write(&file, rest)?..];
    }
    Ok(())
}

/// The image may have put anything in the file's place: what is not a plain file is left alone and never waited on.
fn append(at: &CStr, content: &[u8]) -> nix::Result<()> {
    let flags = OFlag::O_WRONLY
        | OFlag::O_APPEND
        | OFlag::O_NOFOLLOW
        | OFlag::O_NONBLOCK
        | OFlag::O_NOCTTY
        | OFlag::O_CLOEXEC;
    let file = match open(at, flags, Mode::empty()) {
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENXIO | Errno::EISDIR) => return Ok(()),
        result => result?,
    };
    if SFlag::from_bits_truncate(nix::sys::stat::fstat(file.as_fd())?.st_mode & libc::S_IFMT)
        != SFlag::S_IFREG
    {
        return Ok(());
    }
    nix::unistd::write(&file, content).map(drop)
}

fn chown(at: &CStr, uid: u32, gid: u32, mode: u32) -> nix::Result<()> {
    use nix::sys::stat::{FchmodatFlags, fchmodat, fstatat};
    let here = nix::fcntl::AT_FDCWD;
    match nix::unistd::fchownat(here, at, Some(uid.into()), Some(gid.into()), AtFlags::AT_SYMLINK_NOFOLLOW) {
        // It has been removed from the box.
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        done => done?,
    }
    if fstatat(here, at, AtFlags::AT_SYMLINK_NOFOLLOW)?.st_mode & libc::S_IFMT == libc::S_IFLNK {
        return Ok(());
    }
    fchmodat(here, at, Mode::from_bits_truncate(mode), FchmodatFlags::FollowSymlink)
}

pub(super) fn is_folder(mode: libc::mode_t) -> bool {
    mode & libc::S_IFMT == libc::S_IFDIR
}

fn allow(harmless: Errno, result: nix::Result<()>) -> nix::Result<()> {
    match result {
        Err(errno) if errno == harmless => Ok(()),
        result => result,
    }
}
