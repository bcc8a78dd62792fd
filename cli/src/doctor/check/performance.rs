//! Is it slow, or does it fail more than it should? Since the processes started; `shoal top` shows the moment.

use std::time::Duration;

use cluster::Service;

use crate::{
    doctor::{
        facts::{Facts, Process},
        finding::{
            Finding,
            Severity::{Info, Warning},
        },
    },
    exposition::Exposition,
};

const CHECK: &str = "performance";
/// Fewer requests say nothing about a ratio.
const ENOUGH: u64 = 1000;
/// An answer that takes longer has a slow network or a busy machine on its way.
const SLOW: Duration = Duration::from_millis(500);

/// Of every process that answers.
pub fn check(facts: &Facts) -> Vec<Finding> {
    let of = |process: &Process| {
        let ratios = process.metrics.as_ref().ok().and_then(|metrics| match process.service {
            Service::ProxyNode => node(metrics, &process.name),
            Service::Balancer => balancer(metrics, &process.name),
            _ => None,
        });
        ratios.into_iter().chain(network(process)).collect::<Vec<_>>()
    };
    facts.processes.iter().flat_map(of).collect()
}

fn network(process: &Process) -> Option<Finding> {
    let took = process.clock.map(|reading| reading.took).filter(|took| *took > SLOW)?;
    let text = format!("its admin HTTP took {} ms to answer", took.as_millis());
    Some(Finding::new(Warning, CHECK, &process.name, text, "see the network to it (ping, mtr) and the load of its machine (uptime)"))
}

fn node(metrics: &Exposition, name: &str) -> Option<Finding> {
    let requests = metrics.count("shoal_proxy_requests_total").filter(|requests| *requests >= ENOUGH)?;
    let errors = metrics.count("shoal_proxy_errors_total")?;
    let of_cache = |metric| metrics.count(metric).unwrap_or(0);
    let hits = of_cache("shoal_proxy_cache_hits_total") + of_cache("shoal_proxy_cache_revalidated_total");
    let asked = hits + of_cache("shoal_proxy_cache_misses_total");
    if errors * 20 > requests {
        let text = format!("{errors} of {requests} requests were answered with an error of its own");
        return Some(Finding::new(
            Warning,
            CHECK,
            name,
            text,
            "see `shoal logs --top status` and `shoal logs --top domain`: origins that are down, or names that do not resolve",
        ));
    }
    (asked >= ENOUGH && hits * 20 < asked).then(|| {
        let text = format!("its cache answers {hits} of {asked} requests that it could answer");
        Finding::new(Info, CHECK, name, text, "see `shoal logs --top url`, and proxy.cache (memory, refresh_patterns) in the bundle")
    })
}

fn balancer(metrics: &Exposition, name: &str) -> Option<Finding> {
    let requests = metrics.count("shoal_balancer_requests_total").filter(|requests| *requests >= ENOUGH)?;
    let failed = metrics.count("shoal_balancer_requests_failed_total")?;
    (failed * 100 > requests).then(|| {
        let text = format!("{failed} of {requests} requests found no server that could answer");
        Finding::new(Warning, CHECK, name, text, "see `shoal top` and `shoal explain URL`: which servers are left, and why not the others")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::facts::tests::{facts, process};

    #[test]
    fn table() {
        let node = |requests: u64, errors: u64, hits: u64, misses: u64| {
            format!(
                "shoal_proxy_requests_total {requests}\nshoal_proxy_errors_total {errors}\nshoal_proxy_cache_hits_total {hits}\nshoal_proxy_cache_misses_total {misses}\n"
            )
        };
        let balancer = |requests: u64, failed: u64| {
            format!(
                "shoal_balancer_requests_total{{frontend=\"a\"}} {requests}\nshoal_balancer_requests_failed_total{{frontend=\"a\"}} {failed}\n"
            )
        };
        for (service, text, expected) in [
            (Service::ProxyNode, node(999, 999, 0, 999), None),
            (Service::ProxyNode, node(1000, 50, 500, 500), None),
            (Service::ProxyNode, node(1000, 51, 500, 500), Some((Warning, "51 of 1000"))),
            (Service::ProxyNode, node(2000, 0, 49, 951), Some((Info, "its cache answers 49 of 1000"))),
            (Service::ProxyNode, node(2000, 0, 50, 950), None),
            (Service::Balancer, balancer(1000, 10), None),
            (Service::Balancer, balancer(1000, 11), Some((Warning, "11 of 1000"))),
            (Service::Balancer, balancer(100, 100), None),
            (Service::Registry, balancer(1000, 1000), None),
        ] {
            let mut process = process(service, "x");
            process.metrics = Ok(Exposition::parse(&text));
            let found = check(&facts(vec![process]));
            let found: Vec<_> = found.iter().map(|it| (it.severity, it.finding.as_str())).collect();
            match expected {
                None => assert!(found.is_empty(), "{text}: {found:?}"),
                Some((severity, part)) => {
                    assert!(found.len() == 1 && found[0].0 == severity && found[0].1.contains(part), "{text}: {found:?}")
                }
            }
        }
        let mut slow = process(Service::Registry, "x");
        slow.clock.as_mut().unwrap().took = Duration::from_millis(900);
        assert!(check(&facts(vec![slow]))[0].finding.contains("900 ms"));
    }
}
