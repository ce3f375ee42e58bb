//! A real registry: Debian's `docker-registry` on a free port of 127.0.0.1, one for all tests of a run.
//!
//! A shell stands between: it waits on a pipe that only this process holds, so that the registry and its data
//! go when the tests end, however they end.

use std::collections::HashSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use super::image::{Built, Image, OCI_INDEX, digest, index};
use super::within;
use super::{http, tls};

/// `devbox:open sesame`, whom [`Registry::locked`] knows, as basic authentication wants it.
pub const BASIC: &str = "ZGV2Ym94Om9wZW4gc2VzYW1l";
/// The same as the registry wants to read it (bcrypt).
const HTPASSWD: &str = "devbox:$2y$05$devboxdevboxdevboxdevOPMg2uCodXCZrkhQgrqAV1PqlpvLS67.\n";

const UNTIL_WE_GO: &str = r#"docker-registry serve "$1/config.yml" 2>"$1/log" >/dev/null </dev/null & registry=$!
cat >/dev/null; kill $registry; wait $registry 2>/dev/null; rm -rf "$1""#;

/// What a registry wants to see of who comes.
#[derive(Default, Clone, Copy)]
struct Door {
    /// User and password.
    login: bool,
    /// It has a certificate by [`tls::ca`].
    tls: bool,
    /// A certificate by the same.
    client: bool,
}

/// A running registry.
pub struct Registry {
    /// `127.0.0.1:PORT`.
    pub address: String,
    folder: PathBuf,
    authorization: Option<String>,
    /// Blobs that are there. Held while pushing: the registry does not take the same blob twice at once.
    pushed: Mutex<HashSet<String>>,
    /// Holds the pipe that the shell waits on.
    _shell: Child,
}

impl Registry {
    /// The one that anybody may read and write.
    pub fn open() -> &'static Self {
        static OPEN: OnceLock<Registry> = OnceLock::new();
        OPEN.get_or_init(|| Self::start(Door::default(), None))
    }

    /// The one that asks for user and password.
    pub fn locked() -> &'static Self {
        static LOCKED: OnceLock<Registry> = OnceLock::new();
        LOCKED.get_or_init(|| Self::start(Door { login: true, ..Door::default() }, None))
    }

    /// One over TLS that asks for user and password, and has what [`Registry::open`] has.
    pub fn private() -> Self {
        Self::start(Door { login: true, tls: true, client: false }, Some(Self::open()))
    }

    /// One over TLS that wants to see a certificate, and has what [`Registry::open`] has.
    pub fn choosy() -> Self {
        Self::start(Door { login: false, tls: true, client: true }, Some(Self::open()))
    }

    fn start(door: Door, same_as: Option<&Self>) -> Self {
        let folder = tempfile::Builder::new().prefix("dbt-registry-").tempdir().unwrap().keep();
        let at = folder.display();
        let mut http = String::from("addr: \"127.0.0.1:0\"");
        if door.tls {
            let pair = tls::certificate("127.0.0.1");
            for (name, text) in [("cert", &pair.certificate), ("key", &pair.key), ("ca", &tls::ca())] {
                fs::write(folder.join(name), text).unwrap();
            }
            let ca = if door.client { format!(", clientcas: [{at}/ca]") } else { String::new() };
            http += &format!(", tls: {{certificate: {at}/cert, key: {at}/key{ca}}}");
        }
        let data = same_as.map_or(&folder, |other| &other.folder).join("data");
        let mut config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{{http}}}\n",
            data.display()
        );
        if door.login {
            fs::write(folder.join("htpasswd"), HTPASSWD).unwrap();
            config += &format!("auth: {{htpasswd: {{realm: tests, path: {}/htpasswd}}}}\n", folder.display());
        }
        fs::write(folder.join("config.yml"), config).unwrap();
        let shell = Command::new("sh")
            .args(["-c", UNTIL_WE_GO, "sh"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut address = None;
        within(20, || {
            address = listening(&folder.join("log"));
            address.is_some()
        });
        Self {
            address: address.expect("docker-registry did not come up"),
            folder,
            authorization: door.login.then(|| format!("Basic {BASIC}")),
            pushed: Mutex::default(),
            _shell: shell,
        }
    }

    /// What it wrote down so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// Has a name no longer.
    pub fn forget(&self, name: &str) {
        fs::remove_dir_all(self.folder.join("data/docker/registry/v2/repositories").join(name)).unwrap();
    }

    /// `127.0.0.1:PORT/name`.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Pushes an image as `name:tag`; gives its full reference.
    pub fn push(&self, name_and_tag: &str, image: &Image) -> String {
        self.push_built(name_and_tag, &image.build())
    }

    pub fn push_built(&self, name_and_tag: &str, built: &Built) -> String {
        let (name, tag) = name_and_tag.split_once(':').expect("name:tag");
        let mut pushed = self.pushed.lock().unwrap();
        for blob in &built.blobs {
            if pushed.insert(format!("{name}@{}", digest(blob))) {
                self.put_blob(name, blob);
            }
        }
        self.put_manifest(name, tag, built.media_type, &built.manifest);
        self.reference(name_and_tag)
    }

    /// Pushes an index over images for several architectures.
    pub fn push_index(&self, name_and_tag: &str, images: &[(&str, &Built)]) -> String {
        let (name, tag) = name_and_tag.split_once(':').expect("name:tag");
        for (_, built) in images {
            self.push_built(&format!("{name}:{}", &digest(&built.manifest)[7..19]), built);
        }
        self.put_manifest(name, tag, OCI_INDEX, &index(images));
        self.reference(name_and_tag)
    }

    fn put_blob(&self, name: &str, blob: &[u8]) {
        let started = self.send("POST", &format!("/v2/{name}/blobs/uploads/"), "text/plain", &[]);
        let place = started.header("location").expect("an upload has a place").to_owned();
        let path = place.strip_prefix(&format!("http://{}", self.address)).unwrap_or(&place);
        let path = format!("{path}&digest={}", digest(blob));
        let done = self.send("PUT", &path, "application/octet-stream", blob);
        assert_eq!(done.status, 201, "{}", String::from_utf8_lossy(&done.body));
    }

    fn put_manifest(&self, name: &str, tag: &str, media_type: &str, manifest: &[u8]) {
        let done = self.send("PUT", &format!("/v2/{name}/manifests/{tag}"), media_type, manifest);
        assert_eq!(done.status, 201, "{}", String::from_utf8_lossy(&done.body));
    }

    fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> http::Response {
        let mut headers = vec![("Content-Type", kind)];
        headers.extend(self.authorization.as_deref().map(|value| ("Authorization", value)));
        http::request(&self.address, method, path, &headers, body).unwrap()
    }
}

/// The address in the log's `listening on 127.0.0.1:PORT`.
fn listening(log: &Path) -> Option<String> {
    let log = fs::read_to_string(log).ok()?;
    let (_, rest) = log.split_once("listening on ")?;
    let end = rest.find(|letter: char| !(letter.is_ascii_digit() || matches!(letter, '.' | ':')))?;
    Some(rest[..end].to_owned())
}
