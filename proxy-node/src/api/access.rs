//! What was asked for lately, as messages: counts and records out of [`crate::record::lately`].

use std::{sync::Arc, time::Duration};

use chassis::StopSignal;
use futures::stream::{self, BoxStream, StreamExt};
use proto::proxy::{AccessKey, AccessRecord, AccessTotal, TailAccessRequest, TailAccessResponse, TopAccessRequest, TopAccessResponse};
use tonic::Status;

use crate::{
    node::Node,
    record::{
        Record,
        heavy::Summary,
        lately::{RECORDS, Tail, Window},
    },
};

/// No caller gets more totals than this.
const MOST_TOTALS: usize = 1000;
/// As far back as anything is kept.
const LONGEST: Duration = Duration::from_secs(3600);
/// Records in one message: well under what a message may have.
const AT_ONCE: usize = 256;
/// How often a follower is told of new records.
const EVERY: Duration = Duration::from_millis(250);

/// Counts by one key.
pub fn top(node: &Node, request: &TopAccessRequest, now: jiff::Timestamp) -> Result<TopAccessResponse, Status> {
    let since = request.since.and_then(|since| Duration::try_from(since).ok()).unwrap_or(LONGEST).min(LONGEST);
    let limit = match usize::try_from(request.limit) {
        Ok(limit @ 1..=MOST_TOTALS) => limit,
        _ => MOST_TOTALS,
    };
    let recent = node.recorder.recent();
    let seconds = recent.now();
    let windows = recent.look().windows(seconds, since.as_secs());
    let window = Window::merged(windows.iter().map(|window| &**window));
    let (totals, unlisted_at_most) = match request.by() {
        AccessKey::Client => totals(window.clients, limit, |client| client.map_or_else(|| "-".to_owned(), |client| client.to_string())),
        AccessKey::Url => totals(window.urls, limit, |url| if url.is_empty() { "-".to_owned() } else { url.to_string() }),
        AccessKey::Domain => totals(window.domains, limit, |domain| domain.to_string()),
        AccessKey::Status => totals(by_status(&window), limit, |status| status.to_string()),
        AccessKey::Unspecified => return Err(Status::invalid_argument("say by what to count: client, URL, status or domain")),
    };
    let age = if windows.is_empty() { since.as_secs().min(seconds) } else { seconds.saturating_sub(window.begins) };
    Ok(TopAccessResponse {
        totals,
        requests: window.requests,
        bytes: window.bytes,
        unlisted_at_most,
        from: Some(cluster::wire::timestamp(now - jiff::SignedDuration::from_secs(i64::try_from(age).unwrap_or(0)))),
        taken_at: Some(cluster::wire::timestamp(now)),
        off: !node.current.load().logged,
        records_dropped: node.recorder.dropped(),
    })
}

/// Statuses are few: their counts are exact.
fn by_status(window: &Window) -> Summary<u16> {
    let entries = window.statuses.iter();
    let entries = entries.map(|(status, (requests, bytes))| crate::record::heavy::Entry {
        key: *status,
        requests: *requests,
        overcount: 0,
        bytes: *bytes,
    });
    Summary { entries: entries.collect(), unlisted: 0 }
}

fn totals<K: Clone + Eq + std::hash::Hash + Ord>(
    summary: Summary<K>,
    limit: usize,
    text: impl Fn(&K) -> String,
) -> (Vec<AccessTotal>, u64) {
    let top = summary.top(limit);
    let total = |entry: &crate::record::heavy::Entry<K>| AccessTotal {
        key: text(&entry.key),
        requests: entry.requests,
        overcount: entry.overcount,
        bytes: entry.bytes,
    };
    (top.entries.iter().map(total).collect(), top.unlisted)
}

/// The last records, and new ones until the caller or the process ends it.
pub fn tail(node: Arc<Node>, request: &TailAccessRequest, closing: StopSignal) -> BoxStream<'static, Result<TailAccessResponse, Status>> {
    let off = !node.current.load().logged;
    let last = node.recorder.recent().look().last(usize::try_from(request.last).unwrap_or(RECORDS));
    let next = last.next;
    let kept = if last.records.is_empty() {
        vec![response(&[], 0, off)]
    } else {
        last.records.chunks(AT_ONCE).map(|some| response(some, 0, off)).collect()
    };
    let kept = stream::iter(kept.into_iter().map(Ok));
    if !request.follow {
        return kept.boxed();
    }
    let following = stream::unfold((node, next), |(node, next)| async move {
        loop {
            tokio::time::sleep(EVERY).await;
            let Tail { records, missed, next } = node.recorder.recent().look().after(next, AT_ONCE);
            if !records.is_empty() {
                let message = response(&records, missed, !node.current.load().logged);
                return Some((Ok(message), (node, next)));
            }
        }
    });
    kept.chain(following.take_until(async move { closing.wait().await })).boxed()
}

fn response(records: &[Record], missed: u64, off: bool) -> TailAccessResponse {
    TailAccessResponse { records: records.iter().map(message).collect(), missed, off }
}

fn message(record: &Record) -> AccessRecord {
    let millis = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
    let ended_at = jiff::Timestamp::from_millisecond(millis(record.ended_at)).unwrap_or_default();
    AccessRecord {
        ended_at: Some(cluster::wire::timestamp(ended_at)),
        took: prost_types::Duration::try_from(Duration::from_millis(record.elapsed)).ok(),
        client: record.client.map(|client| client.to_string()).unwrap_or_default(),
        outcome: record.outcome.as_str().to_owned(),
        aborted: record.aborted,
        status: record.status.into(),
        bytes: record.bytes,
        method: record.method.to_string(),
        url: record.url.to_string(),
        hierarchy: record.hierarchy.to_string(),
        media_type: record.media_type.split(';').next().unwrap_or_default().trim().to_owned(),
    }
}
