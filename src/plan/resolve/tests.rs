//! A plan and an image → what is executed, as whom, where and with which variables.

use super::super::tests::{host, project};
use super::*;
use crate::plan::{Flags, make};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/ash\nnode:x:1000:1000::/home/node:/bin/bash\nwww:x:33:33::/var/www:/usr/sbin/nologin\n";
const GROUP: &str = "www:x:33:\nextra:x:50:www\n";

fn image() -> ImageDefaults {
    ImageDefaults {
        env: vec![
            "PATH=/opt/bin:/bin".into(),
            "LANG=C.UTF-8".into(),
            "HOME=/x".into(),
            "broken".into(),
            "=x".into(),
            "E=a=b".into(),
        ],
        entrypoint: vec!["/entry".into(), "-x".into()],
        cmd: vec!["serve".into()],
        working_dir: Some("/srv/www".into()),
        user: Some("www".into()),
    }
}

fn resolved(
    text: &str,
    flags: &Flags,
    host: &Host,
    image: &ImageDefaults,
    ask: Ask,
) -> Result<Resolved, Error> {
    let plan =
        make(&project(&format!("image = \"debian\"\n{text}")), flags, host, &|_| Some("s3cret".into()))?;
    resolve(&plan, host, image, &Accounts::new(PASSWD, GROUP)?, ask)
}

fn shell(text: &str, host: &Host) -> Resolved {
    resolved(text, &Flags::default(), host, &image(), Ask::Shell)
        .map_err(|error| error.to_string())
        .ok()
        .unwrap()
}

#[test]
fn the_whole_environment() {
    let mut host = host();
    for (name, value) in
        [("TERM", "xterm"), ("LANG", "de_DE.UTF-8"), ("LC_TIME", "en_GB.UTF-8"), ("TZ", "Europe/Paris")]
    {
        host.variables.insert(name.into(), value.into());
    }
    let text = "[env]\nUSER = \"x\"\n[env-from-host]\nnames = [\"TOKEN\"]";
    let shown = |image: &ImageDefaults| {
        let resolved = resolved(text, &Flags::default(), &host, image, Ask::Shell).ok().unwrap();
        resolved.env.iter().map(|(name, value)| format!("{name}={value}\n")).collect::<String>()
    };
    assert_eq!(
        shown(&image()),
        "\
DEVBOX=app
E=a=b
HOME=/home/me
HOSTNAME=app
LANG=C.UTF-8
LOGNAME=me
PATH=/opt/bin:/bin
TERM=xterm
TOKEN=s3cret
TZ=Europe/Paris
USER=x
container=devbox
"
    );
    assert_eq!(
        shown(&ImageDefaults::default()),
        "\
DEVBOX=app
HOME=/home/me
HOSTNAME=app
LANG=de_DE.UTF-8
LC_TIME=en_GB.UTF-8
LOGNAME=me
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
TERM=xterm
TOKEN=s3cret
TZ=Europe/Paris
USER=x
container=devbox
"
    );
}

#[test]
fn programs() {
    let argv = |words: &[&str]| Program::Argv(words.iter().map(OsString::from).collect());
    let shells = |words: &[&str]| Program::Shell(words.iter().map(|word| (*word).to_owned()).collect());
    let run = |text: &str, image: &ImageDefaults, ask| {
        resolved(text, &Flags::default(), &host(), image, ask).map(|resolved| resolved.program)
    };
    let bare = ImageDefaults::default();
    assert!(run("", &image(), Ask::Image).is_ok_and(|program| program == argv(&["/entry", "-x", "serve"])));
    assert!(matches!(run("", &bare, Ask::Image), Err(Error::NoCommand)));
    assert!(matches!(run("", &bare, Ask::Command(Vec::new())), Err(Error::NoCommand)));
    let typed = Ask::Command(vec!["ls".into(), "-l".into()]);
    assert!(
        run("", &image(), typed).is_ok_and(|program| program == argv(&["ls", "-l"])),
        "no entrypoint before it"
    );
    for (text, expected) in [
        ("", shells(&["/usr/bin/zsh", "/bin/bash", "/bin/sh"])),
        ("shell = \"fish\"", shells(&["fish"])),
        ("user = \"root\"", shells(&["/bin/ash", "/bin/bash", "/bin/sh"])),
    ] {
        assert!(run(text, &image(), Ask::Shell).is_ok_and(|program| program == expected), "{text}");
    }
}

