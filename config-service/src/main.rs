//! The config-service as a program of its own.

fn main() -> std::process::ExitCode {
    chassis::main("config-service", config_service::run)
}
