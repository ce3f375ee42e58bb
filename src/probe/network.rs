//! What a box's own network needs on the host.

use std::fs;
use std::io;

use super::{Check, Error, System};
use crate::network::Stack;

/// Through which programs are a network device (linux, Documentation/networking/tuntap.rst).
const TUN: &str = "/dev/net/tun";

/// The program that leads out of a box's own network, when it can be used.
pub fn stack() -> Result<Stack, Error> {
    let system = System::this();
    let stack = system.stack().ok_or(Error::NoStack)?;
    system.open_tun().map(|()| stack).map_err(Error::NoTun)
}

impl System {
    /// The better one of those that are there.
    fn stack(&self) -> Option<Stack> {
        let pasta = self.program("pasta").map(Stack::Pasta);
        pasta.or_else(|| self.program("slirp4netns").map(Stack::Slirp4netns))
    }

    fn open_tun(&self) -> io::Result<()> {
        fs::OpenOptions::new().read(true).write(true).open(self.path(TUN)).map(drop)
    }
}

/// What network `private` needs. Nothing else does.
pub(super) fn check(system: &System) -> Check {
    const NAME: &str = "private network";
    let without = "boxes can have none of their own, unless `allow` names the hosts";
    match (system.stack(), system.open_tun()) {
        (Some(stack), Ok(())) => {
            Check::pass(NAME, format!("{} leads out of it, /dev/net/tun opens", stack.program().display()))
        }
        (None, _) => {
            let found = format!("neither pasta nor slirp4netns is installed; {without}");
            Check::warn(NAME, found, "sudo apt-get install passt")
        }
        (Some(_), Err(error)) => {
            let found = format!("/dev/net/tun can't be opened ({error}); {without}");
            Check::warn(NAME, found, "sudo modprobe tun && sudo chmod 666 /dev/net/tun")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::Verdict;
    use super::*;

    #[test]
    fn program_and_device() {
        let root = tempfile::tempdir().unwrap();
        let system = System::fake(root.path(), 1000);
        let install = |name: &str| {
            let program = root.path().join("bin").join(name);
            fs::create_dir_all(program.parent().unwrap()).unwrap();
            fs::write(&program, "").unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        };
        assert!(check(&system).remedy.unwrap().contains("passt"));
        install("slirp4netns");
        assert!(check(&system).remedy.unwrap().contains("modprobe tun"));
        fs::create_dir_all(root.path().join("dev/net")).unwrap();
        fs::write(root.path().join("dev/net/tun"), "").unwrap();
        assert!(check(&system).found.contains("slirp4netns"));
        install("pasta");
        let check = check(&system);
        assert!(check.verdict == Verdict::Pass && check.found.contains("bin/pasta"), "{check:?}");
    }
}
