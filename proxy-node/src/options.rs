//! What a proxy-node is told on its command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

/// Options of a proxy-node.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// What every service takes.
    #[command(flatten)]
    pub chassis: chassis::Options,
    /// Address of the listener for clients; `${node.listen.proxy}` in the bundle
    #[arg(long, env = "SHOAL_PROXY", default_value = "0.0.0.0:3128", value_name = "ADDRESS:PORT")]
    pub proxy: SocketAddr,
    /// Address of the listener for balancers and other nodes
    #[arg(long, env = "SHOAL_RELAY", default_value = "0.0.0.0:3129", value_name = "ADDRESS:PORT")]
    pub relay: SocketAddr,
    /// Directory of the disk cache, if the bundle gives it any bytes (`proxy.cache.disk`) [default:
    /// `cache` in the data dir]
    #[arg(long, env = "SHOAL_CACHE_DIR", value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Threads that move traffic [default: one per core]
    #[arg(long, env = "SHOAL_WORKERS", value_name = "N")]
    pub workers: Option<usize>,
    /// Which requests are traced.
    #[command(flatten)]
    pub traces: dataplane::trace::span::Options,
    /// Tell origins of every trace; without it only of those that a client began
    #[arg(long, env = "SHOAL_TRACE_ORIGINS")]
    pub trace_origins: bool,
    /// For tests of the rollout only: abort the process shortly after a configuration with this
    /// visible_hostname was applied
    #[arg(long, env = "SHOAL_TEST_CRASH_ON_VISIBLE_HOSTNAME", hide = true)]
    pub test_crash_on_visible_hostname: Option<String>,
}
