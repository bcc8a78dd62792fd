//! The registry as a program of its own.

fn main() -> std::process::ExitCode {
    chassis::main("registry", registry::run)
}
