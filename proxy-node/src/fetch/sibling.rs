//! Whether caches on the same level are asked for what is not here. Live requests go by it and
//! [`crate::explain`] tells it.

use relay::field::Field;

use crate::{admission::Subject, cache::facts::RequestFacts};

/// Why no sibling is asked for a request; `None`: they are. `by_address`: a rule wanted the
/// destination's addresses.
#[must_use]
pub fn past(
    subject: &Subject<'_>,
    facts: &RequestFacts,
    by_address: bool,
    unshared: bool,
) -> Option<&'static str> {
    if subject.node.icp.siblings.load().is_empty() {
        return Some("there is none");
    }
    if facts.authorization || subject.request.lines().has(Field::ProxyAuthorization) {
        return Some("the request has credentials");
    }
    if facts.directives.no_cache || facts.directives.max_age == Some(0) {
        return Some("the request wants it from the origin");
    }
    if by_address || subject.generation.egress_by_client {
        // A sibling does not say where it had it from.
        return Some("rules tell apart who may have what from which address");
    }
    unshared.then_some("its answers are for one request each")
}
