//! Versions as projects write them, alone and in ranges, and the newest one a range allows.

use std::fmt;

/// One to three numbers: `1`, `1.85`, `3.12.1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(Vec<u32>);

/// What a range leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Range {
    /// Not below this.
    pub(super) floor: Option<Version>,
    /// Below this.
    pub(super) ceiling: Option<Version>,
    /// This alone.
    pub(super) exact: Option<Version>,
}

impl Version {
    /// Reads `text`, nothing before or behind it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let number = |part: &str| {
            let plain = (1..=5).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| part.parse().ok())?
        };
        let parts: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
        (1..=3).contains(&parts.len()).then_some(Self(parts))
    }

    /// These numbers, one to three.
    pub(super) fn of(parts: &[u32]) -> Self {
        Self(parts.to_vec())
    }

    /// At most its first `count` numbers.
    pub(super) fn cut(&self, count: usize) -> Self {
        Self(self.0.iter().copied().take(count.max(1)).collect())
    }

    /// The first of its numbers.
    pub(super) fn major(&self) -> u32 {
        self.0.first().copied().unwrap_or_default()
    }

    /// How many numbers it has.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The version right above all that begin with its first `count` numbers.
    fn above(&self, count: usize) -> Self {
        let mut next = self.cut(count);
        if let Some(last) = next.0.last_mut() {
            *last += 1;
        }
        next
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&parts.join("."))
    }
}

impl Range {
    /// Reads conditions that all have to hold, apart by commas or blanks, as pip, poetry and npm write them. None when
    /// something in it is not understood.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut range = Self::default();
        if let Some((low, high)) = text.split_once(" - ") {
            range.floor = Some(Version::parse(low.trim())?);
            let high = Version::parse(high.trim())?;
            range.ceiling = Some(high.above(high.len()));
            return Some(range);
        }
        let mut rest = text.trim_matches(separates);
        // longer texts are nobody's wish
        for _ in 0..16 {
            if rest.is_empty() {
                return Some(range);
            }
            let word = rest.trim_start_matches(|letter| "<>=!~^".contains(letter));
            let operator = &rest[..rest.len() - word.len()];
            let word = word.trim_start();
            let end = word.find(separates).unwrap_or(word.len());
            range.and(operator, &word[..end])?;
            rest = word[end..].trim_start_matches(separates);
        }
        None
    }

    fn and(&mut self, operator: &str, text: &str) -> Option<()> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let stem = text.trim_end_matches(['.', '*', 'x', 'X']);
        if stem.is_empty() && !text.is_empty() {
            return matches!(operator, "" | "=" | "==" | ">=").then_some(());
        }
        let version = Version::parse(stem)?;
        let whole = stem == text && version.len() == 3;
        match operator {
            "" | "=" | "==" | "===" if whole => self.exact = Some(version),
            "" | "=" | "==" | "===" => {
                self.below(version.above(version.len()));
                self.from(version);
            }
            ">=" | ">" => self.from(version),
            "<" => self.below(version),
            "<=" => self.below(version.above(version.len())),
            "^" => {
                self.below(version.above(1));
                self.from(version);
            }
            "~" => {
                self.below(version.above(2));
                self.from(version);
            }
            "~=" if version.len() > 1 => {
                self.below(version.above(version.len() - 1));
                self.from(version);
            }
            // one that is left out changes nothing about the rest
            "!=" => {}
            _ => return None,
        }
        Some(())
    }

    fn from(&mut self, floor: Version) {
        self.floor = Some(self.floor.take().map_or(floor.clone(), |known| known.max(floor)));
    }

    fn below(&mut self, ceiling: Version) {
        self.ceiling = Some(self.ceiling.take().map_or(ceiling.clone(), |known| known.min(ceiling)));
    }

    /// The newest version of at most `count` numbers that it allows; none when it has no upper end, or allows nothing.
    pub(super) fn newest(&self, count: usize) -> Option<Version> {
        if let Some(exact) = &self.exact {
            return Some(exact.clone());
        }
        let mut parts = self.ceiling.as_ref()?.0.clone();
        while parts.last() == Some(&0) {
            parts.pop();
        }
        if parts.len() > count {
            parts.truncate(count);
        } else {
            *parts.last_mut()? -= 1;
        }
        let newest = Version(parts);
        let fits = self.floor.as_ref().is_none_or(|floor| floor.cut(newest.len()) <= newest);
        fits.then_some(newest)
    }
}

fn separates(letter: char) -> bool {
    letter == ',' || letter.is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for text in ["1", "1.85", "3.12.1", "0.0.0", "99999"] {
            assert_eq!(Version::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "", ".", "1.", "1..2", "1.2.3.4", "v1", "1.x", "-1", "+1", "1 ", "123456", "1.2\n", "１",
            "latest",
        ] {
            assert_eq!(Version::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn newest_of_a_range() {
        for (text, count, newest) in [
            // pip, poetry
            (">=3.11", 2, ""),
            (">=3.8,<3.13", 2, "3.12"),
            (">=3.8, <3.12.5", 2, "3.12"),
            ("<=3.11", 2, "3.11"),
            ("==3.12.*", 2, "3.12"),
            ("==3.12", 2, "3.12"),
            ("==3.12.4", 2, "3.12.4"),
            ("~=3.12", 2, "3"),
            ("~=3.12.1", 2, "3.12"),
            ("^3.11", 2, "3"),
            ("~3.11", 2, "3.11"),
            (">=3.8,<4", 2, "3"),
            (">=3.8,<4.0", 2, "3"),
            (">=3.9,!=3.9.1,<3.12", 2, "3.11"),
            ("<3", 2, "2"),
            ("*", 2, ""),
            // npm
            ("^20.11", 1, "20"),
            ("20.x", 1, "20"),
            ("20", 1, "20"),
            ("v20", 1, "20"),
            ("~20.1", 1, "20"),
            (">= 18 < 21", 1, "20"),
            (">=18.0.0 <21.0.0", 1, "20"),
            ("18 - 20", 1, "20"),
            ("20.11.1", 1, "20.11.1"),
            ("<=22", 1, "22"),
            ("<0", 1, ""),
            (">=22 <21", 1, ""),
        ] {
            let range = Range::parse(text).unwrap_or_else(|| panic!("{text}"));
            let found = range.newest(count).map(|version| version.to_string()).unwrap_or_default();
            assert_eq!(found, newest, "{text}");
        }
        for text in ["latest", "~=3", "=>3", ">=3;print()", "3.8 || 3.9", "^", &">=1,".repeat(100)] {
            assert_eq!(Range::parse(text), None, "{text}");
        }
    }
}
