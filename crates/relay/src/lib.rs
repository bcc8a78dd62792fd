//! Moves HTTP/1.1 messages and bytes between two connections: the engine of balancer and proxy
//! node.
//!
//! **What it is.** A strict codec (pure: bytes in, decisions and bytes out) and a mover (the
//! sockets, one runtime per core) over it. One meaning for every message, or none: what two
//! recipients could read differently is refused and its connection closed. What is odd and has one
//! meaning all the same is accepted, more of it from servers than from clients, and goes on in the
//! plain spelling.
//!
//! **What it is not.** No policy: who may ask, which node gets it, what is cached, what a client
//! reads on an error page, is the services'. No general HTTP library: no HTTP/2, no TLS of its own
//! (that is rustls'), no header map, no URL type, no guess at what a message was meant to be.
//!
//! **Reading order.** The codec: [`malformed`] (every reason to refuse), [`field`], [`method`],
//! [`target`], [`head`] (a message's head), [`normal`] (one form of what it asks for), [`framing`]
//! and [`chunked`] (its body), [`hygiene`] and [`rewrite`] (what the next hop gets), [`interims`]
//! (1xx before the answer), [`via`] (loops), [`respond`] (answers of our own), [`proxy_protocol`]
//! (who the client is), [`proof`] (that balancer and node are ours), [`retry`] (what may be tried
//! again), [`octets`] (looking at texts quickly). Then the mover: [`worker`] and [`listen`]
//! (threads, accepting, draining), [`clients`] (how much of it one of them may have), [`clock`] and
//! [`wheel`] (deadlines), [`stream`] over [`buffer`] (one connection) with [`fault`] and [`tls`]
//! (what can go wrong with it), [`pool`] (idle upstreams), [`body`], [`exchange`] (a request and
//! its response), [`tunnel`].

#![warn(missing_docs)]

// The codec: pure.
pub mod chunked;
pub mod client_hello;
pub mod date;
pub mod field;
pub mod framing;
pub mod head;
pub mod hygiene;
pub mod interims;
pub mod malformed;
pub mod method;
pub mod normal;
pub mod octets;
pub mod pace;
pub mod proof;
pub mod proxy_protocol;
pub mod proxy_status;
pub mod respond;
pub mod retry;
pub mod rewrite;
pub mod target;
pub mod via;

// The mover: sockets.
pub mod body;
pub mod buffer;
pub mod clients;
pub mod clock;
pub mod exchange;
pub mod fault;
pub mod listen;
pub mod pool;
pub mod stream;
pub mod tls;
pub mod tunnel;
pub mod wheel;
pub mod worker;

#[cfg(test)]
mod media;
