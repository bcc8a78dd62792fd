//! What a service takes in an import, and from whom.

use std::path::Path;

use proto::state::{self as pb, import_request};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::{Malformed, NEXT_WITHIN, Parcel, Spool, refuse};

/// What a service takes in an import.
#[derive(Clone, Copy, Debug)]
pub struct Accepts<'a> {
    /// Its own name.
    pub service: &'static str,
    /// Version of its entries.
    pub format: u32,
    /// Where it is put together.
    pub directory: &'a Path,
    /// Bytes in all.
    pub limit: u64,
}

/// Takes the beginning of an import: whose state it is and what is asked for.
///
/// # Errors
/// It is another service's, or of a newer format.
pub async fn header(
    stream: &mut Streaming<pb::ImportRequest>,
    accepts: Accepts<'_>,
) -> Result<pb::ImportHeader, Status> {
    let Some(import_request::Part::Header(header)) = next(stream).await? else {
        return Err(refuse(&Malformed::OutOfPlace("an import begins with its header")));
    };
    let state = header.state.clone().unwrap_or_default();
    if state.service != accepts.service {
        let message = format!(
            "this is the state of {:?} and cannot become that of {}",
            state.service, accepts.service
        );
        return Err(Status::invalid_argument(message));
    }
    if state.format != accepts.format {
        let message = format!(
            "the state of {} is in format {}, and this version of Shoal knows format {}: restore \
             it with the version that made it",
            accepts.service, state.format, accepts.format
        );
        return Err(Status::failed_precondition(message));
    }
    Ok(header)
}

/// Takes everything that an import sends after its header, and compares it.
///
/// # Errors
/// It is incomplete or damaged.
pub async fn content(
    stream: &mut Streaming<pb::ImportRequest>,
    accepts: Accepts<'_>,
) -> Result<Parcel, Status> {
    let mut spool =
        Spool::create(accepts.directory, accepts.limit).map_err(|problem| refuse(&problem))?;
    loop {
        match next(stream).await? {
            Some(import_request::Part::Chunk(chunk)) => {
                spool.push(&chunk).map_err(|problem| refuse(&problem))?
            }
            Some(import_request::Part::End(end)) => {
                return spool.finish(&end).map_err(|problem| refuse(&problem));
            }
            Some(import_request::Part::Header(_)) => {
                return Err(refuse(&Malformed::OutOfPlace("a second header")));
            }
            None => {
                return Err(refuse(&Malformed::OutOfPlace(
                    "the import ended before its end was sent",
                )));
            }
        }
    }
}

/// What an import is, for its audit record.
#[must_use]
pub fn describe(header: &pb::ImportHeader) -> String {
    let state = header.state.clone().unwrap_or_default();
    let what =
        if header.check_only { "check only, nothing is replaced" } else { "replace everything" };
    let taken = state.taken_at.map_or_else(String::new, |at| format!(" of {at}"));
    format!("{what}: the state{taken} of cluster {} in epoch {}", state.cluster_id, state.epoch)
}

async fn next(
    stream: &mut Streaming<pb::ImportRequest>,
) -> Result<Option<import_request::Part>, Status> {
    let message = timeout(NEXT_WITHIN, stream.message())
        .await
        .map_err(|_| Status::deadline_exceeded("the import has gone silent"))??;
    Ok(message.and_then(|message| message.part))
}
