//! What was asked for, as messages: counts out of [`crate::record::lately`], and records out of
//! memory and the log's files ([`dataplane::log::tail`]).

use std::{sync::Arc, time::Duration};

use chassis::StopSignal;
use cluster::wire;
use dataplane::{
    filter::Filter,
    log::tail::{self, Question, Told},
};
use futures::stream::{BoxStream, StreamExt};
use proto::proxy::{
    AccessKey, AccessRecord, AccessTotal, TailAccessRequest, TailAccessResponse, TopAccessRequest,
    TopAccessResponse,
};
use tonic::Status;

use crate::{
    node::Node,
    record::{Record, heavy::Summary, lately::Window},
};

/// No caller gets more totals than this.
const MOST_TOTALS: usize = 1000;
/// As far back as anything is kept.
const LONGEST: Duration = Duration::from_secs(3600);

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
    let log = node.recorder.log();
    let seconds = log.now();
    let windows = log.lately().windows(seconds, since.as_secs());
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
        from: Some(wire::timestamp(
            now - jiff::SignedDuration::from_secs(i64::try_from(age).unwrap_or(0)),
        )),
        taken_at: Some(wire::timestamp(now)),
        off: !node.current.load().logged,
        records_dropped: node.recorder.dropped(),
    })
}

/// Statuses are few: their counts are exact.
fn by_status(window: &Window) -> Summary<u16> {
    let entries = window.statuses.iter();
    let entries = entries.map(|(status, (requests, bytes))| crate::record::heavy::Hitter {
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
    let total = |entry: &crate::record::heavy::Hitter<K>| AccessTotal {
        key: text(&entry.key),
        requests: entry.requests,
        overcount: entry.overcount,
        bytes: entry.bytes,
    };
    (top.entries.iter().map(total).collect(), top.unlisted)
}

/// The last records, older ones out of the log's files where that is asked for, and new ones until
/// the caller or the process ends it.
pub async fn tail(
    node: Arc<Node>,
    request: &TailAccessRequest,
    closing: StopSignal,
) -> Result<BoxStream<'static, Result<TailAccessResponse, Status>>, Status> {
    let filter =
        Filter::parse(&request.request_id, &request.client, &request.status, &request.domain);
    let filter = filter.map_err(|error| Status::invalid_argument(error.to_string()))?;
    let filter = filter.between(wire::unix_millis(request.since), wire::unix_millis(request.until));
    let question =
        Question { last: request.last, follow: request.follow, files: request.search_files };
    let recorder = &node.recorder;
    let told = tail::tail(recorder.recent(), recorder.searcher(), filter, question).await;
    let told = told.map_err(|_| Status::internal("the records could not be read"))?;
    let messages = told.map(move |told| Ok(response(told, !node.current.load().logged)));
    Ok(messages.take_until(async move { closing.wait().await }).boxed())
}

fn response(told: Told<Record>, off: bool) -> TailAccessResponse {
    TailAccessResponse {
        records: told.records.into_iter().map(message).collect(),
        missed: told.missed,
        off,
        kept_since: told.kept_since.map(wire::at_unix_millis),
        searched: told.searched,
    }
}

fn message(record: Record) -> AccessRecord {
    AccessRecord {
        ended_at: Some(wire::at_unix_millis(record.ended_at)),
        took: Some(wire::duration(Duration::from_millis(record.elapsed))),
        client: record.client.map(|client| client.to_string()).unwrap_or_default(),
        outcome: record.outcome.as_str().to_owned(),
        aborted: record.aborted,
        status: record.status.into(),
        bytes: record.bytes,
        method: record.method.into(),
        url: record.url.into(),
        hierarchy: record.hierarchy.to_string(),
        media_type: record.media_type.into(),
        request_id: if record.id.is_nil() { String::new() } else { record.id.to_string() },
    }
}
