//! Questions to other services, each with a deadline. Channels are made once for each instance and
//! forgotten when it is gone.

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chassis::{Network, ServiceChannel, connect::explain};
use cluster::Service;
use proto::{
    balancer::{GetStatsRequest, balancer_client::BalancerClient},
    config::{
        DiffRequest, FetchFileRequest, GetDriftRequest, GetRevisionRequest, ListRevisionsRequest,
        WatchRolloutRequest, config_service_client::ConfigServiceClient,
    },
    health::{ListChecksRequest, health_checker_client::HealthCheckerClient},
    proxy::{GetStatsRequest as GetNodeStatsRequest, proxy_node_client::ProxyNodeClient},
    registry::{ListInstancesRequest, SetAdminStateRequest, registry_client::RegistryClient},
};
use tonic::{Code, Request, Response, Status};

use super::wire;
use crate::{
    configuration::{self, Configuration, FileDifference, Revision},
    traffic::{BalancerStats, Finding, NodeStats},
};

/// For what is asked again and again: somebody who hangs makes a round at most so long.
const SOON: Duration = Duration::from_millis(1_900);
/// For what somebody waits for.
pub const PATIENTLY: Duration = Duration::from_secs(8);
/// Revisions that the page lists.
const REVISIONS: u32 = 20;
/// A main file larger than this is not looked through for parents.
const LARGEST_MAIN: usize = 1 << 20;

/// Why there is no answer, in words for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Error {
    /// One clear sentence.
    pub sentence: String,
    /// There is no such thing, as opposed to nobody there who could tell.
    pub unknown: bool,
}

/// Whom the console can ask.
#[derive(Debug)]
pub struct Others {
    network: Network,
    channels: Mutex<HashMap<(Service, String), ServiceChannel>>,
}

impl Others {
    /// Asks over this network.
    #[must_use]
    pub fn new(network: Network) -> Self {
        Self { network, channels: Mutex::default() }
    }

    /// The channel to one instance, or to any of a service when `name` is empty.
    fn channel(&self, service: Service, name: &str) -> ServiceChannel {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || {
            if name.is_empty() {
                self.network.channel(service)
            } else {
                self.network.channel_to(service, name)
            }
        };
        channels.entry((service, name.to_owned())).or_insert_with(made).clone()
    }

