//! The only table from errors to gRPC codes.

use tonic::{Code, Status};

use crate::{archive::Refused, catalog::NotFound, failed::Failed};

/// The status of something that was not done.
pub(super) fn failed(failed: &Failed) -> Status {
    let code = match failed {
        Failed::Busy | Failed::InUse(_) | Failed::Foreign(_) | Failed::Refused(_, Refused::Newer { .. }) => Code::FailedPrecondition,
        Failed::NotFound(NotFound::Ambiguous(_)) => Code::InvalidArgument,
        Failed::NotFound(_) => Code::NotFound,
        Failed::Refused(_, Refused::Damaged(_) | Refused::NotOurs) => Code::DataLoss,
        Failed::Refused(_, Refused::Disk(_) | Refused::Spool(_)) | Failed::Store { .. } | Failed::Scratch(_) => Code::ResourceExhausted,
        // Not Unavailable: this service can be reached, and says itself who cannot.
        Failed::Transfer(_) | Failed::First(_) | Failed::Half { .. } | Failed::Changed(_) => Code::Aborted,
        Failed::Pki(_) => Code::FailedPrecondition,
        Failed::Defect(_) => Code::Internal,
    };
    Status::new(code, failed.to_string())
}
