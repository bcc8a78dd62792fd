//! `shoal node wait`: until enough instances of a service are usable, for those who replace them.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use cluster::{Service, State};
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    cluster::Cluster,
    output::{Format, View},
    status::state_name,
};

#[derive(Args)]
pub struct Wait {
    /// How many have to be usable
    count: usize,
    /// Of which service
    #[arg(long, default_value = "proxy-node")]
    service: Service,
    /// Longest wait
    #[arg(
        long,
        value_name = "TIME",
        default_value = "2m",
        value_parser = chassis::options::duration,
    )]
    within: Duration,
    #[command(flatten)]
    format: Format,
}

/// What was waited for.
#[derive(Serialize)]
struct Reached {
    usable: usize,
    service: Service,
}

impl View for Reached {
    fn text(&self) -> String {
        format!("{} of {} usable", self.usable, self.service)
    }
}

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);

pub async fn run(wait: &Wait, cluster: &Cluster) -> Result<()> {
    let begun = Instant::now();
    loop {
        // A registry that does not answer may be the one that is replaced.
        let missing = match cluster.instances(wait.service).await {
            Ok(instances) => {
                let known = instances.iter().map(|status| {
                    (status.instance.name.as_str(), status.state, status.reasons.as_slice())
                });
                match missing(&known.collect::<Vec<_>>(), wait.service, wait.count) {
                    None => {
                        return cluster.show(
                            &Reached { usable: wait.count, service: wait.service },
                            wait.format,
                        );
                    }
                    Some(missing) => anyhow!(missing),
                }
            }
            Err(error) => error,
        };
        if begun.elapsed() >= wait.within {
            return Err(missing)
                .with_context(|| format!("waited {} s in vain", wait.within.as_secs()));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Who is not usable and why, when fewer than `count` are. Pure.
fn missing(known: &[(&str, State, &[String])], service: Service, count: usize) -> Option<String> {
    let (usable, others): (Vec<_>, Vec<_>) =
        known.iter().partition(|(_, state, _)| *state == State::Usable);
    let because = |(name, state, reasons): &&(&str, State, &[String])| match reasons {
        [] => format!("{name} is {}", state_name(*state)),
        reasons => format!("{name} is {} ({})", state_name(*state), reasons.join("; ")),
    };
    let others: Vec<_> = others.iter().map(because).collect();
    let why =
        if others.is_empty() { "no other is registered".to_owned() } else { others.join(", ") };
    (usable.len() < count).then(|| {
        format!(
            "{} of {count} {service} usable: {why}; see `shoal status` and their logs",
            usable.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing() {
        let stops = ["it stops".to_owned()];
        let known: [(&str, State, &[String]); 3] = [
            ("proxy-node-1", State::Usable, &[]),
            ("proxy-node-2", State::Draining, &stops),
            ("proxy-node-3", State::Starting, &[]),
        ];
        for (known, count, expected) in [
            (&known[..], 0, None),
            (&known[..], 1, None),
            (
                &known[..],
                2,
                Some(
                    "1 of 2 proxy-node usable: proxy-node-2 is draining (it stops), proxy-node-3 \
                     is starting; see",
                ),
            ),
            (&known[..1], 1, None),
            (&known[..1], 2, Some("1 of 2 proxy-node usable: no other is registered; see")),
            (&known[..0], 1, Some("0 of 1 proxy-node usable: no other is registered; see")),
        ] {
            let said = missing(known, Service::ProxyNode, count);
            match expected {
                None => assert_eq!(said, None, "{count}"),
                Some(begin) => assert!(
                    said.as_ref().is_some_and(|said| said.starts_with(begin)),
                    "{count}: {said:?}"
                ),
            }
        }
    }
}
