//! SIGKILL at any instant: the next command works, and nothing is left.
//!
//! `DEVBOX_CRASHES` says how many commands are killed at random instants (16), `DEVBOX_CRASH_SEED` repeats a run.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;

use crate::harness::registry::Registry;
use crate::harness::{Image, Packing, Test, host, within};

#[test]
fn a_killed_start_leaves_a_usable_box() {
    needs!(boxes, images);
    let test = Test::busybox();
    let marker = format!("5{}", std::process::id());
    for step in 0..24 {
        let mut start = test.devbox(["run", "--", "sleep", &marker]).spawn();
        // A point in time is the very thing tried here: each step is a little later in the start.
        std::thread::sleep(Duration::from_micros(step * 500));
        start.signal(Signal::SIGKILL);
        assert!(start.ended(Duration::from_secs(5)).is_some());
        assert!(within(5, || host::processes(&marker).is_empty()), "step {step}: something still runs");
        test.sh("echo fine").ok().prints("fine");
    }
    assert!(!host::mounted_below(&test.path("")));
}

#[test]
fn a_killed_rm_can_be_done_again() {
    needs!(boxes, images);
    let test = Test::busybox();
    for step in 0..8 {
        test.sh("for i in $(seq 300); do mkdir -p /many/$i; echo x >/many/$i/f; done; chmod 0 /many").ok();
        let mut rm = test.devbox(["rm", "demo"]).spawn();
        std::thread::sleep(Duration::from_millis(step));
        if rm.ended(Duration::ZERO).is_none() {
            rm.signal(Signal::SIGKILL);
        }
        rm.ended(Duration::from_secs(5));
        let again = test.devbox(["rm", "demo"]).output();
        assert!(again.code == 0 || again.stderr.contains("no box"), "{again}");
        test.devbox(["ls", "--format", "json"]).output().ok().prints("[]");
    }
}

/// A store and a box that commands are killed over.
struct World {
    test: Test,
    reference: String,
    /// An image with many files of the first.
    twin: String,
    /// Among the arguments of what runs in the box.
    marker: String,
}

/// Equal files of the two images.
const TWINS: usize = 300;

/// What is killed.
const VERBS: [&str; 9] = ["pull", "run", "rm", "rmi", "prune", "repair", "dedupe", "run-new", "pull-again"];

impl World {
    fn new() -> Self {
        let block = "0123456789abcdef".repeat(256);
        let files: String =
            (0..300).map(|number| format!("f 644 srv/{number}/file {number}{block}\n")).collect();
        let big = format!("f 644 srv/big {}\nf 0 srv/closed x\nh srv/link srv/big", block.repeat(1000));
        let image = Image::busybox()
            .layer(&files, Packing::Gzip)
            .layer(&big, Packing::Zstd)
            .layer("f 644 srv/.wh.0 \nf 644 srv/last fine\\n", Packing::Plain);
        let reference = Registry::open().push("crash:1", &image);
        // folders that nobody may write in, and that nobody may enter
        let equal: String = (0..TWINS)
            .map(|number| {
                format!("f 644 srv/{}/{number} {number}{block}\n", ["free", "555", "0"][number % 3])
            })
            .collect();
        let twin = Image::busybox().layer(&format!("d 555 srv/555\nd 0 srv/0\n{equal}"), Packing::Gzip);
        let twin = Registry::open().push("crash:2", &twin);
        let marker = format!("6{}", std::process::id());
        Self { test: Test::of_image(&reference), reference, twin, marker }
    }

    /// How many files of the twin's layer are links of others; to be asked of a store that was just verified.
    fn shared(&self) -> usize {
        let layers = fs::read_dir(self.test.path("data/devbox/store/layers/sha256")).unwrap().flatten();
        let layer = layers.map(|layer| layer.path().join("tree/srv")).find(|srv| srv.join("555").exists());
        let mut shared = 0;
        for folder in ["free", "555", "0"].map(|name| layer.as_ref().unwrap().join(name)) {
            let mode = fs::metadata(&folder).unwrap().permissions();
            fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
            let files = fs::read_dir(&folder).unwrap().flatten();
            shared += files.filter(|file| file.metadata().unwrap().nlink() > 1).count();
            fs::set_permissions(&folder, mode).unwrap();
        }
        shared
    }

    /// Brings about what the verb is for.
    fn prepare(&self, verb: &str) {
        let gone = || {
            let _ = self.test.devbox(["rm", "-f", "demo"]).output();
            self.test.devbox(["prune", "--all"]).output().ok();
        };
        match verb {
            "pull" | "run-new" => gone(),
            "rm" => {
                self.test
                    .sh("for i in $(seq 200); do mkdir -p /many/$i; echo x >/many/$i/f; done; chmod 0 /many")
                    .ok();
            }
            "rmi" | "prune" => {
                gone();
                self.test.devbox(["pull", &self.reference]).output().ok();
            }
            "dedupe" => {
                gone();
                self.test.devbox(["pull", &self.reference]).output().ok();
                self.test.devbox(["pull", &self.twin]).output().ok();
            }
            "repair" => {
                self.test.devbox(["pull", &self.reference]).output().ok();
                let layers = self.test.path("data/devbox/store/layers/sha256");
                for layer in fs::read_dir(layers).unwrap().flatten() {
                    let file = layer.path().join("tree/srv/big");
                    if file.exists() {
                        fs::write(file, "damaged").unwrap();
                    }
                }
            }
            _ => {
                self.test.sh("true").ok();
            }
        }
    }

