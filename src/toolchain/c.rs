//! C and C++: CMake, Meson, autotools, a Makefile with sources beside it.

use super::Toolchain;
use super::folder::Folder;

const SOURCES: [&str; 5] = [".c", ".cc", ".cpp", ".cxx", ".C"];

/// Libraries as CMake's `find_package` and as pkg-config call them, and Debian's package.
const LIBRARIES: &[(&str, &str, &str)] = &[
    ("", "alsa", "libasound2-dev"),
    ("BZip2", "bzip2", "libbz2-dev"),
    ("Boost", "", "libboost-all-dev"),
    ("CURL", "libcurl", "libcurl4-openssl-dev"),
    ("", "cairo", "libcairo2-dev"),
    ("Curses", "ncurses", "libncurses-dev"),
    ("", "dbus-1", "libdbus-1-dev"),
    ("EXPAT", "expat", "libexpat1-dev"),
    ("Eigen3", "eigen3", "libeigen3-dev"),
    ("Fontconfig", "fontconfig", "libfontconfig-dev"),
    ("Freetype", "freetype2", "libfreetype-dev"),
    ("GTest", "gtest", "libgtest-dev"),
    ("", "fuse3", "libfuse3-dev"),
    ("", "glib-2.0", "libglib2.0-dev"),
    ("", "gtk+-3.0", "libgtk-3-dev"),
    ("", "gtk4", "libgtk-4-dev"),
    ("JPEG", "libjpeg", "libjpeg-dev"),
    ("", "libcap", "libcap-dev"),
    ("Libevent", "libevent", "libevent-dev"),
    ("LibLZMA", "liblzma", "liblzma-dev"),
    ("", "liblz4", "liblz4-dev"),
    ("PCRE2", "libpcre2-8", "libpcre2-dev"),
    ("PNG", "libpng", "libpng-dev"),
    ("PostgreSQL", "libpq", "libpq-dev"),
    ("", "libseccomp", "libseccomp-dev"),
    ("", "libsystemd", "libsystemd-dev"),
    ("", "libudev", "libudev-dev"),
    ("", "libuv", "libuv1-dev"),
    ("LibXml2", "libxml-2.0", "libxml2-dev"),
    ("zstd", "libzstd", "libzstd-dev"),
    ("OpenSSL", "openssl", "libssl-dev"),
    ("Protobuf", "protobuf", "libprotobuf-dev"),
    ("", "readline", "libreadline-dev"),
    ("SDL2", "sdl2", "libsdl2-dev"),
    ("SQLite3", "sqlite3", "libsqlite3-dev"),
    ("X11", "x11", "libx11-dev"),
    ("ZLIB", "zlib", "zlib1g-dev"),
    ("fmt", "fmt", "libfmt-dev"),
    ("nlohmann_json", "nlohmann_json", "nlohmann-json3-dev"),
    ("spdlog", "spdlog", "libspdlog-dev"),
];

pub(super) fn find(folder: &Folder<'_>) -> Option<Toolchain> {
    let makefile =
        folder.first(&["Makefile", "GNUmakefile", "makefile"]).filter(|_| folder.has_sources(&SOURCES));
    let build = folder.first(&["CMakeLists.txt", "meson.build", "configure.ac"]);
    let told_by = build.or(makefile)?;
    let shown = folder.shown(told_by);
    let mut c = Toolchain::new("C or C++", "c-env", "", &shown);
    let packages: &[&str] = match build {
        Some("CMakeLists.txt") => &["cmake", "ninja-build"],
        Some("meson.build") => &["meson", "ninja-build"],
        Some(_) => &["autoconf", "automake", "libtool"],
        None => &[],
    };
    c.package(packages, &format!("{shown} is there"));
    for library in libraries(&folder.text(told_by).unwrap_or_default()) {
        let known =
            LIBRARIES.iter().find(|(cmake, pkg_config, _)| library == *cmake || library == *pkg_config);
        if let Some((_, _, package)) = known {
            c.package(&[package], &format!("{shown} looks for {library}"));
        }
    }
    for (file, package) in [("conanfile.txt", "conan"), ("conanfile.py", "conan"), ("vcpkg.json", "vcpkg")] {
        if folder.has(file) {
            c.remarks.push(format!("{} asks for {package}, which Debian does not have.", folder.shown(file)));
        }
    }
    Some(c)
}

/// The names that a build file looks for: the first word of `find_package`, all of pkg-config's.
fn libraries(text: &str) -> impl Iterator<Item = &str> {
    let word = |letter: char| letter.is_ascii_alphanumeric() || "_.+-".contains(letter);
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.flat_map(move |line| {
        let after = |call: &str| line.split_once(call).map(|(_, rest)| rest);
        let found = after("find_package(").map(|rest| (rest, 1));
        let asked = ["pkg_check_modules(", "PKG_CHECK_MODULES(", "dependency("].into_iter().find_map(after);
        let (rest, most) = found.or(asked.map(|rest| (rest, 16))).unwrap_or_default();
        rest.split(move |letter| !word(letter)).filter(|name| !name.is_empty()).take(most)
    })
}
