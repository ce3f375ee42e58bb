//! `devbox load`: images out of an archive or a layout.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use crate::cli::LoadArgs;
use crate::dirs::Dirs;
use crate::error::{Error, ExitCode};
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::pull::{self, Input};
use crate::store::Store;
use crate::ui::{Ui, count, size};

pub(super) fn run(ui: &Ui, dirs: &Dirs, args: &LoadArgs) -> Result<ExitCode, Error> {
    let platform = match &args.platform {
        Some(platform) => platform.parse::<Platform>()?,
        None => Platform::host(),
    };
    let name = args.tag.as_deref().map(super::tag::new_name).transpose()?;
    let store = Store::open(&dirs.store())?;
    let path = args.path.as_deref().or(args.input.as_deref()).filter(|path| *path != Path::new("-"));
    let (input, shown) = match path {
        Some(path) => (Input::Path(path), path.display().to_string()),
        None if ui.reads_terminal() => return Err(Error::NothingToLoad),
        None => {
            let stdin = std::io::stdin().as_fd().try_clone_to_owned().map_err(Error::Input)?;
            (Input::Stream(File::from(stdin)), "standard input".to_owned())
        }
    };
    let fallback = path.and_then(repository);
    let progress = |name: &str| ui.transfer("loading", name);
    let names = pull::Names { name: name.as_ref(), fallback: fallback.as_deref() };
    let loaded = pull::load(&store, input, &shown, &names, &platform, &progress)?;
    for image in loaded {
        image.names.iter().try_for_each(|name| ui.line(name))?;
        let names = image.names.join(", ");
        ui.note(&match image.pulled.layers_fetched {
            _ if image.pulled.unchanged => format!("{names}: was here already"),
            0 => format!("{names}: every layer was here already"),
            layers => format!("{names}: {}, {} read", count(layers, "layer"), size(image.pulled.bytes)),
        });
    }
    super::sync_later(&store)?;
    Ok(ExitCode::SUCCESS)
}

/// A repository's name made of a file's; none when nothing of it fits.
fn repository(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let known = [".gz", ".zst", ".tar", ".tgz", ".oci", ".docker"];
    let mut stem = name.as_str();
    while let Some(shorter) = known.iter().find_map(|end| stem.strip_suffix(end)) {
        stem = shorter;
    }
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    let name: String = stem.chars().map(plain).collect();
    let name = name.trim_matches('-');
    format!("localhost/{name}").parse::<Reference>().ok().map(|_| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        for (path, name) in [
            ("/x/debian-12.tar", Some("debian-12")),
            ("My App_1.tar.gz", Some("my-app-1")),
            ("layout/", Some("layout")),
            (".tar", None),
            ("---", None),
            ("/", None),
        ] {
            assert_eq!(repository(Path::new(path)).as_deref(), name, "{path}");
        }
    }
}
