//! What of RFC 9111 does not hold for some URLs, because the operator says so, with the names and
//! the meaning of the options of Squid's `refresh_pattern`.
//!
//! Some change what an answer says before it is judged ([`Overrides::of_response`]), and what a
//! request says ([`Overrides::of_request`]); what is judged then are the rules of the RFC.

use std::time::Duration;

use super::{
    default::{self, DefaultTtl},
    freshness::{Freshness, Source, Times, guessable},
    pattern::RefreshPattern,
    storing::{NotStored, storable},
};
use crate::cache::facts::{RequestFacts, ResponseFacts};

/// The options of one refresh pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `min` holds also where the answer says a shorter time.
    pub override_expire: bool,
    /// `min` holds also where the share of the time since Last-Modified is shorter.
    pub override_lastmod: bool,
    /// `no-cache` and `max-age=0` of a request do not count.
    pub ignore_reload: bool,
    /// `no-store` of an answer does not count.
    pub ignore_no_store: bool,
    /// `private` of an answer counts as `no-cache`, as in Squid: it is stored, and validated before
    /// every use.
    pub ignore_private: bool,
    /// `must-revalidate` and `proxy-revalidate` do not count.
    pub ignore_must_revalidate: bool,
    /// Authorization of a request does not count.
    pub ignore_auth: bool,
    /// What is stale at once and has no validator is stored all the same.
    pub store_stale: bool,
    /// So long past its lifetime an answer stands in for one that cannot be had, and no longer.
    pub max_stale: Option<Duration>,
    /// A condition of a request is for the origin to judge.
    pub refresh_ims: bool,
}

impl Overrides {
    /// Whether requests are read differently.
    #[must_use]
    pub const fn concern_requests(&self) -> bool {
        self.ignore_reload || self.refresh_ims
    }

    /// What does not count of a request, when what is stored may answer it.
    pub fn of_request(&self, request: &mut RequestFacts) {
        let directives = &mut request.directives;
        if self.ignore_reload {
            directives.no_cache = false;
            directives.max_age = directives.max_age.filter(|age| *age > 0);
        }
        if self.refresh_ims && request.conditional() {
            request.directives.max_age = Some(0);
        }
    }

    /// What does not count of an answer.
    fn of_response(&self, response: &mut ResponseFacts) {
        let directives = &mut response.directives;
        directives.no_store &= !self.ignore_no_store;
        if self.ignore_private && directives.private {
            (directives.private, directives.no_cache) = (false, true);
        }
        if self.ignore_must_revalidate {
            (directives.must_revalidate, directives.proxy_revalidate) = (false, false);
        }
        if let Some(most) = self.max_stale.map(|most| most.as_secs()) {
            let stands_in = directives.stale_if_error.unwrap_or(most);
            directives.stale_if_error = Some(stands_in.min(most));
            directives.stale_while_revalidate =
                directives.stale_while_revalidate.map(|grace| grace.min(most));
        }
    }

    /// Makes a lifetime longer that the answer says itself.
    fn of_freshness(&self, min: Duration, freshness: &mut Freshness) {
        let said = !matches!(freshness.source, Source::Pattern | Source::Heuristic);
        if self.override_expire
            && said
            && freshness.lifetime < min.as_secs()
            && !freshness.directives.forbids_stale()
        {
            (freshness.lifetime, freshness.source) = (min.as_secs(), Source::Pattern);
        }
    }
}

/// What there is to say of an answer that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub freshness: Freshness,
    /// Whether it may be stored.
    pub storable: Result<(), NotStored>,
}

/// Which answers to requests with Authorization are shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authorization {
    /// As RFC 9111 §3.5 has it.
    #[default]
    Rfc9111,
    /// Those alone that say `public`.
    Public,
    Never,
}

/// What the configuration says of answers, beside the RFCs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exceptions<'a> {
    pub patterns: &'a [RefreshPattern],
    pub default_ttls: &'a [DefaultTtl],
    pub authorization: Authorization,
    /// The URL has the digest of what it names.
    pub immutable: bool,
}

/// How long what has its digest in its URL lives: it never changes.
const FOR_EVER: u64 = 10 * 365 * 24 * 3600;
/// What has no pattern.
const NONE: Overrides = Overrides {
    override_expire: false,
    override_lastmod: false,
    ignore_reload: false,
    ignore_no_store: false,
    ignore_private: false,
    ignore_must_revalidate: false,
    ignore_auth: false,
    store_stale: false,
    max_stale: None,
    refresh_ims: false,
};

/// Judges an answer by the RFCs and by what the configuration says differently. What does not count
/// of it is gone from `response` afterwards.
pub fn judge(
    request: &RequestFacts,
    response: &mut ResponseFacts,
    url: &[u8],
    exceptions: &Exceptions<'_>,
    times: Times,
) -> Judgement {
    let pattern = RefreshPattern::of(exceptions.patterns, url);
    let overrides = pattern.map_or(&NONE, |pattern| &pattern.overrides);
    let anonymous = (overrides.ignore_auth && request.authorization)
        .then(|| RequestFacts { authorization: false, ..request.clone() });
    let request = anonymous.as_ref().unwrap_or(request);
    overrides.of_response(response);
    // Nobody guesses for who says who he is.
    let guess = pattern.filter(|_| !request.personal() && guessable(response.status));
    let mut freshness = Freshness::new(response, url, guess, times);
    if let Some(pattern) = pattern.filter(|_| guessable(response.status)) {
        overrides.of_freshness(pattern.min, &mut freshness);
    }
    default::apply(exceptions.default_ttls, request, response, url, &mut freshness);
    if exceptions.immutable && response.status == 200 {
        (freshness.lifetime, freshness.source) = (FOR_EVER, Source::Immutable);
    }
    let shared = match exceptions.authorization {
        Authorization::Rfc9111 => true,
        Authorization::Public => response.directives.public,
        Authorization::Never => false,
    };
    if request.authorization && !shared {
        return Judgement { freshness, storable: Err(NotStored::Authorization) };
    }
    let storable = match storable(request, response, &freshness) {
        Err(NotStored::Useless) if overrides.store_stale => Ok(()),
        judged => judged,
    };
    Judgement { freshness, storable }
}

#[cfg(test)]
mod tests;
