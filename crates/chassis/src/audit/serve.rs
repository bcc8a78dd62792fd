//! The rpc that every process serves: its own records, to people.

use cluster::wire::{from_timestamp, timestamp};
use proto::audit::{ListRecordsRequest, ListRecordsResponse, audit_server::Audit};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::{Found, Journal, Record, Wanted};

/// Records in an answer when nobody says how many, and at most.
const USUAL: usize = 100;
const MOST: usize = 1000;

/// The service.
pub(crate) struct Api {
    journal: Journal,
    /// Reading takes a file's size of memory, so that one reads at a time.
    reading: Semaphore,
}

impl Api {
    pub(crate) fn new(journal: Journal) -> Self {
        Self { journal, reading: Semaphore::new(1) }
    }
}

#[tonic::async_trait]
impl Audit for Api {
    async fn list_records(
        &self,
        request: Request<ListRecordsRequest>,
    ) -> Result<Response<ListRecordsResponse>, Status> {
        let ListRecordsRequest { since, who, limit } = request.into_inner();
        let since = match since {
            None => None,
            given => Some(
                from_timestamp(given)
                    .ok_or_else(|| Status::invalid_argument("since: not a moment that can be"))?,
            ),
        };
        let limit = match usize::try_from(limit) {
            Ok(0) => USUAL,
            asked => asked.unwrap_or(MOST).min(MOST),
        };
        let _permit = self.reading.acquire().await;
        let (journal, wanted) = (self.journal.clone(), Wanted { since, who, limit });
        let found = tokio::task::spawn_blocking(move || journal.find(&wanted)).await;
        let found = found.map_err(|error| Status::internal(error.to_string()))?;
        found
            .map(|found| Response::new(found.into()))
            .map_err(|error| Status::internal(format!("cannot read the audit records: {error}")))
    }
}

impl From<Found> for ListRecordsResponse {
    fn from(found: Found) -> Self {
        Self {
            records: found.records.into_iter().map(Into::into).collect(),
            more: found.more,
            oldest: found.oldest.map(timestamp),
            unreadable: found.unreadable,
            rotated: found.rotated,
        }
    }
}

impl From<Record> for proto::audit::Record {
    fn from(record: Record) -> Self {
        let Record { when, who, from, what, detail, result } = record;
        Self { when: Some(timestamp(when)), who, from, what, detail, result }
    }
}
