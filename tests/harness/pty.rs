//! A terminal with `devbox` on it: keys go in, the screen comes out.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;

use super::test::Call;
use super::{Stream, within};

/// A terminal of 37 rows and 111 columns, and the command that holds it.
pub struct Pty {
    child: Child,
    keys: Option<File>,
    hung_up: Arc<AtomicBool>,
    pub screen: Stream,
    /// Our own hold on the other side: its modes can be read when the command has gone.
    terminal: OwnedFd,
    before: Termios,
}

impl Pty {
    /// Starts `call` on a new terminal that is its controlling one (`setsid` does that and becomes the command).
    pub fn spawn(call: &Call) -> Self {
        // Close-on-exec from the start: a master that some other test's child inherits would never hang up.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let terminal = open(ptsname_r(&master).unwrap().as_str(), flags, Mode::empty()).unwrap();
        set_size(&terminal, 37, 111);
        let before = tcgetattr(&terminal).unwrap();
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--"]).arg(call.command.get_program()).args(call.command.get_args());
        command.env_clear();
        for (key, value) in call.command.get_envs() {
            command.env(key, value.unwrap_or_default());
        }
        command.current_dir(call.command.get_current_dir().unwrap());
        let end = || Stdio::from(terminal.try_clone().unwrap());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let keys = File::from(OwnedFd::from(master));
        let hung_up = Arc::new(AtomicBool::new(false));
        let screen = Stream::new(Screen { side: keys.try_clone().unwrap(), hung_up: hung_up.clone() });
        Self { child, keys: Some(keys), hung_up, screen, terminal, before }
    }

    pub fn send(&mut self, keys: &str) {
        self.keys.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Types a line and waits for what it should print.
    #[track_caller]
    pub fn line(&mut self, command: &str, expected: &str) -> String {
        self.send(&format!("{command}\n"));
        self.screen.expect(expected)
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        set_size(&self.terminal, rows, columns);
    }

    /// Takes the terminal away, as a closed window does.
    pub fn hang_up(&mut self) {
        self.keys = None;
        self.hung_up.store(true, Ordering::Relaxed);
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        within(30, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap_or_else(|| panic!("still there: {}", self.screen.so_far()))
    }

    /// The terminal's modes are those from before the start.
    pub fn restored(&self) -> bool {
        tcgetattr(&self.terminal).unwrap() == self.before
    }

    pub fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal).unwrap().local_flags.contains(nix::sys::termios::LocalFlags::ICANON)
    }
}

fn set_size(terminal: &OwnedFd, rows: u16, columns: u16) {
    let (rows, columns) = (rows.to_string(), columns.to_string());
    let mut stty = Command::new("stty");
    stty.args(["rows", &rows, "cols", &columns]).stdin(terminal.try_clone().unwrap());
    assert!(stty.status().unwrap().success());
}

/// Our side, read until it is closed by the other or given up by us.
struct Screen {
    side: File,
    hung_up: Arc<AtomicBool>,
}

impl Read for Screen {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.hung_up.load(Ordering::Relaxed) {
            let mut readable = [PollFd::new(self.side.as_fd(), PollFlags::POLLIN)];
            if poll(&mut readable, PollTimeout::from(20_u8))? > 0 {
                return self.side.read(buffer);
            }
        }
        Ok(0)
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
