//! Shoal's gRPC contracts: the messages, clients and servers generated from the .proto files beside
//! this crate, and nothing else.
//!
//! It holds no behaviour: conversion into the domain's own types is in `cluster::wire` and at each
//! service's API. Read the .proto files, not `src/gen`. `tests/generated.rs` writes and checks the
//! generated code.

#![allow(missing_docs, clippy::all, clippy::pedantic)]

/// All file descriptors, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("gen/descriptors.bin");

/// `shoal.access.v1`
pub mod access {
    include!("gen/shoal.access.v1.rs");
}
/// `shoal.purge.v1`
pub mod purge {
    include!("gen/shoal.purge.v1.rs");
}
/// `shoal.registry.v1`
pub mod registry {
    include!("gen/shoal.registry.v1.rs");
}
/// `shoal.config.v1`
pub mod config {
    include!("gen/shoal.config.v1.rs");
}
/// `shoal.health.v1`
pub mod health {
    include!("gen/shoal.health.v1.rs");
}
/// `shoal.balancer.v1`
pub mod balancer {
    include!("gen/shoal.balancer.v1.rs");
}
/// `shoal.proxy.v1`
pub mod proxy {
    include!("gen/shoal.proxy.v1.rs");
}
/// `shoal.audit.v1`
pub mod audit {
    include!("gen/shoal.audit.v1.rs");
}
/// `shoal.state.v1`
pub mod state {
    include!("gen/shoal.state.v1.rs");
}
/// `shoal.backup.v1`
pub mod backup {
    include!("gen/shoal.backup.v1.rs");
}
/// `shoal.log.v1`
pub mod log {
    include!("gen/shoal.log.v1.rs");
}
/// `shoal.follower.v1`
pub mod follower {
    include!("gen/shoal.follower.v1.rs");
}
