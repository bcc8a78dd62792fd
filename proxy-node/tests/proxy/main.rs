//! The node against real sockets: well-behaved peers and others, in both doors.

mod api;
mod cache;
mod connect;
mod doors;
mod filling;
mod leaving;
mod misbehaviour;
mod names;
mod parents;
mod reach;
mod relaying;
mod spelling;
mod support;
mod tolerance;
mod traces;
mod upgrade;
