//! The cache: one per process, in memory, sharded by key, RFC 9111; and a tier on the disk.
//!
//! Reading order: [`key`] (what is the same thing) and [`keying`] (what is by the operator's word),
//! [`facts`] and [`directives`] (what messages say), [`vary`] (which variant), [`policy`] (what may
//! be done), [`object`] and [`content`] (what is kept, and where its bytes are), [`disk`] (the tier
//! below memory), [`serve`] (what of it a client gets), [`tags`] and [`purge`] (what is taken
//! away), [`budget`] (what memory is charged to), [`store`] and [`eviction`] (where objects are,
//! and what goes when it is full), [`unshared`] (what is not waited for), [`pauses`] (what is not
//! validated for now), [`sketch`] (how often what was asked for), [`ticket`] and [`hints`] (who
//! fills, who waits, and what those hear).
//!
//! A floor: it uses no other module of this crate, so it knows no configuration, no request under
//! way and no socket; of the crate `relay` it takes the codec's plain types and functions alone
//! (schemes, normal forms of URLs, dates, the limits of a head), which say the same thing
//! everywhere. Whoever fetches is above it, in [`crate::fetch`]. `e2e/tests/architecture.rs` checks
//! this.

pub mod budget;
pub mod content;
pub mod directives;
pub mod disk;
pub mod eviction;
pub mod facts;
pub mod hints;
pub mod key;
pub mod keying;
pub mod object;
pub mod pauses;
pub mod policy;
pub mod purge;
pub mod serve;
pub mod sketch;
pub mod store;
pub mod tags;
pub mod ticket;
pub mod unshared;
pub mod vary;
