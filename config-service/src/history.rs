//! Everything that the config-service keeps, as a backup takes it and a restore puts it back. Pure.
//!
//! Nothing of what is read is believed: every revision's id is the hash of what it says, each is
//! the child of the one before, and what is released is a revision that is there.

use crate::revision::{Revision, address};
use crate::store::Record;
use chassis::transfer;
use cluster_config::FileReference;
use jiff::Timestamp;
use proto::state::Entry;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::{BTreeMap, BTreeSet};

/// Version of the form of the entries.
pub const FORMAT: u32 = 1;
/// Revisions, oldest first, a JSON object a line.
const REVISIONS: &str = "revisions.jsonl";
/// Rollouts, oldest first, a JSON object a line.
const ROLLOUTS: &str = "rollouts.jsonl";
/// What joining nodes get.
const RELEASED: &str = "released.json";
/// Files of bundles by their SHA-256.
const FILES: &str = "files/";

/// A revision with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub id: String,
    /// Counts up from 1.
    pub number: u64,
    /// Id of the revision before; empty for the first.
    pub parent: String,
    /// In free text.
    pub author: String,
    /// Name in the certificate.
    pub committer: String,
    /// To the millisecond.
    pub committed_at: Timestamp,
    pub message: String,
    pub files: Vec<FileReference>,
}

impl Kept {
    /// The two together.
    pub fn new(revision: Revision, files: Vec<FileReference>) -> Self {
        let Revision { id, number, parent, author, committer, committed_at, message } = revision;
        Self { id, number, parent, author, committer, committed_at, message, files }
    }

    fn called(&self) -> String {
        format!("{} ({})", self.number, self.id)
    }
}

#[derive(Serialize, Deserialize)]
struct Released {
    revision: Option<String>,
}

/// Everything but the content of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub revisions: Vec<Kept>,
    pub rollouts: Vec<Record>,
    /// Id of what joining nodes get.
    pub released: Option<String>,
}

/// Why a history is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// An entry is missing.
    #[error("{0} is missing")]
    Missing(String),
    /// A line makes no sense.
    #[error("line {line} of {entry}: {problem}")]
    Line { entry: &'static str, line: usize, problem: String },
    /// An entry is not what its name says.
    #[error("{0} does not have the content that its name says")]
    Content(String),
}

impl History {
    /// As entries: name and content. The content of files is [`History::files`].
    ///
    /// # Errors
    /// Something cannot be written as JSON.
    pub fn entries(&self) -> Result<Vec<(&'static str, Vec<u8>)>, serde_json::Error> {
        let released = Released { revision: self.released.clone() };
        Ok(vec![
            (RELEASED, serde_json::to_vec(&released)?),
            (REVISIONS, write_lines(&self.revisions)?),
            (ROLLOUTS, write_lines(&self.rollouts)?),
        ])
    }

    /// Of all of it: the same as long as nothing changes.
    ///
    /// # Errors
    /// Something cannot be written as JSON.
    pub fn fingerprint(&self) -> Result<String, serde_json::Error> {
        Ok(transfer::fingerprint(&self.entries()?))
    }

    /// SHA-256 and size of every file of every revision, each once.
    pub fn files(&self) -> BTreeMap<&str, u64> {
        self.revisions
            .iter()
            .flat_map(|revision| &revision.files)
            .map(|file| (file.sha256.as_str(), file.size))
            .collect()
    }

