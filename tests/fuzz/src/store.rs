//! A store in memory, what has to hold for every layer, and that nothing outside is touched.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::OnceLock;

use devbox::cancel::Cancel;
use devbox::oci::digest::Digest;
use devbox::store::{InUse, Store};

struct Place {
    root: PathBuf,
    store: Store,
}

fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let root = PathBuf::from(format!("/dev/shm/devbox-fuzz-{}", std::process::id()));
        fs::create_dir_all(root.join("outside")).unwrap();
        fs::write(root.join("outside/secret"), "untouched").unwrap();
        let store = Store::open(&root.join("store")).unwrap();
        Place { root, store }
    })
}

/// Unpacks `tar`, and if that succeeds checks all that is promised.
pub fn unpack(tar: &[u8]) {
    let Place { root, store } = place();
    let id = Digest::of(tar);
    let hold = store.hold(&mut |_| {}).unwrap();
    let lock = store.lock_layer(&hold, &id, &Cancel::default(), &mut |_| {}).unwrap().unwrap();
    let unpacked = store.unpack_layer(&lock, tar).and_then(|staged| store.publish_layer(staged));
    drop(lock);
    match unpacked {
        Ok(meta) => {
            assert_eq!((meta.diff_id, meta.tar_bytes), (id, tar.len() as u64));
            let mut again = Vec::new();
            store.layer_tar(&id).unwrap().read_to_end(&mut again).unwrap();
            assert!(again == tar, "the archive made again differs");
            assert_eq!(store.verify_layer(&id, &mut |_| {}), []);
            store.foreign_owners(&id).unwrap();
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() < 4000 && !text.contains(|letter: char| letter.is_control()), "{text:?}");
            assert!(!store.has_layer(&id));
        }
    }
    drop(hold);
    assert_eq!(fs::read_dir(root.join("store/staging")).unwrap().count(), 0, "something is left");
    store.alone(&mut |_| {}).unwrap().collect(&InUse::default()).unwrap();
    assert_eq!(fs::read_dir(root.join("store/layers/sha256")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(root).unwrap().count(), 2, "something was made outside");
    assert_eq!(fs::read_dir(root.join("outside")).unwrap().count(), 1);
    assert_eq!(fs::read(root.join("outside/secret")).unwrap(), b"untouched");
}
