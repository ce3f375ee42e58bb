//! What is linked, and what is not.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::store::Image;
use crate::store::listing::layer;

#[test]
fn what_is_equal_shares_an_inode_and_nothing_else_does() {
    let place = tempfile::tempdir().unwrap();
    let store = Store::open(&place.path().join("store")).unwrap();
    let hold = store.hold(&mut |_| {}).unwrap();
    let add = |listing: &str| add(&store, &hold, listing);
    let (big, other) = ("x".repeat(10_000), "y".repeat(10_000));
    let one = add(&format!(
        "f 644 same {big}\nf 0 closed {other}\nf 600 mode {big}\nf 644 time {big} | mtime=7\nf 644 small x\n\
         f 644 note {big} | user.note=a\nf 644 twice {other}\nh again twice"
    ));
    let two = add(&format!(
        "d 555 d\nf 644 d/same {big} | uid=5\nd 0 shut\nf 0 shut/closed {other}\nf 755 mode {big}\n\
         f 644 time {big} | mtime=8\nf 644 small x\nf 644 note {big} | user.note=b\nf 644 twice {other}\nh again twice"
    ));
    let before: Vec<_> = ["d", "shut"]
        .map(|name| fs::symlink_metadata(store.layer_tree(&two).join(name)).unwrap())
        .map(|found| (found.mode(), found.mtime()))
        .into();
    // what a killed run of the same process id left
    let left = ["link-PID", "link-PID-0"].map(|name| name.replace("PID", &std::process::id().to_string()));
    left.iter().for_each(|name| fs::write(store.staging().join(name), "").unwrap());
    let done = dedupe(&store, &hold, &[], &[]);
    assert_eq!(done.linked, 2, "{done:?}");
    assert!(done.bytes >= 20_000, "{done:?}");
    let inode = |layer: &Digest, name: &str| {
        let path = store.layer_tree(layer).join(name);
        let folder = path.parent().unwrap();
        let mode = fs::symlink_metadata(folder).unwrap().permissions();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        let inode = fs::symlink_metadata(&path).unwrap().ino();
        fs::set_permissions(folder, mode).unwrap();
        inode
    };
    assert_eq!(inode(&one, "same"), inode(&two, "d/same"));
    assert_eq!(inode(&one, "closed"), inode(&two, "shut/closed"));
    for name in ["mode", "time", "small", "note", "twice"] {
        assert_ne!(inode(&one, name), inode(&two, name), "{name}");
    }
    let after: Vec<_> = ["d", "shut"]
        .map(|name| fs::symlink_metadata(store.layer_tree(&two).join(name)).unwrap())
        .map(|found| (found.mode(), found.mtime()))
        .into();
    assert_eq!(before, after);
    for layer in [&one, &two] {
        assert_eq!(store.verify_layer(layer, &mut |_| {}), []);
    }
    assert_eq!(dedupe(&store, &hold, &[], &[]).linked, 0, "once is enough");
}

#[test]
fn no_box_sees_one_file_for_two() {
    let place = tempfile::tempdir().unwrap();
    let store = Store::open(&place.path().join("store")).unwrap();
    let hold = store.hold(&mut |_| {}).unwrap();
    let big = "x".repeat(10_000);
    let [a, b, c, d, running] = ["a", "b", "c", "d", "running"]
        .map(|name| add(&store, &hold, &format!("f 644 {name} {big}\nf 644 {name}-too {big}")));
    let (manifest, config) = (b"{}".to_vec(), b"{ }".to_vec());
    let image = Image {
        manifest_digest: Digest::of(&manifest),
        config_digest: Digest::of(&config),
        manifest,
        config,
        layers: vec![a, b],
        source: "x:1".into(),
    };
    store.put_image(&hold, &image).unwrap();
    let inodes = |layer: &Digest, name: &str| {
        [name.to_owned(), format!("{name}-too")]
            .map(|name| fs::symlink_metadata(store.layer_tree(layer).join(name)).unwrap().ino())
    };
    let of_running = inodes(&running, "running");
    // one of the image and one of the box make a pair
    assert_eq!(dedupe(&store, &hold, &[vec![c, d]], &[running]).linked, 4);
    let seen = [(a, "a"), (b, "b"), (c, "c"), (d, "d")].map(|(layer, name)| inodes(&layer, name));
    assert!(seen.iter().all(|[one, too]| one != too), "of one layer: {seen:?}");
    for (one, other) in [(0, 1), (2, 3)] {
        assert!(seen[one].iter().all(|inode| !seen[other].contains(inode)), "stacked: {seen:?}");
    }
    assert_eq!(inodes(&running, "running"), of_running);
    // who shares with one shares with all that one shares with already
    assert_eq!(dedupe(&store, &hold, &[vec![c, d], vec![running, d]], &[]).linked, 2);
    assert!(inodes(&running, "running").iter().all(|inode| !seen[3].contains(inode)));
}

fn add(store: &Store, hold: &Hold, listing: &str) -> Digest {
    let tar = layer(listing);
    let lock = store.take_layer(hold, &Digest::of(&tar));
    store.publish_layer(store.unpack_layer(&lock, &tar[..]).unwrap()).unwrap().diff_id
}

fn dedupe(store: &Store, hold: &Hold, stacks: &[Vec<Digest>], running: &[Digest]) -> Deduped {
    let mut quiet = |layers: &[Digest]| layers.iter().all(|layer| !running.contains(layer)).then(Vec::new);
    store.dedupe(hold, stacks, &mut quiet, &mut |_| {}, &mut |_| {}).unwrap()
}
