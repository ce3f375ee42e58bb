//! What a client and a box's pid 1 say to each other over a Unix stream socket.
//!
//! A frame is a length (four bytes, native order, of what follows), a tag (one byte) and a body. A connection
//! carries one session: the client's first frame is `Open` (with descriptors 0, 1 and 2 attached) or `Stop`; when
//! the client goes away, its session is hung up. Both ends are the same user on the same machine, and often the
//! same file, but not always: a box may outlive an upgrade, so `VERSION` opens the first frame.

use std::ffi::CString;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::sys::process;

/// Changes when any frame does.
pub const VERSION: u8 = 2;
/// Longest frame: argument and environment strings are limited to 2 MiB by most kernels (execve(2)).
const MAX_FRAME: usize = 4 << 20;
const LENGTH: usize = 4;

/// From a client to pid 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Start a session.
    Open(Box<Open>),
    /// Deliver a signal to the session.
    Signal(i32),
    /// End the box: SIGTERM, and SIGKILL after this many milliseconds.
    Stop(u32),
}

/// A session to start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Open {
    /// Programs to try in order, a path or a name looked up in the session's PATH; the first that is there is run.
    pub programs: Vec<CString>,
    /// Arguments, the program's own name first.
    pub arguments: Vec<CString>,
    /// The whole environment, `NAME=value`.
    pub environment: Vec<CString>,
    /// Folders to try in order as working directory.
    pub folders: Vec<CString>,
    /// Who it runs as.
    pub identity: Identity,
    /// Bit n: descriptor n is a terminal and gets the session's pseudo-terminal instead.
    pub terminals: u8,
    /// The client's terminal settings, for the new one (`sys::tty::Settings`).
    pub settings: Vec<u8>,
    /// Rows and columns.
    pub size: (u16, u16),
}

/// Who a session runs as, in ids of the box. How that is brought about depends on the box's map, which pid 1 knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Identity {
    /// Root of the box.
    #[default]
    Root,
    /// The caller, under its own ids.
    Me,
    /// Any mapped user; needs `full` ids.
    Mapped {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// Supplementary groups.
        groups: Vec<u32>,
    },
}

/// From pid 1 to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The session exists. `fingerprint` tells which plan the box was started with. With a terminal, the master
    /// is attached.
    Started {
        /// See `session::start`.
        fingerprint: u64,
    },
    /// The session could not be started.
    Failed {
        /// What was being done.
        step: Step,
        /// Why.
        errno: Errno,
    },
    /// The box could not be set up: the number of the operation that failed, see `sandbox::child`.
    SetUpFailed {
        /// The stage.
        stage: u8,
        /// Index of the mount operation, when the stage has several.
        index: u16,
        /// Why.
        errno: Errno,
    },
    /// The session's command ended; 0-255 as a shell counts.
    Exited(u8),
    /// The session's command stopped (Ctrl-Z).
    Stopped,
    /// The session was ended, for it took longer than the box's limit.
    OutOfTime,
}

/// What a session's start was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Understanding the request.
    Request = 0,
    /// Making the terminal.
    Terminal = 1,
    /// Becoming the user.
    Identity = 2,
    /// Looking for the program.
    Lookup = 3,
    /// Loading the owner filter.
    Filter = 4,
    /// Running the program.
    Exec = 5,
    /// Changing to the working directory.
    Folder = 6,
    /// Taking its rights and system calls.
    Confinement = 7,
    /// Setting its limits.
    Limits = 8,
}

impl Step {
    fn from_number(number: u8) -> Option<Self> {
        const ALL: [Step; 9] = [
            Step::Request,
            Step::Terminal,
            Step::Identity,
            Step::Lookup,
            Step::Filter,
            Step::Exec,
            Step::Folder,
            Step::Confinement,
            Step::Limits,
        ];
        ALL.into_iter().find(|step| *step as u8 == number)
    }
}

impl Open {
    /// The program is a command on a terminal, and no shell that looks after its jobs itself.
    pub fn is_job(&self) -> bool {
        self.terminals & 1 != 0 && !self.arguments.is_empty()
    }
}

/// A frame that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other end does not speak this version's language")]
pub struct Malformed;

