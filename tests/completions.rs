//! Completions: the files in `completions/` are what the command prints, and shells take them.

use std::fs;
use std::path::PathBuf;

use crate::harness::Test;
use crate::harness::host::{self, source};

const FILES: &[(&str, &str)] = &[("bash", "devbox.bash"), ("zsh", "_devbox"), ("fish", "devbox.fish")];

fn file(name: &str) -> PathBuf {
    source().join("completions").join(name)
}

#[test]
fn files_are_up_to_date() {
    let test = Test::new();
    for (shell, name) in FILES {
        let printed = test.devbox(["completions", shell]).output().ok();
        let kept = fs::read_to_string(file(name)).unwrap();
        assert!(printed.text() == kept, "devbox completions {shell} >completions/{name}");
    }
}

#[test]
fn bash_completes_verbs_flags_and_names() {
    needs!(bash);
    let test = Test::new();
    test.profile("mine-own", "image = \"host\"\n");
    let bin = test.path("bin");
    fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink(crate::harness::test::binary(), bin.join("devbox")).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    for (words, wanted) in [
        (&["devbox", "ent"][..], "enter"),
        (&["devbox", "run", "--im"], "--image"),
        (&["devbox", "enter", "rust"], "rust-env"),
        (&["devbox", "enter", "mine"], "mine-own"),
        (&["devbox", "ls", "--format", "j"], "json"),
        (&["devbox", "completions", "z"], "zsh"),
    ] {
        let script = r#"source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9
            set -- $(complete -p devbox); while [ $# -gt 0 ] && [ "$1" != -F ]; do shift; done
            $2 devbox "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"; printf '%s\n' "${COMPREPLY[@]}""#;
        let completions = file("devbox.bash").display().to_string();
        let call = [&["bash", "-c", script, "bash", &completions][..], words].concat();
        let said = test.plain(call).env("PATH", &path).output().ok();
        assert!(said.text().lines().any(|line| line.trim() == wanted), "{words:?}: {said}");
    }
}

#[test]
fn other_shells_can_read_theirs() {
    for (shell, name) in FILES {
        if host::works(&["which", shell]) {
            assert!(host::works(&[shell, "-n", file(name).to_str().unwrap()]), "{name}");
        }
    }
}

#[test]
fn scripts_are_installed_where_shells_look() {
    let test = Test::new();
    for (shell, path, kept) in [
        ("bash", "data/bash-completion/completions/devbox", "devbox.bash"),
        ("zsh", "data/zsh/site-functions/_devbox", "_devbox"),
        ("fish", "config/fish/completions/devbox.fish", "devbox.fish"),
    ] {
        let install = |more: &[&str]| test.devbox([&["completions", "--install"], more].concat());
        let path = test.path(path);
        let (shown, kept) = (path.display().to_string(), fs::read_to_string(file(kept)).unwrap());
        install(&[shell]).output().ok().prints(&shown);
        assert_eq!(fs::read_to_string(&path).unwrap(), kept);
        // again, by one's own shell
        install(&[])
            .env("SHELL", &format!("/bin/{shell}"))
            .output()
            .ok()
            .prints(&shown)
            .says(&["up to date"]);
        fs::write(&path, kept.replace("words", "older")).unwrap();
        install(&[shell]).output().ok();
        assert_eq!(fs::read_to_string(&path).unwrap(), kept, "an older one of ours is replaced");
        fs::write(&path, "mine\n").unwrap();
        install(&[shell]).output().refused(&["is not devbox's", "--force"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine\n");
        install(&[shell, "--force"]).output().ok();
        assert_eq!(fs::read_to_string(&path).unwrap(), kept);
    }
    test.devbox(["completions", "--install", "zsh"]).output().ok().says(&["fpath=(", ".zshrc"]);
    test.write("home/.zshrc", "fpath=(~/.zfunc $fpath)\ncompinit\n");
    let there = test.home().join(".zfunc/_devbox").display().to_string();
    let said = test.devbox(["completions", "--install", "zsh"]).output().ok().prints(&there);
    assert!(!said.stderr.contains("needs this line"), "{said}");
    test.devbox(["completions", "--install"]).env("SHELL", "/bin/csh").output().refused(&["SHELL", "bash"]);
    test.devbox(["completions"]).output().fails(125);
}

/// The real zsh and fish, asked for candidates after installing.
#[test]
fn installed_scripts_are_found() {
    let test = Test::new();
    let bin = test.path("bin");
    fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink(crate::harness::test::binary(), bin.join("devbox")).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    if let Err(reason) = host::shell("fish") {
        return host::skip(&reason);
    }
    test.devbox(["completions", "--install", "fish"]).output().ok();
    let said = test.plain(["fish", "-c", "complete -C 'devbox enter rust'"]).env("PATH", &path).output().ok();
    assert!(said.text().starts_with("rust-env"), "{said}");
}

#[test]
fn snapshots_are_those_of_the_box() {
    let test = Test::new();
    for path in ["one/snapshots/first", "two/snapshots/second"] {
        fs::create_dir_all(test.path("data/devbox/boxes").join(path)).unwrap();
    }
    for (words, candidates) in [
        (&["rollback", "one", ""][..], &["first"][..]),
        (&["rollback", "two", ""], &["second"]),
        (&["snapshots", "two", "--remove", ""], &["second"]),
    ] {
        let index = words.len().to_string();
        let said = test.devbox([&["devbox"], words].concat()).env("DEVBOX_COMPLETE", &index).output().ok();
        let text = said.text();
        let found: Vec<_> = text.lines().filter_map(|line| line.split('\t').next()).collect();
        assert_eq!(found, candidates, "{words:?}");
    }
}
