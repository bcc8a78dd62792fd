//! Where a service keeps its state: what `--database` names, how that is opened, and what its
//! errors mean.
//!
//! It knows no table and no query: those are the services'. Reading order: [`location`] (which
//! database), [`sqlite`] (opening one: ours, nobody else's, and durable), [`error`] (what went
//! wrong).

#![warn(missing_docs)]

pub mod error;
pub mod location;
pub mod sqlite;

pub use error::{Error, Result};
pub use location::{BadLocation, Location};