impl Request {
    /// The frame, length first.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        match self {
            Self::Open(open) => {
                body.extend([0, VERSION]);
                for list in [&open.programs, &open.arguments, &open.environment, &open.folders] {
                    put_strings(&mut body, list);
                }
                match &open.identity {
                    Identity::Root => put(&mut body, 0),
                    Identity::Me => put(&mut body, 1),
                    Identity::Mapped { uid, gid, groups } => {
                        for number in [2, *uid, *gid, groups.len() as u32].iter().chain(groups) {
                            put(&mut body, *number);
                        }
                    }
                }
                body.push(open.terminals);
                put(&mut body, u32::from(open.size.0));
                put(&mut body, u32::from(open.size.1));
                body.extend(&open.settings);
            }
            Self::Signal(signal) => {
                body.push(1);
                put(&mut body, *signal as u32);
            }
            Self::Stop(grace) => {
                body.extend([2, VERSION]);
                put(&mut body, *grace);
            }
        }
        framed(&body)
    }

    fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Body(body);
        Ok(match rest.byte()? {
            0 => {
                rest.version()?;
                let mut open = Open {
                    programs: rest.strings()?,
                    arguments: rest.strings()?,
                    environment: rest.strings()?,
                    folders: rest.strings()?,
                    ..Open::default()
                };
                open.identity = match rest.number()? {
                    0 => Identity::Root,
                    1 => Identity::Me,
                    2 => {
                        let (uid, gid) = (rest.number()?, rest.number()?);
                        let groups = (0..rest.number()?).map(|_| rest.number()).collect::<Result<_, _>>()?;
                        Identity::Mapped { uid, gid, groups }
                    }
                    _ => return Err(Malformed),
                };
                open.terminals = rest.byte()?;
                open.size = (rest.number()? as u16, rest.number()? as u16);
                open.settings = rest.0.to_vec();
                Self::Open(Box::new(open))
            }
            1 => Self::Signal(rest.number()? as i32),
            2 => {
                rest.version()?;
                Self::Stop(rest.number()?)
            }
            _ => return Err(Malformed),
        })
    }
}

impl Reply {
    /// The frame, length first.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        match self {
            Self::Started { fingerprint } => {
                body.push(1);
                body.extend(fingerprint.to_ne_bytes());
            }
            Self::Failed { step, errno } => {
                body.extend([2, *step as u8]);
                put(&mut body, *errno as u32);
            }
            Self::SetUpFailed { stage, index, errno } => {
                body.extend([3, *stage]);
                put(&mut body, u32::from(*index));
                put(&mut body, *errno as u32);
            }
            Self::Exited(status) => body.extend([4, *status]),
            Self::Stopped => body.push(5),
            Self::OutOfTime => body.push(6),
        }
        framed(&body)
    }

    fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Body(body);
        Ok(match rest.byte()? {
            1 => Self::Started { fingerprint: u64::from_ne_bytes(rest.0.try_into().map_err(|_| Malformed)?) },
            2 => Self::Failed {
                step: Step::from_number(rest.byte()?).ok_or(Malformed)?,
                errno: Errno::from_raw(rest.number()? as i32),
            },
            3 => Self::SetUpFailed {
                stage: rest.byte()?,
                index: rest.number()? as u16,
                errno: Errno::from_raw(rest.number()? as i32),
            },
            4 => Self::Exited(rest.byte()?),
            5 => Self::Stopped,
            6 => Self::OutOfTime,
            _ => return Err(Malformed),
        })
    }
}

/// Bytes received so far, given out as whole frames.
#[derive(Debug, Default)]
pub struct Incoming(Vec<u8>);

impl Incoming {
    /// Adds what was read.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next request, when it is whole.
    pub fn request(&mut self) -> Result<Option<Request>, Malformed> {
        self.frame()?.map(|body| Request::decode(&body)).transpose()
    }

    /// The next reply, when it is whole.
    pub fn reply(&mut self) -> Result<Option<Reply>, Malformed> {
        self.frame()?.map(|body| Reply::decode(&body)).transpose()
    }

    fn frame(&mut self) -> Result<Option<Vec<u8>>, Malformed> {
        let Some(length) = self.0.first_chunk::<LENGTH>() else { return Ok(None) };
        let length = u32::from_ne_bytes(*length) as usize;
        if length == 0 || length > MAX_FRAME {
            return Err(Malformed);
        }
        if self.0.len() < LENGTH + length {
            return Ok(None);
        }
        let body = self.0[LENGTH..LENGTH + length].to_vec();
        self.0.drain(..LENGTH + length);
        Ok(Some(body))
    }
}

