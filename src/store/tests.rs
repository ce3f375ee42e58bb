//! The store as its users see it: layers, images and names across boots, crashes and removals.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::listing::layer;
use super::{Error, Hold, Holder, Image, InUse, Lower, Removed, Stacking, Store, Target};
use crate::oci::digest::Digest;

fn store(place: &tempfile::TempDir) -> Store {
    Store::open(&place.path().join("store")).unwrap()
}

fn add_layer(store: &Store, listing: &str) -> Digest {
    let tar = layer(listing);
    let hold = store.hold(&mut |_| {}).unwrap();
    let lock = store.take_layer(&hold, &Digest::of(&tar));
    let staged = store.unpack_layer(&lock, &tar[..]).unwrap();
    store.publish_layer(staged).unwrap().diff_id
}

fn put_image(store: &Store, hold: &Hold, reference: &str, layers: &[Digest]) -> Image {
    let (manifest, config) = (format!("{{\"{layers:?}\":1}}"), "{\"π\":\"\\n\"}");
    let image = Image {
        manifest_digest: Digest::of(manifest.as_bytes()),
        manifest: manifest.into_bytes(),
        config_digest: Digest::of(config.as_bytes()),
        config: config.into(),
        layers: layers.to_vec(),
        source: reference.into(),
    };
    store.put_image(hold, &image).unwrap();
    store.set_ref(hold, reference, &image.manifest_digest).unwrap();
    image
}

fn add_image(store: &Store, reference: &str, layers: &[Digest]) -> Digest {
    let image = put_image(store, &store.hold(&mut |_| {}).unwrap(), reference, layers);
    assert_eq!(store.image(&image.manifest_digest).unwrap().unwrap(), image);
    image.manifest_digest
}

fn remove(store: &Store, target: &Target, images: &[Digest]) -> Result<Removed, Error> {
    let in_use = InUse { images: images.iter().copied().collect(), ..InUse::default() };
    store.alone(&mut |_| {})?.remove(target, &in_use)
}

#[test]
fn opening() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("a/store");
    Store::open(&root).unwrap();
    for folder in ["", "layers/sha256", "images/sha256", "refs", "staging"] {
        assert_eq!(fs::metadata(root.join(folder)).unwrap().mode() & 0o7777, 0o700, "{folder}");
    }
    assert_eq!(fs::read_to_string(root.join("version")).unwrap(), "1\n");
    assert_eq!(fs::read_dir(root.join("staging")).unwrap().count(), 0);

    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    Store::open(&root).unwrap();
    assert_eq!(fs::metadata(&root).unwrap().mode() & 0o7777, 0o700, "closed to others again");
    fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Store::open(&root), Err(Error::NotPrivate(_))));
    fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();

    fs::write(root.join("version"), "2\n").unwrap();
    let error = Store::open(&root).unwrap_err();
    assert!(error.to_string().ends_with("has layout 2, newer than this program knows"), "{error}");
    fs::write(root.join("version"), "one").unwrap();
    assert!(matches!(Store::open(&root), Err(Error::Damaged { .. })));
}

#[test]
fn a_layer_counts_in_its_boot_or_once_it_is_durable() {
    let place = tempfile::tempdir().unwrap();
    let store = store(&place);
    let [kept, lost] = ["f 644 a x", "f 644 b x"].map(|listing| add_layer(&store, listing));
    assert!(store.has_layer(&kept) && store.has_layer(&lost));
    let power_cut = |layer: &Digest| {
        let path = store.layer_folder(layer).join("meta");
        let meta = fs::read_to_string(&path).unwrap();
        fs::write(&path, meta.replace(&store.meta(layer).unwrap().boot_id, "another-boot")).unwrap();
    };
    power_cut(&lost);
    assert!(!store.has_layer(&lost), "it may have lost anything");
    assert_eq!(store.sync().unwrap(), 1, "a layer in doubt is not made durable");
    assert!(!store.has_layer(&lost));
    power_cut(&kept);
    assert!(store.has_layer(&kept));
    assert_eq!(store.sync().unwrap(), 0);
    // fetched again, it takes the place of what is in doubt
    fs::write(store.layer_tree(&lost).join("b"), "half").unwrap();
    assert_eq!(add_layer(&store, "f 644 b x"), lost);
    assert_eq!(fs::read(store.layer_tree(&lost).join("b")).unwrap(), b"x");
    assert!(store.has_layer(&lost));
    assert_eq!(fs::read_dir(store.staging()).unwrap().count(), 0);
    fs::write(store.layer_folder(&lost).join("meta"), "{").unwrap();
    assert!(!store.has_layer(&lost));
    assert!(matches!(store.meta(&lost), Err(Error::Damaged { .. })));
}

