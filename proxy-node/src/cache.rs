//! The memory cache: one per process, sharded by key, RFC 9111.
//!
//! Reading order: [`key`] (what is the same thing), [`facts`] and [`directives`] (what messages
//! say), [`vary`] (which variant), [`policy`] (what may be done), [`object`] and [`body`] (what is
//! kept), [`budget`] (what its memory is charged to), [`store`] and [`eviction`] (where, and what
//! goes when it is full), [`unshared`] (what is not waited for), [`ticket`] (who fills, and who
//! waits), [`fill`] (how it gets there). All but the last are pure or nearly so: they know no
//! sockets and no clock.

pub mod body;
pub mod budget;
pub mod directives;
pub mod eviction;
pub mod facts;
pub mod fill;
pub mod hints;
pub mod key;
pub mod object;
pub mod policy;
pub mod serve;
pub mod store;
pub mod ticket;
pub mod unshared;
pub mod vary;
