//! The backup-service as a binary of its own; `shoal serve backup-service` is the same.

fn main() -> std::process::ExitCode {
    chassis::main("backup-service", backup_service::run)
}
