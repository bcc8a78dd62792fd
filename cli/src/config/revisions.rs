//! `shoal config history|show|drift`: looking at revisions, changing nothing.

use anyhow::{Result, bail};
use proto::config::{
    Drift, FetchFileRequest, FileReference, GetDriftRequest, GetRevisionRequest,
    GetRevisionResponse, ListRevisionsRequest, Revision, RevisionOutcome,
};
use serde::Serialize;

use crate::{
    cluster::{ANSWER, Cluster, call, failed, silent},
    output::{self, Cell, Format, View, column, sentences},
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
    /// What became of it; empty where an earlier version does not tell.
    outcome: &'static str,
    outcome_reason: String,
}

impl From<Revision> for Row {
    fn from(revision: Revision) -> Self {
        let at = revision.committed_at.unwrap_or_default();
        let outcome = outcome(&revision);
        let Revision {
            id,
            number,
            parent,
            author,
            committer,
            message,
            released,
            outcome_reason,
            ..
        } = revision;
        let committed_at =
            jiff::Timestamp::new(at.seconds, 0).map_or_else(|_| String::new(), |at| at.to_string());
        Self {
            id,
            number,
            parent,
            author,
            committer,
            committed_at,
            message,
            released,
            outcome,
            outcome_reason,
        }
    }
}

fn outcome(revision: &Revision) -> &'static str {
    match revision.outcome() {
        RevisionOutcome::Unspecified if revision.released => "released",
        RevisionOutcome::Unspecified => "",
        RevisionOutcome::Committed => "not rolled out",
        RevisionOutcome::RollingOut => "rolling out",
        RevisionOutcome::Released => "released",
        RevisionOutcome::Superseded => "superseded",
        RevisionOutcome::RolledBack => "rolled back",
        RevisionOutcome::Rejected => "rejected",
        RevisionOutcome::Aborted => "aborted",
    }
}

/// Lists the newest `limit` revisions.
///
/// # Errors
/// The config-service does not answer.
pub async fn history(cluster: &Cluster, limit: u32, format: Format) -> Result<()> {
    let request = ListRevisionsRequest { page_size: limit, page_token: String::new() };
    let revisions = call(SERVICE, cluster.config().await?.list_revisions(request)).await?.revisions;
    cluster.show(&History { revisions: revisions.into_iter().map(Row::from).collect() }, format)
}

impl View for History {
    fn text(&self) -> String {
        if self.revisions.is_empty() {
            return "There is no revision yet: `shoal config apply DIR` makes the first, `shoal \
                backup restore` brings back what was lost."
                .to_owned();
        }
        let rows = self.revisions.iter().map(|row| {
            let author = if row.author.is_empty() { &row.committer } else { &row.author };
            let mut cells = vec![Cell::new(row.number)];
            cells.extend([&row.id, &row.committed_at, author].map(Cell::new));
            cells.push(output::coloured(row.outcome));
            // Only of what did not come to its end is the reason worth a line.
            let told = ["rejected", "aborted", "rolling out", "rolled back"].contains(&row.outcome)
                && !row.outcome_reason.is_empty();
            cells.push(Cell::new(if told {
                format!("{}\n{}", row.message, row.outcome_reason)
            } else {
                row.message.clone()
            }));
            cells
        });
        let columns = [
            column("NUMBER", 0),
            column("ID", 3),
            column("COMMITTED", 1),
            column("AUTHOR", 2),
            column("OUTCOME", 0),
            sentences("MESSAGE"),
        ];
        output::table(&columns, rows)
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

/// One revision and its files.
///
/// # Errors
/// There is none of that name.
pub async fn get(cluster: &Cluster, revision: String) -> Result<GetRevisionResponse> {
    call(SERVICE, cluster.config().await?.get_revision(GetRevisionRequest { revision })).await
}

/// Shows one revision and its files.
///
/// # Errors
/// There is none of that name.
pub async fn show(cluster: &Cluster, revision: String, format: Format) -> Result<()> {
    let answer = get(cluster, revision).await?;
    let files = answer.files.into_iter().map(File::from).collect();
    cluster.show(&Shown { revision: Row::from(answer.revision.unwrap_or_default()), files }, format)
}

impl View for Shown {
    fn text(&self) -> String {
        let Row {
            id,
            number,
            parent,
            author,
            committer,
            committed_at,
            message,
            outcome,
            outcome_reason,
            ..
        } = &self.revision;
        let released = if outcome.is_empty() { String::new() } else { format!(", {outcome}") };
        let parent = if parent.is_empty() { "none" } else { parent };
        let heading = format!(
            "Revision {number} ({id}{released})\nParent     {parent}\nAuthor     {author} (as \
             {committer})"
        );
        let rows = self
            .files
            .iter()
            .map(|file| vec![Cell::new(&file.path), Cell::new(file.size), Cell::new(&file.sha256)]);
        let files =
            output::table(&[column("FILE", 0), column("BYTES", 0), column("SHA-256", 1)], rows);
        let why = if outcome_reason.is_empty() {
            String::new()
        } else {
            format!("\nOutcome    {outcome}: {outcome_reason}")
        };
        let about = format!("{heading}\nCommitted  {committed_at}\nMessage    {message}{why}");
        format!("{}\n\n{files}", output::fitted(&about, "           "))
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
        bail!(
            "revision {} has no file {path:?}; it has {}",
            answer.revision.unwrap_or_default().number,
            known.join(", ")
        );
    };
    let content = fetch(cluster, &file.sha256).await?;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&content)?;
    Ok(stdout.flush()?)
}

/// The content of a file by its hash.
///
/// # Errors
/// The config-service does not have it, or does not answer.
pub async fn fetch(cluster: &Cluster, sha256: &str) -> Result<Vec<u8>> {
    let mut service = cluster.config().await?;
    let mut pieces =
        call(SERVICE, service.fetch_file(FetchFileRequest { sha256: sha256.to_owned() })).await?;
    let mut content = Vec::new();
    while let Some(piece) = tokio::time::timeout(ANSWER, pieces.message())
        .await
        .map_err(|_| silent(SERVICE))?
        .map_err(|status| failed(SERVICE, &status))?
    {
        content.extend(piece.data);
    }
    Ok(content)
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
        let Drift {
            name, service, in_step, assigned_revision, applied_revision, explanation, ..
        } = drift;
        Self { name, service, in_step, assigned_revision, applied_revision, explanation }
    }
}

/// Shows every node, in step or not.
///
/// # Errors
/// The config-service does not answer.
pub async fn drift(cluster: &Cluster, format: Format) -> Result<()> {
    let nodes = call(SERVICE, cluster.config().await?.get_drift(GetDriftRequest {})).await?.nodes;
    cluster.show(&Drifts { nodes: nodes.into_iter().map(DriftRow::from).collect() }, format)
}

impl View for Drifts {
    fn text(&self) -> String {
        let rows = self.nodes.iter().map(|node| {
            let mut cells =
                [&node.name, &node.service, &node.assigned_revision, &node.applied_revision]
                    .map(Cell::new)
                    .to_vec();
            cells.extend([
                output::coloured(if node.in_step { "in step" } else { "drift" }),
                Cell::new(&node.explanation),
            ]);
            cells
        });
        let columns = [
            column("NODE", 0),
            column("SERVICE", 3),
            column("ASSIGNED", 2),
            column("APPLIED", 1),
            column("STATE", 0),
            sentences("WHY"),
        ];
        output::table(&columns, rows)
    }
}
