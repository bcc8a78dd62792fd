//! The only table from errors to gRPC codes.

use tonic::{Code, Status};

use crate::{archive, catalog::NotFound, error::Error};

/// The status of something that was not done.
pub(super) fn failed(error: &Error) -> Status {
    let code = match error {
        Error::Busy
        | Error::InUse(_)
        | Error::Foreign(_)
        | Error::Archive(_, archive::Error::Newer { .. }) => Code::FailedPrecondition,
        Error::NotFound(NotFound::Ambiguous(_)) => Code::InvalidArgument,
        Error::NotFound(_) => Code::NotFound,
        Error::Archive(_, archive::Error::Damaged(_) | archive::Error::NotOurs) => Code::DataLoss,
        Error::Archive(_, archive::Error::Disk(_) | archive::Error::Spool(_))
        | Error::Store { .. }
        | Error::Scratch(_) => Code::ResourceExhausted,
        // Not Unavailable: this service can be reached, and says itself who cannot.
        Error::Transfer(_) | Error::First(_) | Error::Half { .. } | Error::Changed(_) => {
            Code::Aborted
        }
        Error::Pki(_) => Code::FailedPrecondition,
        Error::Defect(_) => Code::Internal,
    };
    Status::new(code, error.to_string())
}
