//! The root of a box over an image: an overlay, the kernel's filesystems, and the few files a host gives.

use crate::mount::{Driver, Op, c_path};
use crate::plan::{Image, Isolation, Network};
use crate::sys::shim;

use super::lookup::Merged;
use super::{Error, Layout, Wanted, bind, driver, files, folder, tmpfs};

pub(super) fn lay_out(wanted: &Wanted<'_>) -> Result<Layout, Error> {
    let root = driver::root(wanted)?;
    let mut ops = vec![
        Op::Dev,
        bind("/sys".as_ref(), "/sys".as_ref(), true)?,
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
    if let Some(hosts) = files::hosts(&wanted.plan.hostname, wanted.plan.network) {
        ops.push(Op::Write { at: c"/run/devbox/hosts".into(), content: hosts, mode: 0o644 });
        ops.push(Op::BindWithin { from: c"/run/devbox/hosts".into(), at: c"/etc/hosts".into() });
    }
    let hostname = format!("{}\n", wanted.plan.hostname).into_bytes();
    ops.push(Op::Write { at: c"/run/devbox/hostname".into(), content: hostname, mode: 0o644 });
    ops.push(Op::BindWithin { from: c"/run/devbox/hostname".into(), at: c"/etc/hostname".into() });
    if let Some(content) = files::own_resolv_conf(wanted.plan) {
        ops.push(Op::Write { at: c"/run/devbox/resolv.conf".into(), content, mode: 0o644 });
        ops.push(Op::BindWithin { from: c"/run/devbox/resolv.conf".into(), at: c"/etc/resolv.conf".into() });
    }
    if wanted.plan.network == Network::Host
        && let Some(resolv) = files::resolv_conf()
    {
        ops.push(Op::Bind {
            from: c_path(resolv)?,
            at: c"/etc/resolv.conf".into(),
            readonly: true,
            recursive: false,
            devices: false,
            exact: false,
        });
    }
    if let Some(zone) = files::local_time() {
        let at = c"/run/devbox/localtime".into();
        ops.push(Op::Bind {
            from: c_path(zone)?,
            at,
            readonly: true,
            recursive: false,
            devices: false,
            exact: false,
        });
    }
    if wanted.plan.isolation == Isolation::Dev {
        add_sudo(wanted, &mut ops);
    }
    let mut notes = Vec::new();
    let foreign = wanted.driver != Driver::Copy
        && matches!(wanted.plan.image, Image::Folder(_))
        && folder::is_foreign(wanted);
    if wanted.fresh {
        if foreign {
            notes.push(folder::note(wanted));
        }
        first_start(wanted, foreign, &mut ops)?;
    }
    Ok(Layout { root, ops, notes })
}

/// Root without root, for those whose sessions may have any rights at all.
fn add_sudo(wanted: &Wanted<'_>, ops: &mut Vec<Op>) {
    // `sudo`, `su` and `doas`: first in PATH, so that the image's own stay as they are for package upgrades. Where the box
    // has more ids they hand over to those, and say why others than root gain nothing.
    ops.push(Op::Dir(c"/run/devbox/bin".into()));
    ops.push(Op::Write { at: c"/run/devbox/bin/sudo".into(), content: shim::PROGRAM.to_vec(), mode: 0o755 });
    for name in [c"/run/devbox/bin/su", c"/run/devbox/bin/doas"] {
        ops.push(Op::Link { to: c"sudo".into(), at: name.into(), replace: false });
    }
    if wanted.single_id {
        // apt drops to a user of its own, who can't exist here; the root sessions' APT_CONFIG names this file.
        let apt = b"APT::Sandbox::User \"root\";\n".to_vec();
        ops.push(Op::Write { at: c"/run/devbox/apt.conf".into(), content: apt, mode: 0o644 });
    }
}

/// What is written into the box once; the account files of a `foreign` folder are copied.
fn first_start(wanted: &Wanted<'_>, foreign: bool, ops: &mut Vec<Op>) -> Result<(), Error> {
    let merged = Merged::of(wanted).map_err(|errno| Error::File {
        what: "open",
        path: wanted.folder.join("upper"),
        source: errno.into(),
    })?;
    if foreign {
        folder::make_ours(wanted, &merged)?;
    }
    // Not bound over the image's own, which is often a link to a zone that programs ask for by name.
    if files::local_time().is_some() && merged.exists("etc") {
        let (to, at) = (c"/run/devbox/localtime".into(), c"/etc/localtime".into());
        ops.push(Op::Link { to, at, replace: true });
    }
    // pacman and others read the mounts there; images come without it, for it is the runtime's to make.
    if merged.exists("etc") {
        let (to, at) = (c"/proc/self/mounts".into(), c"/etc/mtab".into());
        ops.push(Op::Link { to, at, replace: false });
    }
    for owner in &wanted.owners {
        ops.push(Op::Chown { at: c_path(&owner.path)?, uid: owner.uid, gid: owner.gid, mode: owner.mode });
    }
    if wanted.account && !foreign {
        for (at, content) in files::accounts(wanted, &merged) {
            ops.push(Op::Append { at, content });
        }
    }
    Ok(())
}
