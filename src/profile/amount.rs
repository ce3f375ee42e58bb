//! How much of something: sizes, times and numbers of `[limits]`, in profiles and flags alike.

use super::grammar::{BadValue, quoted};
use crate::limits::{Limit, Limits};

/// A box with less can't start.
const LEAST_MEMORY: u64 = 16 << 20;
/// With fewer no shell can start.
const LEAST_FILES: u64 = 16;
/// The kernel knows no higher pid (PID_MAX_LIMIT).
const MOST_PIDS: u64 = 1 << 22;
/// More than the kernel lets one process have (fs.nr_open).
const MOST_FILES: u64 = 1 << 30;
/// Thousandths of more processors than any machine has.
const MOST_CPUS: u64 = 1 << 23;

/// As other tools write them, too: `4g` is `4GiB`.
const SIZES: [(&str, u64); 9] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
    ("b", 1),
];
const TIMES: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

/// The amount of `limit` that `text` says, in the units of [`Limit`].
pub(super) fn amount(limit: Limit, text: &str) -> Result<u64, BadValue> {
    let wrong = |what: &str, hint: &str| Err(BadValue::new(format!("{} is {what}", quoted(text))).or(hint));
    match limit {
        Limit::Memory | Limit::Disk => match size(text) {
            None => wrong("not a size", "a number and KiB, MiB, GiB or TiB, for example `4GiB`"),
            Some(bytes) if limit == Limit::Memory && bytes < LEAST_MEMORY => {
                wrong("too little memory for a box to start", "`16MiB` is the least")
            }
            Some(0) => wrong("too little", "a number above 0"),
            Some(bytes) => Ok(bytes),
        },
        Limit::Time => match time(text) {
            None => wrong("not a time", "numbers with d, h, m and s, for example `90s`, `30m` or `1h30m`"),
            Some(0) => wrong("no time at all", "`1s` is the least"),
            Some(seconds) => Ok(seconds),
        },
        Limit::Cpus => match thousandths(text) {
            Some(cpus @ 10..=MOST_CPUS) => Ok(cpus),
            _ => wrong(
                "not a number of processors",
                "for example `2`, or `0.5` for half of one; at least `0.01`",
            ),
        },
        Limit::Pids => match text.parse() {
            Ok(pids @ 1..=MOST_PIDS) => Ok(pids),
            _ => wrong("not a number of processes", "a whole number of 1 to 4194304"),
        },
        Limit::Files => match text.parse() {
            Ok(files @ LEAST_FILES..=MOST_FILES) => Ok(files),
            _ => wrong("not a number of open files", "a whole number, 16 or more"),
        },
    }
}

/// Adds what a flag says in the form `NAME=VALUE` to `limits`.
pub fn assign(limits: &mut Limits, text: &str) -> Result<(), BadValue> {
    let names = || Limit::ALL.map(Limit::word);
    let Some((name, value)) = text.split_once('=') else {
        return Err(BadValue::new(format!("{} is not a limit", quoted(text)))
            .or(format!("NAME=VALUE with one of the names `{}`", names().join("`, `"))));
    };
    let Some(limit) = Limit::ALL.into_iter().find(|limit| limit.word() == name) else {
        return Err(BadValue::unknown("limit", name, names()));
    };
    let amount = amount(limit, value)?;
    match limits.amounts.insert(limit, amount) {
        None => Ok(()),
        Some(_) => Err(BadValue::new(format!("`{limit}` is limited twice")).or("keep one of the two")),
    }
}

fn size(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let (number, unit) = SIZES
        .into_iter()
        .find_map(|(word, unit)| Some((text.strip_suffix(word)?.trim_end().to_owned(), unit)))?;
    let thousandths = thousandths(&number)?;
    u64::try_from(u128::from(thousandths) * u128::from(unit) / 1000).ok().filter(|bytes| *bytes < 1 << 62)
}