#[test]
fn a_layer_in_doubt_stays_until_its_successor_is_whole() {
    let place = tempfile::tempdir().unwrap();
    let others = store(&place);
    let layers = ["f 644 a x", "f 644 b x"].map(|listing| add_layer(&others, listing));
    others.sync().unwrap();
    fs::write(others.layer_tree(&layers[0]).join("a"), "y").unwrap();
    let in_use = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let used = in_use.clone();
    let free = move |_: &Digest| match used.load(std::sync::atomic::Ordering::Relaxed) {
        true => Err("it is in use".to_owned()),
        false => Ok(Vec::new()),
    };
    let doubting = store(&place).doubting([layers[0]].into(), free);
    assert!(!doubting.has_layer(&layers[0]) && doubting.has_layer(&layers[1]));
    assert_eq!(doubting.sync().unwrap(), 0);
    let tar = layer("f 644 a x");
    let publish = || {
        let hold = doubting.hold(&mut |_| {}).unwrap();
        let lock = doubting.take_layer(&hold, &layers[0]);
        doubting.publish_layer(doubting.unpack_layer(&lock, &tar[..]).unwrap())
    };
    assert!(matches!(publish(), Err(Error::InUse { .. })));
    assert!(others.has_layer(&layers[0]), "all others have it as it was");
    assert_eq!(fs::read(others.layer_tree(&layers[0]).join("a")).unwrap(), b"y");
    in_use.store(false, std::sync::atomic::Ordering::Relaxed);
    publish().unwrap();
    assert!(doubting.has_layer(&layers[0]) && others.has_layer(&layers[0]));
    assert_eq!(fs::read(others.layer_tree(&layers[0]).join("a")).unwrap(), b"x");
    assert_eq!(fs::read_dir(others.staging()).unwrap().count(), 0);
}

#[test]
fn a_layer_without_its_record_is_missing() {
    let place = tempfile::tempdir().unwrap();
    let store = store(&place);
    let layer = add_layer(&store, "f 644 a x");
    store.sync().unwrap();
    fs::remove_file(store.layer_folder(&layer).join("meta")).unwrap();
    assert!(!store.has_layer(&layer));
    assert_eq!(add_layer(&store, "f 644 a x"), layer);
    add_image(&store, "a:1", &[layer]);
}

#[test]
fn leftovers_are_swept_when_no_one_is_at_work() {
    let place = tempfile::tempdir().unwrap();
    let store = store(&place);
    let staging = store.staging();
    let leave = |name: &str| {
        fs::create_dir_all(staging.join(name).join("tree/closed")).unwrap();
        fs::set_permissions(staging.join(name).join("tree"), fs::Permissions::from_mode(0o0)).unwrap();
    };
    let digest = Digest::of(&layer("f 644 a x"));
    leave(&format!("{}.new", digest.hex()));
    leave(&format!("{}.old", digest.hex()));
    leave("unknown");
    fs::write(staging.join("record-1-0"), "half").unwrap();
    let hold = store.hold(&mut |_| {}).unwrap();
    store.sweep().unwrap();
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 4, "someone holds the store");
    drop(hold);
    add_layer(&store, "f 644 a x");
    store.sweep().unwrap();
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0);
    assert!(store.has_layer(&digest));
}

#[test]
fn names() {
    let place = tempfile::tempdir().unwrap();
    let store = store(&place);
    let hold = store.hold(&mut |_| {}).unwrap();
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    let long = format!("registry.example/{}:{}", "a/".repeat(110) + "a", "t".repeat(128));
    let references = ["a:1", "a/1", "a%3A1", "a:1@sha256:x", ".a", "..", "A:1", &long, &format!("{long}2")];
    for (at, reference) in references.iter().enumerate() {
        store.set_ref(&hold, reference, if at % 2 == 0 { &one } else { &two }).unwrap();
    }
    assert_eq!(store.refs().unwrap().len(), references.len());
    for (at, reference) in references.iter().enumerate() {
        assert_eq!(
            store.resolve(reference).unwrap(),
            Some(if at % 2 == 0 { one } else { two }),
            "{reference}"
        );
    }
    store.set_ref(&hold, "a:1", &two).unwrap();
    assert_eq!(store.resolve("a:1").unwrap(), Some(two));
    assert!(store.remove_ref("a:1").unwrap() && !store.remove_ref("a:1").unwrap());
    assert_eq!(store.resolve("a:1").unwrap(), None);
    assert_eq!(store.resolve("a/1").unwrap(), Some(two));
    fs::write(store.root.join("refs/a%2F1"), "junk").unwrap();
    assert!(matches!(store.resolve("a/1"), Err(Error::Damaged { .. })));
}

