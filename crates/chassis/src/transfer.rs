//! The state of a service on its way out of it or into it: named entries of bytes (`shoal.state.v1`), cut into pieces for a stream and put
//! together again in a file of no name, so that neither side holds them in memory and nothing is left behind by a crash.
//!
//! What the entries are called and mean is the business of the service whose state it is. Nothing that arrives is believed before
//! [`Spool::finish`] has compared it with what the sender says that it sent.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use proto::state::{self as pb, export_response, import_request};
use sha2::{Digest, Sha256};
use tokio::{sync::mpsc, time::timeout};
use tonic::{Status, Streaming};

/// A piece that is sent.
pub const PIECE: usize = 256 << 10;
/// A piece that is taken.
const LARGEST_PIECE: usize = 1 << 20;
const MOST_ENTRIES: usize = 1_000_000;
/// Pieces that wait for a slow reader.
const PIECES: usize = 4;
/// Between two pieces. A peer that says nothing for so long has gone.
pub const NEXT_WITHIN: Duration = Duration::from_secs(60);

/// Why something that arrives is refused.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// The name of an entry is none, or comes twice.
    #[error("{0:?} cannot be the name of another entry")]
    Name(String),
    /// More than is taken.
    #[error("it is larger than {0}")]
    TooLarge(String),
    /// The sender's account of what it sent is another.
    #[error("{0} is not what was sent: a piece is missing or damaged")]
    Differs(String),
    /// A message where it does not belong, or none where one does.
    #[error("{0}")]
    OutOfPlace(&'static str),
    /// The file that it is put together in.
    #[error("it cannot be kept: {0}")]
    Disk(#[from] io::Error),
}

/// Whether this can be the name of an entry: letters, digits, `.`, `_`, `-`, and single `/` between parts that do not begin with a dot.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    name.len() <= 200 && name.split('/').all(part)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// An entry with the place of its content.
#[derive(Clone, Debug)]
struct Placed {
    entry: pb::Entry,
    offset: u64,
}

/// Entries as far as they have come.
#[derive(Debug)]
pub struct Spool {
    file: File,
    limit: u64,
    end: u64,
    entries: Vec<Placed>,
    names: BTreeMap<String, usize>,
    digest: Sha256,
}

impl Spool {
    /// Nothing yet. The content goes to a file of no name in `directory`, and is never more than `limit` bytes.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn create(directory: &Path, limit: u64) -> io::Result<Self> {
        let file = tempfile::tempfile_in(directory)?;
        Ok(Self { file, limit, end: 0, entries: Vec::new(), names: BTreeMap::new(), digest: Sha256::new() })
    }

    /// Begins an entry.
    ///
    /// # Errors
    /// It cannot be called so.
    pub fn begin(&mut self, name: &str) -> Result<(), Malformed> {
        if !is_name(name) || self.names.contains_key(name) {
            return Err(Malformed::Name(name.chars().take(200).collect()));
        }
        if self.entries.len() == MOST_ENTRIES {
            return Err(Malformed::TooLarge(format!("{MOST_ENTRIES} entries")));
        }
        self.seal();
        self.names.insert(name.to_owned(), self.entries.len());
        self.entries.push(Placed { entry: pb::Entry { name: name.to_owned(), ..pb::Entry::default() }, offset: self.end });
        Ok(())
    }

    /// Adds to the entry that was begun last.
    ///
    /// # Errors
    /// There is none, it becomes too large, or the disk fails.
    pub fn write(&mut self, data: &[u8]) -> Result<(), Malformed> {
        let Some(last) = self.entries.last_mut() else { return Err(Malformed::OutOfPlace("the first piece has no name")) };
        let length = data.len() as u64;
        if self.limit - self.end < length {
            return Err(Malformed::TooLarge(format!("{} MiB", self.limit >> 20)));
        }
        self.file.write_all(data)?;
        self.digest.update(data);
        self.end += length;
        last.entry.size += length;
        Ok(())
    }

    /// Takes a piece as it came.
    ///
    /// # Errors
    /// As for [`Spool::begin`] and [`Spool::write`].
    pub fn push(&mut self, chunk: &pb::Chunk) -> Result<(), Malformed> {
        if chunk.data.len() > LARGEST_PIECE {
            return Err(Malformed::TooLarge("1 MiB in one piece".to_owned()));
        }
        if !chunk.name.is_empty() {
            self.begin(&chunk.name)?;
        }
        self.write(&chunk.data)
    }

    fn seal(&mut self) {
        if let Some(last) = self.entries.last_mut() {
            last.entry.sha256 = hex(&std::mem::take(&mut self.digest).finalize());
        }
    }

    /// Everything has come: it is what the sender says that it sent.
    ///
    /// # Errors
    /// It is not.
    pub fn finish(self, end: &pb::End) -> Result<Parcel, Malformed> {
        let parcel = self.close();
        let mut sent = end.entries.iter();
        for placed in parcel.entries.iter() {
            if sent.next() != Some(&placed.entry) {
                return Err(Malformed::Differs(placed.entry.name.clone()));
            }
        }
        match sent.next() {
            Some(missing) => Err(Malformed::Differs(missing.name.clone())),
            None => Ok(parcel),
        }
    }

    /// Everything was written here: there is nobody to compare it with.
    #[must_use]
    pub fn close(mut self) -> Parcel {
        self.seal();
        Parcel { file: Arc::new(self.file), entries: self.entries.into(), names: Arc::new(self.names) }
    }
}

