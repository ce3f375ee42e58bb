//! The tar archive within a layer's blob, however it is compressed.

use std::io::{self, BufRead, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use crate::fetch;
use crate::layout;
use crate::oci::media_type::Compression;

/// Largest window of a zstd frame, as a power of two: what `zstd` itself takes without being told otherwise.
const MAX_WINDOW_LOG: u32 = 27;

/// The blob with its first bytes, which were looked at, in front again.
type Whole<R> = Chain<Cursor<Vec<u8>>, R>;

/// Reads the uncompressed layer off `R`. What follows the compressed data but is none, a cut stream and a wrong
/// checksum are errors.
pub(super) enum Decoder<R: BufRead> {
    Plain(Whole<R>),
    Gzip(Box<MultiGzDecoder<Whole<R>>>),
    Zstd(zstd::Decoder<'static, Whole<R>>),
}

impl<R: BufRead> Decoder<R> {
    /// Looks at the first bytes to learn the compression.
    pub(super) fn new(mut blob: R) -> io::Result<Self> {
        let mut head = Vec::with_capacity(4);
        (&mut blob).take(4).read_to_end(&mut head)?;
        let compression = Compression::of_bytes(&head);
        let whole = Cursor::new(head).chain(blob);
        Ok(match compression {
            Compression::None => Self::Plain(whole),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(whole))),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(whole)?;
                decoder.window_log_max(MAX_WINDOW_LOG)?;
                Self::Zstd(decoder)
            }
        })
    }

    fn blob(&mut self) -> &mut R {
        match self {
            Self::Plain(whole) => whole,
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        }
        .get_mut()
        .1
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self {
            Self::Plain(whole) => whole.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        };
        read.map_err(|error| {
            if error.get_ref().is_some_and(|inner| inner.is::<fetch::Error>() || inner.is::<layout::Error>())
            {
                return error;
            }
            // damaged on the way, or made so? The blob's digest tells, and is the better reason
            io::copy(self.blob(), &mut io::sink()).err().unwrap_or(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(blob: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // pieces smaller than the magic numbers
        Decoder::new(BufReader::with_capacity(3, blob))?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn all_forms() {
        let text = b"some text, some text, some text".repeat(100);
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
        for blob in [
            text.clone(),
            gzip(&text),
            [gzip(&text[..9]), gzip(b""), gzip(&text[9..])].concat(),
            zstd(&text),
            [zstd(&text[..9]), b"\x50\x2a\x4d\x18\x02\0\0\0xx".to_vec(), zstd(&text[9..])].concat(),
            [b"\x5f\x2a\x4d\x18\x01\0\0\0x".to_vec(), zstd(&text)].concat(),
        ] {
            assert!(decode(&blob).unwrap() == text, "{:?}", &blob[..4]);
        }
        assert_eq!(decode(b"").unwrap(), b"");
        assert_eq!(decode(b"a").unwrap(), b"a");
    }

    #[test]
    fn broken_forms() {
        let (gz, zs) = (gzip(b"some text"), zstd::encode_all(&b"some text"[..], 3).unwrap());
        let mut sum = gz.clone();
        let at = sum.len() - 6;
        sum[at] ^= 1;
        for (what, blob) in [
            ("cut in the header", gz[..5].to_vec()),
            ("cut in the data", gz[..14].to_vec()),
            ("cut in the trailer", gz[..gz.len() - 1].to_vec()),
            ("wrong checksum", sum),
            ("zeros behind", [&gz[..], &[0; 9]].concat()),
            ("one byte behind", [&gz[..], &[7]].concat()),
            ("text behind", [&gz[..], b"<script>alert()</script>"].concat()),
            ("half a member behind", [&gz[..], &gz[..12]].concat()),
            ("cut zstd", zs[..zs.len() - 1].to_vec()),
            ("text behind zstd", [&zs[..], b"text"].concat()),
            ("window of 2 GiB", b"\x28\xb5\x2f\xfd\x00\xa8\x01\0\0".to_vec()),
        ] {
            assert!(decode(&blob).is_err(), "{what}");
        }
    }
}