#[test]
fn images_are_whole_or_refused() {
    let place = tempfile::tempdir().unwrap();
    let store = store(&place);
    let base = add_layer(&store, "f 644 a 12345");
    let manifest = add_image(&store, "a:1", &[base]);
    let image = store.image(&manifest).unwrap().unwrap();
    let hold = store.hold(&mut |_| {}).unwrap();
    let put = |change: &dyn Fn(&mut Image)| {
        let mut image = image.clone();
        change(&mut image);
        store.put_image(&hold, &image).unwrap_err()
    };
    assert!(matches!(put(&|image| image.manifest.push(b' ')), Error::WrongDigest { .. }));
    assert!(matches!(put(&|image| image.config.push(b' ')), Error::WrongDigest { .. }));
    let missing = Digest::of(b"missing");
    assert!(
        matches!(put(&|image| image.layers.push(missing)), Error::MissingLayer { layer, .. } if layer == missing)
    );
    assert!(store.image(&missing).unwrap().is_none());
    // a flipped bit
    let path = store.image_path(&manifest);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("π", "ρ")).unwrap();
    let error = store.image(&manifest).unwrap_err();
    assert!(error.to_string().ends_with("its bytes do not match their digests"), "{error}");
    assert!(error.hint().unwrap().contains("pull the image again"));
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    assert!(matches!(store.image(&manifest), Err(Error::Damaged { .. })));
    store.put_image(&hold, &image).unwrap();
    assert_eq!(store.image(&manifest).unwrap(), Some(image));
}

#[test]
fn nothing_below_an_opaque_root_is_part_of_an_image() {
    let place = tempfile::tempdir().unwrap();
    let store = store(&place);
    let layers =
        ["f 644 a x", "f 644 .wh..wh..opq x\nf 644 b x", "f 644 c x"].map(|text| add_layer(&store, text));
    let image = put_image(&store, &store.hold(&mut |_| {}).unwrap(), "a:1", &layers);
    assert_eq!(store.image(&image.manifest_digest).unwrap().unwrap().layers, layers[1..]);
}

#[test]
fn removal_keeps_what_is_needed() {
    let place = tempfile::tempdir().unwrap();
    let store = store(&place);
    let [base, one, two, stray] =
        ["f 644 base 12345", "f 644 one 123", "f 0 two 12\nd 0 closed", "f 644 stray 1"]
            .map(|text| add_layer(&store, text));
    let first = add_image(&store, "a:1", &[base, one]);
    let second = add_image(&store, "a:2", &[base, two]);
    {
        let hold = store.hold(&mut |_| {}).unwrap();
        store.set_ref(&hold, "b:1", &first).unwrap();
        store.set_ref(&hold, "b:gone", &Digest::of(b"no image")).unwrap();
    }
    let listed = store.images().unwrap();
    assert_eq!(
        listed.iter().map(|image| image.references.clone()).collect::<Vec<_>>(),
        [vec!["a:1", "b:1"], vec!["a:2"]]
    );
    assert_eq!((listed[0].bytes, listed[0].own_bytes, listed[0].layers, listed[0].complete), (8, 3, 2, true));

    // one name of two
    let removed = remove(&store, &Target::Reference("a:1".into()), &[]).unwrap();
    assert_eq!(
        (removed.references, removed.images, removed.layers, removed.bytes > 0),
        (vec!["a:1".to_owned()], vec![], vec![stray], true)
    );
    // the last name, but a box is made of it
    let removed = remove(&store, &Target::Reference("b:1".into()), &[first]).unwrap();
    assert_eq!((removed.images, removed.layers), (vec![], vec![]));
    assert!(store.images().unwrap()[1].references.is_empty());
    // the box is gone
    let removed = store.alone(&mut |_| {}).unwrap().collect(&InUse::default()).unwrap();
    assert_eq!((removed.images, removed.layers), (vec![first], vec![one]));
    assert!(store.has_layer(&base) && store.has_layer(&two) && !store.has_layer(&one));
    // by digest, with all its names
    let removed = remove(&store, &Target::Image(second), &[]).unwrap();
    assert_eq!((removed.references, removed.layers.len()), (vec!["a:2".to_owned()], 2));
    assert_eq!(fs::read_dir(store.root.join("layers/sha256")).unwrap().count(), 0);
    for target in [Target::Reference("a:1".into()), Target::Image(second)] {
        let error = remove(&store, &target, &[]).unwrap_err();
        assert!(error.to_string().starts_with("no image `"), "{error}");
    }
}

