//! `shoal config diff` and `shoal config apply --dry-run`: what differs between two revisions, or a
//! revision and a directory.

use std::path::Path;

use anyhow::{Result, bail};
use cluster_config::{FileReference, bundle::reference};
use config_service::diff::{self as compare, Content};
use proto::config::{DiffRequest, FileDifference, GetDriftRequest, ListDifference};
use serde::Serialize;

use super::{
    apply, bundle,
    bundle::Files,
    revisions::{fetch, get},
};
use crate::{
    cluster::{Cluster, call},
    output::{self, Format, View},
};

const SERVICE: &str = "the config-service";

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
    #[serde(skip_serializing_if = "Option::is_none")]
    list: Option<List>,
}

/// What differs in a list.
#[derive(Serialize)]
struct List {
    added: u64,
    removed: u64,
    entries: u64,
    added_examples: Vec<String>,
    removed_examples: Vec<String>,
}

impl From<ListDifference> for List {
    fn from(difference: ListDifference) -> Self {
        let ListDifference { added, removed, entries, added_examples, removed_examples } =
            difference;
        Self { added, removed, entries, added_examples, removed_examples }
    }
}

impl From<compare::ListDifference> for List {
    fn from(list: compare::ListDifference) -> Self {
        let compare::ListDifference { added, removed, entries, added_examples, removed_examples } =
            list;
        Self {
            added: added as u64,
            removed: removed as u64,
            entries: entries as u64,
            added_examples,
            removed_examples,
        }
    }
}

impl From<FileDifference> for Difference {
    fn from(
        FileDifference { path, from_sha256, to_sha256, unified, list }: FileDifference,
    ) -> Self {
        Self { path, from_sha256, to_sha256, unified, list: list.map(List::from) }
    }
}

/// Shows what differs.
///
/// # Errors
/// A revision is unknown, or a directory no bundle's.
pub async fn diff(
    cluster: &Cluster,
    from: String,
    to: Option<String>,
    format: Format,
) -> Result<()> {
    let sides = match (is_directory(&from), to) {
        (true, None) => ("released".to_owned(), from),
        (_, to) => (from, to.unwrap_or_else(|| "newest".to_owned())),
    };
    let differences = match (is_directory(&sides.0), is_directory(&sides.1)) {
        (false, false) => {
            let (from, to) = sides;
            let files =
                call(SERVICE, cluster.config().await?.diff(DiffRequest { from, to })).await?.files;
            Differences { files: files.into_iter().map(Difference::from).collect() }
        }
        (false, true) => {
            against(cluster, sides.0, &bundle::read(Path::new(&sides.1))?, Direction::ToFiles)
                .await?
        }
        (true, false) => {
            against(cluster, sides.1, &bundle::read(Path::new(&sides.0))?, Direction::ToRevision)
                .await?
        }
        (true, true) => {
            bail!("{} and {} are both directories: `diff -r` compares them", sides.0, sides.1)
        }
    };
    cluster.show(&differences, format)
}

/// A name of a revision has no `/`; a directory beside where one stands is there.
fn is_directory(side: &str) -> bool {
    side.contains('/')
        || side == "."
        || side == ".."
        || Path::new(side).join("cluster.yaml").is_file()
}

/// Whose changes are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToFiles,
    ToRevision,
}

/// What differs between a revision and files that are not stored. Nothing is sent.
async fn against(
    cluster: &Cluster,
    revision: String,
    files: &Files,
    direction: Direction,
) -> Result<Differences> {
    let stored = get(cluster, revision).await?.files;
    let stored: Vec<_> = stored
        .into_iter()
        .map(|file| FileReference { path: file.path, sha256: file.sha256, size: file.size })
        .collect();
    let local: Vec<_> = files.iter().map(|(path, content)| reference(path, content)).collect();
    let mut found = Vec::new();
    for difference in compare::files(&stored, &local) {
        let before = match &difference.from {
            Some(file) => fetch(cluster, &file.sha256).await?,
            None => Vec::new(),
        };
        let after = files.get(&difference.path).map(Vec::as_slice).unwrap_or_default();
        found.push(match direction {
            Direction::ToFiles => shown(&difference, &before, after),
            Direction::ToRevision => {
                let turned = compare::Difference {
                    from: difference.to,
                    to: difference.from,
                    path: difference.path,
                };
                shown(&turned, after, &before)
            }
        });
    }
    Ok(Differences { files: found })
}

fn shown(difference: &compare::Difference, from: &[u8], to: &[u8]) -> Difference {
    let Content { unified, list } = compare::content(difference, from, to);
    let hash = |side: &Option<FileReference>| {
        side.as_ref().map(|file| file.sha256.clone()).unwrap_or_default()
    };
    Difference {
        path: difference.path.clone(),
        from_sha256: hash(&difference.from),
        to_sha256: hash(&difference.to),
        unified,
        list: list.map(List::from),
    }
}

