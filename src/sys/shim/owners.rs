//! The watcher: writes down who should own what, where only one id exists.
//!
//! It is a process beside the session, started before the filter of `fakeroot` is loaded and ended when the last process
//! under that filter has. To it the kernel hands each `chown`, whose caller waits. It finds what the call names
//! just as the call would, changes its owner to the one there is, so that errors and lost set-id bits are the
//! kernel's own, and writes the wanted one into the attribute `user.devbox.owner`: `UID:GID`, of which -1 is what it was
//! before. Files and folders alone can have such attributes, and only those of the box's own root get them.
//!
//! It is as mighty as the session and no more: the same user in the same namespaces. One who kills it has calls that
//! fail with ENOSYS.

use core::ffi::CStr;

use crate::fakeroot::{Chown, chown_call};
use crate::kernel::{self, Arguments, EINVAL, ENOENT, exit};
use crate::notify::{self, EBADF, EFAULT, ENAMETOOLONG, Handle, Listener, Notification, O_DIRECTORY, O_NOFOLLOW};
use crate::text::Text;

const OWNER: &CStr = c"user.devbox.owner";

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const EDQUOT: i32 = 122;

const AT_FDCWD: i32 = -100;
const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_EMPTY_PATH: u32 = 0x1000;
const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
/// chown(2): this id stays.
const SAME: u32 = u32::MAX;
const PATH_MAX: usize = 4096;

/// Loads the filter of `fakeroot`, and starts its watcher where the kernel lets one listen. A filter that is there
/// already does for all.
pub fn load_filter(arguments: &Arguments) -> Result<(), i32> {
    if notify::is_filtered() {
        return Ok(());
    }
    let pipe = start(arguments);
    // A container around the box may listen already, and there can be but one (EBUSY).
    let listener = pipe.as_ref().ok().and_then(|_| Listener::load().ok());
    if let Ok(pipe) = pipe {
        kernel::write(pipe, &listener.map_or(-1, |listener| listener.0).to_ne_bytes());
    }
    if listener.is_none() {
        kernel::load_filter(false, 0)?;
    }
    Ok(())
}

/// Starts the watcher, child of pid 1 and sharing our descriptors: gives where it waits to be told the listener's.
fn start(arguments: &Arguments) -> Result<i32, i32> {
    let processes = kernel::open(c"/proc", O_DIRECTORY)?;
    let [told, pipe] = notify::pipe()?;
    match notify::fork_with_descriptors()? {
        0 => {
            if notify::fork_with_descriptors() == Ok(0) {
                let mut listener = [0; 4];
                match notify::read(told, &mut listener) {
                    Ok(4) => watch(Listener(i32::from_ne_bytes(listener)), processes, arguments),
                    _ => exit(0),
                }
            }
            exit(0)
        }
        child => notify::wait_for(child),
    }
    Ok(pipe)
}

fn watch(listener: Listener, processes: i32, arguments: &Arguments) -> ! {
    let root = Handle::open(AT_FDCWD, c"/", 0).and_then(|root| root.status());
    let (0.., Ok((_, mount))) = (listener.0, root) else { exit(0) };
    notify::stand_apart(c"owners", [listener.0, processes]);
    arguments.erase();
    listener.hand_over();
    let watcher = Watcher { listener, processes, mount };
    let mut path = [0; PATH_MAX];
    while let Some(notification) = listener.next() {
        listener.answer(&notification, watcher.deal_with(&notification, &mut path));
    }
    exit(0)
}

struct Watcher {
    listener: Listener,
    /// The folder `/proc`: no path of the box leads there once the root is a caller's.
    processes: i32,
    /// The box's own root.
    mount: u64,
}

/// What a call wants.
struct Wanted {
    folder: i32,
    /// Where the path stands in the caller's memory; none for the folder itself.
    path: Option<u64>,
    uid: u32,
    gid: u32,
    flags: u32,
}

impl Wanted {
    fn of(call: Chown, arguments: [u64; 6]) -> Self {
        let [first, uid, gid, last, flags, _] = arguments;
        let wide = |id: u64| id as u32;
        let short = |id: u64| if id as u16 == u16::MAX { SAME } else { u32::from(id as u16) };
        let path = |flags, id: &dyn Fn(u64) -> u32| Self {
            folder: AT_FDCWD,
            path: Some(first),
            uid: id(uid),
            gid: id(gid),
            flags,
        };
        let descriptor = |id: &dyn Fn(u64) -> u32| Self {
            folder: first as i32,
            path: None,
            uid: id(uid),
            gid: id(gid),
            flags: 0,
        };
        match call {
            Chown::Path => path(0, &wide),
            Chown::ShortPath => path(0, &short),
            Chown::Link => path(AT_SYMLINK_NOFOLLOW, &wide),
            Chown::ShortLink => path(AT_SYMLINK_NOFOLLOW, &short),
            Chown::Descriptor => descriptor(&wide),
            Chown::ShortDescriptor => descriptor(&short),
            Chown::At => Self {
                folder: first as i32,
                path: Some(uid),
                uid: wide(gid),
                gid: wide(last),
                flags: flags as u32,
            },
        }
    }
}

