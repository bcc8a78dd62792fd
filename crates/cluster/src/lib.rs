//! What a cluster is made of, as plain types, and the pure rules over them.
//!
//! No IO, no clock, no randomness: `now` and seeds come in as arguments. Nothing here knows gRPC
//! beyond [`wire`], the one place where protobuf messages become these types and back.
//!
//! Reading order: [`instance`], [`health`], [`status`], [`guard`], [`leaving`], [`recent`],
//! [`alarm`], [`text`], [`wire`].

#![warn(missing_docs)]

pub mod alarm;
pub mod guard;
pub mod health;
pub mod instance;
pub mod leaving;
pub mod recent;
pub mod status;
pub mod text;
pub mod wire;

pub use health::{Health, Opinion, Verdict};
pub use instance::{Endpoints, Instance, InstanceId, Service};
pub use status::{AdminState, InstanceStatus, PoolGuard, State};
