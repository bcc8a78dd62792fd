//! Asking a node or a balancer for its records: the same question, two services.

use cluster::{
    InstanceStatus, Service,
    wire::{from_timestamp, timestamp},
};
use dataplane::filter::Filter;
use jiff::Timestamp;
use proto::{
    balancer::{self, balancer_client::BalancerClient},
    proxy::{self, proxy_node_client::ProxyNodeClient},
};
use tonic::{Response, Status, Streaming};

use super::{Wanted, line::Line, searched::Searched, times::Times};

/// Records that a balancer tells at most.
pub const OWN: usize = 10_000;

/// What is asked of everybody.
#[derive(Clone, Debug)]
pub struct Question {
    /// So many of the last records.
    pub count: usize,
    /// Which ones.
    pub filter: Filter,
    /// Between these times.
    pub times: Times,
    given: Wanted,
    /// Of a balancer, only what it answered itself.
    own: bool,
}

impl Question {
    /// The last `count` that are wanted.
    pub fn new(given: &Wanted, filter: Filter, times: Times, count: usize) -> Self {
        // Of what a node has a record of, a balancer's is wanted only when somebody looks for
        // something.
        Self { count, times, given: given.clone(), own: filter.is_empty(), filter }
    }

    /// What balancers answered themselves since then, as many as they tell.
    pub fn own(since: Timestamp) -> Self {
        let times = Times { since: Some(since), until: None };
        Self { own: true, ..Self::new(&Wanted::default(), Filter::default(), times, OWN) }
    }

    /// Whether the files are worth a look: who only wants to see what happens is told from memory.
    pub fn searches(&self) -> bool {
        !self.filter.is_empty() || self.times != Times::default()
    }

    fn of_node(&self, last: u32, follow: bool) -> proxy::TailAccessRequest {
        let Wanted { request, client, status, domain } = self.given.clone();
        proxy::TailAccessRequest {
            since: self.times.since.map(timestamp),
            until: self.times.until.map(timestamp),
            search_files: !follow && self.searches(),
            last,
            follow,
            request_id: request.unwrap_or_default(),
            client: client.unwrap_or_default(),
            status: status.unwrap_or_default(),
            domain: domain.unwrap_or_default(),
        }
    }

    fn of_balancer(&self, last: u32, follow: bool) -> balancer::TailAccessRequest {
        let proxy::TailAccessRequest {
            last,
            follow,
            request_id,
            client,
            status,
            domain,
            since,
            until,
            search_files,
        } = self.of_node(last, follow);
        balancer::TailAccessRequest {
            last,
            follow,
            request_id,
            client,
            status,
            domain,
            own: self.own,
            since,
            until,
            search_files,
        }
    }
}

/// A process that keeps records, and how to ask it.
pub enum Source {
    Node(ProxyNodeClient<chassis::ServiceChannel>),
    Balancer(BalancerClient<chassis::ServiceChannel>),
}

impl Source {
    /// This instance, asked over `channel`.
    pub fn of(status: &InstanceStatus, channel: chassis::ServiceChannel) -> Self {
        match status.instance.service {
            Service::Balancer => Self::Balancer(BalancerClient::new(channel)),
            _ => Self::Node(ProxyNodeClient::new(channel)),
        }
    }

    /// Asks for the `last` records that match, and, with `follow`, for those to come.
    pub async fn ask(
        self,
        question: &Question,
        last: usize,
        follow: bool,
    ) -> Result<Response<Telling>, Status> {
        let last = u32::try_from(last).unwrap_or(u32::MAX);
        Ok(match self {
            Self::Node(mut client) => {
                client.tail_access(question.of_node(last, follow)).await?.map(Telling::Node)
            }
            Self::Balancer(mut client) => {
                client.tail_access(question.of_balancer(last, follow)).await?.map(Telling::Balancer)
            }
        })
    }
}

/// What comes back.
pub enum Telling {
    Node(Streaming<proxy::TailAccessResponse>),
    Balancer(Streaming<balancer::TailAccessResponse>),
}

/// Some records.
#[derive(Debug, Default)]
pub struct Told {
    /// Oldest first.
    pub lines: Vec<Line>,
    /// So many before them were missed.
    pub missed: u64,
    /// No records are kept there.
    pub off: bool,
    /// When the oldest that is kept ended; in the first message only.
    pub since: Option<Timestamp>,
    /// How far its files were searched, where they were.
    pub searched: Option<Searched>,
}

impl Telling {
    /// The next message of `name`.
    pub async fn message(&mut self, name: &str) -> Result<Option<Told>, Status> {
        Ok(match self {
            Self::Node(stream) => stream.message().await?.map(|it| Told {
                lines: it.records.into_iter().map(|record| Line::of_node(name, record)).collect(),
                missed: it.missed,
                off: it.off,
                since: from_timestamp(it.kept_since),
                searched: it.searched.map(Searched::from),
            }),
            Self::Balancer(stream) => stream.message().await?.map(|it| Told {
                lines: it
                    .records
                    .into_iter()
                    .map(|record| Line::of_balancer(name, record))
                    .collect(),
                missed: it.missed,
                off: false,
                since: from_timestamp(it.kept_since),
                searched: it.searched.map(Searched::from),
            }),
        })
    }
}
