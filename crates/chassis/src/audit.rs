//! Audit records: who did what, when, with which result. One JSON object a line in `audit.jsonl`,
//! and the log target `audit`.
//!
//! The file is moved aside when it is large, and few old ones are kept (`file`). Every process
//! tells its records to people who ask for them on its gRPC port (`read`, `serve`).

mod file;
mod read;
mod serve;

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cluster::Service;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Clock,
    role::{Identity, Peer, Role},
};

use file::Lines;
pub use read::{Found, Wanted};
pub(crate) use serve::Api;

/// What is kept of a detail or a result, in bytes: a record is a line for people, whatever a caller
/// sent.
const LONGEST: usize = 2048;

/// One record, as in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When it was done.
    pub when: Timestamp,
    /// Role and name, as in the certificate: `operator ann`. What somebody does on the web page:
    /// `operator ann via console console-1`.
    pub who: String,
    /// Address it came from; empty for what the process does itself.
    pub from: String,
    /// What was called.
    pub what: String,
    /// What it was about, as the handler says.
    pub detail: String,
    /// `ok`, or the error's code and message.
    pub result: String,
}

/// The process's audit file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal {
    lines: Arc<Mutex<Lines>>,
    clock: Clock,
}

impl Journal {
    /// Opens the file for appending.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn open(path: &Path, clock: Clock) -> io::Result<Self> {
        Ok(Self { lines: Arc::new(Mutex::new(Lines::open(path)?)), clock })
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest records that match. Reads the files: not for a runtime's own threads.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn find(&self, wanted: &Wanted) -> io::Result<Found> {
        // Opened under the lock, so that none is moved meanwhile; read without it.
        let files = self.lines().files();
        let rotated = files.len() > file::KEPT as usize;
        Ok(Found { rotated, ..read::find(files, wanted)? })
    }

    /// Records what the process does of itself. `who` is free text.
    pub fn record(&self, who: &str, what: &str, result: &str) {
        self.append(&self.entry(
            who.to_owned(),
            String::new(),
            what,
            String::new(),
            result.to_owned(),
        ));
    }

    pub(crate) fn entry(
        &self,
        who: String,
        from: String,
        what: &str,
        detail: String,
        result: String,
    ) -> Record {
        let cut = |mut text: String| {
            text.truncate(text.floor_char_boundary(LONGEST));
            text
        };
        Record {
            when: self.clock.now(),
            who,
            from,
            what: what.to_owned(),
            detail: cut(detail),
            result: cut(result),
        }
    }

    /// Appends a record, in one write.
    pub fn append(&self, record: &Record) {
        tracing::info!(
            target: "audit",
            who = record.who,
            from = record.from,
            what = record.what,
            detail = record.detail,
            result = record.result,
        );
        let Ok(mut line) = serde_json::to_vec(record) else { return };
        line.push(b'\n');
        if let Err(error) = self.lines().append(&line) {
            tracing::error!(
                "cannot write the audit record, which is therefore only in the log: {error}"
            );
        }
    }
}

/// Request metadata in which a console says for whom it acts. Believed from nobody else.
pub const ON_BEHALF_OF: &str = "shoal-on-behalf-of";

/// Who a record names: the peer, or whom a console acts for.
pub(crate) fn who(peer: &Peer, headers: &http::HeaderMap) -> String {
    let console = peer.role() == Some(Role::Service(Service::Console));
    let named = headers.get(ON_BEHALF_OF).and_then(|value| value.to_str().ok()).filter(|_| console);
    match named
        .and_then(|name| Identity::from_uri(&format!("spiffe://shoal/{}/{name}", Role::Operator)))
    {
        Some(operator) => format!("{operator} via {peer}"),
        None => peer.to_string(),
    }
}

/// What a handler adds to the record of its call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Note(Arc<Mutex<String>>);

impl Note {
    pub(crate) fn take(&self) -> String {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Says what a call is about (`proxy-node-3: drain, because of a new disk`), for its audit record.
/// Does nothing for rpcs that are not mutating.
pub fn note<T>(request: &tonic::Request<T>, detail: impl Into<String>) {
    if let Some(note) = request.extensions().get::<Note>() {
        *note.0.lock().unwrap_or_else(PoisonError::into_inner) = detail.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_console_speaks_for_others() {
        let peer = |role| Peer {
            identity: Some(Identity::new(role, "c-1")),
            address: std::net::SocketAddr::from(([127, 0, 0, 1], 9)),
            hosts: Vec::new(),
        };
        let console = peer(Role::Service(Service::Console));
        for (peer, said, expected) in [
            (console.clone(), Some("ann"), "operator ann via console c-1"),
            (console.clone(), None, "console c-1"),
            (console.clone(), Some("ann via operator bob"), "console c-1"),
            (console, Some("a/b"), "console c-1"),
            (peer(Role::Service(Service::Balancer)), Some("ann"), "balancer c-1"),
            (peer(Role::Operator), Some("ann"), "operator c-1"),
            (
                Peer { identity: None, ..peer(Role::Operator) },
                Some("ann"),
                "anonymous at 127.0.0.1:9",
            ),
        ] {
            let mut headers = http::HeaderMap::new();
            headers.extend(
                said.map(|name| {
                    (http::HeaderName::from_static(ON_BEHALF_OF), name.parse().unwrap())
                }),
            );
            assert_eq!(who(&peer, &headers), expected, "{said:?}");
        }
    }
}
