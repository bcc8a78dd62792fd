//! Whether a response may be stored (RFC 9111 §3).

use super::freshness::{Freshness, Source, heuristically_cacheable};
use crate::cache::facts::{ContentRange, RequestFacts, ResponseFacts, Vary};

/// Request fields that an origin gets from us and not from the client: what varies with them varies
/// with who asks.
const WRITTEN_ANEW: [&str; 3] = ["x-forwarded-for", "forwarded", "via"];

/// Bytes of the fields of a request that no origin finds too many, so that a 400 is not for that.
const ORDINARY: usize = 4096;

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStored {
    /// Only answers to GET are stored.
    #[error("not an answer to a plain GET")]
    Method,
    /// 304, a part that nobody asked for, and what this cache does not know.
    #[error("its status is not one that this cache stores")]
    Status,
    /// `must-understand`, of a status whose rules this cache does not know.
    #[error("the response says must-understand, and its status is none that this cache knows")]
    NotUnderstood,
    /// `no-store`.
    #[error("the response says no-store")]
    NoStore,
    /// `private`.
    #[error("the response says private")]
    Private,
    /// Authorization without leave (RFC 9111 §3.5).
    #[error("the request had Authorization and the response does not say that it may be shared")]
    Authorization,
    /// `Vary: *`.
    #[error("the response varies with everything")]
    VaryAnything,
    /// Nothing says that it lives, and there is nothing to validate it with.
    #[error("it would be stale at once and has no validator")]
    Useless,
    /// Sets a cookie and says nothing of caching.
    #[error("it sets a cookie and does not say how long it lives")]
    Cookie,
    /// Ends with the connection, so that a truncated one looks complete, and `store_until_close` is
    /// off.
    #[error("its length is unknown and its end cannot be told from a lost connection")]
    Unframed,
    /// 429 and its like, and 400 to a large request: they blame the request for what nobody else's
    /// may have.
    #[error("its status is about the request, and not about what was asked for")]
    Blames,
    /// A part that cannot be put together with others, or whose place is not certain.
    #[error("a part without a strong entity tag, or not the one that was asked for")]
    Part,
    /// Over `max_object_size`.
    #[error("larger than max_object_size")]
    TooLarge,
    /// The memory is full of fills in progress.
    #[error("no memory left beside the fills in progress")]
    NoRoom,
}

impl NotStored {
    /// Whether the next answer for the same URL is for one request only, as far as one can tell.
    #[must_use]
    pub const fn lasts(self) -> bool {
        !matches!(self, Self::NoRoom | Self::Method | Self::Part | Self::Blames)
    }
}

/// Whether a response to this request may be stored, and how long it lives (RFC 9111 §3).
pub fn storable(
    request: &RequestFacts,
    response: &ResponseFacts,
    freshness: &Freshness,
) -> Result<(), NotStored> {
    let directives = &response.directives;
    if !request.get || request.directives.no_store {
        return Err(NotStored::Method);
    }
    // RFC 9111 §3.3. Where a part was asked for, another answer than that or the whole may be one
    // to the question for a part.
    match (request.range, response.status) {
        (true, 206) if response.part().is_none() || !response.is_strong() => {
            return Err(NotStored::Part);
        }
        (true, 200) if response.content_range == ContentRange::None => {}
        (true, 206) => {}
        (true, _) => return Err(NotStored::Method),
        (false, 206 | 304) => return Err(NotStored::Status),
        (false, 200..=599) if response.content_range == ContentRange::None => {}
        (false, _) => return Err(NotStored::Status),
    }
    let large = response.status == 400 && request.bytes > ORDINARY;
    if large || blames_the_request(response.status) {
        return Err(NotStored::Blames);
    }
    if directives.must_understand && !is_understood(response.status) {
        return Err(NotStored::NotUnderstood);
    }
    // RFC 9111 §5.2.2.3, §5.2.2.5: no-store is there for caches that know nothing of
    // must-understand.
    if directives.no_store && !directives.must_understand {
        return Err(NotStored::NoStore);
    }
    // RFC 9111 §5.2.2.7.
    if directives.private {
        return Err(NotStored::Private);
    }
    // RFC 9111 §3.5.
    if request.authorization
        && !(directives.public || directives.must_revalidate || directives.s_maxage.is_some())
    {
        return Err(NotStored::Authorization);
    }
    // RFC 9111 §4.1.
    match &response.vary {
        Vary::Anything => return Err(NotStored::VaryAnything),
        Vary::Fields(names) if names.iter().any(|name| WRITTEN_ANEW.contains(&name.as_ref())) => {
            return Err(NotStored::VaryAnything);
        }
        Vary::Fields(_) | Vary::Nothing => {}
    }
    let lifetime = directives.is_explicit() || response.expires.is_some();
    let explicit = directives.public || lifetime;
    let named = freshness.source == Source::Default;
    if !explicit && !named && !heuristically_cacheable(response.status) {
        return Err(NotStored::Status);
    }
    if !explicit && response.set_cookie {
        return Err(NotStored::Cookie);
    }
    let validator = response.etag.is_some() || response.last_modified.is_some();
    let lives = freshness.lifetime > freshness.initial_age && !directives.no_cache;
    // A part is served while it is fresh, and not behind that.
    let serves_stale = response.status != 206
        && !directives.forbids_stale()
        && (directives.stale_if_error.is_some_and(|grace| grace > 0)
            || directives.stale_while_revalidate.is_some_and(|grace| grace > 0));
    if lives || serves_stale || (validator && response.status == 200) {
        Ok(())
    } else {
        Err(NotStored::Useless)
    }
}

/// Statuses that say that a request was wrong in what no key has: its head, its body, how often it
/// comes. Some of them may not be stored at all (RFC 6585 §3, §4, §5, §6); one client's would be
/// what everybody gets, of the others too.
const fn blames_the_request(status: u16) -> bool {
    matches!(status, 408 | 411 | 413 | 415..=417 | 421 | 422 | 426 | 428 | 429 | 431 | 511)
}

/// Whether this cache does for a status what RFC 9110 §15 asks of caches: it knows all of them but
/// 304, which it does not keep.
const fn is_understood(status: u16) -> bool {
    matches!(
        status,
        200..=206 | 300..=303 | 305 | 307 | 308 | 401..=417 | 500..=505
    )
}
