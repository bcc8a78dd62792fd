//! From the client to the next hop and back, past the cache: requests with bodies, what is not for
//! sharing, and answers that a fill handed over.

use std::{future, net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use dataplane::{connection::ConnectionEnd, trace::Onward};
use relay::{
    exchange::{self, Deadlines, Exchange, Side, Upload},
    fault::Fault,
    field::{Field, FieldSet},
    framing::BodyFraming,
    head::{Limits, Response, ResponseHead, Version},
    hygiene::{CLAIMS, NODE_REQUEST, NODE_RESPONSE, PROXY_CREDENTIALS},
    interims::Interims,
    malformed::Malformed,
    method::Method,
    pool::Reuse,
    retry,
    rewrite::{BodyFields, HeadWriter, LineForm, Persistence},
    stream::{Ahead, Stream},
};

use crate::{
    cache::{key::Key, policy},
    config::Generation,
    node::Local,
    parent::{self, Parent, Tried},
    record::Outcome,
    request::{Destination, Forwarded},
    respond::Failure,
    turn::{Asked, Turn},
    upstream::{self, From, Hop},
};

/// What an origin may not say in our name: who failed, and what only our own hops say.
const DROP_RESPONSE: FieldSet = NODE_RESPONSE.with(Field::ProxyStatus);
/// The conditions that a client puts on a request.
const CONDITIONS: FieldSet = FieldSet::of(&[Field::IfNoneMatch, Field::IfModifiedSince]);

/// The deadlines of an exchange with the next hop.
#[must_use]
pub fn deadlines(generation: &Generation) -> Deadlines {
    let timeouts = &generation.document.timeouts;
    Deadlines {
        // Nobody is told that an origin is late: there is no other one to ask.
        late: timeouts.read,
        first_byte: timeouts.read,
        head: timeouts.read,
        body: timeouts.read.max(timeouts.request_body),
        write: timeouts.write,
        ..Deadlines::default()
    }
}

/// How the heads of answers are read.
#[must_use]
pub const fn reply_limits(generation: &Generation) -> Limits {
    let replies = &generation.document.replies;
    // At most 96 KiB, by the schema.
    Limits::of(replies.max_size as usize).relaxed(replies.relaxed)
}

/// Which pooled connections a request with this method may use.
#[must_use]
pub fn reuse(method: Method) -> From {
    From::Pool(Reuse::of(method))
}

/// Validators that take the place of the client's own conditions.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// For If-None-Match.
    pub etag: Option<&'a [u8]>,
    /// For If-Modified-Since.
    pub last_modified: Option<&'a [u8]>,
}

/// Writes the head that the next hop gets, which may be a parent proxy. `conditions`: `None` leaves
/// the client's own.
pub fn write_request(
    out: &mut Vec<u8>,
    turn: &Outgoing<'_>,
    parent: Option<&Parent>,
    conditions: Option<Conditions<'_>>,
) {
    let request = turn.asked.view();
    let mut drop = match turn.forwarded {
        Forwarded::Keep => NODE_REQUEST.without(CLAIMS),
        _ => NODE_REQUEST.union(CLAIMS),
    };
    if conditions.is_some() {
        drop = drop.union(CONDITIONS);
    }
    let hops = if request.method() == Method::Options { request.max_forwards() } else { None };
    if hops.is_some() {
        drop = drop.with(Field::MaxForwards);
    }
    if request.lines().has(Field::Traceparent) && turn.asked.onward != Onward::AsReceived {
        drop = drop.with(Field::Traceparent);
    }
    if parent.is_some_and(Parent::passes_credentials) {
        drop = drop.without(FieldSet::of(&[Field::ProxyAuthorization]));
    }
    let form = if parent.is_some() { LineForm::AsReceived } else { LineForm::Origin };
    out.clear();
    let mut head = HeadWriter::request(out, request, form, drop, BodyFields::AsReceived);
    match turn.forwarded {
        Forwarded::Keep | Forwarded::Remove => {}
        Forwarded::Set(address) => head.forwarded_for(None, &address.to_string()),
        Forwarded::Append(address) => {
            head.forwarded_for(Some(request.lines()), &address.to_string());
            head.forwarded(request.lines(), address);
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
    if let Onward::Told(context) = turn.asked.onward {
        head.field(Field::Traceparent.name(), &context.value());
    }
    if let Some(credentials) = parent.map(Parent::credentials)
        && let Some(proof) = credentials.header()
    {
        head.field("Proxy-Authorization", proof.as_bytes());
    }
    head.via(request.version(), turn.pseudonym);
    if let Some(protocol) = request.upgrade() {
        head.upgrade(protocol);
    }
    head.finish();
}

/// What is needed of a request to send it on.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// The request.
    pub asked: &'a Asked,
    /// What becomes of X-Forwarded-For.
    pub forwarded: Forwarded,
    /// Our name in Via.
    pub pseudonym: &'a str,
}

/// Begins the head of a response that is sent on: status line and fields, ours not yet.
pub fn begin_response<'o>(
    out: &'o mut Vec<u8>,
    response: Response<'_>,
    body: BodyFields,
    pseudonym: &str,
) -> HeadWriter<'o> {
    begin(out, response, DROP_RESPONSE, body, pseudonym)
}

