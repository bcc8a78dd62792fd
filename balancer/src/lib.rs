//! The load balancer in front of the proxy nodes.
//!
//! **What it is.** Clients' HTTP/1.1 proxy requests come in on frontends, one runtime per core;
//! each goes to a server of the frontend's backend, and to another one when that fails and
//! [`relay::retry`] allows it. Beside the data path, a roster on the control runtime knows who the
//! servers are (registry and bundle) and what is thought of them (own checks, evidence from
//! traffic, suspicion), and publishes it as immutable snapshots.
//!
//! **What it is not.** No HTTP codec and no socket handling: that is `relay`. No cache, no access
//! rules: those are the nodes'. Nothing here needs the control plane to go on serving (invariant
//! 1).
//!
//! **Reading order.** A request: [`listen`] → [`connection`] → [`route`] (or
//! [`health`]) → [`request`], whose [`transaction`] goes from server to server: [`pick`] →
//! [`attempt`] (a node first proves itself: [`handshake`]) → [`tunnel`] → [`respond`] → [`record`].
//! What a worker has for all of that is [`local`] to it. Who may get a request: [`membership`] →
//! [`evidence`] and [`suspect`] → [`standing`], kept in [`roster`] and published as [`snapshot`] of
//! [`server`]s; [`check`] and [`liveness`] ask the servers. What can be seen: [`view`]; what
//! operators want: [`operate`]; both behind [`face`]. Put together in [`engine`]; around it:
//! [`config`], [`metrics`], [`stats`], [`lately`].

pub mod attempt;
pub mod check;
pub mod config;
pub mod connection;
pub mod engine;
pub mod evidence;
pub mod face;
pub mod handshake;
pub mod health;
pub mod lately;
pub mod listen;
pub mod liveness;
pub mod local;
pub mod membership;
pub mod metrics;
pub mod operate;
pub mod pick;
pub mod record;
pub mod request;
pub mod respond;
pub mod roster;
pub mod route;
mod run;
pub mod server;
pub mod snapshot;
pub mod standing;
pub mod stats;
pub mod suspect;
pub mod transaction;
pub mod tunnel;
pub mod view;

pub use run::{Options, run};
