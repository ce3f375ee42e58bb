//! An image's configuration with one more layer (image-spec `config.md`).

use serde_json::{Map, Value, json};

use super::config::{Error, ImageConfig, MAX_SIZE};
use super::digest::Digest;

/// What a commit changes in a configuration; `None` keeps what is there.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// `NAME=value`, over those of the same name.
    pub env: Vec<String>,
    /// The command's fixed front part; a new one takes the former command away, as in a Dockerfile.
    pub entrypoint: Option<Vec<String>>,
    /// The command, or its arguments.
    pub cmd: Option<Vec<String>>,
    /// Who it runs as.
    pub user: Option<String>,
    /// Where it starts.
    pub working_dir: Option<String>,
    /// `KEY` and value, over those of the same key.
    pub labels: Vec<(String, String)>,
    /// Who made it.
    pub author: Option<String>,
    /// What was done, for the history.
    pub comment: Option<String>,
    /// When, as RFC 3339 has it.
    pub created: String,
}

/// The configuration with one more layer and what is to change; all else in it stays. The same arguments give the same
/// bytes.
pub fn with_layer(bytes: &[u8], diff_id: &Digest, changes: &Changes) -> Result<Vec<u8>, Error> {
    // what it says must make sense before anything is said beside it
    let before = ImageConfig::parse(bytes)?;
    let mut document: Map<String, Value> = super::json::parse(bytes, MAX_SIZE)?;
    document.insert("created".into(), changes.created.clone().into());
    if let Some(author) = &changes.author {
        document.insert("author".into(), author.clone().into());
    }
    // docker's notes on the container an image was made from
    for stale in ["container", "container_config", "id", "parent"] {
        document.remove(stale);
    }
    let mut diff_ids = before.diff_ids;
    diff_ids.push(*diff_id);
    document.insert("rootfs".into(), json!({ "type": "layers", "diff_ids": diff_ids }));
    let mut entry = json!({ "created": changes.created, "created_by": "devbox commit" });
    for (key, text) in [("author", &changes.author), ("comment", &changes.comment)] {
        if let Some(text) = text {
            entry[key] = text.clone().into();
        }
    }
    let mut history = match document.remove("history") {
        Some(Value::Array(history)) => history,
        _ => Vec::new(),
    };
    history.push(entry);
    document.insert("history".into(), history.into());
    let mut config = match document.remove("config") {
        Some(Value::Object(config)) => config,
        _ => Map::new(),
    };
    if !changes.env.is_empty() {
        let name = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
        let mut env = before.env;
        for line in &changes.env {
            match env.iter_mut().find(|known| name(known) == name(line)) {
                Some(known) => known.clone_from(line),
                None => env.push(line.clone()),
            }
        }
        config.insert("Env".into(), json!(env));
    }
    if let Some(entrypoint) = &changes.entrypoint {
        config.insert("Entrypoint".into(), json!(entrypoint));
        config.remove("Cmd");
    }
    if let Some(cmd) = &changes.cmd {
        config.insert("Cmd".into(), json!(cmd));
    }
    for (key, text) in [("User", &changes.user), ("WorkingDir", &changes.working_dir)] {
        if let Some(text) = text {
            config.insert(key.into(), text.clone().into());
        }
    }
    if !changes.labels.is_empty() {
        let mut labels = match config.remove("Labels") {
            Some(Value::Object(labels)) => labels,
            _ => Map::new(),
        };
        labels.extend(changes.labels.iter().map(|(key, value)| (key.clone(), value.clone().into())));
        config.insert("Labels".into(), labels.into());
    }
    document.insert("config".into(), config.into());
    let text = Value::Object(document).to_string().into_bytes();
    // what was changed has to make sense as well
    ImageConfig::parse(&text)?;
    Ok(text)
}

/// A moment in seconds since the epoch as RFC 3339 has it, in universal time. The calendar's rule is that of the
/// Gregorian one: days are counted from the 1st of March, so that a leap day ends its year.
pub fn rfc3339(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468; // days between 0000-03-01 and 1970-01-01
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }

    #[test]
    fn what_is_not_changed_stays() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let base = json!({
            "architecture": "amd64", "os": "linux", "x-ours": [1], "container": "c0ffee",
            "rootfs": { "type": "layers", "diff_ids": [one] },
            "history": [{ "created_by": "first" }],
            "config": { "Env": ["PATH=/bin", "A=1"], "Entrypoint": ["e"], "Cmd": ["c"], "Labels": { "a": "b" },
                        "StopSignal": "SIGINT" },
        });
        let changes = Changes {
            env: vec!["A=2=3".into(), "B=".into()],
            entrypoint: Some(vec!["new".into()]),
            user: Some("7:8".into()),
            labels: vec![("c".into(), "d".into())],
            comment: Some("why".into()),
            created: "1970-01-01T00:00:00Z".into(),
            ..Changes::default()
        };
        let bytes = with_layer(base.to_string().as_bytes(), &two, &changes).unwrap();
        assert_eq!(bytes, with_layer(base.to_string().as_bytes(), &two, &changes).unwrap());
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(document["rootfs"]["diff_ids"], json!([one, two]));
        assert_eq!(document["config"]["Env"], json!(["PATH=/bin", "A=2=3", "B="]));
        assert_eq!(document["config"]["Entrypoint"], json!(["new"]));
        assert_eq!(document["config"].get("Cmd"), None, "a new entry point takes the old command away");
        assert_eq!(document["config"]["Labels"], json!({ "a": "b", "c": "d" }));
        assert_eq!(document["config"]["StopSignal"], "SIGINT");
        assert_eq!((&document["x-ours"], document.get("container")), (&json!([1]), None));
        assert_eq!(document["history"][1]["comment"], "why");
        let nul = Changes { user: Some("a\0".into()), ..Changes::default() };
        with_layer(base.to_string().as_bytes(), &two, &nul).unwrap_err();
    }
}
