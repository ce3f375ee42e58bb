//! The end of an unpacking: whiteouts, modes and times of folders, once nothing more comes.

use std::os::fd::AsFd;
use std::rc::Rc;

use super::folders::{Folders, Id, Node, ROOT};
use super::whiteout::Whiteouts;
use crate::store::error::{At, Error};
use crate::sys;
use crate::sys::fd;

impl Folders<'_> {
    /// Makes the whiteouts and gives all folders their modes and times.
    ///
    /// `implied` is called with the paths that end in folders without an entry, and how many those are. Gives
    /// the number of whiteouts, and whether the root hides all below it.
    pub(super) fn settle(
        mut self,
        whiteouts: &mut Whiteouts,
        mut implied: impl FnMut(&[u8], u64) -> Result<(), Error>,
    ) -> Result<(u64, bool), Error> {
        // a folder that takes the place of a lower one shows nothing of it
        for at in 0..self.nodes.len() {
            let Node { hidden, folders, .. } = &self.nodes[at];
            let renewed: Vec<Id> = hidden.iter().filter_map(|name| folders.get(&**name)).copied().collect();
            renewed.into_iter().for_each(|id| self.hide_all(id));
        }
        let mut count = 0;
        // children first: a parent's mode may shut us out
        for at in (0..self.nodes.len()).rev() {
            let id = Id(at as u32);
            if self.node(id).gone {
                continue;
            }
            let mut above = id;
            let mut run = 0;
            while std::mem::take(&mut self.node_mut(above).implied) {
                run += 1;
                above = self.node(above).parent;
            }
            if run > 0 {
                implied(&self.path_of(id, b""), run)?;
            }
            count += self.settle_one(id, whiteouts).at("finish", self.path)?;
        }
        Ok((count, self.node(ROOT).opaque))
    }

    /// Gives one folder its final state; how many whiteouts it got.
    fn settle_one(&mut self, id: Id, whiteouts: &mut Whiteouts) -> Result<u64, sys::Error> {
        let folder = self.open(id)?;
        let parent = self.node(id).parent;
        if parent != ROOT && self.handles.get(parent).is_none() {
            // its turn comes: from here it is one step, from the root there may be ten thousand
            self.handles.keep(parent, Rc::new(fd::open_folder(folder.as_fd(), b"..")?));
        }
        let node = self.node(id);
        let mut count = 0;
        if node.opaque {
            whiteouts.hide_all(folder.as_fd())?;
        } else {
            for name in node.hidden.iter().filter(|name| !node.folders.contains_key(&***name)) {
                count += u64::from(whiteouts.hide(folder.as_fd(), name)?);
            }
        }
        fd::fchmod(folder.as_fd(), node.mode)?;
        fd::futimens(folder.as_fd(), &node.modified)?;
        Ok(count)
    }
}