fn begin<'o>(
    out: &'o mut Vec<u8>,
    response: Response<'_>,
    drop: FieldSet,
    body: BodyFields,
    pseudonym: &str,
) -> HeadWriter<'o> {
    let mut head = HeadWriter::response(out, response, drop, body);
    head.via(response.version(), pseudonym);
    head
}

/// Relays a request and its answer. `cache_status` says why the cache has no part in it.
pub async fn run(
    turn: &mut Turn,
    stream: &mut Stream,
    asked: &Asked,
    destination: &Destination,
    key: &Key,
    addresses: Option<Arc<[IpAddr]>>,
    cache_status: &str,
) -> ConnectionEnd {
    let mut upload = Upload::new(asked.head.framing(), asked.head.expects_continue());
    let deadlines = deadlines(&turn.generation);
    let mut from = reuse(turn.method);
    let mut tried = turn.local.parents.begin(&turn.generation.parents, asked.view().target_text());
    // What a parent answered in vain, while another one is asked.
    let mut held: Option<Received> = None;
    loop {
        let began = relay::clock::now();
        let generation = turn.generation.clone();
        let route = turn.local.node.route(&generation, destination);
        let connecting = upstream::connect(
            &turn.local,
            &generation,
            turn.client.address,
            route,
            from,
            addresses.clone(),
            &mut tried,
        );
        let mut hop = match unless_it_leaves(stream, connecting).await {
            Some(Ok(hop)) => hop,
            Some(Err(failure)) => match held {
                Some(answer) => {
                    return finish(turn, stream, asked, answer, &mut sent(), cache_status).await;
                }
                None => return turn.refuse(stream, asked, failure, None).await,
            },
            None => return turn.left(),
        };
        turn.record.hierarchy = hop.hierarchy();
        let pseudonym = turn.local.node.pseudonym.load_full();
        let outgoing = Outgoing { asked, forwarded: turn.client.forwarded, pseudonym: &pseudonym };
        write_request(&mut turn.out, &outgoing, hop.parent(), None);
        let mut head = Box::new(ResponseHead::new());
        head.set_may_switch(asked.head.upgrades());
        let mut exchange = Exchange::new(stream, &mut hop.stream, &mut upload, &deadlines);
        match head_of_answer(
            &mut exchange,
            &turn.out,
            &mut head,
            &generation,
            turn.version,
            &pseudonym,
        )
        .await
        {
            Ok(bytes) if head.status() == 101 => {
                return switch(
                    turn,
                    stream,
                    asked,
                    Received { hop, head, bytes, took: relay::clock::since(began) },
                )
                .await;
            }
            Ok(bytes) => {
                let phase = exchange.phase();
                let answer = Received { hop, head, bytes, took: relay::clock::since(began) };
                if answer.is_in_vain(&turn.local, &generation, destination, &mut tried)
                    && upload.is_done()
                {
                    let another = tried.leaves_any(&generation.parents)
                        && parent::may_ask_another_after_answer(
                            turn.method,
                            upload.rewind(),
                            phase,
                            &turn.local.parents,
                        );
                    if another {
                        held = Some(answer);
                        from = reuse(turn.method);
                        continue;
                    }
                    upload = sent();
                }
                if policy::invalidates(turn.method_text(asked), answer.head.status()) {
                    invalidate(&turn.local, key, answer.head.view(&answer.bytes));
                }
                return finish(turn, stream, asked, answer, &mut upload, cache_status).await;
            }
            Err(failure) => {
                let replayable = upload.rewind();
                if hop.reused && stale(&failure) && may_repeat(turn.method, &failure) && replayable
                {
                    if let Some(chosen) = &hop.parent {
                        tried.forget(chosen.index);
                    }
                    from = From::New;
                    continue;
                }
                if let Some(parent) = hop.parent().filter(|_| failure.side == Side::Upstream) {
                    parent.failed(Failure::exchanging(&failure.fault));
                    if tried.leaves_any(&generation.parents)
                        && parent::may_ask_another(turn.method, replayable, &failure)
                    {
                        from = reuse(turn.method);
                        continue;
                    }
                }
                if let Some(answer) = held {
                    return finish(turn, stream, asked, answer, &mut sent(), cache_status).await;
                }
                return failed(
                    turn,
                    stream,
                    asked,
                    failure,
                    Progress { answered: None, parent: hop.parent().is_some() },
                )
                .await;
            }
        }
    }
}

