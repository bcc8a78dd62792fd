//! What is stored, renewed by an answer that says that it is still good: a 304 (RFC 9111 §4.3.4),
//! or one to a HEAD (§4.3.5).

use std::sync::Arc;

use bytes::Bytes;
use relay::head::ResponseHead;

use super::{
    fill::head::{lines, stored_head},
    resource::Ruling,
    ticket::Ticket,
};
use crate::{
    cache::{
        content::Content,
        facts::{RequestFacts, ResponseFacts},
        key::Key,
        object::{self, Object, Parts},
        policy::{self, Exceptions, Judgement, NotStored, Times},
        vary::Selection,
    },
    clock::unix_millis,
    config::Generation,
    node::Node,
};

/// An answer that renews, and what is needed to judge it.
pub(super) struct Renewal<'a> {
    pub(super) node: &'a Node,
    pub(super) generation: &'a Generation,
    /// What the configuration says of it.
    pub(super) ruling: &'a Ruling,
    /// Of the request that it answers.
    pub(super) request: &'a RequestFacts,
    pub(super) head: &'a ResponseHead,
    pub(super) bytes: &'a Bytes,
    /// When it was asked for, in steady seconds.
    pub(super) asked_at: u64,
}

impl Renewal<'_> {
    /// What becomes of something stored (RFC 9111 §3.2), and whether that may be kept.
    pub(super) fn of(&self, stale: &Object) -> (Arc<Object>, Result<(), NotStored>) {
        self.selected(stale, stale.selection.clone(), stale.content.clone())
    }

    /// What the answer says of the other variants with the same strong entity tag, it says of each
    /// (RFC 9111 §4.3.4).
    pub(super) fn alike(&self, stale: &Arc<Object>, ticket: &Ticket) {
        let strong = stale.etag.as_ref().is_some_and(|etag| etag.starts_with(b"\""));
        for other in self.node.store.variants(&stale.key) {
            let same = strong && other.etag == stale.etag && other.can_be_validated();
            if !same || Arc::ptr_eq(&other, stale) {
                continue;
            }
            match self.of(&other) {
                (new, Ok(())) => ticket.renew(&new),
                (_, Err(NotStored::Authorization | NotStored::Method)) => {}
                (_, Err(_)) => self.node.store.outdate(&other),
            }
        }
    }

    /// What becomes of something stored for requests that select something else so far.
    pub(super) fn also(
        &self,
        stale: &Object,
        selection: Selection,
    ) -> (Arc<Object>, Result<(), NotStored>) {
        self.selected(stale, selection, stale.content.again())
    }

    fn selected(
        &self,
        stale: &Object,
        selection: Selection,
        content: Content,
    ) -> (Arc<Object>, Result<(), NotStored>) {
        let answer = stored_head(self.head, self.bytes, &self.node.pseudonym.load());
        let merged = object::refreshed(&stale.head, &answer);
        let targets = &self.generation.document.cache.targeted_fields;
        let mut facts = ResponseFacts::targeted(stale.status, object::fields(&merged), targets);
        // Age is not kept with the fields.
        facts.age = ResponseFacts::new(304, lines(self.head, self.bytes)).age;
        let times = times(self.node, self.asked_at);
        let request = self.request.as_plain_get();
        let Judgement { freshness, storable } =
            judge(self.generation, self.ruling, &request, &mut facts, &stale.key, times);
        let parts = Parts {
            key: stale.key.clone(),
            head: merged.into(),
            selection,
            from: stale.from,
            freshness,
            declared: stale.declared,
            content,
        };
        let renewed = Object::new(&facts, parts).placed(self.ruling.placement);
        (Arc::new(renewed), storable)
    }
}

/// When a response that has just come was asked for and came.
pub(super) fn times(node: &Node, asked_at: u64) -> Times {
    Times { asked_at, received_at: node.steady.seconds(), wall: unix_millis() / 1000 }
}

/// What there is to say of an answer.
pub(super) fn judge(
    generation: &Generation,
    ruling: &Ruling,
    request: &RequestFacts,
    facts: &mut ResponseFacts,
    key: &Key,
    times: Times,
) -> Judgement {
    let caching = &generation.caching;
    let exceptions = Exceptions {
        patterns: &caching.refresh_patterns,
        default_ttls: &caching.default_ttls,
        authorization: caching.authorization,
        immutable: ruling.digest.is_some(),
    };
    policy::judge(request, facts, key.as_bytes(), &exceptions, times)
}
