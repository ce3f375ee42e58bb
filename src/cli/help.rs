//! The longer help texts: what each verb is for, by example.

pub(super) const TOP: &str = "\
Start here:
  devbox enter             a shell in this folder's box; no download
  devbox enter rust-env    a shell in a box made from a profile
  devbox run -- make test  a command in this folder's box
  devbox plan              what would be done
  devbox doctor            whether this machine is ready

Exit codes:
  N      enter and run end with the command's own code
  122    the box was ended for its limit of disk, 123 of memory, 124 the session for its time
  125    devbox itself failed; the message says what, why and what to do
  126    the command is there but cannot be executed
  127    the command is not in the box
  128+N  the command was ended by signal N

Environment:
  NO_COLOR         no colors
  XDG_CONFIG_HOME  personal profiles: devbox/profiles/NAME.toml
  XDG_DATA_HOME    images and boxes: devbox/store, devbox/boxes
  XDG_RUNTIME_DIR  sockets of running boxes: devbox";

pub(super) const ENTER: &str = "\
The first enter makes the box, fetching its image when it is not here yet. Later ones find it as it was left. \
While one session is open, further ones join it; the box ends with its last session. The profile is read again \
at each start.

Examples:
  devbox enter                     this project's box, or the default
  devbox enter rust-env            a box or profile by name
  devbox enter --root debian       as root of the box, not of the host
  devbox enter -v ~/data:/data:ro  with one folder more
  devbox enter -e EDITOR=vi        with a variable set
  devbox enter -e GITHUB_TOKEN     with one taken over from the host";

pub(super) const RUN: &str = "\
How the words are read:
  devbox run NAME CMD...         box or profile, then the command
  devbox run NAME -- CMD...      the same
  devbox run -- CMD...           this project's box, or the default
  devbox run --image REF CMD...  no name: every word is the command

Flags of devbox stand before the command; what follows its first word belongs to the command. Without a command \
the image's own Entrypoint and Cmd are run.

On a terminal the command gets a terminal of its own; pipes are passed straight through.

Examples:
  devbox run -- cargo test
  devbox run rust-env cargo build --release
  devbox run debian --root -- apt-get update
  devbox run --rm --image debian:12 cat /etc/os-release
  devbox run --untrusted -- npm install
  devbox run --untrusted --apply -- cargo update
  devbox run --untrusted --rm --out dist:target/release/app -- cargo build --release
  tar c src | devbox run --rm --image alpine -- sha256sum";

pub(super) const LOGS: &str = "\
Hosts that the box asked for, system calls and limits that stopped it, uses of your ssh-agent: each with the decision \
and its reason. Without BOX it is the untrusted box of this folder, or else its other one.

Examples:
  devbox logs
  devbox logs app-untrusted --format json";

pub(super) const WHY: &str = "\
What was refused, each thing once, with the reason and with the line of a profile or the flag that would allow it.

Examples:
  devbox why
  devbox why app-untrusted
  devbox why --path ~/.npmrc   whether the box has that file, and what would hand it in";

pub(super) const RM: &str = "\
A box is its files: what was installed, changed and kept in its private home goes with it. Project folders and \
images stay. A running box is refused unless --force ends it first.

Examples:
  devbox rm rust-env
  devbox rm -f --all";

pub(super) const STOP: &str = "\
Every session of the box is told to end (SIGHUP, then SIGKILL). Its files stay; the next enter starts it anew.

Examples:
  devbox stop rust-env
  devbox stop --all";

pub(super) const DIFF: &str = "\
A line a path: A for what is new, C for what is changed, M for another mode alone, D for what is gone, with the size \
of files. Of an untrusted box what it wrote to the project comes first, by paths relative to it, and the text that \
differs, as a patch; what it changed in its image follows. What can't be applied unless it is named has the reason \
beside it. The private home, the project of other boxes and mounts are no part of it, nor is what devbox itself puts \
into a box to start it. It may run meanwhile. Without BOX it is the untrusted box of this folder, or else its other one.

Examples:
  devbox diff
  devbox diff --patch | git apply --stat
  devbox diff rust-env
  devbox diff rust-env --format json";

pub(super) const APPLY: &str = "\
What the box wrote becomes the project's own: all of it or nothing, also when devbox is killed in the middle. PATHs \
are relative to the current folder when that is in the project, else to the project, and stand for all below them. \
Modes, times and links are kept; set-id bits are dropped, FIFOs and devices stay in the box.

What runs code on your side later (git hooks and settings, .envrc, editor folders, devbox.toml, shell start files, CI, ...) \
and links that lead out of the project are left in the box unless they are named: themselves, or by the folder that \
makes them so (.git, .vscode).

