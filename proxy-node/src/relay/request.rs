//! The head that the next hop gets.

use std::net::IpAddr;

use dataplane::trace::Onward;
use relay::{
    field::{Field, FieldSet},
    hygiene::{CLAIMS, NODE_REQUEST},
    method::Method,
    rewrite::{BodyFields, HeadWriter, LineForm},
};

use uuid::Uuid;

use crate::{parent::Parent, request::Forwarded, transaction::Request};

/// The conditions that a client puts on a request.
const CONDITIONS: FieldSet = FieldSet::of(&[Field::IfNoneMatch, Field::IfModifiedSince]);

/// Validators that take the place of the client's own conditions.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    pub etag: Option<&'a [u8]>,
    pub last_modified: Option<&'a [u8]>,
}

/// What is needed of a request to send it on.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    pub request: &'a Request,
    /// What becomes of X-Forwarded-For.
    pub forwarded: Forwarded,
    /// Our name in Via.
    pub pseudonym: &'a str,
}

/// Writes the head that the next hop gets, which may be a parent proxy. `conditions`: `None` leaves
/// the client's own.
pub fn write_request(
    out: &mut Vec<u8>,
    outgoing: &Outgoing<'_>,
    parent: Option<&Parent>,
    conditions: Option<Conditions<'_>>,
) {
    write(out, outgoing, parent.map_or(Next::Origin, Next::Parent), conditions);
}

/// The same for another node of the cluster, which hears whose request it is, and which one.
/// `max_age`: what it has stored is not to be older, in seconds.
pub fn write_request_to_node(
    out: &mut Vec<u8>,
    outgoing: &Outgoing<'_>,
    (id, client): (Uuid, IpAddr),
    conditions: Option<Conditions<'_>>,
    max_age: Option<u64>,
) {
    // What becomes of X-Forwarded-For on the way to the origin is the other's business.
    let forwarded = match outgoing.forwarded {
        Forwarded::Remove => Forwarded::Set(client),
        told => told,
    };
    write(out, &Outgoing { forwarded, ..*outgoing }, Next::Node(id, max_age), conditions);
}

/// The same for a cache on the same level, which is asked for what it has and for nothing else (RFC
/// 9111 §5.2.1.7).
pub fn write_request_to_sibling(
    out: &mut Vec<u8>,
    outgoing: &Outgoing<'_>,
    conditions: Option<Conditions<'_>>,
) {
    write(out, outgoing, Next::Sibling, conditions);
}

/// Whom a head is for.
#[derive(Clone, Copy)]
enum Next<'a> {
    Origin,
    Parent(&'a Parent),
    /// Another node; the id of the request.
    Node(Uuid, Option<u64>),
    Sibling,
}

fn write(
    out: &mut Vec<u8>,
    outgoing: &Outgoing<'_>,
    next: Next<'_>,
    conditions: Option<Conditions<'_>>,
) {
    let view = outgoing.request.view();
    let parent = if let Next::Parent(parent) = next { Some(parent) } else { None };
    let mut drop = match outgoing.forwarded {
        Forwarded::Keep => NODE_REQUEST.without(CLAIMS),
        _ => NODE_REQUEST.union(CLAIMS),
    };
    if conditions.is_some() {
        drop = drop.union(CONDITIONS);
    }
    let hops = if view.method() == Method::Options { view.max_forwards() } else { None };
    if hops.is_some() {
        drop = drop.with(Field::MaxForwards);
    }
    if view.lines().has(Field::Traceparent) && outgoing.request.onward != Onward::AsReceived {
        drop = drop.with(Field::Traceparent);
    }
    if parent.is_some_and(Parent::passes_credentials) {
        drop = drop.without(FieldSet::of(&[Field::ProxyAuthorization]));
    }
    let form = match next {
        Next::Origin => LineForm::Origin,
        Next::Parent(_) | Next::Node(..) | Next::Sibling => LineForm::AsReceived,
    };
    out.clear();
    let mut head = HeadWriter::request(out, view, form, drop, BodyFields::AsReceived);
    match outgoing.forwarded {
        Forwarded::Keep | Forwarded::Remove => {}
        Forwarded::Set(address) => head.forwarded_for(None, &address.to_string()),
        Forwarded::Append(address) => {
            head.forwarded_for(Some(view.lines()), &address.to_string());
            if view.lines().has(Field::Forwarded) {
                head.forwarded(Some(view.lines()), Some(address), None);
            }
        }
    }
    if let Some(hops) = hops {
        head.number("Max-Forwards", hops.saturating_sub(1));
    }
    if let Some(conditions) = conditions {
        if let Some(etag) = conditions.etag {
            head.field("If-None-Match", etag);
        }
        if let Some(date) = conditions.last_modified {
            head.field("If-Modified-Since", date);
        }
    }
    if matches!(next, Next::Sibling) {
        head.field("Cache-Control", b"only-if-cached");
    }
    if let Next::Node(id, max_age) = next {
        if let Some(seconds) = max_age {
            // Beside what the client may have said: the smaller one counts.
            head.field("Cache-Control", format!("max-age={seconds}").as_bytes());
        }
        let mut text = [0; 36];
        head.field(
            Field::ShoalRequestId.name(),
            id.hyphenated().encode_lower(&mut text).as_bytes(),
        );
    }
    if let Onward::Told(context) = outgoing.request.onward {
        head.field(Field::Traceparent.name(), &context.value());
    }
    if let Some(credentials) = parent.map(Parent::credentials)
        && let Some(proof) = credentials.header()
    {
        head.field("Proxy-Authorization", proof.as_bytes());
    }
    head.via(view.version(), outgoing.pseudonym);
    if let Some(protocol) = view.upgrade() {
        head.upgrade(protocol);
    }
    head.finish();
}

/// NTLM and Negotiate authenticate the connection: nobody else's request may go over it.
#[must_use]
pub fn bound_to_client(request: &Request) -> bool {
    let scheme = |value: &[u8], name: &[u8]| {
        value.len() >= name.len()
            && value.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name))
    };
    request
        .view()
        .values(Field::Authorization)
        .any(|value| scheme(value, b"ntlm") || scheme(value, b"negotiate"))
}
