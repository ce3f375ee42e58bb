//! What is written for which project, and that the profile reader takes it.

use std::os::unix::fs::symlink;

use super::*;
use crate::profile::{Action, Found};

/// A folder with these files, and what is written for it. The reader has taken that.
fn starter(files: &[(&str, &str)]) -> (Starter, Found) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    of(folder.path())
}

fn of(folder: &Path) -> (Starter, Found) {
    let handle = File::open(folder).unwrap();
    let starter = Starter::of(&toolchain::survey(handle.as_fd()).unwrap());
    let found = Found::in_project("/src/app", &starter.text);
    assert!(
        starter.text.lines().all(|line| !line.starts_with('#') || line.chars().count() <= 100),
        "{}",
        starter.text
    );
    assert!(!starter.chosen.is_empty());
    (starter, found)
}

fn image(files: &[(&str, &str)]) -> String {
    starter(files).1.profile.image.unwrap().to_string()
}

#[test]
fn images() {
    for (name, text, image) in [
        ("Cargo.toml", "[package]\nname = \"a\"", "rust:1"),
        ("Cargo.toml", "[package]\nrust-version = \"1.70\"", "rust:1"),
        ("Cargo.toml", "not TOML at all", "rust:1"),
        ("rust-toolchain.toml", "[toolchain]\nchannel = \"1.85\"", "rust:1.85"),
        ("rust-toolchain.toml", "[toolchain]\nchannel = \"1.85.1\"\nprofile = \"minimal\"", "rust:1.85.1"),
        ("rust-toolchain.toml", "[toolchain]\nchannel = \"nightly-2026-01-02\"", "rust:1"),
        ("rust-toolchain.toml", "[toolchain]\nchannel = \"$(id)\"", "rust:1"),
        ("rust-toolchain", "1.70.0\n", "rust:1.70.0"),
        ("rust-toolchain", "1.70.0-x86_64-unknown-linux-gnu\n", "rust:1.70.0"),
        ("go.mod", "module a\n\ngo 1.22\n", "golang:1.22"),
        ("go.mod", "module a\n\ngo 1.22.3\n", "golang:1.22"),
        ("go.mod", "module a\ngo 1.22.3\ntoolchain go1.23.4\n", "golang:1.23.4"),
        ("go.mod", "module a\ngo 1.13\n", "golang:1"),
        ("go.work", "go 1.24\n\nuse ./a\n", "golang:1.24"),
        ("package.json", "{}", "node:lts"),
        ("package.json", "{", "node:lts"),
        ("package.json", r#"{"engines":{"node":">=18"}}"#, "node:lts"),
        ("package.json", r#"{"engines":{"node":"22.x"}}"#, "node:22"),
        ("package.json", r#"{"engines":{"node":"^18.2 || ^20"}}"#, "node:20"),
        ("package.json", r#"{"engines":{"node":">=18 <22"}}"#, "node:20"),
        ("package.json", r#"{"engines":{"node":">=26"}}"#, "node:26"),
        ("package.json", r#"{"engines":{"node":"20.11.1"}}"#, "node:20.11.1"),
        ("package.json", r#"{"volta":{"node":"20.11.1"}}"#, "node:20.11.1"),
        (".nvmrc", "v22\n", "node:22"),
        (".nvmrc", "# the server's\n20.9.0\n", "node:20.9.0"),
        (".nvmrc", "lts/*", "node:lts"),
        (".nvmrc", "lts/iron", "node:iron"),
        (".nvmrc", "node", "node:current"),
        (".node-version", "22.1.0\r\n", "node:22.1.0"),
        ("pyproject.toml", "[project]\nname = \"a\"", "python:3"),
        ("pyproject.toml", "[project]\nrequires-python = \">=3.9\"", "python:3"),
        ("pyproject.toml", "[project]\nrequires-python = \">=3.9,<3.13\"", "python:3.12"),
        ("pyproject.toml", "[project]\nrequires-python = \"==3.12.*\"", "python:3.12"),
        ("pyproject.toml", "[tool.poetry.dependencies]\npython = \"~3.11\"", "python:3.11"),
        ("pyproject.toml", "[project]\nrequires-python = 3", "python:3"),
        ("Pipfile", "[requires]\npython_version = \"3.11\"", "python:3.11"),
        (".python-version", "3.12\n3.11\n", "python:3.12"),
        (".python-version", "pypy3.10", "python:3"),
        ("requirements.txt", "requests\n", "python:3"),
        ("README", "nothing", "debian:bookworm"),
    ] {
        assert_eq!(self::image(&[(name, text)]), format!("docker.io/library/{image}"), "{name}: {text}");
    }
    assert_eq!(
        image(&[("package.json", "{}"), (".tool-versions", "nodejs 20.1.0\n")]),
        "docker.io/library/node:20.1.0"
    );
    // what a version file says goes before what is only allowed
    let both = [("package.json", r#"{"engines":{"node":"18.x"}}"#), (".nvmrc", "20")];
    assert_eq!(image(&both), "docker.io/library/node:20");
}

fn set_up(found: &Found) -> Vec<String> {
    let words = |action: &Action| match action {
        Action::Packages(packages) => packages.join(" "),
        Action::Run(command) => command.clone(),
    };
    found.profile.setup.steps.iter().map(|step| words(&step.action)).collect()
}

#[test]
fn set_up_where_the_project_evidently_needs_it() {
    let lock = "[[package]]\nname = \"openssl-sys\"\nversion = \"0.9\"\n\n[[package]]\nname = \"cmake\"\n";
    let (starter, found) = starter(&[("Cargo.toml", ""), ("Cargo.lock", lock)]);
    assert_eq!(set_up(&found), ["pkg-config libssl-dev cmake"]);
    assert!(starter.chosen.iter().any(|line| line.contains("libssl-dev, for Cargo.lock has openssl-sys")));
    assert!(found.profile.mounts.iter().any(|mount| mount.target.to_string() == "/var/cache/cargo"));

    let toolchain = "[toolchain]\nchannel = \"1.85\"\ncomponents = [\"clippy\"]\n";
    let (_, found) = self::starter(&[("rust-toolchain.toml", toolchain)]);
    assert_eq!(set_up(&found), ["rustup show active-toolchain || rustup toolchain install"]);
    assert_eq!(found.profile.setup.steps[0].files[0].name, Path::new("rust-toolchain.toml"));

    let (_, found) = self::starter(&[("package.json", r#"{"packageManager":"pnpm@9.1.0+sha512.abc"}"#)]);
    assert_eq!(set_up(&found).last().unwrap(), "corepack enable");
    assert!(found.profile.mounts.iter().any(|mount| mount.target.to_string() == "~/.local/share/pnpm/store"));

    let (_, found) = self::starter(&[("CMakeLists.txt", "project(a)")]);
    assert!(set_up(&found).last().unwrap().contains("cmake ninja-build"), "{:?}", set_up(&found));
    let cmake = "find_package(ZLIB 1.2 REQUIRED)\n# find_package(CURL)\n pkg_check_modules(X REQUIRED sqlite3>=3 fmt)\n";
    let (starter, found) = self::starter(&[("CMakeLists.txt", cmake)]);
    assert!(set_up(&found).last().unwrap().ends_with("ninja-build zlib1g-dev libsqlite3-dev libfmt-dev"));
    assert!(starter.text.contains("# CMakeLists.txt looks for ZLIB"), "{}", starter.text);
    let meson = "dep = dependency('openssl', version: '>=3')\n";
    let (_, found) = self::starter(&[("meson.build", meson)]);
    assert!(set_up(&found).last().unwrap().ends_with("libssl-dev"));
    let (_, found) = self::starter(&[("meson.build", "project('a')")]);
    assert!(set_up(&found).last().unwrap().contains("meson ninja-build"));
    let (_, found) = self::starter(&[("pyproject.toml", ""), ("uv.lock", "")]);
    assert_eq!(set_up(&found), ["pip install uv"]);
}

#[test]
fn a_makefile_alone_is_not_c() {
    let (_, found) = starter(&[("Makefile", "all:")]);
    assert_eq!(found.origins[0].name, "debian");
    for source in ["main.c", "src/main.cpp"] {
        let (_, found) = starter(&[("Makefile", "all:"), (source, "")]);
        assert_eq!(found.origins[0].name, "c-env", "{source}");
    }
}

#[test]
fn several_languages_have_one_image() {
    let (starter, found) = starter(&[("Cargo.toml", ""), ("package.json", "{}"), ("pyproject.toml", "")]);
    assert_eq!(found.profile.image.as_ref().unwrap().to_string(), "docker.io/library/rust:1");
    assert!(set_up(&found).iter().any(|step| step.contains("nodejs npm python3")), "{}", starter.text);
    let targets: Vec<String> = found.profile.mounts.iter().map(|mount| mount.target.to_string()).collect();
    assert!(targets.contains(&"~/.npm".into()) && targets.contains(&"~/.cache/pip".into()), "{targets:?}");
    // who asks for a version has the image
    let (_, found) = self::starter(&[("Cargo.toml", ""), ("package.json", "{}"), (".nvmrc", "20")]);
    assert_eq!(found.profile.image.unwrap().to_string(), "docker.io/library/node:20");
}

#[test]
fn what_lies_a_folder_deeper_is_found() {
    let files = [
        ("server/go.mod", "go 1.22"),
        ("web/package.json", "{}"),
        ("node_modules/x/Cargo.toml", ""),
        ("ui/rust-toolchain.toml", "[toolchain]\nchannel = \"stable\"\n"),
    ];
    let (starter, found) = starter(&files);
    assert_eq!(found.profile.image.unwrap().to_string(), "docker.io/library/golang:1.22");
    assert!(
        starter.chosen.iter().any(|line| line.contains("server/go.mod asks for 1.22")),
        "{:?}",
        starter.chosen
    );
    assert!(starter.text.contains("web/package.json"), "{}", starter.text);
    let (_, found) = self::starter(&files[3..]);
    let step = &found.profile.setup.steps[0];
    assert_eq!(step.files[0].name, Path::new("ui/rust-toolchain.toml"));
    assert!(matches!(&step.action, Action::Run(command) if command.starts_with("cd ./ui/ && ")), "{step:?}");
}

#[test]
fn hostile_files_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), "1.2.3").unwrap();
    let at = |name: &str| folder.path().join(name);
    nix::unistd::mkfifo(&at("Cargo.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    File::create(at("Cargo.lock")).unwrap().set_len(1 << 40).unwrap();
    symlink(outside.path(), at(".nvmrc")).unwrap();
    fs::write(at("package.json"), "[".repeat(1 << 20)).unwrap();
    fs::write(at("pyproject.toml"), format!("a = {}", "[".repeat(100_000))).unwrap();
    fs::write(at(".python-version"), b"\xff\xfe\0").unwrap();
    fs::write(at("go.mod"), "go 1.22\"\nimage = \"evil\"\ntoolchain go1.22\u{1b}[31m\n").unwrap();
    fs::create_dir(at("rust-toolchain.toml")).unwrap();
    fs::create_dir(at("a\nb")).unwrap();
    let (starter, found) = of(folder.path());
    for (name, why) in [
        ("Cargo.toml", "not a regular file"),
        ("Cargo.lock", "larger than"),
        (".nvmrc", "a link"),
        ("package.json", "not JSON"),
        ("pyproject.toml", "not TOML"),
        (".python-version", "not UTF-8"),
        ("rust-toolchain.toml", ""),
    ] {
        let line =
            starter.ignored.iter().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}"));
        assert!(line.contains(why), "{line}");
    }
    assert_eq!(found.profile.image.unwrap().to_string(), "docker.io/library/rust:1");
    assert!(!starter.text.contains(|letter: char| letter.is_control() && letter != '\n'), "{}", starter.text);
    assert!(!starter.text.contains("evil"), "{}", starter.text);
}

#[test]
fn it_is_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let handle = File::open(folder.path()).unwrap();
    write(handle.as_fd(), b"one").unwrap();
    let again = write(handle.as_fd(), b"two").unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(folder.path().join(PROJECT_FILE)).unwrap(), b"one");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