/// Of a body that has been sent as a whole there is nothing to do.
fn sent() -> Upload {
    Upload::new(BodyFraming::Empty, false)
}

/// What is done for a client, unless it leaves before that is done.
pub async fn unless_it_leaves<T>(client: &mut Stream, done: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = done => Some(done),
        _ = client.left(Ahead::OfAnswer) => None,
    }
}

/// A response whose head is there and whose body is still to come.
pub struct Received {
    /// Where it comes from.
    pub hop: Hop,
    /// Index of its head.
    pub head: Box<ResponseHead>,
    /// Bytes of its head.
    pub bytes: Bytes,
    /// How long it took.
    pub took: Duration,
}

impl Received {
    /// Whether it comes from a parent that could not do what it was asked. Where it is an answer,
    /// it is noted how the parents have done.
    pub fn is_in_vain(
        &self,
        local: &Local,
        generation: &Generation,
        destination: &Destination,
        tried: &mut Tried,
    ) -> bool {
        let Some(chosen) = &self.hop.parent else { return false };
        // In a tunnel through it the destination answers for itself.
        let in_vain =
            self.hop.parent().is_some() && parent::is_in_vain(self.head.view(&self.bytes));
        if in_vain {
            tried.note_in_vain(&generation.parents, chosen.index, self.head.status());
        } else {
            chosen.parent.answered();
            tried.settle(&generation.parents, destination, &local.parents);
        }
        in_vain
    }
}

async fn head_of_answer(
    exchange: &mut Exchange<'_>,
    request: &[u8],
    head: &mut ResponseHead,
    generation: &Generation,
    client: Version,
    pseudonym: &str,
) -> Result<Bytes, exchange::Failure> {
    exchange.send(request).await?;
    exchange
        .final_response(
            head,
            &reply_limits(generation),
            Interims::new(generation.document.timeouts.read),
            client,
            future::pending::<()>,
            |out, interim| {
                begin_response(out, interim, BodyFields::AsReceived, pseudonym).finish();
            },
        )
        .await
}

/// The other side speaks another protocol from here on, as the client asked: the connections become
/// a tunnel.
async fn switch(
    turn: &mut Turn,
    stream: &mut Stream,
    asked: &Asked,
    answer: Received,
) -> ConnectionEnd {
    let Received { hop, head, bytes, took } = answer;
    turn.record.hierarchy = hop.hierarchy();
    let response = head.view(&bytes);
    let Some(protocol) = asked.view().upgrade().filter(|protocol| response.switches_to(protocol))
    else {
        return turn
            .refuse(
                stream,
                asked,
                Failure::exchanging(&Fault::Malformed(Malformed::SwitchingProtocols)),
                None,
            )
            .await;
    };
    turn.record.status = 101;
    turn.record.outcome = Outcome::Tunnel;
    let pseudonym = turn.local.node.pseudonym.load_full();
    let mut out = std::mem::take(&mut turn.out);
    out.clear();
    let mut writer = begin_response(&mut out, response, BodyFields::AsReceived, &pseudonym);
    turn.common_fields(&mut writer, took);
    writer.upgrade(protocol);
    writer.finish();
    turn.out = out;
    if stream.write_all(&[&turn.out], turn.generation.document.timeouts.write).await.is_err() {
        turn.record.aborted = true;
        return ConnectionEnd::Abort;
    }
    turn.count(|metrics| &metrics.tunnels);
    ConnectionEnd::Tunnel(hop.stream)
}

/// Whether a failure is that of a pooled connection which the other side had closed.
fn stale(failure: &exchange::Failure) -> bool {
    failure.side == Side::Upstream
        && matches!(failure.fault, Fault::Closed | Fault::Reset)
        && failure.phase != retry::Phase::ResponseRelayed
}

/// The table of what may be tried again is [`retry`]'s for whole nodes; a pooled connection that
/// turns out to be closed is the one case in which a node tries again itself.
fn may_repeat(method: Method, failure: &exchange::Failure) -> bool {
    failure.phase == retry::Phase::NothingWritten || method.is_idempotent()
}

