//! The image's owners in a box with many ids, where all files of the layers are the caller's: a layer of the box's own.
//!
//! Of most images a few small files belong to others than root. The layer has copies of these, under their true owners,
//! and the folders on the way, and stands above those of the image. Where the copies would be large and can't share
//! blocks, it has all of the image but no content, and stands instead of its layers: content is hard-linked beside, and
//! found by overlayfs in a data-only layer. Kernels before 6.16 allow that to the host's root alone, and get copies.
//!
//! It is made aside and renamed, so that a box has all of it or nothing.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::copy as copy_driver;
use super::flatten::{Fault, flatten_beside, modified, settle, stat};
use crate::idmap::IdMaps;
use crate::probe::attempt::data_layers;
use crate::rootfs::{Error, ForeignOwner};
use crate::sys::{copy, fd};
use crate::{store, userns};

/// Bytes of copies from which on content is left where it is, which costs an inode for each file of the image.
const LARGE: u64 = 32 << 20;

/// A box's layer of owners.
#[derive(Debug, Clone)]
pub struct Delta {
    /// The layer.
    pub tree: PathBuf,
    /// The content of its files, when it stands instead of the image's layers.
    pub data: Option<PathBuf>,
}

/// That of the box in `folder`, for an image of these `lowers`.
pub fn of(folder: &Path, lowers: &[PathBuf]) -> Option<Delta> {
    let place = folder.join("owners");
    let is_its = fd::read_small(&place.join("of"), 1 << 20).is_ok_and(|text| text == key(lowers));
    let data = place.join("data");
    is_its.then(|| Delta { tree: place.join("tree"), data: data.exists().then_some(data) })
}

/// Makes it for the box whose lock the caller holds, from `lowers`, topmost first, for `owners` that are all within
/// `maps`. What fails leaves nothing.
pub fn make(
    folder: &Path,
    owners: &[ForeignOwner],
    lowers: &[PathBuf],
    maps: &IdMaps,
    volatile: bool,
) -> Result<(), Error> {
    let (place, draft) = (folder.join("owners"), folder.join("owners.new"));
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { what, path, source }
    };
    // of one who was killed, or of another image
    for left in [&draft, &place] {
        remove(left, maps)?;
    }
    fs::DirBuilder::new().mode(0o700).create(&draft).map_err(failed("make", &draft))?;
    let work = |mut told: File| {
        // modes are the image's
        nix::sys::stat::umask(Mode::empty());
        let _ = match build(&draft, owners, lowers, volatile) {
            Ok(()) => told.write_all(&0_i32.to_ne_bytes()),
            Err(Fault { path, errno }) => {
                told.write_all(&[&(errno as i32).to_ne_bytes()[..], &path].concat())
            }
        };
    };
    let hear = |mut told: File| {
        let mut said = Vec::new();
        told.read_to_end(&mut said).map(|_| said)
    };
    let said = userns::within(maps, work, hear)?.map_err(failed("make", &draft))?;
    let made = match said.split_first_chunk().map(|(errno, path)| (i32::from_ne_bytes(*errno), path)) {
        Some((0, _)) => fs::write(draft.join("of"), key(lowers))
            .and_then(|()| fs::rename(&draft, &place))
            .map_err(failed("make", &place)),
        Some((errno, path)) => Err(Error::Owner {
            name: String::from_utf8_lossy(path).into_owned(),
            source: io::Error::from_raw_os_error(errno),
        }),
        None => Err(failed("make", &draft)(io::Error::other("the process that made it was killed"))),
    };
    if made.is_err() {
        remove(&draft, maps)?;
    }
    made
}

/// What the layer is for.
fn key(lowers: &[PathBuf]) -> Vec<u8> {
    lowers.iter().flat_map(|lower| [lower.as_os_str().as_encoded_bytes(), b"\n"].concat()).collect()
}

