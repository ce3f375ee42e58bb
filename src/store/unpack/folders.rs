//! The folders of a layer while it is unpacked.
//!
//! The tree is new and ours alone, so this record of its folders is complete, and a name is resolved here, one
//! component at a time: a folder we made, or else whatever `readlinkat` says of it. The kernel is never given
//! a name of more than one component, nor one that may be a link to follow; that holds whatever the layer says and
//! needs no newer kernel. Until [`Folders::settle`] all folders are ours to write (0700) and no whiteout exists:
//! modes, times and markers come last, when the order of entries no longer matters.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;

use super::Fault;
use super::handles::Handles;
use crate::store::error::{Refusal, shown};
use crate::store::{framing, limits};
use crate::sys;
use crate::sys::fd;

/// A folder of the tree; its number, parents before children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Id(pub(super) u32);

pub(super) const ROOT: Id = Id(0);

/// Mode of a folder nobody described.
const IMPLIED_MODE: u32 = 0o755;

pub(super) struct Folders<'a> {
    /// For messages.
    pub(super) path: &'a Path,
    pub(super) nodes: Vec<Node>,
    root: Rc<OwnedFd>,
    /// The layer's folder, and in it, once needed, that of what was replaced.
    layer: BorrowedFd<'a>,
    replaced: Option<OwnedFd>,
    asides: u64,
    pub(super) handles: Handles,
    /// The parent asked for last: entries come folder by folder.
    last: Option<(Vec<u8>, Id)>,
    /// Hidden names, all folders together.
    hidden: usize,
}

pub(super) struct Node {
    pub(super) parent: Id,
    name: Rc<[u8]>,
    depth: u32,
    pub(super) folders: BTreeMap<Rc<[u8]>, Id>,
    pub(super) hidden: BTreeSet<Box<[u8]>>,
    pub(super) opaque: bool,
    /// Removed or replaced since.
    pub(super) gone: bool,
    /// Made for what lies in it, without an entry of its own.
    pub(super) implied: bool,
    pub(super) mode: u32,
    pub(super) modified: TimeSpec,
}

impl Node {
    fn implied(parent: Id, name: Rc<[u8]>, depth: u32, modified: TimeSpec) -> Self {
        Self {
            parent,
            name,
            depth,
            folders: BTreeMap::new(),
            hidden: BTreeSet::new(),
            opaque: false,
            gone: false,
            implied: true,
            mode: IMPLIED_MODE,
            modified,
        }
    }
}

impl<'a> Folders<'a> {
    pub(super) fn new(root: OwnedFd, layer: BorrowedFd<'a>, path: &'a Path) -> Self {
        let node = Node::implied(ROOT, Rc::from(&b""[..]), 0, TimeSpec::new(0, 0));
        Self {
            path,
            nodes: vec![node],
            root: Rc::new(root),
            layer,
            replaced: None,
            asides: 0,
            handles: Handles::default(),
            last: None,
            hidden: 0,
        }
    }

    /// The folder `path` leads to, links resolved inside the root; what is missing is made.
    pub(super) fn make_all(&mut self, path: &[u8], modified: TimeSpec) -> Result<Id, Fault> {
        if let Some((last, id)) = &self.last
            && last == path
        {
            return Ok(*id);
        }
        let id = self.walk(path, Some(modified))?.unwrap_or(ROOT);
        self.last = Some((path.to_owned(), id));
        Ok(id)
    }

    /// The folder `path` leads to, links resolved inside the root; `None` when there is none.
    pub(super) fn find(&mut self, path: &[u8]) -> Result<Option<Id>, Fault> {
        self.walk(path, None)
    }

