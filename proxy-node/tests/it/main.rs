//! The node against real sockets: well-behaved peers and others, in both doors.

mod api;
mod cache;
mod connect;
mod doors;
mod explain;
mod filling;
mod leaving;
mod memory;
mod misbehaviour;
mod names;
mod panics;
mod parents;
mod reach;
mod relaying;
mod secure;
mod spelling;
mod support;
mod tls_origin;
mod tolerance;
mod traces;
mod upgrade;
