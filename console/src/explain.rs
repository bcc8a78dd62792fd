//! What would happen to a request, and why: the balancers say whom they would pick, the nodes what
//! they would do. Nothing is sent.

use std::{collections::BTreeSet, net::IpAddr};

use cluster::Service;
use futures::{StreamExt, stream};
use proto::{balancer::ExplainPickRequest, proxy::ExplainRequestRequest};

use crate::{
    gather::{
        ask::{self, Others, PATIENTLY, call},
        wire,
    },
    traffic::Server,
    view::View,
};

/// URLs longer than this are no question.
const LONGEST: usize = 8192;
/// Instances that are asked.
const MOST: usize = 32;

/// A request as a proxy would get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// In upper case.
    pub method: String,
    /// Absolute URL, or host:port for CONNECT.
    pub target: String,
    /// Who would send it.
    pub client: IpAddr,
}

/// What everybody says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// Balancers that say the same are together.
    pub picks: Vec<Said<Pick>>,
    /// Nodes that say the same are together.
    pub verdicts: Vec<Said<Verdict>>,
    /// Instances that were not asked because there are too many.
    pub left_out: usize,
}

/// Who says it, and what; or why they say nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Said<T> {
    pub names: Vec<String>,
    pub answer: Result<T, String>,
}

/// Whom a balancer would pick.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pick {
    /// Empty when nobody is left.
    pub server: String,
    /// From which pool.
    pub backend: String,
    /// In the order in which they would be tried.
    pub candidates: Vec<Server>,
    /// A line a step.
    pub steps: Vec<String>,
}

/// What a node would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The rules let it pass.
    pub allowed: bool,
    /// The rule that decides; empty when the node itself answers.
    pub rule: String,
    /// Of which revision.
    pub revision: String,
    /// hit, stale, miss, bypass; empty for CONNECT.
    pub cache: String,
    /// Where it would be sent.
    pub route: String,
    /// A line a step.
    pub steps: Vec<String>,
}

impl Question {
    /// Reads what somebody typed. An empty method is GET, and CONNECT for https URLs, as clients
    /// do; an empty client is this machine.
    ///
    /// # Errors
    /// One clear sentence.
    pub fn read(url: &str, method: &str, client: &str) -> Result<Self, String> {
        let (url, method, client) = (url.trim(), method.trim(), client.trim());
        if url.is_empty() || url.len() > LONGEST {
            return Err(format!(
                "write a URL of 1 to {LONGEST} characters, for example http://example.com/"
            ));
        }
        if method.len() > 32
            || !method.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-')
        {
            return Err(format!("{method:?} is no method: write for example GET or CONNECT"));
        }
        let client = match client {
            "" => IpAddr::from([127, 0, 0, 1]),
            text => text.parse().map_err(|_| {
                format!("{text:?} is no IP address: write the client's, for example 192.168.1.7")
            })?,
        };
        let secure = url.starts_with("https://");
        let method = match method {
            "" if secure => "CONNECT".to_owned(),
            "" => "GET".to_owned(),
            method => method.to_ascii_uppercase(),
        };
        let target = if method == "CONNECT" { authority(url, secure)? } else { absolute(url)? };
        Ok(Self { method, target, client })
    }
}

fn absolute(url: &str) -> Result<String, String> {
    if url.contains("://") {
        Ok(url.to_owned())
    } else {
        Err(format!("{url:?} is not an absolute URL: write for example http://{url}"))
    }
}

/// `host:port` of a URL, or as it is.
fn authority(url: &str, secure: bool) -> Result<String, String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let ported = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    match (ported, url.contains("://")) {
        (true, _) => Ok(authority.to_owned()),
        (false, true) => Ok(format!("{authority}:{}", if secure { 443 } else { 80 })),
        (false, false) => Err(format!("{url:?} has no port: write for example {url}:443")),
    }
}

/// Asks every balancer, and then the nodes: those that would be picked first.
pub async fn ask(others: &Others, view: &View, question: &Question) -> Explanation {
    let names =
        |service| view.of(service).map(|status| status.instance.name.clone()).collect::<Vec<_>>();
    let (mut balancers, mut nodes) = (names(Service::Balancer), names(Service::ProxyNode));
    let mut left_out = balancers.len().saturating_sub(MOST);
    balancers.truncate(MOST);
    let picks: Vec<_> = stream::iter(balancers)
        .map(|name| async move {
            let answer = pick(others, &name, question).await.map_err(|refused| refused.sentence);
            (name, answer)
        })
        .buffered(MOST)
        .collect()
        .await;
    let picked: BTreeSet<_> =
        picks.iter().filter_map(|(_, pick)| Some(pick.as_ref().ok()?.server.clone())).collect();
    nodes.sort_by_key(|name| !picked.contains(name));
    left_out += nodes.len().saturating_sub(MOST);
    nodes.truncate(MOST);
    let verdicts: Vec<_> = stream::iter(nodes)
        .map(|name| async move {
            let answer = verdict(others, &name, question).await.map_err(|refused| refused.sentence);
            (name, answer)
        })
        .buffered(MOST)
        .collect()
        .await;
    Explanation { picks: alike(picks), verdicts: alike(verdicts), left_out }
}

