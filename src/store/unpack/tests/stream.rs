//! The stream as a whole: readers, digests, full disks.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use nix::errno::Errno;

use super::{Place, refused, unpacked};
use crate::oci::digest::Digest;
use crate::store::Error;
use crate::store::archive::Archive;
use crate::store::listing::{append, append_records, header, layer};
use crate::store::unpack::Fault;
use crate::sys;

#[test]
fn all_bytes_count_to_the_end() {
    let mut tar = layer("f 644 a x");
    let short = tar.clone();
    tar.extend_from_slice(&[b'j'; 700_000]);
    let place = Place::new();
    let meta = place.unpack(&tar).unwrap();
    assert_eq!((meta.diff_id, meta.tar_bytes), (Digest::of(&tar), tar.len() as u64));
    assert_ne!(meta.diff_id, Digest::of(&short));
}

/// Go's reader needs no padding after the last body, so some writers leave it out.
#[test]
fn the_last_padding_may_be_missing() {
    let whole = layer("f 644 a x\nf 644 b 0123456789");
    let end = whole.len() - 1024 - (512 - 10);
    for padding in [0, 1, 501] {
        assert_eq!(unpacked(&whole[..end + padding]), "f 644 a x\nf 644 b 0123456789", "{padding}");
    }
    assert!(refused(&whole[..end - 1]).contains("the archive is cut off"), "bytes of the file are missing");
    assert!(refused(&whole[..512 + 200 + 512]).contains("cut off"), "a header is cut");
    // an entry that records are about must follow them, padding or not
    let mut tar = layer("f 644 a x");
    tar.truncate(tar.len() - 1024);
    append_records(&mut tar, b'x', &[(b"path", b"b")]);
    assert!(refused(&tar[..tar.len() - 300]).contains("an entry should follow"));
}

#[test]
fn bodies_of_all_sizes_through_readers_of_all_kinds() {
    /// Gives a few bytes at a time, and is interrupted now and then.
    struct Drip<'a>(&'a [u8], usize);
    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = (self.1 * 7 + 3) % 10_007;
            if self.1.is_multiple_of(5) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let end = buffer.len().min(self.1 + 1);
            self.0.read(&mut buffer[..end])
        }
    }
    let sizes = [0, 1, 511, 512, 513, 524_287, 524_288, 524_289, 1_500_000];
    let content = |size: usize| (0..size).map(|at| (at * 31 % 251) as u8).collect::<Vec<u8>>();
    let mut tar = Vec::new();
    for size in sizes {
        append(&mut tar, header(b'0', 0o644, size.to_string().as_bytes()), &content(size));
    }
    let place = Place::new();
    let hold = place.store.hold(&mut |_| {}).unwrap();
    let lock = place.store.take_layer(&hold, &Digest::of(&tar));
    let staged = place.store.unpack_layer(&lock, Drip(&tar, 1)).unwrap();
    let meta = place.store.publish_layer(staged).unwrap();
    for size in sizes {
        let found = fs::read(place.store.layer_tree(&meta.diff_id).join(size.to_string())).unwrap();
        assert!(found == content(size), "{size}");
    }
    assert_eq!(meta.tally.bytes, sizes.iter().sum::<usize>() as u64);
}

#[test]
fn a_failing_reader_comes_back_untouched() {
    struct Broken(usize);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or_else(|| io::Error::other("the registry went away"))?;
            let tar = layer("d 755 d");
            buffer[..512].copy_from_slice(&tar[..512]);
            Ok(512)
        }
    }
    let place = Place::new();
    let hold = place.store.hold(&mut |_| {}).unwrap();
    let lock = place.store.take_layer(&hold, &Digest::of(b""));
    match place.store.unpack_layer(&lock, Broken(3)) {
        Err(Error::Input(error)) => assert_eq!(error.to_string(), "the registry went away"),
        other => panic!("{other:?}"),
    }
    drop(lock);
    assert_eq!(fs::read_dir(place.store.staging()).unwrap().count(), 0);
}

#[test]
fn only_what_the_digest_confirms_is_published() {
    let place = Place::new();
    let tar = layer("f 644 a x");
    let hold = place.store.hold(&mut |_| {}).unwrap();
    let named = Digest::of(b"something else");
    let lock = place.store.take_layer(&hold, &named);
    let staged = place.store.unpack_layer(&lock, &tar[..]).unwrap();
    let error = place.store.publish_layer(staged).unwrap_err().to_string();
    assert_eq!(error, format!("the layer's digest is {}, not {named}", Digest::of(&tar)));
    drop(lock);
    assert!(!place.store.has_layer(&named) && !place.store.has_layer(&Digest::of(&tar)));
    assert_eq!(fs::read_dir(place.store.staging()).unwrap().count(), 0);
}

#[test]
fn a_full_disk_is_named() {
    let tar = layer("f 644 a x");
    let entry = Archive::new(&tar[..]).next().unwrap().unwrap();
    for errno in [Errno::ENOSPC, Errno::EDQUOT] {
        let call = sys::Error { call: "write", args: String::new(), errno };
        let error = Fault::Call(call).of(&entry, Path::new("/store"));
        assert_eq!(error.to_string(), "no space left on /store");
        assert!(error.hint().is_some());
    }
}

/// What follows an archive counts for its digest and is kept, but as little as it is worth.
#[test]
fn zeros_without_end_take_no_room() {
    let place = Place::new();
    let hold = place.store.hold(&mut |_| {}).unwrap();
    let lock = place.store.take_layer(&hold, &Digest::of(b""));
    let tar = layer("f 644 a x");
    let staged = place.store.unpack_layer(&lock, tar[..].chain(io::repeat(0).take(256 << 20))).unwrap();
    let framing = place.store.staging().join(format!("{}.new/framing", Digest::of(b"").hex()));
    let size = fs::metadata(framing).unwrap().len();
    assert!(size < 100_000, "{size}");
    assert_eq!(staged.meta.tar_bytes, (256 << 20) + 2048);
}
