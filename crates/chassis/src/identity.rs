//! Which process of the cluster this is.

use std::sync::Arc;

use cluster::{InstanceId, Service};

use crate::random;

/// The service, the name and the id with which a process registers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProcessIdentity {
    service: Service,
    name: Arc<str>,
    id: InstanceId,
}

impl ProcessIdentity {
    /// That of a process which starts now.
    pub(crate) fn new(service: Service, name: &str) -> Self {
        Self { service, name: name.into(), id: InstanceId(random::id()) }
    }

    /// That of a process which goes on with the id of another one.
    pub(crate) fn continuing(service: Service, name: &str, id: InstanceId) -> Self {
        Self { service, name: name.into(), id }
    }

    /// The service.
    #[must_use]
    pub const fn service(&self) -> Service {
        self.service
    }

    /// Stable and unique in the cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// UUID v7, new at every start but one that takes over.
    #[must_use]
    pub const fn id(&self) -> InstanceId {
        self.id
    }
}
