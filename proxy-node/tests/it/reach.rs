//! What decided is what is connected to, and what one client may not reach it does not get from
//! another's fetch.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use cluster_config::document::{
    Acl, ProxyDocument, Rule, Term, Verdict,
    egress::{EgressAllow, EgressTarget},
};
use proto::proxy::{ExplainRequestRequest, proxy_node_server::ProxyNode};
use proxy_node::dns::{self, files::Hosts};

use crate::{
    api::api,
    support::{Gate, Origin, Proxy, Reply, Then, connect, read_head, response, until},
};

const FIRST: [u8; 4] = [127, 0, 0, 1];
const SECOND: [u8; 4] = [127, 0, 0, 9];

fn rule(verdict: Verdict, acls: &[&str]) -> Rule {
    let term = |acl: &&str| Term {
        acl: (*acl).trim_start_matches('!').into(),
        negated: acl.starts_with('!'),
    };
    Rule { verdict, terms: acls.iter().map(term).collect(), page: None }
}

/// The ACL `second` has the second address.
fn rules(document: &mut ProxyDocument, rules: Vec<Rule>) {
    document.access.acls.insert("second".into(), Acl::Dst(vec!["127.0.0.9/32".parse().unwrap()]));
    document.access.rules = rules;
}

#[test]
fn only_the_addresses_that_decided_are_connected_to() {
    use Verdict::{Allow, Deny};
    let origin = Origin::answering(response("Cache-Control: no-store\r\n", "first"), Then::Keep);
    let port = origin.address.port();
    let names = || {
        HashMap::from([
            ("both.test", vec![IpAddr::from(SECOND), FIRST.into()]),
            ("one.test", vec![FIRST.into()]),
        ])
    };
    for (rules_of, both, one) in [
        // Nobody listens on the second address: 502 says that nothing else was tried.
        (vec![rule(Allow, &["second"])], 502, 403),
        (vec![rule(Allow, &["!second"])], 200, 200),
        (vec![rule(Deny, &["second"]), rule(Allow, &["all"])], 403, 200),
        (vec![rule(Deny, &["!second"]), rule(Allow, &["all"])], 403, 403),
        (vec![rule(Allow, &["all"])], 200, 200),
    ] {
        let proxy = Proxy::with_names(|document| rules(document, rules_of.clone()), names());
        for (name, want) in [("both.test", both), ("one.test", one)] {
            assert_eq!(
                proxy.get(&format!("http://{name}:{port}/")).status,
                want,
                "{name} under {rules_of:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_not_known_is_neither_allowed_nor_denied() {
    let origin = Origin::answering(response("", "secret"), Then::Keep);
    let url = format!("http://slow.test:{}/", origin.address.port());
    for (problem, want) in
        [(dns::Error::Timeout, 503), (dns::Error::Failed, 503), (dns::Error::NotFound, 502)]
    {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        // Silent when the rules ask, and there when somebody connects.
        let lookup = move |_: &str| {
            if count.fetch_add(1, Ordering::SeqCst) == 0 {
                Err(problem)
            } else {
                Ok([IpAddr::from(SECOND), FIRST.into()].into())
            }
        };
        let change = |document: &mut ProxyDocument| {
            rules(document, vec![rule(Verdict::Deny, &["second"]), rule(Verdict::Allow, &["all"])])
        };
        let proxy = Proxy::with_lookup(change, lookup);
        let reply = proxy.get(&url);
        assert_eq!(reply.status, want, "{problem:?}");
        assert!(
            reply.text().contains("an access rule asks for the addresses of the destination"),
            "{}",
            reply.text()
        );
        assert_eq!(
            (origin.connections(), asked.load(Ordering::SeqCst)),
            (0, 1),
            "never asked behind the rules' back"
        );
        let api = api(&proxy);
        let asked = ExplainRequestRequest { url: url.clone(), ..Default::default() };
        let told = api.explain_request(tonic::Request::new(asked)).await.unwrap().into_inner();
        assert!(
            !told.allowed && told.rule.contains("an access rule asks for the addresses"),
            "{told:?}"
        );
    }
}

/// Loopback is for 127.0.0.2 alone.
fn for_one_client(document: &mut ProxyDocument) {
    document.trusted_downstreams = vec!["127.0.0.0/8".parse().unwrap()];
    document.access.egress.allow = vec![EgressAllow {
        to: vec![EgressTarget::Loopback],
        ports: vec![],
        clients: vec!["192.0.2.1/32".parse().unwrap()],
    }];
}

fn as_client(proxy: &Proxy, client: &str, url: &str) -> Reply {
    proxy.ask("GET", url, &format!("X-Forwarded-For: {client}\r\n"))
}

/// The first head that it gets, be it an interim one.
fn first_head(proxy: &Proxy, client: &str, url: &str) -> String {
    let mut stream = connect(proxy.address);
    let request = format!("GET {url} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\n\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    read_head(&mut stream).unwrap()
}

#[test]
fn what_one_client_may_not_reach_it_does_not_get_from_the_cache() {
    let origin = Origin::answering(
        response("Cache-Control: max-age=60\r\nETag: \"1\"\r\n", "inner"),
        Then::Keep,
    );
    let proxy = Proxy::with(for_one_client);
    let url = origin.url("/");
    assert_eq!(as_client(&proxy, "192.0.2.2", &url).status, 403);
    assert_eq!(as_client(&proxy, "192.0.2.1", &url).text(), "inner");
    let hit = as_client(&proxy, "192.0.2.1", &url);
    assert!(
        hit.field("cache-status").is_some_and(|status| status.contains("; hit")),
        "{}",
        hit.head
    );
    let other = as_client(&proxy, "192.0.2.2", &url);
    assert_eq!((other.status, other.text().contains("inner")), (403, false), "{}", other.text());
    let only =
        proxy.ask("GET", &url, "X-Forwarded-For: 192.0.2.2\r\nCache-Control: only-if-cached\r\n");
    assert_eq!(only.status, 504);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn nor_from_a_fill_that_it_waits_for() {
    let gate = Gate::default();
    let (held, entered) = (gate.clone(), Gate::default());
    let arrived = entered.clone();
    let origin = Origin::start(move |stream, _| {
        drop(std::io::Write::write_all(
            stream,
            b"HTTP/1.1 103 Early Hints\r\nLink: </inner.css>\r\n\r\n",
        ));
        arrived.open();
        held.wait();
        drop(std::io::Write::write_all(
            stream,
            response("Cache-Control: max-age=60\r\n", "inner").as_bytes(),
        ));
        Then::Keep
    });
    let proxy = Proxy::with(for_one_client);
    let url = origin.url("/");
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| as_client(&proxy, "192.0.2.1", &url));
        entered.wait();
        let followers: Vec<_> = ["192.0.2.1", "192.0.2.2"]
            .map(|client| (client, scope.spawn(|| first_head(&proxy, client, &url))))
            .into();
        until("both follow", || (proxy.node.metrics.misses.get() >= 3).then_some(()));
        gate.open();
        assert_eq!(leader.join().unwrap().text(), "inner");
        for (client, head) in followers {
            let head = head.join().unwrap();
            // Hints, too, are for those alone who may look where they come from.
            let wanted = if client == "192.0.2.1" { "HTTP/1.1 103 " } else { "HTTP/1.1 403 " };
            assert!(head.starts_with(wanted), "{client}: {head}");
        }
    });
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_rule_about_addresses_is_asked_of_what_is_stored_too() {
    let origin = Origin::answering(response("Cache-Control: max-age=60\r\n", "inner"), Then::Keep);
    let url = format!("http://moves.test:{}/", origin.address.port());
    let change = |document: &mut ProxyDocument| {
        document.trusted_downstreams = vec!["127.0.0.0/8".parse().unwrap()];
        document
            .access
            .acls
            .insert("first".into(), Acl::Dst(vec!["127.0.0.1/32".parse().unwrap()]));
        document.access.acls.insert("boss".into(), Acl::Src(vec!["192.0.2.1/32".parse().unwrap()]));
        document.access.rules =
            vec![rule(Verdict::Deny, &["first", "!boss"]), rule(Verdict::Allow, &["all"])];
    };
    let moved = Arc::new(AtomicBool::new(false));
    let now = moved.clone();
    let proxy = Proxy::with_lookup(change, move |_| {
        Ok([IpAddr::from(if now.load(Ordering::SeqCst) { SECOND } else { FIRST })].into())
    });
    assert_eq!(as_client(&proxy, "192.0.2.1", &url).text(), "inner");
    assert_eq!(as_client(&proxy, "192.0.2.2", &url).status, 403);
    // By its name everybody may go where it is now; what is stored came from where it was. Nobody
    // listens there now: 502.
    moved.store(true, Ordering::SeqCst);
    proxy.node.resolver.renew(Hosts::default());
    let other = as_client(&proxy, "192.0.2.2", &url);
    assert_eq!((other.status, other.text().contains("inner")), (502, false), "{}", other.text());
    assert_eq!(
        as_client(&proxy, "192.0.2.1", &url).text(),
        "inner",
        "and is still there for who may have it"
    );
    assert_eq!(origin.requests().len(), 1);
}
