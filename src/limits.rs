//! Limits of a box as plain data: what is limited, to how much, and what holds it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// What can be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Memory of all processes together, in bytes.
    Memory,
    /// Processors, in thousandths of one.
    Cpus,
    /// Processes and threads at a time.
    Pids,
    /// How long a session may last, in seconds.
    Time,
    /// Open files of each process.
    Files,
    /// The box's own files on the disk, in bytes.
    Disk,
}

impl Limit {
    /// All there are, as they are listed.
    pub const ALL: [Self; 6] = [Self::Memory, Self::Cpus, Self::Pids, Self::Time, Self::Files, Self::Disk];

    /// The word for it in profiles and flags.
    pub fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpus => "cpus",
            Self::Pids => "pids",
            Self::Time => "time",
            Self::Files => "files",
            Self::Disk => "disk",
        }
    }

    /// `amount` as a profile would say it.
    pub fn shown(self, amount: u64) -> String {
        match self {
            Self::Memory | Self::Disk => largest(
                amount,
                &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)],
            ),
            Self::Time => largest(amount, &[("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)]),
            Self::Cpus => (amount as f64 / 1000.0).to_string(),
            Self::Pids | Self::Files => amount.to_string(),
        }
    }

    /// The line of a profile that sets it to `amount`.
    pub fn line(self, amount: u64) -> String {
        let shown = self.shown(amount);
        match self {
            Self::Memory | Self::Disk | Self::Time => format!("{self} = \"{shown}\""),
            Self::Cpus | Self::Pids | Self::Files => format!("{self} = {shown}"),
        }
    }

    /// Exit code of a session that was ended for it: that of timeout(1) for time, and those below it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Time => 124,
            Self::Memory => 123,
            _ => 122,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// `amount` in the largest unit that leaves no rest.
fn largest(amount: u64, units: &[(&str, u64)]) -> String {
    let fits = units.iter().find(|(_, size)| amount >= *size && amount.is_multiple_of(*size));
    fits.map_or_else(|| amount.to_string(), |(unit, size)| format!("{}{unit}", amount / size))
}

/// What a box is limited to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// How much of each, in the units of [`Limit`].
    pub amounts: BTreeMap<Limit, u64>,
    /// Whether a limit that can't be held exactly stops the start; none when nobody says.
    pub strict: Option<bool>,
}

impl Limits {
    /// How much of `limit`, when it is limited.
    pub fn get(&self, limit: Limit) -> Option<u64> {
        self.amounts.get(&limit).copied()
    }

    /// These, and for what they leave open `below`.
    #[must_use]
    pub fn over(mut self, mut below: Self) -> Self {
        below.amounts.append(&mut self.amounts);
        Self { amounts: below.amounts, strict: self.strict.or(below.strict) }
    }

    /// Whether a limit that can't be held exactly stops the start.
    pub fn is_strict(&self) -> bool {
        self.strict == Some(true)
    }
}

/// As in a profile, all amounts as text.
impl Serialize for Limits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let strict = self.strict.map(|strict| ("strict", strict.to_string()));
        let amounts = self.amounts.iter().map(|(limit, amount)| (limit.word(), limit.shown(*amount)));
        serializer.collect_map(amounts.chain(strict))
    }
}

/// What holds a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    /// The kernel, for all of the box together (cgroups(7)).
    Cgroup,
    /// The kernel: for the box's processes by its user namespace (user_namespaces(7)), for open files in each process.
    Rlimit,
    /// The kernel, by the highest pid of the box's pid namespace (Linux 6.14): some hundreds more than asked for.
    PidMax,
    /// The kernel, to whole processors, until a program asks for others (sched_setaffinity(2)).
    Affinity,
    /// The box's pid 1.
    Timer,
    /// A process of ours that looks from time to time.
    Watch,
    /// Nothing can.
    Nothing,
}

impl Holder {
    /// Whether nothing gets past it.
    pub fn is_exact(self) -> bool {
        matches!(self, Self::Cgroup | Self::Rlimit | Self::Timer)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cgroup => "cgroup",
            Self::Rlimit => "rlimit",
            Self::PidMax => "pid_max, some hundreds more (best effort)",
            Self::Affinity => "affinity, whole processors (best effort)",
            Self::Timer => "timer",
            Self::Watch => "watched (best effort)",
            Self::Nothing => "not held",
        })
    }
}

