//! The caller's ssh-agent for a box whose profile names keys of it.

use std::path::PathBuf;

use super::opening::Opening;
use crate::agent::{self, Rules};
use crate::dirs;
use crate::error::Error;
use crate::session::{Boxes, Keys};

const VARIABLE: &str = "SSH_AUTH_SOCK";

impl Opening<'_> {
    /// The socket for a box that starts; none when it wants no key. A key that the agent has not is noted: it may be added
    /// later.
    pub(super) fn keys(&self, boxes: &Boxes) -> Result<Option<Keys>, Error> {
        let names = &self.plan.ssh_agent;
        if names.is_empty() {
            return Ok(None);
        }
        let socket = dirs::variable(VARIABLE).map(PathBuf::from).filter(|path| path.is_absolute());
        let agent = socket.ok_or(Error::NoAgent)?;
        let missing = agent::missing(&agent, names);
        for name in missing.map_err(|source| Error::Agent { path: agent.clone(), source })? {
            self.ui.note(&format!("your ssh-agent has no key {name} now"));
        }
        let rules = Rules { keys: names.clone(), agent };
        Ok(Some(Keys::listen(boxes, &self.plan.name, rules)?))
    }
}
