//! The node against real sockets: well-behaved peers and others, at both listeners.

mod api;
mod cache;
mod connect;
mod disk;
mod explain;
mod filling;
mod leaving;
mod limits;
mod listeners;
mod memory;
mod misbehaviour;
mod names;
mod panics;
mod parents;
mod parts;
mod reach;
mod relaying;
mod secure;
mod spelling;
mod stale;
mod support;
mod targets;
mod tls_origin;
mod tolerance;
mod traces;
mod upgrade;
