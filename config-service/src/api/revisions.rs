//! GetRevision, ListRevisions, Diff, FetchFile: what is stored. Hashes of passwords are shown to
//! nodes and operators, not on a page.

use super::{Api, refuse, wire};
use crate::diff::{self, Difference, LARGEST};
use crate::revision::{Name, Revision};
use chassis::{Peer, Role};
use cluster::Service;
use futures::{StreamExt, stream, stream::BoxStream};
use proto::config as pb;
use tonic::Status;

const PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 1000;
const PIECE: usize = 1 << 20;
/// Where a bundle keeps htpasswd files.
const USERS: &str = "users/";

/// What joining nodes get.
pub(super) async fn released(api: &Api) -> Result<Option<String>, Status> {
    api.store.released().await.map_err(refuse::store)
}

/// The revision that somebody means.
pub(super) async fn find(api: &Api, text: &str) -> Result<Revision, Status> {
    let wrong = || {
        Status::invalid_argument(format!(
            "{text:?} does not name a revision; write an id, a number, `newest` or `released`"
        ))
    };
    let name = Name::parse(text).ok_or_else(wrong)?;
    api.store.find(&name).await.map_err(refuse::store)
}

pub(super) async fn get(
    api: &Api,
    request: pb::GetRevisionRequest,
) -> Result<pb::GetRevisionResponse, Status> {
    let revision = find(api, &request.revision).await?;
    let files = api.store.files(&revision).await.map_err(refuse::store)?;
    let released = released(api).await?;
    let told = told(api, std::slice::from_ref(&revision), released.as_deref()).await?.pop();
    Ok(pb::GetRevisionResponse { revision: told, files: files.iter().map(wire::file).collect() })
}

pub(super) async fn list(
    api: &Api,
    request: pb::ListRevisionsRequest,
) -> Result<pb::ListRevisionsResponse, Status> {
    let before = match request.page_token.as_str() {
        "" => None,
        token => Some(token.parse().map_err(|_| {
            Status::invalid_argument("the page token is not from an earlier answer")
        })?),
    };
    let size = if request.page_size == 0 { PAGE } else { request.page_size.min(LARGEST_PAGE) };
    let revisions = api.store.list(before, size).await.map_err(refuse::store)?;
    let released = released(api).await?;
    let last = revisions.last().filter(|last| last.number > 1 && revisions.len() as u32 == size);
    Ok(pb::ListRevisionsResponse {
        next_page_token: last.map(|last| last.number.to_string()).unwrap_or_default(),
        revisions: told(api, &revisions, released.as_deref()).await?,
    })
}

/// Revisions with what became of them.
async fn told(
    api: &Api,
    revisions: &[Revision],
    released: Option<&str>,
) -> Result<Vec<pb::Revision>, Status> {
    let mut outcomes = api.store.outcomes(revisions, released).await.map_err(refuse::store)?;
    let told = revisions.iter().map(|revision| {
        let (outcome, reason) = outcomes.remove(&revision.id).unwrap_or_default();
        pb::Revision {
            outcome: wire::outcome(outcome).into(),
            outcome_reason: reason,
            ..wire::revision(revision, released)
        }
    });
    Ok(told.collect())
}

/// Whether the caller is a console, which shows what it is told to people who need not have a
/// password.
fn is_console(peer: &Peer) -> bool {
    peer.role() == Some(Role::Service(Service::Console))
}

/// Whether a file of a bundle holds passwords' hashes.
fn holds_passwords(path: &str) -> bool {
    path.starts_with(USERS)
}

pub(super) async fn diff(
    api: &Api,
    peer: &Peer,
    request: pb::DiffRequest,
) -> Result<pb::DiffResponse, Status> {
    let (from, to) = (find(api, &request.from).await?, find(api, &request.to).await?);
    let from = api.store.files(&from).await.map_err(refuse::store)?;
    let to = api.store.files(&to).await.map_err(refuse::store)?;
    let mut files = Vec::new();
    for difference in diff::files(&from, &to) {
        let shown = !(is_console(peer) && holds_passwords(&difference.path));
        files.push(file_difference(api, difference, shown).await?);
    }
    Ok(pb::DiffResponse { files })
}

async fn file_difference(
    api: &Api,
    difference: Difference,
    shown: bool,
) -> Result<pb::FileDifference, Status> {
    let sides = [&difference.from, &difference.to];
    let hash = |side: &Option<cluster_config::FileReference>| {
        side.as_ref().map(|file| file.sha256.clone()).unwrap_or_default()
    };
    let (path, from_sha256, to_sha256) = (difference.path.clone(), hash(sides[0]), hash(sides[1]));
    let mut found = diff::Content::default();
    let small = sides.iter().all(|side| side.as_ref().is_none_or(|file| file.size <= LARGEST));
    if shown && (small || diff::is_list(&difference.path)) {
        let (from, to) = (content(api, &from_sha256).await?, content(api, &to_sha256).await?);
        let compare = tokio::task::spawn_blocking(move || diff::content(&difference, &from, &to));
        found = compare
            .await
            .map_err(|error| Status::internal(format!("comparing failed: {error}")))?;
    }
    Ok(pb::FileDifference {
        path,
        from_sha256,
        to_sha256,
        unified: found.unified,
        list: found.list.map(wire::list),
    })
}

/// Empty for a side that is not there.
async fn content(api: &Api, sha256: &str) -> Result<Vec<u8>, Status> {
    if sha256.is_empty() {
        return Ok(Vec::new());
    }
    let content = api.store.blob(sha256).await.map_err(refuse::store)?;
    content.ok_or_else(|| Status::data_loss(format!("the content with the hash {sha256} is gone")))
}

pub(super) async fn fetch(
    api: &Api,
    peer: &Peer,
    request: pb::FetchFileRequest,
) -> Result<BoxStream<'static, Result<pb::FetchFileResponse, Status>>, Status> {
    let hash = &request.sha256;
    if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Status::invalid_argument("sha256 must be 64 hex digits"));
    }
    let hash = hash.to_ascii_lowercase();
    if is_console(peer)
        && api
            .store
            .paths(&hash)
            .await
            .map_err(refuse::store)?
            .iter()
            .any(|path| holds_passwords(path))
    {
        return Err(Status::permission_denied(
            "a console may not read users' files; `shoal config show` does, for operators",
        ));
    }
    let content = api.store.blob(&hash).await.map_err(refuse::store)?;
    let content =
        content.ok_or_else(|| Status::not_found(format!("no file has the hash {hash}")))?;
    // An empty file is one empty piece.
    let pieces: Vec<Vec<u8>> = if content.is_empty() {
        vec![Vec::new()]
    } else {
        content.chunks(PIECE).map(<[u8]>::to_vec).collect()
    };
    Ok(stream::iter(pieces).map(|data| Ok(pb::FetchFileResponse { data })).boxed())
}
