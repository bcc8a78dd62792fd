//! What becomes of a client's connection after a request.

use relay::framing::BodyFraming;

use crate::tunnel::Open;

/// See the module.
pub enum ConnectionEnd {
    /// None yet: another request may come.
    Stays,
    /// It is closed in order; the client may still be sending.
    Close,
    /// It is reset: nobody is there to read on.
    Abort,
    /// What the client got, framed like this, is not whole: it gets all that was sent, and can
    /// tell.
    Cut(BodyFraming),
    /// It has ended.
    Over,
    /// It is a tunnel from now on.
    Tunnel(Box<Open>),
}
