//! What a verb can fail with: the errors of the floors below, each with its words, state, hint and exit code.

use std::io;
use std::path::PathBuf;

use crate::dirs;
use crate::oci::reference::NotAReference;
use crate::ui::{self, Ui};

/// devbox itself failed. The codes above it belong to the command in the box (126, 127, 128+n).
pub const OURS: u8 = 125;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller's folders can't be used.
    #[error(transparent)]
    Dirs(#[from] dirs::Error),
    /// The answer could not be written.
    #[error(transparent)]
    Output(#[from] ui::Error),
    /// A word of the command line is not an image reference.
    #[error(transparent)]
    Reference(#[from] NotAReference),
    /// A man page can't be written.
    #[error("cannot write {}", .path.display())]
    ManPage {
        /// The page's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// What to do about it, where the floor below knows.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Dirs(error) => error.hint(),
            Self::Output(_) | Self::Reference(_) | Self::ManPage { .. } => None,
        }
    }

    /// The state things were left in, where that is worth a line.
    fn state(&self) -> Option<&'static str> {
        None
    }

    /// The exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Output(error) if error.is_broken_pipe() => 0,
            _ => OURS,
        }
    }

    /// Prints it; nothing when the reader of our output just went away.
    pub fn report(&self, ui: &Ui) {
        if self.exit_code() != 0 {
            ui.failure(self, false, self.state(), self.hint().as_deref());
        }
    }
}
