//! C and C++: CMake, Meson, autotools, a Makefile with sources beside it.

use super::Toolchain;
use super::folder::Folder;

const SOURCES: [&str; 5] = [".c", ".cc", ".cpp", ".cxx", ".C"];

pub(super) fn find(folder: &Folder<'_>) -> Option<Toolchain> {
    let makefile =
        folder.first(&["Makefile", "GNUmakefile", "makefile"]).filter(|_| folder.has_sources(&SOURCES));
    let build = folder.first(&["CMakeLists.txt", "meson.build", "configure.ac"]);
    let told_by = build.or(makefile)?;
    let shown = folder.shown(told_by);
    let mut c = Toolchain::new("C or C++", "c-env", "", &shown);
    c.debian = &["build-essential", "pkg-config"];
    let packages: &[&str] = match build {
        Some("CMakeLists.txt") => &["cmake", "ninja-build"],
        Some("meson.build") => &["meson", "ninja-build"],
        Some(_) => &["autoconf", "automake", "libtool"],
        None => &[],
    };
    c.package(packages, &format!("{shown} is there"));
    for (file, package) in [("conanfile.txt", "conan"), ("conanfile.py", "conan"), ("vcpkg.json", "vcpkg")] {
        if folder.has(file) {
            c.remarks.push(format!("{} asks for {package}, which Debian does not have.", folder.shown(file)));
        }
    }
    Some(c)
}
