//! Modes, owners, times, attributes, devices.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::{Place, refused};
use crate::store::listing::{append, append_records, header, layer, tree};

#[test]
fn modes_are_exact() {
    let listing = "d 777 open\nd 0 closed\nf 644 closed/a x\nd 555 fixed\nf 444 fixed/a x\nd 2775 group\nd 1777 tmp
        f 4755 su x\nf 2711 wall x\nf 1644 sticky x\nf 666 all x\nf 777 run x\nf 0 none\nf 7777 every x\np 666 fifo";
    let place = Place::new();
    let root = place.tree(&layer(listing));
    for line in listing.lines().filter(|line| !line.contains("closed/")) {
        let mut words = line.split_whitespace().skip(1);
        let mode = u32::from_str_radix(words.next().unwrap(), 8).unwrap();
        let found = fs::metadata(root.join(words.next().unwrap())).unwrap().mode() & 0o7777;
        assert_eq!(found, mode, "{line}: {found:o}");
    }
    assert_eq!(fs::metadata(&root).unwrap().mode() & 0o7777, 0o755, "of a root nobody described");
    assert_eq!(fs::metadata(place.tree(&layer("d 1700 ./"))).unwrap().mode() & 0o7777, 0o1700);
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(fs::read(root.join("closed/a")).unwrap(), b"x");
}

#[test]
fn owners_are_the_callers_and_written_down() {
    let place = Place::new();
    let tar = layer(
        "f 640 etc/shadow x | gid=42
         d 2755 var/mail | uid=8 gid=8
         l l etc/shadow | uid=1000
         f 644 big x | uid=4294967294
         f 644 a x | uid=5
         f 644 a x
         l lib var
         f 644 lib/x y | gid=7
         c 600 dev/console 5:1 | uid=3",
    );
    let meta = place.unpack(&tar).unwrap();
    let root = place.store.layer_tree(&meta.diff_id);
    let own = fs::metadata(place.folder.path()).unwrap().uid();
    for name in ["etc/shadow", "var/mail", "l", "big", "var/x"] {
        assert_eq!(fs::symlink_metadata(root.join(name)).unwrap().uid(), own, "{name}");
    }
    let owners = place.store.foreign_owners(&meta.diff_id).unwrap();
    let found: Vec<String> = owners
        .iter()
        .map(|owner| format!("{} {:o} {}:{}", owner.path.display(), owner.mode, owner.uid, owner.gid))
        .collect();
    let expected =
        ["big 644 4294967294:0", "etc/shadow 640 0:42", "l 777 1000:0", "var/mail 2755 8:8", "var/x 644 0:7"];
    assert_eq!(found, expected);
    for (option, words) in [("uid=4294967296", "refused PAX record"), ("gid=-1", "refused PAX record")] {
        let mut tar = Vec::new();
        let (key, value) = option.split_once('=').unwrap();
        append_records(&mut tar, b'x', &[(key.as_bytes(), value.as_bytes())]);
        append(&mut tar, header(b'0', 0o644, b"a"), b"x");
        assert!(refused(&tar).contains(words));
    }
}

#[test]
fn times_are_kept() {
    let place = Place::new();
    let root = place.tree(&layer(
        "d 755 d | mtime=1000000000.000000001
         f 644 d/f x | mtime=1350244992.023960108
         l d/l f | mtime=-1.5
         p 600 d/p | mtime=7
         f 644 e/f x | mtime=99.5
         d 755 ./ | mtime=12",
    ));
    for (name, seconds, nanos) in [
        ("", 12, 0),
        ("d", 1_000_000_000, 1),
        ("d/f", 1_350_244_992, 23_960_108),
        ("d/l", -2, 500_000_000),
        ("d/p", 7, 0),
        ("e", 99, 500_000_000),
    ] {
        let found = fs::symlink_metadata(root.join(name)).unwrap();
        assert_eq!((found.mtime(), found.mtime_nsec()), (seconds, nanos), "{name}");
    }
}

#[test]
fn attributes_of_the_user_alone_are_set() {
    let place = Place::new();
    let tar = layer(
        "f 444 a x | user.note=1\\x00\\x0a2
         d 555 d | user.note=z
         f 644 cap x | security.capability=\\x01\\x00 user.note=y
         l l a | user.note=n
         f 644 evil x | user.overlay.opaque=y user.overlay.whiteout=y
         d 755 evil2 | user.overlay.opaque=y trusted.overlay.redirect=/x
         f 644 redirect x | user.overlay.redirect=/etc/passwd",
    );
    let meta = place.unpack(&tar).unwrap();
    let root = place.store.layer_tree(&meta.diff_id);
    assert_eq!(
        tree(&root).lines().skip(1).collect::<Vec<_>>(),
        [
            "f 444 a x user.note=1\\x00\\n2",
            "f 644 cap x user.note=y",
            "d 555 d user.note=z",
            "f 644 evil x",
            "d 755 evil2",
            "l l a",
            "f 644 redirect x",
        ]
    );
    assert_eq!((meta.tally.xattrs.count, meta.tally.xattrs.first.as_str()), (2, "cap"));
    assert_eq!((meta.tally.overlay_xattrs.count, meta.tally.overlay_xattrs.first.as_str()), (3, "evil"));
    let index = fs::read_to_string(root.with_file_name("index")).unwrap();
    for line in ["x security.capability \\x01\\x00", "x user.overlay.redirect /etc/passwd", "x user.note n"] {
        assert!(index.lines().any(|found| found == line), "{line}");
    }
    let notes = meta.tally.notes();
    assert_eq!(notes[0], "entries with attributes kept aside: 2, the first `cap`");
}

#[test]
fn devices_are_not_made() {
    let place = Place::new();
    let meta = place.unpack(&layer("c 666 dev/null 1:3\nb 660 dev/sda 8:0\nc 0 etc/passwd 0:0")).unwrap();
    let root = place.store.layer_tree(&meta.diff_id);
    assert_eq!(tree(&root), "d 755 .\nd 755 dev\nd 755 etc", "0:0 least of all: it would be a whiteout");
    assert_eq!((meta.tally.devices.count, meta.tally.devices.first.as_str()), (3, "dev/null"));
    let index = fs::read_to_string(root.with_file_name("index")).unwrap();
    assert!(
        index.contains("c 666 0 0 1:3 dev/null\nb 660 0 0 8:0 dev/sda\nc 0 0 0 0:0 etc/passwd\n"),
        "{index}"
    );
    assert!(index.contains("i 2 etc\ni 1 dev\n"), "the root is implied as well: {index}");
    assert!(place.store.foreign_owners(&meta.diff_id).unwrap().is_empty());
}
