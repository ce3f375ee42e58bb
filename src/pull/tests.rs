//! Whole pulls from a registry that says what each test wants.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use flate2::write::GzEncoder;

use super::*;
use crate::fetch::fake::{Answer, Fake};
use crate::oci::media_type::{DOCKER_LAYER, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST};

/// What a pull told its user.
#[derive(Default)]
pub(super) struct Told {
    layers: Mutex<Vec<LayerInfo>>,
    bytes: Mutex<Vec<u64>>,
    done: Mutex<usize>,
    notes: Mutex<Vec<String>>,
}

impl Progress for Told {
    fn layers(&self, total: &[LayerInfo]) {
        *self.layers.lock().unwrap() = total.to_vec();
        *self.bytes.lock().unwrap() = vec![0; total.len()];
    }

    fn advance(&self, layer: usize, bytes: u64) {
        self.bytes.lock().unwrap()[layer] += bytes;
    }

    fn layer_done(&self, _: usize) {
        *self.done.lock().unwrap() += 1;
    }

    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }
}

/// A store in a folder of its own, and the home it belongs to.
pub(super) struct Place {
    pub(super) folder: tempfile::TempDir,
    pub(super) store: Store,
    pub(super) told: Told,
}

impl Place {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        Self { folder, store, told: Told::default() }
    }

    fn pull(&self, reference: &str) -> Result<Pulled, Error> {
        self.pull_for(reference, "linux/amd64")
    }

    fn pull_for(&self, reference: &str, platform: &str) -> Result<Pulled, Error> {
        let at = |name: &str| self.folder.path().join(name);
        let dirs = Dirs {
            home: at("home"),
            config: at("config"),
            data: at("data"),
            cache: at("cache"),
            runtime: at("run"),
        };
        let (reference, platform) = (reference.parse().unwrap(), platform.parse().unwrap());
        let request = Request { reference: &reference, platform: &platform };
        pull(&self.store, &dirs, request, &self.told)
    }

    /// No layer, no image, nothing half-made.
    fn is_empty(&self) -> bool {
        let empty = |folder: &str| {
            let path = self.folder.path().join("store").join(folder);
            Path::new(&path).read_dir().unwrap().next().is_none()
        };
        ["layers/sha256", "images/sha256", "refs", "staging"].into_iter().all(empty)
    }
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn tar(name: &str, size: usize) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size as u64);
    header.set_mode(0o644);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, name, &*name.as_bytes().repeat(size)[..size].to_vec()).unwrap();
    builder.into_inner().unwrap()
}

/// An image as a registry holds it.
#[derive(Clone)]
pub(super) struct Sample {
    pub(super) manifest: String,
    pub(super) config: String,
    /// Compressed and plain.
    pub(super) layers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Sample {
    pub(super) fn new(layers: &[(&str, usize)]) -> Self {
        let layers =
            layers.iter().map(|(name, size)| tar(name, *size)).map(|tar| (gzip(&tar), tar)).collect();
        Self { manifest: String::new(), config: String::new(), layers }.on("amd64")
    }

    /// With configuration and manifest made new.
    pub(super) fn on(mut self, architecture: &str) -> Self {
        let diff_ids: Vec<_> =
            self.layers.iter().map(|(_, tar)| format!("\"{}\"", Digest::of(tar))).collect();
        self.config = format!(
            r#"{{"os":"linux","architecture":"{architecture}","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            diff_ids.join(",")
        );
        let layers: Vec<_> =
            self.layers.iter().map(|(blob, _)| descriptor(&format!("{OCI_LAYER}+gzip"), blob)).collect();
        self.manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{},"layers":[{}]}}"#,
            descriptor(OCI_CONFIG, self.config.as_bytes()),
            layers.join(",")
        );
        self
    }

    /// What a registry that has it answers.
    fn answer(&self, path: &str) -> Answer {
        let manifest = self.manifest.as_bytes();
        let name = path.rsplit('/').next().unwrap();
        if path.contains("/manifests/") && (name == "1" || name == Digest::of(manifest).to_string()) {
            return Answer::ok(manifest)
                .header("Content-Type", OCI_MANIFEST)
                .header("Docker-Content-Digest", Digest::of(manifest).to_string());
        }
        let blobs = self.layers.iter().map(|(blob, _)| blob.as_slice()).chain([self.config.as_bytes()]);
        match blobs.into_iter().find(|blob| name == Digest::of(blob).to_string()) {
            Some(blob) => Answer::ok(blob),
            None => Answer::status(404, ""),
        }
    }

    fn serve(self) -> Fake {
        Fake::start(move |asked, _| self.answer(&asked.path))
    }
}

pub(super) fn descriptor(media_type: &str, bytes: &[u8]) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, Digest::of(bytes), bytes.len())
}