    /// Reads a history; `entries` are all that came, `content` answers what is in one.
    ///
    /// # Errors
    /// It is incomplete or makes no sense.
    pub fn read<'e>(
        entries: impl IntoIterator<Item = &'e Entry>,
        content: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<Self, Unreadable> {
        let bytes = |entry: &'static str| {
            content(entry).ok_or_else(|| Unreadable::Missing(entry.to_owned()))
        };
        let history = Self {
            revisions: read_lines(REVISIONS, &bytes(REVISIONS)?)?,
            rollouts: read_lines(ROLLOUTS, &bytes(ROLLOUTS)?)?,
            released: read_line::<Released>(RELEASED, 1, &bytes(RELEASED)?)?.revision,
        };
        history.check()?;
        let entries: BTreeMap<&str, &Entry> =
            entries.into_iter().map(|entry| (entry.name.as_str(), entry)).collect();
        for (sha256, size) in history.files() {
            let name = file(sha256);
            match entries.get(name.as_str()) {
                None => return Err(Unreadable::Missing(name)),
                Some(entry) if entry.sha256 != sha256 || entry.size != size => {
                    return Err(Unreadable::Content(name));
                }
                Some(_) => {}
            }
        }
        Ok(history)
    }

    fn check(&self) -> Result<(), Unreadable> {
        let line = |entry, index: usize, problem: String| {
            Err(Unreadable::Line { entry, line: index + 1, problem })
        };
        let (mut parent, mut ids) = ("", BTreeSet::new());
        for (index, revision) in self.revisions.iter().enumerate() {
            let Kept { id, author, committed_at, message, files, .. } = revision;
            if revision.number != index as u64 + 1 || revision.parent != parent {
                return line(
                    REVISIONS,
                    index,
                    format!("revision {} does not follow the one before", revision.called()),
                );
            }
            if *id != address(parent, author, *committed_at, message, files)
                || !files.is_sorted_by(|one, other| one.path < other.path)
            {
                return line(
                    REVISIONS,
                    index,
                    format!("revision {} is not what its id says", revision.called()),
                );
            }
            parent = id;
            ids.insert(id.as_str());
        }
        for (index, rollout) in self.rollouts.iter().enumerate() {
            if !ids.contains(rollout.revision.as_str()) {
                return line(
                    ROLLOUTS,
                    index,
                    format!("a rollout of {}, which is no revision", rollout.revision),
                );
            }
        }
        match &self.released {
            Some(released) if !ids.contains(released.as_str()) => {
                line(RELEASED, 0, format!("{released} is no revision"))
            }
            _ => Ok(()),
        }
    }

    /// The revision that joining nodes get.
    pub fn released(&self) -> Option<&Kept> {
        self.revisions.iter().find(|revision| Some(&revision.id) == self.released.as_ref())
    }

    /// What there is, counted.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        [
            ("revisions", self.revisions.len()),
            ("files", self.files().len()),
            ("rollouts", self.rollouts.len()),
        ]
        .map(|(what, count)| (what.to_owned(), count as u64))
        .into()
    }

    /// What there is, for people.
    pub fn facts(&self) -> BTreeMap<String, String> {
        let called =
            |revision: Option<&Kept>| revision.map_or_else(|| "none".to_owned(), Kept::called);
        [
            ("released revision", called(self.released())),
            ("newest revision", called(self.revisions.last())),
        ]
        .map(|(what, said)| (what.to_owned(), said))
        .into()
    }

    /// What differs from what there is, for people.
    pub fn changes(&self, present: &Self) -> Vec<String> {
        let missing = |from: &Self, other: &Self| -> Vec<String> {
            let known: BTreeSet<&str> =
                other.revisions.iter().map(|revision| revision.id.as_str()).collect();
            from.revisions
                .iter()
                .filter(|revision| !known.contains(revision.id.as_str()))
                .map(Kept::called)
                .collect()
        };
        let mut changes = Vec::new();
        for (what, revisions) in [
            ("come back", missing(self, present)),
            ("are not in the backup and go away", missing(present, self)),
        ] {
            if !revisions.is_empty() {
                changes.push(format!("revisions that {what}: {}", shorten(&revisions)));
            }
        }
        if self.released != present.released {
            let [after, before] = [self, present]
                .map(|history| history.released().map_or_else(|| "none".to_owned(), Kept::called));
            changes.push(format!(
                "the released revision becomes {after} (now {before}), and every \
                process is given it"
            ));
        }
        changes
    }
}

/// The name of the entry with the content of a file.
pub fn file(sha256: &str) -> String {
    format!("{FILES}{sha256}")
}

