//! Hostile and odd layers, each as a listing, against the tree it must become or the words it is refused with.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use crate::oci::digest::Digest;
use crate::store::listing::{layer, tree};
use crate::store::{Error, Meta, Store};

mod bytes;
mod inodes;
mod names;
mod sparse;
mod stream;
mod whiteouts;

/// A store with something beside it that no layer may touch.
struct Place {
    folder: tempfile::TempDir,
    store: Store,
    around: String,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "untouched").unwrap();
        fs::set_permissions(outside.join("secret"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("secret", outside.join("link")).unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let around = tree(&outside);
        Self { folder, store, around }
    }

    fn unpack(&self, tar: &[u8]) -> Result<Meta, Error> {
        let hold = self.store.hold(&mut |_| {}).unwrap();
        let lock = self.store.take_layer(&hold, &Digest::of(tar));
        let result = self.store.unpack_layer(&lock, tar).and_then(|staged| self.store.publish_layer(staged));
        drop(lock);
        assert_eq!(tree(&self.folder.path().join("outside")), self.around, "something outside was touched");
        assert_eq!(fs::read_dir(self.folder.path()).unwrap().count(), 2, "something was made outside");
        assert_eq!(fs::read_dir(self.store.staging()).unwrap().count(), 0, "something was left in staging");
        let layers = fs::read_dir(self.folder.path().join("store/layers/sha256")).unwrap().count();
        if result.is_ok() {
            let mut again = Vec::new();
            self.store.layer_tar(&Digest::of(tar)).unwrap().read_to_end(&mut again).unwrap();
            assert!(again == tar, "the archive made again differs");
            assert_eq!(self.store.verify_layer(&Digest::of(tar), &mut |_| {}), []);
        }
        if result.is_err() {
            assert_eq!(layers, 0, "a refused layer got its name");
        }
        result
    }

    /// Path of the tree of a layer that must unpack.
    fn tree(&self, tar: &[u8]) -> PathBuf {
        self.unpack(tar).unwrap();
        self.store.layer_tree(&Digest::of(tar))
    }
}

/// The tree a layer becomes, without its root.
fn unpacked(tar: &[u8]) -> String {
    let place = Place::new();
    let text = tree(&place.tree(tar));
    text.split_once('\n').map(|(_, below)| below.to_owned()).unwrap_or_default()
}

/// The error a layer ends in.
fn refused(tar: &[u8]) -> String {
    match Place::new().unpack(tar) {
        Err(error) => error.to_string(),
        Ok(meta) => panic!("unpacked: {meta:?}"),
    }
}

fn becomes(listing: &str, expected: &str) {
    let lines: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(unpacked(&layer(listing)), lines.join("\n"), "for\n{listing}");
}