fn methods(fake: &Fake) -> String {
    fake.asked().into_iter().map(|asked| asked.method.chars().next().unwrap()).collect()
}

#[test]
fn the_whole_way_and_again() {
    let sample =
        Sample::new(&[("a", 3_000_000), ("b", 5), ("b", 5), ("c", 700_000), ("d", 1), ("e", 0), ("f", 9)]);
    let diff_ids: Vec<_> = sample.layers.iter().map(|(_, tar)| Digest::of(tar)).collect();
    let digest = Digest::of(sample.manifest.as_bytes());
    let fake = sample.clone().serve();
    let place = Place::new();
    let reference = format!("{}/x:1", fake.address);

    let pulled = place.pull(&reference).unwrap();
    assert_eq!((pulled.layers_fetched, pulled.unchanged), (6, false));
    let infos = place.told.layers.lock().unwrap().clone();
    assert_eq!(infos.len(), 6, "the same layer twice is fetched once");
    assert!(infos.is_sorted_by_key(|info| std::cmp::Reverse(info.size)));
    assert_eq!(*place.told.bytes.lock().unwrap(), infos.iter().map(|info| info.size).collect::<Vec<_>>());
    assert_eq!(*place.told.done.lock().unwrap(), 6);
    let image = place.store.image(&digest).unwrap().unwrap();
    assert_eq!((image.manifest, image.layers), (sample.manifest.into_bytes(), diff_ids.clone()));
    let file = place.store.layer_tree(&diff_ids[0]).join("a");
    assert_eq!(std::fs::metadata(file).unwrap().len(), 3_000_000);
    assert_eq!(methods(&fake), "G".repeat(8), "manifest, configuration, layers");

    let again = place.pull(&reference).unwrap();
    assert_eq!((again.manifest_digest, again.unchanged, again.bytes), (digest, true, 0));
    assert_eq!(methods(&fake)[8..], *"H", "one HEAD");

    let pinned = format!("{}/x@{digest}", fake.address);
    assert!(!place.pull(&pinned).unwrap().unchanged, "a new name");
    assert!(place.pull(&pinned).unwrap().unchanged);
    assert_eq!(methods(&fake).len(), 9, "a digest whose image is here needs no network");
    assert_eq!(*place.told.notes.lock().unwrap(), [""; 0]);
}

#[test]
fn a_digest_decides_not_a_name() {
    let (good, evil) = (Sample::new(&[("a", 10)]), Sample::new(&[("b", 10)]));
    let fakes = [&good, &evil].map(|sample| sample.clone().serve());
    let place = Place::new();
    let planted = place.pull(&format!("{}/x:1", fakes[1].address)).unwrap().manifest_digest;
    let wanted = Digest::of(good.manifest.as_bytes());
    let pinned = format!("{}/x:1@{wanted}", fakes[0].address);
    let hold = place.store.hold(&mut |_| {}).unwrap();
    place.store.set_ref(&hold, &pinned, &planted).unwrap();
    drop(hold);
    let found = || here(&place.store, &pinned, &"linux/amd64".parse().unwrap()).unwrap();
    assert_eq!(found(), None);
    let pulled = place.pull(&pinned).unwrap();
    assert_eq!((pulled.manifest_digest, pulled.unchanged), (wanted, false));
    assert_eq!(found().unwrap().manifest_digest, wanted);
}

#[test]
fn through_an_index() {
    let (here, there) = (Sample::new(&[("a", 5)]), Sample::new(&[("a", 5), ("b", 6)]).on("arm64"));
    let entry = |sample: &Sample, platform: &str| {
        let entry = descriptor(OCI_MANIFEST, sample.manifest.as_bytes());
        entry.replacen('{', &format!(r#"{{"platform":{{"os":"linux","architecture":"{platform}"}},"#), 1)
    };
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{},{}]}}"#,
        entry(&there, "arm64"),
        entry(&here, "amd64")
    );
    let digest = Digest::of(index.as_bytes());
    let fake = Fake::start(move |asked, _| {
        if asked.path.ends_with("/manifests/1") || asked.path.ends_with(&digest.to_string()) {
            let answer = Answer::ok(index.as_bytes()).header("Content-Type", OCI_INDEX);
            return answer.header("Docker-Content-Digest", digest.to_string());
        }
        let named =
            |sample: &Sample| asked.path.ends_with(&Digest::of(sample.manifest.as_bytes()).to_string());
        if named(&here) || asked.path.ends_with(&Digest::of(here.config.as_bytes()).to_string()) {
            return here.answer(&asked.path);
        }
        there.answer(&asked.path)
    });
    let place = Place::new();
    let reference = format!("{}/x:1", fake.address);
    let first = place.pull(&reference).unwrap();
    assert_eq!(first.layers_fetched, 1);
    assert_eq!(methods(&fake), "GGGG");
    assert!(place.pull(&reference).unwrap().unchanged);
    assert_eq!(methods(&fake), "GGGGH", "the index's digest is remembered");
    let other = place.pull_for(&reference, "linux/arm64").unwrap();
    assert_eq!((other.layers_fetched, other.unchanged), (1, false), "one layer is shared");
    assert_ne!(other.manifest_digest, first.manifest_digest);

    let error = place.pull_for(&reference, "linux/riscv64").unwrap_err();
    assert!(
        error.why.to_string().contains("linux/riscv64, only for linux/arm64, linux/amd64"),
        "{}",
        error.why
    );
    let asked = methods(&fake).len();
    let pinned = format!("{}/x:1@{digest}", fake.address);
    let found = |platform: &str| super::here(&place.store, &pinned, &platform.parse().unwrap()).unwrap();
    let digests =
        ["linux/amd64", "linux/arm64", "linux/riscv64"].map(|it| found(it).map(|it| it.manifest_digest));
    assert_eq!(digests, [Some(first.manifest_digest), Some(other.manifest_digest), None]);
    assert_eq!(place.pull(&pinned).unwrap().manifest_digest, first.manifest_digest, "by the index's digest");
    assert!(place.pull(&pinned).unwrap().unchanged);
    assert_eq!(methods(&fake).len(), asked, "without the network");
}