/// Removes a tree that may have files of others.
fn remove(tree: &Path, maps: &IdMaps) -> Result<(), Error> {
    if !tree.exists() {
        return Ok(());
    }
    let removed = userns::within(
        maps,
        |_| drop(store::remove_tree(tree)),
        |mut told| told.read_to_end(&mut Vec::new()),
    );
    removed?
        .and_then(|_| if tree.exists() { Err(io::Error::other("something in it stays")) } else { Ok(()) })
        .map_err(|source| Error::File { what: "remove", path: tree.to_owned(), source })
}

fn build(draft: &Path, owners: &[ForeignOwner], lowers: &[PathBuf], volatile: bool) -> Result<(), Fault> {
    let open = |path: &Path| File::open(path).map(OwnedFd::from).map_err(|error| fault(&error));
    let folder = |name: &str| {
        let path = draft.join(name);
        fs::DirBuilder::new().mode(0o755).create(&path).map_err(|error| fault(&error))?;
        open(&path)
    };
    let layers = lowers.iter().map(|lower| open(lower)).collect::<Result<Vec<_>, _>>()?;
    let tree = folder("tree")?;
    let large = || size(owners, &layers) > LARGE;
    if large() && !lowers.first().is_some_and(|lower| copy_driver::shares(draft, lower)) && data_layers(draft)
    {
        return build_whole(draft, owners, lowers, &tree, &folder("data")?, volatile);
    }
    build_few(owners, layers, tree.try_clone().map_err(|error| fault(&error))?)?;
    // Content has to be on the disk before it has a name.
    if volatile { Ok(()) } else { Ok(fd::syncfs(&tree)?) }
}

/// Copies of what `owners` names.
fn build_few(owners: &[ForeignOwner], layers: Vec<OwnedFd>, tree: OwnedFd) -> Result<(), Fault> {
    let mut making =
        Making { layers, tree, there: HashSet::new(), folders: Vec::new(), links: HashMap::new() };
    for owner in owners {
        let path = relative(owner);
        making.entry(path, owner).map_err(|error| error.at(path))?;
    }
    // A name in a folder changes its time.
    for (path, found) in making.folders.iter().rev() {
        let folder = walk(making.tree.as_fd(), path)?;
        fd::futimens(folder.as_fd(), &modified(found))?;
    }
    Ok(())
}

/// All of the image, content beside.
fn build_whole(
    draft: &Path,
    owners: &[ForeignOwner],
    lowers: &[PathBuf],
    tree: &OwnedFd,
    data: &OwnedFd,
    volatile: bool,
) -> Result<(), Fault> {
    let copied = flatten_beside(lowers.iter().rev(), &draft.join("tree"), data)?;
    for owner in owners {
        let path = relative(owner);
        let give = || {
            let (above, name) = split(path);
            let above = walk(tree.as_fd(), above)?;
            fd::chown_at(above.as_fd(), name, owner.uid, owner.gid)?;
            let found = fd::stat_at(above.as_fd(), name)?;
            if found.st_mode & libc::S_IFMT == libc::S_IFLNK {
                return Ok(());
            }
            let handle = fd::openat(above.as_fd(), name, OFlag::O_PATH, 0)?;
            Ok(fd::chmod_handle(handle.as_fd(), owner.mode)?)
        };
        give().map_err(|error: Fault| error.at(path))?;
    }
    // What is nothing but names gets to the disk in their order.
    if copied && !volatile { Ok(fd::syncfs(tree)?) } else { Ok(()) }
}

/// Bytes of the files among `owners`.
fn size(owners: &[ForeignOwner], layers: &[OwnedFd]) -> u64 {
    let one = |owner: &ForeignOwner| {
        let (above, name) = split(relative(owner));
        let above = walk(layers.get(owner.depth)?.as_fd(), above).ok()?;
        let found = fd::stat_at(above.as_fd(), name).ok()?;
        (found.st_mode & libc::S_IFMT == libc::S_IFREG).then_some(found.st_size as u64)
    };
    owners.iter().filter_map(one).sum()
}

fn relative(owner: &ForeignOwner) -> &[u8] {
    let path = owner.path.as_os_str().as_encoded_bytes();
    path.strip_prefix(b"/").unwrap_or(path)
}