What the project changed meanwhile, too, is a conflict, and nothing is applied then. Leave such paths out, or take the \
box's with --force.

Examples:
  devbox apply
  devbox apply src Cargo.lock
  devbox apply .git/config
  devbox apply --name app-untrusted --force
  devbox apply --out dist target/release/app";

pub(super) const DISCARD: &str = "\
The project's own shows in the box again. PATHs are relative to the current folder when that is in the project, else to \
the project, and stand for all below them. The project itself is not touched.

Examples:
  devbox discard
  devbox discard node_modules
  devbox discard --name app-untrusted";

pub(super) const SNAPSHOT: &str = "\
What the box changed in its image, its private home and what it wrote into mounts of mode \"overlay\" are kept in the \
box's own folder. Where the file system can share blocks (btrfs, xfs) this takes milliseconds and no room; elsewhere \
the files are copied, which is said before. Project and other mounts are no part of it.

Examples:
  devbox snapshot rust-env
  devbox snapshot rust-env before-upgrade
  devbox rollback rust-env before-upgrade";

pub(super) const SNAPSHOTS: &str = "\
Snapshots stay until they are removed, or their box is.

Examples:
  devbox snapshots rust-env
  devbox snapshots rust-env --remove before-upgrade";

pub(super) const ROLLBACK: &str = "\
The box is again as it was when the snapshot was taken, its private home with it; what it holds now is lost unless \
there is a snapshot of that, too. The snapshot stays.

Examples:
  devbox snapshots rust-env
  devbox rollback rust-env before-upgrade";

pub(super) const CLONE: &str = "\
The new box has the image, the changes and the private home of the other, and goes its own way from there. Blocks are \
shared where the file system can. Snapshots stay behind.

Examples:
  devbox clone rust-env rust-try";

pub(super) const RESET: &str = "\
Without a path the box is as its image again; the private home is kept unless --home is given, and so are snapshots. \
With paths, what the box changed at and below each is taken back.

Examples:
  devbox reset rust-env
  devbox reset rust-env /etc/apt /usr/local
  devbox snapshot rust-env && devbox reset --home rust-env";

pub(super) const RENAME: &str = "\
Everything of the box comes along. A profile that names the box still does so by the old name.

Examples:
  devbox rename rust-env rust-old";

pub(super) const EXPORT: &str = "\
One compressed archive holds what the box changed, with true owners and deletions, its private home, and what is \
known about it. Its image is named by reference and digest, to be fetched where the box is imported, or put in with \
--with-image. Project, other mounts and snapshots stay behind.

Examples:
  devbox export rust-env rust-env.devbox
  devbox export --with-image rust-env - | ssh host devbox import -";

pub(super) const IMPORT: &str = "\
The image is fetched by its digest unless it is here or in the archive. Its \
profile stays behind: the box is entered by its name, and asks for nothing of this machine. The archive is not trusted: it is unpacked as an image's layer is.

Examples:
  devbox import rust-env.devbox
  devbox import rust-env.devbox rust-copy";

pub(super) const COMMIT: &str = "\
The image is that of the box with one layer more: what `devbox diff` shows, with owners, modes, attributes and \
deletions. It can be run, saved and pushed at once. The private home, the project and other mounts are not in it.

With SOURCE_DATE_EPOCH set, later times become it, and the same files give the same digest.

Examples:
  devbox commit rust-env registry.example/team/rust:tools
  devbox commit -e EDITOR=vi --cmd '[\"bash\", \"-l\"]' -m \"with editors\" rust-env mine:1
  devbox run --image mine:1";

pub(super) const LOCK: &str = "\
Writes devbox-lock.toml beside the project's devbox.toml: the digests its image has for each platform, and the layers its \
set-up gives, which is done for that. From then on enter and run take these and no others, on every machine that has the \
file; keep it with the sources. What is locked already stays: `devbox update` renews it.

Examples:
  devbox lock
  devbox lock --check           fail when it is not up to date, for CI
  devbox enter --locked         refuse anything that is not as locked";

pub(super) const OUTDATED: &str = "\
Asks the registry what the names in devbox-lock.toml stand for now, and whether it still has what is locked.

Examples:
  devbox outdated
  devbox outdated --format json";

pub(super) const SETUP: &str = "\
Does what [setup] in the profile says, without opening a box: each step once, as root of a clean box over the image, \
which becomes a layer that all boxes with the same image and steps share. enter and run do the same when it is missing.

