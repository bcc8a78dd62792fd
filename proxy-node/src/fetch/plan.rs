//! What is done for a request that may go on: served from what is stored, fetched for the cache,
//! passed on, or refused. Pure; live requests go by it and [`crate::explain`] tells it.

use std::{sync::Arc, time::Duration};

use cluster_config::document::proxy::Cache;
use relay::{field::Field, head};

use crate::cache::{
    facts::RequestFacts,
    object::Object,
    policy::{self, Bypass, Trouble, Unfit},
    serve, vary,
};

/// A request, as far as the plan depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What the cache knows of it.
    pub facts: &'a RequestFacts,
    /// It asks for another protocol.
    pub upgrades: bool,
    /// The part that it asks for; `None`: no part, or several.
    pub range: Option<serve::Spec>,
}

impl<'a> Request<'a> {
    /// What counts of a request with these facts.
    #[must_use]
    pub fn new(request: head::Request<'a>, facts: &'a RequestFacts) -> Self {
        let range = if facts.range { request.value(Field::Range) } else { None };
        Self {
            facts,
            upgrades: request.upgrade().is_some(),
            range: range.and_then(serve::only_one),
        }
    }

    /// The first byte of the part that it asks for, where it says so.
    fn first_byte(&self) -> Option<u64> {
        self.range.and_then(serve::Spec::first)
    }

    /// Whether it asks for a part that can be put together with others. An answer to If-Range may
    /// lack the fields that the client has already (RFC 9110 §15.3.7).
    #[must_use]
    pub const fn wants_a_part_to_keep(&self) -> bool {
        let facts = self.facts;
        self.range.is_some()
            && !facts.authorization
            && !facts.conditional()
            && facts.if_range.is_none()
    }

    /// Whether a stored part answers it at `now`, in steady seconds: one that is not fresh does
    /// not, as there is no whole to be validated with it.
    #[must_use]
    pub fn is_answered_by(&self, part: &Object, now: u64) -> bool {
        self.range.is_some_and(|range| serve::covers(part, self.facts, &range))
            && policy::usable(&part.freshness, &self.facts.directives, now).is_ok()
    }
}

/// What is stored for a request.
#[derive(Clone, Debug)]
pub enum Found {
    Nothing,
    /// Something that its client may not have ([`crate::admission::Subject::may_have`]).
    Forbidden,
    Object(Arc<Object>),
    /// Something that may have been purged without this node's knowledge.
    Doubtful(Arc<Object>),
}

/// What is done.
#[derive(Clone, Debug)]
pub enum Plan {
    /// The stored object is served.
    Serve {
        object: Arc<Object>,
        /// Its age now, in seconds.
        age: u64,
        /// It is stale, and is validated behind the answer (RFC 5861 §3).
        behind: Option<Fill>,
    },
    /// Nothing fit is stored, and the request asks for nothing else.
    Refuse,
    /// The request goes to the next hop as it is, and nothing of it is stored.
    Pass(Why),
    /// The answer is fetched for the cache, by this request or by another.
    Fill(Fill),
}

/// How something is fetched for the cache.
#[derive(Clone, Debug)]
pub struct Fill {
    pub why: Why,
    /// What was found, and is not served as it is.
    pub found: Option<Arc<Object>>,
    /// What was found is validated. The client's own conditions, if any, do not go on then.
    pub validates: bool,
    /// The request may wait for the fill of another, and others may wait for its own.
    pub shared: bool,
    pub fetches: Fetches,
}

/// What is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetches {
    /// What is asked for, which is the whole.
    Whole,
    /// The whole, of which a part is asked for.
    WholeForPart,
    /// The part that is asked for, which is kept to be put together with others.
    Part,
}

impl Fill {
    /// What is served where no answer can be had: what was found, if it is whole.
    #[must_use]
    pub fn stale(&self) -> Option<Arc<Object>> {
        self.found.clone().filter(|object| object.content.is_complete())
    }
}

/// Why the cache does not answer by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// What may become a tunnel is nobody else's, and is no answer to keep.
    Upgrade,
    /// The cache has no say in such a request.
    Bypass(Bypass),
    /// What is stored is not for this client.
    Policy,
    /// What is stored is being filled, and far from the part that is asked for.
    Partial,
    /// Nothing is stored that the request selects.
    Missing,
    /// What is stored is being filled, and nothing has come of it for long.
    Halted,
    /// What is stored is not served as it is.
    Unfit(Unfit),
    /// What the request waited for changed too often.
    Contended,
}

impl Why {
    /// As Cache-Status has it (RFC 9211 §2.2).
    #[must_use]
    pub const fn cache_status(self) -> &'static str {
        match self {
            Self::Bypass(Bypass::Method) => "fwd=method",
            Self::Upgrade | Self::Bypass(_) => "fwd=bypass",
            Self::Policy => "fwd=bypass; detail=policy",
            Self::Partial => "fwd=partial",
            Self::Missing | Self::Halted => "fwd=uri-miss",
            Self::Unfit(Unfit::Reload | Unfit::TooOld | Unfit::MinFresh) => "fwd=request",
            Self::Unfit(Unfit::Stale | Unfit::NoCache) => "fwd=stale",
            Self::Unfit(Unfit::Purged) => "fwd=stale; detail=purged",
            Self::Unfit(Unfit::Unconfirmed) => "fwd=stale; detail=unconfirmed",
            Self::Contended => "fwd=miss; detail=contended",
        }
    }
}

