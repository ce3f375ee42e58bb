//! Fields of a header block.

use tar::Header;

/// Numbers every header has.
pub(super) struct Fields {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) modified: i64,
}

/// The checksum, as the sum of unsigned bytes or, as some old writers had it, of signed ones.
pub(super) fn check(header: &Header) -> Result<(), &'static str> {
    let stated = number(&header.as_old().cksum)?;
    let (mut unsigned, mut signed) = (0, 0);
    for (at, byte) in header.as_bytes().iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { *byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    if stated == unsigned || stated == signed { Ok(()) } else { Err("a header's checksum is wrong") }
}

pub(super) fn size(header: &Header) -> Result<u64, &'static str> {
    u64::try_from(number(&header.as_old().size)?).map_err(|_| "a size is negative")
}

pub(super) fn fields(header: &Header) -> Result<Fields, &'static str> {
    let header = header.as_old();
    let id = |field| u32::try_from(number(field)?).map_err(|_| "an owner is out of range");
    Ok(Fields {
        mode: (number(&header.mode)? & 0o7777) as u32,
        uid: id(&header.uid)?,
        gid: id(&header.gid)?,
        modified: number(&header.mtime)?,
    })
}

/// Major and minor number.
pub(super) fn device(header: &Header) -> Result<(u32, u32), &'static str> {
    let Some(header) = header
        .as_ustar()
        .map(|header| (&header.dev_major, &header.dev_minor))
        .or_else(|| header.as_gnu().map(|header| (&header.dev_major, &header.dev_minor)))
    else {
        return Err("a device has no numbers");
    };
    let part = |field| u32::try_from(number(field)?).map_err(|_| "a device number is out of range");
    Ok((part(header.0)?, part(header.1)?))
}

/// Octal digits, or the GNU base-256 form for what those can't express.
pub(super) fn number(field: &[u8]) -> Result<i64, &'static str> {
    const BAD: &str = "a number in a header is malformed or too large";
    if let Some(&first) = field.first().filter(|first| **first & 0x80 != 0) {
        // two's complement, the highest bit being the mark of the form
        let negative = first & 0x40 != 0;
        let head = if negative { first } else { first & 0x7f };
        let mut value = i128::from(head.cast_signed());
        for byte in &field[1..] {
            value = value << 8 | i128::from(*byte);
        }
        return i64::try_from(value).map_err(|_| BAD);
    }
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let digits = &field[start..];
    let digits = &digits[..digits.iter().position(blank).unwrap_or(digits.len())];
    digits.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => Ok(value << 3 | i64::from(digit - b'0')),
        _ => Err(BAD),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"0000649\0", None),
            (b"-000001\0", None),
            (b"0x1f\0", None),
            (b"\x80\0\0\0\0\0\x01\x02", Some(0x102)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0\xbd\xc0", Some(-1_000_000)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", None),
            (b"\x80\0\0\0\xff\0\0\0\0\0\0\0", None),
        ] {
            assert_eq!(number(field).ok(), expected, "{field:?}");
        }
    }
}
