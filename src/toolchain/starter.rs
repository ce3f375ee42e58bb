//! The `devbox.toml` a project begins with, and why it is as it is.

use std::fmt::Write as _;

use super::{Project, Toolchain};

/// Longest line of a comment.
const WIDTH: usize = 100;

/// A profile to begin with.
#[derive(Debug)]
pub struct Starter {
    /// The whole file.
    pub text: String,
    /// What was found and chosen, a line each, with the reason.
    pub chosen: Vec<String>,
    /// What could not be used, a line each.
    pub ignored: Vec<String>,
}

impl Starter {
    /// The profile for `project`.
    pub fn of(project: &Project) -> Self {
        let mut starter = Self { text: String::new(), chosen: Vec::new(), ignored: project.ignored.clone() };
        starter.comment(
            "What this project's box is made of. `devbox enter` opens a shell in it, `devbox run -- COMMAND` runs one \
             command, `devbox plan` shows what comes of this file.",
        );
        match project.toolchains.split_first() {
            Some((own, others)) => starter.languages(own, others),
            None => starter.nothing(),
        }
        starter.text.push('\n');
        starter.comment("Much more may stand here, for example:");
        starter.text +=
            "#\n#   [network]\n#   ports = [\"8080:8080\"]   # what listens in the box, on this machine\n";
        starter
    }

    fn nothing(&mut self) {
        self.chose("the profile debian", "nothing here tells which tools the project needs");
        self.text.push('\n');
        self.comment("Nothing here told which tools the project needs. This is plain Debian 12.");
        self.text += "extends = [\"debian\"]\n\n";
        self.comment("Packages go here, and become a layer that is made once:");
        self.text += "#\n#   [setup]\n#   packages = [\"build-essential\", \"git\"]\n";
    }

    fn languages(&mut self, own: &Toolchain, others: &[Toolchain]) {
        self.text.push('\n');
        self.profiles(own, others);
        self.image(own);
        for remark in own.remarks.iter().chain(others.iter().flat_map(|other| &other.remarks)) {
            self.comment(remark);
        }
        self.variables(own);
        self.caches(own);
        self.set_up(own, others);
    }

    /// The profile of `own` last, for the last one's image counts; the others bring their caches.
    fn profiles(&mut self, own: &Toolchain, others: &[Toolchain]) {
        for toolchain in std::iter::once(own).chain(others) {
            let why = format!("{} is there", toolchain.told_by);
            self.chose(&format!("the profile {}", toolchain.profile), &why);
            self.comment(&format!("{}: {} is there.", toolchain.language, toolchain.told_by));
        }
        if !others.is_empty() {
            self.comment(&format!(
                "The image is that of {}, the last one here; of the others come the caches, and their tools from Debian.",
                own.language
            ));
        }
        let names: Vec<String> =
            others.iter().chain([own]).map(|toolchain| quoted(toolchain.profile)).collect();
        let _ = writeln!(self.text, "extends = [{}]", names.join(", "));
    }

    fn image(&mut self, own: &Toolchain) {
        let Some(tag) = &own.tag else {
            self.comment(
                "`devbox lock` writes down which image that is today, so that everybody has the same.",
            );
            return;
        };
        let image = format!("{}:{}", own.repository, tag.what);
        self.chose(&format!("the image {image}"), &tag.why);
        self.text.push('\n');
        self.comment(&format!(
            "{}. `devbox lock` writes down which build of it, so that everybody has the same.",
            tag.why
        ));
        let _ = writeln!(self.text, "image = {}", quoted(&image));
    }

    fn variables(&mut self, own: &Toolchain) {
        if own.env.is_empty() {
            return;
        }
        self.text += "\n[env]\n";
        for (name, value) in &own.env {
            let _ = writeln!(self.text, "{name} = {}", quoted(value));
        }
    }

    fn caches(&mut self, own: &Toolchain) {
        for (index, (name, target)) in own.caches.iter().enumerate() {
            self.chose(&format!("the cache {name}"), "what is fetched once serves all boxes");
            self.text.push('\n');
            if index == 0 {
                self.comment("What is fetched once serves all boxes.");
            }
            let _ = writeln!(
                self.text,
                "[[mounts]]\nsource = {}\ntarget = {}\nmode = \"cache\"",
                quoted(name),
                quoted(target)
            );
        }
    }

    fn set_up(&mut self, own: &Toolchain, others: &[Toolchain]) {
        let debian = others.iter().flat_map(|other| {
            let why = format!("{}, for {}", other.language, other.told_by);
            other.debian.iter().map(move |package| ((*package).to_owned(), why.clone()))
        });
        let wished = std::iter::once(own).chain(others).flat_map(|toolchain| &toolchain.packages);
        let mut packages: Vec<(String, String)> = Vec::new();
        for (what, why) in debian.chain(wished.map(|package| (package.what.clone(), package.why.clone()))) {
            if !packages.iter().any(|(known, _)| *known == what) {
                packages.push((what, why));
            }
        }
        if packages.is_empty() && own.steps.is_empty() {
            return;
        }
        self.text.push('\n');
        self.comment(
            "Done once, as root of a clean box; a layer each, shared by all boxes that ask for the same.",
        );
        self.text += "[setup]\n";
        for other in others {
            if let Some(tag) = &other.tag {
                self.comment(&format!("{}; {} here is what Debian has.", tag.why, other.language));
            }
            for step in &other.steps {
                self.comment(&format!(
                    "Not done, for it takes the image of {}: {} ({}).",
                    other.language, step.command, step.why
                ));
            }
        }
        self.packages(&packages);
        if !own.steps.is_empty() {
            self.text += "run = [\n";
            let mut last = "";
            for step in &own.steps {
                self.chose(&format!("the set-up step `{}`", step.command), &step.why);
                if step.why != last {
                    let _ = writeln!(self.text, "  # {}", plain(&step.why));
                }
                last = &step.why;
                let command = quoted(&step.command);
                let files: Vec<String> = step.files.iter().map(|file| quoted(file)).collect();
                let _ = match files.is_empty() {
                    true => writeln!(self.text, "  {command},"),
                    false => {
                        writeln!(self.text, "  {{ command = {command}, files = [{}] }},", files.join(", "))
                    }
                };
            }
            self.text += "]\n";
        }
    }

    fn packages(&mut self, packages: &[(String, String)]) {
        if packages.is_empty() {
            return;
        }
        let widest = packages.iter().map(|(what, _)| quoted(what).len() + 1).max().unwrap_or_default();
        self.text += "packages = [\n";
        let mut whys: Vec<&str> = Vec::new();
        for (what, why) in packages {
            let _ = writeln!(self.text, "  {:widest$} # {}", format!("{},", quoted(what)), plain(why));
            if !whys.contains(&why.as_str()) {
                whys.push(why);
            }
        }
        self.text += "]\n";
        for why in whys {
            let those: Vec<&str> =
                packages.iter().filter(|(_, of)| of == why).map(|(what, _)| what.as_str()).collect();
            self.chose(&format!("the packages {}", those.join(", ")), why);
        }
    }

    fn chose(&mut self, what: &str, why: &str) {
        self.chosen.push(format!("{what}, for {why}"));
    }

    /// `text` as a comment, in lines that are not too long.
    fn comment(&mut self, text: &str) {
        let mut line = String::from("#");
        for word in plain(text).split(' ') {
            if line.chars().count() + 1 + word.chars().count() > WIDTH && line != "#" {
                let _ = writeln!(self.text, "{line}");
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        let _ = writeln!(self.text, "{line}");
    }
}

/// `text` as a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// `text` without what would end a comment.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
