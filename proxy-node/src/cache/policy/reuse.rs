//! Whether what is stored may be served (RFC 9111 §4), and whether it may stand in for an answer
//! that could not be had (RFC 9111 §4.2.4, RFC 5861 §4).

use super::freshness::Freshness;
use crate::cache::directives::RequestDirectives;

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
    /// An operator purged it softly.
    #[error("soft-purged: it is validated before its next use")]
    Purged,
    /// Nobody has confirmed for long that it was not purged.
    #[error("in doubt: it may have been purged without this node's knowledge")]
    Unconfirmed,
}

/// Whether something stored may be served without asking the origin (RFC 9111 §4). Tells the age.
pub fn usable(stored: &Freshness, request: &RequestDirectives, now: u64) -> Result<u64, Unfit> {
    // It asks for validation, whatever the second is that something came in.
    if request.max_age == Some(0) && !stored.directives.no_cache && !request.no_cache {
        return Err(Unfit::TooOld);
    }
    answers(stored, request, now)
}

/// Whether something that has just come for another request may answer this one too. Tells the age.
pub fn answers(stored: &Freshness, request: &RequestDirectives, now: u64) -> Result<u64, Unfit> {
    let age = stored.age(now);
    // RFC 9111 §5.2.2.4.
    if stored.directives.no_cache {
        return Err(Unfit::NoCache);
    }
    // RFC 9111 §5.2.1.4.
    if request.no_cache {
        return Err(Unfit::Reload);
    }
    // RFC 9111 §5.2.1.1.
    if request.max_age.is_some_and(|most| age > most) {
        return Err(Unfit::TooOld);
    }
    // RFC 9111 §5.2.1.3.
    if request.min_fresh.is_some_and(|left| age.saturating_add(left) > stored.lifetime) {
        return Err(Unfit::MinFresh);
    }
    if age < stored.lifetime {
        return Ok(age);
    }
    // RFC 9111 §5.2.1.2, unless §4.2.4 forbids it.
    match request.max_stale {
        Some(most) if !stored.directives.forbids_stale() && stored.staleness(now) <= most => {
            Ok(age)
        }
        _ => Err(Unfit::Stale),
    }
}

/// Whether something stale may be served while it is validated (RFC 5861 §3). A request that says
/// how old or fresh its answer must be wants none that is stale (RFC 9111 §5.2.1.1).
#[must_use]
pub fn may_precede_validation(stored: &Freshness, request: &RequestDirectives, now: u64) -> bool {
    let demanding = request.no_cache || request.max_age.is_some() || request.min_fresh.is_some();
    !demanding
        && !stored.directives.forbids_stale()
        && stored
            .directives
            .stale_while_revalidate
            .is_some_and(|grace| stored.staleness(now) <= grace)
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
/// 5861 §4). `grace`: how many seconds past its lifetime, where the origin is out of reach and
/// neither message says anything of that.
#[must_use]
pub fn may_stand_in(
    stored: &Freshness,
    request: &RequestDirectives,
    now: u64,
    trouble: Trouble,
    grace: u64,
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
        (None, Trouble::Unreachable) => grace > 0 && staleness <= grace,
        (None, Trouble::ServerError) => false,
    }
}
