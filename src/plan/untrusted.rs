//! What a box for untrusted code may be asked for, and what is refused. Each refusal has its reason: a wish that would
//! weaken the box is never passed over.

use super::{Error, Home, Ids, Image, Isolation, Network, Plan, User};
use crate::limits::{Limit, Limits};

/// Behind the name that the box would have otherwise, so that work of one's own and untrusted code never share a box
/// unasked.
const SUFFIX: &str = "-untrusted";
/// Longest name of a box.
const LONGEST: usize = 64;

/// Enough for a large parallel build, and for no fork bomb that the machine would notice.
const PIDS: u64 = 2048;
/// What one process of the box may have open.
const FILES: u64 = 16_384;

/// What nobody has to ask for.
pub(super) fn limits(isolation: Isolation) -> Limits {
    match isolation {
        Isolation::Dev => Limits::default(),
        Isolation::Untrusted => {
            Limits { amounts: [(Limit::Pids, PIDS), (Limit::Files, FILES)].into(), strict: None }
        }
    }
}

/// The box's name when no flag gives one.
pub(super) fn name(isolation: Isolation, usual: String) -> String {
    match isolation {
        Isolation::Dev => usual,
        // names are ASCII by their grammar
        Isolation::Untrusted => usual.chars().take(LONGEST - SUFFIX.len()).chain(SUFFIX.chars()).collect(),
    }
}

/// Refuses a plan for an untrusted box that asks for what such a box can't have.
pub(super) fn check(plan: &Plan) -> Result<(), Error> {
    if plan.isolation != Isolation::Untrusted {
        return Ok(());
    }
    let refuse = |what: String, why, instead| Err(Error::Untrusted { what, why, instead });
    if plan.image == Image::Host {
        let why = "this machine's own files tell too much";
        return refuse("image `host`".into(), why, "name an image, for example `--image debian:bookworm`");
    }
    if plan.network == Network::Host {
        let why = "it leads to every service of this machine and of its neighbours";
        return refuse("network `host`".into(), why, "`--network none`");
    }
    if plan.home == Home::Host {
        return refuse("home `host`".into(), "your keys and settings are in it", "`--home private`");
    }
    if plan.user != User::Me {
        let why = "sessions have no rights with which to become someone else";
        return refuse(format!("user `{}`", plan.user), why, "`--user me`");
    }
    if plan.ids == Ids::Full {
        let why = "mapping many ids takes a privileged helper, and files of theirs would outlive the box";
        return refuse("ids `full`".into(), why, "`--ids single`");
    }
    Ok(())
}
