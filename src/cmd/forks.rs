//! `devbox run --forks`: one command in several untrusted boxes over one project, side by side.
//!
//! Each box is one like any other, `NAME.1` and so on, with its own upper and its own network. A process of ours stands for
//! each as its launcher; what it prints comes here by pipes, is kept in the box and printed line by line.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::launcher::{self, Signals};
use super::making::Made;
use super::opening::Opening;
use super::project as verb;
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::plan::{Isolation, Variable};
use crate::rootfs::project::{self, Project};
use crate::session::Boxes;
use crate::ui::{Table, Ui};

/// The variable by which a fork knows which one it is.
const VARIABLE: &str = "DEVBOX_FORK";
/// What a fork printed, in the folder of its box.
const LOG: &str = "output.log";
/// A line that is longer is printed in pieces.
const LONGEST: usize = 64 << 10;
/// Longest name of a box.
const LONGEST_NAME: usize = 64;
/// One box at work.
struct Fork {
    number: u32,
    name: String,
    pid: Pid,
    log: File,
    /// Its standard output and error, with what of their last lines is here; none at their end.
    streams: [Option<(OwnedFd, Vec<u8>)>; 2],
    began: Instant,
    ended: Option<(Duration, u8)>,
}

/// Runs what `opening` asks for in `count` boxes and stays until all have ended.
pub(super) fn run(opening: &Opening<'_>, count: u32) -> Result<ExitCode, Error> {
    let (ui, boxes) = (opening.ui, Boxes::new(opening.dirs));
    if opening.plan.isolation != Isolation::Untrusted || opening.plan.project.is_none() {
        return Err(Error::OnlyUntrusted { flag: "--forks" });
    }
    let mut ready: Vec<(Opening<'_>, Made)> = Vec::new();
    for number in 1..=count {
        let fork = of(opening, number);
        let there = boxes.load(&fork.plan.name)?;
        if there.as_ref().is_some_and(|record| record.fork_of != fork.fork_of) {
            return Err(Error::NoFork { name: fork.plan.name, base: opening.plan.name.clone() });
        }
        if there.is_some()
            && let Some(project) = Project::of(&boxes.folder(&fork.plan.name)?)?
            && !project::list(&project)?.is_empty()
        {
            return Err(Error::ForkThere { name: fork.plan.name });
        }
        let made = fork.make(&boxes)?;
        ready.push((fork, made));
    }
    let signals = Signals::hold_back()?;
    let mut forks = Vec::new();
    for (number, (fork, made)) in (1..).zip(ready) {
        forks.push(begin(number, fork, made, &boxes, &signals)?);
    }
    while forks.iter().any(|fork| fork.ended.is_none()) {
        turn(ui, &mut forks, &signals)?;
    }
    tell(ui, &boxes, &forks)?;
    let worst = forks.iter().filter_map(|fork| fork.ended).map(|(_, code)| code).max();
    Ok(ExitCode::from(worst.unwrap_or_default()))
}

/// Removes all forks of the box `base`, with what they wrote. None may run.
pub(super) fn discard(ui: &Ui, dirs: &Dirs, base: &str) -> Result<ExitCode, Error> {
    let boxes = Boxes::new(dirs);
    let host = crate::probe::host(dirs)?;
    let mut found = 0;
    for name in boxes.names()? {
        // one whose record can't be read is not known to be a fork
        let record = boxes.load(&name).ok().flatten();
        if record.is_some_and(|record| record.fork_of.as_deref() == Some(base)) {
            boxes.remove(&name, || super::full_maps(&host))?;
            ui.line(&name)?;
            found += 1;
        }
    }
    if found == 0 {
        ui.note(&format!("box `{base}` has no forks"));
    }
    Ok(ExitCode::SUCCESS)
}

fn fork_name(base: &str, number: u32) -> String {
    let end = format!(".{number}");
    base.chars().take(LONGEST_NAME - end.len()).chain(end.chars()).collect()
}

/// What is asked for, in the fork of this number.
fn of<'a>(opening: &Opening<'a>, number: u32) -> Opening<'a> {
    let mut plan = opening.plan.clone();
    let base = std::mem::take(&mut plan.name);
    plan.name = fork_name(&base, number);
    plan.env.insert(VARIABLE.to_owned(), Variable::Literal(number.to_string()));
    Opening {
        pull: opening.pull,
        fork_of: Some(base),
        ..Opening::new(opening.ui, opening.dirs, plan, opening.host.clone(), opening.ask.clone())
    }
}

