//! Talking to a cluster as its operator: who is there, and what is asked of them.

mod ask;

pub use ask::{ANSWER, ask_all, ask_together, call, failed, silent};

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
};

use anyhow::{Result, anyhow};
use chassis::{
    connect::ServiceChannel,
    operator::{Context, Listing, Operator},
};
use cluster::{InstanceStatus, Service};
use jiff::{SignedDuration, Timestamp};
use proto::{
    audit::audit_client::AuditClient, backup::backup_service_client::BackupServiceClient,
    balancer::balancer_client::BalancerClient, config::config_service_client::ConfigServiceClient,
    follower::follower_client::FollowerClient, health::health_checker_client::HealthCheckerClient,
    proxy::proxy_node_client::ProxyNodeClient, registry::registry_client::RegistryClient,
};

use crate::{
    context::{About, Intent, Target},
    memory::Memory,
    output::{self, Format, Head, View},
};

/// Runs a command's future to its end.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(future)
}

/// A cluster, seen by an operator.
pub struct Cluster {
    operator: Operator,
    memory: Memory,
    about: About,
    /// What was heard of its registry.
    heard: Mutex<Heard>,
}

/// What was heard of a registry.
#[derive(Clone, Debug, Default)]
struct Heard {
    cluster_id: Option<String>,
    as_of: Option<Timestamp>,
    /// It did not answer, and what is known is from [`Memory`].
    recalled: bool,
}

impl Cluster {
    /// Finds the cluster that `target` means and prepares to speak to it.
    ///
    /// # Errors
    /// There is none, or the credentials cannot be used.
    pub fn open(target: &Target) -> Result<Self> {
        Self::found(target, Intent::Look)
    }

    /// The same for a command that changes something: among several labs it takes none by chance.
    ///
    /// # Errors
    /// As there, or several labs run and none is named.
    pub fn open_to_change(target: &Target) -> Result<Self> {
        Self::found(target, Intent::Change)
    }

    fn found(target: &Target, intent: Intent) -> Result<Self> {
        let (context, about) = target.find(intent)?;
        Ok(Self { memory: Memory::of(target, &context), about, ..Self::with(&context)? })
    }

    /// Prepares to speak to the cluster of this context.
    ///
    /// # Errors
    /// They cannot be read or do not fit together.
    pub fn with(context: &Context) -> Result<Self> {
        Ok(Self {
            operator: context.connect()?,
            memory: Memory::default(),
            about: About::default(),
            heard: Mutex::default(),
        })
    }

    fn heard(&self) -> Heard {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hear(&self, heard: Heard) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = heard;
    }

    /// Which cluster this is, and how old what is known of it is.
    #[must_use]
    pub fn head(&self) -> Head {
        let Heard { cluster_id, as_of, recalled } = self.heard();
        Head { cluster: About { id: cluster_id, ..self.about.clone() }, as_of, stale: recalled }
    }

