//! Bytes without a library: names, numbers, and C strings put together in a fixed buffer.

use core::ffi::{CStr, c_char};

use crate::kernel;
use crate::notify;
use crate::root::fail;

const MAX_POINTERS: usize = 4096;

/// What a file begins with, as much as `bytes` takes; nothing of one that can't be read.
pub fn read<'a>(path: &CStr, bytes: &'a mut [u8]) -> &'a [u8] {
    let Ok(file) = kernel::open(path, 0) else { return b"" };
    let mut length = 0;
    while let Ok(read @ 1..) = notify::read(file, &mut bytes[length..]) {
        length += read;
    }
    kernel::close(file);
    &bytes[..length]
}

pub fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

pub fn number(digits: &[u8]) -> i32 {
    digits.iter().fold(0, |value: i32, digit| value.wrapping_mul(10).wrapping_add(i32::from(digit.wrapping_sub(b'0'))))
}

/// A growing C string of at most N bytes; what does not fit makes it unusable, never cut.
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    pub const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    pub fn add(&mut self, part: &[u8]) -> &mut Self {
        for byte in part {
            if self.len < N {
                self.bytes[self.len] = *byte;
            }
            self.len += 1;
        }
        self
    }

    pub fn add_number(&mut self, mut value: u32) -> &mut Self {
        let mut digits = [0; 10];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                return self.add(&digits[start..]);
            }
        }
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len.min(N)]
    }

    /// None when it does not fit.
    pub fn c_str(&mut self) -> Option<&CStr> {
        *self.bytes.get_mut(self.len)? = 0;
        CStr::from_bytes_with_nul(&self.bytes[..=self.len]).ok()
    }
}

/// A null-terminated array of C strings.
pub struct Pointers {
    pointers: [*const c_char; MAX_POINTERS],
    len: usize,
}

impl Pointers {
    pub const fn new() -> Self {
        Self { pointers: [core::ptr::null(); MAX_POINTERS], len: 0 }
    }

    pub fn push(&mut self, pointer: *const c_char) {
        if self.len + 1 >= MAX_POINTERS {
            fail(&[b"devbox: more than 4,000 arguments or variables"], 125);
        }
        self.pointers[self.len] = pointer;
        self.len += 1;
    }

    pub fn set(&mut self, index: usize, pointer: *const c_char) {
        self.pointers[index] = pointer;
    }

    /// The value of a variable that was pushed; `name` ends in `=`.
    pub fn get(&self, name: &[u8]) -> Option<&'static CStr> {
        // SAFETY: what was pushed are C strings that stay until a program is run.
        let mut entries = self.pointers[..self.len].iter().map(|entry| unsafe { CStr::from_ptr(*entry) });
        let value = entries.find_map(|entry| entry.to_bytes_with_nul().strip_prefix(name));
        value.and_then(|value| CStr::from_bytes_with_nul(value).ok())
    }

    /// Adds `NAME=value` unless the variable is there.
    ///
    /// # Safety
    /// `entry` is a C string that stays.
    pub unsafe fn push_variable(&mut self, entry: *const c_char) {
        // SAFETY: the caller's promise; those that are here came the same way.
        let name = |entry| unsafe { CStr::from_ptr(entry) }.to_bytes().split(|byte| *byte == b'=').next();
        if !self.pointers[..self.len].iter().any(|there| name(*there) == name(entry)) {
            self.push(entry);
        }
    }

    /// Adds those of a null-terminated array that `wanted` wants.
    pub fn extend(&mut self, mut array: *const *const c_char, wanted: impl Fn(&[u8]) -> bool) {
        loop {
            // SAFETY: the array is null-terminated; each pointer before the null is a C string.
            let entry = unsafe { *array };
            if entry.is_null() {
                return;
            }
            // SAFETY: as above.
            if wanted(unsafe { CStr::from_ptr(entry) }.to_bytes()) {
                self.push(entry);
            }
            // SAFETY: the null was not reached.
            array = unsafe { array.add(1) };
        }
    }

    pub const fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}
