//! What every service process does the same: options, telemetry, admin HTTP, gRPC with mutual TLS
//! and authorisation, registration, membership, configuration, last-good snapshots, drain.
//!
//! It is not a framework: a service calls [`run`] with its body, gets a [`Process`], and gives each
//! of its modules the parts of it that the module needs. The chassis knows nothing of any one
//! service, of HTTP proxying, or of what is in a configuration.
//!
//! Reading order: [`options`] → `run` → `process` is the way of a start. The parts of a process are
//! `identity`, `lifecycle`, [`supervise`], `status`, `ports`, `network` and `exposition`. [`role`],
//! [`credentials`], `tls`, [`authorize`], `accept`, `guard`, `grpc`, `health`, `propagation`,
//! [`audit`] are the way of a call; [`connect`], `registration`, [`membership`], [`configuration`]
//! are the process's own calls; `drain` is its end, and [`transfer`] carries its state to a backup
//! and back. [`backoff`], [`clock`], [`random`], [`data_dir`], [`error`], [`metrics`], `vitals`,
//! `complaints` are what these stand on. [`pki`] makes certificates, and [`operator`] is the way in
//! for people; `inherited` and `systemd` are what it has to do with a service manager.

#![warn(missing_docs)]

mod accept;
mod admin;
pub mod audit;
pub mod authorize;
pub mod backoff;
pub mod certificate;
pub mod clock;
mod cluster_key;
mod complaints;
pub mod configuration;
pub mod connect;
pub mod credentials;
pub mod data_dir;
mod drain;
pub mod error;
mod exposition;
#[cfg(test)]
mod fault;
mod grpc;
mod guard;
mod health;
mod identity;
mod inherited;
mod lifecycle;
pub mod membership;
pub mod memory;
pub mod metrics;
mod network;
pub mod operator;
pub mod options;
pub mod pki;
pub mod places;
mod ports;
pub mod probe;
mod process;
mod propagation;
pub mod random;
mod registration;
mod retry;
pub mod role;
mod run;
pub mod silence;
mod status;
mod stream;
pub mod supervise;
mod systemd;
mod telemetry;
pub mod tls;
pub mod transfer;
mod vitals;

pub use authorize::Policy;
pub use clock::Clock;
pub use cluster_key::ClusterKey;
pub use configuration::{Applied, Follower, Problem, Rendered};
pub use connect::ServiceChannel;
pub use error::{Error, ErrorContext};
pub use exposition::Exposition;
pub use identity::ProcessIdentity;
pub use inherited::Inherited;
pub use lifecycle::{Lifecycle, StopSignal};
pub use membership::Membership;
pub use network::Network;
pub use options::Options;
pub use ports::Ports;
pub use process::Process;
pub use role::{Identity, Peer, Role};
pub use run::{exit, main, run};
pub use status::{Desired, DesiredHandle, Status, StatusHandle};
pub use supervise::Supervisor;
pub use telemetry::SpanSink;

/// Version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
