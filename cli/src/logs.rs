//! `shoal logs`: what clients ask for: the last access records of all nodes and balancers, one
//! request wherever it went, or who asks most.

mod ask;
mod line;
mod searched;
mod tail;
mod times;
mod top;

use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use cluster::{InstanceStatus, Service};
use dataplane::filter::Filter;
use jiff::tz::TimeZone;
use proto::proxy::AccessKey;

use self::{
    ask::Question,
    times::{Moment, Times},
};
use crate::{
    cluster::{Cluster, one_of},
    context::Target,
    output::Format,
};

/// Longest wait for one node's answer: a node that is frozen does not hold the others up for long.
const ANSWER: Duration = Duration::from_secs(5);
/// How far counts go back where nobody says it.
const COUNTED: Duration = Duration::from_secs(300);

/// See what clients ask for: the last access records, where one request went, or who and what is
/// asked most
#[derive(Args)]
#[command(after_help = "Examples:
  shoal logs                                   the last 20 requests
  shoal logs -f                                and every new one
  shoal logs --request ID                      where one request was, balancers and nodes \
  (Shoal-Request-Id of its answer)
  shoal logs --client 10.0.0.0/8 --status 5xx  what went wrong for these clients
  shoal logs --domain .example.com             requests for example.com and all below it
  shoal logs --status 504 --since 2d           also out of the log files of two days
  shoal logs --since 10:30 --until 10:35       what happened then
  shoal logs -f --node proxy-node-1 -o json    one JSON object a line
  shoal logs --top client --since 5m           who asks most
  shoal logs --top url -n 50
  shoal logs --top domain
  shoal logs --top status --since 1m

Without a condition every request is shown once: as its node tells it, or the balancer that \
answered it itself. With one, everybody who had it.
What everybody keeps in memory is bounded: the last 2048 records of a node, the last 4 MiB of a \
balancer. With a condition or a time, what is
older is looked for in the log files (access.log in the data dir of each, and those it was moved \
aside to, but for compressed ones): the newest
first, as many as -n says, 4 GiB or 10 seconds of each process at most. Counts (--top) are of the \
last hour; one with ≤ is an upper bound.")]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Count instead of listing: by whom or what
    #[arg(long, value_enum, value_name = "KEY")]
    top: Option<Key>,
    /// Only since then: 5m, 2d, 10:30, "2026-11-29 10:30"; how far counts go back [default for
    /// --top: 5m, at most 1h]
    #[arg(long, value_name = "TIME", value_parser = times::moment, conflicts_with = "follow")]
    since: Option<Moment>,
    /// Only until then
    #[arg(
        long,
        value_name = "TIME",
        value_parser = times::moment,
        conflicts_with_all = ["follow", "top"],
    )]
    until: Option<Moment>,
    /// Only this proxy-node or balancer
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    #[command(flatten)]
    wanted: Wanted,
    /// How many records or counts
    #[arg(
        short = 'n',
        long = "lines",
        default_value_t = 20,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1000),
    )]
    lines: u32,
    /// Go on with new records until interrupted
    #[arg(short, long, conflicts_with = "top")]
    follow: bool,
    #[command(flatten)]
    format: Format,
}

/// Which records are wanted: those that meet all conditions.
#[derive(Args, Clone, Debug, Default)]
struct Wanted {
    /// Only this request, by the id that its answer carries in Shoal-Request-Id
    #[arg(long, value_name = "ID", conflicts_with = "top")]
    request: Option<String>,
    /// Only requests of this client: an address or a network
    #[arg(long, value_name = "ADDRESS", conflicts_with = "top")]
    client: Option<String>,
    /// Only answers with this status: 404, 4xx or 500-504; 0: no answer was sent
    #[arg(long, value_name = "STATUS", conflicts_with = "top")]
    status: Option<String>,
    /// Only requests for this host; with a dot before it also for all below it
    #[arg(long, value_name = "HOST", conflicts_with = "top")]
    domain: Option<String>,
}

impl Wanted {
    /// The same as those who keep records will read it.
    fn filter(&self) -> Result<Filter, dataplane::filter::Error> {
        let text = |given: &Option<String>| given.clone().unwrap_or_default();
        Filter::parse(
            &text(&self.request),
            &text(&self.client),
            &text(&self.status),
            &text(&self.domain),
        )
    }
}

/// By what requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Key {
    /// Address of the client
    Client,
    /// URL; host:port of a tunnel
    Url,
    /// Status sent
    Status,
    /// Host of the URL
    Domain,
}

impl Key {
    const fn wire(self) -> AccessKey {
        match self {
            Self::Client => AccessKey::Client,
            Self::Url => AccessKey::Url,
            Self::Status => AccessKey::Status,
            Self::Domain => AccessKey::Domain,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Url => "url",
            Self::Status => "status",
            Self::Domain => "domain",
        }
    }
}

pub async fn run(options: Options) -> Result<()> {
    // Before anybody is asked: what cannot be read is the caller's to mend.
    let filter = options.wanted.filter()?;
    let cluster = Cluster::open(&options.target)?;
    let count = usize::try_from(options.lines).unwrap_or(usize::MAX);
    let (now, zone) = (chassis::Clock::system().now(), TimeZone::system());
    let when = |moment: Option<Moment>| moment.map(|moment| moment.of(now, &zone)).transpose();
    let times = Times { since: when(options.since)?, until: when(options.until)? };
    if times.since.zip(times.until).is_some_and(|(since, until)| since > until) {
        bail!("--since is later than --until: nothing can be between them");
    }
    let sources = sources(&cluster, &SOURCES, options.node.as_deref()).await?;
    if let Some(key) = options.top {
        let since = times.since.map_or(COUNTED, |since| {
            Duration::try_from(now.duration_since(since)).unwrap_or_default()
        });
        return top::run(&cluster, &sources, key, since, count, options.format).await;
    }
    let question = Question::new(&options.wanted, filter, times, count);
    if options.follow {
        tail::follow(&cluster, options.node.as_deref(), sources, question, options.format).await
    } else {
        tail::last(&cluster, &sources, question, options.format).await
    }
}

/// Who keeps access records.
const SOURCES: [Service; 2] = [Service::ProxyNode, Service::Balancer];

async fn sources(
    cluster: &Cluster,
    services: &[Service],
    name: Option<&str>,
) -> Result<Vec<InstanceStatus>> {
    let mut sources = Vec::new();
    for service in services {
        sources.extend(cluster.last_instances(*service).await?);
    }
    if let Some(name) = name {
        return Ok(vec![one_of(sources, services[0], name)?]);
    }
    if sources.is_empty() {
        bail!(
            "no {} is registered: see `shoal status`",
            services.iter().map(|service| service.as_str()).collect::<Vec<_>>().join(" and no ")
        );
    }
    Ok(sources)
}
