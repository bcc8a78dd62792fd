//! Is it slow, and why do requests fail? What clients get in the last minute is the check of
//! clients; here it gets its cause.

use std::{collections::BTreeSet, time::Duration};

use chassis::scrape::Metrics;
use cluster::{
    Service,
    alarm::{Served, alarms},
    text::quoted,
};
use jiff::SignedDuration;
use proto::proxy::RouteKind;

use crate::doctor::{
    facts::{Answered, Facts, Process},
    finding::{
        Finding,
        Severity::{Critical, Info, Warning},
    },
};

const CHECK: &str = "performance";
/// Fewer requests say nothing about a ratio.
const ENOUGH: u64 = 1000;
/// An answer that takes longer has a slow network or a busy machine on its way.
const SLOW: Duration = Duration::from_millis(500);

/// Requests count that were answered so lately.
const LATELY: SignedDuration = SignedDuration::from_secs(300);
/// So many of them have to have failed before it says anything.
const FAILED: usize = 10;

/// Of every process that answers.
pub fn check(facts: &Facts) -> Vec<Finding> {
    let of = |process: &Process| {
        let ratios = process.metrics.as_ref().ok().and_then(|metrics| match process.service {
            Service::ProxyNode => node(metrics, &process.name),
            _ => None,
        });
        ratios.into_iter().chain(network(process)).collect::<Vec<_>>()
    };
    facts.processes.iter().flat_map(of).chain(failing(facts)).collect()
}

/// What clients get at this moment, at all nodes together: whether most of it is errors.
pub fn failing(facts: &Facts) -> Option<Finding> {
    let lately = |node: &Process| {
        let ahead = SignedDuration::try_from_secs_f64(node.clock.map_or(0.0, |clock| clock.ahead))
            .unwrap_or_default();
        let since = facts.now.saturating_add(ahead - LATELY).unwrap_or(facts.now);
        node.answered.iter().filter(move |request| request.at >= since).cloned().collect::<Vec<_>>()
    };
    let nodes: Vec<_> = facts.processes.iter().map(|node| (node, lately(node))).collect();
    let answered = nodes.iter().map(|(_, requests)| requests.len()).sum::<usize>();
    let failed: Vec<_> = nodes
        .iter()
        .flat_map(|(_, requests)| requests)
        .filter(|request| request.has_failed())
        .collect();
    if failed.len() < FAILED || failed.len() * 2 < answered {
        return None;
    }
    let last = failed.iter().max_by_key(|request| request.at)?;
    let at: Vec<_> = nodes
        .iter()
        .filter(|(_, requests)| requests.iter().any(Answered::has_failed))
        .map(|(node, _)| *node)
        .collect();
    let route = at.iter().find_map(|node| node.failed_on.as_ref());
    let statuses: BTreeSet<_> = failed.iter().map(|request| request.status.to_string()).collect();
    let statuses = statuses.into_iter().collect::<Vec<_>>().join(", ");
    // Every client feels it, whatever the cause.
    let nodes_alone = Served { nodes: super::clients::of(facts).nodes, ..Served::default() };
    let felt = alarms(&nodes_alone)
        .first()
        .is_some_and(|alarm| alarm.severity == cluster::alarm::Severity::Critical);
    let (severity, where_to, remedy) = match route {
        // Everything goes that way.
        Some((RouteKind::Parent, route)) => (
            Critical,
            format!("; they go to {route}"),
            format!("see whether the parent runs and is reached from the nodes; {}", explain(last)),
        ),
        _ => (
            if felt { Critical } else { Warning },
            String::new(),
            format!(
                "{}; `shoal logs --top domain --since 5m`: is it one origin, or all?",
                explain(last)
            ),
        ),
    };
    let text =
        format!("{} of the last {answered} requests failed ({statuses}){where_to}", failed.len());
    let subjects = at.into_iter().map(|node| node.name.clone()).collect();
    Some(Finding { severity, check: CHECK, subjects, finding: text, remedy })
}

/// The command that explains a request, to be pasted whatever a client has written into its URL.
fn explain(request: &Answered) -> String {
    let method = if request.method == "GET" {
        String::new()
    } else {
        format!(" --method={}", quoted(&request.method))
    };
    let url = quoted(&request.url);
    // What begins with a dash is no option.
    let dash = if url.starts_with('-') || url.starts_with("'-") { "-- " } else { "" };
    format!("`shoal explain{method} {dash}{url}`")
}

fn network(process: &Process) -> Option<Finding> {
    process.clock.filter(|reading| reading.took > SLOW)?;
    // Without the number, so that all who are slow together are one finding.
    let text = format!("its admin HTTP took more than {} ms to answer", SLOW.as_millis());
    let remedy = "see the network to it (ping, mtr) and the load of its machine (uptime); where \
        all are slow, of this machine";
    Some(Finding::new(Warning, CHECK, &process.name, text, remedy))
}

