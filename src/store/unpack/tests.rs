//! Hostile and odd layers, each as a listing, against the tree it must become or the words it is refused with.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::oci::digest::Digest;
use crate::store::listing::{append, append_records, header, layer, tree};
use crate::store::{Error, Meta, Store};

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
        let lock = self.store.lock_layer(&hold, &Digest::of(tar), &mut |_| {}).unwrap();
        let result = self.store.unpack_layer(&lock, tar).and_then(|staged| self.store.publish_layer(staged));
        drop(lock);
        assert_eq!(tree(&self.folder.path().join("outside")), self.around, "something outside was touched");
        assert_eq!(fs::read_dir(self.folder.path()).unwrap().count(), 2, "something was made outside");
        assert_eq!(fs::read_dir(self.store.staging()).unwrap().count(), 0, "something was left in staging");
        let layers = fs::read_dir(self.folder.path().join("store/layers/sha256")).unwrap().count();
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

#[test]
fn an_ordinary_layer() {
    becomes(
        "d 755 ./
         d 755 ./etc/
         f 644 ./etc/passwd root:x:0
         l ./etc/mtab ../proc/self/mounts
         h ./etc/group ./etc/passwd
         p 620 ./run/fifo",
        "d 755 etc
         f 644 etc/group root:x:0
         l etc/mtab ../proc/self/mounts
         h etc/passwd etc/group
         d 755 run
         p 620 run/fifo",
    );
    assert_eq!(unpacked(b""), "", "an empty stream is an empty layer, as for the others");
    assert_eq!(unpacked(&layer("")), "");
}

#[test]
fn names_stay_inside() {
    for (listing, expected) in [
        ("f 644 /etc/passwd x", "d 755 etc\nf 644 etc/passwd x"),
        ("f 644 a/../b x", "f 644 b x"),
        ("f 644 .//a/./b x", "d 755 a\nf 644 a/b x"),
        ("f 644 \\xff\\x0a\\x1b[2J,:\\x5c\\x20 x", "f 644 \\xff\\n\\x1b[2J,:\\\\  x"),
    ] {
        becomes(listing, expected);
    }
    for name in ["../outside/secret", "/../outside/secret", "a/../../outside/secret", ".."] {
        let kinds = ["f 644 NAME x", "d 777 NAME", "l NAME x", "h NAME x", "p 666 NAME", "c 666 NAME 1:3"];
        for listing in kinds.map(|kind| format!("f 644 x x\n{}", kind.replace("NAME", name))) {
            let error = refused(&layer(&listing));
            assert!(error.contains(&format!("`{name}` at byte 1024 leaves the image's root")), "{error}");
        }
    }
    let long = "n".repeat(256);
    let error = refused(&layer(&format!("f 644 a/{long} x")));
    assert!(
        error.contains("has a name too long: a part of more than 255 bytes") && error.len() < 350,
        "{error}"
    );
    assert!(refused(&layer(&format!("f 644 {} x", "d/".repeat(40_000)))).contains("more than 65536 bytes"));
    assert!(refused(&layer("f 644 a x | path=a\\x00b")).contains("has a NUL byte"));
    assert!(refused(&layer("f 644 . x")).contains("would replace the image's root"));
    assert!(refused(&layer("l a/.. /x")).contains("would replace the image's root"));
}

