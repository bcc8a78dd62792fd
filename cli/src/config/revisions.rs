//! `shoal config history|show|diff|drift`: looking at revisions, changing nothing.

use anyhow::{Result, bail};
use comfy_table::Cell;
use proto::config::{
    DiffRequest, Drift, FetchFileRequest, FileDifference, FileReference, GetDriftRequest, GetRevisionRequest, GetRevisionResponse,
    ListRevisionsRequest, Revision,
};
use serde::Serialize;

use crate::{
    cluster::{ANSWER, Cluster, call, failed, silent},
    output::{self, Format, View},
};

const SERVICE: &str = "the config-service";

#[derive(Serialize)]
struct History {
    revisions: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    id: String,
    number: u64,
    parent: String,
    author: String,
    committer: String,
    committed_at: String,
    message: String,
    released: bool,
}

impl From<Revision> for Row {
    fn from(revision: Revision) -> Self {
        let at = revision.committed_at.unwrap_or_default();
        let Revision { id, number, parent, author, committer, message, released, .. } = revision;
        let committed_at = jiff::Timestamp::new(at.seconds, 0).map_or_else(|_| String::new(), |at| at.to_string());
        Self { id, number, parent, author, committer, committed_at, message, released }
    }
}

/// Lists the newest `limit` revisions.
///
/// # Errors
/// The config-service does not answer.
pub async fn history(cluster: &Cluster, limit: u32, format: Format) -> Result<()> {
    let request = ListRevisionsRequest { page_size: limit, page_token: String::new() };
    let revisions = call(SERVICE, cluster.config().await?.list_revisions(request)).await?.revisions;
    output::show(&History { revisions: revisions.into_iter().map(Row::from).collect() }, format)
}

impl View for History {
    fn text(&self) -> String {
        if self.revisions.is_empty() {
            return "There is no revision yet: `shoal config apply DIR` makes the first, `shoal backup restore` brings back what was lost."
                .to_owned();
        }
        let rows = self.revisions.iter().map(|row| {
            let author = if row.author.is_empty() { &row.committer } else { &row.author };
            let mut cells = vec![Cell::new(row.number)];
            cells.extend([&row.id, &row.committed_at, author].map(Cell::new));
            cells.extend([if row.released { "released" } else { "" }, row.message.as_str()].map(Cell::new));
            cells
        });
        output::table(&["NUMBER", "ID", "COMMITTED", "AUTHOR", "", "MESSAGE"], rows)
    }
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    revision: Row,
    files: Vec<File>,
}

#[derive(Serialize)]
struct File {
    path: String,
    size: u64,
    sha256: String,
}

impl From<FileReference> for File {
    fn from(FileReference { path, sha256, size }: FileReference) -> Self {
        Self { path, size, sha256 }
    }
}

async fn get(cluster: &Cluster, revision: String) -> Result<GetRevisionResponse> {
    call(SERVICE, cluster.config().await?.get_revision(GetRevisionRequest { revision })).await
}

/// Shows one revision and its files.
///
/// # Errors
/// There is none of that name.
pub async fn show(cluster: &Cluster, revision: String, format: Format) -> Result<()> {
    let answer = get(cluster, revision).await?;
    let files = answer.files.into_iter().map(File::from).collect();
    output::show(&Shown { revision: Row::from(answer.revision.unwrap_or_default()), files }, format)
}

impl View for Shown {
    fn text(&self) -> String {
        let Row { id, number, parent, author, committer, committed_at, message, released } = &self.revision;
        let released = if *released { ", released" } else { "" };
        let parent = if parent.is_empty() { "none" } else { parent };
        let heading = format!("Revision {number} ({id}{released})\nParent     {parent}\nAuthor     {author} (as {committer})");
        let rows = self.files.iter().map(|file| vec![Cell::new(&file.path), Cell::new(file.size), Cell::new(&file.sha256)]);
        let files = output::table(&["FILE", "BYTES", "SHA-256"], rows);
        format!("{heading}\nCommitted  {committed_at}\nMessage    {message}\n\n{files}")
    }
}

