//! Which way a fetch takes: from memory, behind somebody else's fill, with a fill of its own, or
//! past the cache.

use std::{
    net::IpAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use dataplane::connection::ConnectionEnd;
use relay::{
    body::{BodyWriter, Rest},
    exchange::Upload,
    field::Field,
    framing::BodyFraming,
    head::Version,
    method::Method,
    rewrite::{HeadWriter, Persistence, Piece},
    stream::{Ahead, Stream},
    wheel::{Kind, Timer},
};
use tokio::sync::watch;

use crate::{
    cache::{
        body::Reader,
        facts::RequestFacts,
        fill::{self, How, Lead, Order},
        hints,
        key::Key,
        object::Object,
        policy::{self, Bypass, Trouble, Unfit},
        serve::{self, Serving},
        store::Join,
        ticket::{self, Follower, Ticket},
        vary,
    },
    egress,
    record::Outcome,
    relay as forward,
    request::{self, Destination},
    respond::Failure,
    turn::{Asked, Turn},
};

mod body;
mod range;

use body::Sent;

/// What a request that is not answered from memory counts for while it is under way: its future,
/// buffers of two connections, a piece of a body.
const TRANSACTION: u64 = 32 * 1024;
/// How often a request looks again when what it waited for has changed meanwhile.
const MOST_LOOKS: usize = 4;

/// Where a request came to and where it goes.
struct Way<'a> {
    asked: &'a Asked,
    destination: &'a Destination,
    key: Key,
    addresses: Option<Arc<[IpAddr]>>,
    facts: RequestFacts,
}

impl<'a> Way<'a> {
    /// Name and value of every field that goes on to the origin, for Vary. What Connection
    /// nominates does not: an answer stored as if the origin had seen it would be another
    /// request's.
    fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        request::sent_fields(self.asked.view())
    }
}

/// Answers a fetch.
pub async fn run(
    turn: &mut Turn,
    stream: &mut Stream,
    asked: &Asked,
    destination: &Destination,
    key: Key,
    addresses: Option<Arc<[IpAddr]>>,
) -> ConnectionEnd {
    let request = asked.view();
    let facts = RequestFacts::new(
        request.method_text().as_bytes(),
        !request.framing().is_empty(),
        asked.fields(),
    );
    let way = Way { asked, destination, key, addresses, facts };
    // What may become a tunnel is nobody else's, and is no answer to keep.
    if asked.head.upgrades() {
        return Box::pin(past(turn, stream, &way, "fwd=bypass")).await;
    }
    let eligible = if turn.local.node.store.capacity() == 0 {
        Err(Bypass::Off)
    } else {
        policy::eligible(&way.facts)
    };
    if let Err(bypass) = eligible {
        let detail = if bypass == Bypass::Method { "fwd=method" } else { "fwd=bypass" };
        return Box::pin(uncached(turn, stream, &way, detail)).await;
    }
    for _ in 0..MOST_LOOKS {
        match look(turn, stream, &way).await {
            Looked::Answered(after) => return after,
            Looked::Again => {}
        }
    }
    Box::pin(uncached(turn, stream, &way, "fwd=miss; detail=contended")).await
}

/// Past the cache, which has no say in it.
async fn uncached(
    turn: &mut Turn,
    stream: &mut Stream,
    way: &Way<'_>,
    reason: &str,
) -> ConnectionEnd {
    let store = &turn.local.node.store;
    if !store.has_room_for_work() {
        return turn.refuse(stream, way.asked, Failure::Limit, None).await;
    }
    let _working = store.budget().work(TRANSACTION);
    past(turn, stream, way, reason).await
}

/// What came of one look into the cache.
enum Looked {
    Answered(ConnectionEnd),
    Again,
}

async fn look(turn: &mut Turn, stream: &mut Stream, way: &Way<'_>) -> Looked {
    let (stale, unfit) = match turn.local.node.store.find(&way.key, way.fields()) {
        Some(object) if !may_have(turn, way, &object) => {
            return Looked::Answered(Box::pin(for_itself(turn, stream, way)).await);
        }
        Some(object) => {
            match policy::usable(&object.freshness, &way.facts.directives, turn.seconds()) {
                // One that has come to a halt is nothing to wait for.
                Ok(_) if has_halted(turn, &object) => (Some(object), None),
                Ok(_) if way.facts.range && !range::is_near(turn, way, &object) => {
                    turn.count(|metrics| &metrics.misses);
                    return Looked::Answered(
                        Box::pin(uncached(turn, stream, way, "fwd=partial")).await,
                    );
                }
                Ok(age) => {
                    let Some(reader) = Reader::new(&object.body) else { return Looked::Again };
                    turn.count(|metrics| &metrics.hits);
                    turn.record.outcome = Outcome::MemHit;
                    let source = Source {
                        object,
                        reader,
                        status: None,
                        took: Duration::ZERO,
                        age,
                        leads: false,
                        cookies: Bytes::new(),
                    };
                    return Looked::Answered(deliver(turn, stream, way, source).await);
                }
                Err(unfit) => (Some(object), Some(unfit)),
            }
        }
        None => (None, None),
    };
    // On the heap, so that a hit costs no room for it.
    Box::pin(miss(turn, stream, way, stale, unfit)).await
}

