//! The process's recorder, and every metric name of this crate.
//!
//! The `metrics` crate has one recorder a process; this is where it is installed. Handles are
//! registered once by whoever counts.

use std::sync::OnceLock;

use ::metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Tasks that panicked and were started again. Label `task`.
pub const TASK_PANICS: &str = "shoal_task_panics_total";
/// Panics of any kind, by the `thread` on which they happened: those of supervised tasks, of
/// connections, of calls.
pub const PANICS: &str = "shoal_panics_total";
/// gRPC calls by `path` (a known rpc) and `result` (canonical code in lower case).
pub const GRPC_CALLS: &str = "shoal_grpc_calls_total";
/// TLS handshakes that failed, by `side` (server, client).
pub const HANDSHAKES_FAILED: &str = "shoal_tls_handshakes_failed_total";
/// gRPC connections open now.
pub const GRPC_CONNECTIONS: &str = "shoal_grpc_connections";
/// When the certificate in use ends, in seconds since the epoch.
pub const CERTIFICATE_EXPIRES: &str = "shoal_certificate_expires_timestamp_seconds";
/// 1 while the lease at the registry is kept alive.
pub const REGISTERED: &str = "shoal_registered";
/// 1 while membership is followed live; 0 while it is the last one known.
pub const MEMBERSHIP_LIVE: &str = "shoal_membership_live";
/// 1 while the config-service is followed; 0 while it is out of reach.
pub const CONFIGURATION_LIVE: &str = "shoal_configuration_live";
/// Configurations taken, by `result` (applied, rejected).
pub const CONFIGURATIONS: &str = "shoal_configurations_total";
/// 1 once the configuration in force is confirmed.
pub const CONFIGURATION_CONFIRMED: &str = "shoal_configuration_confirmed";
/// Lines logged, by `level` (error, warn).
pub const LOGGED: &str = "shoal_log_lines_total";
/// Always 1. Labels `service`, `name`, `version`.
pub const PROCESS: &str = "shoal_process_info";

// Of the operating system, written by `vitals` when `/metrics` is asked for; named as Prometheus's
// own clients name them.

/// Processor time used, in seconds.
pub const CPU: &str = "process_cpu_seconds_total";
/// Memory in use, in bytes.
pub const RESIDENT_MEMORY: &str = "process_resident_memory_bytes";
/// Address space, in bytes.
pub const VIRTUAL_MEMORY: &str = "process_virtual_memory_bytes";
/// Threads.
pub const THREADS: &str = "process_threads";
/// Descriptors in use.
pub const OPEN_FILES: &str = "process_open_fds";
/// Descriptors allowed.
pub const MOST_FILES: &str = "process_max_fds";
/// When the process started, in seconds since the epoch.
pub const STARTED: &str = "process_start_time_seconds";
/// Memory that this process and its neighbours may have: of the machine, or of the control group.
pub const MEMORY_LIMIT: &str = "shoal_memory_limit_bytes";
/// Memory of the machine that can still be had.
pub const MEMORY_AVAILABLE: &str = "shoal_memory_available_bytes";
/// Room for this user on the disk of the data dir, in bytes.
pub const DISK_FREE: &str = "shoal_data_dir_free_bytes";
/// Size of that disk, in bytes.
pub const DISK_SIZE: &str = "shoal_data_dir_size_bytes";
/// The wall clock of this process at the moment of the answer, in seconds since the epoch.
pub const CLOCK: &str = "shoal_clock_timestamp_seconds";

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Installs the process's recorder; later calls answer the same one.
pub fn install() -> PrometheusHandle {
    RECORDER
        .get_or_init(|| {
            let recorder = PrometheusBuilder::new().build_recorder();
            let handle = recorder.handle();
            if ::metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!(
                    "another metrics recorder is installed already: /metrics stays empty"
                );
            }
            describe();
            handle
        })
        .clone()
}

fn describe() {
    describe_counter!(TASK_PANICS, "Tasks that panicked and were started again");
    describe_counter!(PANICS, "Panics, by thread");
    describe_counter!(GRPC_CALLS, "gRPC calls by path and result");
    describe_counter!(HANDSHAKES_FAILED, "TLS handshakes that failed");
    describe_gauge!(GRPC_CONNECTIONS, "gRPC connections open now");
    describe_gauge!(
        CERTIFICATE_EXPIRES,
        "When the certificate in use ends, in seconds since the epoch"
    );
    describe_gauge!(REGISTERED, "1 while the lease at the registry is kept alive");
    describe_gauge!(MEMBERSHIP_LIVE, "1 while membership is followed live");
    describe_gauge!(CONFIGURATION_LIVE, "1 while the config-service is followed");
    describe_counter!(CONFIGURATIONS, "Configurations taken, by result");
    describe_gauge!(CONFIGURATION_CONFIRMED, "1 once the configuration in force is confirmed");
    describe_counter!(LOGGED, "Errors and warnings logged");
    describe_gauge!(PROCESS, "Always 1; says who this is");
}

pub(crate) fn task_panicked(task: &'static str) {
    counter!(TASK_PANICS, "task" => task).increment(1);
}

pub(crate) fn panicked(thread: &str) {
    counter!(PANICS, "thread" => thread.to_owned()).increment(1);
}

pub(crate) fn flag(name: &'static str, on: bool) {
    gauge!(name).set(if on { 1.0 } else { 0.0 });
}
