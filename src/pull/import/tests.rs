//! Images from files: what is good comes in as from a registry, what is not leaves nothing.

use std::fs;
use std::io::Seek;
use std::path::PathBuf;

use super::super::tests::{Place, Sample, Told, descriptor, gzip};
use super::*;
use crate::oci::layout::{IMAGE_NAME, INDEX, MARKER, MARKER_TEXT, REF_NAME, blob_path};
use crate::oci::media_type::{OCI_INDEX, OCI_MANIFEST};

fn platform() -> Platform {
    "linux/amd64".parse().unwrap()
}

/// Members of an archive; a body of `-> NAME` makes a symbolic link.
type Members = Vec<(String, Vec<u8>)>;

fn archive(members: &Members) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = ::tar::Header::new_gnu();
        header.set_mode(0o644);
        if let Some(target) = bytes.strip_prefix(b"-> ") {
            header.set_entry_type(::tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, name, std::str::from_utf8(target).unwrap()).unwrap();
        } else {
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, &**bytes).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

/// What `docker save` would make of it; the second of two layers alike is a link to the first.
fn docker(sample: &Sample, names: &str) -> Members {
    let mut members = vec![("c.json".to_owned(), sample.config.clone().into_bytes())];
    let mut layers = Vec::new();
    for (number, (_, tar)) in sample.layers.iter().enumerate() {
        let first = sample.layers.iter().position(|(_, other)| other == tar).unwrap();
        let bytes =
            if first < number { format!("-> ../{first}/layer.tar").into_bytes() } else { tar.clone() };
        members.push((format!("{number}/layer.tar"), bytes));
        layers.push(format!("\"{number}/layer.tar\""));
    }
    let manifest = format!(r#"[{{"Config":"c.json","RepoTags":{names},"Layers":[{}]}}]"#, layers.join(","));
    members.push(("manifest.json".to_owned(), manifest.into_bytes()));
    members
}

/// A layout of several images, each with the annotations its entry gets.
fn layout(images: &[(&Sample, &str)]) -> Members {
    let mut members = vec![(MARKER.to_owned(), MARKER_TEXT.as_bytes().to_vec())];
    let mut entries = Vec::new();
    for (sample, annotations) in images {
        let manifest = sample.manifest.as_bytes();
        let blobs = sample.layers.iter().map(|(blob, _)| blob.as_slice());
        for blob in blobs.chain([sample.config.as_bytes(), manifest]) {
            members.push((blob_path(&Digest::of(blob)), blob.to_vec()));
        }
        let entry = descriptor(OCI_MANIFEST, manifest);
        entries.push(entry.replace('}', &format!(r#","annotations":{annotations}}}"#)));
    }
    members.sort();
    members.dedup();
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
    members.push((INDEX.to_owned(), index.into_bytes()));
    members
}

impl Place {
    fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join("x.tar");
        fs::write(&path, bytes).unwrap();
        path
    }

    fn import(&self, form: Form, bytes: &[u8]) -> Result<Pulled, Error> {
        let source = Source { form, path: self.file(bytes), name: None };
        import(&self.store, &source, &platform(), &self.told)
    }

    /// Neither an image, nor a name, nor anything half-made.
    fn holds_no_image(&self) -> bool {
        let store = self.folder.path().join("store");
        ["images/sha256", "refs", "staging"]
            .iter()
            .all(|folder| store.join(folder).read_dir().unwrap().next().is_none())
    }

    /// Names and digests of what was loaded.
    fn load(&self, bytes: &[u8], names: &Names<'_>) -> Result<Vec<(Vec<String>, Digest)>, Error> {
        let input = self.file(bytes);
        let loaded =
            load(&self.store, Input::Path(&input), "x", names, &platform(), &|_: &str| Told::default())?;
        Ok(loaded.into_iter().map(|image| (image.names, image.pulled.manifest_digest)).collect())
    }
}

#[test]
fn a_docker_archive_comes_in_whole() {
    let sample = Sample::new(&[("a", 70_000), ("b", 5), ("a", 70_000)]);
    let place = Place::new();
    let mut bytes = docker(&sample, "null");
    let pulled = place.import(Form::DockerArchive, &archive(&bytes)).unwrap();
    assert_eq!((pulled.layers_fetched, pulled.unchanged), (2, false));
    let image = place.store.image(&pulled.manifest_digest).unwrap().unwrap();
    assert_eq!(image.layers, sample.layers.iter().map(|(_, tar)| Digest::of(tar)).collect::<Vec<_>>());
    assert_eq!(image.config, sample.config.as_bytes());
    assert!(place.import(Form::DockerArchive, &archive(&bytes)).unwrap().unchanged);

    // however the layers are packed, it is the same image
    bytes[2].1 = gzip(&bytes[2].1);
    let other = Place::new();
    let again = other.import(Form::DockerArchive, &gzip(&archive(&bytes))).unwrap();
    assert_eq!(again.manifest_digest, pulled.manifest_digest);
}

#[test]
fn a_layout_comes_in_whole() {
    let sample = Sample::new(&[("a", 70_000), ("b", 5)]);
    let digest = Digest::of(sample.manifest.as_bytes());
    let bytes = archive(&layout(&[(&sample, "null")]));
    let place = Place::new();
    let pulled = place.import(Form::Archive, &bytes).unwrap();
    assert_eq!((pulled.manifest_digest, pulled.layers_fetched), (digest, 2));
    assert!(place.import(Form::Archive, &bytes).unwrap().unchanged);
    // packed as a whole, and through a pipe
    let other = Place::new();
    assert_eq!(other.import(Form::Archive, &gzip(&bytes)).unwrap().manifest_digest, digest);
    let (read, write) = nix::unistd::pipe().unwrap();
    let feed = std::thread::spawn(move || std::io::Write::write_all(&mut File::from(write), &bytes));
    let names = Names { fallback: Some("f"), ..Names::default() };
    let loaded =
        load(&Place::new().store, Input::Stream(read.into()), "x", &names, &platform(), &|_: &str| {
            Told::default()
        });
    assert_eq!(loaded.unwrap()[0].pulled.manifest_digest, digest);
    feed.join().unwrap().unwrap();
}

#[test]
fn what_is_wrong_leaves_nothing() {
    let sample = Sample::new(&[("a", 50_000), ("b", 10)]);
    let alien = sample.clone().on("sparc64");
    let changed = |mut members: Members, name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let found = members.iter_mut().find(|(member, _)| member == name).unwrap();
        change(&mut found.1);
        archive(&members)
    };
    let without = |mut members: Members, name: &str| {
        members.retain(|(member, _)| member != name);
        archive(&members)
    };
    let (docker, layout) = (docker(&sample, "null"), layout(&[(&sample, "null")]));
    let blob = blob_path(&Digest::of(&sample.layers[0].0));
    let manifest = blob_path(&Digest::of(sample.manifest.as_bytes()));
    let flip = |bytes: &mut Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    let text = |from: &'static str, to: &'static str| {
        move |bytes: &mut Vec<u8>| {
            *bytes = String::from_utf8(bytes.clone()).unwrap().replace(from, to).into_bytes();
        }
    };
    let cut = archive(&layout);
    let index = |media_type: &str, target: &[u8]| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#,
            descriptor(media_type, target)
        )
    };
    let inner = index(OCI_INDEX, b"");
    let outer = index(OCI_INDEX, inner.as_bytes())
        .replace("\"size\"", "\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"},\"size\"");
    let top = index(OCI_INDEX, outer.as_bytes());
    let nested = [(MARKER.to_owned(), MARKER_TEXT.as_bytes().to_vec()), (INDEX.to_owned(), top.into_bytes())];
    let nested = nested
        .into_iter()
        .chain([inner, outer].map(|text| (blob_path(&Digest::of(text.as_bytes())), text.into_bytes())));
    for (words, form, bytes) in [
        ("the layer's digest is", Form::DockerArchive, changed(docker.clone(), "0/layer.tar", &flip)),
        ("has no file `0/layer.tar`", Form::DockerArchive, without(docker.clone(), "0/layer.tar")),
        ("has no file `c.json`", Form::DockerArchive, without(docker.clone(), "c.json")),
        (
            "1 layers, its configuration 2",
            Form::DockerArchive,
            changed(docker.clone(), "manifest.json", &text(",\"1/layer.tar\"", "")),
        ),
        (
            "no image in it",
            Form::DockerArchive,
            changed(docker, "manifest.json", &|bytes| *bytes = b"[]".into()),
        ),
        ("has no file `manifest.json`", Form::DockerArchive, archive(&layout)),
        ("has the digest", Form::Archive, changed(layout.clone(), &blob, &flip)),
        ("bytes, not", Form::Archive, changed(layout.clone(), &blob, &|bytes| bytes.push(0))),
        ("has the digest", Form::Archive, changed(layout.clone(), &manifest, &text("\"size\"", "\"sIze\""))),
        ("has no file `blobs/", Form::Archive, without(layout.clone(), &blob)),
        (
            "limit of 4194304",
            Form::Archive,
            changed(layout.clone(), INDEX, &text("\"size\":", "\"size\":99999999")),
        ),
        ("is cut off", Form::Archive, cut[..cut.len() - 3000].to_vec()),
        (
            "not for linux/amd64, only for linux/sparc64",
            Form::Archive,
            archive(&self::layout(&[(&alien, "null")])),
        ),
        ("it is not for linux/amd64", Form::Archive, archive(&nested.collect())),
    ] {
        let place = Place::new();
        let error = place.import(form, &bytes).unwrap_err();
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        assert!(text.contains(words), "{words}: {text}");
        // layers that were whole stay for the next try
        assert!(place.holds_no_image(), "{words}");
    }
}