#[test]
fn who_runs() {
    let poor = Host { subordinate_ids: false, ..host() };
    let stranger = Host { uid: 1234, gid: 1234, ..host() };
    for (text, host, expected) in [
        ("", &host(), "me 1000:1000 [] /home/me single"),
        ("user = \"root\"", &host(), "root 0:0 [] /root single"),
        ("user = \"root\"\nids = \"full\"", &host(), "root 0:0 [] /root full"),
        ("ids = \"full\"", &host(), "root 0:0 [] /root full"),
        ("user = \"image\"", &host(), "www 33:33 [50] /var/www full"),
        ("user = \"www:0\"", &host(), "www 33:0 [] /var/www full"),
        ("user = \"0:5\"", &host(), "root 0:0 [] /root single"),
        // the caller's own id needs no other
        ("user = \"node\"", &host(), "me 1000:1000 [] /home/me single"),
        ("user = \"node\"", &stranger, "node 1000:1000 [] /home/node full"),
        ("user = \"node\"\nids = \"full\"", &host(), "node 1000:1000 [] /home/node full"),
        (
            "user = \"image\"",
            &poor,
            "me 1000:1000 [] /home/me single; the session runs as `me`, not as `www` (uid 33): you have no subordinate ids",
        ),
        (
            "user = \"www\"\nids = \"single\"",
            &host(),
            "me 1000:1000 [] /home/me single; the session runs as `me`, not as `www` (uid 33): ids `single` has no other user",
        ),
    ] {
        let Resolved { account, ids, notes, .. } = shell(text, host);
        let Account { name, uid, gid, groups, home, .. } = account;
        let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
        assert_eq!(
            format!("{name} {uid}:{gid} {groups:?} {} {ids}{notes}", home.display()),
            expected,
            "{text}"
        );
    }
}

#[test]
fn an_image_user_that_is_not_there_is_never_root() {
    let run = |user: Option<&str>| {
        let image = ImageDefaults { user: user.map(str::to_owned), ..image() };
        resolved("user = \"image\"", &Flags::default(), &host(), &image, Ask::Shell)
    };
    for user in ["nobody", "99999999999", "-1", ":", "a b", "root:none", "\u{1b}[31m"] {
        let error = run(Some(user)).err().unwrap();
        assert!(matches!(error, Error::User { .. }) && !error.to_string().contains('\u{1b}'), "{user}");
    }
    for root in [None, Some(""), Some("0"), Some("root"), Some("root:www")] {
        assert_eq!(run(root).ok().unwrap().account.uid, 0, "{root:?}");
    }
}

#[test]
fn where_it_runs() {
    let at = |text: &str, flags: &Flags, cwd: &str, image: &ImageDefaults| {
        let host = Host { cwd: cwd.into(), ..host() };
        resolved(text, flags, &host, image, Ask::Shell).ok().unwrap().cwd.display().to_string()
    };
    let none = Flags { no_project: true, ..Flags::default() };
    let workdir = Flags { workdir: Some("/w".into()), ..Flags::default() };
    let bare = ImageDefaults::default();
    let relative = ImageDefaults { working_dir: Some("x".into()), ..image() };
    for (text, flags, cwd, image, expected) in [
        ("", &workdir, "/home/me/src/app/sub", &image(), "/w"),
        ("", &Flags::default(), "/home/me/src/app/sub", &image(), "/home/me/src/app/sub"),
        ("", &Flags::default(), "/home/me/src/application", &image(), "/home/me/src/app"),
        ("", &none, "/home/me/src/app/sub", &image(), "/srv/www"),
        ("", &none, "/home/me/src/app/sub", &bare, "/home/me"),
        ("", &none, "/home/me/src/app/sub", &relative, "/home/me"),
        ("home = \"host\"", &none, "/home/me/other", &image(), "/home/me/other"),
        ("user = \"root\"", &none, "/home/me", &bare, "/"),
    ] {
        assert_eq!(at(text, flags, cwd, image), expected, "{text} {cwd}");
    }
}
