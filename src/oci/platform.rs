//! Platforms, `os/architecture[/variant]` in Go's words, and the choice among those an index offers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, `riscv64` and so on.
    pub architecture: String,
    /// `v7` of `arm`, `v3` of `amd64`; `None` means the least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Why a string is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a platform (wanted `os/architecture` or `os/architecture/variant`)", .0.escape_debug())]
pub struct NotAPlatform(String);

impl Platform {
    /// That of this machine, with the variant its processor is good for.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            same => same,
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: host_variant() }
    }

    /// How well an image for `offered` runs here: `None` not at all, else higher is better.
    fn suits(&self, offered: &Self) -> Option<u8> {
        if (&self.os, &self.architecture) != (&offered.os, &offered.architecture) {
            return None;
        }
        match (self.level(), offered.level()) {
            (Some(own), Some(wanted)) => (wanted <= own).then_some(wanted),
            // variants we know nothing about suit only when they are the same
            _ => (self.variant == offered.variant).then_some(0),
        }
    }

    /// Rank of the variant among those of its architecture, each of which runs what the lower ones run.
    fn level(&self) -> Option<u8> {
        let variant = self.variant.as_deref().unwrap_or_default();
        let number = || variant.strip_prefix('v')?.parse::<u8>().ok();
        match self.architecture.as_str() {
            "amd64" if variant.is_empty() => Some(1),
            "arm" if variant.is_empty() => Some(5),
            "arm64" if variant.is_empty() => Some(8),
            "amd64" | "arm" | "arm64" => number(),
            _ => variant.is_empty().then_some(0),
        }
    }

    /// The one among `offered` that suits best; of two alike the first. `None` when none does.
    pub fn choose<'a, T>(&self, offered: impl IntoIterator<Item = (&'a Self, T)>) -> Option<T> {
        let mut best = None;
        for (platform, value) in offered {
            if let Some(level) = self.suits(platform)
                && best.as_ref().is_none_or(|(best, _)| level > *best)
            {
                best = Some((level, value));
            }
        }
        best.map(|(_, value)| value)
    }

    /// True when an image for `offered` runs here.
    pub fn accepts(&self, offered: &Self) -> bool {
        self.suits(offered).is_some()
    }
}

/// The x86-64 level of this processor, as the psABI defines them.
#[cfg(target_arch = "x86_64")]
fn host_variant() -> Option<String> {
    use std::arch::is_x86_feature_detected as has;
    let v2 = has!("sse4.2") && has!("ssse3") && has!("popcnt") && has!("cmpxchg16b");
    let v3 =
        v2 && has!("avx2") && has!("bmi1") && has!("bmi2") && has!("f16c") && has!("fma") && has!("lzcnt");
    let v4 =
        v3 && has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
    [(v4, "v4"), (v3, "v3"), (v2, "v2")].iter().find(|(is, _)| *is).map(|(_, level)| (*level).to_owned())
}

#[cfg(target_arch = "arm")]
fn host_variant() -> Option<String> {
    // what the program was built for runs here, or we would not
    Some(if cfg!(target_feature = "v7") { "v7" } else { "v6" }.into())
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "arm")))]
fn host_variant() -> Option<String> {
    None
}

impl FromStr for Platform {
    type Err = NotAPlatform;

    fn from_str(text: &str) -> Result<Self, NotAPlatform> {
        let bad = || NotAPlatform(text.chars().take(100).collect());
        let mut parts = text.split('/');
        let mut part = || match parts.next() {
            Some(part) => {
                let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
                let word = !part.is_empty() && part.bytes().all(letter);
                if word { Ok(Some(part.to_ascii_lowercase())) } else { Err(bad()) }
            }
            None => Ok(None),
        };
        let (Some(os), Some(architecture), variant) = (part()?, part()?, part()?) else { return Err(bad()) };
        if part()?.is_some() {
            return Err(bad());
        }
        let architecture = match architecture.as_str() {
            "x86_64" => "amd64".to_owned(),
            "aarch64" => "arm64".to_owned(),
            _ => architecture,
        };
        Ok(Self { os, architecture, variant })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os.escape_debug(), self.architecture.escape_debug())?;
        match &self.variant {
            Some(variant) => write!(f, "/{}", variant.escape_debug()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        for (text, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("Linux/ARM/v7", "linux/arm/v7"),
            ("linux/arm64/v8", "linux/arm64/v8"),
            ("linux/aarch64", "linux/arm64"),
            ("linux", ""),
            ("linux/", ""),
            ("linux/amd64/v2/x", ""),
            ("linux/amd64/", ""),
            ("", ""),
            ("../..", ""),
        ] {
            let parsed = text.parse::<Platform>().map(|platform| platform.to_string());
            assert_eq!(parsed.unwrap_or_default(), shown, "{text}");
        }
        assert!(Platform::host().to_string().parse::<Platform>().unwrap().accepts(&Platform::host()));
    }

    #[test]
    fn best_of_an_index() {
        for (wanted, offered, chosen) in [
            ("linux/amd64/v3", "linux/arm64 linux/amd64 linux/amd64/v2 linux/amd64/v4", Some(2)),
            ("linux/amd64", "linux/amd64/v2 linux/amd64/v1", Some(1)),
            ("linux/amd64", "linux/amd64/v2", None),
            ("linux/arm64", "linux/arm/v7 linux/arm64/v8", Some(1)),
            ("linux/arm/v7", "linux/arm/v5 linux/arm/v7 linux/arm/v6 linux/arm64", Some(1)),
            ("linux/arm/v6", "linux/arm/v7 linux/arm", Some(1)),
            ("linux/amd64", "unknown/unknown windows/amd64", None),
            ("linux/mips64le", "linux/mips64le", Some(0)),
            ("linux/riscv64", "linux/riscv64/rva23", None),
            ("linux/amd64", "linux/amd64 linux/amd64", Some(0)),
        ] {
            let offered: Vec<Platform> = offered.split(' ').map(|text| text.parse().unwrap()).collect();
            let wanted: Platform = wanted.parse().unwrap();
            assert_eq!(wanted.choose(offered.iter().zip(0..)), chosen, "{wanted} of {offered:?}");
        }
    }
}