fn shorten(called: &[String]) -> String {
    const SHOWN: usize = 5;
    let more = called.len().saturating_sub(SHOWN);
    let shown = called.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn write_lines(values: &[impl Serialize]) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::new();
    for value in values {
        serde_json::to_writer(&mut bytes, value)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

fn read_lines<T: DeserializeOwned>(
    entry: &'static str,
    bytes: &[u8],
) -> Result<Vec<T>, Unreadable> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    lines.map(|(index, line)| read_line(entry, index + 1, line)).collect()
}

fn read_line<T: DeserializeOwned>(
    entry: &'static str,
    line: usize,
    bytes: &[u8],
) -> Result<T, Unreadable> {
    serde_json::from_slice(bytes).map_err(|error| Unreadable::Line {
        entry,
        line,
        problem: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chassis::transfer::is_name;

    fn revision(number: u64, parent: &str, message: &str) -> Kept {
        let at = Timestamp::from_millisecond(1_700_000_000_000 + number.cast_signed()).unwrap();
        let files = vec![FileReference {
            path: "cluster.yaml".into(),
            sha256: format!("{number:064x}"),
            size: number,
        }];
        let id = address(parent, "ann", at, message, &files);
        let (author, committer) = ("ann".to_owned(), "operator".to_owned());
        Kept {
            id,
            number,
            parent: parent.to_owned(),
            author,
            committer,
            committed_at: at,
            message: message.to_owned(),
            files,
        }
    }

    fn history(messages: &[&str]) -> History {
        let mut history = History::default();
        for (index, message) in messages.iter().enumerate() {
            let parent =
                history.revisions.last().map(|revision| revision.id.clone()).unwrap_or_default();
            history.revisions.push(revision(index as u64 + 1, &parent, message));
        }
        history.released = history.revisions.first().map(|revision| revision.id.clone());
        history
    }

    fn entries(history: &History) -> Vec<Entry> {
        history
            .files()
            .into_iter()
            .map(|(sha256, size)| Entry { name: file(sha256), size, sha256: sha256.to_owned() })
            .collect()
    }

    fn read(history: &History, entries: &[Entry]) -> Result<History, Unreadable> {
        let written: BTreeMap<_, _> = history.entries().unwrap().into_iter().collect();
        History::read(entries, |name| written.get(name).cloned())
    }

    #[test]
    fn what_is_written_is_read() {
        for messages in [&[][..], &["one"], &["one", "two, \"quoted\"\nand more"]] {
            let history = history(messages);
            assert_eq!(read(&history, &entries(&history)), Ok(history.clone()));
            assert!(history.entries().unwrap().iter().all(|(name, _)| is_name(name)));
            assert!(entries(&history).iter().all(|entry| is_name(&entry.name)));
        }
    }

    #[test]
    fn a_history_that_lies_is_refused() {
        type Lie = fn(&mut History);
        let lies: [(Lie, &str); 7] = [
            (
                |history| history.revisions[1].message = "other".into(),
                "line 2 of revisions.jsonl: revision 2",
            ),
            (|history| history.revisions[1].author = "bob".into(), "is not what its id says"),
            (
                |history| history.revisions[0].files[0].sha256 = "0".repeat(64),
                "is not what its id says",
            ),
            (|history| drop(history.revisions.remove(0)), "line 1 of revisions.jsonl: revision 2"),
            (|history| history.revisions.swap(0, 1), "does not follow the one before"),
            (|history| history.revisions[1].number = 7, "does not follow the one before"),
            (
                |history| history.released = Some("beef".into()),
                "line 1 of released.json: beef is no revision",
            ),
        ];
        for (lie, says) in lies {
            let mut history = history(&["one", "two"]);
            let entries = entries(&history);
            lie(&mut history);
            let refused = read(&history, &entries).expect_err(says).to_string();
            assert!(refused.contains(says), "{refused}");
        }
        let history = history(&["one"]);
        assert!(matches!(read(&history, &[]), Err(Unreadable::Missing(_))));
        let mut other = entries(&history);
        other[0].sha256 = "0".repeat(64);
        assert!(matches!(read(&history, &other), Err(Unreadable::Content(_))));
    }

    #[test]
    fn changes_are_told() {
        let (backup, mut now) = (history(&["one", "two"]), history(&["one", "two", "three"]));
        now.released = now.revisions.last().map(|revision| revision.id.clone());
        let said = backup.changes(&now);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[0].starts_with("revisions that are not in the backup and go away: 3 ("),
            "{said:?}"
        );
        assert!(said[1].starts_with("the released revision becomes 1 ("), "{said:?}");
        assert!(
            backup.changes(&History::default())[0].starts_with("revisions that come back: 1 (")
        );
        assert!(backup.changes(&backup).is_empty());
    }
}
