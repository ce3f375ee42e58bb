//! Names without a registry, such as `rust:1`: an alias, or one of the registries to be searched. Where no file says
//! anything they mean images of docker.io.

use std::str::FromStr;

use super::Registries;
use crate::oci::reference::{NotAReference, Reference};

/// What is done when a short name could mean several images (containers-registries.conf(5), `short-name-mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Ask; where nobody can be asked, refuse.
    Enforcing,
    /// The same here: what nobody chose is not run.
    #[default]
    Permissive,
    /// Take the first registry that has it.
    Disabled,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "enforcing" => Ok(Self::Enforcing),
            "permissive" => Ok(Self::Permissive),
            "disabled" => Ok(Self::Disabled),
            _ => Err(format!(
                "`{}` is no short-name-mode (enforcing, permissive, disabled)",
                text.escape_debug()
            )),
        }
    }
}

/// What a name may mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Short {
    /// One image.
    Sure(Reference),
    /// One of these, more than one; how to choose is said.
    Unsure(Vec<Reference>, Mode),
}

impl Registries {
    /// What `text` means.
    pub fn meaning(&self, text: &str) -> Result<Short, NotAReference> {
        let reference: Reference = text.parse()?;
        if !Reference::is_short(text) {
            return Ok(Short::Sure(reference));
        }
        // the name as it was written, for `library/` was added
        let name = text.split('@').next().unwrap_or(text);
        let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
        let of = |full: &str| {
            let found = Reference::located(full)?;
            Ok(Reference { tag: reference.tag.clone(), digest: reference.digest, ..found })
        };
        if let Some(target) = self.aliases.get(name) {
            return of(target).map(Short::Sure);
        }
        let found = self.search.iter().map(|registry| of(&format!("{registry}/{name}")));
        let mut found = found.collect::<Result<Vec<_>, _>>()?;
        found.dedup();
        Ok(match found.len() {
            0 => Short::Sure(reference),
            1 => Short::Sure(found.remove(0)),
            _ => Short::Unsure(found, self.mode),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(conf: &str, text: &str) -> String {
        let registries = Registries::of_texts(&[conf]).unwrap();
        match registries.meaning(text) {
            Ok(Short::Sure(reference)) => reference.to_string(),
            Ok(Short::Unsure(all, mode)) => {
                let all: Vec<_> = all.iter().map(ToString::to_string).collect();
                format!("{mode:?}: {}", all.join(" or "))
            }
            Err(bad) => bad.to_string(),
        }
    }

    #[test]
    fn aliases_then_the_registries_to_search() {
        let one = "unqualified-search-registries = [\"quay.io\"]\n[aliases]\nrust = \"r.example/lang/rust\"\n\
                   \"a/b\" = \"docker.io/c\"";
        let two =
            "unqualified-search-registries = [\"quay.io\", \"docker.io\"]\nshort-name-mode = \"enforcing\"";
        for (conf, text, expected) in [
            ("", "rust:1", "docker.io/library/rust:1"),
            ("", "me/rust", "docker.io/me/rust:latest"),
            (one, "rust:1", "r.example/lang/rust:1"),
            (one, "rust", "r.example/lang/rust:latest"),
            (one, "a/b:2", "docker.io/library/c:2"),
            (one, "library/rust", "quay.io/library/rust:latest"),
            (one, "debian", "quay.io/debian:latest"),
            (one, "docker.io/rust", "docker.io/library/rust:latest"),
            (one, "localhost/rust", "localhost/rust:latest"),
            (two, "rust:1", "Enforcing: quay.io/rust:1 or docker.io/library/rust:1"),
            (two, "h.example/rust", "h.example/rust:latest"),
        ] {
            assert_eq!(meaning(conf, text), expected, "{text}");
        }
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(meaning(one, &format!("rust:1@{digest}")), format!("r.example/lang/rust:1@{digest}"));
        assert!(meaning("[aliases]\nx = \"rust\"", "x").contains("`rust` is not an image reference"));
    }
}
