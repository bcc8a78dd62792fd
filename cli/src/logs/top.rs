//! Who asks most, over several nodes: every node tells what it counted, and the counts are merged
//! with what each may have forgotten. What balancers answered themselves no node has seen: that is
//! counted here, from their records.

mod merged;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, bail};
use cluster::{InstanceStatus, Service};
use dataplane::domain::domain;
use jiff::{SignedDuration, Timestamp};
use proto::proxy::{AccessTotal, TopAccessRequest, TopAccessResponse};
use tonic::{Response, Status};

use self::merged::merged;
use super::{
    ANSWER, Key,
    ask::{OWN, Question, Source},
    line::Line,
};
use crate::{
    cluster::{Cluster, ask_together},
    output::Format,
};

/// Asks everybody and shows what they counted together.
///
/// # Errors
/// Nobody answered.
pub async fn run(
    cluster: &Cluster,
    sources: &[InstanceStatus],
    key: Key,
    since: Duration,
    count: usize,
    format: Format,
) -> Result<()> {
    // All that is kept, so that merging loses as little as can be.
    let request = TopAccessRequest {
        by: key.wire().into(),
        since: Some(::cluster::wire::duration(since)),
        limit: 0,
    };
    let begin = chassis::Clock::system().now() - SignedDuration::try_from(since.min(LONGEST))?;
    let ask = async |status: &InstanceStatus| {
        if status.instance.service == Service::ProxyNode {
            return Ok(cluster.proxy_node(status)?.top_access(request).await);
        }
        let source = Source::of(status, cluster.channel(status)?);
        Ok(own(source, &status.instance.name, key, begin).await.map(Response::new))
    };
    let answers = ask_together(sources, ANSWER, ask).await;
    if answers.iter().all(|(_, answer)| answer.is_err()) {
        let failures: Vec<_> = answers
            .iter()
            .filter_map(|(_, answer)| Some(format!("{:#}", answer.as_ref().err()?)))
            .collect();
        bail!("{}", failures.join("; "));
    }
    let service = |name: &str| {
        sources
            .iter()
            .find(|status| status.instance.name == name)
            .map_or("", |status| status.instance.service.as_str())
    };
    let answers = answers.into_iter().map(|(name, answer)| {
        let answer = answer.map_err(|error| format!("{error:#}"));
        (service(&name), name, answer)
    });
    cluster.show(&merged(key, count, answers.collect()), format)
}

/// As far back as nodes count.
const LONGEST: Duration = Duration::from_secs(3600);

/// What is kept of a URL as a key, as nodes keep it.
const KEY_BYTES: usize = 256;

/// What a balancer answered itself, counted as nodes count what they did.
async fn own(
    source: Source,
    name: &str,
    key: Key,
    since: Timestamp,
) -> Result<TopAccessResponse, Status> {
    let mut telling = source.ask(&Question::own(since), OWN, false).await?.into_inner();
    let (mut lines, mut kept) = (Vec::new(), None);
    while let Some(told) = telling.message(name).await? {
        kept = kept.or(told.since);
        lines.extend(told.lines);
    }
    let from = if lines.len() < OWN {
        kept.map_or(since, |kept| kept.max(since))
    } else {
        lines[0].ended_at.unwrap_or(since)
    };
    // Where a server answered, its node has counted it.
    lines.retain(|line| line.balancer.as_ref().is_some_and(|it| it.server.is_empty()));
    Ok(TopAccessResponse { from: Some(::cluster::wire::timestamp(from)), ..counted(key, &lines) })
}

/// Records by one key, every count exact. Pure.
fn counted(key: Key, lines: &[Line]) -> TopAccessResponse {
    let mut totals = BTreeMap::<String, (u64, u64)>::new();
    for line in lines {
        let name = match key {
            Key::Client => line.client.clone(),
            Key::Url => line.url[..line.url.floor_char_boundary(KEY_BYTES)].to_owned(),
            Key::Status => line.status.to_string(),
            Key::Domain => domain(&line.url).into_owned(),
        };
        let total = totals.entry(if name.is_empty() { "-".to_owned() } else { name }).or_default();
        *total = (total.0 + 1, total.1 + line.bytes);
    }
    let (requests, bytes) = (lines.len() as u64, lines.iter().map(|line| line.bytes).sum());
    let totals = totals
        .into_iter()
        .map(|(key, (requests, bytes))| AccessTotal { key, requests, overcount: 0, bytes })
        .collect();
    TopAccessResponse { totals, requests, bytes, ..TopAccessResponse::default() }
}
