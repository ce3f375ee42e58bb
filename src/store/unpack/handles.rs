//! A few open folders, those used last.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::folders::Id;
use crate::store::limits;

#[derive(Default)]
pub(super) struct Handles {
    open: HashMap<Id, Open>,
    clock: u64,
}

struct Open {
    folder: Rc<OwnedFd>,
    used: u64,
}

impl Handles {
    pub(super) fn get(&mut self, id: Id) -> Option<Rc<OwnedFd>> {
        self.clock += 1;
        let open = self.open.get_mut(&id)?;
        open.used = self.clock;
        Some(open.folder.clone())
    }

    pub(super) fn keep(&mut self, id: Id, folder: Rc<OwnedFd>) {
        if self.open.len() >= limits::OPEN_FOLDERS
            && let Some(oldest) = self.open.iter().min_by_key(|(_, open)| open.used).map(|(id, _)| *id)
        {
            self.open.remove(&oldest);
        }
        self.clock += 1;
        self.open.insert(id, Open { folder, used: self.clock });
    }

    pub(super) fn close(&mut self, id: Id) {
        self.open.remove(&id);
    }
}