/// Whether nothing has come of a body for so long that nobody who comes now begins to wait for it.
fn has_halted(turn: &Turn, object: &Object) -> bool {
    object.body.whole().is_none()
        && u128::from(object.body.silent_for(turn.local.node.steady.millis()))
            > turn.generation.document.cache.follow_timeout.as_millis()
}

/// Nothing that was found is fit.
async fn miss(
    turn: &mut Turn,
    stream: &mut Stream,
    way: &Way<'_>,
    found: Option<Arc<Object>>,
    unfit: Option<Unfit>,
) -> Looked {
    let store = turn.local.node.store.clone();
    if way.facts.directives.only_if_cached {
        return Looked::Answered(turn.refuse(stream, way.asked, Failure::OnlyIfCached, None).await);
    }
    turn.count(|metrics| &metrics.misses);
    turn.record.outcome =
        if unfit == Some(Unfit::Reload) { Outcome::ClientRefresh } else { Outcome::Miss };
    if !store.has_room_for_work() {
        return Looked::Answered(turn.refuse(stream, way.asked, Failure::Limit, None).await);
    }
    let _working = store.budget().work(TRANSACTION);
    let reason = why(unfit);
    // Something that is validated is asked for with our conditions; on a plain miss the client's
    // own go through, and its answer is its own.
    let stale = found.clone().filter(|object| {
        object.has_validator() && object.status == 200 && object.body.whole().is_some()
    });
    if way.facts.head {
        return Looked::Answered(past(turn, stream, way, reason).await);
    }
    if way.facts.range {
        return range::miss(turn, stream, way, found.as_ref(), unfit).await;
    }
    let alone = way.facts.authorization
        || way.facts.directives.no_cache
        || (way.facts.conditional() && stale.is_none());
    if alone || !turn.generation.document.cache.collapsed_forwarding {
        let ticket = store.lead(&way.key);
        return Looked::Answered(lead(turn, stream, way, ticket, stale, reason).await);
    }
    match store.join(&way.key, way.fields(), found.as_ref(), turn.seconds()) {
        Join::Changed(_) => Looked::Again,
        Join::Follow(follower) => {
            Looked::Answered(follow(turn, stream, way, follower, stale, reason).await)
        }
        Join::Lead(ticket) => {
            Looked::Answered(lead(turn, stream, way, ticket, stale, reason).await)
        }
    }
}

/// Whether this client may have what is stored: rules and egress policy would let it go where that
/// came from. Costs nothing where neither makes a difference between clients or addresses.
fn may_have(turn: &Turn, way: &Way<'_>, object: &Object) -> bool {
    let generation = &turn.generation;
    if let (Some(_), Some(from)) = (&way.addresses, object.from)
        && !turn.decide(way.asked, way.destination, Some(&[from.ip()])).is_allowed()
    {
        return false;
    }
    if !generation.egress_by_client {
        return true;
    }
    let (egress, ports, client) =
        (&generation.document.access.egress, turn.local.node.ports.load(), turn.client.address);
    let verdict = match object.from {
        Some(from) => egress::check(egress, &ports, client, &way.destination.host, from),
        None => egress::check_unresolved(egress, &ports, client, way.destination),
    };
    verdict.is_ok()
}

/// What is stored, or being fetched, is not for this client: it goes as far as it may go itself.
async fn for_itself(turn: &mut Turn, stream: &mut Stream, way: &Way<'_>) -> ConnectionEnd {
    if way.facts.directives.only_if_cached {
        return turn.refuse(stream, way.asked, Failure::OnlyIfCached, None).await;
    }
    turn.count(|metrics| &metrics.misses);
    uncached(turn, stream, way, "fwd=bypass; detail=policy").await
}

const fn why(unfit: Option<Unfit>) -> &'static str {
    match unfit {
        None => "fwd=uri-miss",
        Some(Unfit::Reload | Unfit::TooOld | Unfit::MinFresh) => "fwd=request",
        Some(Unfit::Stale | Unfit::NoCache) => "fwd=stale",
    }
}

