//! Consent to what a project's file wants beyond its folder: asked for once, and again when any of it changes.

use crate::dirs::{self, Dirs};
use crate::error::Error;
use crate::oci::digest::Digest;
use crate::ui::Ui;

/// Lets pass what was accepted before or is now; `file` is the project's, `reaches` its wishes.
pub(super) fn require(ui: &Ui, dirs: &Dirs, file: &str, reaches: &[String]) -> Result<(), Error> {
    if reaches.is_empty() {
        return Ok(());
    }
    // the name is escaped, the wishes are: no other file and list come to the same text
    let text =
        format!("{} asks for more than its own folder:\n  {}", file.escape_debug(), reaches.join("\n  "));
    let accepted = dirs.trusted().join(Digest::of(text.as_bytes()).hex());
    if accepted.exists() {
        return Ok(());
    }
    match ui.confirm(&format!("{text}\nAllow that from now on?")) {
        Some(true) => Ok(dirs::mark(&accepted)?),
        Some(false) => Err(Error::Declined { file: file.to_owned() }),
        None => Err(Error::NotAccepted { file: file.to_owned(), reaches: reaches.join(", ") }),
    }
}