#[test]
fn names_of_what_is_loaded() {
    let samples = [Sample::new(&[("a", 10)]), Sample::new(&[("b", 10)])];
    let said = |bytes: &[u8], name: Option<&str>, fallback: Option<&str>| {
        let name = name.map(|name| name.parse().unwrap());
        let names = Names { name: name.as_ref(), fallback };
        match Place::new().load(bytes, &names) {
            Ok(loaded) => loaded.into_iter().flat_map(|(names, _)| names).collect::<Vec<_>>().join(" "),
            Err(error) => error.why.to_string(),
        }
    };
    let annotated = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!(r#""{key}":"{value}""#)).collect();
        format!("{{{}}}", pairs.join(","))
    };
    let one = |pairs: &[(&str, &str)]| archive(&layout(&[(&samples[0], &annotated(pairs))]));
    let two = archive(&layout(&[
        (&samples[0], &annotated(&[(REF_NAME, "x.example/a:1")])),
        (&samples[1], &annotated(&[(REF_NAME, "x.example/b:1")])),
    ]));
    // whatever digest a file gives a name, it proves nothing
    let digest = Digest::of(b"trusted");
    let (pinned, untagged) = (format!("x.example/a:1@{digest}"), format!("x.example/a@{digest}"));
    for (bytes, name, fallback, expected) in [
        (one(&[(REF_NAME, "docker.io/library/a:1")]), None, None, "docker.io/library/a:1"),
        (one(&[(REF_NAME, "1"), (IMAGE_NAME, "docker.io/library/a:1")]), None, None, "docker.io/library/a:1"),
        (one(&[(REF_NAME, "a:1")]), Some("b:2"), None, "docker.io/library/b:2"),
        (one(&[(REF_NAME, "v1")]), None, Some("file"), "localhost/file:v1"),
        (one(&[]), None, Some("file"), "localhost/file:latest"),
        (one(&[]), None, None, "the image in it has no name"),
        (one(&[(REF_NAME, "../../x:1")]), None, None, "the image in it has no name"),
        (one(&[(REF_NAME, &pinned)]), None, None, "x.example/a:1"),
        (one(&[(IMAGE_NAME, &untagged)]), None, Some("file"), "the image in it has no name"),
        (one(&[(IMAGE_NAME, &untagged)]), Some("b:2"), None, "docker.io/library/b:2"),
        (archive(&docker(&samples[0], &format!(r#"["{pinned}"]"#))), None, None, "x.example/a:1"),
        (two.clone(), None, None, "x.example/a:1 x.example/b:1"),
        (two, Some("a:1"), None, "there are 2 images in it, and one name"),
        (
            archive(&docker(&samples[0], r#"["a:1","b:2"]"#)),
            None,
            None,
            "docker.io/library/a:1 docker.io/library/b:2",
        ),
        (archive(&docker(&samples[0], "null")), None, Some("file"), "localhost/file:latest"),
        (archive(&docker(&samples[0], "null")), Some("c"), None, "docker.io/library/c:latest"),
    ] {
        assert_eq!(said(&bytes, name, fallback), expected);
    }
}

#[test]
fn a_file_read_half_is_read_from_there() {
    let sample = Sample::new(&[("a", 10)]);
    let bytes = archive(&layout(&[(&sample, "null")]));
    let place = Place::new();
    let mut file = File::open(place.file(&[b"front".as_slice(), &bytes].concat())).unwrap();
    file.seek(std::io::SeekFrom::Start(5)).unwrap();
    let names = Names { fallback: Some("f"), ..Names::default() };
    load(&place.store, Input::Stream(file), "x", &names, &platform(), &|_: &str| Told::default()).unwrap();
}