/// One layer is broken for good while others stall before their answer, in the middle of it, ask for a long pause,
/// or are being fetched by someone else.
#[test]
fn the_first_failure_ends_every_wait() {
    const LONG: Duration = Duration::from_secs(50);
    let sample = Sample::new(&[("bad", 4), ("stalls", 3000), ("waits", 2000), ("taken", 1000)]);
    let [bad, stalls, waits, taken] = [0, 1, 2, 3].map(|at| Digest::of(&sample.layers[at].0));
    let taken_id = Digest::of(&sample.layers[3].1);
    let place = Place::new();
    let hold = place.store.hold(&mut |_| {}).unwrap();
    let lock = place.store.take_layer(&hold, &taken_id);
    let (begin, begun) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let (begun, ended) = (Mutex::new(begun), Mutex::new(ended));
    let outlasted = Arc::new(AtomicBool::new(false));
    let stalled = outlasted.clone();
    let fake = Fake::start(move |asked, _| {
        let is = |layer: &Digest| asked.path.ends_with(&layer.to_string());
        if is(&bad) {
            // the others wait by now
            assert_eq!(begun.lock().unwrap().iter().take(2).count(), 2);
            return Answer::status(404, "");
        }
        if is(&stalls) {
            begin.send(()).unwrap();
            stalled.store(
                ended.lock().unwrap().recv_timeout(LONG) == Err(mpsc::RecvTimeoutError::Timeout),
                Ordering::SeqCst,
            );
        }
        if is(&waits) {
            begin.send(()).unwrap();
            return Answer::status(429, "").header("Retry-After", LONG.as_secs().to_string());
        }
        sample.answer(&asked.path)
    });
    let begun = Instant::now();
    let error = place.pull(&format!("{}/x:1", fake.address)).unwrap_err();
    assert!(begun.elapsed() < LONG / 2, "it waited for what can't help any more");
    drop((lock, end));
    let Why::Fetch(error) = *error.why else { panic!("{:?}", error.why) };
    assert!(error.object.contains(&bad.to_string()), "{error}");
    assert!(!outlasted.load(Ordering::SeqCst), "a registry that says nothing was waited for");
    let asked =
        |layer: Digest| fake.asked().iter().filter(|asked| asked.path.ends_with(&layer.to_string())).count();
    assert_eq!([bad, stalls, waits, taken].map(asked), [1, 1, 1, 0]);
    drop(hold);
    place.store.sweep().unwrap();
    assert!(place.is_empty());
}