    /// Missing folders are made if there is a time to give them.
    fn walk(&mut self, path: &[u8], make: Option<TimeSpec>) -> Result<Option<Id>, Fault> {
        let mut rest = path.to_vec();
        let (mut start, mut at, mut links) = (0, ROOT, 0);
        // What is missing below `at`; made in the end, for `..` may leave it again.
        let mut missing: Vec<Vec<u8>> = Vec::new();
        while start < rest.len() {
            let end =
                rest[start..].iter().position(|byte| *byte == b'/').map_or(rest.len(), |slash| start + slash);
            let name = &rest[start..end];
            start = (end + 1).min(rest.len());
            match name {
                b"" | b"." => continue,
                b".." => {
                    if missing.pop().is_none() {
                        at = self.node(at).parent;
                    }
                    continue;
                }
                _ if !missing.is_empty() => {
                    missing.push(name.to_vec());
                    continue;
                }
                _ => {}
            }
            if let Some(id) = self.folder(at, name) {
                at = id;
                continue;
            }
            match fd::readlinkat(self.open(at)?.as_fd(), name) {
                Ok(target) => {
                    links += 1;
                    if links > limits::LINKS {
                        return Err(Refusal::LinkLoop.into());
                    }
                    if target.starts_with(b"/") {
                        at = ROOT;
                    }
                    rest = [&target, &b"/"[..], &rest[start..]].concat();
                    start = 0;
                }
                Err(error) if error.errno == Errno::ENOENT => missing.push(name.to_vec()),
                Err(error) if error.errno == Errno::EINVAL => {
                    return Err(Refusal::NotAFolder(shown(&self.path_of(at, name))).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        for name in missing {
            let Some(modified) = make else { return Ok(None) };
            at = self.make(at, &name, modified)?;
        }
        Ok(Some(at))
    }

    /// Makes a folder where nothing is; its entry may still describe it.
    pub(super) fn make(&mut self, at: Id, name: &[u8], modified: TimeSpec) -> Result<Id, Fault> {
        if self.nodes.len() >= limits::FOLDERS {
            return Err(Refusal::Limit(format!("{} folders", limits::FOLDERS)).into());
        }
        let depth = self.node(at).depth + 1;
        if depth > limits::DEPTH {
            return Err(Refusal::NameTooLong("too many folders one in the other").into());
        }
        fd::mkdirat(self.open(at)?.as_fd(), name, 0o700)?;
        let id = Id(self.nodes.len() as u32);
        let name: Rc<[u8]> = Rc::from(name);
        self.node_mut(at).folders.insert(name.clone(), id);
        self.nodes.push(Node::implied(at, name, depth, modified));
        Ok(id)
    }

    /// Sets aside what stands at `name`, a folder with all in it; false when nothing does.
    pub(super) fn set_aside(&mut self, at: Id, name: &[u8]) -> Result<bool, Fault> {
        let folder = self.open(at)?;
        if self.replaced.is_none() {
            fd::mkdirat(self.layer, framing::REPLACED.as_bytes(), 0o700)?;
            self.replaced = Some(fd::open_folder(self.layer, framing::REPLACED.as_bytes())?);
        }
        let Some(replaced) = &self.replaced else { return Ok(false) };
        let number = self.asides.to_string();
        match fd::renameat(folder.as_fd(), name, replaced.as_fd(), number.as_bytes()) {
            Err(error) if error.errno == Errno::ENOENT => return Ok(false),
            moved => moved?,
        }
        self.asides += 1;
        // a link on the way of the last parent may be what went
        self.last = None;
        let mut gone: Vec<Id> = self.node_mut(at).folders.remove(name).into_iter().collect();
        while let Some(id) = gone.pop() {
            self.handles.close(id);
            let node = self.node_mut(id);
            node.gone = true;
            node.hidden = BTreeSet::new();
            gone.extend(std::mem::take(&mut node.folders).into_values());
        }
        Ok(true)
    }

    /// The folder `name` in `at`, itself and not what a link leads to.
    pub(super) fn folder(&self, at: Id, name: &[u8]) -> Option<Id> {
        self.node(at).folders.get(name).copied()
    }

    /// Whether `id` is `folder` or lies somewhere in it.
    pub(super) fn lies_in(&self, mut id: Id, folder: Id) -> bool {
        while id != folder && id != ROOT {
            id = self.node(id).parent;
        }
        id == folder
    }

    /// Sets what a folder has in the end.
    pub(super) fn describe(&mut self, id: Id, mode: u32, modified: TimeSpec) {
        let node = self.node_mut(id);
        (node.mode, node.modified, node.implied) = (mode, modified, false);
    }

    /// Hides `name` of lower layers, unless this one has it too.
    pub(super) fn hide(&mut self, at: Id, name: &[u8]) -> Result<(), Fault> {
        if self.node_mut(at).hidden.insert(name.into()) {
            self.hidden += 1;
        }
        if self.hidden > limits::FOLDERS {
            return Err(Refusal::Limit(format!("{} hidden names", limits::FOLDERS)).into());
        }
        Ok(())
    }

    /// Hides all of lower layers in a folder.
    pub(super) fn hide_all(&mut self, id: Id) {
        self.node_mut(id).opaque = true;
    }

    /// The true path of `name` in `at`, all links resolved; of the folder itself when `name` is empty.
    pub(super) fn path_of(&self, at: Id, name: &[u8]) -> Vec<u8> {
        let mut parts = vec![name];
        let mut id = at;
        while id != ROOT {
            parts.push(&self.node(id).name);
            id = self.node(id).parent;
        }
        parts.retain(|part| !part.is_empty());
        parts.reverse();
        parts.join(&b'/')
    }

    /// A handle of a folder.
    pub(super) fn open(&mut self, id: Id) -> Result<Rc<OwnedFd>, sys::Error> {
        let mut way = Vec::new();
        let mut at = id;
        let mut folder = loop {
            if at == ROOT {
                break self.root.clone();
            }
            if let Some(folder) = self.handles.get(at) {
                break folder;
            }
            way.push(at);
            at = self.node(at).parent;
        };
        for (left, id) in way.iter().enumerate().rev() {
            folder = Rc::new(fd::open_folder(folder.as_fd(), &self.node(*id).name)?);
            if left < limits::OPEN_FOLDERS {
                self.handles.keep(*id, folder.clone());
            }
        }
        Ok(folder)
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub(super) fn node_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }
}
