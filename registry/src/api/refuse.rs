//! The only table from errors to gRPC codes. Details carry a reason that programs can rely on.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{command::Refusal, handle::Failed};

const DOMAIN: &str = "registry.shoal";

/// The status of a command that failed.
#[must_use]
pub fn failed(failed: &Failed) -> Status {
    let (code, reason) = match failed {
        Failed::Refused(Refusal::YoungerHolds { .. }) => (Code::AlreadyExists, "YOUNGER_HOLDS_NAME"),
        Failed::Refused(Refusal::OtherService { .. }) => (Code::AlreadyExists, "OTHER_SERVICE_HOLDS_NAME"),
        Failed::Refused(Refusal::TooManyReplicas { .. }) => (Code::ResourceExhausted, "TOO_MANY_REPLICAS"),
        Failed::Refused(Refusal::OtherCertificate { .. }) => (Code::PermissionDenied, "OTHER_CERTIFICATE_HOLDS_NAME"),
        Failed::Refused(Refusal::Superseded { .. }) => (Code::Aborted, "SUPERSEDED"),
        Failed::Refused(Refusal::NotRegistered { .. }) => (Code::NotFound, "NOT_REGISTERED"),
        Failed::Refused(Refusal::Unknown { .. }) => (Code::NotFound, "UNKNOWN_INSTANCE"),
        Failed::Refused(Refusal::LastUsable { .. }) => (Code::FailedPrecondition, "LAST_USABLE"),
        Failed::Refused(Refusal::StillThere { .. }) => (Code::FailedPrecondition, "STILL_THERE"),
        Failed::Store(_) => (Code::Unavailable, "STORE_FAILED"),
        Failed::Changed => (Code::Aborted, "CHANGED"),
        Failed::Busy => (Code::Unavailable, "BUSY"),
    };
    reasoned(code, reason, failed.to_string())
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

fn reasoned(code: Code, reason: &'static str, message: String) -> Status {
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new()))
}