#[test]
fn links_on_the_way_stay_inside() {
    for (listing, expected) in [
        // absolute and climbing targets mean the image's root
        ("l a /\nf 644 a/secret x", "l a /\nf 644 secret x"),
        ("l a /outside\nf 644 a/secret x", "l a /outside\nd 755 outside\nf 644 outside/secret x"),
        ("l a ../../outside\nf 644 a/secret x", "l a ../../outside\nd 755 outside\nf 644 outside/secret x"),
        ("d 755 b\nl b/a ../..\nf 644 b/a/x x", "d 755 b\nl b/a ../..\nf 644 x x"),
        ("l a b\nl b c\nd 755 c\nd 700 a/d", "l a b\nl b c\nd 755 c\nd 700 c/d"),
        ("l a .\nf 644 a/a/a/x x", "l a .\nf 644 x x"),
        // markers go through links as well
        ("d 755 d\nl a d\nf 644 a/.wh.x x", "l a d\nd 755 d\nw d/x"),
        ("d 755 d\nl a d\nf 644 a/.wh..wh..opq x", "l a d\nd 755 d user.overlay.opaque=y"),
        // a link is replaced, its target is left alone
        ("d 700 d\nl a d\nd 777 a", "d 777 a\nd 700 d"),
        ("f 600 f x\nl a f\nf 644 a y", "f 644 a y\nf 600 f x"),
        ("l a /outside/secret\nf 666 a y", "f 666 a y"),
        ("l a /outside\nd 777 a\nf 644 a/x y", "d 777 a\nf 644 a/x y"),
        ("l a ../outside\nf 644 .wh.a x", "l a ../outside"),
        ("f 644 f x\nl a f\nl a g", "l a g\nf 644 f x"),
        // the way is looked up anew once a link on it is replaced
        ("d 755 d\nl a d\nf 644 a/x 1\nd 755 a\nf 644 a/x 2", "d 755 a\nf 644 a/x 2\nd 755 d\nf 644 d/x 1"),
        (
            "d 755 d\nl a d\nf 644 a/x 1\nd 755 e\nl a e\nf 644 a/x 2",
            "l a e\nd 755 d\nf 644 d/x 1\nd 755 e\nf 644 e/x 2",
        ),
    ] {
        becomes(listing, expected);
    }
    for (listing, words) in [
        ("l a b\nl b a\nf 644 a/x x", "`a/x` at byte 1024 has too many symbolic links on its way"),
        ("f 644 a x\nf 644 a/b y", "`a/b` at byte 1024 lies below `a`, which is not a folder"),
        ("p 644 a\nf 644 a/b y", "lies below `a`, which is not a folder"),
        ("d 755 d\nf 644 d/a x\nl l d/a\nf 644 l/b y", "lies below `d/a`, which is not a folder"),
    ] {
        assert!(refused(&layer(listing)).contains(words), "{listing}: {}", refused(&layer(listing)));
    }
}

#[test]
fn hard_links_stay_inside() {
    for (listing, expected) in [
        ("f 644 a x\nh b a", "f 644 a x\nh b a"),
        ("f 644 a x\nh b /a", "f 644 a x\nh b a"),
        ("f 644 a x\nd 755 d\nl l /\nh d/b l/a", "f 644 a x\nd 755 d\nh d/b a\nl l /"),
        // to a link: the link itself, not what it leads to
        ("l a /outside/secret\nh b a", "l a /outside/secret\nl b /outside/secret"),
        ("l a ../outside/secret\nh b a\nf 600 b x", "l a ../outside/secret\nf 600 b x"),
        // replaced, not written through
        ("f 644 a x\nh b a\nf 600 b y", "f 644 a x\nf 600 b y"),
        ("f 644 a x\nf 644 b y\nh b a", "f 644 a x\nh b a"),
        ("f 644 a x\nh b a\nh b a", "f 644 a x\nh b a"),
        ("f 644 a x\nd 755 b\nf 644 b/c y\nh b a", "f 644 a x\nh b a"),
        // the mode of the entry is not the inode's
        ("f 640 a x\nh b a | uid=5", "f 640 a x\nh b a"),
        ("c 600 tty 5:0\nh tty0 tty", ""),
    ] {
        becomes(listing, expected);
    }
    for (listing, words) in [
        (
            "h b ../outside/secret",
            "`b` at byte 0 is a hard link to `../outside/secret`, which leaves the image's root",
        ),
        ("h b /outside/secret", "is a hard link to `/outside/secret`, which is not in the same layer"),
        ("l l /outside\nh b l/secret", "is a hard link to `l/secret`, which is not in the same layer"),
        ("h b usr/bin/perl", "is a hard link to `usr/bin/perl`, which is not in the same layer"),
        ("d 755 d\nh b d", "is a hard link to `d`, which is a folder"),
        ("h b .", "is a hard link to `.`, which is a folder"),
        ("f 644 a x\nh a ./a", "is a hard link to itself"),
        ("d 755 b\nf 644 b/c y\nh b b/c", "is a hard link to `b/c`, which is not in the same layer"),
        ("h a ", "has an empty target"),
        ("l a ", "has an empty target"),
    ] {
        assert!(refused(&layer(listing)).contains(words), "{listing}: {}", refused(&layer(listing)));
    }
}

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

