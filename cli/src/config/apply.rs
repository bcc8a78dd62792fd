//! `shoal config apply` and `rollback`: a revision is committed, rolled out, and every node's
//! answer is awaited.

use anyhow::Result;
use proto::config::{
    CommitHeader, CommitRequest, CommitResponse, FileChunk, GetRevisionRequest, Revision,
    RollbackRequest, StartRolloutRequest, ValidateRequest, commit_request::Part,
};
use tokio::time::timeout;
use tonic::Code;

use super::{
    Applying, Patience, Words,
    bundle::{Files, Findings},
    rollout,
};
use crate::{
    cluster::{ANSWER, Cluster, call, failed, silent},
    output,
};

/// A piece of a file on the wire.
const PIECE: usize = 512 * 1024;
const SERVICE: &str = "the config-service";

/// Validates, commits, rolls out and waits.
///
/// # Errors
/// The config-service or a node refuses, or the nodes take too long.
pub async fn apply(cluster: &Cluster, files: Files, how: Applying) -> Result<()> {
    let Applying { words, again, patience, .. } = how;
    let CommitResponse { revision, unchanged, .. } = store(cluster, &files, words, again).await?;
    let (revision, format) = (revision.unwrap_or_default(), patience.format);
    cluster.announce(format)?;
    let called = format!("revision {} ({})", revision.number, revision.id);
    match unchanged {
        true if revision.released => {
            let said = format!(
                "unchanged: {called} is already released, nothing to do (--again makes another of \
                 it)"
            );
            return rollout::nothing_to_do(cluster, &revision, said, format);
        }
        // Its rollout failed, was aborted, or never began.
        true => output::say(&format!("unchanged: {called} is committed and not released"), format)?,
        false => output::say(&format!("committed {called}"), format)?,
    }
    roll_out(cluster, &revision, patience).await
}

/// Commits an earlier revision anew, rolls it out and waits.
///
/// # Errors
/// As [`apply`].
pub async fn rollback(
    cluster: &Cluster,
    revision: String,
    words: Words,
    patience: Patience,
) -> Result<()> {
    let request = RollbackRequest { revision, author: words.author, message: words.message };
    let answer = call(SERVICE, cluster.config().await?.rollback(request)).await?;
    let revision = answer.revision.unwrap_or_default();
    let (called, format) =
        (format!("revision {} ({})", revision.number, revision.id), patience.format);
    cluster.announce(format)?;
    match answer.unchanged {
        true if revision.released => {
            let said =
                format!("unchanged: {called} has this content and is released, nothing to do");
            return rollout::nothing_to_do(cluster, &revision, said, format);
        }
        true => output::say(
            &format!("unchanged: {called} has this content and is not released"),
            format,
        )?,
        false => output::say(&format!("committed {called}: {}", revision.message), format)?,
    }
    roll_out(cluster, &revision, patience).await
}

async fn roll_out(cluster: &Cluster, revision: &Revision, patience: Patience) -> Result<()> {
    let rollout = call(
        SERVICE,
        cluster
            .config()
            .await?
            .start_rollout(StartRolloutRequest { revision: revision.id.clone() }),
    )
    .await?
    .rollout;
    rollout::follow(cluster, rollout.unwrap_or_default(), patience).await
}

/// Stores a bundle as the newest revision, after the config-service has looked through it; the
/// newest itself when it has this content.
///
/// # Errors
/// It has errors, or somebody else was faster.
pub async fn commit(cluster: &Cluster, files: &Files, words: Words) -> Result<Revision> {
    Ok(store(cluster, files, words, false).await?.revision.unwrap_or_default())
}

/// Has the config-service, which may be of another version, look through a bundle.
///
/// # Errors
/// It finds errors, which go to stderr.
pub async fn validated(cluster: &Cluster, files: &Files) -> Result<()> {
    let validated: Vec<_> =
        pieces(files).map(|chunk| ValidateRequest { chunk: Some(chunk) }).collect();
    let mut service = cluster.config().await?;
    let found = Findings::from_wire(
        call(SERVICE, service.validate(tokio_stream::iter(validated))).await?.problems,
    );
    found.verdict().inspect_err(|_| found.remark())
}

async fn store(
    cluster: &Cluster,
    files: &Files,
    words: Words,
    again: bool,
) -> Result<CommitResponse> {
    validated(cluster, files).await?;
    let mut service = cluster.config().await?;
    let parent = find(cluster, "newest").await?.unwrap_or_default().id;
    let header = CommitHeader { parent, author: words.author, message: words.message, again };
    let mut parts = vec![CommitRequest { part: Some(Part::Header(header)) }];
    parts.extend(pieces(files).map(|chunk| CommitRequest { part: Some(Part::Chunk(chunk)) }));
    call(SERVICE, service.commit(tokio_stream::iter(parts))).await
}

/// The revision that goes by `name`, if there is one.
///
/// # Errors
/// The config-service does not answer.
pub async fn find(cluster: &Cluster, name: &str) -> Result<Option<Revision>> {
    let mut service = cluster.config().await?;
    match timeout(ANSWER, service.get_revision(GetRevisionRequest { revision: name.to_owned() }))
        .await
    {
        Ok(Err(status)) if status.code() == Code::NotFound => Ok(None),
        Ok(answer) => Ok(answer.map_err(|status| failed(SERVICE, &status))?.into_inner().revision),
        Err(_) => Err(silent(SERVICE)),
    }
}

/// The files in pieces; the first piece of each carries its path.
fn pieces(files: &Files) -> impl Iterator<Item = FileChunk> {
    files.iter().flat_map(|(path, bytes)| {
        let first =
            FileChunk { path: path.clone(), data: bytes[..bytes.len().min(PIECE)].to_vec() };
        let rest = bytes.get(PIECE..).unwrap_or_default().chunks(PIECE);
        std::iter::once(first)
            .chain(rest.map(|data| FileChunk { path: String::new(), data: data.to_vec() }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_files_again() {
        let sizes = [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE];
        let files: Files =
            sizes.iter().map(|size| (format!("lists/{size}.txt"), vec![b'x'; *size])).collect();
        let mut again = Files::new();
        let mut current = String::new();
        for piece in pieces(&files) {
            assert!(piece.data.len() <= PIECE);
            if !piece.path.is_empty() {
                current.clone_from(&piece.path);
            }
            again.entry(current.clone()).or_default().extend(piece.data);
        }
        assert_eq!(again, files);
    }
}