#[test]
fn a_removal_waits_for_a_pull() {
    let place = tempfile::tempdir().unwrap();
    let store = store(&place);
    let layer = add_layer(&store, "f 644 a x");
    let hold = store.hold(&mut |_| {}).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let removal = scope.spawn(|| {
            let alone = store.alone(&mut |holder| tell.send(holder).unwrap()).unwrap();
            alone.collect(&InUse::default()).unwrap()
        });
        told.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
        let image = put_image(&store, &hold, "a:1", &[layer]);
        drop(hold);
        assert_eq!(removal.join().unwrap().layers, []);
        assert!(store.image(&image.manifest_digest).unwrap().is_some());
    });
    assert!(store.has_layer(&layer));
}

#[test]
fn two_pulls_of_one_layer_unpack_it_once() {
    let place = tempfile::tempdir().unwrap();
    let store = store(&place);
    let tar = layer("f 644 a x");
    let diff_id = Digest::of(&tar);
    let pull = || {
        let hold = store.hold(&mut |_| {}).unwrap();
        let lock = store.take_layer(&hold, &diff_id);
        if store.has_layer(&diff_id) {
            return 0;
        }
        store.publish_layer(store.unpack_layer(&lock, &tar[..]).unwrap()).unwrap();
        1
    };
    let unpacked: usize = std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..8).map(|_| scope.spawn(pull)).collect();
        pulls.into_iter().map(|pull| pull.join().unwrap()).sum()
    });
    assert_eq!(unpacked, 1);
    assert_eq!(fs::read_dir(store.staging()).unwrap().count(), 0, "the lock file goes with the lock");
    assert!(Path::new(&store.layer_tree(&diff_id)).join("a").exists());
}

/// Says how many layers were merged.
#[derive(Default)]
struct Told(Vec<usize>);

impl Stacking for Told {
    fn waiting(&mut self, holder: Holder) {
        panic!("waited for {holder}");
    }

    fn merging(&mut self, layers: usize) {
        self.0.push(layers);
    }
}

