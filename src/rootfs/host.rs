//! The root of a box over the host's own: one read-only, recursive bind, with what is private covered.
//!
//! The kernel takes no `/` with mounts below it as an overlay's lower, and without an owner for system files
//! writes to them could not succeed anyway; so they are plainly read-only.

use std::path::Path;

use crate::mount::{Op, Root, c_path};
use crate::plan::{Home, Network};

use super::{Error, Layout, Wanted, files, tmpfs};

pub(super) fn lay_out(wanted: &Wanted<'_>) -> Result<Layout, Error> {
    let home = &wanted.caller.home;
    let mut ops = vec![
        Op::Dev,
        tmpfs("/tmp".as_ref(), "mode=1777")?,
        tmpfs("/run".as_ref(), "mode=755")?,
        Op::Dir(c"/run/lock".into()),
        Op::Dir(c"/run/devbox".into()),
        Op::Write {
            at: c"/run/.containerenv".into(),
            content: files::containerenv(wanted.plan),
            mode: 0o644,
        },
    ];
    for folder in ["/var/tmp", "/root"] {
        if Path::new(folder).is_dir() {
            ops.push(tmpfs(folder.as_ref(), if folder == "/root" { "mode=700" } else { "mode=1777" })?);
        }
    }
    // Other homes are nobody's business in here. A home directly below `/` or `/root` hides nothing else.
    if wanted.plan.home != Home::Host
        && let Some(homes) = home.parent()
        && homes != Path::new("/")
        && homes != Path::new("/root")
        && homes.is_dir()
    {
        ops.push(tmpfs(homes, "mode=755")?);
    }
    if let Some(hosts) = files::hosts(&wanted.plan.hostname, wanted.plan.network) {
        ops.push(Op::Write { at: c"/run/devbox/hosts".into(), content: hosts, mode: 0o644 });
        ops.push(Op::BindWithin { from: c"/run/devbox/hosts".into(), at: c"/etc/hosts".into() });
    }
    // On many hosts `/etc/resolv.conf` is a link into `/run`, which is the box's own.
    let resolv = files::resolv_conf().and_then(|path| path.canonicalize().ok());
    if let Some(content) = files::own_resolv_conf(wanted.plan) {
        ops.push(Op::Write { at: c"/run/devbox/resolv.conf".into(), content, mode: 0o644 });
        let at = c_path(resolv.as_deref().unwrap_or("/etc/resolv.conf".as_ref()))?;
        ops.push(Op::BindWithin { from: c"/run/devbox/resolv.conf".into(), at });
    } else if let Some(resolv) = resolv
        && wanted.plan.network == Network::Host
        && resolv.starts_with("/run")
    {
        let (from, at) = (c_path(&resolv)?, c_path(&resolv)?);
        ops.push(Op::Bind { from, at, readonly: true, recursive: false, devices: false, exact: false });
    }
    Ok(Layout { root: Root::Host, ops, notes: Vec::new() })
}