#[test]
fn the_last_entry_of_a_name_holds() {
    for (listing, expected) in [
        ("f 644 a x\nf 600 a y", "f 600 a y"),
        ("d 700 d\nf 644 d/a x\nd 755 d", "d 755 d\nf 644 d/a x"),
        ("d 700 d\nd 755 d/e\nf 644 d/e/f x\nf 600 d y", "f 600 d y"),
        ("d 700 d\nf 644 d/e x\nf 600 d y\nd 711 d", "d 711 d"),
        ("d 700 d\nf 644 d/e x\nl d d", "l d d"),
        ("f 600 a x\nd 755 a", "d 755 a"),
        ("l a b\nf 644 a x", "f 644 a x"),
        ("p 644 a\nf 644 a x\np 600 a", "p 600 a"),
        ("f 644 a x\nc 600 a 1:3", ""),
        ("d 755 a\nf 644 a/b x\nb 600 a 8:0", ""),
        ("c 600 a 1:3\nf 644 a x", "f 644 a x"),
    ] {
        becomes(listing, expected);
    }
}

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

#[test]
fn ten_thousand_levels() {
    let place = Place::new();
    let deep = "d/".repeat(10_000);
    let tar = layer(&format!("f 644 {deep}a x\nf 644 {deep}b x\nf 644 c x\nd 0 {deep}"));
    let meta = place.unpack(&tar).unwrap();
    assert_eq!(meta.tally.implied_folders, 10_000, "the last is described, the root is not");
    let index = place.store.layer_tree(&meta.diff_id).with_file_name("index");
    assert!(fs::metadata(index).unwrap().len() < 60_000, "as long as the names, not as their sum");
    crate::store::remove_tree(&place.folder.path().join("store")).unwrap();
    let error = refused(&layer(&format!("d 755 {}", "d/".repeat(20_000))));
    assert!(error.contains("too many folders one in the other"), "{error}");
}

#[test]
fn more_folders_than_are_kept_open() {
    let listing: String = (0..300)
        .map(|n| format!("d 755 a{n}\nd 755 a{n}/b\n"))
        .chain((0..300).map(|n| format!("f 644 a{n}/b/c {n}\n")))
        .collect();
    let text = unpacked(&layer(&listing));
    assert_eq!(text.lines().count(), 900);
    assert!(text.contains("f 644 a299/b/c 299"));
}

