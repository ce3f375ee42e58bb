//! Whether a path of the host is in a box, and as what: for questions asked afterwards.

use std::path::Path;

use super::{Home, Image, Isolation, MountMode, Plan};

/// What a box has at the path of something on the host.
#[derive(Debug, PartialEq, Eq)]
pub struct Sight {
    /// The host's own thing is what is seen there.
    pub is_there: bool,
    /// What is there, and by which words of the plan.
    pub why: String,
    /// What would show it, or let it be written.
    pub remedy: Option<String>,
}

/// What `plan` gives a box at `path` (absolute, without `.` and `..`) of the caller whose home folder is `home`.
pub fn sight(plan: &Plan, path: &Path, home: &Path) -> Sight {
    let mount = plan.mounts.iter().rev().find(|mount| path.starts_with(&mount.target));
    // a mount deeper than the project is in it, one around it stands before it
    let project = plan.project.as_deref().filter(|project| path.starts_with(project));
    let deepest = |target: &Path| project.is_none_or(|project| target.starts_with(project));
    if let Some(mount) = mount.filter(|mount| deepest(&mount.target)) {
        let target = mount.target.display();
        let same = mount.source.as_deref() == Some(&mount.target);
        return match mount.mode {
            MountMode::Tmpfs => {
                hidden(path, &format!("fresh memory stands at {target} (`mode = \"tmpfs\"`)"))
            }
            MountMode::Cache => hidden(path, &format!("a cache stands at {target} (`mode = \"cache\"`)")),
            _ if !same => hidden(path, &format!("something else is mounted at {target}")),
            MountMode::Ro => seen(
                format!("{target} is mounted, and may be read (`mode = \"ro\"`)"),
                Some("`mode = \"rw\"` in that `[[mounts]]`"),
            ),
            MountMode::Rw => seen(format!("{target} is mounted, and may be written (`mode = \"rw\"`)"), None),
            MountMode::Overlay => seen(
                format!("{target} is mounted, and writes to it stay in the box (`mode = \"overlay\"`)"),
                Some("`mode = \"rw\"` in that `[[mounts]]`"),
            ),
        };
    }
    match (project, plan.isolation) {
        (Some(_), Isolation::Dev) => {
            return seen("it is in the project folder, which may be written".to_owned(), None);
        }
        (Some(_), Isolation::Untrusted) => {
            let why = "it is in the project folder; writes to that stay in the box until they are applied";
            return seen(why.to_owned(), Some("`devbox apply`"));
        }
        (None, _) => {}
    }
    match plan.home {
        _ if !path.starts_with(home) => {}
        Home::Host => return seen("your home is the box's (`home = \"host\"`)".to_owned(), None),
        Home::Private => return hidden(path, "the box has a home of its own (`home = \"private\"`)"),
        Home::None => return hidden(path, "the box has an empty home (`home = \"none\"`)"),
    }
    match plan.image {
        Image::Host => seen(
            "the box stands on this machine's own files, to be read (`image = \"host\"`)".to_owned(),
            None,
        ),
        _ => hidden(path, "of this machine a box has only what is named; the rest is its image's"),
    }
}

fn seen(why: String, remedy: Option<&str>) -> Sight {
    Sight { is_there: true, why, remedy: remedy.map(str::to_owned) }
}

fn hidden(path: &Path, why: &str) -> Sight {
    let text = path.display().to_string();
    let remedy = match text.contains([':', '"', '\\']) || text.contains(char::is_control) {
        true => "a `[[mounts]]` of it with `mode = \"ro\"`".to_owned(),
        false => format!(
            "`[[mounts]]` with `source = \"{text}\"`, `target = \"{text}\"`, `mode = \"ro\"`, or `-v {text}:{text}:ro`"
        ),
    };
    Sight { is_there: false, why: why.to_owned(), remedy: Some(remedy) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Flags, tests};
    use crate::profile::Found;

    #[test]
    fn what_is_in_the_box_and_what_is_not() {
        let text = "image = \"debian:12\"\n\
            [[mounts]]\nsource = \"~/.gitconfig\"\ntarget = \"~/.gitconfig\"\nmode = \"ro\"\n\
            [[mounts]]\nsource = \"/etc\"\ntarget = \"/host/etc\"\nmode = \"ro\"\n\
            [[mounts]]\ntarget = \"${project}/tmp\"\nmode = \"tmpfs\"\n";
        let found = Found::in_project("/home/me/app", text);
        let host = tests::host();
        let look = |flags: &Flags, path: &str| {
            let plan = crate::plan::make(&found, flags, &host, &|_| None).unwrap();
            sight(&plan, Path::new(path), &host.home)
        };
        let dev = Flags::default();
        let untrusted = Flags { isolation: Some(Isolation::Untrusted), ..Flags::default() };
        for (path, there, words) in [
            ("/home/me/.gitconfig", true, "may be read"),
            ("/home/me/.ssh/id_ed25519", false, "home of its own"),
            ("/home/me/app/src", true, "may be written"),
            ("/home/me/app/tmp/x", false, "fresh memory"),
            ("/home/me/application", false, "home of its own"),
            ("/host/etc/passwd", false, "something else"),
            ("/etc/shadow", false, "only what is named"),
        ] {
            let seen = look(&dev, path);
            assert!(seen.is_there == there && seen.why.contains(words), "{path}: {seen:?}");
        }
        assert!(look(&untrusted, "/home/me/app/src").why.contains("until they are applied"));
        assert!(look(&dev, "/home/me/a").remedy.unwrap().contains("-v /home/me/a:/home/me/a:ro"));
        assert!(!look(&dev, "/home/me/\"x").remedy.unwrap().contains("\"x"));
    }
}
