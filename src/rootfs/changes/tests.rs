use std::collections::HashMap;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::{Files, Lower, Packing, What, walk, write_layer};
use crate::mount::Driver;
use crate::store::TarWriter;
use crate::sys::fd;

/// An upper folder and one layer, with times alike unless a test changes them.
struct Place {
    root: tempfile::TempDir,
    lowers: Vec<Lower>,
    driver: Driver,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("upper")).unwrap();
        let tree = root.path().join("lower");
        fs::create_dir_all(&tree).unwrap();
        Self { root, lowers: vec![Lower { tree, owners: HashMap::new() }], driver: Driver::Overlay }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// A file with a time of its own, so that copies of it are known again.
    fn file(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(7)).unwrap();
    }

    fn folder(&self, path: &str) -> OwnedFd {
        fs::create_dir_all(self.at(path)).unwrap();
        File::open(self.at(path)).unwrap().into()
    }

    fn files(&self) -> PathBuf {
        self.at("upper")
    }

    fn changes(&self) -> String {
        self.with_account(Default::default())
    }

    /// The layer, whose files belong to whoever runs the test unless it says otherwise.
    fn lowers(&self) -> Vec<Lower> {
        let Lower { tree, owners } = &self.lowers[0];
        let mut owners = owners.clone();
        let ours = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(tree.join(&folder)).unwrap().flatten() {
                let path = folder.join(entry.file_name());
                owners.entry(path.to_str().unwrap().into()).or_insert(ours);
                if entry.file_type().unwrap().is_dir() {
                    folders.push(path);
                }
            }
        }
        vec![Lower { tree: tree.clone(), owners }]
    }

    fn with_account(&self, account: [Vec<Vec<u8>>; 2]) -> String {
        let (upper, lowers) = (self.files(), self.lowers());
        let files = Files {
            upper: &upper,
            lowers: &lowers,
            driver: self.driver,
            many_ids: true,
            account,
            untouched_before: None,
        };
        let mut seen = Vec::new();
        walk(&files, &mut |change| {
            let letter = match change.what {
                What::Added => 'A',
                What::Changed => 'C',
                What::Deleted => 'D',
                What::Kept => return Ok(()),
            };
            let content = change.entry.and_then(|entry| entry.content.clone()).unwrap_or_default();
            seen.push(format!(
                "{letter} {}{}",
                change.path.escape_ascii(),
                String::from_utf8(content).unwrap()
            ));
            Ok(())
        })
        .unwrap();
        seen.join("\n")
    }
}

fn set(path: &Path, name: &str, value: &[u8]) {
    fd::fsetxattr(File::open(path).unwrap().as_fd(), name.as_bytes(), value).unwrap();
}

#[test]
fn every_form_of_a_deletion() {
    let mut place = Place::new();
    for name in ["a", "b", "c", "d/x", "e/x", "e/y", "f/x", "kept"] {
        place.file(&format!("lower/{name}"), "x");
    }
    let upper = place.folder("upper");
    fd::make_whiteout(upper.as_fd(), b"a").unwrap();
    place.file("upper/b", "");
    set(&place.at("upper/b"), "user.overlay.whiteout", b"y");
    set(&place.at("upper"), "user.overlay.opaque", b"x");
    place.file("upper/.wh.c", "");
    place.file("upper/.wh.never-there", "");
    fd::make_whiteout(upper.as_fd(), b"neither").unwrap();
    place.folder("upper/d");
    set(&place.at("upper/d"), "user.overlay.opaque", b"y");
    place.file("upper/e/y", "new");
    set(&place.at("upper/e"), "user.fuseoverlayfs.opaque", b"y");
    place.folder("upper/f");
    place.file("upper/f/.wh..wh..opq", "");
    place.driver = Driver::Fuse;
    assert_eq!(place.changes(), "D c\nD a\nD b\nD d/x\nD e/x\nC e/y\nD f/x");
    // what the one at work does not write is the user's own
    let own = "A .wh.c\nA .wh.never-there";
    place.driver = Driver::Overlay;
    assert_eq!(place.changes(), format!("{own}\nD a\nD b\nD d/x\nC e/y\nA f/.wh..wh..opq"));
    place.driver = Driver::Copy;
    assert_eq!(
        place.changes(),
        format!("{own}\nD a\nC b\nD c\nD d/x\nD e/x\nC e/y\nA f/.wh..wh..opq\nD f/x\nD kept")
    );
}