#[test]
fn sparse_files_keep_their_holes() {
    let data = vec![b'x'; 4096];
    let size = 8u64 << 40;
    let tera = size.to_string();
    let form_1 = |map: &str, data: &[u8]| {
        let mut body = map.as_bytes().to_vec();
        body.resize(body.len().next_multiple_of(512), 0);
        body.extend_from_slice(data);
        body
    };
    let pax = |records: &[(&[u8], &[u8])], body: &[u8]| {
        let mut tar = Vec::new();
        append_records(&mut tar, b'x', records);
        append(&mut tar, header(b'0', 0o644, b"GNUSparseFile.0/s"), body);
        append(&mut tar, header(b'0', 0o644, b"after"), b"y");
        tar
    };
    let records = |map: &'static [(&'static [u8], &'static [u8])]| map;
    let form_0_0 = pax(
        &[
            &records(&[(b"GNU.sparse.numblocks", b"2")])[..],
            &[(b"GNU.sparse.size", tera.as_bytes()), (b"path", b"s")],
            &records(&[
                (b"GNU.sparse.offset", b"4096"),
                (b"GNU.sparse.numbytes", b"4096"),
                (b"GNU.sparse.offset", b"8796093022208"),
                (b"GNU.sparse.numbytes", b"0"),
            ])[..],
        ]
        .concat(),
        &data,
    );
    let form_0_1 = pax(
        &[
            (b"GNU.sparse.size", tera.as_bytes()),
            (b"GNU.sparse.map", b"4096,4096,8796093022208,0"),
            (b"GNU.sparse.name", b"s"),
        ],
        &data,
    );
    let keys_1_0: [(&[u8], &[u8]); 4] = [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", b"s"),
        (b"GNU.sparse.realsize", tera.as_bytes()),
    ];
    let form_1_0 = pax(&keys_1_0, &form_1("2\n4096\n4096\n8796093022208\n0\n", &data));
    for tar in [form_0_0, form_0_1, form_1_0, old_gnu_sparse(size, &[(4096, 4096)], &data)] {
        let place = Place::new();
        let root = place.tree(&tar);
        let found = fs::metadata(root.join("s")).unwrap();
        assert_eq!(found.len(), size);
        assert!(found.blocks() <= 64, "{} blocks", found.blocks());
        let mut head = vec![0; 12288];
        fs::File::open(root.join("s")).unwrap().read_exact(&mut head).unwrap();
        assert_eq!(head, [vec![0; 4096], data.clone(), vec![0; 4096]].concat());
        assert_eq!(fs::read(root.join("after")).unwrap(), b"y");
    }
    for (map, words) in [
        ("1\n0\n5000\n", "do not add up"),
        ("1\n8796093022208\n4096\n", "beyond its end"),
        ("2\n4096\n2048\n0\n2048\n", "overlap"),
        ("2\n0\n4096\n", "map is malformed"),
        ("x\n", "map is malformed"),
        ("99999999999999999999\n", "map is malformed"),
        ("1\n18446744073709551615\n4096\n", "map is malformed"),
    ] {
        let error = refused(&pax(&keys_1_0, &form_1(map, &data)));
        assert!(error.contains(words), "{map}: {error}");
    }
    let many = format!("1000000\n{}", "0\n0\n".repeat(300_000));
    assert!(refused(&pax(&keys_1_0, &form_1(&many, &[]))).contains("too many segments"));
    let exa = (1u64 << 62).to_string();
    let huge = pax(&[(b"GNU.sparse.size", exa.as_bytes()), (b"GNU.sparse.map", b"0,0")], b"");
    assert!(refused(&huge).contains("has a size of 4611686018427387904 bytes, more than"));
}

/// With its first four segments in the header and the others in blocks of their own.
fn old_gnu_sparse(size: u64, segments: &[(u64, u64)], data: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..1].copy_from_slice(b"s");
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(data.len() as u64);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.set_real_size(size);
    gnu.set_is_extended(segments.len() > 4);
    for (field, (offset, length)) in gnu.sparse.iter_mut().zip(segments) {
        field.set_offset(*offset);
        field.set_length(*length);
    }
    header.set_cksum();
    let mut tar = header.as_bytes().to_vec();
    let rest: Vec<_> = segments.iter().skip(4).collect();
    for (at, chunk) in rest.chunks(21).enumerate() {
        let mut more = tar::GnuExtSparseHeader::new();
        for (field, (offset, length)) in more.sparse_mut().iter_mut().zip(chunk) {
            field.set_offset(*offset);
            field.set_length(*length);
        }
        more.set_is_extended((at + 1) * 21 < rest.len());
        tar.extend_from_slice(more.as_bytes());
    }
    tar.extend_from_slice(data);
    tar.resize(tar.len().next_multiple_of(512), 0);
    append(&mut tar, self::header(b'0', 0o644, b"after"), b"y");
    tar
}

#[test]
fn old_sparse_maps_of_many_blocks() {
    let segments: Vec<(u64, u64)> = (0..60).map(|n| (n * 8192, 1)).collect();
    let data: Vec<u8> = (0..60).map(|n| b'A' + n).collect();
    let place = Place::new();
    let root = place.tree(&old_gnu_sparse(60 * 8192, &segments, &data));
    let content = fs::read(root.join("s")).unwrap();
    assert_eq!(content.len(), 60 * 8192);
    assert!(
        content
            .chunks(8192)
            .zip(&data)
            .all(|(chunk, byte)| chunk[0] == *byte && chunk[1..].iter().all(|byte| *byte == 0))
    );
    assert_eq!(fs::read(root.join("after")).unwrap(), b"y");
}

