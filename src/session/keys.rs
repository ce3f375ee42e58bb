//! The caller's ssh-agent for a box, limited to some keys: a socket in the runtime folder, which the box gets to see, and a
//! process of ours behind it that ends with the box.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::boxes::Address;
use super::{Boxes, Error, at};
use crate::agent::{self, Rules};
use crate::audit::Log;
use crate::dirs;
use crate::sys::process;

/// What no name of a box ends with.
const SUFFIX: &str = "~agent";

/// A socket that listens, with nobody behind it yet.
#[derive(Debug)]
pub struct Keys {
    listener: UnixListener,
    rules: Rules,
    /// Where it is on the host.
    pub path: PathBuf,
}

impl Keys {
    /// Listens for the box `name`, whose lock the caller holds.
    pub fn listen(boxes: &Boxes, name: &str, rules: Rules) -> Result<Self, Error> {
        let runtime = boxes.runtime();
        dirs::ensure_private(runtime)?;
        let name = format!("{name}{SUFFIX}");
        let address = &Address::of(runtime, &name).map_err(at("open", runtime))?;
        let path = runtime.join(format!("{name}.sock"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(at("replace", &path)(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&address.path).map_err(at("listen at", &path))?;
        Ok(Self { listener, rules, path })
    }

    /// Serves the box of this folder until `ended`, its pid 1's pidfd, says that it is over.
    pub fn serve(self, folder: &Path, ended: &OwnedFd) -> Result<(), Error> {
        let log = Log::open(folder).map_err(at("serve", folder))?;
        let kept = [self.listener.as_raw_fd(), log.as_fd().as_raw_fd(), ended.as_raw_fd()];
        let path = self.path.clone();
        let mut held = Some((self.rules, self.listener, log));
        let work = || {
            let Some((rules, listener, log)) = held.take() else { return };
            // its memory passes what is signed
            if process::set_undumpable().is_ok() {
                let _ = agent::serve(rules, listener, log, ended);
            }
            let _ = fs::remove_file(&self.path);
        };
        process::in_background_with(kept, work).map_err(|errno| at("serve", &path)(errno.into()))
    }
}
