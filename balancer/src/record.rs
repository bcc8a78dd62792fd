//! Access records: one JSON object a line in `DATA_DIR/access.log`.
//!
//! A worker appends lines to a buffer of its own and hands it on, through a bounded queue, when it is full or 50 ms old. When the disk is too
//! slow, whole buffers are dropped and their lines counted. Only the writing task touches the file.

use std::{
    cell::{Cell, RefCell},
    fmt::Write as _,
    path::Path,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{io::AsyncWriteExt, sync::mpsc};

/// A buffer is handed on when it is this full.
const FULL: usize = 32 * 1024;
/// Buffers that may wait for the disk.
pub const QUEUE: usize = 64;
/// The file is opened again after so long, so that it can be rotated from outside.
const REOPEN_EVERY: Duration = Duration::from_secs(10);
/// The file is renamed to `access.log.1` when it is this large.
const LARGEST: u64 = 256 * 1024 * 1024;

/// One finished request.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When it ended.
    pub at: Timestamp,
    /// Its id.
    pub id: uuid::Uuid,
    /// Who asked.
    pub client: &'a str,
    /// Where.
    pub frontend: &'a str,
    /// As received.
    pub method: &'a str,
    /// As received.
    pub target: &'a str,
    /// What the client got; 0: nothing.
    pub status: u16,
    /// Body bytes to the client; both directions for a tunnel.
    pub bytes: u64,
    /// From the request's head to the end.
    pub took: Duration,
    /// Who answered; empty: the balancer itself.
    pub server: &'a str,
    /// How many servers were asked.
    pub attempts: u32,
    /// What went wrong, if anything.
    pub error: &'a str,
}

impl Record<'_> {
    fn write(&self, out: &mut String) {
        // Writing to a String cannot fail.
        let _infallible = write!(
            out,
            r#"{{"time":"{}","id":"{}","client":"{}","frontend":"{}","method":"{}","target":"{}","status":{},"bytes":{},"ms":{},"server":"{}","attempts":{},"error":"{}"}}"#,
            self.at,
            self.id,
            self.client,
            Escaped(self.frontend),
            Escaped(self.method),
            Escaped(self.target),
            self.status,
            self.bytes,
            self.took.as_millis(),
            Escaped(self.server),
            self.attempts,
            Escaped(self.error),
        );
        out.push('\n');
    }
}

/// Text inside a JSON string.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.bytes().position(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\' | 0x7f)) {
            out.write_str(&rest[..at])?;
            let byte = rest.as_bytes()[at];
            match byte {
                b'"' | b'\\' => write!(out, "\\{}", char::from(byte))?,
                _ => write!(out, "\\u{byte:04x}")?,
            }
            rest = &rest[at + 1..];
        }
        out.write_str(rest)
    }
}

/// One worker's end of the queue.
pub struct Journal {
    lines: RefCell<String>,
    count: Cell<u64>,
    queue: mpsc::Sender<Vec<u8>>,
    /// The clock is asked once a flush, not once a request: the file's times are exact to 50 ms.
    now: Cell<Timestamp>,
}

impl Journal {
    /// An empty one.
    #[must_use]
    pub fn new(queue: mpsc::Sender<Vec<u8>>) -> Self {
        Self { lines: RefCell::default(), count: Cell::new(0), queue, now: Cell::new(Timestamp::now()) }
    }

    /// The time of this journal.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now.get()
    }

    /// Adds a record.
    pub fn add(&self, record: &Record<'_>) {
        let full = {
            let mut lines = self.lines.borrow_mut();
            record.write(&mut lines);
            lines.len() >= FULL
        };
        self.count.set(self.count.get() + 1);
        if full {
            self.flush();
        }
    }

    /// Hands on what is there.
    pub fn flush(&self) {
        self.now.set(Timestamp::now());
        let mut lines = self.lines.borrow_mut();
        if lines.is_empty() {
            return;
        }
        let count = self.count.replace(0);
        let full = std::mem::take(&mut *lines);
        if self.queue.try_send(full.into_bytes()).is_err() {
            metrics::counter!(crate::metrics::RECORDS_DROPPED).increment(count);
        }
    }
}

/// Writes what comes until nobody can send any more.
pub async fn write(path: &Path, queue: &mut mpsc::Receiver<Vec<u8>>) {
    let mut open: Option<(tokio::fs::File, tokio::time::Instant)> = None;
    while let Some(lines) = queue.recv().await {
        if open.as_ref().is_none_or(|(_, since)| since.elapsed() > REOPEN_EVERY) {
            open = reopen(path).await.map(|file| (file, tokio::time::Instant::now()));
        }
        let written = match &mut open {
            Some((file, _)) => file.write_all(&lines).await,
            None => Err(std::io::Error::other("the file cannot be opened")),
        };
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), "access records are lost: {error}");
            open = None;
        }
    }
}

async fn reopen(path: &Path) -> Option<tokio::fs::File> {
    if tokio::fs::metadata(path).await.is_ok_and(|it| it.len() > LARGEST)
        && let Err(error) = tokio::fs::rename(path, path.with_extension("log.1")).await
    {
        tracing::warn!(path = %path.display(), "cannot rotate: {error}");
    }
    tokio::fs::OpenOptions::new().create(true).append(true).open(path).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_whatever_was_asked_for() {
        let record = Record {
            at: Timestamp::UNIX_EPOCH,
            id: uuid::Uuid::nil(),
            client: "127.0.0.1",
            frontend: "f",
            method: "GET",
            target: "http://x/\"\\\u{1}é",
            status: 200,
            bytes: 5,
            took: Duration::from_millis(7),
            server: "node-1",
            attempts: 2,
            error: "",
        };
        let mut line = String::new();
        record.write(&mut line);
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value["target"], "http://x/\"\\\u{1}é");
        assert_eq!((value["status"].as_u64(), value["ms"].as_u64()), (Some(200), Some(7)));
    }
}
