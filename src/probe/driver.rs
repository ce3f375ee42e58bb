//! Which driver this machine can do, found out by trying; what works is remembered until the next boot.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use serde::{Deserialize, Serialize};

use super::{attempt, places};
use crate::dirs::{self, Dirs};
use crate::mount::Driver;
use crate::sys::{fd, process};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Longer than any such file of ours.
const MAX_REMEMBERED: usize = 1 << 16;

/// The best driver here, and why not the ones above it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The driver.
    pub driver: Driver,
    /// What is against the better ones; none for the best.
    pub because: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    boot_id: String,
    folder: PathBuf,
    choice: Choice,
}

/// The best driver for boxes in this caller's folder. Tried once a boot and folder where overlay works, for nothing is
/// above that; else at each call, for what is missing may be mended.
pub fn driver(dirs: &Dirs) -> Choice {
    match remembered_driver(dirs) {
        Some(choice) if choice.driver == Driver::Overlay => choice,
        _ => {
            let choice = tried(&dirs.boxes(), super::fuse_overlayfs().is_some());
            remember(dirs, &choice);
            choice
        }
    }
}

/// What was found out last since this boot; nothing is tried.
pub fn remembered_driver(dirs: &Dirs) -> Option<Choice> {
    let bytes = fd::read_small(&place(dirs), MAX_REMEMBERED).ok()?;
    let found: Remembered = serde_json::from_slice(&bytes).ok()?;
    (found.boot_id == boot_id()? && found.folder == dirs.boxes()).then_some(found.choice)
}

/// A cache: when it can't be written, it is tried again.
fn remember(dirs: &Dirs, choice: &Choice) {
    let Some(boot_id) = boot_id() else { return };
    let remembered = Remembered { boot_id, folder: dirs.boxes(), choice: choice.clone() };
    let path = place(dirs);
    let draft = path.with_extension(std::process::id().to_string());
    let written = dirs::ensure_private(&dirs.cache).map_err(io::Error::other).and_then(|_| {
        fs::write(&draft, serde_json::to_vec(&remembered)?)?;
        fs::rename(&draft, &path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
}

fn place(dirs: &Dirs) -> PathBuf {
    dirs.cache.join("driver")
}

fn boot_id() -> Option<String> {
    let bytes = fd::read_small(BOOT_ID.as_ref(), 4096).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

fn tried(boxes: &Path, has_program: bool) -> Choice {
    let folder = places::nearest(boxes);
    let overlay = match in_child(|| attempt::overlay(folder)) {
        // without a user namespace nothing works: the start says that better
        Ok(Ok(())) | Err(_) => return Choice { driver: Driver::Overlay, because: None },
        Ok(Err(error)) => format!("the kernel refuses an overlay in {} ({error})", folder.display()),
    };
    let fuse = match in_child(|| attempt::fuse(folder)) {
        _ if !has_program => "fuse-overlayfs is not installed".to_owned(),
        Ok(Ok(())) => return Choice { driver: Driver::Fuse, because: Some(overlay) },
        Ok(Err(error)) | Err(error) => format!("/dev/fuse can't be used ({error})"),
    };
    Choice { driver: Driver::Copy, because: Some(format!("{overlay}, and {fuse}")) }
}

/// The outcome of `attempt` in a process with namespaces of its own; the outer error is theirs.
pub(super) fn in_child(attempt: impl Fn() -> io::Result<()>) -> io::Result<io::Result<()>> {
    /// More than any errno that comes of a mount; what is above stands for the namespaces' own.
    const NAMESPACES: i32 = 128;
    let number = |error: io::Error| error.raw_os_error().unwrap_or(libc::EIO).clamp(1, NAMESPACES - 1);
    let child = process::fork_into(|| match attempt::user_namespace() {
        Err(error) => NAMESPACES + number(error),
        Ok(()) => attempt().err().map_or(0, number),
    })?;
    match waitpid(child, None)? {
        WaitStatus::Exited(_, 0) => Ok(Ok(())),
        WaitStatus::Exited(_, code) if code < NAMESPACES => Ok(Err(Errno::from_raw(code).into())),
        WaitStatus::Exited(_, code) => Err(Errno::from_raw(code - NAMESPACES).into()),
        _ => Err(Errno::EINTR.into()),
    }
}