/// Reads once without waiting: the count, 0 at the end, and the descriptors that came along.
pub fn receive(stream: &UnixStream, incoming: &mut Incoming) -> nix::Result<(usize, Vec<OwnedFd>)> {
    let mut buffer = [0; 16 << 10];
    let mut space = nix::cmsg_space!([RawFd; 3]);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            descriptors.extend(numbers.into_iter().map(process::adopt));
        }
    }
    let count = message.bytes;
    incoming.add(&buffer[..count]);
    Ok((count, descriptors))
}

/// True when the other end takes a frame as long as this one.
pub fn fits(frame: &[u8]) -> bool {
    frame.len() <= LENGTH + MAX_FRAME
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(LENGTH + body.len());
    put(&mut frame, body.len() as u32);
    frame.extend_from_slice(body);
    frame
}

fn put(body: &mut Vec<u8>, number: u32) {
    body.extend(number.to_ne_bytes());
}

fn put_strings(body: &mut Vec<u8>, list: &[CString]) {
    put(body, list.len() as u32);
    for text in list {
        body.extend_from_slice(text.as_bytes_with_nul());
    }
}

/// The unread rest of a frame.
struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u32, Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(u32::from_ne_bytes(*bytes))
    }

    fn version(&mut self) -> Result<(), Malformed> {
        if self.byte()? == VERSION { Ok(()) } else { Err(Malformed) }
    }

    fn strings(&mut self) -> Result<Vec<CString>, Malformed> {
        let count = self.number()?;
        (0..count)
            .map(|_| {
                let end = self.0.iter().position(|byte| *byte == 0).ok_or(Malformed)?;
                let (text, rest) = self.0.split_at(end + 1);
                self.0 = rest;
                CString::from_vec_with_nul(text.to_vec()).map_err(|_| Malformed)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<CString> {
        list.iter().map(|text| CString::new(*text).unwrap()).collect()
    }

    #[test]
    fn requests_survive_the_wire_in_any_pieces() {
        let open = Open {
            programs: strings(&["bash", "/bin/sh"]),
            arguments: strings(&["sh", "", "a b"]),
            environment: strings(&["A=1"]),
            folders: strings(&["/p"]),
            identity: Identity::Mapped { uid: 1, gid: 2, groups: vec![3, 4] },
            terminals: 5,
            settings: vec![9, 0, 9],
            size: (24, 80),
        };
        let sent = [Request::Open(Box::new(open)), Request::Signal(15), Request::Stop(10)];
        let bytes: Vec<u8> = sent.iter().flat_map(Request::encode).collect();
        let mut incoming = Incoming::default();
        let mut received = Vec::new();
        for byte in bytes {
            incoming.add(&[byte]);
            received.extend(incoming.request().unwrap());
        }
        assert_eq!(received, sent);
    }

    #[test]
    fn replies_survive_the_wire() {
        let mut incoming = Incoming::default();
        for reply in [
            Reply::Started { fingerprint: u64::MAX },
            Reply::Failed { step: Step::Exec, errno: Errno::ENOENT },
            Reply::SetUpFailed { stage: 3, index: 7, errno: Errno::EPERM },
            Reply::Exited(255),
            Reply::Stopped,
            Reply::OutOfTime,
        ] {
            incoming.add(&reply.encode());
            assert_eq!(incoming.reply().unwrap(), Some(reply));
        }
    }

    #[test]
    fn the_shim_speaks_the_same_frame() {
        let frame = Reply::Failed { step: Step::Exec, errno: Errno::ENOENT }.encode();
        assert_eq!(frame[..4], 6_u32.to_ne_bytes());
        assert_eq!(frame[4..6], [2, 5]);
        assert_eq!([Step::Lookup, Step::Filter, Step::Folder].map(|step| step as u8), [3, 4, 6]);
        assert_eq!(frame[6..], 2_i32.to_ne_bytes());
        assert_eq!(Reply::Stopped.encode(), [1_u32.to_ne_bytes().as_slice(), &[5]].concat());
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [&[0, 0, 0, 0][..], &[255, 255, 255, 255, 0], &[1, 0, 0, 0, 77], &[2, 0, 0, 0, 0, 99]] {
            let mut incoming = Incoming::default();
            incoming.add(bytes);
            assert_eq!(incoming.request(), Err(Malformed), "{bytes:?}");
        }
    }
}
