//! What every service process does the same: options, telemetry, admin HTTP, gRPC with mutual TLS
//! and authorisation, registration, membership, configuration, last-good snapshots, drain.
//!
//! It is not a framework: a service calls [`run`] with its body, gets a [`Process`], and gives each
//! of its modules the parts of it that the module needs. The chassis knows nothing of any one
//! service, of HTTP proxying, or of what is in a configuration.
//!
//! **Reading order**, from high to low: no module uses one that is named before it.
//!
//! - A process: `run` (from the options to the exit code) → `process` (what a service's body is
//!   given) → `drain` (its end); `succession` hands it over to the next; `systemd` hears of all.
//! - What is served: `grpc` and `admin` → `accept` (handshakes, in bounds) → `guard` (who calls,
//!   and whether that one may), `health` → [`authorize`]; [`transfer`] (a service's state, to a
//!   backup and back).
//! - What the process asks of others: `registration`, [`configuration`] with its [`audit`],
//!   `network` → `watch` (who is there); [`operator`] is the way in for people; [`silence`] says
//!   why somebody does not answer.
//! - How others are reached: [`pki`] makes a [`certificate`] and the `cluster_key`; [`connect`] →
//!   [`membership`] → [`probe`] (how a probe shows that it is one), with [`credentials`].
//! - The parts of a process: `telemetry`, `complaints`, [`supervise`], `ports` and `inherited`
//!   (sockets of a service manager), `exposition`, [`takeover`] (from one process to the next),
//!   `vitals`, [`memory`], `status`, `identity`, `lifecycle`.
//! - What all of it stands on: [`data_dir`], [`options`], `retry`, [`backoff`], [`random`],
//!   [`clock`], [`metrics`], `propagation` (of traces), [`tls`], [`role`], `stream`, [`places`] (of
//!   a bounded number), [`scrape`] (numbers of `/metrics`), [`error`], `version`, and for tests
//!   `fault`.

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
pub mod scrape;
pub mod silence;
mod status;
mod stream;
mod succession;
pub mod supervise;
mod systemd;
pub mod takeover;
mod telemetry;
pub mod tls;
pub mod transfer;
mod version;
mod vitals;
mod watch;

pub use accept::{Accepted, Operators};
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
pub use takeover::{Estate, Predecessor};
pub use telemetry::SpanSink;
pub use version::VERSION;
