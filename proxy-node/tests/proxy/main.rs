//! The node against real sockets: well-behaved peers and others, in both doors.

mod api;
mod cache;
mod connect;
mod doors;
mod filling;
mod misbehaviour;
mod relaying;
mod support;
mod tolerance;
mod traces;
mod upgrade;
