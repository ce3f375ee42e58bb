//! Shells in a box and around it: its name in the prompt, histories apart, and the hook that enters on the way.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::harness::{Pty, Test, binary, host};

const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Those of the shells that are here; the others are told as skipped.
fn shells() -> Vec<&'static str> {
    let here = |shell: &&str| match host::shell(shell) {
        Ok(()) => true,
        Err(reason) => {
            host::skip(&reason);
            false
        }
    };
    SHELLS.into_iter().filter(here).collect()
}

fn project(shell: &str, more: &str) -> Test {
    let test = Test::new();
    test.project_file(&format!("image = \"host\"\nname = \"demo\"\nshell = \"{shell}\"\n{more}"));
    test
}

/// A box's shell, at its first prompt.
fn enter(test: &Test) -> Pty {
    let pty = Pty::spawn(&test.devbox(["enter", "--yes"]));
    pty.screen.expect("[demo] ");
    pty
}

fn leave(mut pty: Pty) {
    pty.send("exit\n");
    pty.wait();
}

#[test]
fn the_prompt_names_the_box() {
    needs!(boxes);
    for shell in shells() {
        let test = project(shell, "");
        leave(enter(&test));
        // the user's own stays, whatever it is
        let home = test.path("data/devbox/boxes/demo/home");
        let (file, text) = match shell {
            "bash" => (".bashrc", "PROMPT_COMMAND='PS1=\"mine> \"'\n"),
            "zsh" => (".zshrc", "precmd() { PS1='mine> ' }\n"),
            _ => (".config/fish/config.fish", "function fish_prompt; echo -n 'mine> '; end\n"),
        };
        let file = home.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        let mut pty = Pty::spawn(&test.devbox(["enter"]));
        pty.screen.expect("[demo] mine> ");
        pty.send("true\n");
        pty.screen.expect("[demo] mine> ");
        leave(pty);
        let pty = Pty::spawn(&test.devbox(["enter"]).env("DEVBOX_PROMPT", "off"));
        assert!(!pty.screen.expect("mine> ").contains("[demo]"), "{shell}");
        leave(pty);
        // a command is none of this
        let said = test.devbox(["run", "--", shell, "-c", "echo $HISTFILE$ZDOTDIR$PS1$DEVBOX_HISTORY"]);
        said.output().ok().prints("");
    }
}

#[test]
fn the_last_status_is_the_prompts() {
    needs!(boxes, bash);
    let test = project("bash", "");
    let mut pty = enter(&test);
    pty.line("PS1='st=$? '", "st=0 ");
    pty.line("(exit 7)", "st=7 ");
    leave(pty);
}

#[test]
fn histories_are_the_boxs_own() {
    needs!(boxes);
    for shell in shells() {
        for home in ["private", "none", "host"] {
            let test = project(shell, &format!("home = \"{home}\"\n"));
            let outside = test.write("home/.bash_history", "of-the-host\n");
            test.write("home/.zsh_history", "of-the-host\n");
            let mut pty = enter(&test);
            pty.line("echo rem''embered", "remembered");
            leave(pty);
            // fish shows what is older than its own first second
            thread::sleep(Duration::from_millis(1100));
            let mut pty = enter(&test);
            pty.send("history | cat\n");
            let told = pty.screen.expect("rem''embered");
            assert!(!told.contains("of-the-host"), "{shell}, home {home}: {told}");
            leave(pty);
            assert_eq!(fs::read_to_string(outside).unwrap(), "of-the-host\n", "{shell}, home {home}");
            assert!(!test.home().join(".local/share/fish/fish_history").exists(), "{shell}, home {home}");
            let state = test.path("data/devbox/boxes/demo/state");
            let kept = fs::read_dir(state).unwrap().count();
            assert_eq!(kept, usize::from(home != "private"), "{shell}, home {home}");
        }
    }
}

/// A shell outside with the hook, in the home folder, and the projects `work`, `work/sub` and `other`.
fn outside(test: &Test, shell: &str) -> Pty {
    let devbox = test.path("bin");
    fs::create_dir_all(&devbox).unwrap();
    let _ = std::os::unix::fs::symlink(binary(), devbox.join("devbox"));
    let path = format!("{}:/usr/bin:/bin", devbox.display());
    let call = match shell {
        "bash" => test.plain(["bash", "--norc", "-i"]),
        "zsh" => test.plain(["zsh", "-f", "-i"]),
        _ => test.plain(["fish", "--no-config", "-i", "-C", "function fish_prompt; echo -n 'out> '; end"]),
    };
    let mut pty = Pty::spawn(&call.cwd(test.home()).env("PS1", "out> ").env("PATH", &path));
    pty.screen.expect("out> ");
    pty.line(
        match shell {
            "fish" => "devbox hook fish | source",
            "zsh" => "eval \"$(devbox hook zsh)\"",
            _ => "eval \"$(devbox hook bash)\"",
        },
        "out> ",
    );
    pty
}

/// Types `cd`, waits for the prompt, and looks where that led.
#[track_caller]
fn go(pty: &mut Pty, to: &str, prompt: &str, at: &str) {
    pty.line(&format!("cd {to}"), prompt);
    pty.line("echo \"at=$DEVBOX:$PWD.\"", &format!("{at}.\r\n"));
    pty.screen.expect(prompt);
}

