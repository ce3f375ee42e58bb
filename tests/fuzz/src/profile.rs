//! Profiles of any text: read, or refused at a place of the file.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use devbox::dirs::Dirs;
use devbox::profile::{Error, Selector, find};
use libfuzzer_sys::fuzz_target;

fn place() -> &'static (PathBuf, Dirs) {
    static PLACE: OnceLock<(PathBuf, Dirs)> = OnceLock::new();
    PLACE.get_or_init(|| {
        let root = PathBuf::from(format!("/dev/shm/devbox-fuzz-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let dirs = Dirs {
            home: root.clone(),
            config: root.join("config"),
            data: root.join("data"),
            cache: root.join("cache"),
            runtime: root.join("run"),
        };
        (root, dirs)
    })
}

fuzz_target!(|text: &str| {
    let (root, dirs) = place();
    let file = root.join("devbox.toml");
    fs::write(&file, text).unwrap();
    match find(dirs, &Selector::File(file), root) {
        Ok(_) => {}
        Err(Error::Mistake(mistake)) => drop(mistake.to_string()),
        Err(error) => drop(error.to_string()),
    }
});
