//! Files with holes, in all four forms.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use super::{Place, refused};
use crate::store::listing::{append, append_records, header};

#[test]
fn sparse_files_keep_their_holes() {
    let data = vec![b'x'; 4096];
    let size = 8u64 << 40;
    let tera = size.to_string();
    let form_1 = |map: &str, data: &[u8]| {
        let mut body = map.as_bytes().to_vec();
        body.resize(body.len().next_multiple_of(512), 0);
        body.extend_from_slice(data);
        body
    };
    let pax = |records: &[(&[u8], &[u8])], body: &[u8]| {
        let mut tar = Vec::new();
        append_records(&mut tar, b'x', records);
        append(&mut tar, header(b'0', 0o644, b"GNUSparseFile.0/s"), body);
        append(&mut tar, header(b'0', 0o644, b"after"), b"y");
        tar
    };
    let form_0_0 = pax(
        &[
            (b"GNU.sparse.numblocks", b"2"),
            (b"GNU.sparse.size", tera.as_bytes()),
            (b"path", b"s"),
            (b"GNU.sparse.offset", b"4096"),
            (b"GNU.sparse.numbytes", b"4096"),
            (b"GNU.sparse.offset", b"8796093022208"),
            (b"GNU.sparse.numbytes", b"0"),
        ],
        &data,
    );
    let form_0_1 = pax(
        &[
            (b"GNU.sparse.size", tera.as_bytes()),
            (b"GNU.sparse.map", b"4096,4096,8796093022208,0"),
            (b"GNU.sparse.name", b"s"),
        ],
        &data,
    );
    let keys_1_0: [(&[u8], &[u8]); 4] = [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", b"s"),
        (b"GNU.sparse.realsize", tera.as_bytes()),
    ];
    let form_1_0 = pax(&keys_1_0, &form_1("2\n4096\n4096\n8796093022208\n0\n", &data));
    for tar in [form_0_0, form_0_1, form_1_0, old_gnu_sparse(size, &[(4096, 4096)], &data)] {
        let place = Place::new();
        let root = place.tree(&tar);
        let found = fs::metadata(root.join("s")).unwrap();
        assert_eq!(found.len(), size);
        assert!(found.blocks() <= 64, "{} blocks", found.blocks());
        let mut head = vec![0; 12288];
        fs::File::open(root.join("s")).unwrap().read_exact(&mut head).unwrap();
        assert_eq!(head, [vec![0; 4096], data.clone(), vec![0; 4096]].concat());
        assert_eq!(fs::read(root.join("after")).unwrap(), b"y");
    }
    for (map, words) in [
        ("1\n0\n5000\n", "do not add up"),
        ("1\n8796093022208\n4096\n", "beyond its end"),
        ("2\n4096\n2048\n0\n2048\n", "overlap"),
        ("2\n0\n4096\n", "map is malformed"),
        ("x\n", "map is malformed"),
        ("99999999999999999999\n", "map is malformed"),
        ("1\n18446744073709551615\n4096\n", "map is malformed"),
    ] {
        let error = refused(&pax(&keys_1_0, &form_1(map, &data)));
        assert!(error.contains(words), "{map}: {error}");
    }
    let many = format!("1000000\n{}", "0\n0\n".repeat(300_000));
    assert!(refused(&pax(&keys_1_0, &form_1(&many, &[]))).contains("too many segments"));
    let exa = (1u64 << 63).to_string();
    let huge = pax(&[(b"GNU.sparse.size", exa.as_bytes()), (b"GNU.sparse.map", b"0,0")], b"");
    assert!(refused(&huge).contains("has a size of 9223372036854775808 bytes, more than"));
}

#[test]
fn old_sparse_maps_of_many_blocks() {
    let segments: Vec<(u64, u64)> = (0..60).map(|n| (n * 8192, 1)).collect();
    let data: Vec<u8> = (0..60).map(|n| b'A' + n).collect();
    let place = Place::new();
    let root = place.tree(&old_gnu_sparse(60 * 8192, &segments, &data));
    let content = fs::read(root.join("s")).unwrap();
    assert_eq!(content.len(), 60 * 8192);
    assert!(
        content
            .chunks(8192)
            .zip(&data)
            .all(|(chunk, byte)| chunk[0] == *byte && chunk[1..].iter().all(|byte| *byte == 0))
    );
    assert_eq!(fs::read(root.join("after")).unwrap(), b"y");
}

/// With its first four segments in the header and the others in blocks of their own.
fn old_gnu_sparse(size: u64, segments: &[(u64, u64)], data: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..1].copy_from_slice(b"s");
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(data.len() as u64);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.set_real_size(size);
    gnu.set_is_extended(segments.len() > 4);
    for (field, (offset, length)) in gnu.sparse.iter_mut().zip(segments) {
        field.set_offset(*offset);
        field.set_length(*length);
    }
    header.set_cksum();
    let mut tar = header.as_bytes().to_vec();
    let rest: Vec<_> = segments.iter().skip(4).collect();
    for (at, chunk) in rest.chunks(21).enumerate() {
        let mut more = tar::GnuExtSparseHeader::new();
        for (field, (offset, length)) in more.sparse_mut().iter_mut().zip(chunk) {
            field.set_offset(*offset);
            field.set_length(*length);
        }
        more.set_is_extended((at + 1) * 21 < rest.len());
        tar.extend_from_slice(more.as_bytes());
    }
    tar.extend_from_slice(data);
    tar.resize(tar.len().next_multiple_of(512), 0);
    append(&mut tar, self::header(b'0', 0o644, b"after"), b"y");
    tar
}
