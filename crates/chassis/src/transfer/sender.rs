//! Entries become pieces.

use bytes::Bytes;
use proto::state::{self as pb, export_response, import_request};
use sha2::{Digest, Sha256};
use tokio::{sync::mpsc, time::timeout};
use tonic::Status;

use super::NEXT_WITHIN;

/// A piece that is sent.
pub const PIECE: usize = 256 << 10;
/// Pieces that wait for a slow reader.
const PIECES: usize = 4;

/// Sends entries as pieces and keeps the account of them.
#[derive(Debug)]
pub struct Sender<M> {
    to: mpsc::Sender<Result<M, Status>>,
    entries: Vec<pb::Entry>,
    digest: Sha256,
    wrap: fn(Part) -> M,
}

/// What a stream of state consists of after its first message.
#[derive(Debug)]
pub enum Part {
    /// A piece.
    Chunk(pb::Chunk),
    /// The last.
    End(pb::End),
}

/// The receiver has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody listens any more")]
pub struct Gone;

impl<M> Sender<M> {
    /// What is sent, wrapped, arrives at the receiver.
    #[must_use]
    pub fn new(wrap: fn(Part) -> M) -> (Self, mpsc::Receiver<Result<M, Status>>) {
        let (to, receiver) = mpsc::channel(PIECES);
        (Self { to, entries: Vec::new(), digest: Sha256::new(), wrap }, receiver)
    }

    /// Sends a message of another kind: the first.
    ///
    /// # Errors
    /// [`Gone`], also when nothing was taken for a minute.
    pub async fn send(&self, message: M) -> Result<(), Gone> {
        self.raw(Ok(message)).await
    }

    /// Says that it cannot go on.
    pub async fn fail(self, status: Status) {
        // Who does not listen any more need not hear why.
        self.raw(Err(status)).await.unwrap_or_default();
    }

    async fn raw(&self, message: Result<M, Status>) -> Result<(), Gone> {
        timeout(NEXT_WITHIN, self.to.send(message)).await.map_err(|_| Gone)?.map_err(|_| Gone)
    }

    /// Sends an entry.
    ///
    /// # Errors
    /// [`Gone`]
    pub async fn entry(&mut self, name: &str, content: impl Into<Bytes>) -> Result<(), Gone> {
        let content = content.into();
        self.begin(name).await?;
        for piece in content.chunks(PIECE) {
            self.piece(piece).await?;
        }
        Ok(())
    }

    /// Begins an entry that is sent piece by piece.
    ///
    /// # Errors
    /// [`Gone`]
    pub async fn begin(&mut self, name: &str) -> Result<(), Gone> {
        self.seal();
        self.entries.push(pb::Entry { name: name.to_owned(), ..pb::Entry::default() });
        self.send((self.wrap)(Part::Chunk(pb::Chunk { name: name.to_owned(), data: Vec::new() })))
            .await
    }

    /// Sends at most 1 MiB of the entry that was begun last.
    ///
    /// # Errors
    /// [`Gone`]
    pub async fn piece(&mut self, data: &[u8]) -> Result<(), Gone> {
        self.digest.update(data);
        if let Some(last) = self.entries.last_mut() {
            last.size += data.len() as u64;
        }
        self.send((self.wrap)(Part::Chunk(pb::Chunk { name: String::new(), data: data.to_vec() })))
            .await
    }

    fn seal(&mut self) {
        if let Some(last) = self.entries.last_mut() {
            last.sha256 = hex::encode(std::mem::take(&mut self.digest).finalize());
        }
    }

    /// Sends the account of everything.
    ///
    /// # Errors
    /// [`Gone`]
    pub async fn end(mut self) -> Result<(), Gone> {
        self.seal();
        let end = pb::End { entries: std::mem::take(&mut self.entries) };
        self.send((self.wrap)(Part::End(end))).await
    }
}

/// A part of an export.
#[must_use]
pub fn exported(part: Part) -> pb::ExportResponse {
    let part = match part {
        Part::Chunk(chunk) => export_response::Part::Chunk(chunk),
        Part::End(end) => export_response::Part::End(end),
    };
    pb::ExportResponse { part: Some(part) }
}

/// A part of an import.
#[must_use]
pub fn imported(part: Part) -> pb::ImportRequest {
    let part = match part {
        Part::Chunk(chunk) => import_request::Part::Chunk(chunk),
        Part::End(end) => import_request::Part::End(end),
    };
    pb::ImportRequest { part: Some(part) }
}
