//! A plan as people read it: rows of a name and a text.

use super::{Mount, MountMode, Plan, Variable};

impl Plan {
    /// The plan as rows for `devbox plan`. Values that came from the host's environment are left out, and nothing
    /// in a text can move a terminal's cursor.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let path = |path: &std::path::Path| path.display().to_string();
        let mut rows = vec![
            ("box", self.name.clone()),
            ("image", self.image.to_string()),
            ("platform", self.platform.clone()),
            ("user", self.user.to_string()),
            ("ids", self.ids.to_string()),
            ("driver", self.driver.to_string()),
            ("isolation", self.isolation.to_string()),
            ("home", self.home.to_string()),
        ];
        rows.push(match (&self.project, &self.no_project_because) {
            (Some(project), _) => ("project", path(project)),
            (None, Some(why)) => ("project", format!("none: {why}")),
            (None, None) => ("project", "none".to_owned()),
        });
        rows.extend(self.workdir.iter().map(|workdir| ("workdir", path(workdir))));
        rows.extend(self.shell.iter().map(|shell| ("shell", shell.clone())));
        rows.push(("hostname", self.hostname.clone()));
        rows.push(("network", self.network.to_string()));
        let limits = self.limits.amounts.iter();
        rows.extend(limits.map(|(limit, amount)| ("limit", format!("{limit} {}", limit.shown(*amount)))));
        if self.limits.is_strict() {
            rows.push(("limits", "strict".to_owned()));
        }
        rows.extend(self.allow.iter().map(|entry| ("allow", entry.to_string())));
        rows.extend(self.ssh_agent.iter().map(|key| ("ssh-agent", key.clone())));
        rows.extend(
            self.ports.iter().map(|port| ("port", format!("{} to {} in the box", port.host, port.inside))),
        );
        rows.extend(self.env.iter().map(|(name, value)| match value {
            Variable::Literal(value) => ("env", format!("{name}={value}")),
            Variable::FromHost(_) => ("env", format!("{name} (from the host)")),
        }));
        rows.extend(self.mounts.iter().map(|mount| ("mount", describe_mount(mount))));
        rows.extend(self.setup.steps.iter().map(|step| ("setup", step.title())));
        rows.extend(self.setup.cache.iter().map(|cache| ("cache", cache.clone())));
        match (&self.pin, &self.unpinned_because) {
            (Some(pin), _) => rows.push(("locked", pin.digest.to_string())),
            (None, Some(why)) => rows.push(("locked", format!("no: {why}"))),
            (None, None) => {}
        }
        rows.extend(
            self.profiles.iter().map(|origin| ("profile", format!("{} ({})", origin.name, origin.from))),
        );
        for (_, text) in &mut rows {
            if text.contains(char::is_control) {
                *text = text.escape_debug().to_string();
            }
        }
        rows
    }
}

fn describe_mount(mount: &Mount) -> String {
    let target = mount.target.display();
    let optional = if mount.optional { ", optional" } else { "" };
    match &mount.source {
        Some(source) if mount.mode == MountMode::Cache => {
            let name = source.file_name().unwrap_or_default().to_string_lossy();
            format!("{target} (cache {name})")
        }
        Some(source) if *source == mount.target => format!("{target} ({}{optional})", mount.mode),
        Some(source) => format!("{target} from {} ({}{optional})", source.display(), mount.mode),
        None => format!("{target} ({})", mount.mode),
    }
}
