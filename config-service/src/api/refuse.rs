//! The only table from errors to gRPC statuses.

use super::upload::Malformed;
use crate::publish;
use crate::rollout::Error::{NotRunning, Running};
use crate::store::Error;
use cluster_config::Problem;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// For an error of the store.
pub fn store(error: Error) -> Status {
    match &error {
        Error::Conflict { .. } => Status::aborted(format!(
            "the parent is not the newest revision: {error}; look at what changed, then commit on \
             top of it"
        )),
        Error::NoRevision(_) => {
            Status::not_found(format!("{error}; `shoal config history` lists them"))
        }
        Error::Ambiguous(_) => Status::invalid_argument(format!("{error}; write more of the id")),
        Error::Changed => {
            Status::aborted(format!("{error}: nothing was replaced; look again, then decide anew"))
        }
        Error::Database(error) => database(error),
    }
}

fn database(error: &database::Error) -> Status {
    use database::Error::{Busy, Failed, Foreign, Full, Migration, Unreadable, Unwritable};
    tracing::error!("the database: {error}");
    match error {
        Full(_) => {
            let remedy = error.remedy().unwrap_or_default();
            Status::resource_exhausted(format!(
                "the config-service cannot store it, because {error}; nothing was stored and \
                 nothing is lost: {remedy}"
            ))
        }
        // It may do in a moment.
        Busy => Status::unavailable(format!("the config-service's database: {error}")),
        // Not Unavailable: it can be reached, and says itself what is wrong.
        Failed(_) => Status::internal(format!(
            "the config-service's database fails ({error}): see whether the disk of its data dir \
             is there and can be written"
        )),
        Migration(_) | Foreign | Unreadable(_) | Unwritable(_) => {
            Status::data_loss(format!("the config-service's database: {error}"))
        }
    }
}

/// For a rollout that cannot be.
pub fn rollout(error: publish::Error) -> Status {
    match error {
        publish::Error::Refused(Running { .. } | NotRunning(_)) => {
            Status::failed_precondition(error.to_string())
        }
        publish::Error::Store(error) => store(error),
        publish::Error::Stopping => Status::unavailable(error.to_string()),
    }
}

/// For an upload that is not what it should be.
pub fn upload(error: Malformed) -> Status {
    match error {
        Malformed::TooLarge(_) | Malformed::TooMany(_) => {
            Status::resource_exhausted(error.to_string())
        }
        _ => Status::invalid_argument(error.to_string()),
    }
}

/// For a bundle with errors: every problem is a field violation whose field is its place.
pub fn bundle(problems: &[Problem]) -> Status {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let mut details = ErrorDetails::new();
    for problem in problems {
        let severity = if problem.is_error() { "error" } else { "warning" };
        let remedy =
            if problem.remedy.is_empty() { String::new() } else { format!("; {}", problem.remedy) };
        details.add_bad_request_violation(
            problem.place.to_string(),
            format!("{severity}: {}{remedy}", problem.message),
        );
    }
    let first = problems
        .iter()
        .find(|problem| problem.is_error())
        .map(ToString::to_string)
        .unwrap_or_default();
    let more = if errors > 1 { format!(" (and {} more)", errors - 1) } else { String::new() };
    Status::with_error_details(
        Code::InvalidArgument,
        format!("the bundle is refused: {first}{more}"),
        details,
    )
}