/// Fills, and is answered by the fill.
async fn lead(
    turn: &mut Turn,
    stream: &mut Stream,
    way: &Way<'_>,
    ticket: Ticket,
    stale: Option<Arc<Object>>,
    reason: &'static str,
) -> ConnectionEnd {
    let validates = stale.is_some();
    let hints = ticket.hints();
    let answer = fill::start(order(turn, way, stale), ticket);
    let Some(led) = hinted(turn, stream, answer, Some(hints)).await else { return turn.left() };
    match led {
        Ok(Lead::Object { object, reader, how, hierarchy, took, cookies }) => {
            let status = filled(turn, how, validates, reason, object.status);
            turn.record.hierarchy = hierarchy;
            let age = object.freshness.age(turn.seconds());
            deliver(
                turn,
                stream,
                way,
                Source { object, reader, status: Some(status), took, age, leads: true, cookies },
            )
            .await
        }
        Ok(Lead::Response(received, not_stored)) => {
            tracing::trace!(request_id = %turn.id, reason = %not_stored, "not stored");
            if validates {
                turn.record.outcome = Outcome::RefreshModified;
            }
            let status = cache_status(turn, reason);
            let mut upload = Upload::new(BodyFraming::Empty, false);
            forward::finish(turn, stream, way.asked, *received, &mut upload, &status).await
        }
        Ok(Lead::Failed(failure)) => turn.refuse(stream, way.asked, failure, None).await,
        // The fill panicked, or its worker is being cut.
        Err(_) => turn.refuse(stream, way.asked, Failure::Internal, None).await,
    }
}

/// Waits for a fill to answer. The client gets interim responses as they come. `None`: it takes
/// nothing any more.
async fn hinted<T>(
    turn: &Turn,
    stream: &mut Stream,
    answer: impl Future<Output = T>,
    hints: Option<hints::Listener>,
) -> Option<T> {
    // RFC 9110 §15.2: no interim response to a client that knows none.
    let Some(mut hints) = hints.filter(|_| turn.version == Version::Http11) else {
        return forward::unless_it_leaves(stream, answer).await;
    };
    let mut answer = pin!(answer);
    loop {
        tokio::select! {
            biased;
            hint = hints.next() => stream.write_all(&[&hint], turn.generation.document.timeouts.write).await.ok()?,
            answered = &mut answer => return Some(answered),
            _ = stream.left(Ahead::OfAnswer) => return None,
        }
    }
}

/// What a fill has to know to ask for this request.
fn order(turn: &Turn, way: &Way<'_>, stale: Option<Arc<Object>>) -> Order {
    Order {
        local: turn.local.clone(),
        generation: turn.generation.clone(),
        asked: way.asked.clone(),
        facts: way.facts.clone(),
        destination: way.destination.clone(),
        addresses: way.addresses.clone(),
        client: turn.client.address,
        forwarded: turn.client.forwarded,
        stale,
    }
}

/// Notes how a fill answered its leader; answers what Cache-Status says of it.
fn filled(turn: &mut Turn, how: How, validates: bool, reason: &str, status: u16) -> String {
    match how {
        How::Stored if validates => {
            turn.record.outcome = Outcome::RefreshModified;
            format!("{reason}; fwd-status={status}; stored")
        }
        How::Stored => format!("{reason}; stored"),
        How::Unmodified => {
            turn.count(|metrics| &metrics.revalidated);
            turn.record.outcome = Outcome::RefreshUnmodified;
            format!("{reason}; fwd-status=304; stored")
        }
        How::StaleOnError => {
            turn.count(|metrics| &metrics.stale);
            turn.record.outcome = Outcome::RefreshFailOld;
            format!("{reason}; detail=stale-on-error")
        }
    }
}

