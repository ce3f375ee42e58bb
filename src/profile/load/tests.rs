//! Discovery, layers and inheritance, over folders made for each test.

use super::*;
use crate::profile::{MountMode, Place, Profile, Source, Variable};
use std::os::unix::fs::symlink;

/// A home with a project in it, and places for profiles.
struct World {
    root: tempfile::TempDir,
    places: Places,
}

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let places = Places {
            personal: at("personal"),
            system: at("system"),
            home: at("home"),
            me: nix::unistd::geteuid().as_raw(),
        };
        fs::create_dir_all(at("home/app/src")).unwrap();
        let world = Self { root, places };
        for (file, text) in files {
            world.write(file, text);
        }
        world
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, file: &str, text: &str) {
        fs::create_dir_all(self.at(file).parent().unwrap()).unwrap();
        fs::write(self.at(file), text).unwrap();
    }

    fn named(&self, name: &str) -> Result<Found, Error> {
        self.places.find(&Selector::Name(name.to_owned()), &self.at("home/app"))
    }

    fn default(&self, folder: &str) -> Result<Found, Error> {
        self.places.find(&Selector::Default, &self.at(folder))
    }

    /// An error as it is printed, the test's own folder left out.
    fn shown(&self, found: Result<Found, Error>) -> String {
        let error = found.unwrap_err();
        let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        format!("error: {error}{hint}").replace(&format!("{}/", self.root.path().display()), "")
    }
}

fn image(profile: &Profile) -> String {
    profile.image.as_ref().map(Image::to_string).unwrap_or_default()
}

#[test]
fn every_built_in_profile_parses_and_describes_itself() {
    let world = World::new(&[]);
    let listed = world.places.list(&world.at("home"));
    let names: Vec<&str> = listed.iter().map(|profile| profile.name.as_str()).collect();
    assert_eq!(names, ["c-env", "debian", "go-env", "host", "node-env", "python-env", "rust-env"]);
    for profile in &listed {
        assert_eq!((profile.from, &profile.path, &profile.problem), (Layer::BuiltIn, &None, &None));
        assert!(profile.description.is_some() && profile.image.is_some(), "{}", profile.name);
        let found = world.named(&profile.name).unwrap();
        assert_eq!(found.name.as_ref(), Some(&profile.name));
        assert_eq!(found.origins, [Origin { name: profile.name.clone(), from: "built in".into() }]);
        assert_eq!(found.profile.name, None, "a box is named by its profile or project");
    }
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles")).unwrap();
    let profiles = files.flatten().filter(|file| file.path().extension().is_some_and(|end| end == "toml"));
    assert_eq!(profiles.count(), BUILT_IN.len(), "every profile of profiles/ is embedded");
}

#[test]
fn the_project_file_is_looked_for_upward() {
    let world = World::new(&[("home/app/devbox.toml", "image = \"a\"")]);
    for folder in ["home/app", "home/app/src"] {
        let found = world.default(folder).unwrap();
        assert_eq!((found.project_dir, found.name), (Some(world.at("home/app")), None));
        assert_eq!(image(&found.profile), "a");
    }
    // the nearer one counts
    world.write("home/app/src/devbox.toml", "image = \"b\"");
    let found = world.default("home/app/src").unwrap();
    assert_eq!(found.project_dir, Some(world.at("home/app/src")));
}

#[test]
fn a_project_has_one_origin_however_it_is_named() {
    let world = World::new(&[("home/app/devbox.toml", "image = \"a\"")]);
    symlink(world.at("home/app"), world.at("link")).unwrap();
    let file = |path: &str| Selector::File(path.into());
    let linked = Selector::File(world.at("link/devbox.toml"));
    let from = world.at("home/app/devbox.toml").display().to_string();
    for (cwd, selector) in [
        ("home/app", Selector::Default),
        ("home/app/src", Selector::Default),
        ("home/app", file("devbox.toml")),
        ("home/app", file("./devbox.toml")),
        ("home/app/src", file("../devbox.toml")),
        ("home", linked),
    ] {
        let found = world.places.find(&selector, &world.at(cwd)).unwrap();
        assert_eq!(
            found.origins,
            [Origin { name: "devbox.toml".into(), from: from.clone() }],
            "{selector:?}"
        );
        assert_eq!(found.project_dir, Some(world.at("home/app")), "{selector:?}");
    }
    // messages say it shorter
    world.write("home/app/devbox.toml", "imgae = 1");
    let shown = world.places.find(&Selector::Default, &world.at("home/app")).unwrap_err().to_string();
    assert!(shown.starts_with("devbox.toml:1:1: "), "{shown}");
}

#[test]
fn no_project_file_means_the_profile_host() {
    let world = World::new(&[]);
    let found = world.default("home/app").unwrap();
    assert_eq!((found.profile.image, found.project_dir), (Some(Image::Host), None));
    assert_eq!(found.name.as_deref(), Some("host"));
    world.write("personal/host.toml", "image = \"mine\"");
    assert_eq!(image(&world.default("home/app").unwrap().profile), "mine");
}

