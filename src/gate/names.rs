//! The addresses that stand for names in a box.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

/// The first of them. The range 198.18.0.0/15 is for benchmarks (RFC 2544), and nobody's in any network; its first 256
/// addresses are left for the box itself.
const FIRST: u32 = u32::from_be_bytes([198, 18, 1, 0]);
/// The box's own address in that range, which stands for no name.
pub const OWN_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Names a box may ask for. Only a wildcard lets it ask for many.
const MOST: usize = 16_384;

/// Names and the addresses they have for as long as the box runs.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: HashMap<String, usize>,
    names: Vec<String>,
}

impl Names {
    /// The address that stands for `name`; none when there are too many.
    pub(super) fn address(&mut self, name: &str) -> Option<Ipv4Addr> {
        let number = match self.numbers.get(name) {
            Some(number) => *number,
            None if self.names.len() >= MOST => return None,
            None => {
                let number = self.names.len();
                self.names.push(name.to_owned());
                self.numbers.insert(name.to_owned(), number);
                number
            }
        };
        Some(Ipv4Addr::from(FIRST + number as u32))
    }

    /// The name that `address` stands for.
    pub(super) fn name(&self, address: Ipv4Addr) -> Option<&str> {
        let number = u32::from(address).checked_sub(FIRST)?;
        self.names.get(number as usize).map(String::as_str)
    }

    /// Whether `address` is the box's own.
    pub(super) fn is_own(address: IpAddr) -> bool {
        address == OWN_ADDRESS
    }

    /// Whether `address` is one that could stand for a name.
    pub(super) fn has_range(address: Ipv4Addr) -> bool {
        u32::from(address) >> 17 == FIRST >> 17
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_one_address() {
        let mut names = Names::default();
        let first = names.address("a").unwrap();
        assert_eq!(names.address("a"), Some(first));
        let second = names.address("b").unwrap();
        assert!(second != first && Names::has_range(second));
        assert_eq!((names.name(first), names.name(second)), (Some("a"), Some("b")));
        assert_eq!(names.name(Ipv4Addr::new(198, 18, 1, 2)), None);
        assert_eq!(names.name(Ipv4Addr::LOCALHOST), None);
        for number in 2..MOST {
            assert!(names.address(&number.to_string()).is_some_and(Names::has_range));
        }
        assert_eq!(names.address("one more"), None);
        assert_eq!(names.address("a"), Some(first));
        assert!(
            !Names::has_range(Ipv4Addr::new(198, 20, 0, 0))
                && !Names::has_range(Ipv4Addr::new(198, 17, 0, 0))
        );
    }
}
