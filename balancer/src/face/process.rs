//! What the process is besides what it serves, for the faces that tell it as HAProxy does.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use nix::sys::resource::{Resource, getrlimit};

use super::haproxy::{
    info::Info,
    row::Row,
    rows::{Source, rows},
};
use crate::view::{View, rates::Subject};

/// Where nobody says how many descriptors there may be.
const USUAL_DESCRIPTORS: u64 = 1024;

/// The cluster around the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// Its id; empty while that is not known.
    pub cluster: String,
    /// Whether the registry is followed; if not, what is known of servers is what it said last.
    pub live: bool,
}

/// The process. Cheap to clone.
#[derive(Clone)]
pub struct About {
    /// Name of the balancer.
    pub name: String,
    around: Arc<dyn Fn() -> Around + Send + Sync>,
    pub workers: usize,
    /// It has been asked to stop.
    pub stop: chassis::StopSignal,
    /// Where the socket is, for who asks.
    sockets: Arc<Mutex<Vec<String>>>,
}

impl About {
    #[must_use]
    pub fn new(
        name: String,
        around: impl Fn() -> Around + Send + Sync + 'static,
        workers: usize,
        stop: chassis::StopSignal,
    ) -> Self {
        Self { name, around: Arc::new(around), workers, stop, sockets: Arc::default() }
    }

    /// The cluster now.
    #[must_use]
    pub fn around(&self) -> Around {
        (self.around)()
    }

    /// All rows of HAProxy's statistics now.
    #[must_use]
    pub fn rows(&self, view: &View) -> Vec<Row> {
        let stats = view.stats();
        rows(&Source {
            stats: &stats,
            rates: &view.rates,
            uptime: view.uptime_millis(),
            limit: descriptors(),
        })
    }

    /// What `show info` tells.
    #[must_use]
    pub fn info(&self, view: &View) -> Info {
        let stats = view.stats();
        let rates = view.rates.of(&Subject::Process);
        let sum = |of: fn(&crate::view::Frontend) -> u64| stats.frontends.iter().map(of).sum();
        let uptime_seconds = view.uptime_millis() / 1000;
        let now = u64::try_from(stats.taken_at.as_second()).unwrap_or(0);
        Info {
            version: chassis::VERSION.to_owned(),
            node: self.name.clone(),
            pid: std::process::id(),
            workers: self.workers as u64,
            uptime_seconds,
            started_at: now.saturating_sub(uptime_seconds),
            descriptors: descriptors(),
            connections: sum(|it| it.totals.active_connections),
            connections_total: sum(|it| it.totals.connections),
            requests_total: sum(|it| it.totals.requests),
            connection_rate: rates.sessions,
            connection_rate_max: rates.sessions_max,
            bytes_out_total: sum(|it| it.totals.bytes_out),
            bytes_out_rate: rates.bytes,
            listeners: stats.frontends.len() as u64,
            dropped_logs: view.recorder.dropped(),
            stopping: self.stop.is_stopping(),
            memory_limit: chassis::memory::limit().map_or(0, |limit| limit.bytes),
            memory: self.memory(),
        }
    }

    /// Bytes in use; 0 where the kernel does not say.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|it| it.trim().trim_end_matches("kB").trim().parse().ok());
        kibibytes.map_or(0, |it: u64| it * 1024)
    }

    /// A socket for these commands is here.
    pub fn listens(&self, path: &Path) {
        self.add(format!("unix@{}", path.display()));
    }

    /// And here, for operators' certificates.
    pub fn listens_at(&self, address: std::net::SocketAddr) {
        self.add(format!("ipv{}@{address}", if address.is_ipv4() { 4 } else { 6 }));
    }

    fn add(&self, socket: String) {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
    }

    /// Where commands can be given, as HAProxy names addresses.
    #[must_use]
    pub fn sockets(&self) -> Vec<String> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How many descriptors the process may have now.
fn descriptors() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(USUAL_DESCRIPTORS, |(soft, _)| soft)
}