impl View for Differences {
    fn text(&self) -> String {
        if self.files.is_empty() { "The two are the same.".to_owned() } else { told(&self.files) }
    }
}

/// A patch of texts, counts of lists. Lines of a patch are as long as they are.
fn told(files: &[Difference]) -> String {
    files.iter().map(Difference::text).collect::<Vec<_>>().join("\n")
}

impl Difference {
    fn text(&self) -> String {
        if !self.unified.is_empty() {
            return self.unified.trim_end().to_owned();
        }
        let what = match (self.from_sha256.as_str(), self.to_sha256.as_str()) {
            ("", _) => "new",
            (_, "") => "removed",
            _ => "changed",
        };
        match &self.list {
            Some(list) => list.text(&self.path, what),
            None if what == "changed" => {
                format!("{}: changed (not shown: not text, or large)", self.path)
            }
            None => format!("{}: {what}", self.path),
        }
    }
}

impl List {
    fn text(&self, path: &str, what: &str) -> String {
        let Self { added, removed, entries, .. } = self;
        if *added == 0 && *removed == 0 {
            return format!(
                "{path}: {what}; the same entries, in another order or with other comments"
            );
        }
        let mut lines = vec![format!(
            "{path}: {what}; {added} entries added, {removed} removed, {entries} now"
        )];
        for (sign, examples, all) in
            [('-', &self.removed_examples, *removed), ('+', &self.added_examples, *added)]
        {
            lines.extend(examples.iter().map(|entry| format!("{sign}{entry}")));
            if all > examples.len() as u64 {
                lines.push(format!("{sign}… {} more", all - examples.len() as u64));
            }
        }
        lines.join("\n")
    }
}

/// Says what `config apply` would do, and does nothing.
///
/// # Errors
/// The bundle has errors, or the config-service does not answer.
pub async fn dry_run(cluster: &Cluster, files: &Files, format: Format) -> Result<()> {
    apply::validated(cluster, files).await?;
    let nodes =
        call(SERVICE, cluster.config().await?.get_drift(GetDriftRequest {})).await?.nodes.len();
    let released = apply::find(cluster, "released").await?;
    let found = match &released {
        Some(released) => {
            Some(against(cluster, released.id.clone(), files, Direction::ToFiles).await?)
        }
        None => None,
    };
    let released =
        released.map(|released| Released { revision: released.id, number: released.number });
    cluster.show(
        &Dry { dry_run: true, processes: nodes, released, files: found.map(|found| found.files) },
        format,
    )
}

/// What `config apply` would do.
#[derive(Serialize)]
struct Dry {
    dry_run: bool,
    /// So many would get it.
    processes: usize,
    /// What it is compared with; null: nothing is released yet.
    released: Option<Released>,
    /// What differs; null: there is nothing to compare it with.
    files: Option<Vec<Difference>>,
}

#[derive(Serialize)]
struct Released {
    revision: String,
    number: u64,
}

impl View for Dry {
    fn text(&self) -> String {
        let nodes = self.processes;
        let (Some(released), Some(files)) = (&self.released, &self.files) else {
            let text = format!(
                "Nothing is released yet: this would be the first configuration, for {nodes} \
                 processes. Nothing was changed."
            );
            return output::fitted(&text, "");
        };
        let number = released.number;
        let verdict = match files.len() {
            0 => format!(
                "This is what revision {number} has, which is released. Nothing was changed."
            ),
            count => {
                let files = if count == 1 {
                    "1 file differs".to_owned()
                } else {
                    format!("{count} files differ")
                };
                format!(
                    "{files} from revision {number}, which is released; {nodes} processes would \
                     get it. Nothing was changed."
                )
            }
        };
        let files = if files.is_empty() { String::new() } else { told(files) + "\n" };
        files + &output::fitted(&verdict, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_told_in_numbers_and_examples() {
        let list = |added, removed, added_examples: &[&str]| List {
            added,
            removed,
            entries: 1_000_000,
            added_examples: added_examples.iter().map(|entry| (*entry).to_owned()).collect(),
            removed_examples: if removed > 0 { vec!["old.test".to_owned()] } else { Vec::new() },
        };
        let text = list(7, 1, &["a.test", "b.test"]).text("lists/x.txt", "changed");
        assert_eq!(
            text,
            "lists/x.txt: changed; 7 entries added, 1 removed, 1000000 \
             now\n-old.test\n+a.test\n+b.test\n+… 5 more"
        );
        assert!(list(0, 0, &[]).text("lists/x.txt", "changed").contains("the same entries"));
    }

    #[test]
    fn a_directory_is_told_from_the_name_of_a_revision() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("cluster.yaml"), "version: 1").unwrap();
        assert!(
            is_directory(&scratch.path().display().to_string())
                && is_directory("./x")
                && is_directory(".")
        );
        assert!(!is_directory("released") && !is_directory("12") && !is_directory("0a1b2c"));
    }
}
