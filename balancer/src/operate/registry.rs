//! Writing a change through to the registry: the only place where a change becomes a message.

use std::{fmt, time::Duration};

use proto::registry::{self as pb, SetAdminStateRequest, registry_client::RegistryClient};
use tonic::{Code, Request, Status};

use crate::membership::Desired;

/// The registry has so long to take a change before it is kept here.
pub const WRITE_WITHIN: Duration = Duration::from_secs(2);

/// Why the registry has not taken a change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be asked now.
    #[error("{0}")]
    OutOfReach(String),
    /// It was asked, and does not want it.
    #[error(transparent)]
    Refused(Reply),
}

/// What the registry answered: its own words, with everything that it says beside them, for faces
/// that speak gRPC.
#[derive(Debug)]
pub struct Reply(pub Box<Status>);

impl fmt::Display for Reply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.message())
    }
}

impl std::error::Error for Reply {}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
                Self::OutOfReach(status.message().to_owned())
            }
            _ => Self::Refused(Reply(Box::new(status))),
        }
    }
}

/// Asks the registry. Cheap to clone.
#[derive(Clone)]
pub struct Registry(RegistryClient<chassis::ServiceChannel>);

impl Registry {
    /// Over this channel.
    #[must_use]
    pub fn new(channel: chassis::ServiceChannel) -> Self {
        Self(RegistryClient::new(channel))
    }

    /// Sets it there.
    ///
    /// # Errors
    /// The registry refuses, or is out of reach.
    pub async fn write(
        &self,
        server: &str,
        desired: Desired,
        reason: &str,
        force: bool,
    ) -> Result<(), Error> {
        let mut request = Request::new(SetAdminStateRequest {
            name: server.to_owned(),
            admin_state: desired.admin.map_or(pb::AdminState::Unspecified, Into::into).into(),
            weight: desired.weight,
            reason: reason.to_owned(),
            force,
            ..SetAdminStateRequest::default()
        });
        request.set_timeout(WRITE_WITHIN);
        let mut client = self.0.clone();
        match tokio::time::timeout(WRITE_WITHIN, client.set_admin_state(request)).await {
            Ok(answer) => Ok(answer.map(|_| ())?),
            Err(_) => Err(Error::OutOfReach("the registry does not answer".to_owned())),
        }
    }
}
