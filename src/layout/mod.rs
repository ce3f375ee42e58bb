//! Images in files of the host, in the forms other tools write: OCI image layouts, as folders or in tar archives,
//! and docker archives. Nothing is unpacked: an archive's members are found once and read where they stand.
//!
//! Whoever made the files may be a stranger. Names come from digests or are looked up in the list of members, so
//! that nothing beside the folder's own entries and the archive itself is opened; what is opened is a regular file;
//! sizes are limited before anything is read, and each blob ends only when its size and digest are right.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::oci::docker_archive::{self, ArchivedImage};
use crate::oci::layout::{self, INDEX, MARKER, MAX_MARKER};
use crate::oci::manifest::{self, Descriptor};
use crate::oci::platform::Platform;

mod blob;
mod error;
mod files;
mod members;
#[cfg(test)]
mod tests;
mod write;

pub use blob::Blob;
pub use error::Error;
pub use write::{WriteError, Writer};

use files::Files;

/// Images in one of the forms.
#[derive(Debug)]
pub enum Images {
    /// An OCI image layout.
    Layout(Layout),
    /// A docker archive.
    Docker(DockerArchive),
}

/// An OCI image layout.
#[derive(Debug)]
pub struct Layout {
    files: Files,
    /// What its index lists.
    pub entries: Vec<Descriptor>,
}

/// A docker archive.
#[derive(Debug)]
pub struct DockerArchive {
    files: Files,
    /// What its manifest lists.
    pub images: Vec<ArchivedImage>,
}

impl Layout {
    /// Opens the layout in the folder `path`.
    pub fn in_folder(path: &Path) -> Result<Self, Error> {
        Self::open(Files::folder(path)?)
    }

    /// Opens the layout in the tar archive `file`, which is called `shown` in messages.
    pub fn in_archive(file: File, shown: &str) -> Result<Self, Error> {
        Self::open(Files::archive(file, shown)?)
    }

    fn open(files: Files) -> Result<Self, Error> {
        let wrong = |source| Error::Layout { shown: files.shown().to_owned(), source };
        layout::check_marker(&files.small(MARKER, MAX_MARKER)?).map_err(wrong)?;
        let entries = layout::parse_index(&files.small(INDEX, manifest::MAX_SIZE)?).map_err(wrong)?;
        Ok(Self { files, entries })
    }

    /// The entry called `name` or, without a name, the only one; of several alike that for `platform`.
    pub fn choose(&self, name: Option<&str>, platform: &Platform) -> Result<&Descriptor, Error> {
        layout::choose(&self.entries, name, platform)
            .map_err(|source| Error::Layout { shown: self.files.shown().to_owned(), source })
    }

    /// A reader of the blob `descriptor` points to, which ends only when size and digest are right.
    pub fn blob(&self, descriptor: &Descriptor) -> Result<Blob, Error> {
        let name = layout::blob_path(&descriptor.digest);
        let piece = self.files.open(&name)?;
        if piece.len() != descriptor.size {
            return Err(Error::WrongSize {
                shown: self.files.shown().to_owned(),
                name,
                wanted: descriptor.size,
                found: piece.len(),
            });
        }
        Ok(Blob::verified(piece, self.files.shown(), &name, descriptor.digest))
    }
}

impl DockerArchive {
    /// Opens the docker archive `file`, which is called `shown` in messages.
    pub fn open(file: File, shown: &str) -> Result<Self, Error> {
        Self::of(Files::archive(file, shown)?)
    }

    fn of(files: Files) -> Result<Self, Error> {
        let wrong = |source| Error::Docker { shown: files.shown().to_owned(), source };
        let manifest = files.small(docker_archive::MANIFEST, manifest::MAX_SIZE)?;
        let mut images = docker_archive::parse_manifest(&manifest).map_err(wrong)?;
        if files.has(docker_archive::REPOSITORIES) {
            let bytes = files.small(docker_archive::REPOSITORIES, manifest::MAX_SIZE)?;
            docker_archive::add_names(&mut images, &bytes).map_err(wrong)?;
        }
        Ok(Self { files, images })
    }

    /// The configuration of an image, at most `limit` bytes.
    pub fn config(&self, image: &ArchivedImage, limit: usize) -> Result<Vec<u8>, Error> {
        self.files.small(&image.config, limit)
    }

    /// A reader of the layer `name`. Nothing says here what its digest must be: that is for its diff id to say.
    pub fn layer(&self, name: &str) -> Result<Blob, Error> {
        Ok(Blob::plain(self.files.open(name)?, self.files.shown(), name))
    }

    /// How many bytes a layer has in the archive.
    pub fn layer_size(&self, name: &str) -> Result<u64, Error> {
        Ok(self.files.open(name)?.len())
    }

    /// What the archive is called in messages.
    pub fn shown(&self) -> &str {
        self.files.shown()
    }
}

/// Opens the file `path`; refuses what is not a regular file.
pub fn open(path: &Path) -> Result<File, Error> {
    let shown = || path.display().to_string();
    // without O_NONBLOCK a FIFO would be waited for
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(|source| Error::File { action: "open", shown: shown(), source })?;
    let regular = file.metadata().is_ok_and(|found| found.is_file());
    if regular { Ok(file) } else { Err(Error::NotAFile { shown: shown() }) }
}

/// Opens the tar archive `file`, whichever of the forms it has; one that has both is read as a layout, whose
/// blobs have digests.
pub fn open_archive(file: File, shown: &str) -> Result<Images, Error> {
    let files = Files::archive(file, shown)?;
    if files.has(MARKER) {
        return Layout::open(files).map(Images::Layout);
    }
    if files.has(docker_archive::MANIFEST) {
        return DockerArchive::of(files).map(Images::Docker);
    }
    Err(Error::NoForm { shown: shown.to_owned() })
}
