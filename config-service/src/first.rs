//! The first start: an empty store takes the bundle of a directory as its first revision, released.

use crate::store::{Draft, Store, Unchanged};
use chassis::{Error, ErrorContext};
use cluster_config::{Bundle, problem::any_error};
use jiff::Timestamp;
use std::{collections::BTreeMap, fs, io, path::Path};

/// Reads the files of a bundle: everything below a directory but what begins with a dot or ends
/// with `~`.
///
/// # Errors
/// Whatever the file system says.
pub fn read_directory(directory: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    collect(directory, "", &mut files)?;
    Ok(files)
}

fn collect(
    directory: &Path,
    prefix: &str,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        let path = format!("{prefix}{name}");
        // Through links, which is what the directories of a mounted ConfigMap are.
        if fs::metadata(entry.path())?.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files)?;
        } else {
            files.insert(path, fs::read(entry.path())?);
        }
    }
    Ok(())
}

/// Commits and releases the bundle, if the store has no revision.
///
/// # Errors
/// When the directory cannot be read, or the bundle has errors: all of them are in the log.
pub async fn commit(
    store: &Store,
    directory: &Path,
    committer: &str,
    at: Timestamp,
) -> Result<(), Error> {
    let check_disk = "check the disk that holds the config-service's database";
    if !store.list(None, 1).await.context("read the revisions", check_disk)?.is_empty() {
        return Ok(());
    }
    let shown = directory.display();
    let files = read_directory(directory).context(
        format!("read the bundle {shown}"),
        "give --bundle a directory with a cluster.yaml",
    )?;
    let (_, problems) = Bundle::from_files(&files);
    for problem in &problems {
        if problem.is_error() {
            tracing::error!("{problem}");
        } else {
            tracing::warn!("{problem}");
        }
    }
    if any_error(&problems) {
        let first = problems
            .iter()
            .find(|problem| problem.is_error())
            .map(ToString::to_string)
            .unwrap_or_default();
        return Err(Error::new(format!("the bundle {shown} has errors: {first}"))
            .remedy("correct it; `shoal config validate` shows every problem"));
    }
    let draft = Draft {
        parent: String::new(),
        author: committer.to_owned(),
        committer: committer.to_owned(),
        at,
        message: format!("First revision, from {shown}"),
        unchanged: Unchanged::Nothing,
    };
    let revision = store
        .commit(&draft, &files)
        .await
        .context("store the first revision", check_disk)?
        .revision();
    store.save(None, Some(&revision.id)).await.context("release the first revision", check_disk)?;
    tracing::info!(revision = revision.id, "first revision committed and released from {shown}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// As the kubelet mounts a ConfigMap: every visible name is a link into a hidden directory.
    #[test]
    fn a_bundle_behind_links_is_read_whole() {
        let scratch = tempfile::tempdir().unwrap();
        let place = |path: &str| scratch.path().join(path);
        fs::create_dir_all(place("..data/lists")).unwrap();
        fs::write(place("..data/cluster.yaml"), "version: 1").unwrap();
        fs::write(place("..data/lists/blocked.txt"), ".example").unwrap();
        symlink("..data/cluster.yaml", place("cluster.yaml")).unwrap();
        symlink("..data/lists", place("lists")).unwrap();
        let files = read_directory(scratch.path()).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["cluster.yaml", "lists/blocked.txt"]);
    }
}
