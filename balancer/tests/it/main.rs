//! The balancer over fake nodes, and its pure parts in simulations.

mod algorithms;
mod bounds;
mod checks;
mod failures;
mod fields;
mod frontends;
mod http2;
mod outliers;
mod pac;
mod panics;
mod records;
mod requests;
mod retries;
mod runtime_socket;
mod secure;
mod servers;
mod simulation;
mod support;
mod tcp;
mod tolerance;
mod traces;
mod unix_sockets;
mod upstreams;
