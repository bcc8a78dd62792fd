//! Which way a fetch takes: from memory, behind somebody else's fill, with a fill of its own, or past the cache.

use std::{
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use relay::{
    body::{BodyWriter, Rest},
    exchange::Upload,
    field::Field,
    framing::BodyFraming,
    head::Version,
    method::Method,
    rewrite::{HeadWriter, Persistence, Piece},
    stream::Stream,
    wheel::{Kind, Timer},
};
use tokio::sync::{oneshot, watch};

use crate::{
    cache::{
        body::{Next, Reader},
        facts::RequestFacts,
        fill::{self, How, Lead, Order},
        hints::Hints,
        key::Key,
        object::Object,
        policy::{self, Bypass, Trouble, Unfit},
        serve::{self, Serving},
        store::Join,
        ticket::{self, Ticket},
        vary,
    },
    record::Outcome,
    relay::{self as forward, outgoing_framing},
    request::{self, Destination},
    respond::Failure,
    turn::{After, Asked, Turn},
};

/// How long a request waits for somebody else's fill to begin answering before it asks itself.
const FOLLOW: Duration = Duration::from_secs(10);
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
    /// Name and value of every field that goes on to the origin, for Vary. What Connection nominates does not: an answer stored as if the origin had
    /// seen it would be another request's.
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
) -> After {
    let request = asked.view();
    let facts = RequestFacts::new(request.method_text().as_bytes(), !request.framing().is_empty(), asked.fields());
    let way = Way { asked, destination, key, addresses, facts };
    // What may become a tunnel is nobody else's, and is no answer to keep.
    if asked.head.upgrades() {
        return Box::pin(past(turn, stream, &way, "fwd=bypass")).await;
    }
    let eligible = if turn.local.node.store.capacity() == 0 { Err(Bypass::Off) } else { policy::eligible(&way.facts) };
    if let Err(bypass) = eligible {
        let detail = if bypass == Bypass::Method { "fwd=method" } else { "fwd=bypass" };
        return Box::pin(past(turn, stream, &way, detail)).await;
    }
    for _ in 0..MOST_LOOKS {
        match look(turn, stream, &way).await {
            Looked::Answered(after) => return after,
            Looked::Again => {}
        }
    }
    Box::pin(past(turn, stream, &way, "fwd=miss; detail=contended")).await
}

/// What came of one look into the cache.
enum Looked {
    Answered(After),
    Again,
}

async fn look(turn: &mut Turn, stream: &mut Stream, way: &Way<'_>) -> Looked {
    let (stale, unfit) = match turn.local.node.store.find(&way.key, way.fields()) {
        Some(object) => match policy::usable(&object.freshness, &way.facts.directives, turn.seconds()) {
            Ok(age) => {
                let Some(reader) = Reader::new(&object.body) else { return Looked::Again };
                turn.count(|metrics| &metrics.hits);
                turn.record.outcome = Outcome::MemHit;
                return Looked::Answered(
                    deliver(turn, stream, way, Source { object, reader, status: None, took: Duration::ZERO, age }).await,
                );
            }
            Err(unfit) => (Some(object), Some(unfit)),
        },
        None => (None, None),
    };
    // On the heap, so that a hit costs no room for it.
    Box::pin(miss(turn, stream, way, stale, unfit)).await
}