/// What there is on this machine to hold limits with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Means {
    /// What a cgroup of our own could limit.
    pub cgroup: Vec<Limit>,
    /// The kernel counts the processes of each user namespace, and the caller is no one it passes over.
    pub counts_processes: bool,
    /// The highest pid of a box's namespace can be set.
    pub pid_max: bool,
}

/// One limit of a box, and what holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What is limited.
    pub limit: Limit,
    /// To how much, in the units of [`Limit`].
    pub amount: u64,
    /// What holds it.
    pub by: Holder,
}

impl Means {
    /// What is to hold each of `limits`.
    pub fn hold(&self, limits: &Limits) -> Vec<Held> {
        let by = |limit| match limit {
            Limit::Time => Holder::Timer,
            Limit::Files => Holder::Rlimit,
            Limit::Disk => Holder::Watch,
            // is there anyway, and takes nothing to be made
            Limit::Pids if self.counts_processes => Holder::Rlimit,
            _ if self.cgroup.contains(&limit) => Holder::Cgroup,
            Limit::Pids if self.pid_max => Holder::PidMax,
            Limit::Pids => Holder::Nothing,
            Limit::Cpus => Holder::Affinity,
            Limit::Memory => Holder::Watch,
        };
        limits
            .amounts
            .iter()
            .map(|(limit, amount)| Held { limit: *limit, amount: *amount, by: by(*limit) })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_as_they_are_written() {
        for (limit, amount, shown) in [
            (Limit::Memory, 4 << 30, "4GiB"),
            (Limit::Memory, 1536 << 20, "1536MiB"),
            (Limit::Disk, 1000, "1000B"),
            (Limit::Cpus, 500, "0.5"),
            (Limit::Cpus, 2000, "2"),
            (Limit::Time, 90, "90s"),
            (Limit::Time, 1800, "30m"),
            (Limit::Time, 86_400, "1d"),
            (Limit::Pids, 7, "7"),
        ] {
            assert_eq!(limit.shown(amount), shown);
        }
        assert_eq!(Limit::Time.line(1800), "time = \"30m\"");
        assert_eq!(Limit::Cpus.line(1500), "cpus = 1.5");
    }

    #[test]
    fn what_is_said_last_counts() {
        let limits =
            |amounts: &[(Limit, u64)], strict| Limits { amounts: amounts.iter().copied().collect(), strict };
        let merged = limits(&[(Limit::Pids, 1)], Some(false))
            .over(limits(&[(Limit::Pids, 2), (Limit::Files, 3)], Some(true)));
        assert_eq!(merged, limits(&[(Limit::Pids, 1), (Limit::Files, 3)], Some(false)));
        assert_eq!(serde_json::to_string(&merged).unwrap(), r#"{"pids":"1","files":"3","strict":"false"}"#);
    }

    #[test]
    fn the_best_holder_is_taken() {
        let limits = Limits { amounts: Limit::ALL.map(|limit| (limit, 1)).into(), strict: None };
        let holders = |means: &Means| means.hold(&limits).into_iter().map(|held| held.by).collect::<Vec<_>>();
        let nothing = Means::default();
        use Holder::{Affinity, Cgroup, Nothing, PidMax, Rlimit, Timer, Watch};
        assert_eq!(holders(&nothing), [Watch, Affinity, Nothing, Timer, Rlimit, Watch]);
        let pid_max = Means { pid_max: true, ..nothing };
        assert_eq!(holders(&pid_max)[2], PidMax);
        let cgroup = Means { cgroup: vec![Limit::Memory, Limit::Cpus, Limit::Pids], ..pid_max };
        assert_eq!(holders(&cgroup), [Cgroup, Cgroup, Cgroup, Timer, Rlimit, Watch]);
        assert_eq!(holders(&Means { counts_processes: true, ..cgroup })[2], Rlimit);
    }
}
