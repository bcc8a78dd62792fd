//! The caching forward proxy: what a client's `http_proxy` points to, and what balancers send
//! requests to.
//!
//! **What it is.** Two kinds of listeners (for clients; for balancers and other nodes), access
//! rules, an RFC 9111 memory cache, DNS with its own cache, pooled connections to origins or to a
//! parent proxy, CONNECT tunnels, an access log in Squid's format, and a gRPC face that tells what
//! it holds and explains every decision. It serves from what it has on disk when nothing else of
//! the cluster is alive.
//!
//! **What it is not.** It does not choose among nodes, retry on another one, or judge anybody's
//! health (balancer); it does not speak TLS for clients; it does not decide what its configuration
//! is (config-service).
//!
//! **Reading order**, which is the way of a request: [`listen`] → [`connection`] → [`transaction`]
//! (the state of one request) → [`dispatch`] (its steps) → [`request`] (what it asks, and for whom)
//! → [`health`] (of the proxy itself), or [`admission`] by the rules of [`admit`] → [`fetch`] by its
//! plan, with the [`cache`] (from memory, behind a fill, past it), or [`tunnel`] → [`route`] →
//! [`parent`] → [`upstream`] (with [`steps`] of its traces) → [`relay`] → [`respond`] (the only table
//! from error to status) → [`record`]. Beside it: [`start`] (the process), [`node`] (what workers
//! share), [`config`], [`dns`], [`egress`], [`explain`], [`api`], [`metrics`], [`memory`] (what the
//! process takes).

pub mod admission;
pub mod admit;
pub mod api;
pub mod cache;
pub mod config;
pub mod connection;
pub mod dispatch;
pub mod dns;
pub mod egress;
pub mod explain;
pub mod fetch;
pub mod health;
pub mod listen;
pub mod memory;
pub mod metrics;
pub mod node;
pub mod parent;
pub mod record;
pub mod relay;
pub mod request;
pub mod respond;
pub mod route;
pub mod start;
pub mod steps;
pub mod transaction;
pub mod tunnel;
pub mod upstream;

use std::net::SocketAddr;

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

/// Runs a proxy-node until it is told to stop and has drained.
///
/// # Errors
/// One sentence and its remedy: an address in use, no cluster key, an unusable data dir, a stop
/// before the first configuration.
pub fn run(options: Options) -> Result<(), chassis::Failure> {
    chassis::run("proxy-node", &options.chassis.clone(), move |process| {
        start::serve(process, options)
    })
}
