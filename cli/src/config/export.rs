//! `shoal config export`: a revision becomes a directory again.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Component, Path},
};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::revisions::{fetch, get};
use crate::{
    cluster::Cluster,
    output::{self, Format, View},
};

/// Hashes of passwords are for nobody else.
const USERS: &str = "users/";

/// Writes the files of a revision into a directory that is empty or not there.
///
/// # Errors
/// There is no such revision, or the directory holds something.
pub async fn export(
    cluster: &Cluster,
    revision: String,
    directory: &Path,
    format: Format,
) -> Result<()> {
    if fs::read_dir(directory).is_ok_and(|mut found| found.next().is_some()) || directory.is_file()
    {
        bail!(
            "{} holds something already: give a directory that is empty or does not exist",
            directory.display()
        );
    }
    let answer = get(cluster, revision).await?;
    for file in &answer.files {
        if !stays_inside(&file.path) {
            bail!(
                "the revision holds a file {:?}, which would be written outside of the directory",
                file.path
            );
        }
        let content = fetch(cluster, &file.sha256).await?;
        write(directory, &file.path, &content)?;
    }
    let revision = answer.revision.unwrap_or_default();
    let files = answer.files.into_iter().map(|file| file.path).collect();
    cluster.show(
        &Exported {
            revision: revision.id,
            number: revision.number,
            directory: directory.display().to_string(),
            files,
        },
        format,
    )
}

/// What was written where.
#[derive(Serialize)]
struct Exported {
    revision: String,
    number: u64,
    directory: String,
    files: Vec<String>,
}

impl View for Exported {
    fn text(&self) -> String {
        let Self { number, directory, files, .. } = self;
        let text = format!(
            "{} files of revision {number} are in {directory}; edit them, then: shoal config diff \
             {directory}",
            files.len()
        );
        output::fitted(&text, "")
    }
}

/// The config-service has checked it; whoever writes files checks it again.
fn stays_inside(path: &str) -> bool {
    !path.is_empty()
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

fn write(directory: &Path, path: &str, content: &[u8]) -> Result<()> {
    let (to, secret) = (directory.join(path), path.starts_with(USERS));
    let context = || format!("cannot write {}", to.display());
    if let Some(folder) = to.parent() {
        DirBuilder::new().recursive(true).mode(0o777).create(folder).with_context(context)?;
    }
    let mode = if secret { 0o600 } else { 0o666 };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&to)
        .with_context(context)?;
    file.write_all(content).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_written_where_they_belong_and_nowhere_else() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("new");
        write(&directory, "lists/a.txt", b"a.test").unwrap();
        write(&directory, "users/staff", b"ann:x").unwrap();
        assert_eq!(fs::read(directory.join("lists/a.txt")).unwrap(), b"a.test");
        assert_eq!(
            fs::metadata(directory.join("users/staff")).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(write(&directory, "lists/a.txt", b"").is_err(), "nothing is written over");
        for (path, good) in [
            ("cluster.yaml", true),
            ("lists/a.txt", true),
            ("../x", false),
            ("/x", false),
            ("lists/../../x", false),
            ("", false),
        ] {
            assert_eq!(stays_inside(path), good, "{path}");
        }
    }
}
