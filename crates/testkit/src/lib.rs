//! What tests and benchmarks need around a cluster: origins, load, and a whole lab as real
//! processes.
//!
//! A dev-dependency only: nothing here is part of the product. Everything binds port 0 on loopback
//! and ends with its value.
//!
//! Reading order: [`origin`] (a server that counts who arrived), [`odd`] (what real servers write),
//! [`blackhole`] (peers that never answer), [`nameserver`] (which misbehaves by name), [`client`]
//! (one exchange through a proxy, step by step), [`load`] (many of them, counted), [`lab`] (a
//! cluster of real processes), [`network`] (hosts on one Ethernet), [`machine`]
//! (what it runs out of), [`port`] (known before anybody
//! listens there), [`alone`] (a test in a process of its own), [`wait`] (for a state, never for a
//! time).

#![warn(missing_docs)]

pub mod alone;
pub mod blackhole;
pub mod client;
pub mod lab;
pub mod load;
pub mod machine;
pub mod message;
pub mod nameserver;
pub mod network;
pub mod odd;
pub mod origin;
pub mod port;
pub mod wait;