#[test]
fn what_is_as_it_was_is_no_change() {
    let mut place = Place::new();
    for side in ["lower", "upper"] {
        for name in ["same", "longer", "mode", "linked", "d/same", "xattr"] {
            place.file(&format!("{side}/{name}"), "x");
        }
        symlink("to", place.at(&format!("{side}/link"))).unwrap();
        symlink("to", place.at(&format!("{side}/other"))).unwrap();
    }
    place.file("lower/gone-unless-whole", "x");
    place.file("upper/longer", "xx");
    fs::set_permissions(place.at("upper/mode"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::hard_link(place.at("upper/linked"), place.at("upper/name")).unwrap();
    set(&place.at("upper/xattr"), "user.x", b"1");
    set(&place.at("upper/same"), "user.overlay.origin", b"1");
    fs::remove_file(place.at("upper/other")).unwrap();
    place.file("upper/other", "x");
    let partial = "C linked\nC longer\nC mode\nA name\nC other\nC xattr";
    assert_eq!(place.changes(), partial);
    place.driver = Driver::Copy;
    let whole = partial.replace("C linked", "D gone-unless-whole\nC linked");
    assert_eq!(place.changes(), whole);
}

#[test]
fn names_that_a_copy_has_from_the_image_are_no_change() {
    let mut place = Place::new();
    for side in ["lower", "upper"] {
        for name in ["a", "c", "e"] {
            place.file(&format!("{side}/{name}1"), "x");
            fs::hard_link(place.at(&format!("{side}/{name}1")), place.at(&format!("{side}/{name}2")))
                .unwrap();
        }
        place.file(&format!("{side}/one"), "x");
    }
    place.driver = Driver::Copy;
    assert_eq!(place.changes(), "");
    // what is written to one of them is in all; a new one is alone
    place.file("upper/c1", "other");
    fs::remove_file(place.at("upper/e1")).unwrap();
    place.file("upper/e1", "other");
    fs::hard_link(place.at("upper/one"), place.at("upper/two")).unwrap();
    assert_eq!(place.changes(), "C c1\nC c2\nC e1\nC one\nA two");
}

#[test]
fn owners_are_compared_with_those_of_the_image() {
    let mut place = Place::new();
    for side in ["lower", "upper"] {
        place.file(&format!("{side}/mine"), "x");
        place.file(&format!("{side}/theirs"), "x");
    }
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    place.lowers[0].owners.insert(b"mine".to_vec(), (uid, gid));
    place.lowers[0].owners.insert(b"theirs".to_vec(), (uid + 1, gid));
    assert_eq!(place.changes(), "C theirs");
}

#[test]
fn what_a_start_leaves_is_no_change() {
    let place = Place::new();
    place.file("lower/etc/passwd", "root\n");
    place.file("lower/etc/group", "root"); // no break at the end
    let mark = |path: &str| set(&place.at(path), "user.devbox.setup", b"y");
    for folder in ["upper/home/me", "upper/srv"] {
        place.folder(folder);
        mark(folder);
    }
    mark("upper/home");
    place.file("upper/etc/hosts", "");
    mark("upper/etc/hosts");
    symlink("/run/devbox/localtime", place.at("upper/etc/localtime")).unwrap();
    symlink("/proc/self/mounts", place.at("upper/etc/mtab")).unwrap();
    place.file("upper/etc/passwd", "root\nme:bash\n");
    place.file("upper/etc/group", "root\nme\n");
    let lines = [vec![b"me:sh\n".to_vec(), b"me:bash\n".to_vec()], vec![b"me\n".to_vec()]];
    assert_eq!(place.with_account(lines.clone()), "");
    // and what the user then does with it is
    place.file("upper/srv/file", "x");
    place.file("upper/etc/hosts", "127.0.0.1 localhost\n");
    place.file("upper/etc/passwd", "root\nme:bash\nbob\n");
    let found = place.with_account(lines);
    assert_eq!(found, "A etc/hosts\nC etc/passwdroot\nbob\n\nA srv\nA srv/file");
}

#[test]
fn kinds_may_change() {
    let place = Place::new();
    place.file("lower/file", "x");
    place.file("lower/folder/x", "x");
    place.folder("upper/file");
    place.file("upper/folder", "x");
    // a socket is nothing to be kept, but what it took the place of is gone
    place.file("lower/was", "x");
    let sockets = ["upper/socket", "upper/was"]
        .map(|path| std::os::unix::net::UnixListener::bind(place.at(path)).unwrap());
    assert_eq!(place.changes(), "C file\nC folder\nD was");
    drop(sockets);
}

#[test]
fn a_layer_reads_back_as_the_changes() {
    let place = Place::new();
    place.file("lower/d/gone", "x");
    let upper = place.folder("upper/d");
    fd::make_whiteout(upper.as_fd(), b"gone").unwrap();
    place.file("upper/d/a", "text");
    fs::hard_link(place.at("upper/d/a"), place.at("upper/d/b")).unwrap();
    let holes = File::create(place.at("upper/holes")).unwrap();
    fd::pwrite(holes.as_fd(), b"end", 10 << 20).unwrap();
    symlink("nowhere", place.at("upper/link")).unwrap();
    fd::mkfifoat(place.folder("upper").as_fd(), b"pipe").unwrap();
    let path = place.files();
    let files = Files {
        upper: &path,
        lowers: &place.lowers,
        driver: Driver::Overlay,
        many_ids: true,
        account: Default::default(),
        untouched_before: None,
    };
    let layer = |latest| {
        let mut tar = TarWriter::new(Vec::new());
        write_layer(&files, &mut tar, &Packing { latest, prefix: Vec::new() }).unwrap();
        tar.finish().unwrap()
    };
    let bytes = layer(Some(3));
    assert!(bytes.len() < 100_000, "the hole is not written");
    assert_eq!(bytes, layer(Some(3)));
    // the `tar` crate reads what we wrote, holes apart
    let mut archive = tar::Archive::new(&bytes[..]);
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            assert!(entry.header().mtime().unwrap() <= 3);
            format!("{:?} {}", entry.header().entry_type(), entry.path().unwrap().display())
        })
        .collect();
    let expected = [
        "Directory d/",
        "Regular d/a",
        "Link d/b",
        "Regular d/.wh.gone",
        "Regular GNUSparseFile.0/sparse",
        "Symlink link",
        "Fifo pipe",
    ];
    assert_eq!(names, expected);
    place.file("upper/.wh.mine", "not empty, so no deletion");
    let mut tar = TarWriter::new(Vec::new());
    let error = write_layer(&files, &mut tar, &Packing::default()).unwrap_err();
    assert!(error.to_string().contains("`.wh.mine` can't be in an image"), "{error}");
}