fn time(text: &str) -> Option<u64> {
    let (mut rest, mut seconds, mut last) = (text, 0_u64, u64::MAX);
    while !rest.is_empty() {
        let (number, unit) = rest.split_at(rest.find(|letter: char| !letter.is_ascii_digit())?);
        let (letter, size) = TIMES.into_iter().find(|(letter, _)| unit.starts_with(*letter))?;
        // each unit once, larger ones first
        if size >= last {
            return None;
        }
        seconds = seconds.checked_add(number.parse::<u64>().ok()?.checked_mul(size)?)?;
        (rest, last) = (&unit[letter.len_utf8()..], size);
    }
    // a hundred years: later moments are none to the clock
    (!text.is_empty() && seconds <= 100 * 366 * 86_400).then_some(seconds)
}

/// A decimal number with at most three digits behind the point, in thousandths.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return None;
    }
    let part: u64 = format!("{part:0<3}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (limit, text, expected) in [
            (Limit::Memory, "4GiB", 4 << 30),
            (Limit::Memory, "64m", 64 << 20),
            (Limit::Memory, "1.5 GiB", 3 << 29),
            (Limit::Disk, "10GiB", 10 << 30),
            (Limit::Disk, "1b", 1),
            (Limit::Time, "30m", 1800),
            (Limit::Time, "1h30m", 5400),
            (Limit::Time, "1d", 86_400),
            (Limit::Cpus, "2", 2000),
            (Limit::Cpus, "0.5", 500),
            (Limit::Cpus, "1.25", 1250),
            (Limit::Pids, "1", 1),
            (Limit::Files, "1024", 1024),
        ] {
            assert_eq!(amount(limit, text), Ok(expected), "{limit} {text}");
            let shown = limit.shown(expected);
            assert_eq!(amount(limit, &shown), Ok(expected), "what is shown is understood: {shown}");
        }
        for (limit, texts) in [
            (
                Limit::Memory,
                &["", "4", "GiB", "4GB", "-1GiB", "1MiB", "1e3GiB", "99999999999TiB", "4 Gi B", "½GiB"][..],
            ),
            (Limit::Disk, &["0b", "0GiB", "0.0001b", "1.2.3GiB"]),
            (
                Limit::Time,
                &[
                    "",
                    "30",
                    "m",
                    "30m1h",
                    "1m1m",
                    "1.5h",
                    "0s",
                    "-1s",
                    "99999999999999999999d",
                    "99999d",
                    "1w",
                    "1µ",
                ],
            ),
            (Limit::Cpus, &["", "0", "0.001", "0.0001", "-1", "1,5", "nan", "inf", "1e3", "0x2", ".5"]),
            (Limit::Pids, &["", "0", "-1", "1.0", "4194305", "many"]),
            (Limit::Files, &["", "3", "-1", "99999999999999999999"]),
        ] {
            for text in texts {
                assert!(amount(limit, text).is_err_and(|wrong| wrong.hint().is_some()), "{limit} {text:?}");
            }
        }
    }

    #[test]
    fn flags() {
        let read = |texts: &[&str]| {
            let mut limits = Limits::default();
            texts.iter().try_for_each(|text| assign(&mut limits, text)).map(|()| limits)
        };
        let limits = read(&["memory=4GiB", "time=30m"]).unwrap();
        assert_eq!(
            (limits.get(Limit::Memory), limits.get(Limit::Time), limits.get(Limit::Pids)),
            (Some(4 << 30), Some(1800), None)
        );
        for (texts, wrong) in [
            (&["memory"][..], "`memory` is not a limit"),
            (&["memroy=1GiB"], "unknown limit `memroy`"),
            (&["pids=1", "pids=2"], "`pids` is limited twice"),
            (&["pids=x"], "`x` is not a number of processes"),
        ] {
            assert_eq!(read(texts).unwrap_err().to_string(), wrong);
        }
    }
}
