//! Records and malformed archives.

use super::{refused, unpacked};
use crate::store::listing::{append, append_records, header, layer};

#[test]
fn records_name_and_measure_the_next_entry() {
    // the size of the records counts, for the body and for where the next header is
    let mut tar = Vec::new();
    append_records(&mut tar, b'x', &[(b"size", b"600"), (b"path", b"long")]);
    let at = tar.len();
    append(&mut tar, header(b'0', 0o644, b"short"), &[b'x'; 600]);
    let mut head = header(b'0', 0o644, b"short");
    head.set_size(0);
    head.set_cksum();
    tar[at..at + 512].copy_from_slice(head.as_bytes());
    append(&mut tar, header(b'0', 0o644, b"after"), b"y");
    let text = unpacked(&tar);
    assert_eq!(text, format!("f 644 after y\nf 644 long {}", "x".repeat(600)));

    // GNU long names; a PAX size before them is the file's, not theirs
    let long = "a/".repeat(120) + "end";
    let mut tar = Vec::new();
    append_records(&mut tar, b'x', &[(b"size", b"2")]);
    append(&mut tar, header(b'L', 0o644, b"././@LongLink"), &[long.as_bytes(), b"\0"].concat());
    append(&mut tar, header(b'K', 0o644, b"././@LongLink"), &[long.as_bytes(), b"\0"].concat());
    append(&mut tar, header(b'0', 0o644, b"cut"), b"xy");
    append(&mut tar, header(b'2', 0o777, b"link"), b"");
    let link = tar.len() - 512;
    tar[link + 157..link + 160].copy_from_slice(b"abc");
    let mut fixed = tar::Header::from_byte_slice(&tar[link..]).clone();
    fixed.set_cksum();
    tar[link..].copy_from_slice(fixed.as_bytes());
    let text = unpacked(&tar);
    assert!(text.contains(&format!("f 644 {long} xy")), "{text}");
    assert!(text.ends_with("l link abc"), "a long target is the next entry's alone: {text}");
    let listing = format!("l link {long}\nf 644 {long} x");
    assert!(unpacked(&layer(&listing)).ends_with(&format!("l link {long}")));

    // global records are comments, or refused
    let global = |key: &[u8], value: &[u8]| {
        let mut tar = Vec::new();
        append_records(&mut tar, b'g', &[(key, value)]);
        append(&mut tar, header(b'0', 0o644, b"a"), b"x");
        tar
    };
    assert_eq!(unpacked(&global(b"comment", b"0123456789abcdef")), "f 644 a x");
    assert_eq!(unpacked(&global(b"SCHILY.xattr.user.note", b"x")), "f 644 a x");
    for key in [&b"path"[..], b"linkpath", b"size", b"GNU.sparse.map"] {
        let error = refused(&global(key, b"1"));
        assert!(error.contains("refused PAX record") && error.contains("(global)"), "{error}");
    }
    // a bodyless kind has none whatever its size says, as the other engines read it
    let mut tar = Vec::new();
    let mut head = header(b'5', 0o755, b"d/");
    head.set_size(4096);
    head.set_cksum();
    tar.extend_from_slice(head.as_bytes());
    append(&mut tar, header(b'0', 0o644, b"a"), b"x");
    assert_eq!(unpacked(&tar), "f 644 a x\nd 755 d");
    // before ustar a folder was a file with a slash
    let mut tar = Vec::new();
    let mut head = header(b'0', 0o755, b"d/");
    head.as_old_mut().linkflag = [0];
    append(&mut tar, head, b"");
    append(&mut tar, header(b'7', 0o644, b"d/contiguous"), b"x");
    assert_eq!(unpacked(&tar), "d 755 d\nf 644 d/contiguous x");
}

#[test]
fn malformed_archives_are_refused() {
    let good = layer("d 755 d\nf 644 d/a 0123456789");
    let broken = |at: usize, byte: u8| {
        let mut tar = good.clone();
        tar[at] = byte;
        refused(&tar)
    };
    assert_eq!(broken(0, b'x'), "malformed layer at byte 0: a header's checksum is wrong");
    assert_eq!(broken(512, b'x'), "malformed layer at byte 512: a header's checksum is wrong");
    assert!(refused(b"junk").contains("at byte 0: the archive is cut off"));
    assert!(refused(&[b'x'; 2048]).contains("at byte 0"));
    for length in [1, 511, 513, 1000, 1024, 1025, 1033] {
        let error = refused(&good[..length]);
        assert!(error.contains("the archive is cut off"), "{length}: {error}");
    }
    let resealed = |change: &dyn Fn(&mut tar::Header)| {
        let mut tar = good.clone();
        let mut header = tar::Header::from_byte_slice(&tar[512..1024]).clone();
        change(&mut header);
        header.set_cksum();
        tar[512..1024].copy_from_slice(header.as_bytes());
        refused(&tar)
    };
    assert!(
        resealed(&|header| header.as_old_mut().size = [0xff; 12]).contains("byte 512: a size is negative")
    );
    assert!(
        resealed(&|header| header.as_old_mut().size = *b"\x80\0\0\x01\0\0\0\0\0\0\0\0").contains("too large")
    );
    assert!(resealed(&|header| header.set_size(u64::MAX >> 1)).contains("the archive is cut off"));
    assert!(resealed(&|header| header.as_old_mut().size = *b"12x00000000\0").contains("malformed"));
    assert!(resealed(&|header| header.as_old_mut().mode = *b"rwxr-xr-").contains("malformed"));
    assert!(resealed(&|header| header.as_old_mut().uid = [0xff; 8]).contains("an owner is out of range"));
    assert!(
        resealed(&|header| header.as_old_mut().linkflag = [b'V'])
            .contains("`d/a` at byte 512 has the unsupported type `V`")
    );
    assert!(resealed(&|header| header.as_old_mut().linkflag = [b'S']).contains("no GNU header"));
    // a record of nothing, one too large, one cut off
    for (kind, size, words) in [
        (b'x', 2u64 << 20, "a name or record of 2097152 bytes is beyond the limit of 1048576"),
        (b'L', 1 << 40, "beyond the limit"),
        (b'g', 1 << 30, "beyond the limit"),
        (b'x', 1 << 20, "cut off"),
    ] {
        let mut head = header(kind, 0o644, b"x");
        head.set_size(size);
        head.set_cksum();
        let error = refused(head.as_bytes());
        assert!(error.contains(words), "{error}");
    }
    let mut tar = Vec::new();
    append(&mut tar, header(b'L', 0o644, b"x"), b"name\0");
    assert!(refused(&tar).contains("ends where an entry should follow"));
    tar.resize(tar.len() + 1024, 0);
    assert!(refused(&tar).contains("ends where an entry should follow"));
    let mut tar = Vec::new();
    append_records(&mut tar, b'x', &[(b"path", b"a"), (b"size", b"-1")]);
    append(&mut tar, header(b'0', 0o644, b"a"), b"x");
    assert!(refused(&tar).contains("byte 0: refused PAX record `11 size=-1`"), "{}", refused(&tar));
    let mut tar = vec![0; 512];
    append(&mut tar, header(b'0', 0o644, b"a"), b"x");
    assert!(refused(&tar).contains("a lone zero block"));
}