/// Whether the cache has a say in a request, before anything is looked up.
///
/// # Errors
/// It has none, and the request is passed on.
pub fn eligible(request: &Request<'_>, capacity: u64) -> Result<(), Why> {
    if request.upgrades {
        return Err(Why::Upgrade);
    }
    if capacity == 0 {
        return Err(Why::Bypass(Bypass::Off));
    }
    policy::eligible(request.facts).map_err(Why::Bypass)
}

/// The plan for an [`eligible`] request at `now`, in steady milliseconds. `unshared` says whether
/// the answers for its key have turned out to be for one request each.
pub fn plan(
    request: &Request<'_>,
    found: Found,
    cache: &Cache,
    now: u64,
    unshared: impl FnOnce() -> bool,
) -> Plan {
    let directives = &request.facts.directives;
    let (found, why) = match found {
        Found::Nothing => (None, Why::Missing),
        Found::Forbidden => (None, Why::Policy),
        Found::Doubtful(object) => (Some(object), Why::Unfit(Unfit::Unconfirmed)),
        Found::Object(object) if object.is_purged() => (Some(object), Why::Unfit(Unfit::Purged)),
        Found::Object(object) => {
            match policy::usable(&object.freshness, directives, now / 1000) {
                // One that has come to a halt is nothing to wait for.
                Ok(_) if has_halted(&object, cache, now) => (Some(object), Why::Halted),
                Ok(_) if request.facts.range && !is_near(request, &object, cache) => {
                    (Some(object), Why::Partial)
                }
                Ok(age) => return Plan::Serve { object, age, behind: None },
                Err(unfit) if is_served_first(request, &object, now / 1000) => {
                    let behind = Fill {
                        why: Why::Unfit(unfit),
                        validates: object.can_be_validated(),
                        found: Some(object.clone()),
                        shared: true,
                        fetches: Fetches::Whole,
                    };
                    let age = object.freshness.age(now / 1000);
                    return Plan::Serve { object, age, behind: Some(behind) };
                }
                Err(unfit) => (Some(object), Why::Unfit(unfit)),
            }
        }
    };
    if directives.only_if_cached {
        return Plan::Refuse;
    }
    if matches!(why, Why::Policy | Why::Partial) || request.facts.head {
        return Plan::Pass(why);
    }
    fetch(request, found, why, cache, unshared)
}

/// The plan for a GET that what is `found` does not answer.
fn fetch(
    request: &Request<'_>,
    found: Option<Arc<Object>>,
    why: Why,
    cache: &Cache,
    unshared: impl FnOnce() -> bool,
) -> Plan {
    let facts = request.facts;
    // Something that is validated is asked for with our conditions; on a plain miss the client's
    // own go through, and its answer is its own.
    let validates = found.as_ref().is_some_and(|object| object.can_be_validated());
    let personal = facts.authorization || facts.directives.no_cache;
    if !facts.range {
        let own = personal || (facts.conditional() && !validates);
        let shared = !own && cache.collapsed_forwarding;
        return Plan::Fill(Fill { why, found, validates, shared, fetches: Fetches::Whole });
    }
    // The whole is worth fetching where the part begins near its beginning, so that nobody waits
    // for long or fetches much in vain.
    let near = request.first_byte().is_some_and(|first| first < cache.range_offset_limit);
    let own = personal || facts.conditional() || !cache.collapsed_forwarding;
    if near && !own && !unshared() {
        let fetches = Fetches::WholeForPart;
        return Plan::Fill(Fill { why, found, validates, shared: true, fetches });
    }
    if !request.wants_a_part_to_keep() {
        return Plan::Pass(why);
    }
    let fetches = Fetches::Part;
    Plan::Fill(Fill { why, found, validates: false, shared: false, fetches })
}

/// Whether something stale is served before it is validated. A HEAD cannot validate it.
fn is_served_first(request: &Request<'_>, object: &Object, now: u64) -> bool {
    let facts = request.facts;
    facts.get
        && !facts.directives.only_if_cached
        && object.content.is_complete()
        && policy::may_precede_validation(&object.freshness, &facts.directives, now)
}

/// Whether nothing has come of a body for so long that nobody who comes now begins to wait for it.
fn has_halted(object: &Object, cache: &Cache, now: u64) -> bool {
    !object.content.is_complete()
        && u128::from(object.content.silent_for(now)) > cache.follow_timeout.as_millis()
}

/// Whether what is there of an object reaches the part that is asked for, or will soon.
#[must_use]
pub fn is_near(request: &Request<'_>, object: &Object, cache: &Cache) -> bool {
    if object.content.is_complete() || object.status != 200 {
        return true;
    }
    let limit = cache.range_offset_limit;
    object.length().is_some()
        && request
            .first_byte()
            .is_some_and(|first| limit > 0 && first <= object.content.len().saturating_add(limit))
}

/// Whether what somebody else fetched answers a request with these fields too (RFC 9111 §4: as if
/// it had been stored before), `now` in steady seconds. `stands_in`: nothing better was to be had,
/// and so long past its lifetime it may stand in for that.
pub fn fits<'a>(
    facts: &RequestFacts,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    object: &Object,
    now: u64,
    stands_in: Option<Duration>,
) -> bool {
    let directives = &facts.directives;
    vary::selects(&object.selection, fields)
        && (policy::answers(&object.freshness, directives, now).is_ok()
            || stands_in.is_some_and(|grace| {
                let (trouble, grace) = (Trouble::Unreachable, grace.as_secs());
                policy::may_stand_in(&object.freshness, directives, now, trouble, grace)
            }))
}

#[cfg(test)]
mod tests;
