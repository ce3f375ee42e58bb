//! What was decided, written down once each: a box that asks the same a thousand times fills no log.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::audit::{Event, Kind, Log};

/// Different decisions that are written down; a box can make up names without end.
const MOST: usize = 1000;

/// The log of one box.
pub(super) struct Notes {
    log: Log,
    made: Mutex<HashSet<(bool, String)>>,
}

impl Notes {
    pub(super) fn new(log: Log) -> Self {
        Self { log, made: Mutex::default() }
    }

    /// `what` was let through.
    pub(super) fn allowed(&self, what: &str) {
        self.once(&Event::allowed(Kind::Network, what));
    }

    /// `what` was refused, which `entry` of `allow` would have let through.
    pub(super) fn refused(&self, what: &str, why: &str, entry: Option<&str>) {
        let event = Event::refused(Kind::Network, what, why);
        self.once(&match entry {
            Some(entry) => event.remedy(format!("allow = [\"{entry}\"] in [network], or --allow {entry}")),
            None => event,
        });
    }

    /// `what` is allowed and could not be had.
    pub(super) fn failed(&self, what: &str, why: &str) {
        self.refused(what, why, None);
    }

    /// A name was asked for that no entry has.
    pub(super) fn refused_name(&self, name: &str) {
        self.refused(name, "no entry of `allow` has this name", Some(name));
    }

    /// More connections at one time than are served.
    pub(super) fn too_many(&self, most: usize) {
        self.refused("a connection", &format!("there are {most} already"), None);
    }

    fn once(&self, event: &Event) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() > MOST || !made.insert((event.allowed, event.what.clone())) {
            return;
        }
        self.log.note(event);
        if made.len() > MOST {
            let why = format!("{MOST} different ones are written down");
            self.log.note(&Event::refused(Kind::Network, "further decisions are not listed", why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_written_once_and_not_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let notes = Notes::new(Log::open(folder.path()).unwrap());
        for _ in 0..3 {
            notes.refused_name("evil.example");
            notes.allowed("registry.example:443");
        }
        let events = crate::audit::read(folder.path()).unwrap();
        let shown: Vec<_> = events.iter().map(|event| (event.allowed, event.what.as_str())).collect();
        assert_eq!(shown, [(false, "evil.example"), (true, "registry.example:443")]);
        let remedy = "allow = [\"evil.example\"] in [network], or --allow evil.example";
        assert_eq!(events[0].remedy.as_deref(), Some(remedy));
        (0..2 * MOST).for_each(|number| notes.refused_name(&number.to_string()));
        let events = crate::audit::read(folder.path()).unwrap();
        assert_eq!(events.len(), MOST + 2);
        assert_eq!(events[MOST + 1].what, "further decisions are not listed");
    }
}