/// Waits for the fill of another. A stalled one does not hold anybody for long; one whose answer is
/// not for this request sends it on its own.
async fn follow(
    turn: &mut Turn,
    stream: &mut Stream,
    way: &Way<'_>,
    follower: Follower,
    stale: Option<Arc<Object>>,
    reason: &'static str,
) -> ConnectionEnd {
    let began = Instant::now();
    let differs = turn.generation.egress_by_client || way.addresses.is_some();
    let Follower { mut outcome, hints } = follower;
    // Hints of where this client may not look are none of its business, and where that is shows
    // with the answer.
    let hints = (!differs).then_some(hints);
    let Some(known) = hinted(turn, stream, awaited(turn, &mut outcome), hints).await else {
        return turn.left();
    };
    let fit = match &known {
        ticket::Outcome::Stored(object) | ticket::Outcome::StandIn(object)
            if !may_have(turn, way, object) =>
        {
            return for_itself(turn, stream, way).await;
        }
        // What another client could not reach says something of where this one may not look.
        ticket::Outcome::Failed(_) if differs => return for_itself(turn, stream, way).await,
        ticket::Outcome::Failed(failure) => {
            return turn.refuse(stream, way.asked, *failure, None).await;
        }
        ticket::Outcome::Waiting | ticket::Outcome::OnYourOwn => None,
        ticket::Outcome::Stored(object) => {
            fits(way, object, turn.seconds(), false).then_some(object)
        }
        ticket::Outcome::StandIn(object) => {
            fits(way, object, turn.seconds(), true).then_some(object)
        }
    };
    if let Some(object) = fit
        && let Some(reader) = Reader::new(&object.body)
    {
        turn.count(|metrics| &metrics.collapsed);
        turn.record.outcome = Outcome::Collapsed;
        let status = Some(format!("{reason}; collapsed"));
        let age = object.freshness.age(turn.seconds());
        let took = began.elapsed();
        let source = Source {
            object: object.clone(),
            reader,
            status,
            took,
            age,
            leads: false,
            cookies: Bytes::new(),
        };
        return deliver(turn, stream, way, source).await;
    }
    let ticket = turn.local.node.store.lead(&way.key);
    lead(turn, stream, way, ticket, stale, reason).await
}

/// What becomes of a fill that is waited for, but not for long. One that has not even begun may be
/// as slow for everybody.
async fn awaited(turn: &Turn, outcome: &mut watch::Receiver<ticket::Outcome>) -> ticket::Outcome {
    let timer = Timer::new(turn.local.worker.wheel());
    let known = timer
        .within(
            Kind::Other,
            turn.generation.document.cache.follow_timeout,
            outcome.wait_for(|outcome| !matches!(outcome, ticket::Outcome::Waiting)),
        )
        .await;
    match known {
        Ok(Ok(outcome)) => outcome.clone(),
        Ok(Err(_)) | Err(_) => ticket::Outcome::OnYourOwn,
    }
}

/// Whether what somebody else fetched answers this request too (RFC 9111 §4: as if it had been
/// stored before).
fn fits(way: &Way<'_>, object: &Object, now: u64, stand_in: bool) -> bool {
    let directives = &way.facts.directives;
    vary::selects(&object.selection, way.fields())
        && (policy::usable(&object.freshness, directives, now).is_ok()
            || (stand_in
                && policy::may_stand_in(&object.freshness, directives, now, Trouble::Unreachable)))
}

/// Past the cache.
async fn past(turn: &mut Turn, stream: &mut Stream, way: &Way<'_>, reason: &str) -> ConnectionEnd {
    let status = cache_status(turn, reason);
    forward::run(turn, stream, way.asked, way.destination, &way.key, way.addresses.clone(), &status)
        .await
}

/// A value of Cache-Status (RFC 9211).
fn cache_status(turn: &Turn, detail: &str) -> String {
    format!("{}; {detail}", turn.local.node.cache_name)
}

/// What is delivered, and why.
struct Source {
    object: Arc<Object>,
    reader: Reader,
    /// For Cache-Status; `None`: a hit.
    status: Option<String>,
    /// How long the origin took.
    took: Duration,
    /// Its age now, in seconds.
    age: u64,
    /// It is filled for this request, which does not leave it for another.
    leads: bool,
    /// Lines of Set-Cookie, which are for the one that asked and are not stored.
    cookies: Bytes,
}

