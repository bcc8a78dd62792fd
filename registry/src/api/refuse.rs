//! The only table from errors to gRPC codes. Details carry a reason that programs can rely on.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{command, handle};

const DOMAIN: &str = "registry.shoal";

/// The status of a command that failed.
#[must_use]
pub fn failed(error: &handle::Error) -> Status {
    let (code, reason) = match error {
        handle::Error::Refused(command::Error::YoungerHolds { .. }) => {
            (Code::AlreadyExists, "YOUNGER_HOLDS_NAME")
        }
        handle::Error::Refused(command::Error::OtherService { .. }) => {
            (Code::AlreadyExists, "OTHER_SERVICE_HOLDS_NAME")
        }
        handle::Error::Refused(command::Error::TooManyReplicas { .. }) => {
            (Code::ResourceExhausted, "TOO_MANY_REPLICAS")
        }
        handle::Error::Refused(command::Error::OtherCertificate { .. }) => {
            (Code::PermissionDenied, "OTHER_CERTIFICATE_HOLDS_NAME")
        }
        handle::Error::Refused(command::Error::Superseded { .. }) => (Code::Aborted, "SUPERSEDED"),
        handle::Error::Refused(command::Error::NotRegistered { .. }) => {
            (Code::NotFound, "NOT_REGISTERED")
        }
        handle::Error::Refused(command::Error::Unknown { .. }) => {
            (Code::NotFound, "UNKNOWN_INSTANCE")
        }
        handle::Error::Refused(command::Error::LastUsable { .. }) => {
            (Code::FailedPrecondition, "LAST_USABLE")
        }
        handle::Error::Refused(command::Error::StillThere { .. }) => {
            (Code::FailedPrecondition, "STILL_THERE")
        }
        handle::Error::Store(_) => (Code::Unavailable, "STORE_FAILED"),
        handle::Error::Changed => (Code::Aborted, "CHANGED"),
        handle::Error::Busy => (Code::Unavailable, "BUSY"),
    };
    reasoned(code, reason, error.to_string())
}

/// A request that no retry makes good.
#[must_use]
pub fn invalid(field: &str, problem: impl ToString) -> Status {
    let problem = problem.to_string();
    let details = ErrorDetails::with_bad_request_violation(field, &problem);
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {problem}"), details)
}

/// Not with this certificate.
#[must_use]
pub fn denied(reason: &'static str, message: String) -> Status {
    reasoned(Code::PermissionDenied, reason, message)
}

/// Its certificate has so many watches open already.
#[must_use]
pub fn too_many(watches: usize) -> Status {
    let message = format!(
        "this certificate has {watches} watches open; a process needs one: close those that nobody \
         reads"
    );
    reasoned(Code::ResourceExhausted, "TOO_MANY_WATCHES", message)
}

fn reasoned(code: Code, reason: &'static str, message: String) -> Status {
    Status::with_error_details(
        code,
        message,
        ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new()),
    )
}
