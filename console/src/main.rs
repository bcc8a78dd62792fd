//! The console as a binary of its own; `shoal serve console` is the same.

fn main() -> std::process::ExitCode {
    chassis::main("console", console::run)
}