#[test]
fn above_the_home_nothing_is_looked_at() {
    let world = World::new(&[("devbox.toml", "not even TOML"), ("other/x", "")]);
    assert_eq!(world.default("home/app").unwrap().name.as_deref(), Some("host"));
    assert_eq!(world.default("home").unwrap().name.as_deref(), Some("host"));
    // who did not begin in the home has no such boundary
    assert!(matches!(world.default("other"), Err(Error::Mistake(_))));
    // the home's own is found
    world.write("home/devbox.toml", "");
    assert_eq!(world.default("home/app").unwrap().project_dir, Some(world.at("home")));
}

#[test]
fn a_home_behind_a_link_is_the_same_boundary() {
    let mut world = World::new(&[("devbox.toml", "not even TOML")]);
    symlink(world.at("home"), world.at("link")).unwrap();
    world.places.home = world.at("link");
    assert_eq!(world.default("home/app").unwrap().name.as_deref(), Some("host"));
}

#[test]
fn another_filesystem_is_a_boundary() {
    let world = World::new(&[]);
    // `/proc` is another filesystem than `/` wherever these tests run
    assert!(world.places.crosses_a_boundary(Path::new("/proc/self"), Path::new("/")));
    assert!(!world.places.crosses_a_boundary(&world.at("home/app/src"), &world.at("home/app")));
    assert!(!world.places.crosses_a_boundary(&world.at("home/app"), &world.at("home/app")));
}

#[test]
fn a_project_file_of_another_user_is_refused() {
    let mut world = World::new(&[("home/app/devbox.toml", "")]);
    // root's own files are anyone's to use, so root gives it away; others pretend to be someone else
    let _ = std::os::unix::fs::chown(world.at("home/app/devbox.toml"), Some(12345), None);
    world.places.me = 54321;
    assert!(matches!(world.default("home/app/src"), Err(Error::NotOurs { .. })));
    let named = world.places.find(&Selector::File("devbox.toml".into()), &world.at("home/app"));
    assert_eq!(named.unwrap().project_dir, Some(world.at("home/app")));
}

#[test]
fn a_file_given_by_name() {
    let world = World::new(&[("home/app/fast.toml", "extends = [\"debian\"]")]);
    let cwd = world.at("home/app/src");
    let found = world.places.find(&Selector::File("../fast.toml".into()), &cwd).unwrap();
    assert_eq!((found.name.as_deref(), found.project_dir), (Some("fast"), None));
    assert_eq!(image(&found.profile), "docker.io/library/debian:bookworm");
    let missing = world.places.find(&Selector::File("no.toml".into()), &cwd);
    assert_eq!(world.shown(missing), "error: no profile at `home/app/src/no.toml`");
}

#[test]
fn personal_hides_system_hides_built_in() {
    let world = World::new(&[("system/debian.toml", "image = \"system\"")]);
    assert_eq!(image(&world.named("debian").unwrap().profile), "system");
    world.write("personal/debian.toml", "image = \"personal\"");
    assert_eq!(image(&world.named("debian").unwrap().profile), "personal");
    // and each can build on the one it hides
    world.write("system/debian.toml", "extends = [\"debian\"]\nshell = \"system\"");
    world.write("personal/debian.toml", "extends = [\"debian\"]\nhostname = \"personal\"");
    let found = world.named("debian").unwrap();
    assert_eq!(found.origins.len(), 3);
    assert_eq!(image(&found.profile), "docker.io/library/debian:bookworm");
    assert_eq!(found.profile.shell.as_deref(), Some("system"));
}

#[test]
fn later_wins_and_the_file_itself_is_last() {
    let world = World::new(&[
        (
            "personal/base.toml",
            "image = \"base\"\nshell = \"sh\"\nhome = \"host\"\n[env]\nA = \"base\"\nB = \"base\"\n[[mounts]]\nsource = \"m\"\ntarget = \"/base\"",
        ),
        (
            "personal/a.toml",
            "extends = [\"base\"]\nname = \"a\"\nimage = \"a\"\nshell = \"a\"\n[env]\nA = \"a\"",
        ),
        (
            "personal/b.toml",
            "extends = [\"base\"]\nshell = \"b\"\n[env-from-host]\nnames = [\"B\"]\n[[mounts]]\ntarget = \"/b\"\nmode = \"tmpfs\"",
        ),
        ("home/app/devbox.toml", "extends = [\"a\", \"b\"]\nhome = \"none\"\n[env]\nC = \"me\""),
    ]);
    let found = world.default("home/app").unwrap();
    let names: Vec<&str> = found.origins.iter().map(|origin| origin.name.as_str()).collect();
    assert_eq!(names, ["base", "a", "b", "devbox.toml"], "a shared base comes once");
    let profile = found.profile;
    assert_eq!(image(&profile), "a");
    assert_eq!(profile.shell.as_deref(), Some("b"));
    assert_eq!(profile.home, Some(crate::profile::Home::None));
    assert_eq!(profile.name, None, "a name is not inherited");
    let literal = |text: &str| Variable::Literal(text.to_owned());
    let env: Vec<_> = profile.env.into_iter().collect();
    assert_eq!(
        env,
        [
            ("A".to_owned(), literal("a")),
            ("B".to_owned(), Variable::FromHost),
            ("C".to_owned(), literal("me"))
        ]
    );
    let modes: Vec<_> = profile.mounts.iter().map(|mount| mount.mode).collect();
    assert_eq!(modes, [MountMode::Rw, MountMode::Tmpfs]);
    let source = Source::Host(Place::absolute(&world.at("personal/m")));
    assert_eq!(profile.mounts[0].source, source, "relative to the file that says it");
}

