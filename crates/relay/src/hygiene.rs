//! Which fields stay behind at each hop: RFC 9110 §7.6.1 and what is between our own hops, as
//! sets.
//!
//! What a peer nominates in Connection is marked on each line when the head is parsed
//! ([`crate::head::HeaderLine::nominated`]); the sets here name what goes whether nominated or not.
//! Content-Length and Transfer-Encoding are in none of them: framing is the writer's.

use crate::field::{Field, FieldSet};

/// Meant for one connection, by definition. `TE` goes too: what it asks for is not forwarded. An
/// `Upgrade` that is forwarded is written anew ([`crate::rewrite::HeadWriter::upgrade`]); without
/// it the request proceeds.
pub const HOP_BY_HOP: FieldSet = FieldSet::of(&[
    Field::Connection,
    Field::ProxyConnection,
    Field::KeepAlive,
    Field::Te,
    Field::Upgrade,
    Field::Http2Settings,
]);

/// Credentials between a client and the first proxy that asks for them.
pub const PROXY_CREDENTIALS: FieldSet = FieldSet::of(&[
    Field::ProxyAuthorization,
    Field::ProxyAuthenticate,
    Field::ProxyAuthenticationInfo,
]);

/// What only our own hops may say; stripped on every way in from somebody who is not one of them.
pub const OURS: FieldSet = FieldSet::of(&[
    Field::ShoalRequestId,
    Field::ShoalOriginTime,
    Field::ShoalTunnel,
    Field::ShoalClientCertificate,
]);

/// What a client can claim of whom it speaks for: the writer puts what we know in the place of
/// whatever came ([`crate::rewrite::HeadWriter::forwarded_for`],
/// [`crate::rewrite::HeadWriter::forwarded`]).
pub const CLAIMS: FieldSet = FieldSet::of(&[Field::XForwardedFor, Field::Forwarded]);

/// Balancer to node: credentials stay, since the node is the proxy that they are for. Take
/// [`CLAIMS`] out of the set where they are to pass as they are.
pub const BALANCER_REQUEST: FieldSet = HOP_BY_HOP.union(OURS).union(CLAIMS);

/// Node's response through the balancer: a challenge stays, what is for the balancer's eyes goes,
/// the request id stays for the client.
pub const BALANCER_RESPONSE: FieldSet =
    HOP_BY_HOP.with(Field::ShoalOriginTime).with(Field::ShoalTunnel);

/// Node to origin: credentials for this proxy end here. Claims as above.
pub const NODE_REQUEST: FieldSet = HOP_BY_HOP.union(OURS).union(PROXY_CREDENTIALS).union(CLAIMS);

/// Origin's response through the node: an origin is no proxy to this client, and does not speak in
/// our name.
pub const NODE_RESPONSE: FieldSet = HOP_BY_HOP.union(OURS).union(PROXY_CREDENTIALS);

/// Fields for every recipient, which Connection must not name ("A sender MUST NOT send a connection
/// option corresponding to a field that is intended for all recipients of the content"). Nominating
/// one is ignored: removing Host or a length would change what the message is, removing a cache's
/// or a policy's field would let one peer make the next see another message than we saw.
pub const NEVER_NOMINATED: FieldSet = FieldSet::of(&[
    Field::Host,
    Field::ContentLength,
    Field::TransferEncoding,
    Field::Trailer,
    Field::Expect,
    Field::Via,
    Field::MaxForwards,
    Field::XForwardedFor,
    Field::Forwarded,
    Field::ProxyAuthorization,
    Field::ProxyAuthenticate,
    Field::Authorization,
    Field::WwwAuthenticate,
    Field::ShoalRequestId,
    Field::ShoalOriginTime,
    Field::ShoalClientCertificate,
    Field::ShoalTunnel,
    Field::ProxyStatus,
    Field::CacheStatus,
    Field::CacheControl,
    Field::Pragma,
    Field::Expires,
    Field::Date,
    Field::Age,
    Field::Vary,
    Field::ETag,
    Field::LastModified,
    Field::IfMatch,
    Field::IfNoneMatch,
    Field::IfModifiedSince,
    Field::IfUnmodifiedSince,
    Field::IfRange,
    Field::Range,
    Field::ContentRange,
    Field::ContentType,
    Field::ContentEncoding,
    Field::Location,
    Field::SetCookie,
    Field::Cookie,
]);

/// What no trailer section of a request may hold, because it decides framing, routing, identity or
/// handling of what went before (RFC 9110 §6.5.1).
pub const FORBIDDEN_TRAILERS: FieldSet =
    HOP_BY_HOP.union(OURS).union(PROXY_CREDENTIALS).union(FieldSet::of(&[
        Field::Host,
        Field::ContentLength,
        Field::TransferEncoding,
        Field::Trailer,
        Field::Expect,
        Field::Via,
        Field::MaxForwards,
        Field::XForwardedFor,
        Field::XForwardedHost,
        Field::XForwardedProto,
        Field::Forwarded,
        Field::Authorization,
        Field::WwwAuthenticate,
        Field::SetCookie,
        Field::Cookie,
        Field::CacheControl,
        Field::Pragma,
        Field::Expires,
        Field::Age,
        Field::Vary,
        Field::Range,
        Field::ContentRange,
        Field::ContentType,
        Field::ContentEncoding,
        Field::Location,
    ]));

/// What is dropped from the trailer section of a response: what a recipient must not merge into the
/// head, as it decides framing, routing, identity, handling or format of what went before.
const DROPPED_TRAILERS: FieldSet = FORBIDDEN_TRAILERS.union(FieldSet::of(&[
    Field::Date,
    Field::RetryAfter,
    Field::Warning,
    Field::Allow,
    Field::AcceptRanges,
    Field::IfMatch,
    Field::IfNoneMatch,
    Field::IfModifiedSince,
    Field::IfUnmodifiedSince,
    Field::IfRange,
    Field::ShoalRequestId,
    Field::ProxyStatus,
    Field::SurrogateControl,
    Field::CdnCacheControl,
]));

/// Whether a field of a response's trailer section goes on. Of the fields that describe the
/// content, only its digests are known at its end.
pub fn may_trail(name: &[u8]) -> bool {
    let describes = name.get(..8).is_some_and(|begin| begin.eq_ignore_ascii_case(b"content-"));
    let digest =
        [&b"content-digest"[..], b"content-md5"].iter().any(|it| name.eq_ignore_ascii_case(it));
    !DROPPED_TRAILERS.contains(Field::classify(name)) && (!describes || digest)
}
