//! What was asked for, as messages: counts and records out of [`crate::record::lately`], and older
//! records out of the log's files.

mod files;

use std::{sync::Arc, time::Duration};

use chassis::StopSignal;
use dataplane::filter::Filter;
use futures::stream::{self, BoxStream, StreamExt};
use proto::proxy::{
    AccessKey, AccessRecord, AccessTotal, TailAccessRequest, TailAccessResponse, TopAccessRequest,
    TopAccessResponse,
};
use tonic::Status;

use crate::{
    node::Node,
    record::{
        Record,
        heavy::Summary,
        lately::{RECORDS, Window},
        search::Older,
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
pub fn top(
    node: &Node,
    request: &TopAccessRequest,
    now: jiff::Timestamp,
) -> Result<TopAccessResponse, Status> {
    let since = request
        .since
        .and_then(|since| Duration::try_from(since).ok())
        .unwrap_or(LONGEST)
        .min(LONGEST);
    let limit = match usize::try_from(request.limit) {
        Ok(limit @ 1..=MOST_TOTALS) => limit,
        _ => MOST_TOTALS,
    };
    let recent = node.recorder.recent();
    let seconds = recent.now();
    let windows = recent.look().windows(seconds, since.as_secs());
    let window = Window::merged(windows.iter().map(|window| &**window));
    let (totals, unlisted_at_most) = match request.by() {
        AccessKey::Client => totals(window.clients, limit, |client| {
            client.map_or_else(|| "-".to_owned(), |client| client.to_string())
        }),
        AccessKey::Url => totals(window.urls, limit, |url| {
            if url.is_empty() { "-".to_owned() } else { url.to_string() }
        }),
        AccessKey::Domain => totals(window.domains, limit, |domain| domain.to_string()),
        AccessKey::Status => totals(by_status(&window), limit, |status| status.to_string()),
        AccessKey::Unspecified => {
            return Err(Status::invalid_argument(
                "say by what to count: client, URL, status or domain",
            ));
        }
    };
    let age = if windows.is_empty() {
        since.as_secs().min(seconds)
    } else {
        seconds.saturating_sub(window.begins)
    };
    Ok(TopAccessResponse {
        totals,
        requests: window.requests,
        bytes: window.bytes,
        unlisted_at_most,
        from: Some(cluster::wire::timestamp(
            now - jiff::SignedDuration::from_secs(i64::try_from(age).unwrap_or(0)),
        )),
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

/// The last records, older ones out of the log's files where that is asked for, and new ones until
/// the caller or the process ends it.
pub fn tail(
    node: Arc<Node>,
    request: &TailAccessRequest,
    closing: StopSignal,
) -> Result<BoxStream<'static, Result<TailAccessResponse, Status>>, Status> {
    let wanted =
        Filter::parse(&request.request_id, &request.client, &request.status, &request.domain);
    let wanted = wanted.map_err(|error| Status::invalid_argument(error.to_string()))?;
    let wanted = wanted.between(files::millis(request.since), files::millis(request.until));
    let off = !node.current.load().logged;
    let count = usize::try_from(request.last).unwrap_or(RECORDS).min(RECORDS);
    let (last, since) = {
        let lately = node.recorder.recent().look();
        (lately.last(count, &wanted), lately.oldest().map(|oldest| oldest.ended_at))
    };
    let next = last.next;
    let mut kept: Vec<_> =
        last.records.chunks(AT_ONCE).map(|some| response(some, 0, off)).collect();
    if kept.is_empty() {
        kept.push(response(&[], 0, off));
    }
    kept[0].kept_since = since.map(files::moment);
    let kept = stream::iter(kept.into_iter().map(Ok));
    if !request.follow {
        let bounds =
            wanted.beyond(count, last.records.len(), since).filter(|_| request.search_files);
        let older =
            bounds.map(|bounds| files::search(&node, Older::new(wanted, &last.records), bounds));
        return Ok(kept
            .chain(stream::iter(older).flatten())
            .take_until(async move { closing.wait().await })
            .boxed());
    }
    let following = stream::unfold((node, wanted, next), |(node, wanted, mut next)| async move {
        loop {
            tokio::time::sleep(EVERY).await;
            let tail = node.recorder.recent().look().after(next, AT_ONCE, &wanted);
            next = tail.next;
            if !tail.records.is_empty() || tail.missed > 0 {
                let message = response(&tail.records, tail.missed, !node.current.load().logged);
                return Some((Ok(message), (node, wanted, next)));
            }
        }
    });
    Ok(kept.chain(following.take_until(async move { closing.wait().await })).boxed())
}

fn response(records: &[Record], missed: u64, off: bool) -> TailAccessResponse {
    TailAccessResponse {
        records: records.iter().map(message).collect(),
        missed,
        off,
        kept_since: None,
        searched: None,
    }
}

fn message(record: &Record) -> AccessRecord {
    AccessRecord {
        ended_at: Some(files::moment(record.ended_at)),
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
        request_id: if record.id.is_nil() { String::new() } else { record.id.to_string() },
    }
}