/// Starts the process that runs one fork.
fn begin(
    number: u32,
    mut opening: Opening<'_>,
    made: Made,
    boxes: &Boxes,
    signals: &Signals,
) -> Result<Fork, Error> {
    let name = opening.plan.name.clone();
    let path = boxes.folder(&name)?.join(LOG);
    let log = File::create(&path).map_err(|source| Error::Box { path, source })?;
    let failed = |errno: Errno| Error::Background(errno.into());
    let (out, to_out) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    let (err, to_err) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    let began = Instant::now();
    let pid = launcher::begin(&mut opening, made, boxes, signals, &to_out, &to_err)?;
    let streams = [Some((out, Vec::new())), Some((err, Vec::new()))];
    Ok(Fork { number, name, pid, log, streams, began, ended: None })
}

/// Waits for something to happen, and deals with it.
fn turn(ui: &Ui, forks: &mut [Fork], signals: &Signals) -> Result<(), Error> {
    let mut watched = vec![PollFd::new(signals.fd().as_fd(), PollFlags::POLLIN)];
    let mut whose = Vec::new();
    for (at, fork) in forks.iter().enumerate() {
        for (stream, open) in fork.streams.iter().enumerate() {
            if let Some((end, _)) = open {
                watched.push(PollFd::new(end.as_fd(), PollFlags::POLLIN));
                whose.push((at, stream));
            }
        }
    }
    match poll(&mut watched, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(Error::Background(errno.into())),
    }
    let ready: Vec<_> = watched[1..].iter().map(|one| one.any().unwrap_or(false)).collect();
    drop(watched);
    let running = forks.iter().filter(|fork| fork.ended.is_none()).map(|fork| fork.pid);
    signals.pass_on(&running.collect::<Vec<_>>());
    for ((at, stream), _) in whose.into_iter().zip(ready).filter(|(_, ready)| *ready) {
        forks[at].read(ui, stream)?;
    }
    Ok(())
}

impl Fork {
    /// Takes what came by a stream; at the end of both the process is waited for.
    fn read(&mut self, ui: &Ui, stream: usize) -> Result<(), Error> {
        let Some((end, rest)) = &mut self.streams[stream] else { return Ok(()) };
        let mut buffer = [0; 32 << 10];
        let count = match nix::unistd::read(&*end, &mut buffer) {
            Err(Errno::EINTR | Errno::EAGAIN) => return Ok(()),
            count => count.unwrap_or(0),
        };
        // a full disk must not end the forks: the log has what it has
        let _ = self.log.write_all(&buffer[..count]);
        rest.extend_from_slice(&buffer[..count]);
        if count == 0 && !rest.is_empty() {
            rest.push(b'\n');
        }
        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole = if whole == 0 && rest.len() > LONGEST { rest.len() } else { whole };
        let mut text = Vec::with_capacity(whole + 64);
        for line in rest[..whole].split_inclusive(|byte| *byte == b'\n') {
            text.extend_from_slice(format!("[{}] ", self.number).as_bytes());
            text.extend_from_slice(line);
        }
        rest.drain(..whole);
        ui.relay(stream == 1, &text)?;
        if count == 0 {
            self.streams[stream] = None;
        }
        if self.streams.iter().all(Option::is_none) {
            let code = launcher::end(self.pid);
            self.ended = Some((self.began.elapsed(), code));
        }
        Ok(())
    }
}

/// Says how each ended and what it changed.
fn tell(ui: &Ui, boxes: &Boxes, forks: &[Fork]) -> Result<(), Error> {
    let mut table = Table::new(["BOX", "EXIT", "TIME", "CHANGES"]);
    for fork in forks {
        let edits = match Project::of(&boxes.folder(&fork.name)?)? {
            Some(project) => {
                let edits = project::list(&project)?;
                project.remember(&edits)?;
                edits
            }
            None => Vec::new(),
        };
        let changes = if edits.is_empty() { "none".to_owned() } else { verb::totals(&edits) };
        let (time, code) = fork.ended.unwrap_or_default();
        table.row([fork.name.clone(), code.to_string(), format!("{:.2} s", time.as_secs_f64()), changes]);
    }
    ui.aside(&table);
    if let Some(last) = forks.last() {
        let name = &last.name;
        let base = name.rsplit_once('.').map_or(name.as_str(), |(base, _)| base);
        let log: PathBuf = boxes.folder(name)?.join(LOG);
        ui.note(&format!(
            "`devbox diff {name}` shows what one did, `devbox apply -n {name}` takes it over, `devbox discard --forks -n \
             {base}` removes them all; its output is in {}",
            log.display()
        ));
    }
    Ok(())
}
