//! A bundle becomes a revision, by compare-and-set on its parent.

use super::replace::insert;
use super::{Error, Result, Store, files_of, read_revision};
use crate::history::Kept;
use crate::revision::{Revision, address};
use cluster_config::FileReference;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use sqlx::{Sqlite, Transaction};
use std::collections::BTreeMap;

/// A revision that is not stored yet.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Id of the newest revision as its author knows it; empty: the first.
    pub parent: String,
    /// In free text.
    pub author: String,
    /// Name in the certificate.
    pub committer: String,
    pub at: Timestamp,
    pub message: String,
    /// What to do with content that the parent has already.
    pub unchanged: Unchanged,
}

/// What to do with content that the parent has already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unchanged {
    /// It is the parent.
    #[default]
    Nothing,
    /// Another revision of it.
    Again,
}

/// What came of a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is this revision.
    New(Revision),
    /// Nothing was stored: the parent has this content.
    Unchanged(Revision),
}

impl Committed {
    /// The revision that has the content.
    pub fn revision(self) -> Revision {
        let (Self::New(revision) | Self::Unchanged(revision)) = self;
        revision
    }
}

impl Store {
    /// Stores a bundle as a revision, if the draft's parent is the newest. The same content on the
    /// same parent is the same revision.
    pub async fn commit(
        &self,
        draft: &Draft,
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Committed> {
        self.written(self.try_commit(draft, files).await)
    }

    async fn try_commit(
        &self,
        draft: &Draft,
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Committed> {
        let references: Vec<FileReference> =
            files.iter().map(|(path, content)| reference(path, content)).collect();
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for (file, content) in references.iter().zip(files.values()) {
            sqlx::query("INSERT OR IGNORE INTO blobs (sha256, content) VALUES (?, ?)")
                .bind(&file.sha256)
                .bind(content.as_slice())
                .execute(&mut *transaction)
                .await?;
        }
        let committed = append(&mut transaction, draft, &references).await?;
        transaction.commit().await?;
        Ok(committed)
    }

    /// Stores the content of an earlier revision anew, on top of the newest.
    pub async fn recommit(&self, earlier: &Revision, draft: &Draft) -> Result<Committed> {
        self.written(self.try_recommit(earlier, draft).await)
    }

    async fn try_recommit(&self, earlier: &Revision, draft: &Draft) -> Result<Committed> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let parent = newest(&mut transaction).await?.map(|newest| newest.id).unwrap_or_default();
        let files = files_of(&mut transaction, earlier.number).await?;
        let committed =
            append(&mut transaction, &Draft { parent, ..draft.clone() }, &files).await?;
        transaction.commit().await?;
        Ok(committed)
    }
}

fn reference(path: &str, content: &[u8]) -> FileReference {
    FileReference {
        path: path.to_owned(),
        sha256: hex::encode(Sha256::digest(content)),
        size: content.len() as u64,
    }
}

/// Adds a revision whose files are stored, by compare-and-set on the parent.
async fn append(
    transaction: &mut Transaction<'_, Sqlite>,
    draft: &Draft,
    files: &[FileReference],
) -> Result<Committed> {
    let newest = newest(transaction).await?;
    let newest_id = newest.as_ref().map(|newest| newest.id.clone()).unwrap_or_default();
    if newest_id != draft.parent {
        return match same(transaction, draft, files).await? {
            Some(revision) => Ok(Committed::New(revision)),
            None => Err(Error::Conflict { newest: newest_id }),
        };
    }
    if let Some(newest) = &newest
        && draft.unchanged == Unchanged::Nothing
        && files_of(transaction, newest.number).await? == files
    {
        return Ok(Committed::Unchanged(newest.clone()));
    }
    // Times are kept to the millisecond: the address has to be that of what is kept.
    let at = Timestamp::from_millisecond(draft.at.as_millisecond()).unwrap_or(draft.at);
    let revision = Revision {
        id: address(&draft.parent, &draft.author, at, &draft.message, files),
        number: newest.map_or(1, |newest| newest.number + 1),
        parent: draft.parent.clone(),
        author: draft.author.clone(),
        committer: draft.committer.clone(),
        committed_at: at,
        message: draft.message.clone(),
    };
    insert(transaction, &Kept::new(revision.clone(), files.to_vec())).await?;
    Ok(Committed::New(revision))
}

/// The revision that this very draft became when it was committed before.
async fn same(
    transaction: &mut Transaction<'_, Sqlite>,
    draft: &Draft,
    files: &[FileReference],
) -> Result<Option<Revision>> {
    let row = sqlx::query("SELECT * FROM revisions WHERE parent = ?")
        .bind(&draft.parent)
        .fetch_optional(&mut **transaction)
        .await?;
    let Some(revision) = row.as_ref().map(read_revision).transpose()? else { return Ok(None) };
    let same = revision.author == draft.author
        && revision.message == draft.message
        && files_of(transaction, revision.number).await? == files;
    Ok(same.then_some(revision))
}

async fn newest(transaction: &mut Transaction<'_, Sqlite>) -> Result<Option<Revision>> {
    let row = sqlx::query("SELECT * FROM revisions ORDER BY number DESC LIMIT 1")
        .fetch_optional(&mut **transaction)
        .await?;
    row.as_ref().map(read_revision).transpose()
}