/// Nothing that was found is fit.
async fn miss(turn: &mut Turn, stream: &mut Stream, way: &Way<'_>, found: Option<Arc<Object>>, unfit: Option<Unfit>) -> Looked {
    let store = turn.local.node.store.clone();
    if way.facts.directives.only_if_cached {
        return Looked::Answered(turn.refuse(stream, way.asked, Failure::OnlyIfCached, None).await);
    }
    turn.count(|metrics| &metrics.misses);
    turn.record.outcome = if unfit == Some(Unfit::Reload) { Outcome::ClientRefresh } else { Outcome::Miss };
    let reason = why(unfit);
    // Something that is validated is asked for with our conditions; on a plain miss the client's own go through, and its answer is its own.
    let stale = found.clone().filter(|object| object.has_validator() && object.status == 200 && object.body.whole().is_some());
    if way.facts.head || way.facts.range {
        return Looked::Answered(past(turn, stream, way, reason).await);
    }
    let alone = way.facts.authorization || way.facts.directives.no_cache || (way.facts.conditional() && stale.is_none());
    if alone || !turn.generation.document.cache.collapsed_forwarding {
        let ticket = store.lead(&way.key);
        return Looked::Answered(lead(turn, stream, way, ticket, stale, reason).await);
    }
    match store.join(&way.key, way.fields(), found.as_ref()) {
        Join::Changed(_) => Looked::Again,
        Join::Follow(outcome) => Looked::Answered(follow(turn, stream, way, outcome, stale, reason).await),
        Join::Lead(ticket) => Looked::Answered(lead(turn, stream, way, ticket, stale, reason).await),
    }
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
) -> After {
    let validates = stale.is_some();
    // RFC 9110 §15.2: no interim response to a client that knows none.
    let hints = (turn.version == Version::Http11).then(Rc::<Hints>::default);
    let order = Order {
        local: turn.local.clone(),
        generation: turn.generation.clone(),
        asked: way.asked.clone(),
        facts: way.facts.clone(),
        destination: way.destination.clone(),
        addresses: way.addresses.clone(),
        client: turn.client.address,
        forwarded: turn.client.forwarded,
        stale,
        hints: hints.clone(),
    };
    let Some(led) = outcome(turn, stream, fill::start(order, ticket), hints).await else {
        turn.record.aborted = true;
        return After::Abort;
    };
    match led {
        Ok(Lead::Object { object, reader, how, hierarchy, took }) => {
            let status = filled(turn, how, validates, reason, object.status);
            turn.record.hierarchy = hierarchy;
            let age = object.freshness.age(turn.seconds());
            deliver(turn, stream, way, Source { object, reader, status: Some(status), took, age }).await
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

/// Waits for a fill to answer its leader, who gets interim responses as they come. `None`: the client takes nothing any more.
async fn outcome(
    turn: &Turn,
    stream: &mut Stream,
    mut answer: oneshot::Receiver<Lead>,
    hints: Option<Rc<Hints>>,
) -> Option<Result<Lead, oneshot::error::RecvError>> {
    let Some(hints) = hints else { return Some(answer.await) };
    loop {
        tokio::select! {
            biased;
            hint = hints.next() => stream.write_all(&[&hint], turn.generation.document.timeouts.write).await.ok()?,
            led = &mut answer => return Some(led),
        }
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

/// Waits for the fill of another. A stalled one does not hold anybody for long; one whose answer is not for this request sends it on its own.
async fn follow(
    turn: &mut Turn,
    stream: &mut Stream,
    way: &Way<'_>,
    mut outcome: watch::Receiver<ticket::Outcome>,
    stale: Option<Arc<Object>>,
    reason: &'static str,
) -> After {
    let began = Instant::now();
    let timer = Timer::new(turn.local.worker.wheel());
    let known = timer.within(Kind::Other, FOLLOW, outcome.wait_for(|outcome| !matches!(outcome, ticket::Outcome::Waiting))).await;
    let known = match known {
        Ok(Ok(outcome)) => outcome.clone(),
        Ok(Err(_)) | Err(_) => ticket::Outcome::OnYourOwn,
    };
    let fit = match &known {
        ticket::Outcome::Failed(failure) => return turn.refuse(stream, way.asked, *failure, None).await,
        ticket::Outcome::Waiting | ticket::Outcome::OnYourOwn => None,
        ticket::Outcome::Stored(object) => fits(way, object, turn.seconds(), false).then_some(object),
        ticket::Outcome::StandIn(object) => fits(way, object, turn.seconds(), true).then_some(object),
    };
    if let Some(object) = fit
        && let Some(reader) = Reader::new(&object.body)
    {
        turn.count(|metrics| &metrics.collapsed);
        turn.record.outcome = Outcome::Collapsed;
        let status = Some(format!("{reason}; collapsed"));
        let age = object.freshness.age(turn.seconds());
        return deliver(turn, stream, way, Source { object: object.clone(), reader, status, took: began.elapsed(), age }).await;
    }
    let ticket = turn.local.node.store.lead(&way.key);
    lead(turn, stream, way, ticket, stale, reason).await
}

/// Whether what somebody else fetched answers this request too (RFC 9111 §4: as if it had been stored before).
fn fits(way: &Way<'_>, object: &Object, now: u64, stand_in: bool) -> bool {
    let directives = &way.facts.directives;
    vary::selects(&object.selection, way.fields())
        && (policy::usable(&object.freshness, directives, now).is_ok()
            || (stand_in && policy::may_stand_in(&object.freshness, directives, now, Trouble::Unreachable)))
}

/// Past the cache.
async fn past(turn: &mut Turn, stream: &mut Stream, way: &Way<'_>, reason: &str) -> After {
    let status = cache_status(turn, reason);
    forward::run(turn, stream, way.asked, way.destination, &way.key, way.addresses.clone(), &status).await
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
}

/// Sends an object to the client.
async fn deliver(turn: &mut Turn, stream: &mut Stream, way: &Way<'_>, mut source: Source) -> After {
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
        (Serving::Whole, Some(whole)) => writer.write(stream, &turn.out, whole, Rest::None, deadline).await.is_ok(),
        (Serving::Part(part, _), Some(whole)) => {
            writer.write(stream, &turn.out, &cut(whole, part.clone()), Rest::None, deadline).await.is_ok()
        }
        (Serving::Whole, None) if body != BodyFraming::Empty => {
            Box::pin(follow_body(turn, stream, &mut writer, &mut source.reader, deadline)).await
        }
        _ => stream.write_all(&[&turn.out], deadline).await.is_ok(),
    };
    match (sent, keep) {
        (true, true) => After::Keep,
        (true, false) => After::Close,
        (false, _) => {
            turn.record.aborted = true;
            After::Abort
        }
    }
}

fn whole_framing(length: Option<u64>, client: Version) -> BodyFraming {
    length.map_or_else(|| outgoing_framing(BodyFraming::Chunked, client), BodyFraming::Length)
}

/// Sends a body that is still being filled, as it grows. False: it cannot be sent to its end.
async fn follow_body(turn: &Turn, stream: &mut Stream, writer: &mut BodyWriter, reader: &mut Reader, deadline: Duration) -> bool {
    let mut head: &[u8] = &turn.out;
    loop {
        let (segment, rest) = match reader.next().await {
            Next::Segment(segment) => (Some(segment), Rest::Follows),
            Next::End => (None, Rest::None),
            Next::Failed => return false,
        };
        if writer.write(stream, head, segment.as_slice(), rest, deadline).await.is_err() {
            return false;
        }
        head = &[];
        if rest == Rest::None {
            return true;
        }
    }
}

/// The segments that make up a part of a body.
fn cut(whole: &[Bytes], part: std::ops::Range<u64>) -> Vec<Bytes> {
    let mut at = 0;
    let mut pieces = Vec::new();
    for segment in whole {
        let length = segment.len() as u64;
        let from = part.start.saturating_sub(at).min(length);
        let to = part.end.saturating_sub(at).min(length);
        if from < to {
            // Both are at most the length of a segment, which is a usize.
            pieces.push(segment.slice(usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0)));
        }
        at += length;
    }
    pieces
}

/// Writes the head of a stored response into the turn's scratch.
fn write_head(turn: &mut Turn, source: &Source, serving: &Serving, framing: BodyFraming, keep: bool) {
    let (object, age) = (&*source.object, source.age);
    let mut out = std::mem::take(&mut turn.out);
    out.clear();
    begin_head(&mut out, object, serving);
    let mut head = HeadWriter::resume(&mut out);
    match serving {
        Serving::Part(part, length) => {
            head.field("Content-Range", format!("bytes {}-{}/{length}", part.start, part.end - 1).as_bytes());
        }
        Serving::Unsatisfiable(length) => head.field("Content-Range", format!("bytes */{length}").as_bytes()),
        Serving::Whole | Serving::NotModified => {}
    }
    // RFC 9111 §5.1: its presence says that the answer was not made for this request.
    if source.status.is_none() || age > 0 {
        head.number("Age", age);
    }
    match framing {
        BodyFraming::Length(length) if !matches!(object.status, 204 | 304) => head.number("Content-Length", length),
        BodyFraming::Chunked => head.field("Transfer-Encoding", b"chunked"),
        _ => {}
    }
    let name = Piece::Text(turn.local.node.cache_name.as_bytes());
    match &source.status {
        Some(detail) => head.pieces("Cache-Status", &[name, Piece::Text(b"; "), Piece::Text(detail.as_bytes())]),
        None => {
            let seconds = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            let left = seconds(object.freshness.lifetime).saturating_sub(seconds(age));
            head.pieces("Cache-Status", &[name, Piece::Text(b"; hit; ttl="), Piece::Number(left)]);
        }
    }
    turn.common_fields(&mut head, source.took);
    head.connection(if keep { Persistence::Implied } else { Persistence::Close });
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
        Serving::Unsatisfiable(_) => (b"HTTP/1.1 416 Range Not Satisfiable\r\n", |_| false),
    };
    out.extend_from_slice(line);
    for (name, value) in object.fields().filter(|(name, _)| keeps(name)) {
        for part in [name, b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_across_segments() {
        let whole = [Bytes::from_static(b"abc"), Bytes::from_static(b"def"), Bytes::from_static(b"gh")];
        for (part, want) in [(0..8, "abcdefgh"), (2..4, "cd"), (3..6, "def"), (7..8, "h"), (0..1, "a")] {
            assert_eq!(cut(&whole, part).concat(), want.as_bytes());
        }
    }
}
