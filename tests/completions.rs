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