#[test]
fn circles_are_refused_with_their_chain() {
    let world = World::new(&[
        ("personal/a.toml", "extends = [\"b\"]"),
        ("personal/b.toml", "# b\nextends = [\"debian\", \"c\"]"),
        ("personal/c.toml", "extends = [\"b\"]"),
        ("personal/self.toml", "extends = [\"self\"]"),
    ]);
    assert_eq!(
        world.shown(world.named("a")),
        "error: personal/c.toml:1:12: profiles extend each other: `b` → `c` → `b`\n  |\n1 | extends = [\"b\"]\n  |            ^^^\nhint: take one `extends` out"
    );
    assert!(
        world.shown(world.named("self")).starts_with("error: personal/self.toml:1:12: no profile `self`\n")
    );
}

#[test]
fn a_long_chain_is_refused() {
    let world = World::new(&[]);
    for step in 0..20 {
        world.write(&format!("personal/p{step}.toml"), &format!("extends = [\"p{}\"]", step + 1));
    }
    world.write("personal/p20.toml", "");
    assert_eq!(world.named("p5").unwrap().origins.len(), 16);
    let shown = world.shown(world.named("p4"));
    assert!(
        shown.starts_with("error: personal/p19.toml:1:12: more than 16 profiles extend one another"),
        "{shown}"
    );
}

#[test]
fn missing_names_are_suggested() {
    let world = World::new(&[("personal/mine.toml", "extends = [\"debain\"]")]);
    assert_eq!(
        world.shown(world.named("rustenv")),
        "error: no profile `rustenv`\nhint: did you mean `rust-env`?"
    );
    assert_eq!(
        world.shown(world.named("zzzzzz")),
        "error: no profile `zzzzzz`\nhint: `devbox profiles` lists those there are"
    );
    assert_eq!(
        world.shown(world.named("mine")),
        "error: personal/mine.toml:1:12: no profile `debain`\n  |\n1 | extends = [\"debain\"]\n  |            ^^^^^^^^\nhint: did you mean `debian`?"
    );
    assert!(
        world
            .shown(world.named("../../etc/passwd"))
            .starts_with("error: `../../etc/passwd` is not a profile name")
    );
}

#[test]
fn only_regular_text_files_of_a_sane_size_are_read() {
    let world = World::new(&[]);
    let file = world.at("home/app/devbox.toml");
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(
        world.shown(world.default("home/app")).contains("is not a regular file"),
        "and it does not block"
    );
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(world.shown(world.default("home/app")).contains("is not a regular file"));
    fs::remove_dir(&file).unwrap();
    fs::write(&file, "#".repeat((1 << 20) + 1)).unwrap();
    assert!(world.shown(world.default("home/app")).contains("is larger than 1 MiB"));
    fs::write(&file, b"# \xff").unwrap();
    assert!(world.shown(world.default("home/app")).contains("is not UTF-8 text"));
    fs::remove_file(&file).unwrap();
    symlink("/dev/zero", &file).unwrap();
    assert!(world.shown(world.default("home/app")).contains("is not a regular file"));
}

#[test]
fn the_list_goes_on_where_one_is_broken() {
    let world = World::new(&[
        ("personal/broken.toml", "# mine\nimge = \"a\""),
        ("personal/Bad Name.toml", ""),
        ("system/debian.toml", "image = \"a\""),
        ("home/app/devbox.toml", "# the project's\nextends = [\"debian\"]"),
    ]);
    let listed = world.places.list(&world.at("home/app"));
    let row = |name: &str| listed.iter().find(|profile| profile.name == name).unwrap();
    assert_eq!(listed[0].name, "devbox.toml");
    assert_eq!(
        (listed[0].from, listed[0].path.clone()),
        (Layer::Project, Some(world.at("home/app/devbox.toml")))
    );
    assert_eq!(listed[0].description.as_deref(), Some("the project's"));
    assert_eq!(listed[0].image.as_ref().map(Image::to_string).as_deref(), Some("a"));
    assert_eq!(
        (row("debian").from, &row("debian").path),
        (Layer::System, &Some(world.at("system/debian.toml")))
    );
    assert_eq!(row("broken").description.as_deref(), Some("mine"));
    let problem = format!("{}:2:1: unknown key `imge`", world.at("personal/broken.toml").display());
    assert_eq!(row("broken").problem.as_deref(), Some(problem.as_str()));
    assert!(!listed.iter().any(|profile| profile.name.contains(' ')));
}