async fn pick(others: &Others, name: &str, question: &Question) -> Result<Pick, ask::Error> {
    let request = ExplainPickRequest {
        frontend: String::new(),
        client_address: question.client.to_string(),
        method: question.method.clone(),
        target: question.target.clone(),
    };
    let answer = call(name, PATIENTLY, others.balancer_client(name).explain_pick(request)).await?;
    let candidates = answer.candidates.into_iter().map(wire::server).collect();
    Ok(Pick {
        server: answer.server,
        backend: answer.backend,
        candidates,
        steps: answer.explanation,
    })
}

async fn verdict(others: &Others, name: &str, question: &Question) -> Result<Verdict, ask::Error> {
    let request = ExplainRequestRequest {
        url: question.target.clone(),
        method: question.method.clone(),
        client_address: question.client.to_string(),
        ..ExplainRequestRequest::default()
    };
    let answer = call(name, PATIENTLY, others.node_client(name).explain_request(request)).await?;
    Ok(Verdict {
        allowed: answer.allowed,
        rule: answer.rule,
        revision: answer.revision,
        cache: answer.cache,
        route: answer.route,
        steps: answer.explanation,
    })
}

/// What is compared: counters and times of change are nobody's decision.
trait Comparable {
    fn agrees(&self, other: &Self) -> bool;
}

impl Comparable for Pick {
    fn agrees(&self, other: &Self) -> bool {
        let names = |pick: &Self| {
            pick.candidates
                .iter()
                .map(|server| (server.name.clone(), server.standing))
                .collect::<Vec<_>>()
        };
        (&self.server, &self.backend, &self.steps) == (&other.server, &other.backend, &other.steps)
            && names(self) == names(other)
    }
}

impl Comparable for Verdict {
    fn agrees(&self, other: &Self) -> bool {
        self == other
    }
}

/// Those who say the same say it once.
fn alike<T: Comparable>(sayings: Vec<(String, Result<T, String>)>) -> Vec<Said<T>> {
    let mut groups: Vec<Said<T>> = Vec::new();
    for (name, answer) in sayings {
        let same = |said: &&mut Said<T>| match (&said.answer, &answer) {
            (Ok(one), Ok(other)) => one.agrees(other),
            (Err(one), Err(other)) => one == other,
            _ => false,
        };
        match groups.iter_mut().find(same) {
            Some(said) => said.names.push(name),
            None => groups.push(Said { names: vec![name], answer }),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        for (url, method, client, expected) in [
            ("http://a.test/x", "", "", Some("GET http://a.test/x from 127.0.0.1")),
            (" http://a.test/x ", "post", "10.0.0.7", Some("POST http://a.test/x from 10.0.0.7")),
            ("https://a.test/x?y", "", "", Some("CONNECT a.test:443 from 127.0.0.1")),
            ("https://[2001:db8::1]/", "", "::1", Some("CONNECT [2001:db8::1]:443 from ::1")),
            ("a.test:8443", "connect", "", Some("CONNECT a.test:8443 from 127.0.0.1")),
            ("a.test", "connect", "", None),
            ("a.test/x", "", "", None),
            ("", "", "", None),
            ("http://a.test/", "GET /\r\nX: y", "", None),
            ("http://a.test/", "", "localhost", None),
        ] {
            let read = Question::read(url, method, client).ok();
            let told = read.map(|question| {
                format!("{} {} from {}", question.method, question.target, question.client)
            });
            assert_eq!(told.as_deref(), expected, "{url:?} {method:?} {client:?}");
        }
    }

    #[test]
    fn the_same_is_said_once() {
        let said = |rule: &str| Ok(Verdict { rule: rule.into(), ..Verdict::default() });
        let groups = alike(vec![
            ("a".into(), said("x")),
            ("b".into(), said("y")),
            ("c".into(), said("x")),
            ("d".into(), Err("down".into())),
        ]);
        let names: Vec<_> = groups.iter().map(|said| said.names.join("+")).collect();
        assert_eq!(names, ["a+c", "b", "d"]);
    }
}
