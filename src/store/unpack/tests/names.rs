//! Where entries end up, and that it is never outside.

use std::fs;

use super::{Place, becomes, refused, unpacked};
use crate::store::listing::layer;

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
        ("d 755 b/c\nl b/c/a /\nf 644 b/c/a/x x", "d 755 b\nd 755 b/c\nl b/c/a /\nf 644 x x"),
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
        ("l l .\nd 755 l/l\nf 644 l/y x", "d 755 l\nf 644 l/y x"),
        ("d 755 d\nl a d\nf 644 a/x 1\nd 755 a\nf 644 a/x 2", "d 755 a\nf 644 a/x 2\nd 755 d\nf 644 d/x 1"),
        (
            "d 755 d\nl a d\nf 644 a/x 1\nd 755 e\nl a e\nf 644 a/x 2",
            "l a e\nd 755 d\nf 644 d/x 1\nd 755 e\nf 644 e/x 2",
        ),
    ] {
        becomes(listing, expected);
    }
    let chain: String = (0..50).map(|n| format!("l l{n} l{}\n", n + 1)).collect();
    assert!(unpacked(&layer(&format!("{chain}f 644 l10/x y"))).contains("f 644 l50/x y"));
    assert!(
        refused(&layer(&format!("{chain}f 644 l0/x y")))
            .contains("`l0/x` at byte 25600 has too many symbolic links")
    );
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
fn deeper_than_any_path() {
    let place = Place::new();
    let deep = "d/".repeat(3000);
    let tar = layer(&format!("f 644 {deep}a x\nf 644 {deep}b x\nf 644 c x\nd 0 {deep}"));
    let meta = place.unpack(&tar).unwrap();
    assert_eq!(meta.tally.implied_folders, 3000, "the last is described, the root is not");
    let index = place.store.layer_tree(&meta.diff_id).with_file_name("index");
    assert!(fs::metadata(index).unwrap().len() < 20_000, "as long as the names, not as their sum");
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
