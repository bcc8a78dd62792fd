//! What was answered, as messages: records out of memory and, where that is asked for, out of the
//! log's files ([`dataplane::log::tail`]).

use std::time::Duration;

use chassis::StopSignal;
use cluster::wire;
use dataplane::{
    filter::Filter,
    log::tail::{self, Question, Told},
};
use futures::stream::{BoxStream, StreamExt};
use proto::balancer::{AccessRecord, TailAccessRequest, TailAccessResponse};
use tonic::Status;

use super::View;
use crate::record::line::{Line, Wanted};

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
    let filter = filter.between(wire::unix_millis(request.since), wire::unix_millis(request.until));
    let wanted = Wanted { filter, own: request.own };
    let question =
        Question { last: request.last, follow: request.follow, files: request.search_files };
    let recorder = &view.recorder;
    let told = tail::tail(recorder.recent(), recorder.searcher(), wanted, question).await;
    let told = told.map_err(|_| Status::internal("the records could not be read"))?;
    let messages = told.map(|told| Ok(response(told)));
    Ok(messages.take_until(async move { closing.wait().await }).boxed())
}

fn response(told: Told<Line>) -> TailAccessResponse {
    TailAccessResponse {
        records: told.records.into_iter().map(message).collect(),
        missed: told.missed,
        kept_since: told.kept_since.map(wire::at_unix_millis),
        searched: told.searched,
    }
}

fn message(line: Line) -> AccessRecord {
    AccessRecord {
        ended_at: Some(wire::timestamp(line.time)),
        took: Some(wire::duration(Duration::from_millis(line.ms))),
        request_id: line.id.to_string(),
        client: line.client,
        frontend: line.frontend,
        method: line.method,
        target: line.target,
        status: line.status.into(),
        bytes: line.bytes,
        server: line.server,
        attempts: line.attempts,
        error: line.error,
    }
}