/// Sends an answer to the client, whose request body may still be on its way.
pub async fn finish(
    turn: &mut Turn,
    stream: &mut Stream,
    asked: &Asked,
    answer: Received,
    upload: &mut Upload,
    cache_status: &str,
) -> ConnectionEnd {
    let Received { mut hop, head, bytes, took } = answer;
    let passes = hop.parent().is_some_and(Parent::passes_credentials);
    if head.status() == 407 && hop.parent().is_some() && !passes {
        // The client has not been asked by this proxy, and cannot answer its parent.
        return turn.refuse(stream, asked, Failure::ParentAuthentication, None).await;
    }
    let incoming = head.framing(turn.method);
    let outgoing = incoming.for_client(turn.version);
    // An answer that overtakes the request's body says so now: what is left of the body may never
    // be read, and a balancer that pooled this connection would find it closed under its next
    // request.
    let keep = turn.keeps() && outgoing != BodyFraming::UntilClose && upload.is_done();
    turn.record.status = head.status();
    turn.record.hierarchy = hop.hierarchy();
    turn.note_media_type(head.view(&bytes).value(Field::ContentType));
    let fields = if incoming == BodyFraming::Empty {
        BodyFields::AsReceived
    } else {
        BodyFields::Set(outgoing)
    };
    let pseudonym = turn.local.node.pseudonym.load_full();
    let mut out = std::mem::take(&mut turn.out);
    out.clear();
    let drop = if passes { DROP_RESPONSE.without(PROXY_CREDENTIALS) } else { DROP_RESPONSE };
    let mut writer = begin(&mut out, head.view(&bytes), drop, fields, &pseudonym);
    writer.field("Cache-Status", cache_status.as_bytes());
    turn.common_fields(&mut writer, took);
    writer.connection(Persistence::of(keep, turn.version));
    writer.finish();
    turn.out = out;
    let deadlines = deadlines(&turn.generation);
    let before = hop.stream.received();
    let mut exchange = Exchange::new(stream, &mut hop.stream, upload, &deadlines);
    exchange.set_dialect(head.dialect());
    let done = exchange.finish(&turn.out, incoming, outgoing).await;
    turn.local
        .node
        .metrics
        .bytes_from_origins
        .add(hop.stream.received().saturating_sub(before) + bytes.len() as u64);
    match done {
        Ok(done) => {
            if done.upload_done && head.persistent(turn.method) && !bound_to_client(asked) {
                hop.keep(&turn.local);
            }
            if keep && done.upload_done { ConnectionEnd::Stays } else { ConnectionEnd::Close }
        }
        Err(failure) => {
            failed(
                turn,
                stream,
                asked,
                failure,
                Progress { answered: Some(outgoing), parent: hop.parent().is_some() },
            )
            .await
        }
    }
}

/// NTLM and Negotiate authenticate the connection: nobody else's request may go over it.
#[must_use]
pub fn bound_to_client(asked: &Asked) -> bool {
    let scheme = |value: &[u8], name: &[u8]| {
        value.len() >= name.len()
            && value.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name))
    };
    asked
        .view()
        .values(Field::Authorization)
        .any(|value| scheme(value, b"ntlm") || scheme(value, b"negotiate"))
}

/// How far an exchange had come, and with whom.
#[derive(Clone, Copy)]
struct Progress {
    /// The response's head had come, and its body goes to the client in this framing.
    answered: Option<BodyFraming>,
    /// It was a parent proxy that was asked.
    parent: bool,
}

/// Ends a turn whose exchange failed.
async fn failed(
    turn: &mut Turn,
    stream: &mut Stream,
    asked: &Asked,
    failure: exchange::Failure,
    progress: Progress,
) -> ConnectionEnd {
    tracing::debug!(request_id = %turn.id, %failure, "exchange failed");
    // After interim responses alone, a refusal is still an answer.
    if progress.answered.is_some() && failure.phase == retry::Phase::ResponseRelayed {
        turn.record.aborted = true;
        return match failure.side {
            Side::Client => ConnectionEnd::Abort,
            Side::Upstream => ConnectionEnd::Cut(progress.answered.unwrap_or_default()),
        };
    }
    let reason = match (failure.side, failure.fault) {
        (Side::Client, Fault::Malformed(malformed)) => Failure::Malformed(malformed),
        (Side::Client, Fault::Timeout(_)) => Failure::RequestTimeout,
        (Side::Client, _) => {
            turn.record.aborted = true;
            return ConnectionEnd::Abort;
        }
        (Side::Upstream, Fault::Closed | Fault::Reset) if progress.answered.is_some() => {
            Failure::Incomplete
        }
        (Side::Upstream, fault) => Failure::exchanging(&fault),
    };
    let reason =
        if progress.parent && failure.side == Side::Upstream { reason.of_parent() } else { reason };
    turn.refuse(stream, asked, reason, None).await
}

/// RFC 9111 §4.4: what is stored for the target, and for what Location and Content-Location name on
/// the same origin, is doubtful now.
fn invalidate(local: &Rc<Local>, key: &Key, response: Response<'_>) {
    local.node.store.invalidate(key);
    for field in [Field::Location, Field::ContentLocation] {
        if let Some(other) = response.value(field).and_then(|value| key.sibling(value)) {
            local.node.store.invalidate(&other);
        }
    }
}