    /// Forgets channels to instances that are not there any more.
    pub fn keep(&self, names: &BTreeSet<&str>) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|(_, name), _| name.is_empty() || names.contains(name.as_str()));
    }

    /// Whether the registry answers.
    pub async fn registry(&self) -> Result<(), Error> {
        let mut client = RegistryClient::new(self.channel(Service::Registry, ""));
        let question = ListInstancesRequest { services: vec![Service::Registry.to_string()] };
        call("the registry", SOON, client.list_instances(question)).await.map(drop)
    }

    /// What a balancer counts.
    pub async fn balancer(&self, name: &str) -> Result<BalancerStats, Error> {
        let mut client = BalancerClient::new(self.channel(Service::Balancer, name))
            .max_decoding_message_size(16 << 20);
        let answer = call(name, SOON, client.get_stats(GetStatsRequest {})).await?;
        Ok(wire::balancer(name, answer.stats.unwrap_or_default()))
    }

    /// What a node counts.
    pub async fn node(&self, name: &str) -> Result<NodeStats, Error> {
        let mut client = ProxyNodeClient::new(self.channel(Service::ProxyNode, name));
        Ok(wire::node(call(name, SOON, client.get_stats(GetNodeStatsRequest {})).await?))
    }

    /// What a checker finds.
    pub async fn checker(&self, name: &str) -> Result<Vec<Finding>, Error> {
        let mut client = HealthCheckerClient::new(self.channel(Service::HealthChecker, name))
            .max_decoding_message_size(16 << 20);
        Ok(wire::findings(call(name, SOON, client.list_checks(ListChecksRequest {})).await?))
    }

    /// Revisions, the newest rollout and who is in step. `known` saves reading the released bundle
    /// again.
    pub async fn configuration(&self, known: &Configuration) -> Result<Configuration, Error> {
        let whom = "the config-service";
        let mut client = self.config_client();
        let question = ListRevisionsRequest { page_size: REVISIONS, page_token: String::new() };
        let revisions: Vec<_> = call(whom, SOON, client.list_revisions(question))
            .await?
            .revisions
            .into_iter()
            .map(wire::revision)
            .collect();
        let nodes = call(whom, SOON, client.get_drift(GetDriftRequest {}))
            .await?
            .nodes
            .into_iter()
            .map(wire::follower)
            .collect();
        let rollout = self.rollout().await?;
        let released = |revisions: &[Revision]| {
            revisions.iter().find(|revision| revision.released).map(|revision| revision.id.clone())
        };
        let parents = match released(&revisions) {
            released_now if released_now == released(&known.revisions) => known.parents.clone(),
            Some(id) => self.parents(&id).await?,
            None => Vec::new(),
        };
        Ok(Configuration { revisions, rollout, nodes, parents })
    }

    async fn rollout(&self) -> Result<Option<configuration::Rollout>, Error> {
        let mut client = self.config_client();
        // The stream begins with how things stand, which is all that is wanted here.
        let first = async {
            let mut stream = client
                .watch_rollout(WatchRolloutRequest { rollout_id: String::new() })
                .await?
                .into_inner();
            stream.message().await.map(Response::new)
        };
        match call("the config-service", SOON, first).await {
            Ok(answer) => Ok(answer.and_then(|answer| answer.rollout).map(wire::rollout)),
            Err(refused) if refused.unknown => Ok(None),
            Err(refused) => Err(refused),
        }
    }

    async fn parents(&self, revision: &str) -> Result<Vec<String>, Error> {
        let mut client = self.config_client();
        let question = GetRevisionRequest { revision: revision.to_owned() };
        let files = call("the config-service", SOON, client.get_revision(question)).await?.files;
        let Some(main) = files.into_iter().find(|file| file.path == "cluster.yaml") else {
            return Ok(Vec::new());
        };
        let content = async {
            let mut stream =
                client.fetch_file(FetchFileRequest { sha256: main.sha256 }).await?.into_inner();
            let mut content = Vec::new();
            while let Some(piece) = stream.message().await? {
                content.extend_from_slice(&piece.data);
                if content.len() > LARGEST_MAIN {
                    return Ok(Response::new(Vec::new()));
                }
            }
            Ok(Response::new(content))
        };
        Ok(configuration::parents(&call("the config-service", SOON, content).await?))
    }

    /// One revision and what it changed.
    pub async fn revision(&self, id: &str) -> Result<(Revision, Vec<FileDifference>), Error> {
        let whom = "the config-service";
        let mut client = self.config_client().max_decoding_message_size(64 << 20);
        let question = GetRevisionRequest { revision: id.to_owned() };
        let revision = call(whom, PATIENTLY, client.get_revision(question))
            .await?
            .revision
            .map(wire::revision)
            .unwrap_or_default();
        if revision.parent.is_empty() {
            return Ok((revision, Vec::new()));
        }
        let question = DiffRequest { from: revision.parent.clone(), to: revision.id.clone() };
        let files = call(whom, PATIENTLY, client.diff(question)).await?.files;
        Ok((revision, files.into_iter().map(wire::difference).collect()))
    }

    /// Sets an admin state for a person. The registry's audit record names that person.
    pub async fn set_admin_state(
        &self,
        operator: &str,
        question: SetAdminStateRequest,
    ) -> Result<(), Error> {
        let mut client = RegistryClient::new(self.channel(Service::Registry, ""));
        let mut request = Request::new(question);
        let name = operator.parse().map_err(|_| Error {
            sentence: "this operator's name cannot be recorded".to_owned(),
            unknown: false,
        })?;
        request.metadata_mut().insert(chassis::audit::ON_BEHALF_OF, name);
        call("the registry", PATIENTLY, client.set_admin_state(request)).await.map(drop)
    }

    /// One balancer, for questions of people.
    pub fn balancer_client(&self, name: &str) -> BalancerClient<ServiceChannel> {
        BalancerClient::new(self.channel(Service::Balancer, name))
            .max_decoding_message_size(16 << 20)
    }

    /// One node, for questions of people.
    pub fn node_client(&self, name: &str) -> ProxyNodeClient<ServiceChannel> {
        ProxyNodeClient::new(self.channel(Service::ProxyNode, name))
    }

    fn config_client(&self) -> ConfigServiceClient<ServiceChannel> {
        ConfigServiceClient::new(self.channel(Service::ConfigService, ""))
    }
}

/// Waits for one answer, no longer than `within`.
pub async fn call<T>(
    whom: &str,
    within: Duration,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Error> {
    match tokio::time::timeout(within, answer).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(refused(whom, &status)),
        Err(_) => Err(Error {
            sentence: format!("{whom} did not answer within {} ms", within.as_millis()),
            unknown: false,
        }),
    }
}

fn refused(whom: &str, status: &Status) -> Error {
    let said = status.message().trim_end_matches('.');
    let sentence = match status.code() {
        Code::Unavailable | Code::Unknown => {
            format!("{whom} cannot be reached ({})", explain(status))
        }
        Code::DeadlineExceeded | Code::Cancelled => format!("{whom} did not answer in time"),
        Code::PermissionDenied | Code::Unauthenticated => format!("{whom} refuses this: {said}"),
        Code::Unimplemented => {
            format!("{whom} does not know this question: it runs another version of Shoal")
        }
        _ => said.to_owned(),
    };
    Error { sentence, unknown: status.code() == Code::NotFound }
}