Examples:
  devbox setup                  do what is left of it
  devbox setup --push           send the results to the `cache` of the profile
  devbox setup --again 1        from the first step, for newer packages
  devbox setup --log 2          what the second step printed
  devbox enter --at-failure     a shell where a step failed";

pub(super) const UPDATE: &str = "\
Fetches the image again, or another with --image, or the one the profile names by now. What the box wrote itself stays \
on top. Where the box has made a path its own that is not the same in both images, it stays as it is and says which; \
--force goes over all the same. In a project with a lock, the lock is renewed first.

Examples:
  devbox update rust-env
  devbox update rust-env --image docker.io/library/rust:1.90";

pub(super) const INIT: &str = "\
Looks at the files at the top of the folder (Cargo.toml, package.json, pyproject.toml, go.mod, CMakeLists.txt and those \
beside them that name versions), and writes a devbox.toml with comments: the image, pinned where the project asks for \
a version, the caches, and the packages and steps of set-up that it evidently needs. What was chosen is said with the \
reason. A devbox.toml that is there already is never touched.

Examples:
  devbox init
  devbox init ~/src/app
  devbox init --print";

pub(super) const PLAN: &str = "\
Reads the same profiles and flags as enter and run, and prints what they come to, without touching anything: no \
download, no box. Values taken from the host's environment are not printed.

Examples:
  devbox plan
  devbox plan rust-env --format json
  devbox plan --image debian:12 -v ~/data:/data";

pub(super) const TRUST: &str = "\
A devbox.toml that wants more than its own folder (other folders, your home, variables, keys, secrets; a network, \
for an untrusted box) is shown with why that matters, and asked about: by enter and run, and here without opening \
anything. What was accepted is not asked again as long as the wishes do not grow; a copy of the project elsewhere is \
asked about anew. Without a terminal nothing is accepted unless --yes says so, which counts for good.

Examples:
  devbox trust
  devbox trust --yes     in a script of your own, for a project you know
  devbox trust --list";

pub(super) const UNTRUST: &str = "\
The next enter or run asks again. Boxes that run keep what they have until they are stopped.

Examples:
  devbox untrust
  devbox untrust ~/src/app
  devbox untrust --all";

pub(super) const CONFIG: &str = "\
`config show` prints the merged profile, which is a profile again: `--origin` says behind each value which file and \
line it came from, or DEVBOX_DRIVER. What flags and this machine make of it is `devbox plan`'s to say.

`config schema` prints what keys there are and what they mean, for editors that know JSON Schema: with taplo (Even Better \
TOML), `#:schema ./devbox.schema.json` in the first line of a devbox.toml.

Examples:
  devbox config show
  devbox config show rust-env --origin
  devbox config show --format json
  devbox config schema > devbox.schema.json";

pub(super) const PULL: &str = "\
Layers are fetched in parallel, checked against their digests and unpacked on the way. Layers already here are \
not fetched again, and a pull that was cut off goes on where it stopped, layer by layer. Credentials, mirrors and \
certificates are those of podman and docker (auth.json, registries.conf, certs.d). The digest of each image's \
manifest is printed.

Images in files are taken in the same way, and known by the same words afterwards: oci:DIR[:NAME], \
oci-archive:FILE[:NAME], docker-archive:FILE[:NAME].

Examples:
  devbox pull debian:12
  devbox pull --platform linux/arm64 docker.io/library/rust:1
  devbox pull registry.example/team/app@sha256:...";

pub(super) const LOAD: &str = "\
Takes what `devbox save`, `podman save`, `docker save` and `skopeo copy` write: OCI archives, docker archives, also \
compressed, and folders in OCI's image layout. Digests are checked as in a pull, and layers already here are not \
read. The names of the images are printed: those they have in the archive, or localhost/FILE:TAG.

Examples:
  devbox load image.tar
  podman save debian:12 | devbox load
  devbox load --tag tools:2 ./layout";

pub(super) const SAVE: &str = "\
Writes an OCI archive, which podman, skopeo and docker read. Layers that came from a registry are fetched from there \
again, so that manifest and digests stay what they were. Where that can't be, they are packed anew from the store: \
the manifest is then another, which is said; the diff ids, by which the layers are known, never change.

Examples:
  devbox save debian:12 -o debian.tar
  devbox save tools:2 | ssh host podman load";

pub(super) const PUSH: &str = "\
Sends only what the registry lacks: a layer that another of its repositories has is mounted from there, one from \
another registry passes through without touching the disk, and one that is nowhere else is packed from the store. An \
upload that was cut goes on where it stopped. The manifest goes last. Its digest is printed.