/// The folder a path lies in, and its name there.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1))
}

fn fault(error: &io::Error) -> Fault {
    Fault { path: Vec::new(), errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)) }
}

struct Making {
    /// Topmost first.
    layers: Vec<OwnedFd>,
    tree: OwnedFd,
    /// Folders that are made.
    there: HashSet<Vec<u8>>,
    folders: Vec<(Vec<u8>, libc::stat)>,
    /// Where the first of several names of a file went.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl Making {
    fn entry(&mut self, path: &[u8], owner: &ForeignOwner) -> Result<(), Fault> {
        let (above, name) = split(path);
        self.folder(above.strip_suffix(b"/").unwrap_or(above))?;
        let (from, to) = (walk(self.layers[owner.depth].as_fd(), above)?, walk(self.tree.as_fd(), above)?);
        let (from, to) = (from.as_fd(), to.as_fd());
        let found = fd::stat_at(from, name)?;
        match found.st_mode & libc::S_IFMT {
            libc::S_IFDIR => {
                self.folder(path)?;
                fd::chown_at(to, name, owner.uid, owner.gid)?;
                fd::fchmod(fd::open_folder(to, name)?.as_fd(), owner.mode)?;
            }
            libc::S_IFREG => self.file(from, to, path, name, &found, owner)?,
            libc::S_IFLNK => {
                fd::symlinkat(&fd::readlinkat(from, name)?, to, name)?;
                fd::chown_at(to, name, owner.uid, owner.gid)?;
                fd::utimensat(to, name, &modified(&found))?;
            }
            libc::S_IFIFO => {
                fd::mkfifoat(to, name)?;
                fd::chown_at(to, name, owner.uid, owner.gid)?;
                let handle = fd::openat(to, name, OFlag::O_PATH, 0)?;
                fd::chmod_handle(handle.as_fd(), owner.mode)?;
                fd::utimensat(to, name, &modified(&found))?;
            }
            // a device, which no layer of a user's has
            _ => {}
        }
        Ok(())
    }

    /// Makes a folder and those above it, as they are in the image but for their owners.
    fn folder(&mut self, path: &[u8]) -> Result<(), Fault> {
        let ends =
            path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
        for path in ends.map(|end| &path[..end]).filter(|path| !path.is_empty()) {
            if !self.there.insert(path.to_vec()) {
                continue;
            }
            let from = self.layers.iter().find_map(|lower| walk(lower.as_fd(), path).ok());
            let from = from.ok_or(Fault { path: Vec::new(), errno: Errno::ENOENT })?;
            let (above, name) =
                path.split_at(path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1));
            let above = walk(self.tree.as_fd(), above)?;
            fd::mkdirat(above.as_fd(), name, 0o700)?;
            let found = stat(from.as_fd())?;
            settle(from.as_fd(), fd::open_folder(above.as_fd(), name)?.as_fd(), &found)?;
            self.folders.push((path.to_vec(), found));
        }
        Ok(())
    }

    fn file(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &[u8],
        name: &[u8],
        found: &libc::stat,
        owner: &ForeignOwner,
    ) -> Result<(), Fault> {
        if found.st_nlink > 1 {
            let first = self.links.entry((found.st_dev, found.st_ino)).or_insert_with(|| path.to_vec());
            if first != path && fd::linkat(self.tree.as_fd(), first, to, name).is_ok() {
                return Ok(());
            }
        }
        let source = fd::openat(from, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)?;
        let target = fd::openat(to, name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL, 0o600)?;
        if !copy::share(&source, &target)? {
            copy::copy::<Fault>(source.as_fd(), target.as_fd(), found.st_size as u64, &mut |_| Ok(()))?;
        }
        fd::chown_at(to, name, owner.uid, owner.gid)?;
        settle(source.as_fd(), target.as_fd(), found)?;
        Ok(fd::fchmod(target.as_fd(), owner.mode)?)
    }
}

