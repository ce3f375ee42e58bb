//! Images from a few readable lines.
//!
//! A layer is a listing, one entry a line; owners default to `0:0`:
//!
//! ```text
//! d 755 etc                       folder
//! f 644 etc/motd one\ntwo\n       file with this text (\n, \0 and \\ are understood)
//! f 755:3:4 bin/busybox @/bin/sh  file with the content of a host file, owned by 3:4
//! l bin/sh busybox                symbolic link
//! h bin/ash bin/busybox           hard link
//! p 644 fifo                      FIFO
//! c 666 dev/sda                   character device 1:3
//! ```

use std::fs;
use std::io::Write;
use std::sync::OnceLock;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// How a layer's tar is packed.
#[derive(Clone, Copy, PartialEq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// An image in the making.
#[derive(Clone)]
pub struct Image {
    layers: Vec<(Vec<u8>, Packing)>,
    config: Value,
    architecture: &'static str,
    created: Option<&'static str>,
    docker: bool,
}

/// The finished bytes.
#[derive(Clone)]
pub struct Built {
    /// Layers, bottom first, then the config.
    pub blobs: Vec<Vec<u8>>,
    pub manifest: Vec<u8>,
    pub media_type: &'static str,
}

impl Image {
    pub fn empty() -> Self {
        let config = json!({ "Env": ["PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"], "Cmd": ["sh"] });
        Self { layers: Vec::new(), config, architecture: architecture(), created: None, docker: false }
    }

    /// Busybox with its links, users `root` and `app` (1000:1000), and the folders a system has.
    pub fn busybox() -> Self {
        static TAR: OnceLock<Vec<u8>> = OnceLock::new();
        Self::empty().tar(TAR.get_or_init(busybox_tar).clone(), Packing::Gzip)
    }

    /// One more layer on top, from a listing.
    pub fn layer(self, listing: &str, packing: Packing) -> Self {
        self.tar(tar(listing), packing)
    }

    /// One more layer on top, as tar.
    pub fn tar(mut self, tar: Vec<u8>, packing: Packing) -> Self {
        self.layers.push((tar, packing));
        self
    }

    /// Sets a key of the image's `config`, such as `Env` or `User`.
    pub fn set(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    pub fn architecture(mut self, name: &'static str) -> Self {
        self.architecture = name;
        self
    }

    /// When it was made, by RFC 3339.
    pub fn created(mut self, moment: &'static str) -> Self {
        self.created = Some(moment);
        self
    }

    /// Docker's schema 2 media types instead of OCI's.
    pub fn docker(mut self) -> Self {
        self.docker = true;
        self
    }

    pub fn build(&self) -> Built {
        let mut blobs: Vec<_> = self.layers.iter().map(|(tar, packing)| pack(tar, *packing)).collect();
        let kinds: Vec<_> = self.layers.iter().map(|(_, packing)| self.layer_type(*packing)).collect();
        let diff_ids: Vec<_> = self.layers.iter().map(|(tar, _)| digest(tar)).collect();
        let mut config = json!({
            "architecture": self.architecture, "os": "linux", "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        if let Some(created) = self.created {
            config["created"] = created.into();
        }
        let config = serde_json::to_vec(&config).unwrap();
        let layers: Vec<_> = kinds.iter().zip(&blobs).map(|(kind, blob)| descriptor(kind, blob)).collect();
        let (media_type, config_type) = if self.docker {
            (DOCKER_MANIFEST, "application/vnd.docker.container.image.v1+json")
        } else {
            (OCI_MANIFEST, "application/vnd.oci.image.config.v1+json")
        };
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type,
            "config": descriptor(config_type, &config), "layers": layers,
        });
        blobs.push(config);
        Built { blobs, manifest: serde_json::to_vec(&manifest).unwrap(), media_type }
    }

