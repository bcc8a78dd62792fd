//! How the leader of a fill is answered.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    cache::{content::Reader, object::Object, policy::NotStored},
    record::Hierarchy,
    relay::Received,
    respond::Error,
};

/// How the leader is answered.
pub enum Lead {
    /// From the cache.
    Object {
        object: Arc<Object>,
        /// A place at its beginning.
        reader: Reader,
        /// How it got there.
        how: How,
        hierarchy: Hierarchy,
        /// How long the origin took.
        took: Duration,
        /// Values of Set-Cookie, a line each: for the leader alone.
        cookies: Bytes,
    },
    /// With an answer that is not kept.
    Response(Box<Received>, NotStored),
    /// With a failure.
    Failed(Error),
}

/// How an object came to answer the request that led the fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Stored,
    /// It came from the node that owns it, or from a sibling, which keeps it.
    Owned,
    /// Validated: what was stored is still good.
    Unmodified,
    /// Stale, for want of an answer.
    StaleOnError,
}
