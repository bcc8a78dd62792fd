//! Whether what is stored may be served (RFC 9111 §4), and whether it may stand in for an answer
//! that could not be had (RFC 9111 §4.2.4, RFC 5861 §4).

use super::freshness::Freshness;
use crate::cache::directives::RequestDirectives;

/// How long a stale response may stand in for an origin that cannot be reached, where nothing
/// forbids it (RFC 9111 §4.2.4).
pub(super) const UNREACHABLE_GRACE: u64 = 24 * 3600;

/// Why something stored is not served as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Past its lifetime.
    #[error("stale")]
    Stale,
    /// `no-cache` of the response.
    #[error("the response says no-cache: it is validated before every use")]
    NoCache,
    /// `no-cache` of the request.
    #[error("the request says no-cache")]
    Reload,
    /// Older than the request's `max-age`.
    #[error("older than the max-age of the request")]
    TooOld,
    /// Less freshness left than the request's `min-fresh`.
    #[error("not fresh for as long as the min-fresh of the request")]
    MinFresh,
}

/// Whether something stored may be served without asking the origin (RFC 9111 §4). Tells the age.
pub fn usable(stored: &Freshness, request: &RequestDirectives, now: u64) -> Result<u64, Unfit> {
    let age = stored.age(now);
    if stored.directives.no_cache {
        return Err(Unfit::NoCache);
    }
    if request.no_cache {
        return Err(Unfit::Reload);
    }
    if request.max_age.is_some_and(|most| age > most) {
        return Err(Unfit::TooOld);
    }
    if request.min_fresh.is_some_and(|left| age.saturating_add(left) > stored.lifetime) {
        return Err(Unfit::MinFresh);
    }
    if age < stored.lifetime {
        return Ok(age);
    }
    match request.max_stale {
        Some(most) if !stored.directives.forbids_stale() && stored.staleness(now) <= most => {
            Ok(age)
        }
        _ => Err(Unfit::Stale),
    }
}

/// What went wrong with the validation of something stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No answer could be had.
    Unreachable,
    /// The origin answered with 500, 502, 503 or 504.
    ServerError,
}

/// Whether something stale may stand in for an answer that could not be had (RFC 9111 §4.2.4, RFC
/// 5861 §4).
#[must_use]
pub fn may_stand_in(
    stored: &Freshness,
    request: &RequestDirectives,
    now: u64,
    trouble: Trouble,
) -> bool {
    if stored.directives.forbids_stale()
        || request.no_cache
        || request.max_age.is_some()
        || request.min_fresh.is_some()
    {
        return false;
    }
    let staleness = stored.staleness(now);
    match (stored.directives.stale_if_error.or(request.stale_if_error), trouble) {
        (Some(grace), _) => staleness <= grace,
        (None, Trouble::Unreachable) => staleness <= UNREACHABLE_GRACE,
        (None, Trouble::ServerError) => false,
    }
}
