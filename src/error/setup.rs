//! Why a set-up is not done.

use std::io;
use std::path::PathBuf;

/// Why a set-up is not done.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file that a step names.
    #[error("cannot take {} for [setup]", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that a step names is not what the caller was asked about.
    #[error("{} changed after you were asked about the set-up that takes it", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A step failed.
    #[error("set-up step {number} of {total} failed with exit code {code}: {title}{}", after(.last))]
    Step {
        /// Counted from 1.
        number: usize,
        /// How many there are.
        total: usize,
        /// The step in a line.
        title: String,
        /// Its exit code.
        code: u8,
        /// The last lines it printed.
        last: Vec<String>,
        /// All it printed.
        log: PathBuf,
    },
    /// A step was ended by a signal of the user's.
    #[error("set-up step {number} was interrupted")]
    Interrupted {
        /// Counted from 1.
        number: usize,
        /// The signal's number.
        signal: u8,
    },
    /// A signal of the user's that a step did not end by.
    #[error("stopped after set-up step {number}")]
    Stopped {
        /// Counted from 1.
        number: usize,
        /// The signal's number.
        signal: u8,
    },
    /// `--locked`, and the lock is of other steps.
    #[error("not as locked: `[setup]`: its steps, or the files they name, are not those in the lock")]
    OtherSteps,
    /// `--locked`, and the result can't be had.
    #[error("not as locked: `[setup]`: the result that is locked is not here{}", in_cache(.cache))]
    NotHere {
        /// Where else it was looked for.
        cache: Option<String>,
    },
    /// `--at-failure` and nothing failed.
    #[error("no set-up step of this project has failed")]
    NoFailure,
    /// A step whose box is wanted, and somebody does it.
    #[error("set-up step {0} is being done right now")]
    Busy(usize),
    /// What a step left is entered like a box.
    #[error("box `{0}` is what a set-up step left that failed")]
    OfStep(String),
    /// `[setup] cache` is needed.
    #[error("the profile names no `cache` in [setup] to push to")]
    NoCache,
    /// There are no steps.
    #[error("the profile has no [setup]")]
    NoSteps,
    /// There is no such step.
    #[error("there is no step {number}, only {total}")]
    NoStep {
        /// Asked for.
        number: usize,
        /// How many there are.
        total: usize,
    },
    /// A step that has not run here has printed nothing.
    #[error("set-up step {0} has not run here")]
    NoLog(usize),
    /// A result is not here.
    #[error("the result of set-up step {0} is not here any more")]
    Gone(usize),
}

impl SetupError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File { .. } => "a step sees regular files below its profile's folder, each up to 16 MiB".into(),
            Self::Changed { .. } => "the same command asks about what it is now; nothing of it was run".into(),
            Self::Step { log, .. } => format!(
                "`devbox enter --at-failure` opens a shell at that point; all it printed is in {}",
                log.display()
            ),
            Self::Interrupted { .. } => "the same command begins this step again; those before it are kept".into(),
            Self::Stopped { .. } => "the same command goes on after it".into(),
            Self::OtherSteps => "`devbox lock` brings the lock up to date; or leave `--locked` out".into(),
            Self::NotHere { cache: None } => {
                "done again it would have other bytes: who locked it can push it (`[setup] cache`, `devbox setup --push`); or \
                 leave `--locked` out"
                    .into()
            }
            Self::NotHere { cache: Some(_) } => {
                "who locked it can push it with `devbox setup --push`; or leave `--locked` out".into()
            }
            Self::NoFailure => "`devbox setup` runs what is left of it".into(),
            Self::Busy(_) => "when it has failed, the same command opens a shell there".into(),
            Self::OfStep(name) => format!(
                "`devbox enter --at-failure` in the project opens a shell in it; `devbox clone {name} NEW` makes a box of it"
            ),
            Self::NoCache => "cache = \"REGISTRY/REPOSITORY\" in [setup] of devbox.toml".into(),
            Self::NoSteps => "`packages` or `run` in [setup] of devbox.toml".into(),
            Self::NoStep { .. } | Self::NoLog(_) => "`devbox plan` lists the steps".into(),
            Self::Gone(_) => "`devbox setup` makes it again".into(),
        })
    }

    /// What became of it.
    pub fn state(&self) -> Option<&'static str> {
        match self {
            Self::Stopped { .. } => Some("its result is kept"),
            Self::Step { .. } => Some("it left no layer; the results of the steps before it are kept"),
            _ => None,
        }
    }

    /// That of the signal for what was interrupted.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted { signal, .. } | Self::Stopped { signal, .. } => 128 + signal,
            _ => super::OURS,
        }
    }
}

fn after(last: &[String]) -> String {
    last.iter().map(|line| format!("\n  | {line}")).collect()
}

fn in_cache(cache: &Option<String>) -> String {
    cache.as_ref().map(|cache| format!(", and not in {cache}")).unwrap_or_default()
}
