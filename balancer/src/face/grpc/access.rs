//! What was answered, as messages: records out of [`crate::record::recent`], and older ones out of
//! the log's files.

mod files;

use std::time::Duration;

use chassis::StopSignal;
use cluster::wire;
use dataplane::filter::Filter;
use futures::stream::{self, BoxStream, StreamExt};
use proto::balancer::{AccessRecord, TailAccessRequest, TailAccessResponse};
use tonic::Status;

use super::View;
use crate::record::{
    line::{Line, Older, Wanted},
    recent::Tail,
};

/// Nobody gets more of what is kept than this in one answer.
const MOST: usize = 10_000;
/// Records in one message: well under what a message may have.
const AT_ONCE: usize = 256;
/// How often a follower is told of new records.
const EVERY: Duration = Duration::from_millis(250);

/// The last records, older ones out of the log's files where that is asked for, and new ones until
/// the caller or the process ends it.
///
/// # Errors
/// A condition cannot be read.
pub async fn tail(
    view: &View,
    request: &TailAccessRequest,
    closing: StopSignal,
) -> Result<BoxStream<'static, Result<TailAccessResponse, Status>>, Status> {
    let filter =
        Filter::parse(&request.request_id, &request.client, &request.status, &request.domain);
    let filter = filter.map_err(|error| Status::invalid_argument(error.to_string()))?;
    let filter = filter.between(files::millis(request.since), files::millis(request.until));
    let (recent, wanted) = (view.recent.clone(), Wanted { filter, own: request.own });
    let count = usize::try_from(request.last).unwrap_or(MOST).min(MOST);
    let (searched, asked) = (recent.clone(), wanted.clone());
    let looking = tokio::task::spawn_blocking(move || searched.last(count, &asked));
    let (Tail { lines, next, .. }, since) =
        looking.await.map_err(|_| Status::internal("the records could not be read"))?;
    let mut kept: Vec<_> = lines.chunks(AT_ONCE).map(|some| response(some, 0)).collect();
    if kept.is_empty() {
        kept.push(response(&[], 0));
    }
    kept[0].kept_since = since.map(wire::timestamp);
    let kept = stream::iter(kept.into_iter().map(Ok));
    if !request.follow {
        let since = since.and_then(|since| u64::try_from(since.as_millisecond()).ok());
        let bounds =
            wanted.filter.beyond(count, lines.len(), since).filter(|_| request.search_files);
        let older =
            bounds.map(|bounds| files::search(&view.searcher, Older::new(wanted, &lines), bounds));
        return Ok(kept
            .chain(stream::iter(older).flatten())
            .take_until(async move { closing.wait().await })
            .boxed());
    }
    let following =
        stream::unfold((recent, wanted, next), |(recent, wanted, mut next)| async move {
            loop {
                tokio::time::sleep(EVERY).await;
                let tail = recent.after(next, AT_ONCE, &wanted);
                next = tail.next;
                if !tail.lines.is_empty() || tail.missed > 0 {
                    return Some((Ok(response(&tail.lines, tail.missed)), (recent, wanted, next)));
                }
            }
        });
    Ok(kept.chain(following.take_until(async move { closing.wait().await })).boxed())
}

fn response(lines: &[Line], missed: u64) -> TailAccessResponse {
    TailAccessResponse {
        records: lines.iter().map(message).collect(),
        missed,
        kept_since: None,
        searched: None,
    }
}

fn message(line: &Line) -> AccessRecord {
    AccessRecord {
        ended_at: Some(wire::timestamp(line.time)),
        took: Some(wire::duration(Duration::from_millis(line.ms))),
        request_id: line.id.to_string(),
        client: line.client.clone(),
        frontend: line.frontend.clone(),
        method: line.method.clone(),
        target: line.target.clone(),
        status: line.status.into(),
        bytes: line.bytes,
        server: line.server.clone(),
        attempts: line.attempts,
        error: line.error.clone(),
    }
}
