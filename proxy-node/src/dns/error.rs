//! What comes of a question.

use std::{net::IpAddr, sync::Arc};

/// Why a name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such name, or it has no address.
    #[error("there is no such name")]
    NotFound,
    /// No answer in time.
    #[error("the resolver did not answer in time")]
    Timeout,
    /// Too many names are being looked up for this client, or below this domain.
    #[error("too many other names are being looked up")]
    Busy,
    /// Any other failure of the resolver.
    #[error("the resolver failed")]
    Failed,
}

/// What a name resolves to.
pub type Resolved = Result<Arc<[IpAddr]>, Error>;