/// Prints one file of a revision as it is.
///
/// # Errors
/// There is no such file or revision.
pub async fn print_file(cluster: &Cluster, revision: String, path: &str) -> Result<()> {
    use std::io::Write;
    let answer = get(cluster, revision).await?;
    let Some(file) = answer.files.iter().find(|file| file.path == path) else {
        let known: Vec<_> = answer.files.iter().map(|file| file.path.as_str()).collect();
        bail!("revision {} has no file {path:?}; it has {}", answer.revision.unwrap_or_default().number, known.join(", "));
    };
    let mut service = cluster.config().await?;
    let mut pieces = call(SERVICE, service.fetch_file(FetchFileRequest { sha256: file.sha256.clone() })).await?;
    let mut stdout = std::io::stdout().lock();
    while let Some(piece) =
        tokio::time::timeout(ANSWER, pieces.message()).await.map_err(|_| silent(SERVICE))?.map_err(|status| failed(SERVICE, &status))?
    {
        stdout.write_all(&piece.data)?;
    }
    Ok(stdout.flush()?)
}

#[derive(Serialize)]
struct Differences {
    files: Vec<Difference>,
}

#[derive(Serialize)]
struct Difference {
    path: String,
    from_sha256: String,
    to_sha256: String,
    unified: String,
}

impl From<FileDifference> for Difference {
    fn from(FileDifference { path, from_sha256, to_sha256, unified }: FileDifference) -> Self {
        Self { path, from_sha256, to_sha256, unified }
    }
}

/// Shows what differs between two revisions.
///
/// # Errors
/// One of them is unknown.
pub async fn diff(cluster: &Cluster, from: String, to: String, format: Format) -> Result<()> {
    let files = call(SERVICE, cluster.config().await?.diff(DiffRequest { from, to })).await?.files;
    output::show(&Differences { files: files.into_iter().map(Difference::from).collect() }, format)
}

impl View for Differences {
    fn text(&self) -> String {
        if self.files.is_empty() {
            return "The two are the same.".to_owned();
        }
        let texts = self.files.iter().map(|file| match (file.unified.trim_end(), file.from_sha256.as_str(), file.to_sha256.as_str()) {
            ("", "", _) => format!("{}: new", file.path),
            ("", _, "") => format!("{}: removed", file.path),
            ("", ..) => format!("{}: changed (not shown: not text, or large)", file.path),
            (unified, ..) => unified.to_owned(),
        });
        texts.collect::<Vec<_>>().join("\n")
    }
}

#[derive(Serialize)]
struct Drifts {
    nodes: Vec<DriftRow>,
}

#[derive(Serialize)]
struct DriftRow {
    name: String,
    service: String,
    in_step: bool,
    assigned_revision: String,
    applied_revision: String,
    explanation: String,
}

impl From<Drift> for DriftRow {
    fn from(drift: Drift) -> Self {
        let Drift { name, service, in_step, assigned_revision, applied_revision, explanation, .. } = drift;
        Self { name, service, in_step, assigned_revision, applied_revision, explanation }
    }
}

/// Shows every node, in step or not.
///
/// # Errors
/// The config-service does not answer.
pub async fn drift(cluster: &Cluster, format: Format) -> Result<()> {
    let nodes = call(SERVICE, cluster.config().await?.get_drift(GetDriftRequest {})).await?.nodes;
    output::show(&Drifts { nodes: nodes.into_iter().map(DriftRow::from).collect() }, format)
}

impl View for Drifts {
    fn text(&self) -> String {
        let rows = self.nodes.iter().map(|node| {
            let mut cells = [&node.name, &node.service, &node.assigned_revision, &node.applied_revision].map(Cell::new).to_vec();
            cells.extend([output::coloured(if node.in_step { "in step" } else { "drift" }), Cell::new(&node.explanation)]);
            cells
        });
        output::table(&["NODE", "SERVICE", "ASSIGNED", "APPLIED", "", "WHY"], rows)
    }
}
