//! What is tried again, who is put aside and who is asked last, as a bundle says it.

use std::{collections::BTreeMap, time::Duration};

use cluster::Service;
use cluster_config::{
    BalancerDocument, Bundle,
    bundle::sample,
    document::balancer::{Backend, Hedge, RetryOn},
    example_bundle, render,
};

/// A backend with these keys beside its servers, and what is said of it.
fn backend(servers: &str, written: &str) -> (Option<Backend>, String) {
    let main = format!(
        "version: 1\nbalancer:\n  frontends:\n    - {{name: a, bind: \":8080\", backend: \
         nodes}}\n  backends:\n    - {{name: nodes, servers: {{{servers}}}{written}}}\n"
    );
    let mut files: BTreeMap<String, Vec<u8>> = example_bundle();
    files.insert("cluster.yaml".into(), main.into_bytes());
    let (bundle, problems) = Bundle::from_files(&files);
    let document = bundle.map(|bundle| {
        let rendered = render(&bundle, Service::Balancer, &sample(Service::Balancer));
        BalancerDocument::from_json(&rendered.unwrap().document).unwrap().backends.remove(0)
    });
    let said: Vec<_> = problems
        .iter()
        .map(ToString::to_string)
        .filter(|it| !it.contains("no access rules") && !it.contains("refers to this file"))
        .collect();
    (document, said.join("\n"))
}

const NODES: &str = "service: proxy-node";
const FIXED: &str = "static: [{name: s, address: \"192.0.2.1:80\"}";

#[test]
fn what_is_said_is_what_is_meant() {
    let (document, problems) = backend(NODES, "");
    let document = document.unwrap_or_else(|| panic!("{problems}"));
    assert_eq!((document.retry.on, document.retry.hedge), (RetryOn::usual(), None));
    assert_eq!(document.outlier_ejection, None);
    let servers =
        format!("{FIXED}, {{name: sorry, address: \"192.0.2.2:80\", last_resort: true}}]");
    let (document, problems) = backend(
        &servers,
        ", retry: {on: [connect_failure, reset, 503], hedge: {percentile: 95%}}, \
         outlier_ejection: {latency_factor: 3}",
    );
    let document = document.unwrap_or_else(|| panic!("{problems}"));
    assert_eq!(problems, "");
    let on = [RetryOn::ConnectFailure, RetryOn::Reset, RetryOn::Status(503)];
    assert_eq!(document.retry.on, on);
    let hedge = Hedge { after: Duration::from_millis(100), percentile: Some(95) };
    assert_eq!(document.retry.hedge, Some(hedge));
    let ejection = document.outlier_ejection.unwrap();
    assert_eq!((ejection.latency_factor, ejection.failure_percent), (3, 50));
    assert_eq!(ejection.base_ejection_time, Duration::from_secs(30));
    let resorts: Vec<_> = document.servers.iter().map(|it| it.last_resort).collect();
    assert_eq!(resorts, [false, true]);
}

#[test]
fn every_slip_has_its_place_and_a_remedy() {
    let both = format!(
        "{FIXED}, {{name: t, address: \"192.0.2.2:80\", backup: true, last_resort: true}}]"
    );
    for (servers, written, said) in [
        (NODES, ", retry: {on: conn-failure}", "write connect_failure"),
        (NODES, ", retry: {on: [reset, response-timeout]}", "write timeout"),
        (NODES, ", retry: {on: [200]}", "`200` is nothing that can be tried again"),
        (NODES, ", retry: {on: 5xx}", "write [500, 501, 502, 503, 504]"),
        (NODES, ", retry: {on: [503]}", "its death is not tried again; add connect_failure"),
        (NODES, ", retry: {on: []}", "its death is not tried again"),
        (NODES, ", retry: {budget: 0%, hedge: {}}", "need a budget, and this is none"),
        (NODES, ", retry: {hedge: {percentile: 40%}}", "write 50% to 99%"),
        (NODES, ", retry: {hedge: {percentile: 100%}}", "write 50% to 99%"),
        (NODES, ", outlier_ejection: {interval: 0s}", "a time of zero leaves no time"),
        (NODES, ", outlier_ejection: {base_ejection_time: 10m}", "shorter than the first ejection"),
        (NODES, ", outlier_ejection: {latency_factor: 1}", "write 2 or more"),
        (NODES, ", outlier_ejection: {minimum_requests: 0}", "minimum_requests"),
        (
            NODES,
            ", outlier_ejection: {latency_factor: 0, failure_percent: 0%}",
            "nothing is compared",
        ),
        (&both, "", "a backup comes before the last resort, and this is both"),
    ] {
        let (_, problems) = backend(servers, written);
        assert!(problems.contains(said), "{servers} {written}: {problems}");
        assert!(problems.contains("cluster.yaml:6:"), "{problems}");
    }
}
