//! Audit records: who did what, when, with which result. One JSON object a line in `audit.jsonl`, and the log target `audit`.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use cluster::Service;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Clock,
    role::{Identity, Peer, Role},
};

/// One record, as in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When it was done.
    pub when: Timestamp,
    /// Role and name, as in the certificate: `operator ann`. What somebody does on the web page: `operator ann via console console-1`.
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
    file: Arc<Mutex<File>>,
    clock: Clock,
}

impl Journal {
    /// Opens the file for appending.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn open(path: &Path, clock: Clock) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(Self { file: Arc::new(Mutex::new(file)), clock })
    }

    /// Records what the process does of itself. `who` is free text.
    pub fn record(&self, who: &str, what: &str, result: &str) {
        self.append(&self.entry(who.to_owned(), String::new(), what, String::new(), result.to_owned()));
    }

    pub(crate) fn entry(&self, who: String, from: String, what: &str, detail: String, result: String) -> Record {
        Record { when: self.clock.now(), who, from, what: what.to_owned(), detail, result }
    }

    /// Appends a record, in one write.
    pub fn append(&self, record: &Record) {
        tracing::info!(target: "audit", who = record.who, from = record.from, what = record.what, detail = record.detail, result = record.result);
        let Ok(mut line) = serde_json::to_vec(record) else { return };
        line.push(b'\n');
        if let Err(error) = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line) {
            tracing::error!("cannot write the audit record, which is therefore only in the log: {error}");
        }
    }
}

/// Request metadata in which a console says for whom it acts. Believed from nobody else.
pub const ON_BEHALF_OF: &str = "shoal-on-behalf-of";

/// Who a record names: the peer, or whom a console acts for.
pub(crate) fn who(peer: &Peer, headers: &http::HeaderMap) -> String {
    let console = peer.role() == Some(Role::Service(Service::Console));
    let named = headers.get(ON_BEHALF_OF).and_then(|value| value.to_str().ok()).filter(|_| console);
    match named.and_then(|name| Identity::from_uri(&format!("spiffe://shoal/{}/{name}", Role::Operator))) {
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

/// Says what a call is about (`proxy-node-3: drain, because of a new disk`), for its audit record. Does nothing for rpcs that are not mutating.
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
            identity: Some(Identity { role, name: "c-1".to_owned() }),
            address: std::net::SocketAddr::from(([127, 0, 0, 1], 9)),
        };
        let console = peer(Role::Service(Service::Console));
        for (peer, said, expected) in [
            (console.clone(), Some("ann"), "operator ann via console c-1"),
            (console.clone(), None, "console c-1"),
            (console.clone(), Some("ann via operator bob"), "console c-1"),
            (console, Some("a/b"), "console c-1"),
            (peer(Role::Service(Service::Balancer)), Some("ann"), "balancer c-1"),
            (peer(Role::Operator), Some("ann"), "operator c-1"),
            (Peer { identity: None, ..peer(Role::Operator) }, Some("ann"), "anonymous at 127.0.0.1:9"),
        ] {
            let mut headers = http::HeaderMap::new();
            headers.extend(said.map(|name| (http::HeaderName::from_static(ON_BEHALF_OF), name.parse().unwrap())));
            assert_eq!(who(&peer, &headers), expected, "{said:?}");
        }
    }
}
