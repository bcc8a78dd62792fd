//! What a search through the log's files tells, as messages.

use std::sync::Arc;

use cluster::wire;
use dataplane::search::{self, Bounds, Stopped, aside::Report};
use futures::stream::{self, Stream, StreamExt};
use proto::proxy::{SearchStopped, Searched, TailAccessResponse};
use tonic::Status;

use super::{AT_ONCE, response};
use crate::{
    node::Node,
    record::{Record, search::Older},
};

/// Older records, and how far the search for them is.
pub fn search(
    node: &Arc<Node>,
    older: Older,
    bounds: Bounds,
) -> impl Stream<Item = Result<TailAccessResponse, Status>> + use<> {
    let node = Arc::clone(node);
    let begun = async move { node.recorder.searcher().begin(older, bounds).await };
    let reports = stream::once(begun).flat_map(|reports| {
        stream::unfold(reports, |mut reports| async move {
            reports.recv().await.map(|report| (report, reports))
        })
    });
    reports.flat_map(|report| stream::iter(messages(report).into_iter().map(Ok)))
}

/// Messages carry so many records each; the last one says that the search is over, if it is.
fn messages(Report { mut records, searched, last }: Report<Record>) -> Vec<TailAccessResponse> {
    records.reverse();
    let told = |under_way| Some(told(&searched, under_way));
    // The newer ones first, each message in itself the oldest first.
    let mut messages: Vec<_> =
        records.rchunks(AT_ONCE).map(|some| response(some, 0, false)).collect();
    if messages.is_empty() {
        messages.push(response(&[], 0, false));
    }
    let end = messages.len() - 1;
    for (number, message) in messages.iter_mut().enumerate() {
        message.searched = told(!last || number < end);
    }
    messages
}

/// Unix milliseconds as a message.
pub fn moment(millis: u64) -> prost_types::Timestamp {
    wire::timestamp(
        jiff::Timestamp::from_millisecond(i64::try_from(millis).unwrap_or(i64::MAX))
            .unwrap_or_default(),
    )
}

/// And back; none: before 1970, or none at all.
pub fn millis(message: Option<prost_types::Timestamp>) -> Option<u64> {
    u64::try_from(wire::from_timestamp(message)?.as_millisecond()).ok()
}

fn told(searched: &search::Searched, under_way: bool) -> Searched {
    let stopped = match searched.stopped {
        None => SearchStopped::Unspecified,
        Some(Stopped::Bytes) => SearchStopped::Bytes,
        Some(Stopped::Time) => SearchStopped::Time,
        Some(Stopped::Busy) => SearchStopped::Busy,
        Some(Stopped::Unreadable) => SearchStopped::Unreadable,
    };
    Searched {
        back_to: searched.back_to.map(moment),
        bytes: searched.bytes,
        files: searched.files,
        stopped: stopped.into(),
        skipped: searched.skipped.clone(),
        without_id: searched.without_id,
        under_way,
    }
}
