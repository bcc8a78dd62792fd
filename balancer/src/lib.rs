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
//! **Reading order**, from high to low: no module uses one that is named before it.
//!
//! - The process: `run` puts it together with an [`engine`] and its [`face`], behind which are
//!   [`operate`] (what operators want) and [`view`] (what can be seen).
//! - Which balancer holds the addresses that move: [`vrrp`].
//! - The way of a request: [`connection`] → [`health`] (of the balancer itself) or
//!   [`transaction`], which goes from server to server → [`respond`] (the only table from error
//!   to status) → [`attempt`] at one server → [`request`], or a [`tunnel`], over a connection
//!   to it ([`upstream`]). What a worker has for all of that is [`local`] to it; [`record`] says
//!   what came of a request, [`listen`] what is served where, [`pac`] tells browsers which proxy to
//!   ask.
//! - Who may get one: [`check`] and [`liveness`] ask the servers (a node first proves itself:
//!   [`handshake`]), [`suspect`] watches their silence. What is known is kept in the [`roster`] and
//!   published as [`snapshot`], made from the [`config`] with its [`route`]s, what becomes of
//!   header [`fields`], its certificates ([`tls`]) and the [`membership`]. Who finds everybody full
//!   waits in a [`queue`] for [`server`]s, of which each has its [`capacity`].
//! - What is counted, [`lately`] and in all: [`stats`], [`metrics`]; [`pages`] is the way of
//!   pages to workers.
//! - What is decided, purely: [`sticky`] (whose a client is), [`pick`] → [`standing`] →
//!   [`evidence`].

pub mod attempt;
pub mod capacity;
pub mod check;
pub mod config;
pub mod connection;
pub mod engine;
pub mod evidence;
pub mod face;
pub mod fields;
pub mod handshake;
pub mod health;
pub mod lately;
pub mod listen;
pub mod liveness;
pub mod local;
pub mod membership;
pub mod metrics;
pub mod operate;
pub mod pac;
pub mod pages;
pub mod pick;
pub mod queue;
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
pub mod sticky;
pub mod suspect;
pub mod tls;
pub mod transaction;
pub mod tunnel;
pub mod upstream;
pub mod view;
pub mod vrrp;

pub use run::{Options, run};
