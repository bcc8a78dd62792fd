//! What a fill has to know.

use std::{net::IpAddr, rc::Rc, sync::Arc};

use relay::head::{Limits, Progress, RequestHead, Version};
use uuid::Uuid;

use super::{
    fill::head::lines,
    owner, plan,
    resource::{Fetch, Ruling},
    sibling,
    variants::Variants,
};
use crate::{
    cache::{
        facts::{RequestFacts, ResponseFacts},
        object::Object,
        policy,
    },
    config::Generation,
    local::Local,
    owner::Peer,
    relay::Received,
    request::{Destination, Forwarded},
    transaction::{Request, Transaction},
};

/// What is asked of the next hop, and for whom.
pub struct Order {
    /// The worker's own.
    pub local: Rc<Local>,
    /// The configuration of the request that caused it.
    pub generation: Arc<Generation>,
    pub request: Request,
    /// What the cache knows of it.
    pub facts: RequestFacts,
    /// What the configuration says of it.
    pub ruling: Ruling,
    /// Where it goes.
    pub destination: Destination,
    /// Addresses of the destination, where a rule wanted them.
    pub addresses: Option<Arc<[IpAddr]>>,
    /// Whose request it is.
    pub client: IpAddr,
    /// What becomes of X-Forwarded-For.
    pub forwarded: Forwarded,
    /// What is stored already and is not fit: it may stand in for an answer that cannot be had.
    pub stale: Option<Arc<Object>>,
    /// It is validated: our conditions take the place of the client's.
    pub validates: bool,
    /// Other variants of it: one of them may be the answer, too.
    pub variants: Variants,
    /// A client has had its answer already: nobody has to wait for this one.
    pub behind: bool,
    /// The node that owns it and is asked first, and whether what it sends is kept here too.
    pub owner: Option<(Arc<Peer>, bool)>,
    /// Why no sibling is asked.
    pub past_siblings: Option<&'static str>,
    /// Of the request that caused it.
    pub id: Uuid,
}

impl Order {
    /// What a fill has to know to ask for this request.
    pub(super) fn new(transaction: &Transaction, fetch: &Fetch<'_>, plan: &plan::Fill) -> Self {
        Self {
            stale: plan.stale(),
            validates: plan.validates,
            variants: Variants::of(transaction, fetch, plan),
            ..Self::anew(transaction, fetch)
        }
    }

    /// The same where nothing is stored.
    pub(super) fn anew(transaction: &Transaction, fetch: &Fetch<'_>) -> Self {
        let subject = transaction.subject(fetch.request, fetch.destination);
        let store = &transaction.local.node.store;
        let unshared = store.is_unshared(&fetch.key, transaction.seconds());
        Self {
            local: transaction.local.clone(),
            generation: transaction.generation.clone(),
            request: fetch.request.clone(),
            facts: fetch.facts.clone(),
            ruling: fetch.ruling.clone(),
            destination: fetch.destination.clone(),
            addresses: fetch.addresses.clone(),
            client: transaction.client.address,
            forwarded: transaction.client.forwarded,
            stale: None,
            validates: false,
            variants: Variants::default(),
            behind: false,
            owner: owner::asked(
                &subject,
                &owner::Circumstances { sender: transaction.sender, facts: &fetch.facts, unshared },
            ),
            past_siblings: sibling::past(
                &subject,
                &fetch.facts,
                fetch.addresses.is_some(),
                unshared,
            ),
            id: transaction.id,
        }
    }

    /// What is to be validated.
    pub(super) fn validated(&self) -> Option<&Arc<Object>> {
        self.stale.as_ref().filter(|_| self.validates)
    }

    /// What an answer confirms of what is stored: none but a 304 to a condition of ours does.
    pub(super) fn confirmed(&self, received: &Received) -> Option<Arc<Object>> {
        if received.head.status() != 304 {
            return None;
        }
        let etag = ResponseFacts::new(304, lines(&received.head, &received.bytes)).etag;
        match self.validated() {
            Some(stale) => {
                policy::confirmed(&[stale.etag.as_deref()], etag.as_deref()).map(|_| stale.clone())
            }
            None => self.variants.confirmed(etag.as_deref()).cloned(),
        }
    }

    /// From now on it asks without conditions of ours. False: it does already.
    pub(super) fn ask_plainly(&mut self) -> bool {
        let had = self.validated().is_some() || self.variants.tags().is_some();
        (self.validates, self.variants) = (false, Variants::default());
        had
    }

    /// Nothing has come of it: if that was behind an answer, it is not tried again at once.
    pub(super) fn note_if_behind(&self) {
        if let Some(stale) = self.stale.as_ref().filter(|_| self.behind) {
            let node = &self.local.node;
            node.store.note_failed(&stale.key, node.steady.seconds());
        }
    }

    /// The order for the whole of what this one asks a part of.
    pub(super) fn whole(self) -> Option<Self> {
        if !self.facts.range {
            return Some(self);
        }
        self.without(&[b"range", b"if-range"])
    }

    /// The order for what the next client may get, behind an answer that this one has had.
    pub(super) fn behind(self) -> Option<Self> {
        let order =
            self.without(&[b"range", b"if-range", b"if-none-match", b"if-modified-since"])?;
        Some(Self { behind: true, ..order })
    }

    /// The order that a POST leaves behind: what it got is what a GET would get.
    pub(super) fn posted(transaction: &Transaction, fetch: &Fetch<'_>) -> Self {
        let facts = fetch.facts.as_plain_get();
        Self { facts, ..Self::anew(transaction, fetch) }
    }

    /// The same without these fields.
    fn without(self, names: &[&[u8]]) -> Option<Self> {
        let request = without(&self.request, names)?;
        let facts = RequestFacts::new(b"GET", false, request.fields());
        Some(Self { request, facts, ..self })
    }
}

fn without(request: &Request, names: &[&[u8]]) -> Option<Request> {
    let view = request.view();
    let version = if view.version() == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut text =
        format!("{} {} {version}\r\n", view.method_text(), view.target_text()).into_bytes();
    let gone = |name: &[u8]| names.iter().any(|gone| name.eq_ignore_ascii_case(gone));
    for line in view.fields().filter(|line| !gone(line.name)) {
        for part in [line.name, b": ", line.value, b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(b"\r\n");
    let mut head = Box::new(RequestHead::new());
    let parsed = matches!(head.parse(&text, &Limits::most()), Ok(Progress::Complete(_)));
    parsed.then(|| Request { head, bytes: text.into(), ..request.clone() })
}