    fn layer_type(&self, packing: Packing) -> &'static str {
        match (self.docker, packing) {
            (true, Packing::Plain) => "application/vnd.docker.image.rootfs.diff.tar",
            (true, Packing::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (true, Packing::Zstd) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
            (false, Packing::Plain) => "application/vnd.oci.image.layer.v1.tar",
            (false, Packing::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (false, Packing::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// An OCI index over manifests, each with the architecture it is for.
pub fn index(manifests: &[(&str, &Built)]) -> Vec<u8> {
    let entries: Vec<_> = manifests
        .iter()
        .map(|(architecture, built)| {
            let mut entry = descriptor(built.media_type, &built.manifest);
            entry["platform"] = json!({ "os": "linux", "architecture": architecture });
            entry
        })
        .collect();
    serde_json::to_vec(&json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries })).unwrap()
}

/// `sha256:…` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// This machine's architecture in OCI's words.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A tar archive from a listing. Names are taken as they stand, however bad.
pub fn tar(listing: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for line in listing.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default();
        let kind = word();
        let mode = if matches!(kind, "l" | "h") { "777" } else { word() };
        let (name, rest) = (word(), word());
        let mut header = tar::Header::new_gnu();
        let mut owner = mode.split(':');
        header.set_mode(u32::from_str_radix(owner.next().unwrap(), 8).unwrap());
        header.set_uid(owner.next().map_or(0, |uid| uid.parse().unwrap()));
        header.set_gid(owner.next().map_or(0, |gid| gid.parse().unwrap()));
        header.set_mtime(1_700_000_000);
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        let mut data = Vec::new();
        header.set_entry_type(match kind {
            "d" => tar::EntryType::Directory,
            "f" => {
                data = content(rest);
                tar::EntryType::Regular
            }
            "l" => tar::EntryType::Symlink,
            "h" => tar::EntryType::Link,
            "p" => tar::EntryType::Fifo,
            "c" => tar::EntryType::Char,
            _ => panic!("not a kind of entry: {line}"),
        });
        if matches!(kind, "l" | "h") {
            archive.append_pax_extensions([("linkpath", rest.as_bytes())]).unwrap(); // of any length
        }
        if kind == "c" {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_size(data.len() as u64);
        header.set_cksum();
        archive.append(&header, data.as_slice()).unwrap();
    }
    archive.into_inner().unwrap()
}

fn content(text: &str) -> Vec<u8> {
    match text.strip_prefix('@') {
        Some(path) => fs::read(path).unwrap(),
        None => text.replace("\\n", "\n").replace("\\0", "\0").replace("\\\\", "\\").into_bytes(),
    }
}

fn busybox_tar() -> Vec<u8> {
    let (path, names) = super::host::busybox_and_applets().expect("probed by `needs!(images)`");
    let mut listing = String::from(
        "d 755 bin\nd 755 etc\nd 755 home\nd 755 proc\nd 755 root\nd 755 run\nd 755 sbin\nd 755 srv\nd 755 sys\nd 755 dev\n\
         d 755 usr\nd 755 usr/bin\nd 755 usr/sbin\nd 755 usr/lib\nd 755 var\nd 755 mnt\nd 1777 tmp\nd 755:1000:1000 home/app\n\
         f 644 etc/passwd root:x:0:0:root:/root:/bin/sh\\napp:x:1000:1000::/home/app:/bin/sh\\n\n\
         f 644 etc/group root:x:0:\\napp:x:1000:\\n\n",
    );
    listing.push_str(&format!("f 755 bin/busybox @{}\n", path.display()));
    for name in names.iter().filter(|name| *name != "bin/busybox" && !name.starts_with("linuxrc")) {
        listing.push_str(&format!("l {name} /bin/busybox\n"));
    }
    tar(&listing)
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

fn pack(tar: &[u8], packing: Packing) -> Vec<u8> {
    match packing {
        Packing::Plain => tar.to_vec(),
        Packing::Zstd => zstd::encode_all(tar, 1).unwrap(),
        Packing::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(tar).unwrap();
            gzip.finish().unwrap()
        }
    }
}
