//! `shoal explain`: what would happen to a request, and why, without sending it.

mod answer;

use std::net::IpAddr;

use anyhow::{Result, bail};
use clap::Args;
use cluster::{InstanceStatus, Service};
use proto::{
    balancer::ExplainPickRequest,
    proxy::{ExplainRequestRequest, ExplainRequestResponse},
};

use self::answer::{Explanation, Node, Pick, disagreement};
use crate::{
    cluster::{Cluster, call},
    context::Target,
    output::Format,
};

/// Show what would happen to a request, and why; nothing is sent
#[derive(Args)]
#[command(after_help = "Examples:
  shoal explain http://example.com/file.deb
  shoal explain https://example.com/ --client 192.168.1.7      what this client would get
  shoal explain example.com:443 --method CONNECT")]
pub struct Options {
    /// Absolute URL, or host:port with --method CONNECT
    url: String,
    /// Address of the client
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    client: IpAddr,
    /// Method; default GET, and CONNECT for https URLs as clients do
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    format: Format,
}

/// The request as a proxy would get it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    method: String,
    target: String,
}

pub async fn run(options: Options) -> Result<()> {
    let request = Request::new(&options.url, options.method.as_deref())?;
    let cluster = Cluster::open(&options.target)?;
    let client = options.client.to_string();
    let mut explanation = Explanation {
        request: format!("{} {}", request.method, request.target),
        ..Explanation::default()
    };
    let everybody = cluster.last_listing().await?.instances;
    let of = |service| everybody.iter().filter(move |status| status.instance.service == service);
    for balancer in of(Service::Balancer) {
        explanation.balancers.push(ask_balancer(&cluster, balancer, &request, &client).await);
    }
    for node in of(Service::ProxyNode) {
        explanation.nodes.push(ask_node(&cluster, node, &request, &client).await);
    }
    if explanation.nodes.iter().all(|node| node.failure.is_some())
        && explanation.balancers.iter().all(|one| one.failure.is_some())
    {
        let reason = explanation
            .nodes
            .iter()
            .find_map(|node| node.failure.clone())
            .unwrap_or_else(|| "no proxy-node is registered".to_owned());
        bail!("nobody could explain this request: {reason}; see `shoal status`");
    }
    explanation.disagreement = disagreement(&explanation.nodes);
    cluster.show(&explanation, options.format)
}

impl Request {
    /// # Errors
    /// `url` is neither an absolute URL nor host:port.
    fn new(url: &str, method: Option<&str>) -> Result<Self> {
        let secure = url.strip_prefix("https://");
        let method = method.map_or_else(
            || if secure.is_some() { "CONNECT" } else { "GET" }.to_owned(),
            str::to_ascii_uppercase,
        );
        if method != "CONNECT" {
            if !url.contains("://") {
                bail!(
                    "{url:?} is not an absolute URL: write for example http://{url}, or add \
                     --method CONNECT"
                );
            }
            return Ok(Self { method, target: url.to_owned() });
        }
        let default = if secure.is_some() { ":443" } else { ":80" };
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let ported =
            authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        match (ported, url.contains("://")) {
            (true, _) => Ok(Self { method, target: authority.to_owned() }),
            (false, true) => Ok(Self { method, target: format!("{authority}{default}") }),
            (false, false) => bail!("{url:?} has no port: write for example {url}:443"),
        }
    }
}

async fn ask_node(
    cluster: &Cluster,
    node: &InstanceStatus,
    request: &Request,
    client: &str,
) -> Node {
    let name = node.instance.name.clone();
    let question = ExplainRequestRequest {
        url: request.target.clone(),
        method: request.method.clone(),
        client_address: client.to_owned(),
        ..Default::default()
    };
    let answer = match cluster.proxy_node(node) {
        Ok(mut client) => call(&name, client.explain_request(question)).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(ExplainRequestResponse {
            allowed,
            rule,
            revision,
            cache,
            route,
            explanation,
            owner,
            ..
        }) => Node {
            name,
            allowed,
            rule,
            revision,
            cache,
            route,
            owner,
            steps: explanation,
            failure: None,
        },
        Err(error) => Node { name, failure: Some(format!("{error:#}")), ..Node::default() },
    }
}

async fn ask_balancer(
    cluster: &Cluster,
    balancer: &InstanceStatus,
    request: &Request,
    client: &str,
) -> Pick {
    let name = balancer.instance.name.clone();
    let question = ExplainPickRequest {
        frontend: String::new(),
        client_address: client.to_owned(),
        method: request.method.clone(),
        target: request.target.clone(),
    };
    let answer = match cluster.balancer(balancer) {
        Ok(mut client) => call(&name, client.explain_pick(question)).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) => Pick::new(name, answer),
        Err(error) => Pick { name, failure: Some(format!("{error:#}")), ..Pick::default() },
    }
}
