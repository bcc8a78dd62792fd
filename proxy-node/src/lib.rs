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
//! **Reading order**, from high to low: no module uses one that is named before it.
//!
//! - The process: [`start`], [`load`] (how full it is), [`memory`] (what it takes), [`api`] and
//!   its [`explain`], [`purging`] (what the registry has purged).
//! - The way of a request: [`listen`] → [`connection`] → [`dispatch`] (its steps) → [`fetch`]
//!   by its plan (from memory, behind a fill, past the cache), [`tunnel`], [`purge`], or
//!   [`health`] (of the proxy itself) → [`relay`] (to the next hop and back) → [`upstream`] (a
//!   connection there).
//! - What goes that way: [`transaction`] (one request with its answer), [`steps`] (the spans of its
//!   trace), and [`admission`], which asks whether it may.
//! - What it is decided by: [`local`] (what a worker has for itself), [`node`] (what workers
//!   share), [`route`], [`config`] (the generation in force), [`owner`] (which node has what),
//!   [`icp`] (what other caches have), [`parent`], [`egress`].
//! - What knows none of them: [`request`] (what is asked, and for whom), [`respond`] (the only
//!   table from error to status), [`admit`] (the access rules), [`compress`] (content codings),
//!   [`petitions`] (what clients want purged), [`cache`], [`dns`], [`record`] (the access log),
//!   [`metrics`], [`endpoint`], [`protocol`], [`confirmation`] (as of when purges are known),
//!   [`clock`], [`options`].

pub mod admission;
pub mod admit;
pub mod api;
pub mod cache;
pub mod clock;
pub mod compress;
pub mod config;
pub mod confirmation;
pub mod connection;
pub mod dispatch;
pub mod dns;
pub mod egress;
pub mod endpoint;
pub mod explain;
pub mod fetch;
pub mod health;
pub mod icp;
pub mod listen;
pub mod load;
pub mod local;
pub mod memory;
pub mod metrics;
pub mod node;
pub mod options;
pub mod owner;
pub mod parent;
pub mod petitions;
pub mod protocol;
pub mod purge;
pub mod purging;
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

pub use options::Options;

/// Runs a proxy-node until it is told to stop and has drained.
///
/// # Errors
/// One sentence and its remedy: an address in use, no cluster key, an unusable data dir, a stop
/// before the first configuration.
pub fn run(options: Options) -> Result<(), chassis::Error> {
    chassis::run("proxy-node", &options.chassis.clone(), move |process| {
        start::serve(process, options)
    })
}
