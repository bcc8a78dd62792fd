//! The proxy auto-configuration file at a frontend. What its functions say is compared with where
//! requests go in a browser (`e2e`).

use serde_json::{Value, json};
use testkit::client::Answer;

use crate::support::{Cluster, status};

async fn ask(cluster: &Cluster, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    let has_host = fields.iter().any(|(name, _)| *name == "Host");
    for (name, value) in fields.iter().chain((!has_host).then_some(&("Host", "b.test"))) {
        head += &format!("{name}: {value}\r\n");
    }
    let mut client = cluster.open().await;
    client.send(format!("{head}\r\n").as_bytes()).await.expect("sent");
    client.answer(method).await.expect("an answer")
}

fn variable(answer: &Answer, name: &str) -> Value {
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let begin = format!("var {name} = ");
    let line = text.lines().find_map(|line| line.strip_prefix(&begin)?.strip_suffix(';'));
    serde_json::from_str(line.unwrap_or_else(|| panic!("{name} in {text}"))).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_follows_who_is_usable() {
    let cluster = Cluster::with(
        3,
        json!({"frontend": {"pac": {
            "nodes": 2, "proxies": [], "bypass": [], "bypass_networks": [],
            "bypass_local_names": true, "direct": false,
        }}}),
    )
    .await;
    let answer = ask(&cluster, "GET", "/proxy.pac", &[("Host", "proxy.test:3128")]).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.head.field("content-type"), Some("application/x-ns-proxy-autoconfig"));
    assert_eq!(answer.head.field("cache-control"), Some("public, max-age=60"));
    assert_eq!(variable(&answer, "OTHERS"), json!(["PROXY proxy.test:3128"]));
    let node = |at: usize| {
        json!([cluster.nodes[at].name(), format!("{}.test:3128", cluster.nodes[at].name()), 160])
    };
    assert_eq!(variable(&answer, "NODES"), json!([node(0), node(1), node(2)]));

    // Kept, and known again; under its other name the same one.
    let etag = answer.head.field("etag").expect("an entity tag").to_owned();
    let host = ("Host", "proxy.test:3128");
    for path in ["/proxy.pac", "/wpad.dat", "/wpad.dat?x=1"] {
        let again = ask(&cluster, "GET", path, &[host, ("If-None-Match", &etag)]).await;
        assert_eq!((again.status(), again.body.len()), (304, 0), "{path}");
        assert_eq!(again.head.field("etag"), Some(etag.as_str()));
    }
    let head = ask(&cluster, "HEAD", "/proxy.pac", &[host]).await;
    assert_eq!((head.status(), head.body.len()), (200, 0));
    assert_eq!(head.head.field("content-length"), answer.head.field("content-length"));

    // Who leaves is not named any more.
    let listed: Vec<_> = cluster.nodes[1..].iter().map(status).collect();
    cluster.list(&listed);
    let fewer = testkit::wait::until("one less is named", || async {
        let answer = ask(&cluster, "GET", "/proxy.pac", &[host]).await;
        (variable(&answer, "NODES") == json!([node(1), node(2)])).then_some(answer)
    })
    .await;
    assert_ne!(fewer.head.field("etag"), Some(etag.as_str()));

    // Nothing else is taken for it: servers get it.
    for (method, path) in
        [("POST", "/proxy.pac"), ("GET", "/proxy.pacx"), ("GET", "http://a/proxy.pac")]
    {
        ask(&cluster, method, path, &[]).await;
    }
    assert_eq!(cluster.arrivals().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_bundle_says_is_in_it() {
    let cluster = Cluster::with(1, json!({"frontend": {"pac": {
        "nodes": 0, "proxies": [["vip.test", 3128], ["2001:db8::1", 8080]],
        "bypass": [{"name": "intranet.test", "subdomains": true}],
        "bypass_networks": ["10.0.0.0/8", "fd00::/8"], "bypass_local_names": false, "direct": true,
    }}}))
    .await;
    let answer = ask(&cluster, "GET", "/proxy.pac", &[("Host", "a.test")]).await;
    let others = ["PROXY vip.test:3128", "PROXY [2001:db8::1]:8080", "DIRECT"];
    assert_eq!(variable(&answer, "OTHERS"), json!(others));
    assert_eq!(variable(&answer, "NODES"), json!([]));
    assert_eq!(variable(&answer, "DOMAINS"), json!([["intranet.test", true, false]]));
    assert_eq!(variable(&answer, "NETWORKS")[0], json!([[10, 0, 0, 0], 8]));
    assert_eq!(variable(&answer, "LOCAL_NAMES"), json!(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_bundle_there_is_none() {
    let cluster = Cluster::start(1).await;
    ask(&cluster, "GET", "/proxy.pac", &[]).await;
    assert_eq!(cluster.arrivals().len(), 1, "a server gets it");
}
