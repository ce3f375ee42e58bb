//! Files that are found nowhere but in the descriptors of who has them open (proc(5), `/proc/PID/fd`): in memory without a
//! mount (memfd_create(2)), or removed while open.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::mount::{Mounted, mounted};
use crate::sys::fd::{self, Looked};
use crate::sys::process;

/// Bytes of those open files of `processes` for which `counts` holds, each file once. What another process serves is not
/// asked for.
pub(super) fn bytes(
    processes: impl IntoIterator<Item = i32>,
    mut counts: impl FnMut(i32, &Looked) -> bool,
) -> u64 {
    let mut seen = BTreeSet::new();
    let mut sum = 0_u64;
    for pid in processes {
        for table in tables(pid) {
            for name in names(&table) {
                let found =
                    CString::new(format!("{table}/{name}")).ok().and_then(|path| fd::look(&path).ok());
                if let Some(found) = found.filter(|found| found.regular && counts(pid, found))
                    && seen.insert((found.device, found.inode))
                {
                    sum = sum.saturating_add(found.bytes);
                }
            }
        }
    }
    sum
}

/// The folders that list a process's descriptors: each thread may have its own, and the first one may have ended.
fn tables(pid: i32) -> Vec<String> {
    let threads = names(&format!("/proc/{pid}/task"));
    let own = threads.filter(|thread| *thread == pid || !process::share_descriptors(pid, *thread));
    own.map(|thread| format!("/proc/{pid}/task/{thread}/fd")).collect()
}

/// The numbers in a folder.
fn names(folder: &str) -> impl Iterator<Item = i32> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Bytes of the removed files that `processes` have open on what stands in the box's folder.
pub(super) fn removed(processes: impl IntoIterator<Item = i32>, folder: &Path) -> u64 {
    let host = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let host: Vec<Mounted> = mounted(&host).collect();
    let place = place(&host, folder);
    let mut known: Option<(i32, Vec<(Mounted, bool)>)> = None;
    bytes(processes, |pid, file| {
        if file.names > 0 {
            return false;
        }
        if known.as_ref().is_none_or(|(of, _)| *of != pid) {
            let text = fs::read(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
            let found = mounted(&text).map(|mount| {
                let own = is_own(&mount, &host, place.as_ref());
                (mount, own)
            });
            known = Some((pid, found.collect()));
        }
        let mounts = known.iter().flat_map(|(_, mounts)| mounts);
        is_in(file, mounts.map(|(mount, own)| (mount, *own)))
    })
}

/// Whether a file is on one of a box's own mounts. One that is mounted no more goes by its device.
fn is_in<'a>(file: &Looked, mounts: impl Iterator<Item = (&'a Mounted, bool)> + Clone) -> bool {
    let mut by_number = mounts.clone().filter(|(mount, _)| Some(u64::from(mount.id)) == file.mount);
    match by_number.next() {
        Some((_, own)) => own,
        None => mounts.into_iter().any(|(mount, own)| own && mount.device == file.device),
    }
}

/// Where a folder is in its file system.
fn place(host: &[Mounted], folder: &Path) -> Option<((u32, u32), PathBuf)> {
    let folder = fs::canonicalize(folder).ok()?;
    // of those at one place the last is seen
    let mount = host.iter().filter(|mount| folder.starts_with(&mount.at));
    let mount = mount.max_by_key(|mount| mount.at.as_os_str().len())?;
    Some((mount.device, mount.root.join(folder.strip_prefix(&mount.at).ok()?)))
}

/// Whether what a box has mounted stands in its folder, or is an overlay that the host does not have.
fn is_own(mount: &Mounted, host: &[Mounted], place: Option<&((u32, u32), PathBuf)>) -> bool {
    let is_overlay = matches!(mount.kind.as_str(), "overlay" | "fuse.fuse-overlayfs");
    let is_new = || host.iter().all(|other| other.device != mount.device);
    is_overlay && is_new()
        || place.is_some_and(|(device, root)| *device == mount.device && mount.root.starts_with(root))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn removed_files_count_once_and_in_their_folder_alone() {
        let folder = tempfile::tempdir().unwrap();
        let me = std::process::id().cast_signed();
        let path = folder.path().join("file");
        fs::write(&path, vec![1; 1 << 20]).unwrap();
        let (file, _again) = (fs::File::open(&path).unwrap(), fs::File::open(&path).unwrap());
        let inode = fd::look(&crate::mount::c_path(&path).unwrap()).unwrap().inode;
        let open = |names| bytes([me, me], |_, found| found.inode == inode && found.names == names);
        assert_eq!((open(0), open(1)), (0, 1 << 20));
        fs::remove_file(&path).unwrap();
        assert_eq!((open(0), open(1)), (1 << 20, 0));
        let path = crate::mount::c_path(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
        let removed = fd::look(&path).unwrap();
        let host = fs::read("/proc/self/mountinfo").unwrap();
        let host: Vec<Mounted> = mounted(&host).collect();
        let (device, root) = place(&host, folder.path()).unwrap();
        let mount = |id, root: &Path, kind: &str, device| Mounted {
            id,
            device,
            root: root.into(),
            kind: kind.into(),
            ..Mounted::default()
        };
        let own = |mount: &Mounted| is_own(mount, &host, Some(&(device, root.clone())));
        let number = u32::try_from(removed.mount.unwrap_or(0)).unwrap();
        let (inside, outside) = (
            mount(number, &root.join("upper"), "ext4", device),
            mount(number, Path::new("/"), "ext4", device),
        );
        assert!(own(&inside) && !own(&outside));
        assert!(own(&mount(2, Path::new("/"), "overlay", (9999, 9))));
        assert!(!own(&mount(2, Path::new("/"), "tmpfs", (9999, 9))));
        for (mount, is) in [(&inside, true), (&outside, false)] {
            assert_eq!(is_in(&removed, [(mount, own(mount))].into_iter()), is);
        }
        // not mounted any more
        let elsewhere = Looked { mount: Some(1 << 40), device, ..removed };
        assert!(is_in(&elsewhere, [(&inside, true)].into_iter()));
        assert!(!is_in(&elsewhere, [(&outside, false)].into_iter()));
    }

    #[test]
    fn a_thread_may_have_descriptors_of_its_own() {
        let me = std::process::id().cast_signed();
        let (told, tell) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).unwrap();
            told.send(nix::unistd::gettid().as_raw()).unwrap();
            let _ = ended.recv();
        });
        let thread = tell.recv().unwrap();
        assert!(tables(me).contains(&format!("/proc/{me}/task/{thread}/fd")));
        drop(end);
        other.join().unwrap();
    }
}
