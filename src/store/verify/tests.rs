//! Damage of every kind, and what is none.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::store::listing::layer;
use crate::sys::fd;

const LISTING: &str = "d 755 d\nf 000 d/closed secret\nd 000 shut\nd 755 shut/up\nf 644 shut/up/file x\n\
    f 644 a one | mtime=7\nh b a\nl l d\nl dead nowhere\np 600 fifo\nf 644 d/.wh.gone \nd 700 e\nf 644 e/x y\n\
    d 755 o\nf 644 o/.wh..wh..opq \nf 600 o/x z\n\
    f 644 owned x | uid=7\nf 644 noted x | user.note=one security.capability=y\nf 0 shy x | user.note=one\nd 755 e | user.note=a\n\
    f 644 .wh.renewed \nd 755 renewed\nc 600 null 1:3\nh zero null | uid=3\n\
    c 600 taken 1:3 | uid=9 user.note=one\nf 644 taken x\nf 644 taken y | user.note=one\n\
    c 600 owned 1:3 | uid=9\nf 644 owned x | uid=7\nc 600 fresh 1:3 | user.note=one\nf 644 fresh y | user.note=one";

fn made() -> (tempfile::TempDir, Store, Digest) {
    made_of(LISTING)
}

fn made_of(listing: &str) -> (tempfile::TempDir, Store, Digest) {
    let place = tempfile::tempdir().unwrap();
    let store = Store::open(&place.path().join("store")).unwrap();
    let tar = layer(listing);
    let hold = store.hold(&mut |_| {}).unwrap();
    let lock = store.take_layer(&hold, &Digest::of(&tar));
    let layer = store.publish_layer(store.unpack_layer(&lock, &tar[..]).unwrap()).unwrap().diff_id;
    (place, store, layer)
}

#[test]
fn all_that_differs_is_named() {
    let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let set = |path: &Path, name: &str, value: &str| {
        let file = fs::File::open(path).unwrap();
        fd::fsetxattr(file.as_fd(), name.as_bytes(), value.as_bytes()).unwrap();
    };
    let index = |tree: &Path, from: &str, to: &str| {
        let path = tree.join("../index");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).unwrap();
    };
    type Break<'a> = &'a dyn Fn(&Path);
    let breaks: &[(Break<'_>, &[&str])] = &[
        (&|_| {}, &[]),
        (&|tree| fs::write(tree.join("a"), "onE").unwrap(), &["a has other bytes"]),
        (&|tree| fs::remove_file(tree.join("b")).unwrap(), &["b is missing"]),
        (
            &|tree| {
                fs::remove_file(tree.join("b")).unwrap();
                fs::write(tree.join("b"), "one").unwrap();
            },
            &["b is no longer a link to the file it was"],
        ),
        (
            &|tree| fs::rename(tree.join("e/x"), tree.join("e/y")).unwrap(),
            &["e/x is missing", "e/y does not belong there"],
        ),
        (&|tree| chmod(&tree.join("d"), 0o777), &["d has other permissions"]),
        (&|tree| chmod(&tree.join("a"), 0o4644), &["a has other permissions"]),
        (
            &|tree| {
                fs::remove_file(tree.join("l")).unwrap();
                symlink("/etc", tree.join("l")).unwrap();
            },
            &["l leads elsewhere"],
        ),
        (
            &|tree| {
                fs::remove_file(tree.join("fifo")).unwrap();
                fs::write(tree.join("fifo"), "").unwrap();
            },
            &["fifo is of another kind"],
        ),
        (&|tree| fs::remove_file(tree.join("d/gone")).unwrap(), &["d/gone shows what it is to hide"]),
        (&|tree| fs::write(tree.join("shut-not"), "").unwrap(), &["shut-not does not belong there"]),
        (&|tree| set(&tree.join("e"), "user.overlay.opaque", "y"), &["e hides what it is to show"]),
        (&|tree| set(tree, "user.overlay.opaque", "y"), &["hides what it is to show"]),
        (&|tree| set(&tree.join("a"), "user.overlay.metacopy", ""), &["a has other attributes"]),
        (&|tree| set(&tree.join("noted"), "user.note", "two"), &["noted has other attributes"]),
        (&|tree| index(tree, "f 644 7 0 - owned\n", ""), &["owned has another owner", "as many owners"]),
        (&|tree| index(tree, "f 644 7 0 - owned\n", "f 644 8 0 - owned\n"), &["owned has another owner"]),
        (
            &|tree| index(tree, "f 644 7 0 - owned\n", "f 644 7 0 - owned\nf 644 1 0 - e/x\n"),
            &["e/x has another owner", "as many owners"],
        ),
        (
            &|tree| index(tree, "f 644 7 0 - owned\n", "f 644 7 0 - owned\nf 644 1 0 - nothing\n"),
            &["nothing has an owner", "as many owners"],
        ),
        (&|tree| fs::remove_file(tree.join("../framing")).unwrap(), &["cannot open"]),
        (&|tree| fs::write(tree.join("../framing"), "x").unwrap(), &["framing is damaged"]),
        (&|tree| fs::write(tree.join("../meta"), "x").unwrap(), &["meta is damaged"]),
        (&|tree| fs::write(tree.join("../index"), "x").unwrap(), &["index is damaged"]),
    ];
    for (damage, expected) in breaks {
        let (_place, store, layer) = made();
        damage(&store.layer_tree(&layer));
        let found = store.verify_layer(&layer, &mut |_| {});
        let found: Vec<String> = found
            .into_iter()
            .map(|damage| format!("{} {}", damage.entry.unwrap_or_default(), damage.why))
            .collect();
        assert_eq!(found.len(), expected.len(), "{found:?} {expected:?}");
        for words in *expected {
            assert!(found.iter().any(|found| found.contains(words)), "{found:?} {words}");
        }
    }
}

#[test]
fn rights_lent_for_a_moment_are_taken_back() {
    let (_place, store, layer) = made();
    let tree = store.layer_tree(&layer);
    for (path, mode) in [("d/closed", 0o400), ("shut", 0o500)] {
        fs::set_permissions(tree.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    assert_eq!(store.verify_layer(&layer, &mut |_| {}), []);
    for path in ["d/closed", "shut"] {
        let mode = fs::symlink_metadata(tree.join(path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0, "{path}");
    }
}

#[test]
fn readers_at_the_same_time_leave_each_other_their_rights() {
    let (_place, store, layer) = made();
    let mode = |path| {
        fs::symlink_metadata(store.layer_tree(&layer).join(path)).unwrap().permissions().mode() & 0o7777
    };
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(store.verify_layer(&layer, &mut |_| {}), []);
                    store.layer_tar(&layer).unwrap().read_to_end(&mut Vec::new()).unwrap();
                }
            });
        }
    });
    assert_eq!((mode("d/closed"), mode("shut")), (0, 0));
}

#[test]
fn what_a_link_passes_by_is_not_made() {
    let (place, store, layer) = made_of("l a outside/none\nl l a/../b\nf 644 l/x y");
    let tree = store.layer_tree(&layer);
    assert_eq!(fs::read(tree.join("outside/b/x")).unwrap(), b"y");
    assert!(!tree.join("outside/none").exists());
    assert_eq!(store.verify_layer(&layer, &mut |_| {}), []);
    drop(place);
}

#[test]
fn progress_is_told_in_bytes() {
    let (_place, store, layer) = made();
    let mut bytes = 0;
    store.verify_layer(&layer, &mut |more| bytes += more);
    assert_eq!(bytes, store.meta(&layer).unwrap().tar_bytes);
}