#[test]
fn the_hook_enters_and_leaves_with_the_folder() {
    needs!(boxes);
    for shell in shells() {
        let test = project(shell, "");
        for folder in ["work/sub", "work/deep/er", "other"] {
            fs::create_dir_all(test.home().join(folder)).unwrap();
        }
        test.write(
            "home/work/sub/devbox.toml",
            &format!("image = \"host\"\nname = \"sub\"\nshell = \"{shell}\"\n"),
        );
        let mut pty = outside(&test, shell);
        let home = test.home().display().to_string();
        // nobody has said yes to these boxes
        pty.line("cd work", "never entered");
        pty.screen.expect("out> ");
        go(&mut pty, "deep", "out> ", &format!("at=:{home}/work/deep"));
        go(&mut pty, "/", "out> ", "at=:/");
        test.devbox(["run", "--", "true"]).output().ok();
        test.devbox(["run", "--", "true"]).cwd(test.home().join("work/sub")).output().ok();

        go(&mut pty, &format!("{home}/work/deep"), "[demo] ", &format!("at=demo:{home}/work/deep"));
        go(&mut pty, "er", "[demo] ", &format!("at=demo:{home}/work/deep/er"));
        // a project in the project, and back
        go(&mut pty, "../../sub", "[sub] ", &format!("at=sub:{home}/work/sub"));
        go(&mut pty, "..", "[demo] ", &format!("at=demo:{home}/work"));
        // a folder the box does not have
        go(&mut pty, "../other", "out> ", &format!("at=:{home}/other"));
        // left by hand, it stays left until the folder is
        go(&mut pty, "../work", "[demo] ", &format!("at=demo:{home}/work"));
        pty.line("exit", "out> ");
        go(&mut pty, "deep", "out> ", &format!("at=:{home}/work/deep"));
        go(&mut pty, &home, "out> ", &format!("at=:{home}"));
        go(&mut pty, "work", "[demo] ", &format!("at=demo:{home}/work"));
        // a folder that is nowhere
        pty.line("cd ../oth", "oth");
        pty.screen.expect("[demo] ");
        // what runs in the box is not cut off
        pty.line("sleep 1000 &", "[demo] ");
        pty.line("cd /", "jobs have ended");
        pty.screen.expect("[demo] ");
        // bash hears of it at its next prompt but one
        for keys in ["kill %1\n", "\n", "\n"] {
            pty.send(keys);
            thread::sleep(Duration::from_millis(500));
        }
        pty.screen.expect("out> ");
        pty.line("echo \"at=$DEVBOX:$PWD.\"", "at=:/.");
        pty.send("exit\n");
        pty.wait();
        let _ = test.devbox(["rm", "-f", "sub"]).output();
    }
}

#[test]
fn the_hook_locks_nobody_out() {
    needs!(boxes, bash);
    let test = project("bash", "");
    test.devbox(["run", "--", "true"]).output().ok();
    let mut pty = outside(&test, "bash");
    for (toml, said) in [
        ("imgae = 1\n", "unknown key"),
        ("image = \"host\"\nname = \"demo\"\nhome = \"host\"\n", "was not accepted"),
        ("image = \"host\"\nname = \"another\"\n", "never entered"),
        ("image = \"127.0.0.1:9/none\"\nname = \"demo\"\n", "was made from"),
    ] {
        test.project_file(toml);
        pty.line("cd work", said);
        pty.screen.expect("out> ");
        pty.line("echo \"at=$DEVBOX:$PWD.\"", &format!("at=:{}/work.", test.home().display()));
        pty.line("cd ..", "out> ");
    }
    assert!(!test.path("data/devbox/boxes/another").exists());
}

/// What a box says where it was left to is a folder to go to, or nothing.
#[test]
fn a_box_can_not_make_the_hook_do_more() {
    needs!(boxes, bash);
    let test = project("bash", "");
    test.devbox(["run", "--", "true"]).output().ok();
    test.write("home/secret", "of the host");
    for plant in [
        "ln -s /etc/hostname $f",
        "mkfifo $f",
        "mkdir $f",
        "printf relative >$f",
        "printf '/tmp\\n; rm -rf x' >$f",
        "printf '\\033[2J' >$f",
        "head -c 9000 /dev/zero >$f",
    ] {
        let mut pty = outside(&test, "bash");
        pty.line("cd work", "[demo] ");
        pty.line(&format!("f=/run/devbox/state/left.$_devbox_id; {plant}; exit"), "out> ");
        pty.line("echo \"at=$DEVBOX:$PWD.\"", &format!("at=:{}/work.", test.home().display()));
        leave(pty);
    }
}

/// One that is left to nowhere again and again is not entered again and again.
#[test]
fn a_box_can_not_make_the_hook_loop() {
    needs!(boxes);
    for shell in shells() {
        let test = project(shell, "");
        test.devbox(["run", "--", "true"]).output().ok();
        let home = test.path("data/devbox/boxes/demo/home");
        let (file, id) = match shell {
            "bash" => (".bashrc", "${DEVBOX_HOOK%%:*}"),
            "zsh" => (".zshrc", "${DEVBOX_HOOK%%:*}"),
            _ => (".config/fish/config.fish", "(string split -m 1 : $DEVBOX_HOOK)[1]"),
        };
        let file = home.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let text = format!("echo x >>~/count\nprintf /none >/run/devbox/state/left.{id}\nexec true\n");
        fs::write(file, text).unwrap();
        let mut pty = outside(&test, shell);
        pty.line("cd work", "out> ");
        pty.line("echo \"at=$DEVBOX:$PWD.\"", &format!("at=:{}/work.", test.home().display()));
        pty.screen.expect("out> ");
        pty.line("true", "out> ");
        leave(pty);
        assert_eq!(fs::read_to_string(home.join("count")).unwrap(), "x\nx\n", "{shell}");
    }
}
