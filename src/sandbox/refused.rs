//! Answers calls that the filter of an untrusted box refuses, and notes each in the box's audit log.
//!
//! The filter asks pid 1, which always says no: so nothing depends on what a caller could change meanwhile. Where the kernel
//! has no such question the filter itself refuses, and nothing is noted.

use std::collections::HashSet;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};

use super::calls;
use crate::audit::{Event, Kind, Log};
use crate::sys::{confine, process};

/// Different refusals that are noted in a box's life; a program that tries all there is fills no log.
const MOST: usize = 200;

/// Pid 1's watch over the filters of all sessions.
pub(super) struct Refused {
    log: Option<Log>,
    noted: HashSet<String>,
    watchers: Vec<OwnedFd>,
    arrivals: OwnedFd,
    /// Where a session leaves its filter's watcher.
    pub(super) door: OwnedFd,
}

impl Refused {
    /// Nothing watched yet; `log` gets what is refused.
    pub(super) fn new(log: Option<Log>) -> nix::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (arrivals, door) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok(Self { log, noted: HashSet::new(), watchers: Vec::new(), arrivals, door })
    }

    /// Takes what sessions left at the door.
    pub(super) fn admit(&mut self) {
        let mut byte = [0];
        let mut space = nix::cmsg_space!(i32);
        let mut bytes = [IoSliceMut::new(&mut byte)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let Ok(message) = recvmsg::<()>(self.arrivals.as_raw_fd(), &mut bytes, Some(&mut space), flags)
        else {
            return;
        };
        for control in message.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmRights(numbers) = control {
                self.watchers.extend(numbers.into_iter().map(process::adopt));
            }
        }
    }

    /// What to poll for; as many as [`Self::turn`] is then told of.
    pub(super) fn watched(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.watchers.iter().map(|watcher| PollFd::new(watcher.as_fd(), PollFlags::POLLIN))
    }

    /// Refuses a call of each watcher that has one, and lets go of those whose session is over.
    pub(super) fn turn(&mut self, events: &[PollFlags]) {
        let mut events = events.iter();
        let (log, noted) = (&self.log, &mut self.noted);
        self.watchers.retain(|watcher| match events.next() {
            Some(events) if events.contains(PollFlags::POLLIN) => {
                if let Ok(call) = confine::asked(watcher) {
                    confine::refuse(watcher, &call, Errno::EPERM);
                    note(log.as_ref(), noted, calls::words(call.number, &call.arguments));
                }
                true
            }
            Some(events) => !events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR),
            None => true,
        });
    }
}

fn note(log: Option<&Log>, noted: &mut HashSet<String>, what: String) {
    let Some(log) = log else { return };
    if noted.len() == MOST {
        noted.insert(String::new());
        let why = format!("{MOST} others were refused before");
        log.note(&Event::refused(Kind::Call, "further system calls", why));
    }
    if noted.len() < MOST && noted.insert(what.clone()) {
        let event = Event::refused(
            Kind::Call,
            what,
            "it serves the machine or its owner, not a program that builds something",
        );
        log.note(
            &event.remedy(
                "`isolation = \"dev\"` in the profile, or `--isolation dev`, for code that you trust",
            ),
        );
    }
}

/// The session's part: leaves its filter's watcher at pid 1's door.
pub(super) fn leave(door: BorrowedFd<'_>, watcher: &OwnedFd) -> nix::Result<()> {
    let numbers = [watcher.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&numbers)];
    sendmsg::<()>(door.as_raw_fd(), &[IoSlice::new(b"w")], &control, MsgFlags::MSG_NOSIGNAL, None).map(drop)
}
