//! Who owns an object among the nodes: with `proxy.cache.owners`, N nodes are one cache. An object
//! belongs to a node by the hash of its URL, the one that balancers with `uri_hash` pick by
//! ([`dataplane::object`], [`dataplane::ring`]); a node that has it not asks its owner before the
//! origin, and keeps a copy only of what is asked for often.
//!
//! An owner that is silent, gone or full is nothing to wait for: the origin is asked, and who does
//! not answer is passed over for a while, so that its objects belong to the next on the ring
//! meanwhile, as balancers have it. There is one hop: what a node asks for, nobody else is asked
//! for ([`crate::request::Sender::Node`]).
//!
//! Reading order: [`ring`] (who owns what; pure), [`peer`] (one of the others as this process knows
//! it), [`answer`] (what one says; pure), [`account`] (what a worker keeps).

mod account;
mod answer;
mod peer;
mod ring;

pub use account::Account;
pub use answer::{Had, Verdict, judge};
pub use peer::{Peer, SILENCE};
pub use ring::{Neighbour, Owners, Place, tier};