Examples:
  devbox push registry.example/team/tools:2
  devbox push debian:12 127.0.0.1:5000/debian:12";

pub(super) const TAG: &str = "\
Nothing is copied, and the old names stay. `devbox rmi` takes a name away again.

Examples:
  devbox tag debian:12 registry.example/team/base:1
  devbox tag 3f2c9a1b77de tools:2";

pub(super) const RMI: &str = "\
Takes the name away, and with the last name the image, and the layers that no other image and no box stands on. \
Boxes keep working.

Examples:
  devbox rmi debian:12
  devbox rmi 3f2c9a1b77de";

pub(super) const LOGIN: &str = "\
The registry is asked whether it knows you before anything is kept. Logins are kept where podman keeps its own \
(REGISTRY_AUTH_FILE, else $XDG_RUNTIME_DIR/containers/auth.json, else ~/.config/containers/auth.json), in the same \
form, and by the same credential helpers. A login for a part of a registry goes before one for all of it.

Examples:
  devbox login
  devbox login -u me registry.example:5000
  pass show quay | devbox login -u me --password-stdin quay.io/team";

pub(super) const LOGOUT: &str = "\
Takes the login out of the file that login writes, or out of the helper named there. Logins that other tools keep in \
files of theirs stay.

Examples:
  devbox logout registry.example:5000
  devbox logout --all";

pub(super) const PRUNE: &str = "\
Removed are images without a name that no box is made of, layers of no image, and what interrupted commands left \
half-made. What a box or a running command uses always stays. References and digests of images are printed, and how \
much of the disk came free.

Caches that boxes share (mode = \"cache\") stay unless --caches is given; those of running boxes stay always.

Examples:
  devbox prune --dry-run
  devbox prune --all
  devbox prune --caches --older-than 30";

pub(super) const DF: &str = "\
Counted in blocks of the disk, each file once however many names it has. SHARED is what other images have as well, or \
what a box takes from its image; OWN is what comes free when the image or box is removed.

Examples:
  devbox df
  devbox df --format json";

pub(super) const DEDUPE: &str = "\
Files of different images with the same bytes, mode, time of change and attributes become hard links of one. Two files \
of one image or box never do, and layers of running boxes are left alone, so all a box can see of it is a higher count of \
links. It runs with the lowest priority and may be interrupted at any time; removals wait for it.

Examples:
  devbox dedupe
  nohup devbox dedupe &";

pub(super) const VERIFY: &str = "\
Reads every layer, makes the archive it came in again and compares digests; then looks at the mode, time, target and \
kind of every file. Damaged layers and files are printed. Ends with 1 when damage is found and not repaired.

With --repair damaged layers are fetched again, from where their image came. Boxes keep what is theirs; one that runs \
has to be stopped first.

Examples:
  devbox verify
  devbox verify --repair
  devbox verify debian:12 --format json";

pub(super) const DOCTOR: &str = "\
Each check passes, warns (a feature is missing) or fails (boxes cannot start), with its cause and the command \
that mends it. Ends with 125 when one fails.";

pub(super) const HOOK: &str = "\
With this in its start file a shell enters a project's box when it goes into a folder with a devbox.toml (or below), and \
goes on outside when the box's shell leaves that folder. Entering a box by hand once allows it; nothing is asked, \
fetched or made on the way, and where something would have to be, one line says so. `exit` leaves the box and stays in the \
folder.

  ~/.bashrc                   command -v devbox >/dev/null && eval \"$(devbox hook bash)\"
  ~/.zshrc                    (( $+commands[devbox] )) && eval \"$(devbox hook zsh)\"
  ~/.config/fish/config.fish  command -q devbox; and devbox hook fish | source";

pub(super) const COMPLETIONS: &str = "\
The script asks devbox for candidates, so it knows your boxes, profiles, images and snapshots.

With --install it goes where the shell looks for scripts of yours: bash-completion/completions below XDG_DATA_HOME, a folder of \
zsh's fpath, or fish/completions below XDG_CONFIG_HOME. Start files are left alone; when one needs a line, that is said. A file \
that is not devbox's is kept unless --force.

Examples:
  devbox completions --install
  devbox completions --install zsh
  devbox completions bash > /usr/share/bash-completion/completions/devbox";

pub(super) const MAN: &str = "\
devbox(1), a page for each verb, and devbox.toml(5) with all keys of a profile, made from the same definitions as the \
program. --install puts them into $XDG_DATA_HOME/man, where man(1) looks when ~/.local/bin is in PATH, or by MANPATH.

Examples:
  devbox man | man -l -
  devbox man --install
  devbox man --dir /usr/share/man/man1";
