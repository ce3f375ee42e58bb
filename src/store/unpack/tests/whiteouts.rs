//! What hides names of lower layers, and what must not.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::time::TimeSpec;

use super::{Place, becomes, refused};
use crate::store::listing::{layer, tree};
use crate::store::unpack::folders::{Folders, ROOT};
use crate::store::unpack::whiteout::Whiteouts;

#[test]
fn markers_act_on_lower_layers_only() {
    for (listing, expected) in [
        ("f 644 .wh.a x", "w a"),
        ("f 644 etc/.wh.passwd x", "d 755 etc\nw etc/passwd"),
        (
            "d 755 etc\nf 644 etc/.wh..wh..opq x\nf 644 etc/a x",
            "d 755 etc user.overlay.opaque=y\nf 644 etc/a x",
        ),
        (
            "d 755 etc\nf 644 etc/a x\nf 644 etc/.wh..wh..opq x",
            "d 755 etc user.overlay.opaque=y\nf 644 etc/a x",
        ),
        ("f 644 e/.wh..wh..opq x\nf 644 e/.wh.a x", "d 755 e user.overlay.opaque=y"),
        ("f 644 e/.wh.a x\nf 644 e/.wh..wh..opq x", "d 755 e user.overlay.opaque=y"),
        // hidden below, made again here: this layer's stays, in either order
        ("f 644 .wh.a x\nf 644 a y", "f 644 a y"),
        ("f 644 a y\nf 644 .wh.a x", "f 644 a y"),
        ("f 644 .wh.a x\nd 755 a\nf 644 a/b y", "d 755 a user.overlay.opaque=y\nf 644 a/b y"),
        ("d 755 a\nf 644 a/b y\nf 644 .wh.a x", "d 755 a user.overlay.opaque=y\nf 644 a/b y"),
        ("f 644 .wh.a x\nl a b", "l a b"),
        ("f 644 .wh.a x\nf 644 .wh.a x", "w a"),
        // aufs's own
        ("d 700 .wh..wh.plnk\nf 644 .wh..wh.plnk/1.2 x\nf 644 .wh..wh.aufs x\nf 644 a y", "f 644 a y"),
        // what is set aside is not what is hidden (found by fuzzing)
        ("f 644 .wh.a x\nf 644 a y\nc 666 a 1:3", "w a"),
        ("f 644 .wh.a x\nf 644 a y\nf 600 a z", "f 600 a z"),
        ("f 644 d/.wh.a x\nf 644 d/a y\nc 666 d/a 1:3\nf 644 d/b z", "d 755 d\nw d/a\nf 644 d/b z"),
        // a folder that goes takes its markers along
        ("f 644 d/.wh.a x\nf 644 d y", "f 644 d y"),
        ("f 644 d/.wh..wh..opq x\nl d y\nd 700 d", "d 700 d"),
    ] {
        becomes(listing, expected);
    }
    for name in [".wh.", ".wh..", ".wh...", "a/.wh.", "a/.wh..", "a/.wh...", ".wh.a/b"] {
        let error = refused(&layer(&format!("f 644 {name} x")));
        assert!(error.contains(&format!("`{name}` at byte 0 is an invalid whiteout")), "{error}");
    }
    let place = Place::new();
    let meta = place.unpack(&layer("f 644 .wh..wh..opq x\nf 644 d/.wh.a x\nf 644 d/.wh.b x")).unwrap();
    assert!(meta.tally.opaque_root);
    assert_eq!(meta.tally.whiteouts, 2);
}

/// Where devices can't be made, attributes do; and an opaque folder needs neither.
#[test]
fn whiteouts_by_attribute() {
    let place = tempfile::tempdir().unwrap();
    let root = fs::File::open(place.path()).unwrap();
    let mut folders = Folders::new(root.try_clone().unwrap().into(), root.as_fd(), Path::new("tree"));
    folders.describe(ROOT, 0o755, TimeSpec::new(0, 0));
    let time = TimeSpec::new(0, 0);
    for (folder, hidden) in [("a", "x"), ("b", "x"), ("b", "y"), ("c", "made")] {
        let at = folders.make_all(folder.as_bytes(), time).unwrap();
        folders.hide(at, hidden.as_bytes()).unwrap();
        if folder == "b" {
            folders.hide_all(at);
        }
    }
    let at = folders.make_all(b"c", time).unwrap();
    folders.make(at, b"made", time).unwrap();
    assert_eq!(folders.settle(&mut Whiteouts::Attributes, |_, _| Ok(())).unwrap(), (1, false));
    let expected = "d 755 .
d 755 a user.overlay.opaque=x
f 600 a/x  user.overlay.whiteout=y
d 755 b user.overlay.opaque=y
d 755 c
d 755 c/made user.overlay.opaque=y";
    assert_eq!(tree(place.path()), expected);
}
