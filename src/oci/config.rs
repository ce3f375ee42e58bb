//! What an image says of itself (image-spec `config.md`; docker's is a superset).

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::json::{self, NotJson};
use super::manifest::MAX_LAYERS;
use super::platform::Platform;

/// Largest configuration, in bytes.
pub const MAX_SIZE: usize = 8 << 20;

/// The part of an image's configuration we use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct ImageConfig {
    /// Processor it is for, in Go's words; empty when it does not say.
    pub architecture: String,
    /// System it is for; empty when it does not say.
    pub os: String,
    /// Which variant of the architecture.
    pub variant: Option<String>,
    /// When it was made, as it says.
    pub created: Option<String>,
    /// Digests of the uncompressed layers, bottom first.
    pub diff_ids: Vec<Digest>,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// The command's fixed front part.
    pub entrypoint: Vec<String>,
    /// The command, or its arguments when there is an entry point.
    pub cmd: Vec<String>,
    /// Where the command starts.
    pub working_dir: Option<String>,
    /// `user`, `uid`, `user:group` or `uid:gid` the command runs as.
    pub user: Option<String>,
}

/// Why bytes are not a configuration we can use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not even a document of its form.
    #[error("the image's configuration can't be read")]
    Json(#[from] NotJson),
    /// A root made of something else than layers.
    #[error("the image's root is of the unknown type `{}`", .0.escape_debug())]
    Rootfs(String),
    /// Too many layers.
    #[error("the image's configuration names {0} layers, more than the limit of {MAX_LAYERS}")]
    TooManyLayers(usize),
    /// A NUL byte, which no argument or variable can hold.
    #[error("the image's `{0}` holds a NUL byte")]
    Nul(&'static str),
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    variant: Option<String>,
    created: Option<String>,
    rootfs: Rootfs,
    config: Option<Runtime>,
}

#[derive(Deserialize)]
struct Rootfs {
    #[serde(rename = "type")]
    kind: String,
    /// `null` for no layers, as Go writes it.
    diff_ids: Option<Vec<Digest>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Runtime {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
}

impl ImageConfig {
    /// Reads the configuration as it came from the registry.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let wire: Wire = json::parse(bytes, MAX_SIZE)?;
        if wire.rootfs.kind != "layers" {
            return Err(Error::Rootfs(wire.rootfs.kind));
        }
        let diff_ids = wire.rootfs.diff_ids.unwrap_or_default();
        if diff_ids.len() > MAX_LAYERS {
            return Err(Error::TooManyLayers(diff_ids.len()));
        }
        let runtime = wire.config.unwrap_or_default();
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        let config = Self {
            architecture: wire.architecture,
            os: wire.os,
            variant: said(wire.variant),
            created: said(wire.created),
            diff_ids,
            env: runtime.env.unwrap_or_default(),
            entrypoint: runtime.entrypoint.unwrap_or_default(),
            cmd: runtime.cmd.unwrap_or_default(),
            working_dir: said(runtime.working_dir),
            user: said(runtime.user),
        };
        for (name, values) in [
            ("Env", config.env.as_slice()),
            ("Entrypoint", &config.entrypoint),
            ("Cmd", &config.cmd),
            ("WorkingDir", config.working_dir.as_slice()),
            ("User", config.user.as_slice()),
        ] {
            if values.iter().any(|value| value.contains('\0')) {
                return Err(Error::Nul(name));
            }
        }
        Ok(config)
    }

    /// What it runs on; `None` when it does not say.
    pub fn platform(&self) -> Option<Platform> {
        let said = !self.os.is_empty() && !self.architecture.is_empty();
        said.then(|| Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn reads_what_is_there() {
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","created":"2026-01-01T00:00:00Z","history":[{{}}],
                "rootfs":{{"type":"layers","diff_ids":["{SHA}"]}},
                "config":{{"Env":["PATH=/bin","A="],"Entrypoint":null,"Cmd":["sh","-l"],"WorkingDir":"",
                           "User":"1000:100","Labels":{{"a":"b"}}}}}}"#
        );
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.diff_ids, [SHA.parse().unwrap()]);
        assert_eq!(config.env, ["PATH=/bin", "A="]);
        assert_eq!((config.entrypoint.len(), config.cmd.len()), (0, 2));
        assert_eq!((config.working_dir.as_deref(), config.user.as_deref()), (None, Some("1000:100")));
        assert_eq!(config.platform().unwrap().to_string(), "linux/amd64");
        let kept = serde_json::to_vec(&config).unwrap();
        assert_eq!(serde_json::from_slice::<ImageConfig>(&kept).unwrap(), config);

        let bare = ImageConfig::parse(br#"{"rootfs":{"type":"layers","diff_ids":null}}"#).unwrap();
        assert_eq!((bare.platform(), bare.diff_ids.len()), (None, 0));
    }

    #[test]
    fn hostile_documents() {
        let many = vec![format!("\"{SHA}\""); MAX_LAYERS + 1].join(",");
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        for (text, expected) in [
            ("{}".to_owned(), "Json"),
            (r#"{"rootfs":{"type":"squash","diff_ids":[]}}"#.into(), "Rootfs"),
            (r#"{"rootfs":{"type":"layers","diff_ids":["sha256:.."]}}"#.into(), "Json"),
            (r#"{"rootfs":{"type":"layers"},"rootfs":{"type":"layers"}}"#.into(), "Json"),
            (format!(r#"{{"rootfs":{{"type":"layers","diff_ids":[{many}]}}}}"#), "TooManyLayers"),
            (format!(r#"{{"rootfs":{{"type":"layers"}},"x":{deep}}}"#), "Json"),
            (r#"{"rootfs":{"type":"layers"},"config":{"Env":["A=\u0000"]}}"#.into(), "Nul"),
            (r#"{"rootfs":{"type":"layers"},"config":{"Cmd":"sh"}}"#.into(), "Json"),
            (" ".repeat(MAX_SIZE + 1), "Json"),
        ] {
            let error = ImageConfig::parse(text.as_bytes()).unwrap_err();
            assert!(format!("{error:?}").starts_with(expected), "{text:.60}: {error:?}");
        }
    }
}
