//! A fill, and those who wait for it. Followers of one that came to nothing hear why.

use crate::{cache, respond::Error};

/// The right and the duty to fill a key of the store.
pub type Ticket = cache::ticket::Ticket<Error>;
/// Waits for a fill.
pub type Follower = cache::ticket::Follower<Error>;
/// What followers hear of a fill.
pub type Filled = cache::ticket::Outcome<Error>;
/// Interim responses that come before it.
pub type Hints = cache::hints::Listener<Error>;