/// A folder below `root`; no link on the way is followed.
fn walk(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Fault> {
    let mut folder = fd::openat(root, b".", OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)?;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        folder = fd::open_folder(folder.as_fd(), name)?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::sys::xattr;

    /// Two layers: `srv/data` has two names in the lower one, and `srv` other permissions in the upper one.
    fn layers() -> (tempfile::TempDir, Vec<PathBuf>, Vec<ForeignOwner>) {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for path in ["low/srv/own", "low/etc", "top/srv", "draft"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        fs::write(at("low/srv/data"), "content").unwrap();
        fs::hard_link(at("low/srv/data"), at("low/srv/own/same")).unwrap();
        fs::write(at("low/etc/else"), "root's").unwrap();
        fs::write(at("low/srv/empty"), "").unwrap();
        symlink("data", at("low/srv/link")).unwrap();
        fs::set_permissions(at("top/srv"), fs::Permissions::from_mode(0o750)).unwrap();
        let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        let foreign =
            |(path, mode): (&str, u32)| ForeignOwner { path: path.into(), uid, gid, mode, depth: 1 };
        let owners = [
            ("/srv/data", 0o4711),
            ("/srv/empty", 0o600),
            ("/srv/link", 0o777),
            ("/srv/own", 0o2770),
            ("/srv/own/same", 0o4711),
        ]
        .map(foreign);
        let lowers = vec![at("top"), at("low")];
        (folder, lowers, owners.to_vec())
    }

    fn looks_right(tree: &Path) {
        let mode = |path: &str| fs::symlink_metadata(tree.join(path)).unwrap().mode() & 0o7777;
        let modes = ["srv", "srv/data", "srv/empty", "srv/own", "srv/own/same"].map(mode);
        assert_eq!(modes, [0o750, 0o4711, 0o600, 0o2770, 0o4711]);
        assert_eq!(fs::read_link(tree.join("srv/link")).unwrap(), Path::new("data"));
        let number = |path: &str| fs::metadata(tree.join(path)).unwrap().ino();
        assert_eq!(number("srv/data"), number("srv/own/same"), "a file of two names stays one");
    }

    #[test]
    fn a_few_are_copied() {
        let (folder, lowers, owners) = layers();
        build(&folder.path().join("draft"), &owners, &lowers, true).unwrap();
        let tree = folder.path().join("draft/tree");
        looks_right(&tree);
        assert_eq!(fs::read(tree.join("srv/data")).unwrap(), b"content");
        assert!(!tree.join("etc").exists(), "what is root's is not in it");
        let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(time(&tree.join("srv")), time(&lowers[0].join("srv")));
    }

    #[test]
    fn content_stays_where_it_is() {
        let (folder, lowers, owners) = layers();
        let (draft, open) =
            (folder.path().join("draft"), |path: &Path| OwnedFd::from(File::open(path).unwrap()));
        let (tree, data) = (draft.join("tree"), draft.join("data"));
        for path in [&tree, &data] {
            fs::create_dir(path).unwrap();
        }
        build_whole(&draft, &owners, &lowers, &open(&tree), &open(&data), true).unwrap();
        looks_right(&tree);
        let led = fs::metadata(tree.join("srv/data")).unwrap();
        assert_eq!((led.len(), led.blocks()), (7, 0));
        let to = xattr::get(&tree.join("srv/data"), c"user.overlay.redirect").unwrap().unwrap();
        let to = data.join(std::str::from_utf8(&to[1..]).unwrap());
        assert_eq!(fs::metadata(to).unwrap().ino(), fs::metadata(lowers[1].join("srv/data")).unwrap().ino());
        assert_eq!(fs::metadata(tree.join("etc/else")).unwrap().len(), 6, "all of the image is in it");
    }

    #[test]
    fn a_layer_is_for_its_image_alone() {
        let (folder, lowers, _) = layers();
        fs::create_dir(folder.path().join("owners")).unwrap();
        fs::write(folder.path().join("owners/of"), key(&lowers)).unwrap();
        assert!(of(folder.path(), &lowers).is_some());
        assert!(of(folder.path(), &lowers[1..]).is_none());
    }
}
