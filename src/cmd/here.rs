//! The box meant by someone who names none: the one of the folder they stand in.

use super::{Planned, planned, reference::Doubt};
use crate::cli::PlanFlags;
use crate::dirs::Dirs;
use crate::error::Error;
use crate::session::{Boxes, Record};
use crate::ui::Ui;

/// The box `given`, or that of the folder the caller stands in: the untrusted one when both are there, for it is the one that
/// questions are asked about.
pub(super) fn record(ui: &Ui, dirs: &Dirs, given: Option<&str>) -> Result<Record, Error> {
    let boxes = Boxes::new(dirs);
    if let Some(name) = given {
        return Ok(boxes.require(name)?);
    }
    let mut usual = String::new();
    for untrusted in [true, false] {
        let flags = PlanFlags { untrusted, ..PlanFlags::default() };
        // a profile that can't be an untrusted box has none
        let Planned { plan, .. } = match planned(ui, dirs, None, flags, Doubt::Refuse) {
            Ok(planned) => planned,
            Err(_) if untrusted => continue,
            Err(error) => return Err(error),
        };
        if let Some(record) = boxes.load(&plan.name)? {
            return Ok(record);
        }
        usual = plan.name;
    }
    Ok(boxes.require(&usual)?)
}