#[test]
fn records_name_and_measure_the_next_entry() {
    // the size of the records counts, for the body and for where the next header is
    let mut tar = Vec::new();
    append_records(&mut tar, b'x', &[(b"size", b"600"), (b"path", b"long")]);
    let at = tar.len();
    append(&mut tar, header(b'0', 0o644, b"short"), &[b'x'; 600]);
    let mut head = header(b'0', 0o644, b"short");
    head.set_size(0);
    head.set_cksum();
    tar[at..at + 512].copy_from_slice(head.as_bytes());
    append(&mut tar, header(b'0', 0o644, b"after"), b"y");
    let text = unpacked(&tar);
    assert_eq!(text, format!("f 644 after y\nf 644 long {}", "x".repeat(600)));

    // GNU long names; a PAX size before them is the file's, not theirs
    let long = "a/".repeat(120) + "end";
    let mut tar = Vec::new();
    append_records(&mut tar, b'x', &[(b"size", b"2")]);
    append(&mut tar, header(b'L', 0o644, b"././@LongLink"), &[long.as_bytes(), b"\0"].concat());
    append(&mut tar, header(b'K', 0o644, b"././@LongLink"), &[long.as_bytes(), b"\0"].concat());
    append(&mut tar, header(b'0', 0o644, b"cut"), b"xy");
    append(&mut tar, header(b'2', 0o777, b"link"), b"");
    let link = tar.len() - 512;
    tar[link + 157..link + 160].copy_from_slice(b"abc");
    let mut fixed = tar::Header::from_byte_slice(&tar[link..]).clone();
    fixed.set_cksum();
    tar[link..].copy_from_slice(fixed.as_bytes());
    let text = unpacked(&tar);
    assert!(text.contains(&format!("f 644 {long} xy")), "{text}");
    assert!(text.ends_with("l link abc"), "a long target is the next entry's alone: {text}");
    let listing = format!("l link {long}\nf 644 {long} x");
    assert!(unpacked(&layer(&listing)).ends_with(&format!("l link {long}")));

    // global records are comments, or refused
    let global = |key: &[u8], value: &[u8]| {
        let mut tar = Vec::new();
        append_records(&mut tar, b'g', &[(key, value)]);
        append(&mut tar, header(b'0', 0o644, b"a"), b"x");
        tar
    };
    assert_eq!(unpacked(&global(b"comment", b"0123456789abcdef")), "f 644 a x");
    assert_eq!(unpacked(&global(b"SCHILY.xattr.user.note", b"x")), "f 644 a x");
    for key in [&b"path"[..], b"linkpath", b"size", b"GNU.sparse.map"] {
        let error = refused(&global(key, b"1"));
        assert!(error.contains("refused PAX record") && error.contains("(global)"), "{error}");
    }
    // a bodyless kind has none whatever its size says, as the other engines read it
    let mut tar = Vec::new();
    let mut head = header(b'5', 0o755, b"d/");
    head.set_size(4096);
    head.set_cksum();
    tar.extend_from_slice(head.as_bytes());
    append(&mut tar, header(b'0', 0o644, b"a"), b"x");
    assert_eq!(unpacked(&tar), "f 644 a x\nd 755 d");
    // before ustar a folder was a file with a slash
    let mut tar = Vec::new();
    let mut head = header(b'0', 0o755, b"d/");
    head.as_old_mut().linkflag = [0];
    append(&mut tar, head, b"");
    append(&mut tar, header(b'7', 0o644, b"d/contiguous"), b"x");
    assert_eq!(unpacked(&tar), "d 755 d\nf 644 d/contiguous x");
}