    /// Prints an answer with the cluster that it is about.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn show(&self, view: &impl View, format: Format) -> Result<()> {
        output::show_of(&self.head(), view, format)
    }

    /// Says which cluster is meant before lines that come one after another.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn announce(&self, format: Format) -> Result<()> {
        if format.is_json() {
            Ok(())
        } else {
            output::print(&output::fitted(&self.head().text(), ""))
        }
    }

    /// The registry.
    pub fn registry(&self) -> RegistryClient<ServiceChannel> {
        RegistryClient::new(self.operator.registry())
    }

    /// The config-service, which decides for itself: it is found without the registry, where it was
    /// last.
    ///
    /// # Errors
    /// The registry lists none, or does not answer and nothing is remembered.
    pub async fn config(&self) -> Result<ConfigServiceClient<ServiceChannel>> {
        // A registry that has kept one call of a command waiting shall not do so with each of them.
        if !self.heard().recalled {
            self.last_listing().await?;
        }
        Ok(ConfigServiceClient::new(self.operator.channel(Service::ConfigService).await?))
    }

    /// One proxy-node.
    pub fn proxy_node(&self, node: &InstanceStatus) -> Result<ProxyNodeClient<ServiceChannel>> {
        Ok(ProxyNodeClient::new(self.operator.channel_to(node)?))
    }

    /// One balancer.
    pub fn balancer(&self, balancer: &InstanceStatus) -> Result<BalancerClient<ServiceChannel>> {
        Ok(BalancerClient::new(self.operator.channel_to(balancer)?))
    }

    /// A channel to one process.
    pub fn channel(&self, status: &InstanceStatus) -> Result<ServiceChannel> {
        Ok(self.operator.channel_to(status)?)
    }

    /// One health-checker.
    pub fn checker(&self, checker: &InstanceStatus) -> Result<HealthCheckerClient<ServiceChannel>> {
        Ok(HealthCheckerClient::new(self.operator.channel_to(checker)?))
    }

    /// The audit records of one process.
    pub fn audit(&self, status: &InstanceStatus) -> Result<AuditClient<ServiceChannel>> {
        Ok(AuditClient::new(self.operator.channel_to(status)?).max_decoding_message_size(16 << 20))
    }

    /// What one process thinks of its configuration.
    pub fn follower(&self, status: &InstanceStatus) -> Result<FollowerClient<ServiceChannel>> {
        Ok(FollowerClient::new(self.operator.channel_to(status)?))
    }

    /// One backup-service.
    pub fn backup(&self, service: &InstanceStatus) -> Result<BackupServiceClient<ServiceChannel>> {
        Ok(BackupServiceClient::new(self.operator.channel_to(service)?)
            .max_decoding_message_size(16 << 20))
    }

    /// Everything the registry lists.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn listing(&self) -> Result<Listing> {
        let (listing, now) = (self.operator.list().await?, chassis::Clock::system().now());
        self.memory.keep(&listing, now);
        self.hear(Heard {
            cluster_id: Some(listing.cluster_id.clone()),
            as_of: Some(now),
            recalled: false,
        });
        Ok(listing)
    }

    /// The same, or what it listed last when it does not answer: for commands that only look, or
    /// ask somebody who decides. How old that is goes to stderr.
    ///
    /// # Errors
    /// It does not answer, and nothing is remembered.
    pub async fn last_listing(&self) -> Result<Listing> {
        let error = match self.listing().await {
            Ok(listing) => return Ok(listing),
            Err(error) => error,
        };
        let Some((listing, at)) = self.recall() else { return Err(error) };
        let age = age(chassis::Clock::system().now().duration_since(at));
        output::remark(&format!(
            "{error:#}\nwho is there, and in which state, is what the registry listed {age} ago: \
             it may have changed since"
        ));
        Ok(listing)
    }

    /// What the registry listed last, and when, for whoever has found that it does not answer.
    pub fn recall(&self) -> Option<(Listing, Timestamp)> {
        let (listing, at) = self.memory.recall().ok()?;
        self.operator.suppose(&listing);
        self.hear(Heard {
            cluster_id: Some(listing.cluster_id.clone()),
            as_of: Some(at),
            recalled: true,
        });
        Some((listing, at))
    }

    /// The registry has answered before, and does not now: what it said is as old as that.
    pub fn fell_silent(&self) {
        let heard = self.heard();
        self.hear(Heard { recalled: heard.as_of.is_some(), ..heard });
    }

    /// The instances of one service, by name, as [`Self::last_listing`] has them.
    ///
    /// # Errors
    /// As there.
    pub async fn last_instances(&self, service: Service) -> Result<Vec<InstanceStatus>> {
        let mut instances = self.last_listing().await?.instances;
        instances.retain(|status| status.instance.service == service);
        Ok(instances)
    }

    /// The instances of one service, by name.
    ///
    /// # Errors
    /// The registry does not answer.
    pub async fn instances(&self, service: Service) -> Result<Vec<InstanceStatus>> {
        let mut instances = self.listing().await?.instances;
        instances.retain(|status| status.instance.service == service);
        Ok(instances)
    }
}

/// The instance with this name.
///
/// # Errors
/// There is none; the text lists those that there are.
pub fn one_of(
    mut instances: Vec<InstanceStatus>,
    service: Service,
    name: &str,
) -> Result<InstanceStatus> {
    let Some(place) = instances.iter().position(|status| status.instance.name == name) else {
        let known: Vec<_> = instances.iter().map(|status| status.instance.name.as_str()).collect();
        return Err(unknown(service.as_str(), name, &known));
    };
    Ok(instances.swap_remove(place))
}

/// For people, as coarse as they think of it.
pub fn age(age: SignedDuration) -> String {
    match age.as_secs().max(0) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// The failure for a name that nobody has.
pub fn unknown(kind: &str, name: &str, known: &[&str]) -> anyhow::Error {
    let remedy = if known.is_empty() {
        "there are none yet, see `shoal status`".to_owned()
    } else {
        format!("choose one of {}", known.join(", "))
    };
    anyhow!("there is no {kind} named {name:?}: {remedy}")
}
