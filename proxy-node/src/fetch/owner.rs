//! Which node is asked before the origin, for what is not here. Live requests go by it and
//! [`crate::explain`] tells it.

use std::sync::Arc;

use dataplane::object;
use relay::{field::Field, head};

use crate::{
    admission::Subject, cache::facts::RequestFacts, node::Node, owner::Peer, request::Sender,
};

/// So many requests of late make something hot: a copy of it is kept here too.
const HOT: u8 = 8;

/// Who is asked first.
#[derive(Clone, Debug)]
pub enum Choice {
    /// Nobody: owners are switched off, or there is no other node.
    Off,
    /// This node owns it.
    Here,
    /// The origin, for this reason, although another node owns it.
    Past(&'static str),
    /// This one, which owns it.
    Node {
        peer: Arc<Peer>,
        /// What it sends is kept here too.
        hot: bool,
    },
}

/// What counts of a request beside itself.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    pub sender: Sender,
    pub facts: &'a RequestFacts,
    /// The answers for it have turned out to be for one request each.
    pub unshared: bool,
}

/// The choice for a request.
#[must_use]
pub fn choose(subject: &Subject<'_>, circumstances: &Circumstances<'_>) -> Choice {
    let (node, request) = (subject.node, subject.request);
    let owners = node.owners.load();
    let Some(key) = object::by_uri(request).filter(|_| owners.others() > 0) else {
        return Choice::Off;
    };
    let Some(peer) = owners.of(key, node.steady.millis()) else { return Choice::Here };
    match past(subject, circumstances) {
        Some(why) => Choice::Past(why),
        None => Choice::Node { peer: peer.clone(), hot: node.popular.estimate(key) >= HOT },
    }
}

/// The owner that a request asks which is under way now, and whether what it sends is kept here
/// too. The request counts for how hot it is.
pub(super) fn asked(
    subject: &Subject<'_>,
    circumstances: &Circumstances<'_>,
) -> Option<(Arc<Peer>, bool)> {
    let Choice::Node { peer, hot } = choose(subject, circumstances) else { return None };
    if let Some(key) = object::by_uri(subject.request) {
        subject.node.popular.note(key);
    }
    Some((peer, hot))
}

/// The name of the node that owns what a request asks for; empty where owners are off.
#[must_use]
pub fn name(node: &Node, request: head::Request<'_>) -> String {
    let owners = node.owners.load();
    let Some(key) = object::by_uri(request).filter(|_| owners.others() > 0) else {
        return String::new();
    };
    let owner = owners.of(key, node.steady.millis());
    owner.map_or_else(|| node.name.clone(), |peer| peer.name.clone())
}

/// Why the owner is not asked.
fn past(subject: &Subject<'_>, circumstances: &Circumstances<'_>) -> Option<&'static str> {
    let Circumstances { sender, facts, unshared } = *circumstances;
    if sender == Sender::Node {
        return Some("another node asks already");
    }
    if facts.authorization || subject.request.lines().has(Field::ProxyAuthorization) {
        return Some("the request has credentials");
    }
    unshared.then_some("its answers are for one request each")
}
