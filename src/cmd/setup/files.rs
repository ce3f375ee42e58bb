//! Files that a step sees: read once, so that what is seen is what the key stands for.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

use crate::error::SetupError as Error;
use crate::oci::digest::Digest;
use crate::plan::setup::{self, StepFile};
use crate::plan::{Isolation, Plan};
use crate::sys::fd;

/// Largest file a step may name: it is read at each start, to see whether it is still the same.
const MAX_BYTES: usize = 16 << 20;

/// A file's content.
pub(super) struct Content {
    pub(super) known: setup::Content,
    bytes: Vec<u8>,
}

/// Reads a file below the profile's folder. No link is followed below it.
pub(super) fn read(file: &StepFile) -> Result<Content, Error> {
    let path = file.folder.join(&file.name);
    let failed = |source: io::Error| Error::File { path: path.clone(), source };
    let unfit = |why: &str| failed(io::Error::other(why.to_owned()));
    let mut folder: OwnedFd = File::open(&file.folder).map_err(failed)?.into();
    let mut names: Vec<&[u8]> = file.name.iter().map(OsStrExt::as_bytes).collect();
    let Some(last) = names.pop() else { return Err(unfit("it has no name")) };
    for name in names {
        folder = fd::open_folder(folder.as_fd(), name).map_err(|error| failed(error.into()))?;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let open = match fd::openat(folder.as_fd(), last, flags, 0) {
        Err(error) if error.errno == nix::errno::Errno::ELOOP => return Err(unfit("it is a link")),
        open => open.map_err(|error| failed(error.into()))?,
    };
    let facts = fd::stat(open.as_fd()).map_err(|error| failed(error.into()))?;
    if facts.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(unfit("it is not a regular file"));
    }
    let bytes = match fd::read_from(&open, MAX_BYTES) {
        Err(_) if facts.st_size as u64 > MAX_BYTES as u64 => return Err(unfit("it is larger than 16 MiB")),
        bytes => bytes.map_err(failed)?,
    };
    let known = setup::Content { digest: Digest::of(&bytes), executable: facts.st_mode & 0o111 != 0 };
    Ok(Content { known, bytes })
}

/// Notes what the files of a plan's steps are, where someone is asked about them. One that can't be read is no
/// obstacle here: its step is not done then.
pub(in crate::cmd) fn judge(plan: &mut Plan) {
    if plan.isolation == Isolation::Untrusted {
        for file in plan.setup.steps.iter_mut().flat_map(|step| &mut step.files) {
            file.judged = read(file).ok().map(|content| content.known);
        }
    }
}

/// As [`read`], for a step of `plan`: what was judged, or nothing.
pub(super) fn read_judged(plan: &Plan, file: &StepFile) -> Result<Content, Error> {
    let content = read(file)?;
    match plan.isolation == Isolation::Untrusted && file.judged != Some(content.known) {
        true => Err(Error::Changed { path: file.folder.join(&file.name) }),
        false => Ok(content),
    }
}

/// Puts the files of a step into `folder`, which is made, by their names.
pub(super) fn lay_out(files: &[StepFile], contents: &[Content], folder: &Path) -> Result<(), Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { path, source }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    for (file, content) in files.iter().zip(contents) {
        let path = folder.join(&file.name);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).map_err(failed(above))?;
        }
        let mode = if content.known.executable { 0o755 } else { 0o644 };
        let open = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&path);
        open.and_then(|mut open| open.write_all(&content.bytes)).map_err(failed(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_folder_are_read() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("project");
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::write(root.path().join("secret"), "s").unwrap();
        fs::write(folder.join("sub/a.txt"), "a").unwrap();
        std::os::unix::fs::symlink("../secret", folder.join("link")).unwrap();
        std::os::unix::fs::symlink("..", folder.join("up")).unwrap();
        nix::unistd::mkfifo(&folder.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::write(folder.join("big"), vec![0; MAX_BYTES + 1]).unwrap();
        let look = |name: &str| read(&StepFile { folder: folder.clone(), name: name.into(), judged: None });
        assert_eq!(look("sub/a.txt").ok().map(|content| content.known.digest), Some(Digest::of(b"a")));
        for (name, why) in [
            ("link", "it is a link"),
            ("up/secret", ""),
            ("fifo", "not a regular file"),
            ("sub", "not a regular file"),
            ("big", "larger than 16 MiB"),
            ("none", "No such file"),
        ] {
            let error = look(name).err().unwrap();
            let said = std::error::Error::source(&error).unwrap().to_string();
            assert!(said.contains(why), "{name}: {said}");
        }
    }

    #[test]
    fn what_is_laid_out_is_what_was_read() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("run.sh"), "x").unwrap();
        let file = StepFile { folder: root.path().to_owned(), name: "run.sh".into(), judged: None };
        let content = read(&file).unwrap();
        fs::write(root.path().join("run.sh"), "changed").unwrap();
        let folder = root.path().join("out");
        lay_out(&[file], &[content], &folder).unwrap();
        assert_eq!(fs::read(folder.join("run.sh")).unwrap(), b"x");
    }

    #[test]
    fn what_was_judged_is_what_is_read() {
        use crate::plan::make;
        use crate::plan::tests::{host, project};
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.sh");
        fs::write(&path, "x").unwrap();
        let found = project("image = \"debian\"\n[setup]\nrun = [{ command = \"a\", files = [\"a.sh\"] }]\n");
        let mut plan = make(&found, &Default::default(), &host(), &|_| None).unwrap();
        plan.setup.steps[0].files[0].folder = root.path().to_owned();
        let look =
            |plan: &Plan| read_judged(plan, &plan.setup.steps[0].files[0]).map(|content| content.bytes);
        // of one's own nobody is asked
        judge(&mut plan);
        assert!(plan.setup.steps[0].files[0].judged.is_none() && look(&plan).is_ok());
        plan.isolation = Isolation::Untrusted;
        judge(&mut plan);
        assert_eq!(look(&plan).unwrap(), b"x");
        fs::write(&path, "changed").unwrap();
        assert!(matches!(look(&plan), Err(Error::Changed { .. })));
        // what was not there is not taken when it comes
        fs::remove_file(&path).unwrap();
        judge(&mut plan);
        fs::write(&path, "x").unwrap();
        assert!(matches!(look(&plan), Err(Error::Changed { .. })));
    }
}