/// Sends an object to the client.
async fn deliver(
    turn: &mut Turn,
    stream: &mut Stream,
    way: &Way<'_>,
    mut source: Source,
) -> ConnectionEnd {
    let object = &source.object;
    let range = way.asked.view().value(Field::Range);
    let serving = serve::choose(object, &way.facts, range);
    let length = object.length();
    let (code, framing) = match &serving {
        Serving::Whole => (object.status, whole_framing(length, turn.version)),
        Serving::NotModified => (304, BodyFraming::Empty),
        Serving::Part(part, _) => (206, BodyFraming::Length(part.end - part.start)),
        Serving::Unsatisfiable(_) => (416, BodyFraming::Length(0)),
    };
    if code == 304 && turn.record.outcome == Outcome::MemHit {
        turn.record.outcome = Outcome::ImsHit;
    }
    turn.record.status = code;
    let keep = turn.keeps() && framing != BodyFraming::UntilClose;
    write_head(turn, &source, &serving, framing, keep);
    let deadline = turn.generation.document.timeouts.write;
    let body = if turn.method == Method::Head { BodyFraming::Empty } else { framing };
    let mut writer = BodyWriter::new(body);
    let sent = match (&serving, object.body.whole()) {
        (Serving::Whole, Some(whole)) if whole.len() <= body::AT_ONCE => {
            let write = writer.write(stream, &turn.out, whole, Rest::None, deadline);
            body::patiently(&turn.local, object, write).await.into()
        }
        (Serving::Whole, _) if body != BodyFraming::Empty => {
            let end = length.unwrap_or(u64::MAX);
            Box::pin(body::send(turn, stream, way, &mut writer, &mut source, 0..end)).await
        }
        (Serving::Part(part, _), _) => {
            Box::pin(body::send(turn, stream, way, &mut writer, &mut source, part.clone())).await
        }
        _ => stream.write_all(&[&turn.out], deadline).await.into(),
    };
    let after = match sent {
        Sent::Whole if keep => ConnectionEnd::Stays,
        Sent::Whole => ConnectionEnd::Close,
        Sent::Nothing => return turn.refuse(stream, way.asked, Failure::Incomplete, None).await,
        Sent::Cut => ConnectionEnd::Cut(body),
        Sent::ClientGone => ConnectionEnd::Abort,
    };
    turn.record.aborted |= sent != Sent::Whole;
    after
}

fn whole_framing(length: Option<u64>, client: Version) -> BodyFraming {
    length.map_or_else(|| BodyFraming::Chunked.for_client(client), BodyFraming::Length)
}

/// Writes the head of a stored response into the turn's scratch.
fn write_head(
    turn: &mut Turn,
    source: &Source,
    serving: &Serving,
    framing: BodyFraming,
    keep: bool,
) {
    let (object, age) = (&*source.object, source.age);
    let mut out = std::mem::take(&mut turn.out);
    out.clear();
    begin_head(&mut out, object, serving);
    let mut head = HeadWriter::resume(&mut out);
    match serving {
        Serving::Part(part, length) => {
            head.field(
                "Content-Range",
                format!("bytes {}-{}/{length}", part.start, part.end - 1).as_bytes(),
            );
        }
        Serving::Unsatisfiable(length) => {
            head.field("Content-Range", format!("bytes */{length}").as_bytes())
        }
        Serving::Whole | Serving::NotModified => {}
    }
    // RFC 9111 §5.1: its presence says that the answer was not made for this request.
    if source.status.is_none() || age > 0 {
        head.number("Age", age);
    }
    match framing {
        BodyFraming::Length(length) if !matches!(object.status, 204 | 304) => {
            head.number("Content-Length", length)
        }
        BodyFraming::Chunked => head.field("Transfer-Encoding", b"chunked"),
        _ => {}
    }
    for line in source.cookies.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        head.field("Set-Cookie", line);
    }
    let name = Piece::Text(turn.local.node.cache_name.as_bytes());
    match &source.status {
        Some(detail) => {
            head.pieces("Cache-Status", &[name, Piece::Text(b"; "), Piece::Text(detail.as_bytes())])
        }
        None => {
            let seconds = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            let left = seconds(object.freshness.lifetime).saturating_sub(seconds(age));
            head.pieces("Cache-Status", &[name, Piece::Text(b"; hit; ttl="), Piece::Number(left)]);
        }
    }
    turn.common_fields(&mut head, source.took);
    head.connection(Persistence::of(keep, turn.version));
    head.finish();
    turn.out = out;
    if turn.generation.logged {
        turn.record.media_type = object.media_type.clone();
    }
}

/// Whether a field goes with an answer.
type Keeps = fn(&[u8]) -> bool;

/// Status line and fields of what is stored, as far as they go with what is served.
fn begin_head(out: &mut Vec<u8>, object: &Object, serving: &Serving) {
    let (line, keeps): (&[u8], Keeps) = match serving {
        Serving::Whole => return out.extend_from_slice(&object.head),
        Serving::NotModified => (b"HTTP/1.1 304 Not Modified\r\n", serve::goes_with_304),
        Serving::Part(..) => (b"HTTP/1.1 206 Partial Content\r\n", |_| true),
        Serving::Unsatisfiable(_) => {
            (b"HTTP/1.1 416 Range Not Satisfiable\r\n", serve::goes_with_416)
        }
    };
    out.extend_from_slice(line);
    for (name, value) in object.fields().filter(|(name, _)| keeps(name)) {
        for part in [name, b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
}
