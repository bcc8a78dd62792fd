//! The errors that this process has logged lately, for whoever asks over gRPC: `shoal doctor`
//! quotes them, as the log is another machine's file.

use std::{
    collections::VecDeque,
    fmt::{Debug, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cluster::wire;
use jiff::Timestamp;
use proto::log::{ListErrorsRequest, ListErrorsResponse, LoggedError, log_server::Log};
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use tracing::field::{Field, Visit};
use tracing_subscriber::{Layer, filter::LevelFilter, layer::Context};

use crate::clock::Clock;

/// How many are kept.
const MOST: usize = 64;
/// Of one, in characters.
const LONGEST: usize = 500;
/// What is told unless asked otherwise.
const LATELY: Duration = Duration::from_secs(3600);

/// One error.
#[derive(Clone, Debug)]
struct Complaint {
    at: Timestamp,
    since: Instant,
    target: String,
    text: String,
}

/// The last errors. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Complaints {
    kept: Arc<Mutex<Kept>>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Kept {
    /// Oldest first.
    last: VecDeque<Complaint>,
    /// When the newest of those was logged that were dropped.
    dropped: Option<Instant>,
}

impl Complaints {
    fn keep(&self, complaint: Complaint) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.last.len() >= MOST {
            kept.dropped = kept.last.pop_front().map(|oldest| oldest.since);
        }
        kept.last.push_back(complaint);
    }

    /// Newest first.
    fn told(&self, within: Duration, now: Instant) -> ListErrorsResponse {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = |at: Instant| now.saturating_duration_since(at) <= within;
        let errors =
            kept.last.iter().rev().filter(|complaint| lately(complaint.since)).map(|complaint| {
                LoggedError {
                    at: Some(wire::timestamp(complaint.at)),
                    age: Some(wire::duration(now.saturating_duration_since(complaint.since))),
                    target: complaint.target.clone(),
                    text: complaint.text.clone(),
                }
            });
        ListErrorsResponse { errors: errors.collect(), more: kept.dropped.is_some_and(lately) }
    }
}

impl<S: tracing::Subscriber> Layer<S> for Complaints {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() != tracing::Level::ERROR {
            return;
        }
        let mut said = Said::default();
        event.record(&mut said);
        let text = format!("{}{}", said.message, said.fields);
        let text = if text.chars().count() > LONGEST {
            text.chars().take(LONGEST - 1).chain(['…']).collect()
        } else {
            text
        };
        self.keep(Complaint {
            at: self.clock.now(),
            since: Instant::now(),
            target: event.metadata().target().to_owned(),
            text,
        });
    }

    /// What is not kept is not asked for because of this layer.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::ERROR)
    }
}

/// An event's message, and its fields behind it.
#[derive(Default)]
struct Said {
    message: String,
    fields: String,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string does not fail.
        match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        }
        .ok();
    }
}

/// The gRPC service.
#[derive(Debug)]
pub(crate) struct Api(pub(crate) Complaints);

#[tonic::async_trait]
impl Log for Api {
    async fn list_errors(
        &self,
        request: Request<ListErrorsRequest>,
    ) -> Result<Response<ListErrorsResponse>, Status> {
        let within = match request.into_inner().within {
            None => LATELY,
            some => wire::from_duration(some)
                .ok_or_else(|| Status::invalid_argument("within: not a time that can be"))?,
        };
        Ok(Response::new(self.0.told(within, Instant::now())))
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::{Registry, layer::SubscriberExt};

    use super::*;

    #[test]
    fn errors_are_kept_with_what_they_say_and_nothing_else() {
        let complaints = Complaints::default();
        tracing::subscriber::with_default(Registry::default().with(complaints.clone()), || {
            tracing::warn!("no error");
            tracing::error!(server = "n-1", count = 3, "the disk is {}", "full");
            tracing::error!(target: "panic", "{}", "x".repeat(2000));
        });
        let told = complaints.told(LATELY, Instant::now());
        let texts: Vec<_> =
            told.errors.iter().map(|it| (it.target.as_str(), it.text.chars().count())).collect();
        assert_eq!((texts[0], texts.len(), told.more), (("panic", LONGEST), 2, false));
        assert_eq!(told.errors[1].text, "the disk is full server=\"n-1\" count=3");
        let later = Instant::now() + Duration::from_secs(90);
        assert!(complaints.told(Duration::from_secs(60), later).errors.is_empty(), "they age");
        assert_eq!(complaints.told(Duration::from_secs(100), later).errors.len(), 2);
    }

    #[test]
    fn many_are_bounded_and_said_to_be_more() {
        let complaints = Complaints::default();
        tracing::subscriber::with_default(Registry::default().with(complaints.clone()), || {
            (0..100).for_each(|number| tracing::error!("{number}"));
        });
        let told = complaints.told(LATELY, Instant::now());
        assert_eq!(
            (told.errors.len(), told.errors[0].text.as_str(), told.more),
            (MOST, "99", true)
        );
        assert!(
            !complaints.told(Duration::from_secs(1), Instant::now() + Duration::from_secs(9)).more
        );
    }
}
