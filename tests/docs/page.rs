//! A page of the documentation as what is to be done with it.
//!
//! Blocks of `console` hold commands behind `$ ` and what they print; blocks of `sh` hold commands alone. Comments that
//! nobody sees say more, right before a block or alone:
//!
//! ```text
//! <!-- test: file PATH -->          the block becomes this file
//! <!-- test: exit N -->             its last command ends with that code
//! <!-- test: not run: REASON -->    it can't be run by a test
//! <!-- run: COMMANDS -->            is run, unseen
//! ```

/// A page's name and what is on it, in order.
pub struct Page {
    pub name: &'static str,
    pub steps: Vec<Step>,
    /// What is not run: the first command, and the reason.
    pub not_run: Vec<(String, String)>,
}

/// One thing to do.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// A command, what is typed into the box it opens, and lines that come.
    Command { line: usize, command: String, typed: Vec<String>, shown: Vec<String>, code: i32 },
    /// A file with this text.
    File { path: String, text: String },
}

impl Page {
    pub fn read(name: &'static str, text: &str) -> Self {
        let mut page = Self { name, steps: Vec::new(), not_run: Vec::new() };
        let mut wishes: Vec<&str> = Vec::new();
        let mut lines = text.lines().zip(1..);
        while let Some((line, number)) = lines.next() {
            if let Some(start) = line.strip_prefix("<!-- ") {
                let mut comment = start.to_owned();
                while !comment.contains("-->") {
                    comment = format!("{comment}\n{}", lines.next().expect("a comment ends").0);
                }
                let comment = comment.split("-->").next().unwrap().trim().to_owned();
                if let Some(script) = comment.strip_prefix("run: ") {
                    page.steps.push(command(number, script, 0));
                } else if let Some(wish) = start.strip_prefix("test: ") {
                    wishes.push(wish.split("-->").next().unwrap().trim());
                }
            } else if let Some(kind) = line.strip_prefix("```") {
                let block: Vec<&str> =
                    lines.by_ref().map(|(line, _)| line).take_while(|line| *line != "```").collect();
                page.block(number + 1, kind, &block, &std::mem::take(&mut wishes));
            } else if !line.is_empty() {
                assert!(wishes.is_empty(), "{name}:{number}: a wish without a block");
            }
        }
        page
    }

    fn block(&mut self, number: usize, kind: &str, block: &[&str], wishes: &[&str]) {
        let wish = |word: &str| wishes.iter().find_map(|wish| wish.strip_prefix(word));
        if let Some(reason) = wish("not run: ") {
            return self
                .not_run
                .push((block.first().copied().unwrap_or_default().to_owned(), reason.to_owned()));
        }
        if let Some(path) = wish("file ") {
            let text = block.iter().map(|line| format!("{line}\n")).collect();
            return self.steps.push(Step::File { path: path.to_owned(), text });
        }
        let before = self.steps.len();
        match kind {
            "console" => self.console(number, block),
            "sh" => self.steps.push(command(number, &format!("set -e\n{}", block.join("\n")), 0)),
            _ => assert!(
                !block.iter().any(|line| line.starts_with("$ ")),
                "{}:{number}: commands stand in blocks of `console`",
                self.name
            ),
        }
        // a command whose code is asked for next ends with that
        for index in before + 1..self.steps.len() {
            if let Step::Command { command, shown, .. } = &self.steps[index]
                && command == "echo $?"
            {
                let told = shown.first().and_then(|line| line.parse().ok());
                if let Step::Command { code, .. } = &mut self.steps[index - 1] {
                    *code = told.unwrap();
                }
            }
        }
        if let (Some(wanted), Some(Step::Command { code, .. })) = (wish("exit "), self.steps.last_mut()) {
            *code = wanted.parse().unwrap();
        }
        assert!(kind != "console" || self.steps.len() > before, "{}:{number}: no command", self.name);
    }

    fn console(&mut self, number: usize, block: &[&str]) {
        for (line, number) in block.iter().zip(number..) {
            if let Some(text) = line.strip_prefix("$ ") {
                self.steps.push(command(number, text, 0));
                continue;
            }
            let Some(Step::Command { command, typed, shown, code, .. }) = self.steps.last_mut() else {
                panic!("{}:{number}: something is printed before any command", self.name);
            };
            if command.ends_with('\\') && line.starts_with("> ") {
                *command = format!("{command}\n{}", &line[2..]);
            } else if let Some(text) = in_a_box(line) {
                typed.push(text.to_owned());
            } else {
                if line.starts_with("error: ") {
                    *code = 125;
                }
                shown.push((*line).to_owned());
            }
        }
    }
}

fn command(line: usize, command: &str, code: i32) -> Step {
    Step::Command { line, command: command.to_owned(), typed: Vec::new(), shown: Vec::new(), code }
}

/// What is typed at a box's prompt: `[app] me@app:~/app$ ls`.
fn in_a_box(line: &str) -> Option<&str> {
    let (prompt, text) = line.split_once("$ ").or_else(|| Some((line.strip_suffix('$')?, "")))?;
    let prompt = prompt.split_once("] ").map_or(prompt, |(_, prompt)| prompt);
    (prompt.starts_with("me@") && prompt.contains(':') && !prompt.contains(' ')).then_some(text)
}

#[test]
fn pages_are_read() {
    let text = "# A\n<!-- run: mkdir a\ncd a -->\ntext\n<!-- test: file x.toml -->\n```toml\na = 1\n```\n```console\n$ one\nsaid\n\
                [app] me@app:~/app$ inside\nmore\n$ two\nerror: no\n```\n<!-- test: not run: far away -->\n```sh\nfar\n```\n";
    let page = Page::read("a.md", text);
    let shell = |line, text: &str| command(line, text, 0);
    let [Step::Command { command: first, .. }, Step::File { path, text }, one, two] = &page.steps[..] else {
        panic!("{:?}", page.steps)
    };
    assert_eq!((first.as_str(), path.as_str(), text.as_str()), ("mkdir a\ncd a", "x.toml", "a = 1\n"));
    let Step::Command { typed, shown, code: 0, .. } = one else { panic!("{one:?}") };
    assert_eq!((typed.join(" "), shown.join(" ")), ("inside".into(), "said more".into()));
    assert!(matches!(two, Step::Command { code: 125, .. }), "{two:?}");
    assert_eq!(page.not_run, [("far".into(), "far away".into())]);
    assert_ne!(shell(1, "a"), shell(1, "b"));
}