/// Entries that are complete and are what they were when they were sent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Parcel {
    file: Arc<File>,
    entries: Arc<[Placed]>,
    names: Arc<BTreeMap<String, usize>>,
}

impl Parcel {
    /// Every entry, in the order in which it came.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &pb::Entry> {
        self.entries.iter().map(|placed| &placed.entry)
    }

    /// Bytes in all.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.entries().map(|entry| entry.size).sum()
    }

    /// The content of an entry, from its beginning; none when there is no such entry.
    #[must_use]
    pub fn open(&self, name: &str) -> Option<Content> {
        let placed = &self.entries[*self.names.get(name)?];
        Some(Content { file: Arc::clone(&self.file), offset: placed.offset, left: placed.entry.size })
    }

    /// The whole content of an entry; none when there is no such entry.
    ///
    /// # Errors
    /// The disk fails.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(mut content) = self.open(name) else { return Ok(None) };
        let mut bytes = Vec::with_capacity(usize::try_from(content.left).unwrap_or(0));
        content.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }
}

/// Reads an entry.
#[derive(Debug)]
pub struct Content {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..most], self.offset)?;
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

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
        self.send((self.wrap)(Part::Chunk(pb::Chunk { name: name.to_owned(), data: Vec::new() }))).await
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
        self.send((self.wrap)(Part::Chunk(pb::Chunk { name: String::new(), data: data.to_vec() }))).await
    }

    fn seal(&mut self) {
        if let Some(last) = self.entries.last_mut() {
            last.sha256 = hex(&std::mem::take(&mut self.digest).finalize());
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

/// What a service takes in an import.
#[derive(Clone, Copy, Debug)]
pub struct Accepts<'a> {
    /// Its own name.
    pub service: &'static str,
    /// Version of its entries.
    pub format: u32,
    /// Where it is put together.
    pub directory: &'a Path,
    /// Bytes in all.
    pub limit: u64,
}

/// Takes the beginning of an import: whose state it is and what is asked for.
///
/// # Errors
/// It is another service's, or of a newer format.
pub async fn header(stream: &mut Streaming<pb::ImportRequest>, accepts: Accepts<'_>) -> Result<pb::ImportHeader, Status> {
    let Some(import_request::Part::Header(header)) = next(stream).await? else {
        return Err(refuse(&Malformed::OutOfPlace("an import begins with its header")));
    };
    let state = header.state.clone().unwrap_or_default();
    if state.service != accepts.service {
        let message = format!("this is the state of {:?} and cannot become that of {}", state.service, accepts.service);
        return Err(Status::invalid_argument(message));
    }
    if state.format != accepts.format {
        let message = format!(
            "the state of {} is in format {}, and this version of Shoal knows format {}: restore it with the version that made it",
            accepts.service, state.format, accepts.format
        );
        return Err(Status::failed_precondition(message));
    }
    Ok(header)
}

/// Takes everything that an import sends after its header, and compares it.
///
/// # Errors
/// It is incomplete or damaged.
pub async fn content(stream: &mut Streaming<pb::ImportRequest>, accepts: Accepts<'_>) -> Result<Parcel, Status> {
    let mut spool = Spool::create(accepts.directory, accepts.limit).map_err(|error| refuse(&error.into()))?;
    loop {
        match next(stream).await? {
            Some(import_request::Part::Chunk(chunk)) => spool.push(&chunk).map_err(|problem| refuse(&problem))?,
            Some(import_request::Part::End(end)) => return spool.finish(&end).map_err(|problem| refuse(&problem)),
            Some(import_request::Part::Header(_)) => return Err(refuse(&Malformed::OutOfPlace("a second header"))),
            None => return Err(refuse(&Malformed::OutOfPlace("the import ended before its end was sent"))),
        }
    }
}

/// What an import is, for its audit record.
#[must_use]
pub fn describe(header: &pb::ImportHeader) -> String {
    let state = header.state.clone().unwrap_or_default();
    let what = if header.check_only { "check only, nothing is replaced" } else { "replace everything" };
    let taken = state.taken_at.map_or_else(String::new, |at| format!(" of {at}"));
    format!("{what}: the state{taken} of cluster {} in epoch {}", state.cluster_id, state.epoch)
}

async fn next(stream: &mut Streaming<pb::ImportRequest>) -> Result<Option<import_request::Part>, Status> {
    let message = timeout(NEXT_WITHIN, stream.message()).await.map_err(|_| Status::deadline_exceeded("the import has gone silent"))??;
    Ok(message.and_then(|message| message.part))
}

/// The status of something that is refused.
#[must_use]
pub fn refuse(problem: &Malformed) -> Status {
    match problem {
        Malformed::Disk(_) => Status::unavailable(problem.to_string()),
        Malformed::TooLarge(_) => Status::resource_exhausted(problem.to_string()),
        _ => Status::invalid_argument(problem.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(name: &str, data: &[u8]) -> pb::Chunk {
        pb::Chunk { name: name.to_owned(), data: data.to_vec() }
    }

    #[tokio::test]
    async fn what_is_sent_arrives() {
        let scratch = tempfile::tempdir().unwrap();
        let (mut sender, mut received) = Sender::new(imported);
        let large = vec![7; PIECE * 2 + 1];
        let content = large.clone();
        let sending = tokio::spawn(async move {
            sender.entry("a/one", content).await?;
            sender.entry("empty", Bytes::new()).await?;
            sender.entry("b", "two").await?;
            sender.end().await
        });
        let mut spool = Spool::create(scratch.path(), 10 << 20).unwrap();
        let parcel = loop {
            match received.recv().await.unwrap().unwrap().part.unwrap() {
                import_request::Part::Chunk(chunk) => spool.push(&chunk).unwrap(),
                import_request::Part::End(end) => break spool.finish(&end).unwrap(),
                import_request::Part::Header(_) => unreachable!("none was sent"),
            }
        };
        sending.await.unwrap().unwrap();
        assert_eq!(parcel.read("a/one").unwrap().unwrap(), large);
        assert_eq!(parcel.read("empty").unwrap().unwrap(), b"");
        assert_eq!(parcel.read("b").unwrap().unwrap(), b"two");
        assert!(parcel.read("c").unwrap().is_none());
        assert_eq!(parcel.size(), large.len() as u64 + 3);
    }

    #[test]
    fn what_differs_from_the_account_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let spool = |chunks: &[pb::Chunk]| {
            let mut spool = Spool::create(scratch.path(), 100).unwrap();
            chunks.iter().try_for_each(|chunk| spool.push(chunk)).map(|()| spool)
        };
        let good = [chunk("a", b"1"), chunk("", b"2"), chunk("b", b"3")];
        let end = pb::End { entries: spool(&good).unwrap().close().entries().cloned().collect() };
        assert!(spool(&good).unwrap().finish(&end).is_ok());
        for bad in [
            &[chunk("a", b"1"), chunk("b", b"3")][..],
            &[chunk("a", b"12")],
            &[chunk("a", b"12"), chunk("b", b"4")],
            &[chunk("b", b"3"), chunk("a", b"12")],
            &[chunk("a", b"12"), chunk("b", b"3"), chunk("c", b"")],
        ] {
            assert!(matches!(spool(bad).unwrap().finish(&end), Err(Malformed::Differs(_))), "{bad:?}");
        }
        for bad in [&[chunk("", b"1")][..], &[chunk("a", b""), chunk("a", b"")], &[chunk("../a", b"")], &[chunk("a", &[0; 101])]] {
            assert!(spool(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_of_entries() {
        for (name, good) in [
            ("revisions.jsonl", true),
            ("files/00ff", true),
            ("", false),
            ("/etc/passwd", false),
            ("a//b", false),
            ("a/../b", false),
            (".hidden", false),
            ("a b", false),
            ("a/", false),
        ] {
            assert_eq!(is_name(name), good, "{name}");
        }
    }
}
