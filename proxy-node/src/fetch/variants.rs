//! The variants of what is asked for that the request does not select: the origin is told of their
//! entity tags, and may say that one of them is the answer (RFC 9111 §4.1, §4.3.3).

use std::sync::Arc;

use super::{
    plan::{self, Fetches, Why},
    resource::Fetch,
};
use crate::{
    cache::{object::Object, policy},
    transaction::Transaction,
};

/// Those that the origin is told of, newest first.
#[derive(Clone, Debug, Default)]
pub struct Variants {
    objects: Vec<Arc<Object>>,
    tags: Vec<u8>,
}

impl Variants {
    /// Those of a miss whose client has no condition of its own (RFC 9111 §4.1).
    pub(super) fn of(transaction: &Transaction, fetch: &Fetch<'_>, plan: &plan::Fill) -> Self {
        let facts = &fetch.facts;
        let misses = plan.why == Why::Missing && plan.fetches == Fetches::Whole;
        if !misses || !facts.get || facts.conditional() || facts.authorization {
            return Self::default();
        }
        let mut objects = transaction.local.node.store.variants(&fetch.key);
        objects.retain(|object| {
            object.etag.is_some()
                && object.can_be_validated()
                && fetch.may_have(transaction, object.from)
        });
        let tags = objects.iter().filter_map(|object| object.etag.as_deref());
        let Some((tags, count)) = policy::any_of(tags) else { return Self::default() };
        objects.truncate(count);
        Self { objects, tags }
    }

    /// As If-None-Match has them; `None`: there are none.
    #[must_use]
    pub fn tags(&self) -> Option<&[u8]> {
        (!self.tags.is_empty()).then_some(self.tags.as_slice())
    }

    /// The one that a 304 with this entity tag means.
    pub(super) fn confirmed(&self, etag: Option<&[u8]>) -> Option<&Arc<Object>> {
        let tags: Vec<_> = self.objects.iter().map(|object| object.etag.as_deref()).collect();
        self.objects.get(policy::confirmed(&tags, etag)?)
    }
}
