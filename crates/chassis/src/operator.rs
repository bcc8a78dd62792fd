//! The way in for people: the operator's certificate, the registry's address, and channels to
//! whatever the registry lists.

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use cluster::{InstanceStatus, PoolGuard, Service};
use proto::registry::{ListInstancesRequest, registry_client::RegistryClient};
use tokio::time::timeout;

use crate::{
    certificate::{self, Certificate},
    clock::Clock,
    connect::{Candidates, Connector, Expected, ServiceChannel, Transport, explain},
    credentials::{Credentials, Files},
    error::Error,
    membership::{Change, Event, Membership, statuses},
    silence::Silence,
};

const CALL_WITHIN: Duration = Duration::from_secs(10);

/// Where the cluster is, and who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The authority.
    pub ca: PathBuf,
    /// The operator's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Registry addresses, `host:port`.
    pub registry: Vec<String>,
}

/// Everything that the registry lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// By name.
    pub instances: Vec<InstanceStatus>,
    /// Pools whose losses are held back, or could be.
    pub guards: Vec<PoolGuard>,
    /// Of the cluster.
    pub cluster_id: String,
}

/// An operator's connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Operator {
    transport: Transport,
    registry: Vec<String>,
    /// As last listed: where channels find their services.
    known: Arc<ArcSwap<Membership>>,
}

impl Context {
    /// Reads the certificate. Connects to nothing yet.
    ///
    /// # Errors
    /// The certificate cannot be used.
    pub fn connect(&self) -> Result<Operator, Error> {
        let files = Files { ca: self.ca.clone(), cert: self.cert.clone(), key: self.key.clone() };
        let transport = Transport::Mutual(Credentials::load(files, Clock::system())?);
        Ok(Operator { transport, registry: self.registry.clone(), known: Arc::default() })
    }

    /// Without certificates, for clusters that run with `--insecure-plaintext`.
    #[must_use]
    pub fn plaintext(registry: Vec<String>) -> Operator {
        Operator { transport: Transport::Plaintext, registry, known: Arc::default() }
    }
}

/// The registry does not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot ask the registry at {registry}: {why}; check that it runs, and --registry")]
pub struct Unreachable {
    /// Where it was asked.
    pub registry: String,
    /// Why, with all causes.
    pub why: String,
    /// Why, in a few words.
    pub silence: Silence,
}

impl From<Unreachable> for Error {
    fn from(error: Unreachable) -> Self {
        Self::new(error.to_string())
    }
}

impl Operator {
    /// A channel to the registry.
    #[must_use]
    pub fn registry(&self) -> ServiceChannel {
        let seeds = self.registry.clone();
        Connector::new(
            self.transport.clone(),
            Expected { service: Service::Registry, name: None },
            move || seeds.clone().into(),
        )
        .channel()
    }

    /// What the registry lists now. Channels made by this operator look there.
    ///
    /// # Errors
    /// The registry cannot be reached, or refuses.
    pub async fn list(&self) -> Result<Listing, Unreachable> {
        let mut client = RegistryClient::new(self.registry()).max_decoding_message_size(64 << 20);
        let unreachable =
            |why: String, silence| Unreachable { registry: self.registry.join(", "), why, silence };
        let answer = timeout(
            CALL_WITHIN,
            client.list_instances(ListInstancesRequest { services: Vec::new() }),
        )
        .await
        .map_err(|_| unreachable("no answer".to_owned(), Silence::late()))?
        .map_err(|status| unreachable(explain(&status), Silence::of_status(&status)))?
        .into_inner();
        let guards: Vec<PoolGuard> =
            answer.guards.into_iter().filter_map(|guard| guard.try_into().ok()).collect();
        let mut instances = statuses(answer.instances);
        instances.sort_by(|a, b| a.instance.name.cmp(&b.instance.name));
        let listing = Listing { instances, guards, cluster_id: answer.cluster_id };
        self.suppose(&listing);
        Ok(listing)
    }

    /// Channels made by this operator look in this listing, from elsewhere or from before, until
    /// the registry is asked again.
    pub fn suppose(&self, listing: &Listing) {
        let Listing { instances, guards, cluster_id } = listing.clone();
        let mut known = Membership::default();
        // Nobody resumes a watch from here: the epoch does not matter.
        let change = Change::Snapshot { instances, guards, cluster_id, epoch: 0 };
        known.apply(Event { change, resume_token: String::new() });
        self.known.store(Arc::new(known));
    }

    /// The instances, by name.
    ///
    /// # Errors
    /// As [`Operator::list`].
    pub async fn instances(&self) -> Result<Vec<InstanceStatus>, Error> {
        Ok(self.list().await?.instances)
    }

    /// A channel to any instance of a service, as last listed; lists first when nothing was listed
    /// yet.
    ///
    /// # Errors
    /// The registry cannot be reached, or lists no instance of the service.
    pub async fn channel(&self, service: Service) -> Result<ServiceChannel, Error> {
        if service == Service::Registry {
            return Ok(self.registry());
        }
        if self.known.load().instances.is_empty() {
            self.list().await?;
        }
        if self.known.load().addresses(service, "grpc").is_empty() {
            return Err(Error::new(format!("the registry lists no {service}"))
                .remedy(format!("start one with `shoal serve {service}`")));
        }
        let known = Arc::clone(&self.known);
        let expected = Expected { service, name: None };
        let wanted = expected.clone();
        Ok(Connector::new(self.transport.clone(), expected, move || {
            Candidates::among(&known.load(), &wanted)
        })
        .channel())
    }

    /// The certificate that listens at a gRPC address, whatever it is worth: an expired one is
    /// shown too. None without TLS.
    ///
    /// # Errors
    /// Nobody answers there in time, or not with TLS.
    pub async fn certificate_at(&self, address: &str) -> std::io::Result<Option<Certificate>> {
        certificate::shown_at(address, &self.transport).await
    }

    /// A channel to whoever of `service` and `name` listens at an address that is known otherwise
    /// than from the registry.
    #[must_use]
    pub fn channel_at(&self, service: Service, name: &str, address: &str) -> ServiceChannel {
        let (expected, address) =
            (Expected { service, name: Some(name.to_owned()) }, address.to_owned());
        Connector::new(self.transport.clone(), expected, move || vec![address.clone()].into())
            .channel()
    }

    /// A channel to one instance.
    ///
    /// # Errors
    /// It has no gRPC endpoint.
    pub fn channel_to(&self, status: &InstanceStatus) -> Result<ServiceChannel, Error> {
        let instance = &status.instance;
        let address = instance.endpoints.get("grpc").cloned().ok_or_else(|| {
            Error::new(format!("{} has no gRPC endpoint", instance.name))
                .remedy("wait until it has registered all its ports")
        })?;
        Ok(self.channel_at(instance.service, &instance.name, &address))
    }
}
