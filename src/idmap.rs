//! User and group id maps (user_namespaces(7)) and the subordinate ranges of subuid(5), from text.

/// One line of a `uid_map` or `gid_map`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// First id in the box.
    pub container_id: u32,
    /// First id outside.
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

impl IdMap {
    /// As the kernel reads it.
    pub fn line(&self) -> String {
        format!("{} {} {}", self.container_id, self.host_id, self.size)
    }
}

/// The maps of a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdMaps {
    /// One id; needs nothing but the right to make a user namespace.
    Single {
        /// The caller's user id.
        uid: IdMap,
        /// The caller's group id.
        gid: IdMap,
    },
    /// Ranges, written by newuidmap(1) and newgidmap(1).
    Full {
        /// User ids.
        uids: Vec<IdMap>,
        /// Group ids.
        gids: Vec<IdMap>,
    },
}

/// Reads the ranges of a user from the text of `/etc/subuid` or `/etc/subgid`; lines name the user by name or id.
/// Malformed lines are skipped, as shadow's own tools do.
pub fn subordinate_ranges(text: &str, user: &str, uid: u32) -> Vec<(u32, u32)> {
    let uid = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let start = fields.next()?.parse::<u32>().ok()?;
            let size = fields.next()?.parse::<u32>().ok()?;
            start.checked_add(size)?;
            ((owner == user || owner == uid) && size > 0 && fields.next().is_none()).then_some((start, size))
        })
        .collect()
}

/// The map of `full`: root of the box is the caller, every further id is the next subordinate one.
pub fn full(own: u32, ranges: &[(u32, u32)]) -> Vec<IdMap> {
    let mut maps = vec![IdMap { container_id: 0, host_id: own, size: 1 }];
    let mut next = 1_u32;
    for &(start, size) in ranges {
        let size = size.min(u32::MAX - next);
        maps.push(IdMap { container_id: next, host_id: start, size });
        next += size;
    }
    maps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_by_name_and_id() {
        let text = "me:100000:65536\n1000:300000:10\nyou:1:2\nme:x:1\nme:5\nme:4294967295:2\nme:9:0\n";
        assert_eq!(subordinate_ranges(text, "me", 1000), [(100_000, 65536), (300_000, 10)]);
        assert_eq!(subordinate_ranges(text, "nobody", 5), []);
    }

    #[test]
    fn ranges_follow_each_other() {
        let maps = full(1000, &[(100_000, 10), (300_000, 5)]);
        let numbers: Vec<_> = maps.iter().map(|map| (map.container_id, map.host_id, map.size)).collect();
        assert_eq!(numbers, [(0, 1000, 1), (1, 100_000, 10), (11, 300_000, 5)]);
    }
}