/// What a tree looks like, file by file, with its folders' modes, times and attributes.
fn look(tree: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![tree.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(tree).unwrap().display().to_string();
        if meta.is_dir() {
            let mode = meta.mode() & 0o7777;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            let folder = fs::File::open(&path).unwrap();
            let xattrs = crate::sys::fd::xattrs(std::os::fd::AsFd::as_fd(&folder)).unwrap();
            let xattrs: Vec<_> = xattrs.iter().map(|(name, _)| name.escape_ascii().to_string()).collect();
            found.push(
                format!("d {mode:o} {name} {} {}", meta.mtime(), xattrs.join(",")).trim_end().to_owned(),
            );
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        } else if meta.is_symlink() {
            found.push(format!("l {name} {}", fs::read_link(&path).unwrap().display()));
        } else {
            found.push(format!("f {:o} {name} {}", meta.mode() & 0o7777, fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn more_layers_than_an_overlay_takes() {
    let place = tempfile::tempdir().unwrap();
    let store = store(&place);
    let layers: Vec<Digest> = [
        "d 755 a | mtime=7 user.old=x\nf 640 a/one 1 | uid=1 gid=2\nf 644 a/two 1\nd 700 gone | uid=3\nf 644 gone/x 1 | uid=3\n\
         d 755 opaque\nf 644 opaque/below 1 | uid=3\nf 644 file 1\nl link a\nd 755 kind\nf 644 kind/below 1 | uid=3\nf 600 hard 1",
        "f 644 a/.wh.two \nf 644 .wh.gone \nd 755 opaque\nf 644 opaque/.wh..wh..opq \nf 644 opaque/new 2\nf 4755 file 2 | gid=5\n\
         d 755 link\nf 644 link/in 2\nf 644 kind 2",
        "d 750 a | mtime=9 user.new=x\nf 644 a/three 3\nd 0 shut | uid=8\nf 0 shut/in 3\nh hard2 a/three\nd 755 gone",
        "f 644 top 4\nf 644 a/one top | uid=9",
    ]
    .map(|listing| add_layer(&store, listing))
    .into();
    add_image(&store, "a:1", &layers);
    let mut told = Told::default();
    let all = store.lowers(&layers, 4, &mut told).unwrap();
    let trees: Vec<_> = layers.iter().rev().map(|layer| store.layer_tree(layer)).collect();
    assert_eq!(all.iter().map(Lower::tree).collect::<Vec<_>>(), trees, "as many as there may be");
    assert!(told.0.is_empty());

    let two = store.lowers(&layers, 2, &mut told).unwrap();
    assert_eq!((two.len(), &told.0), (2, &vec![3]));
    assert_eq!(two[0].tree(), trees[0]);
    let merged = two[1].tree();
    fs::set_permissions(merged.join("shut"), fs::Permissions::from_mode(0o700)).unwrap();
    let shut = fs::symlink_metadata(merged.join("shut/in")).unwrap();
    assert_eq!((shut.mode() & 0o7777, shut.len()), (0, 1));
    fs::set_permissions(merged.join("shut/in"), fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(
        look(&merged),
        [
            "d 700 shut 0",
            "d 750 a 9 user.new",
            "d 755  0",
            "d 755 gone 0",
            "d 755 link 0",
            "d 755 opaque 0",
            "f 400 shut/in 3",
            "f 4755 file 2",
            "f 600 hard 1",
            "f 640 a/one 1",
            "f 644 a/three 3",
            "f 644 hard2 3",
            "f 644 kind 2",
            "f 644 link/in 2",
            "f 644 opaque/new 2",
        ]
    );
    fs::set_permissions(merged.join("shut/in"), fs::Permissions::from_mode(0o0)).unwrap();
    let inode = |path: &Path| fs::symlink_metadata(path).unwrap().ino();
    assert_eq!(
        inode(&merged.join("file")),
        inode(&store.layer_tree(&layers[1]).join("file")),
        "nothing is copied"
    );
    assert_eq!(inode(&merged.join("hard2")), inode(&merged.join("a/three")));
    let owners: Vec<_> = two[1].foreign_owners().unwrap();
    let owners: Vec<_> = owners.iter().map(|it| (it.path.to_str().unwrap(), it.uid, it.gid)).collect();
    assert_eq!(owners, [("a/one", 1, 2), ("file", 0, 5), ("shut", 8, 0)]);

    // once is enough, until it is not on the disk in time
    assert_eq!(store.lowers(&layers, 2, &mut told).unwrap(), two);
    assert_eq!(told.0.len(), 1);
    let (stack, of) = store.stacks().unwrap().pop_first().unwrap();
    assert_eq!(of.unwrap(), layers[..3]);
    let meta = store.stack_folder(&stack).join("meta");
    let text = fs::read_to_string(&meta).unwrap();
    let of_before = text.replace(store.boot_id().unwrap(), "before");
    fs::write(&meta, &of_before).unwrap();
    store.lowers(&layers, 2, &mut told).unwrap();
    assert_eq!(told.0.len(), 2);
    store.sync().unwrap();
    fs::write(&meta, &of_before).unwrap();
    store.lowers(&layers, 2, &mut told).unwrap();
    assert_eq!(told.0.len(), 2, "it is on the disk");

    // it goes when one of its layers is made anew, and with the last image
    let (used, here) = (store.stack_usage(&stack).unwrap(), |store: &Store| store.stacks().unwrap().len());
    assert!(used.bytes() > used.freed(), "its files are its layers'");
    store.drop_layer(&layers[1]).unwrap();
    assert_eq!(here(&store), 0);
    add_layer(&store, "f 644 other x");
    let removed = store.alone(&mut |_| {}).unwrap().collect(&InUse::default()).unwrap();
    assert!(removed.stacks.is_empty());
    store.lowers(&[layers[0], layers[2], layers[3]], 2, &mut told).unwrap();
    let removed = remove(&store, &Target::Reference("a:1".into()), &[]).unwrap();
    assert_eq!((removed.stacks.len(), here(&store)), (1, 0));
    assert_eq!(fs::read_dir(store.staging()).unwrap().count(), 0);
}
