//! Layouts and archives, good and bad.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::*;
use crate::oci::digest::Digest;
use crate::oci::media_type::OCI_MANIFEST;

const BLOB: &[u8] = b"some bytes";

/// A layout whose index has one entry, which points to [`BLOB`].
fn folder(place: &Path) -> PathBuf {
    let digest = Digest::of(BLOB);
    let at = place.join("layout");
    fs::create_dir_all(at.join("blobs/sha256")).unwrap();
    fs::write(at.join(MARKER), layout::MARKER_TEXT).unwrap();
    let entry = format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":{}}}"#, BLOB.len());
    fs::write(at.join(INDEX), format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#)).unwrap();
    fs::write(at.join(layout::blob_path(&digest)), BLOB).unwrap();
    at
}

fn read(layout: &Layout) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = layout.blob(&layout.entries[0])?.read_to_end(&mut bytes);
    read.map(|_| bytes).map_err(|error| error.downcast().unwrap())
}

fn archive(members: &[(&str, &[u8])]) -> File {
    let mut builder = tar::Builder::new(tempfile::tempfile().unwrap());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_folder_is_read() {
    let place = tempfile::tempdir().unwrap();
    assert_eq!(read(&Layout::in_folder(&folder(place.path())).unwrap()).unwrap(), BLOB);
}

#[test]
fn a_folder_can_lie() {
    let blob = layout::blob_path(&Digest::of(BLOB));
    type Change = fn(&Path, &Path);
    let changes: [(&str, Change); 9] = [
        ("has the digest", |_, blob| fs::write(blob, b"other byte").unwrap()),
        ("has 11 bytes, not 10", |_, blob| fs::write(blob, b"some bytes!").unwrap()),
        ("has no file `blobs/", |_, blob| fs::remove_file(blob).unwrap()),
        ("symbolic link", |at, blob| {
            fs::rename(blob, at.join("elsewhere")).unwrap();
            symlink(at.join("elsewhere"), blob).unwrap();
        }),
        ("not a folder", |at, _| {
            fs::rename(at.join("blobs"), at.join("elsewhere")).unwrap();
            symlink("elsewhere", at.join("blobs")).unwrap();
        }),
        ("not a regular file", |_, blob| {
            fs::remove_file(blob).unwrap();
            nix::unistd::mkfifo(blob, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
        ("has no file `oci-layout`", |at, _| fs::remove_file(at.join(MARKER)).unwrap()),
        ("more than the limit", |at, _| fs::write(at.join(MARKER), vec![b' '; MAX_MARKER + 1]).unwrap()),
        ("more than the limit", |at, _| {
            File::create(at.join(INDEX)).unwrap().set_len(1 << 40).unwrap();
        }),
    ];
    for (words, change) in changes {
        let place = tempfile::tempdir().unwrap();
        let at = folder(place.path());
        change(&at, &at.join(&blob));
        let error = Layout::in_folder(&at).and_then(|layout| read(&layout)).unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}

#[test]
fn forms_are_told_apart() {
    let config = br#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["l.tar"]}]"#;
    let docker = [(docker_archive::MANIFEST, &config[..]), ("c.json", b"{}"), ("l.tar", b"tar")];
    let Images::Docker(found) = open_archive(archive(&docker), "x").unwrap() else { panic!() };
    assert_eq!(found.config(&found.images[0], 10).unwrap(), b"{}");
    assert!(matches!(found.config(&found.images[0], 1), Err(Error::TooLarge { .. })));
    let mut bytes = Vec::new();
    found.layer("l.tar").unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"tar");
    assert!(matches!(found.layer("../l.tar"), Err(Error::Missing { .. })));

    let index = br#"{"schemaVersion":2,"manifests":[]}"#;
    let both = [(MARKER, layout::MARKER_TEXT.as_bytes()), (INDEX, index), docker[0]];
    assert!(matches!(open_archive(archive(&both), "x"), Ok(Images::Layout(_))));
    assert!(matches!(open_archive(archive(&[("etc/passwd", b"x")]), "x"), Err(Error::NoForm { .. })));
}

#[test]
fn a_file_cut_while_it_is_read_is_an_error() {
    let mut file = archive(&[(docker_archive::MANIFEST, b"[]"), ("l", &[7; 600])]);
    let handle = file.try_clone().unwrap();
    let archive = DockerArchive::open(handle, "x").unwrap();
    let mut layer = archive.layer("l").unwrap();
    file.set_len(512 * 3 + 100).unwrap();
    file.flush().unwrap();
    assert!(layer.read_to_end(&mut Vec::new()).is_err());
}
