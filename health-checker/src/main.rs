//! The health-checker as a binary of its own; `shoal serve health-checker` is the same.

fn main() -> std::process::ExitCode {
    chassis::main("health-checker", health_checker::run)
}
