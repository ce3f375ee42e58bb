//! The `devbox` command: turns the library's answer into an exit code, nothing else.

fn main() -> std::process::ExitCode {
    devbox::run()
}