fn node(metrics: &Metrics, name: &str) -> Option<Finding> {
    let of_cache = |metric| metrics.count(metric).unwrap_or(0);
    let hits = of_cache(proxy_node::metrics::HITS) + of_cache(proxy_node::metrics::REVALIDATED);
    let asked = hits + of_cache(proxy_node::metrics::MISSES);
    (asked >= ENOUGH && hits * 20 < asked).then(|| {
        let text = format!("its cache answers {hits} of {asked} requests that it could answer");
        Finding::new(
            Info,
            CHECK,
            name,
            text,
            "see `shoal logs --top url`, and proxy.cache (memory, refresh_patterns) in the bundle",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::facts::tests::{facts, now, process};

    #[test]
    fn table() {
        let node = |hits: u64, misses: u64| {
            format!(
                "shoal_proxy_cache_hits_total {hits}\nshoal_proxy_cache_misses_total {misses}\n"
            )
        };
        for (service, text, expected) in [
            (Service::ProxyNode, node(0, 999), None),
            (Service::ProxyNode, node(49, 951), Some("its cache answers 49 of 1000")),
            (Service::ProxyNode, node(50, 950), None),
            (Service::Registry, node(0, 1000), None),
        ] {
            let mut process = process(service, "x");
            process.metrics = Ok(Metrics::parse(&text));
            let found = check(&facts(vec![process]));
            let found: Vec<_> = found.iter().map(|it| (it.severity, it.finding.as_str())).collect();
            match expected {
                None => assert!(found.is_empty(), "{text}: {found:?}"),
                Some(part) => assert!(
                    found.len() == 1 && found[0].0 == Info && found[0].1.contains(part),
                    "{text}: {found:?}"
                ),
            }
        }
        let mut slow = process(Service::Registry, "x");
        slow.clock.as_mut().unwrap().took = Duration::from_millis(900);
        assert!(check(&facts(vec![slow]))[0].finding.contains("more than 500 ms"));
    }

    /// A node that gave these answers: status, how many, seconds ago.
    fn answering(answers: &[(u32, usize, i64)], route: Option<(RouteKind, &str)>) -> Process {
        let mut node = process(Service::ProxyNode, "n-1");
        let answer = |&(status, count, ago): &(u32, usize, i64)| {
            let at = now() - SignedDuration::from_secs(ago);
            let url = "http://x/it's".to_owned();
            std::iter::repeat_n(Answered { at, method: "GET".into(), url, status }, count)
        };
        node.answered = answers.iter().flat_map(answer).collect();
        node.failed_on = route.map(|(kind, route)| (kind, route.to_owned()));
        node
    }

    #[test]
    fn what_clients_get_now() {
        let origin = Some((RouteKind::Origin, "origin x:80"));
        for (answers, route, expected) in [
            (&[(200, 100, 1)][..], None, None),
            (&[(502, 9, 1)], origin, None),
            (&[(502, 10, 1), (200, 11, 1)], origin, None),
            (&[(502, 10, 400)], origin, None),
            (&[(403, 50, 1)], None, None),
            (
                &[(502, 20, 9), (504, 1, 1), (200, 20, 1)],
                origin,
                Some((Warning, "21 of the last 41 requests failed (502, 504)")),
            ),
            (
                &[(502, 30, 1)],
                Some((RouteKind::Parent, "parent 127.0.0.1:9")),
                Some((
                    Critical,
                    "30 of the last 30 requests failed (502); they go to parent 127.0.0.1:9",
                )),
            ),
        ] {
            let found = failing(&facts(vec![answering(answers, route)]));
            let short = found.as_ref().map(|it| (it.severity, it.finding.as_str()));
            assert_eq!(short, expected, "{answers:?}");
            assert!(
                found.iter().all(|it| it.remedy.contains(r"`shoal explain 'http://x/it'\''s'`")),
                "{found:?}"
            );
        }
        // When half of all requests fail, every client feels it.
        let last_minute = Some(proto::proxy::LastMinute { seconds: 60, requests: 40, errors: 21 });
        let nodes = vec![(
            "n-1".to_owned(),
            proto::proxy::GetStatsResponse { last_minute, ..Default::default() },
        )];
        let felt = failing(&Facts { nodes, ..facts(vec![answering(&[(502, 30, 1)], origin)]) });
        assert_eq!(felt.map(|it| it.severity), Some(Critical));
        // A node's own clock says when.
        let mut ahead = answering(&[(502, 30, 1000)], origin);
        ahead.clock.as_mut().unwrap().ahead = -1000.0;
        assert!(failing(&facts(vec![ahead])).is_some());
        let both = facts(vec![
            answering(&[(502, 6, 1)], origin),
            Process { name: "n-2".into(), ..answering(&[(502, 6, 1)], origin) },
        ]);
        assert_eq!(failing(&both).unwrap().subjects, ["n-1", "n-2"]);
    }
}