impl Watcher {
    /// Does what the call wants as far as one id can; the errors are the call's.
    fn deal_with(&self, notification: &Notification, path: &mut [u8; PATH_MAX]) -> Result<(), i32> {
        let Some(call) = chown_call(notification.arch, notification.number) else { return Ok(()) };
        let wanted = Wanted::of(call, notification.arguments);
        if wanted.flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
            return Err(EINVAL);
        }
        let path = match wanted.path {
            Some(address) => match read_path(notification.thread, address, path) {
                // Where nobody may look into another process, nothing is noted (ptrace(2), Yama; filters of containers).
                Err(EPERM | ENOSYS) => return Ok(()),
                read => read?,
            },
            None => c"",
        };
        let object = match self.find(notification, &wanted, path) {
            // These lead to whoever looks: to us.
            Err(_) if path.to_bytes().starts_with(b"/proc/") || path.to_bytes().starts_with(b"/dev/") => return Ok(()),
            object => object?,
        };
        let Some(object) = object else { return Ok(()) };
        if !self.listener.is_waiting(notification) {
            return Err(ENOENT);
        }
        let own = |id| if id == SAME { SAME } else { 0 };
        match object.chown(own(wanted.uid), own(wanted.gid)) {
            // What is not the session's, such as a file of the host, is left as it is.
            Err(EPERM | EINVAL) => return Ok(()),
            result => result?,
        }
        match object.status()? {
            (mode, mount) if mount == self.mount && matches!(mode & S_IFMT, S_IFREG | S_IFDIR) => {
                self.record(&object, wanted.uid, wanted.gid)
            }
            _ => Ok(()),
        }
    }

    /// Opens what the call names, from the caller's own root and folder. None when the caller can't be looked at.
    fn find(&self, of: &Notification, wanted: &Wanted, path: &CStr) -> Result<Option<Handle>, i32> {
        let mut name = Text::<48>::new();
        let mut in_caller = |part: &[u8], number: Option<u32>| {
            name.clear();
            name.add_number(of.thread).add(part);
            if let Some(number) = number {
                name.add_number(number);
            }
            Handle::open(self.processes, name.c_str().ok_or(EINVAL)?, 0)
        };
        let is_start = path.is_empty() && (wanted.path.is_none() || wanted.flags & AT_EMPTY_PATH != 0);
        if !is_start {
            let Ok(root) = in_caller(b"/root", None) else { return Ok(None) };
            if root.change_root().is_err() {
                return Ok(None);
            }
        }
        if path.to_bytes().starts_with(b"/") {
            return self.look_up(AT_FDCWD, path, wanted.flags).map(Some);
        }
        let start = match wanted.folder {
            AT_FDCWD => in_caller(b"/cwd", None),
            folder @ 0.. => in_caller(b"/fd/", Some(folder as u32)),
            _ => Err(EBADF),
        };
        let start = start.map_err(|errno| if errno == ENOENT { EBADF } else { errno })?;
        match is_start {
            true => Ok(Some(start)),
            false => self.look_up(start.number(), path, wanted.flags).map(Some),
        }
    }

    fn look_up(&self, start: i32, path: &CStr, flags: u32) -> Result<Handle, i32> {
        Handle::open(start, path, if flags & AT_SYMLINK_NOFOLLOW != 0 { O_NOFOLLOW } else { 0 })
    }

    /// Writes the owner down. What is there already, and the call leaves, stays.
    fn record(&self, object: &Handle, uid: u32, gid: u32) -> Result<(), i32> {
        if (uid, gid) == (SAME, SAME) {
            return Ok(());
        }
        let mut path = Text::<32>::new();
        let path = path.add(b"self/fd/").add_number(object.number() as u32).c_str().ok_or(EINVAL)?;
        notify::change_folder(self.processes)?;
        let mut former = [0; 32];
        let length = notify::attribute(path, OWNER, &mut former).unwrap_or(0);
        let former = &former[..length];
        let mut halves = former.splitn(2, |byte| *byte == b':');
        let mut value = Text::<32>::new();
        for (id, former) in [(uid, halves.next()), (gid, halves.next())] {
            if !value.bytes().is_empty() {
                value.add(b":");
            }
            match (id, former) {
                (SAME, Some(former)) if !former.is_empty() => value.add(former),
                (SAME, _) => value.add(b"-1"),
                (id, _) => value.add_number(id),
            };
        }
        if value.bytes() == former {
            return Ok(());
        }
        match notify::set_attribute(path, OWNER, value.bytes()) {
            Err(errno @ (ENOSPC | EDQUOT | EROFS)) => Err(errno),
            // A file system without attributes: the call was for nothing, as it is without a watcher.
            _ => Ok(()),
        }
    }
}

fn read_path(thread: u32, address: u64, path: &mut [u8; PATH_MAX]) -> Result<&CStr, i32> {
    let length = notify::read_memory(thread, address, path)?;
    let full = length == PATH_MAX;
    CStr::from_bytes_until_nul(&path[..length]).map_err(|_| if full { ENAMETOOLONG } else { EFAULT })
}