    fn words<'a>(&'a self, verb: &'a str) -> Vec<&'a str> {
        match verb {
            "pull" | "pull-again" => vec!["pull", &self.reference],
            "run" | "run-new" => {
                vec!["run", "--", "sh", "-c", "echo x >/written; exec sleep \"$0\"", &self.marker]
            }
            "rm" => vec!["rm", "demo"],
            "rmi" => vec!["rmi", &self.reference],
            "prune" => vec!["prune", "--all"],
            "dedupe" => vec!["dedupe"],
            _ => vec!["verify", "--repair"],
        }
    }

    /// Everything there is works, and nothing of the killed command is left.
    fn check(&self, what: &str) {
        let test = &self.test;
        assert!(within(10, || host::processes(&self.marker).is_empty()), "{what}: a command still runs");
        assert!(!host::mounted_below(&test.path("")), "{what}: something is mounted");
        for verb in [["images", "--format", "json"], ["ls", "--format", "json"], ["df", "--format", "json"]] {
            test.devbox(verb).output().ok().json();
        }
        let sound = test.devbox(["verify"]).output();
        assert!(sound.code == 0 || what.contains("repair"), "{what}: {sound}");
        test.devbox(["verify", "--repair"]).output().ok();
        test.devbox(["pull", &self.reference]).output().ok();
        let script = "cat /srv/last; wc -c </srv/big; ls /srv | wc -l";
        test.sh(script).ok().prints("fine\n4096000\n303");
        let folder = |name: &str| fs::read_dir(test.path("data/devbox").join(name)).unwrap().flatten();
        // who waits for the store, or marks layers durable, may be at it yet
        let left =
            || folder("store/staging").chain(folder("boxes").filter(|name| name.file_name() != "demo"));
        assert!(
            within(5, || {
                test.devbox(["prune"]).output().ok();
                left().next().is_none()
            }),
            "{what}: {:?} is left",
            left().map(|entry| entry.path()).collect::<Vec<_>>()
        );
        assert!(within(10, || holders(&test.path("")).is_empty()), "{what}: {:?}", holders(&test.path("")));
    }
}

/// Processes that have something below `root` open.
fn holders(root: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(open) = fs::read_dir(process.path().join("fd")) else { continue };
        if open.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|to| to.starts_with(root))) {
            found.push(process.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

/// Numbers that look random (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

#[test]
fn killed_at_any_instant_the_next_command_works() {
    needs!(boxes, images);
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let kills = number("DEVBOX_CRASHES").unwrap_or(16);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = number("DEVBOX_CRASH_SEED").unwrap_or(now.as_nanos() as u64 | 1);
    let mut random = Random(seed);
    let world = World::new();
    // how long each takes when nobody kills it
    let mut whole = BTreeMap::new();
    for verb in VERBS {
        world.prepare(verb);
        let start = Instant::now();
        let mut call = world.test.devbox(world.words(verb)).spawn();
        let most = if verb.starts_with("run") { 150 } else { 20_000 };
        while start.elapsed() < Duration::from_millis(most) && call.ended(Duration::ZERO).is_none() {}
        whole.insert(verb, start.elapsed());
        drop(call);
        world.check(&format!("{verb}, whole"));
        if verb == "dedupe" {
            assert_eq!(world.shared(), TWINS);
        }
    }
    let mut counts: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    // by a `dedupe` that was killed over it
    let mut shared = Vec::new();
    for round in 0..kills {
        let verb = VERBS[round as usize % VERBS.len()];
        world.prepare(verb);
        let instant = Duration::from_micros(random.below(whole[verb].as_micros() as u64 * 11 / 10));
        let mut call = world.test.devbox(world.words(verb)).spawn();
        // A point in time is the very thing tried here.
        std::thread::sleep(instant);
        let count = counts.entry(verb).or_default();
        if call.ended(Duration::ZERO).is_none() {
            count.0 += 1;
            call.signal(Signal::SIGKILL);
        } else {
            count.1 += 1;
        }
        assert!(call.ended(Duration::from_secs(10)).is_some());
        world.check(&format!("{verb}, killed after {instant:?} (round {round}, seed {seed})"));
        if verb == "dedupe" {
            shared.push(world.shared());
        }
    }
    let line: Vec<String> =
        counts.iter().map(|(verb, (killed, ended))| format!("{verb} {killed}+{ended}")).collect();
    // past the test runner, which keeps what tests print
    let said = format!(
        "crashes: {kills}, seed {seed}; killed + ended before: {}; links after dedupe: {shared:?}\n",
        line.join(", ")
    );
    std::io::stderr().write_all(said.as_bytes()).unwrap();
}