#[test]
fn malformed_archives_are_refused() {
    let good = layer("d 755 d\nf 644 d/a 0123456789");
    let broken = |at: usize, byte: u8| {
        let mut tar = good.clone();
        tar[at] = byte;
        refused(&tar)
    };
    assert_eq!(broken(0, b'x'), "malformed layer at byte 0: a header's checksum is wrong");
    assert_eq!(broken(512, b'x'), "malformed layer at byte 512: a header's checksum is wrong");
    assert!(refused(b"junk").contains("at byte 0: the archive is cut off"));
    assert!(refused(&[b'x'; 2048]).contains("at byte 0"));
    for length in [1, 511, 513, 1000, 1024, 1025, 1033] {
        let error = refused(&good[..length]);
        assert!(error.contains("the archive is cut off"), "{length}: {error}");
    }
    let resealed = |change: &dyn Fn(&mut tar::Header)| {
        let mut tar = good.clone();
        let mut header = tar::Header::from_byte_slice(&tar[512..1024]).clone();
        change(&mut header);
        header.set_cksum();
        tar[512..1024].copy_from_slice(header.as_bytes());
        refused(&tar)
    };
    assert!(
        resealed(&|header| header.as_old_mut().size = [0xff; 12]).contains("byte 512: a size is negative")
    );
    assert!(
        resealed(&|header| header.as_old_mut().size = *b"\x80\0\0\x01\0\0\0\0\0\0\0\0").contains("too large")
    );
    assert!(resealed(&|header| header.set_size(u64::MAX >> 1)).contains("the archive is cut off"));
    assert!(resealed(&|header| header.as_old_mut().size = *b"12x00000000\0").contains("malformed"));
    assert!(resealed(&|header| header.as_old_mut().mode = *b"rwxr-xr-").contains("malformed"));
    assert!(resealed(&|header| header.as_old_mut().uid = [0xff; 8]).contains("an owner is out of range"));
    assert!(
        resealed(&|header| header.as_old_mut().linkflag = [b'V'])
            .contains("`d/a` at byte 512 has the unsupported type `V`")
    );
    assert!(resealed(&|header| header.as_old_mut().linkflag = [b'S']).contains("no GNU header"));
    // a record of nothing, one too large, one cut off
    for (kind, size, words) in [
        (b'x', 2u64 << 20, "a name or record of 2097152 bytes is beyond the limit of 1048576"),
        (b'L', 1 << 40, "beyond the limit"),
        (b'g', 1 << 30, "beyond the limit"),
        (b'x', 1 << 20, "cut off"),
    ] {
        let mut head = header(kind, 0o644, b"x");
        head.set_size(size);
        head.set_cksum();
        let error = refused(head.as_bytes());
        assert!(error.contains(words), "{error}");
    }
    let mut tar = Vec::new();
    append(&mut tar, header(b'L', 0o644, b"x"), b"name\0");
    assert!(refused(&tar).contains("ends where an entry should follow"));
    tar.resize(tar.len() + 1024, 0);
    assert!(refused(&tar).contains("ends where an entry should follow"));
    let mut tar = Vec::new();
    append_records(&mut tar, b'x', &[(b"path", b"a"), (b"size", b"-1")]);
    append(&mut tar, header(b'0', 0o644, b"a"), b"x");
    assert!(refused(&tar).contains("byte 0: refused PAX record `11 size=-1`"), "{}", refused(&tar));
    let mut tar = vec![0; 512];
    append(&mut tar, header(b'0', 0o644, b"a"), b"x");
    assert!(refused(&tar).contains("a lone zero block"));
}

#[test]
fn all_bytes_count_to_the_end() {
    let mut tar = layer("f 644 a x");
    let short = tar.clone();
    tar.extend_from_slice(&[b'j'; 700_000]);
    let place = Place::new();
    let meta = place.unpack(&tar).unwrap();
    assert_eq!((meta.diff_id, meta.tar_bytes), (Digest::of(&tar), tar.len() as u64));
    assert_ne!(meta.diff_id, Digest::of(&short));
}

