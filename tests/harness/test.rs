//! One test's world: a home, folders and an environment of its own, and `devbox` started in it.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Image, Outcome, Stream, hide, host, registry::Registry, within};

/// Temporary folders and the environment that leads `devbox` into them.
pub struct Test {
    root: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Test {
    /// An empty home with an empty project folder in it.
    pub fn new() -> Self {
        // Short: a socket's path has to fit into 108 bytes.
        let root = tempfile::Builder::new().prefix("dbt-").tempdir().unwrap().keep();
        let root = root.canonicalize().unwrap();
        let private = |name: &str| {
            let path = root.join(name);
            fs::DirBuilder::new().mode(0o700).recursive(true).create(&path).unwrap();
            path
        };
        let mut environment: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
            ("TERM".into(), "xterm".into()),
            ("LANG".into(), "C.UTF-8".into()),
            ("COLUMNS".into(), "110".into()),
        ];
        for (variable, folder) in [
            ("HOME", "home"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_RUNTIME_DIR", "run"),
            ("TMPDIR", "tmp"),
        ] {
            environment.push((variable.into(), private(folder).into()));
        }
        if let Some(driver) = host::driver() {
            environment.push(("DEVBOX_DRIVER".into(), driver.into()));
        }
        private("home/work");
        let test = Self { root, environment };
        // the machine's own settings are left out by it, so that names mean the same everywhere
        test.write("config/containers/registries.conf", "");
        test
    }

    /// A project whose `devbox.toml` names the busybox image, and the box `demo`.
    pub fn busybox() -> Self {
        Self::of_image(&Registry::open().push("busybox:1", &Image::busybox()))
    }

    /// A project whose `devbox.toml` names `reference`, and the box `demo`.
    pub fn of_image(reference: &str) -> Self {
        let test = Self::new();
        test.project_file(&format!("image = \"{reference}\"\nname = \"demo\"\nshell = \"sh\"\n"));
        test
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    pub fn project(&self) -> PathBuf {
        self.path("home/work")
    }

    /// Writes the project's `devbox.toml`.
    pub fn project_file(&self, toml: &str) {
        fs::write(self.project().join("devbox.toml"), toml).unwrap();
    }

    /// Writes a personal profile.
    pub fn profile(&self, name: &str, toml: &str) {
        self.write(&format!("config/devbox/profiles/{name}.toml"), toml);
    }

    /// Writes a file below the test's root, and its folders.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A call of `devbox` from the project folder, not yet started.
    pub fn devbox<'a>(&self, args: impl AsRef<[&'a str]>) -> Call {
        let mut command = Command::new(binary());
        command.args(args.as_ref());
        self.call(command)
    }

    /// The same through another program: `under(["strace", "-f"], ["ls"])`.
    pub fn under<'a, 'b>(&self, wrapper: impl AsRef<[&'a str]>, args: impl AsRef<[&'b str]>) -> Call {
        let [program, first @ ..] = wrapper.as_ref() else { panic!("no program") };
        let mut command = Command::new(program);
        command.args(first).arg(binary()).args(args.as_ref());
        self.call(command)
    }

    /// Another program in the same world.
    pub fn plain<'a>(&self, args: impl AsRef<[&'a str]>) -> Call {
        let mut command = Command::new(args.as_ref()[0]);
        command.args(&args.as_ref()[1..]);
        self.call(command)
    }

    /// Runs a script by the box's `sh`.
    #[track_caller]
    pub fn sh(&self, script: &str) -> Outcome {
        self.devbox(["run", "--", "sh", "-c", script]).output()
    }

    /// Runs each script by the box's `sh` and compares what it prints; reports all that differ.
    #[track_caller]
    pub fn table(&self, rows: &[(&str, &str, &str)]) {
        let mut wrong = String::new();
        for (what, script, expected) in rows {
            let got = self.sh(script);
            if got.text().trim_end() != *expected {
                wrong += &format!("\n{what}: `{script}`\n  expected {expected:?}\n  got {got}");
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
    }

    fn call(&self, mut command: Command) -> Call {
        if host::hides() {
            hide::from(&mut command, &hide::all());
        }
        command.env_clear().envs(self.environment.iter().cloned()).current_dir(self.project());
        Call { command, input: None }
    }
}

impl Drop for Test {
    /// Boxes leave folders without permissions and, with subordinate ids, files of other owners.
    fn drop(&mut self) {
        let _ = self.devbox(["rm", "-f", "demo"]).quietly();
        let _ = Command::new("chmod").args(["-R", "u+rwX"]).arg(&self.root).stderr(Stdio::null()).status();
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// The binary under test.
pub fn binary() -> PathBuf {
    env::var_os("DEVBOX_BIN").map_or_else(|| env!("CARGO_BIN_EXE_devbox").into(), PathBuf::from)
}

/// A command about to be started.
pub struct Call {
    pub command: Command,
    input: Option<Vec<u8>>,
}

impl Call {
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.command.env(key, value);
        self
    }

    /// As on a kernel without these system calls: each answers `ENOSYS`, in all that comes of the command too.
    pub fn without(mut self, calls: &[libc::c_long]) -> Self {
        hide::from(&mut self.command, calls);
        self
    }

    /// As where no filter of system calls may have a listener.
    pub fn without_listeners(mut self) -> Self {
        hide::listeners(&mut self.command);
        self
    }

    pub fn cwd(mut self, path: impl AsRef<Path>) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Starts it with pipes; standard input stays open until it is closed or the end is waited for.
    pub fn spawn(mut self) -> Running {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = Stream::new(child.stdout.take().unwrap());
        let stderr = Stream::new(child.stderr.take().unwrap());
        let mut running = Running { child, stdin, stdout, stderr };
        if let Some(input) = self.input {
            let mut stdin = running.stdin.take().unwrap();
            thread::spawn(move || stdin.write_all(&input)); // a reader that stops early is its own choice
        }
        running
    }

    /// Runs it to its end, with no input unless some was given.
    #[track_caller]
    pub fn output(self) -> Outcome {
        self.spawn().wait()
    }

    fn quietly(mut self) -> std::io::Result<ExitStatus> {
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
    }
}

/// A started command; killed when forgotten.
pub struct Running {
    child: Child,
    pub stdin: Option<ChildStdin>,
    pub stdout: Stream,
    pub stderr: Stream,
}

impl Running {
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits up to `time` for the end; none when it still runs.
    pub fn ended(&mut self, time: Duration) -> Option<ExitStatus> {
        let mut status = None;
        within(time.as_secs(), || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status
    }

    /// Closes its input and waits for its end.
    #[track_caller]
    pub fn wait(mut self) -> Outcome {
        drop(self.stdin.take());
        let Some(status) = self.ended(Duration::from_secs(120)) else {
            panic!("still running after 120 s; stderr: {}", self.stderr.so_far());
        };
        Outcome {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: self.stdout.all(),
            stderr: String::from_utf8_lossy(&self.stderr.all()).into_owned(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
