//! A step at work: its output goes to its log and to the user.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::cmd::launcher::{self, Signals};
use crate::cmd::making::Made;
use crate::cmd::opening::Opening;
use crate::error::Error;
use crate::session::Boxes;
use crate::ui::Ui;

/// Lines of a failed step that are shown when it was silent.
const LAST: usize = 12;

/// Runs the session to its end: its output goes to `log` and, escaped, to the user. Gives the exit code, the signal that was
/// sent to us, and the last lines.
pub(super) fn attend(
    ui: &Ui,
    opening: &mut Opening<'_>,
    made: Made,
    boxes: &Boxes,
    mut log: &File,
) -> Result<(u8, Option<u8>, Vec<String>), Error> {
    let failed = |errno: Errno| Error::Background(errno.into());
    log.set_len(0).map_err(Error::Background)?;
    let (out, to_out): (OwnedFd, OwnedFd) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    let signals = Signals::hold_back()?;
    let pid = launcher::begin(opening, made, boxes, &signals, &to_out, &to_out)?;
    drop(to_out);
    let (mut rest, mut last, mut signal) = (Vec::new(), VecDeque::new(), None);
    loop {
        let mut watched = [
            PollFd::new(out.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.fd().as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let ready = watched[0].any().unwrap_or(false);
        signal = signals.pass_on(&[pid]).last().map(|signal| *signal as u8).or(signal);
        if !ready {
            continue;
        }
        let mut buffer = [0; 32 << 10];
        let count = match nix::unistd::read(&out, &mut buffer) {
            Err(Errno::EINTR | Errno::EAGAIN) => continue,
            count => count.unwrap_or(0),
        };
        // a full disk ends the step soon enough
        let _ = log.write_all(&buffer[..count]);
        rest.extend_from_slice(&buffer[..count]);
        if count == 0 && !rest.is_empty() {
            rest.push(b'\n');
        }
        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole = if whole == 0 && rest.len() > 64 << 10 { rest.len() } else { whole };
        for line in String::from_utf8_lossy(&rest[..whole]).lines() {
            // of a line that was written over itself the last state
            let line = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
            ui.output(line);
            last.push_back(line.to_owned());
            if last.len() > LAST {
                last.pop_front();
            }
        }
        rest.drain(..whole);
        if count == 0 {
            return Ok((launcher::end(pid), signal, last.into()));
        }
    }
}
