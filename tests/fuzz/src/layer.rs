//! Layers of any bytes: refused or unpacked, and what was unpacked gives its bytes back and is found sound.
//!
//! Checksums of headers are set right first, or else hardly any input would come past the first block.

#![no_main]

mod store;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut tar = data.to_vec();
    mend(&mut tar);
    store::unpack(&tar);
});

/// Goes from header to header and sets the checksums.
fn mend(tar: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = tar.get_mut(at..at + 512) {
        if header.iter().any(|byte| *byte != 0) {
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
        let digits: Vec<u8> = header[124..136].iter().copied().filter(u8::is_ascii_digit).collect();
        let size = std::str::from_utf8(&digits).ok().and_then(|digits| usize::from_str_radix(digits, 8).ok());
        let body = size.unwrap_or(0).min(1 << 20).next_multiple_of(512);
        at += 512 + body;
    }
}
