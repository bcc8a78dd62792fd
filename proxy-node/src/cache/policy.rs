//! What RFC 9111 lets a shared cache do: store a response, serve it, validate it first, or serve it
//! stale. Pure.

mod changes;
mod default;
mod freshness;
mod overrides;
mod pattern;
mod reuse;
mod storing;
mod validation;

pub use changes::{HeadSays, Identity, head_says, invalidates, storable_posted};
pub use default::DefaultTtl;
pub use freshness::{Freshness, Source, Times};
pub use overrides::{Authorization, Exceptions, Judgement, Overrides, judge};
pub use pattern::{RefreshPattern, names_query};
pub use reuse::{Trouble, Unfit, answers, may_precede_validation, may_stand_in, usable};
pub use storing::{NotStored, storable};
pub use validation::{any_of, confirmed};

use crate::cache::facts::RequestFacts;

/// Why a request goes past the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bypass {
    /// Neither GET nor HEAD.
    #[error("the method is neither GET nor HEAD")]
    Method,
    /// A GET with a body asks for something of its own.
    #[error("the request has a body")]
    Body,
    /// What answers it is none to its method.
    #[error("a field of the request asks for another method")]
    Override,
    /// `no-store`.
    #[error("the request says no-store")]
    NoStore,
    /// If-Match and its like.
    #[error("the request has a precondition that only the origin can decide")]
    Precondition,
    /// A rule of the configuration keeps nothing of such requests.
    #[error("a cache rule says never")]
    Rule,
    /// The cache is switched off.
    #[error("the cache is switched off")]
    Off,
}

/// Whether the cache has a say in a request (RFC 9111 §4, §5.2.1.5): in conditions that only the
/// origin can decide it has none (RFC 9110 §13.1).
pub fn eligible(request: &RequestFacts) -> Result<(), Bypass> {
    if !request.get && !request.head {
        Err(Bypass::Method)
    } else if request.body {
        Err(Bypass::Body)
    } else if request.overrides_method {
        Err(Bypass::Override)
    } else if request.directives.no_store {
        Err(Bypass::NoStore)
    } else if request.precondition {
        Err(Bypass::Precondition)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
