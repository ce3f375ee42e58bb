//! PAX records: `LENGTH KEY=VALUE\n`, values of any bytes.

use nix::sys::time::TimeSpec;

use super::sparse::Keys;
use crate::store::error::shown;

/// What the records before an entry say of it. An empty value says nothing, but for an attribute.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) target: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) modified: Option<TimeSpec>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Option<Keys>,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Records, String> {
    let mut records = Records::default();
    each(bytes, |key, value| {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            if name.is_empty() || name.contains(&0) {
                return None;
            }
            records.xattrs.push((name.to_owned(), value.to_owned()));
            return Some(());
        }
        if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            return records.sparse.get_or_insert_default().set(key, value);
        }
        let some = !value.is_empty();
        match key {
            b"path" => records.path = some.then(|| value.to_owned()),
            b"linkpath" => records.target = some.then(|| value.to_owned()),
            b"size" => records.size = optional(value, size)?,
            b"uid" => records.uid = optional(value, id)?,
            b"gid" => records.gid = optional(value, id)?,
            b"mtime" => records.modified = optional(value, time)?,
            _ => {}
        }
        Some(())
    })?;
    Ok(records)
}

/// Global records speak of all later entries. Those that would name or measure them have no place in a layer;
/// the rest (comments, mostly) is passed over.
pub(super) fn check_global(bytes: &[u8]) -> Result<(), String> {
    each(bytes, |key, _| match key {
        b"path" | b"linkpath" | b"size" => None,
        key if key.starts_with(b"GNU.sparse.") => None,
        _ => Some(()),
    })
    .map_err(|why| format!("{why} (global)"))
}

/// Calls `take` for each record; its `None` refuses one.
fn each(mut bytes: &[u8], mut take: impl FnMut(&[u8], &[u8]) -> Option<()>) -> Result<(), String> {
    while !bytes.is_empty() {
        let record = split(bytes);
        let taken = record.and_then(|(key, value, rest)| take(key, value).map(|()| rest));
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        bytes = taken.ok_or_else(|| format!("refused PAX record `{}`", shown(&bytes[..end])))?;
    }
    Ok(())
}

/// Key and value of the first record, and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    (equals > 0).then(|| (&record[..equals], &record[equals + 1..], &bytes[length..]))
}

fn optional<T>(value: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
    if value.is_empty() { Some(None) } else { parse(value).map(Some) }
}

pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn size(value: &[u8]) -> Option<u64> {
    decimal(value).filter(|size| i64::try_from(*size).is_ok())
}

fn id(value: &[u8]) -> Option<u32> {
    u32::try_from(decimal(value)?).ok()
}

/// Seconds with an optional sign and fraction; what is finer than a nanosecond is cut.
fn time(value: &[u8]) -> Option<TimeSpec> {
    const BILLION: i64 = 1_000_000_000;
    let (negative, value) = value.strip_prefix(b"-").map_or((false, value), |rest| (true, rest));
    let dot = value.iter().position(|byte| *byte == b'.').unwrap_or(value.len());
    let seconds = i64::try_from(decimal(&value[..dot])?).ok()?;
    let mut nanos = 0;
    let fraction = value.get(dot + 1..).unwrap_or_default();
    if !fraction.is_empty() {
        decimal(&fraction[..1]).filter(|_| fraction.iter().all(u8::is_ascii_digit))?;
        let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
        nanos = digits.fold(0, |nanos, digit| nanos * 10 + i64::from(digit - b'0'));
    }
    Some(match (negative, nanos) {
        (false, _) => TimeSpec::new(seconds, nanos),
        (true, 0) => TimeSpec::new(-seconds, 0),
        (true, _) => TimeSpec::new(-seconds - 1, BILLION - nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_bytes() {
        let records =
            parse(b"12 path=a\nb\n33 SCHILY.xattr.user.x=\0\n12 a=b\xff\n8 path=\n12 mtime=-1\n10 uid=12\n");
        let records = records.unwrap();
        assert_eq!(records.path, None, "the last, empty one takes the first away");
        assert_eq!(records.xattrs, [(b"user.x".to_vec(), b"\0\n12 a=b\xff".to_vec())]);
        assert_eq!((records.uid, records.gid), (Some(12), None));
    }

    #[test]
    fn malformed() {
        for bad in [
            &b"x"[..],
            b"6 a=b",
            b"6 a=b\n6 a=b",
            b"7 a=b\n",
            b"5 a=b\n",
            b"6 =ab\n",
            b"6 abc\n",
            b"-6 a=b\n",
            b"99999999999999999999999 a=b\n",
            b"18446744073709551615 a=b\n",
            b"10 size=-\n",
            b"11 size=-1\n",
            b"12 size=0x1\n",
            b"28 size=9223372036854775808\n",
            b"15 uid=4294967296\n",
            b"12 mtime=1.x\n",
            b"17 SCHILY.xattr.=\n",
        ] {
            assert!(parse(bad).is_err(), "{:?}", bad.escape_ascii().to_string());
        }
    }

    #[test]
    fn global() {
        check_global(b"52 comment=0123456789012345678901234567890123456789\n").unwrap();
        check_global(b"19 SCHILY.xattr.a=b\n").unwrap_err();
        for bad in [&b"10 path=x\n"[..], b"14 linkpath=x\n", b"10 size=1\n", b"21 GNU.sparse.size=1\n"] {
            assert!(check_global(bad).unwrap_err().contains("(global)"));
        }
    }

    #[test]
    fn times() {
        for (text, seconds, nanos) in [
            ("0", 0, 0),
            ("1350244992.023960108", 1_350_244_992, 23_960_108),
            ("1.5", 1, 500_000_000),
            ("1.1234567899", 1, 123_456_789),
            ("-1", -1, 0),
            ("-1.5", -2, 500_000_000),
            ("-0.25", -1, 750_000_000),
            ("5.", 5, 0),
        ] {
            assert_eq!(time(text.as_bytes()), Some(TimeSpec::new(seconds, nanos)), "{text}");
        }
        for bad in ["", "-", ".", "1.-", "1e5", "99999999999999999999", "--1", "1.2.3"] {
            assert_eq!(time(bad.as_bytes()), None, "{bad}");
        }
    }
}
