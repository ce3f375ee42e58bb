//! What a box is made of, as its record says.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::mount::Driver;
use crate::oci::config::ImageConfig;
use crate::oci::digest::Digest;
use crate::plan::{Isolation, Origin};

/// What a box is made of; written once, when it is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Layout version.
    pub version: u32,
    /// The box's name.
    pub name: String,
    /// Seconds since the epoch.
    pub created: u64,
    /// Reference as given; `host` for a box over the host's own root.
    pub image: String,
    /// The image's manifest.
    pub manifest: Option<Digest>,
    /// Its layers' diff_ids, bottom first: the box keeps them whatever happens to the reference.
    pub layers: Vec<Digest>,
    /// What the image's configuration decides at each start.
    pub defaults: Defaults,
    /// The profiles it was made from, base first.
    pub profiles: Vec<Origin>,
    /// The project folder at its making.
    pub project: Option<PathBuf>,
    /// Thrown away at its end.
    pub ephemeral: bool,
    /// For a box without a profile: who its sessions run as, as on the command line.
    pub user: Option<String>,
    /// For a box without a profile: its id mode.
    pub ids: Option<String>,
    /// What it is made for. It stays so: what untrusted code wrote is never entered as one's own, nor the other way round.
    #[serde(default)]
    pub isolation: Isolation,
    /// What made its root last, and so the form of its own files; has no meaning for `image = "host"`.
    #[serde(default)]
    pub driver: Driver,
    /// Why it is not the best one.
    #[serde(default)]
    pub driver_because: Option<String>,
    /// The box of which `run --forks` made it another.
    #[serde(default)]
    pub fork_of: Option<String>,
    /// The image its set-up was done to; none when it stands on the image itself.
    #[serde(default)]
    pub base: Option<Digest>,
    /// The key of its set-up.
    #[serde(default)]
    pub setup: Option<Digest>,
    /// The key of the set-up step it was made to do.
    #[serde(default)]
    pub step: Option<Digest>,
    /// Which one it was, counted from 1.
    #[serde(default)]
    pub step_number: Option<usize>,
    /// And in a line.
    #[serde(default)]
    pub step_title: Option<String>,
}

impl Record {
    /// The record of a box that gets another name. What was a set-up step's is from then on one like others: over what the
    /// step was done to, without a profile, whose set-up it does not have.
    pub fn called(self, name: &str) -> Self {
        let record = Self { name: name.to_owned(), ..self };
        match record.step {
            None => record,
            Some(_) => Self {
                step: None,
                step_number: None,
                step_title: None,
                profiles: Vec::new(),
                ephemeral: false,
                ..record
            },
        }
    }
}

/// The parts of an image's configuration that a start needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Defaults {
    /// `NAME=value` lines.
    pub env: Vec<String>,
    /// First words of the default command.
    pub entrypoint: Vec<String>,
    /// Further words.
    pub cmd: Vec<String>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// `user[:group]`, names or ids.
    pub user: Option<String>,
}

impl From<ImageConfig> for Defaults {
    fn from(config: ImageConfig) -> Self {
        let ImageConfig { env, entrypoint, cmd, working_dir, user, .. } = config;
        Self { env, entrypoint, cmd, working_dir, user }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_of_a_step_with_another_name_is_one_like_others() {
        let profiles = vec![Origin { name: "a".into(), from: "/a".into() }];
        let plain = Record { name: "a".into(), profiles, ..Record::default() };
        assert_eq!(plain.clone().called("b"), Record { name: "b".into(), ..plain.clone() });
        let step = Some(Digest::of(b"a"));
        let of_step = Record { step, step_number: Some(1), step_title: Some("x".into()), ..plain.clone() };
        assert_eq!(of_step.called("b"), Record { name: "b".into(), profiles: Vec::new(), ..plain });
    }
}
