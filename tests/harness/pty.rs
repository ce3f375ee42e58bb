//! A terminal with `devbox` on it: keys go in, the screen comes out.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::{Pid, ttyname};

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
        let size = Winsize { ws_row: 37, ws_col: 111, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--"]).arg(call.command.get_program()).args(call.command.get_args());
        command.env_clear();
        for (key, value) in call.command.get_envs() {
            command.env(key, value.unwrap_or_default());
        }
        command.current_dir(call.command.get_current_dir().unwrap());
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let keys = File::from(pty.master);
        let hung_up = Arc::new(AtomicBool::new(false));
        let screen = Stream::new(Screen { side: keys.try_clone().unwrap(), hung_up: hung_up.clone() });
        Self { child, keys: Some(keys), hung_up, screen, terminal: pty.slave, before }
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
        let name = ttyname(self.terminal.as_fd()).unwrap();
        let (rows, columns) = (rows.to_string(), columns.to_string());
        let done = Command::new("stty").arg("-F").arg(name).args(["rows", &rows, "cols", &columns]).status();
        assert!(done.unwrap().success());
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
