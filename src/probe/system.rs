//! The host as files below a root folder, so that tests can make one.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

/// Where the host's files are, and who asks.
#[derive(Debug, Clone)]
pub struct System {
    root: PathBuf,
    search: Option<OsString>,
    /// The caller's effective user id.
    pub(super) uid: u32,
}

impl System {
    /// This machine, and the caller.
    pub fn this() -> Self {
        let search = crate::dirs::variable("PATH");
        Self { root: "/".into(), search, uid: nix::unistd::geteuid().as_raw() }
    }

    #[cfg(test)]
    pub(super) fn fake(root: &std::path::Path, uid: u32) -> Self {
        let search = Some(root.join("bin").into());
        Self { root: root.to_owned(), search, uid }
    }

    /// The place of an absolute path.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A file's text without the last line end; none when it can't be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok().map(|text| text.trim_end().to_owned())
    }

    /// A system control, by its dotted name.
    pub(super) fn control(&self, name: &str) -> Option<u64> {
        self.text(&format!("/proc/sys/{}", name.replace('.', "/")))?.parse().ok()
    }

    /// A program in `PATH`.
    pub(super) fn program(&self, name: &str) -> Option<PathBuf> {
        which::which_in(name, self.search.as_ref(), &self.root).ok()
    }

    /// The kernel's release, for example `6.1.0-21-amd64`.
    pub(super) fn release(&self) -> String {
        self.text("/proc/sys/kernel/osrelease").unwrap_or_else(|| "of unknown release".into())
    }

    /// Major and minor number of the kernel.
    pub(super) fn kernel(&self) -> Option<(u32, u32)> {
        let release = self.release();
        let mut numbers = release.split(['.', '-', '+']).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

/// The program of the driver `fuse`.
pub fn fuse_overlayfs() -> Option<PathBuf> {
    System::this().program("fuse-overlayfs")
}
