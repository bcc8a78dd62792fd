//! Validate, Commit, Rollback: bundles come in.

use super::revisions::{find, released};
use super::upload::{Malformed, Upload};
use super::{Api, refuse, wire};
use crate::metrics;
use crate::revision::Revision;
use crate::store::{Committed, Draft, Error, Unchanged};
use chassis::{Peer, audit};
use cluster_config::{Bundle, Problem, problem::any_error};
use proto::config as pb;
use proto::config::commit_request::Part;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::timeout;
use tonic::{Request, Status, Streaming};

/// Between two pieces of an upload.
const PIECE_WITHIN: Duration = Duration::from_secs(30);
/// Longer texts are not messages.
const LONGEST_TEXT: usize = 64 << 10;

async fn next<T>(stream: &mut Streaming<T>) -> Result<Option<T>, Status> {
    let late =
        |_| Status::deadline_exceeded("the upload stands still; send its pieces without pauses");
    timeout(PIECE_WITHIN, stream.message()).await.map_err(late)?
}

/// Checking a million lines takes a while: not on the threads that answer others.
async fn check(
    files: BTreeMap<String, Vec<u8>>,
) -> Result<(BTreeMap<String, Vec<u8>>, Vec<Problem>), Status> {
    let checked = tokio::task::spawn_blocking(move || {
        let (_, problems) = Bundle::from_files(&files);
        (files, problems)
    });
    checked.await.map_err(|error| Status::internal(format!("checking the bundle failed: {error}")))
}

pub(super) async fn validate(
    request: Request<Streaming<pb::ValidateRequest>>,
) -> Result<pb::ValidateResponse, Status> {
    let mut stream = request.into_inner();
    let mut upload = Upload::default();
    while let Some(message) = next(&mut stream).await? {
        let chunk = message
            .chunk
            .ok_or_else(|| refuse::upload(Malformed::OutOfPlace("a message without a piece")))?;
        upload.push(chunk).map_err(refuse::upload)?;
    }
    let (_, problems) = check(upload.files()).await?;
    Ok(pb::ValidateResponse { problems: problems.iter().map(wire::problem).collect() })
}

pub(super) async fn commit(
    api: &Api,
    request: Request<Streaming<pb::CommitRequest>>,
) -> Result<pb::CommitResponse, Status> {
    let (metadata, extensions, mut stream) = request.into_parts();
    let caller = Request::from_parts(metadata, extensions, ());
    let out_of_place = |what| refuse::upload(Malformed::OutOfPlace(what));
    let Some(pb::CommitRequest { part: Some(Part::Header(header)) }) = next(&mut stream).await?
    else {
        return Err(out_of_place("a commit begins with its header"));
    };
    audit::note(
        &caller,
        format!("on {:?} by {:?}: {}", header.parent, header.author, header.message),
    );
    text("author", &header.author)?;
    text("message", &header.message)?;
    let mut upload = Upload::default();
    while let Some(message) = next(&mut stream).await? {
        let Some(Part::Chunk(chunk)) = message.part else {
            return Err(out_of_place("a piece of a file must come after the header"));
        };
        upload.push(chunk).map_err(refuse::upload)?;
    }
    let (files, problems) = check(upload.files()).await?;
    if any_error(&problems) {
        ::metrics::counter!(metrics::REFUSED).increment(1);
        return Err(refuse::bundle(&problems));
    }
    let unchanged = if header.again { Unchanged::Again } else { Unchanged::Nothing };
    let draft =
        Draft { unchanged, ..draft(api, &caller, header.parent, header.author, header.message) };
    let (revision, unchanged) = stored(api.store.commit(&draft, &files).await)?;
    if unchanged {
        audit::note(
            &caller,
            format!("unchanged: revision {} has this content already", revision.id),
        );
    } else {
        audit::note(
            &caller,
            format!(
                "revision {} on {:?} by {:?}: {}",
                revision.id, revision.parent, revision.author, revision.message
            ),
        );
    }
    let released = released(api).await?;
    let problems = problems.iter().map(wire::problem).collect();
    Ok(pb::CommitResponse {
        revision: Some(wire::revision(&revision, released.as_deref())),
        problems,
        unchanged,
    })
}

pub(super) async fn rollback(
    api: &Api,
    request: Request<pb::RollbackRequest>,
) -> Result<pb::RollbackResponse, Status> {
    let caller = request.map(|message| message);
    let message = caller.get_ref().clone();
    text("author", &message.author)?;
    text("message", &message.message)?;
    let earlier = find(api, &message.revision).await?;
    let why = if message.message.is_empty() {
        format!("Roll back to {}: {}", earlier.id, earlier.message)
    } else {
        message.message
    };
    audit::note(&caller, format!("to {}: {why}", earlier.id));
    // The schema may have become stricter since: what is rolled back to is checked like everything
    // else.
    let files = api.store.files(&earlier).await.map_err(refuse::store)?;
    let mut contents = BTreeMap::new();
    for file in files {
        let lost = || Status::data_loss(format!("the content of {} is gone", file.path));
        let content =
            api.store.blob(&file.sha256).await.map_err(refuse::store)?.ok_or_else(lost)?;
        contents.insert(file.path, content);
    }
    let (_, problems) = check(contents).await?;
    if any_error(&problems) {
        return Err(refuse::bundle(&problems));
    }
    let draft = draft(api, &caller, String::new(), message.author, why);
    let (revision, unchanged) = stored(api.store.recommit(&earlier, &draft).await)?;
    let released = released(api).await?;
    Ok(pb::RollbackResponse {
        revision: Some(wire::revision(&revision, released.as_deref())),
        unchanged,
    })
}

/// The revision that has the content, and whether it had it before.
fn stored(committed: Result<Committed, Error>) -> Result<(Revision, bool), Status> {
    match committed.map_err(refuse::store)? {
        Committed::New(revision) => {
            ::metrics::counter!(metrics::COMMITS).increment(1);
            Ok((revision, false))
        }
        Committed::Unchanged(revision) => Ok((revision, true)),
    }
}

fn draft<T>(
    api: &Api,
    caller: &Request<T>,
    parent: String,
    author: String,
    message: String,
) -> Draft {
    let committer = Peer::of(caller).name().to_owned();
    let author = if author.is_empty() { committer.clone() } else { author };
    Draft { parent, author, committer, at: api.clock.now(), message, unchanged: Unchanged::Nothing }
}

fn text(what: &str, text: &str) -> Result<(), Status> {
    if text.len() > LONGEST_TEXT {
        Err(Status::invalid_argument(format!("the {what} is longer than 64 KiB")))
    } else {
        Ok(())
    }
}