#[test]
fn what_is_wrong_leaves_nothing() {
    let good = Sample::new(&[("a", 50_000)]);
    let tar = good.layers[0].1.clone();
    let mut bit = good.layers[0].0.clone();
    let middle = bit.len() / 2;
    bit[middle] ^= 1;
    let resent = |blob: Vec<u8>| {
        let good = good.clone();
        move |path: &str| match good.answer(path) {
            _ if path.ends_with(&Digest::of(&good.layers[0].0).to_string()) => Answer::ok(blob.clone()),
            answer => answer,
        }
    };
    let made = |blob: Vec<u8>, tar: &[u8]| {
        let sample = Sample { layers: vec![(blob, tar.to_vec())], ..good.clone() }.on("amd64");
        move |path: &str| sample.answer(path)
    };
    let replaced = |from: &str, to: String| {
        let sample = Sample { manifest: good.manifest.replace(from, &to), ..good.clone() };
        move |path: &str| sample.answer(path)
    };
    let one_more = format!("{},{}", descriptor(OCI_LAYER, b""), descriptor(OCI_LAYER, b"x"));
    let alien = good.clone().on("sparc64");
    type Registry = Box<dyn Fn(&str) -> Answer + Send + Sync>;
    let cases: Vec<(&str, Registry)> = vec![
        ("their digest is sha256:", Box::new(resent(bit))),
        ("has more than", Box::new(resent([&good.layers[0].0[..], b"x"].concat()))),
        ("was cut after", Box::new(resent(good.layers[0].0[..100].to_vec()))),
        ("decompressed", Box::new(made([&good.layers[0].0[..], b"trailing"].concat(), &tar))),
        ("decompressed", Box::new(made(good.layers[0].0[..100].to_vec(), &tar))),
        ("the layer's digest is", Box::new(made(gzip(&tar), b"other"))),
        ("malformed", Box::new(made(b"text that is no archive".repeat(100), b""))),
        ("unknown type `text/plain`", Box::new(replaced(&format!("{OCI_LAYER}+gzip"), "text/plain".into()))),
        ("declared as", Box::new(replaced(OCI_MANIFEST, DOCKER_MANIFEST.into()))),
        (
            "2 layers, its configuration 1",
            Box::new(replaced(
                "\"layers\":[",
                format!("\"layers\":[{},", &one_more[..one_more.find("},").unwrap() + 1]),
            )),
        ),
        (
            "99999999 bytes, more than the limit",
            Box::new(replaced(
                &format!("\"size\":{}}},\"layers", good.config.len()),
                "\"size\":99999999},\"layers".into(),
            )),
        ),
        ("not for linux/amd64, only for linux/sparc64", Box::new(move |path: &str| alien.answer(path))),
    ];
    for (words, answer) in cases {
        let fake = Fake::start(move |asked, _| answer(&asked.path));
        let place = Place::new();
        let reference = format!("{}/x:1", fake.address);
        let error = place.pull(&reference).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot pull {reference}"));
        let mut text = error.why.to_string();
        let mut cause = std::error::Error::source(&*error.why);
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        assert!(text.contains(words), "{words}: {text}");
        assert!(place.is_empty(), "{words}");
    }
}

#[test]
fn a_cut_layer_is_begun_again() {
    let sample = Sample::new(&[("a", 2_000_000), ("b", 10)]);
    let big = sample.layers[0].0.clone();
    let fake = Fake::start(move |asked, before| match sample.answer(&asked.path) {
        answer if before == 0 && asked.path.ends_with(&Digest::of(&big).to_string()) => {
            answer.cut(big.len() / 2)
        }
        answer => answer,
    });
    let place = Place::new();
    let pulled = place.pull(&format!("{}/x:1", fake.address)).unwrap();
    assert_eq!(pulled.layers_fetched, 2);
    let notes = place.told.notes.lock().unwrap();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("trying again in"), "{notes:?}");
    let sizes: Vec<_> = place.told.layers.lock().unwrap().iter().map(|info| info.size).collect();
    assert_eq!(*place.told.bytes.lock().unwrap(), sizes, "no byte is told twice");
}

#[test]
fn one_failure_stops_the_others() {
    let sample = Sample::new(&[("a", 9_000_000), ("b", 5)]);
    let (slow, gone) =
        (Digest::of(&sample.layers[0].0).to_string(), Digest::of(&sample.layers[1].0).to_string());
    let fake = Fake::start(move |asked, _| match sample.answer(&asked.path) {
        answer if asked.path.ends_with(&slow) => answer.pause(Duration::from_secs(2)),
        _ if asked.path.ends_with(&gone) => Answer::status(404, ""),
        answer => answer,
    });
    let place = Place::new();
    let error = place.pull(&format!("{}/x:1", fake.address)).unwrap_err();
    assert!(error.why.to_string().contains("the registry has none"), "{}", error.why);
    assert!(place.is_empty());
}

#[test]
fn the_bytes_say_how_they_are_compressed() {
    let layers = [("a", 50_000), ("b", 40_000), ("c", 30_000)];
    let mut sample = Sample::new(&layers);
    sample.layers[1].0 = sample.layers[1].1.clone();
    sample.layers[2].0 = zstd::encode_all(&sample.layers[2].1[..], 3).unwrap();
    for media_type in [format!("{OCI_LAYER}+gzip"), OCI_LAYER.into(), format!("{DOCKER_LAYER}.gzip")] {
        let mut sample = sample.clone().on("amd64");
        sample.manifest = sample.manifest.replace(&format!("{OCI_LAYER}+gzip"), &media_type);
        let fake = sample.serve();
        assert_eq!(Place::new().pull(&format!("{}/x:1", fake.address)).unwrap().layers_fetched, 3);
    }
}
