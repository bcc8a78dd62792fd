//! What keeps a client with its server.

use serde::{Deserialize, Serialize};

/// A cookie that says which server a client was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sticky {
    /// Its name.
    pub cookie: String,
    /// Given to clients that have none that is worth anything.
    pub insert: bool,
    /// Servers do not see it.
    pub indirect: bool,
    /// An answer that gives it is private.
    pub nocache: bool,
    /// Not for scripts.
    pub httponly: bool,
    /// Over TLS alone.
    pub secure: bool,
    /// It names a server by a hash of its name, and not by the name.
    pub hashed: bool,
}
