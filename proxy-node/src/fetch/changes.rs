//! What an answer that goes past the cache means for what is stored: one to an unsafe method makes
//! it doubtful (RFC 9111 §4.4), one to a HEAD renews it or shows that it is another (§4.3.5), and
//! one to a POST may be what a GET would get (RFC 9110 §9.3.3). Decided by [`policy`], done before
//! the client has the answer.

use std::sync::Arc;

use relay::{field::Field, head::Response, method::Method};

use super::{
    plan::Why,
    renew::{self, Renewal},
    resource::Fetch,
    ticket::Ticket,
};
use crate::{
    cache::{
        facts::ResponseFacts,
        keying,
        object::Object,
        policy::{self, Bypass, Freshness, HeadSays, Identity, NotStored},
    },
    relay::{Received, Then},
    transaction::Transaction,
};

/// What has to be known before the answer comes.
pub(super) struct Changes {
    asked_at: u64,
    why: Why,
    /// What a HEAD may say something of. The ticket is there so that a purge meanwhile reaches it.
    stored: Option<(Arc<Object>, Ticket)>,
}

impl Changes {
    pub(super) fn new(
        transaction: &Transaction,
        fetch: &Fetch<'_>,
        why: Why,
        stored: Option<Arc<Object>>,
    ) -> Self {
        let stored = stored.filter(|object| fetch.facts.head && object.content.is_complete());
        let store = &transaction.local.node.store;
        Self {
            asked_at: transaction.seconds(),
            why,
            stored: stored.map(|object| (object, store.lead(&fetch.key))),
        }
    }

    /// When the request was sent, in steady seconds.
    pub(super) const fn asked_at(&self) -> u64 {
        self.asked_at
    }

    /// The answer is here.
    pub(super) fn answered(
        &self,
        transaction: &Transaction,
        fetch: &Fetch<'_>,
        answer: &Received,
    ) -> Then {
        let view = answer.head.view(&answer.bytes);
        if let Some((stored, ticket)) = &self.stored {
            self.head(transaction, fetch, answer, stored, ticket);
        }
        let method = fetch.request.view().method_text().as_bytes();
        if !policy::invalidates(method, answer.head.status()) {
            return Then::Send;
        }
        invalidate(transaction, fetch, view);
        if self.why == Why::Bypass(Bypass::Method)
            && transaction.method == Method::Post
            && self.may_answer_a_get(transaction, fetch, view).is_ok()
        {
            Then::Take
        } else {
            Then::Send
        }
    }

    /// RFC 9111 §4.3.5.
    fn head(
        &self,
        transaction: &Transaction,
        fetch: &Fetch<'_>,
        answer: &Received,
        stored: &Arc<Object>,
        ticket: &Ticket,
    ) {
        let view = answer.head.view(&answer.bytes);
        let facts = facts(transaction, view);
        let length = view
            .value(Field::ContentLength)
            .and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok());
        let said =
            Identity { etag: facts.etag.as_deref(), last_modified: facts.last_modified, length };
        let known = Identity {
            etag: stored.etag.as_deref(),
            last_modified: stored.last_modified,
            length: stored.length(),
        };
        let outdated = match policy::head_says(known, facts.status, said) {
            HeadSays::Nothing => false,
            HeadSays::Other => true,
            HeadSays::Same => {
                let renewal = Renewal {
                    node: &transaction.local.node,
                    generation: &transaction.generation,
                    ruling: &fetch.ruling,
                    request: &fetch.facts,
                    head: &answer.head,
                    bytes: &answer.bytes,
                    asked_at: self.asked_at,
                };
                renewal.alike(stored, ticket);
                match renewal.of(stored) {
                    (new, Ok(())) => {
                        ticket.store(&new);
                        false
                    }
                    // It says nothing of what others may have.
                    (_, Err(NotStored::Authorization | NotStored::Method)) => false,
                    (_, Err(_)) => true,
                }
            }
        };
        if outdated {
            transaction.local.node.store.outdate(stored);
        }
    }

    /// RFC 9110 §9.3.3.
    fn may_answer_a_get(
        &self,
        transaction: &Transaction,
        fetch: &Fetch<'_>,
        answer: Response<'_>,
    ) -> Result<(), NotStored> {
        let facts = facts(transaction, answer);
        // What it says itself, whatever a pattern says of its URL.
        let times = renew::times(&transaction.local.node, self.asked_at);
        let freshness = Freshness::new(&facts, fetch.key.as_bytes(), None, times);
        let location = answer.value(Field::ContentLocation);
        let of_target = location.and_then(|it| fetch.key.sibling(it)).as_ref() == Some(&fetch.key);
        policy::storable_posted(&fetch.facts, &facts, &freshness, of_target)
    }
}

fn facts(transaction: &Transaction, answer: Response<'_>) -> ResponseFacts {
    let targets = &transaction.generation.document.cache.targeted_fields;
    let fields = answer.fields().map(|line| (line.name, line.value));
    ResponseFacts::targeted(answer.status(), fields, targets)
}

/// RFC 9111 §4.4: what is stored for the target, and for what Location and Content-Location name
/// on the same origin, is doubtful now.
fn invalidate(transaction: &Transaction, fetch: &Fetch<'_>, answer: Response<'_>) {
    let store = &transaction.local.node.store;
    let rules = &transaction.generation.caching.keys;
    store.invalidate(&fetch.key);
    for field in [Field::Location, Field::ContentLocation] {
        if let Some(other) = answer.value(field).and_then(|value| fetch.key.sibling(value)) {
            store.invalidate(&keying::apply(rules, other).key);
        }
    }
}
