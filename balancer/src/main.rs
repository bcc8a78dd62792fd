//! `balancer`: see the library.

fn main() -> std::process::ExitCode {
    chassis::main("balancer", balancer::run)
}