#[test]
fn bodies_of_all_sizes_through_readers_of_all_kinds() {
    /// Gives a few bytes at a time, and is interrupted now and then.
    struct Drip<'a>(&'a [u8], usize);
    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = (self.1 * 7 + 3) % 10_007;
            if self.1 % 5 == 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let end = buffer.len().min(self.1 + 1);
            self.0.read(&mut buffer[..end])
        }
    }
    let sizes = [0, 1, 511, 512, 513, 524_287, 524_288, 524_289, 1_500_000];
    let content = |size: usize| (0..size).map(|at| (at * 31 % 251) as u8).collect::<Vec<u8>>();
    let mut tar = Vec::new();
    for size in sizes {
        append(&mut tar, header(b'0', 0o644, size.to_string().as_bytes()), &content(size));
    }
    let place = Place::new();
    let hold = place.store.hold(&mut |_| {}).unwrap();
    let lock = place.store.lock_layer(&hold, &Digest::of(&tar), &mut |_| {}).unwrap();
    let staged = place.store.unpack_layer(&lock, Drip(&tar, 1)).unwrap();
    let meta = place.store.publish_layer(staged).unwrap();
    for size in sizes {
        let found = fs::read(place.store.layer_tree(&meta.diff_id).join(size.to_string())).unwrap();
        assert!(found == content(size), "{size}");
    }
    assert_eq!(meta.tally.bytes, sizes.iter().sum::<usize>() as u64);
}

#[test]
fn a_failing_reader_comes_back_untouched() {
    struct Broken(usize);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or_else(|| io::Error::other("the registry went away"))?;
            let tar = layer("d 755 d");
            buffer[..512].copy_from_slice(&tar[..512]);
            Ok(512)
        }
    }
    let place = Place::new();
    let hold = place.store.hold(&mut |_| {}).unwrap();
    let lock = place.store.lock_layer(&hold, &Digest::of(b""), &mut |_| {}).unwrap();
    match place.store.unpack_layer(&lock, Broken(3)) {
        Err(Error::Input(error)) => assert_eq!(error.to_string(), "the registry went away"),
        other => panic!("{other:?}"),
    }
    drop(lock);
    assert_eq!(fs::read_dir(place.store.staging()).unwrap().count(), 0);
}

#[test]
fn only_what_the_digest_confirms_is_published() {
    let place = Place::new();
    let tar = layer("f 644 a x");
    let hold = place.store.hold(&mut |_| {}).unwrap();
    let named = Digest::of(b"something else");
    let lock = place.store.lock_layer(&hold, &named, &mut |_| {}).unwrap();
    let staged = place.store.unpack_layer(&lock, &tar[..]).unwrap();
    let error = place.store.publish_layer(staged).unwrap_err().to_string();
    assert_eq!(error, format!("the layer's digest is {}, not {named}", Digest::of(&tar)));
    drop(lock);
    assert!(!place.store.has_layer(&named) && !place.store.has_layer(&Digest::of(&tar)));
    assert_eq!(fs::read_dir(place.store.staging()).unwrap().count(), 0);
}

/// Where devices can't be made, attributes do; and an opaque folder needs neither.
#[test]
fn whiteouts_by_attribute() {
    use super::folders::{Folders, ROOT};
    use super::whiteout::Whiteouts;
    use nix::sys::time::TimeSpec;

    let place = tempfile::tempdir().unwrap();
    let root = fs::File::open(place.path()).unwrap().into();
    let mut folders = Folders::new(root, Path::new("tree"));
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
    assert_eq!(folders.finish(&mut Whiteouts::Attributes, |_, _| Ok(())).unwrap(), (1, false));
    let expected = "d 755 .
d 755 a user.overlay.opaque=x
f 600 a/x  user.overlay.whiteout=y
d 755 b user.overlay.opaque=y
d 755 c
d 755 c/made user.overlay.opaque=y";
    assert_eq!(tree(place.path()), expected);
}

#[test]
fn a_full_disk_is_named() {
    use super::Fault;
    use crate::sys;
    use nix::errno::Errno;

    let mut archive = crate::store::archive::Archive::new(&[][..]);
    assert!(archive.next().unwrap().is_none());
    let tar = layer("f 644 a x");
    let entry = crate::store::archive::Archive::new(&tar[..]).next().unwrap().unwrap();
    for errno in [Errno::ENOSPC, Errno::EDQUOT] {
        let call = sys::Error { call: "write", args: String::new(), errno };
        let error = Fault::Call(call).of(&entry, Path::new("/store"));
        assert_eq!(error.to_string(), "no space left on /store");
        assert!(error.hint().is_some());
    }
}
