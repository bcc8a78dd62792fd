//! Virtual addresses: the reference's keepalived.conf as a bundle, and exactly what is said of
//! slips.

use std::{collections::BTreeMap, time::Duration};

use cluster::Service;
use cluster_config::{BalancerDocument, Bundle, document::balancer::Vrrp, render};

const REST: &str = "  frontends: [{name: f, bind: \"0.0.0.0:8080\", backend: b}]\n  backends: \
    [{name: b, servers: {service: proxy-node}}]\n";

fn bundle(vrrp: &str) -> (Option<Bundle>, Vec<String>) {
    let text = format!("version: 1\nbalancer:\n  vrrp:\n{vrrp}{REST}");
    let files = BTreeMap::from([("cluster.yaml".to_owned(), text.into_bytes())]);
    let (bundle, problems) = Bundle::from_files(&files);
    let said = problems.iter().filter(|it| !it.message.starts_with("no access rules"));
    (bundle, said.map(ToString::to_string).collect())
}

fn document(vrrp: &str) -> Vec<Vrrp> {
    let (bundle, said) = bundle(vrrp);
    assert_eq!(said, Vec::<String>::new(), "{vrrp}");
    let name = BTreeMap::from([("name".to_owned(), "balancer-1".to_owned())]);
    let rendered = render(&bundle.expect("a bundle"), Service::Balancer, &name).expect("rendered");
    BalancerDocument::from_json(&rendered.document).expect("a document").vrrp
}

/// Chapter 2.2 of the reference, both machines in one bundle: `state MASTER` and `BACKUP` are what
/// their priorities say.
const REFERENCE: &str = "  - name: VI_1
    interface: eth0
    version: 2
    virtual_router_id: 51
    priority: {balancer-1: 100, balancer-2: 90}
    advert_interval: 1s
    auth_pass: secret:vrrp_auth
    addresses: [192.168.1.100/24]
";

#[test]
fn the_references_keepalived_configuration() {
    let wanted = Vrrp {
        name: "VI_1".to_owned(),
        interface: "eth0".to_owned(),
        virtual_router_id: 51,
        version: 2,
        priority: BTreeMap::from([("balancer-1".to_owned(), 100), ("balancer-2".to_owned(), 90)]),
        advert_interval: Duration::from_secs(1),
        auth_pass: Some("vrrp_auth".to_owned()),
        addresses: vec!["192.168.1.100/24".parse().unwrap()],
        preempt: true,
        preempt_delay: Duration::ZERO,
        unicast_peers: Vec::new(),
        track_weight: 11,
    };
    assert_eq!(document(REFERENCE), [wanted]);
}

#[test]
fn defaults_and_what_else_can_be_said() {
    let two = "  - {name: A, interface: eth0, virtual_router_id: 7, priority: {a: 200, b: 100}, \
        addresses: [10.0.0.100/24], nopreempt: true, unicast_peers: [a, b, 10.0.0.9]}
  - {name: B, interface: eth0, virtual_router_id: 7, priority: {a: 100, b: 254}, addresses: \
        [\"fe80::64/64\", \"2001:db8::64/64\"], preempt_delay: 30s, advert_interval: 10ms, track: \
        {weight: 0}}\n";
    let [one, other] = &document(two)[..] else { panic!("two") };
    assert_eq!((one.version, one.advert_interval), (3, Duration::from_secs(1)));
    assert_eq!((one.preempt, one.preempt_delay, one.track_weight), (false, Duration::ZERO, 101));
    assert_eq!(one.unicast_peers, ["a", "b", "10.0.0.9"]);
    assert_eq!((other.preempt, other.preempt_delay), (true, Duration::from_secs(30)));
    assert_eq!((other.advert_interval, other.track_weight), (Duration::from_millis(10), 0));
}

/// A balancer of the version before wrote documents without `vrrp`.
#[test]
fn a_document_without_virtual_addresses_is_read() {
    let document = br#"{"frontends":[],"backends":[]}"#;
    assert_eq!(BalancerDocument::from_json(document).expect("read").vrrp, []);
}

/// One instance with this in the place of the same key, or beside the others.
fn with(changed: &str) -> String {
    let key = changed.split(':').next().unwrap_or_default();
    let usual = [
        "name: V",
        "interface: eth0",
        "virtual_router_id: 51",
        "priority: {a: 100, b: 90}",
        "addresses: [10.0.0.100/24]",
    ];
    let replaced = |it: &str| {
        it.split(':').next() == Some(key)
            || key == "version" && changed.contains("addresses") && it.starts_with("addresses")
    };
    let mut lines: Vec<&str> = usual.into_iter().filter(|it| !replaced(it)).collect();
    lines.push(changed);
    format!("  - {}\n", lines.join("\n    "))
}

#[test]
fn every_slip_has_its_place_and_a_remedy() {
    let cases: &[(&str, &[&str])] = &[
        (
            "advert_interval: 15ms",
            &["9:22: error: `15ms` cannot be said in version 3 of VRRP; write \
            10ms to 40950ms in steps of 10ms"],
        ),
        (
            "advert_interval: 41s",
            &["9:22: error: `41s` cannot be said in version 3 of VRRP; write \
            10ms to 40950ms in steps of 10ms"],
        ),
        (
            "version: 2\n    advert_interval: 200ms",
            &["10:22: error: `200ms` cannot be said in \
            version 2 of VRRP; write whole seconds, 1s to 255s, or version: 3"],
        ),
        (
            "version: 2\n    addresses: [\"2001:db8::64/64\"]",
            &["9:17: error: version 2 of VRRP \
            has no IPv6 addresses such as `2001:db8::64/64`; write version: 3"],
        ),
        (
            "auth_pass: secret:x",
            &["9:16: error: version 3 has no passwords (RFC 9568 §9); remove \
            auth_pass, or write version: 2"],
        ),
        (
            "auth_pass: \"1234\"",
            &["9:16: error: a secret may not be written into a bundle; write \
            a reference, as in secret:vrrp_auth"],
        ),
        (
            "addresses: []",
            &["8:16: error: no address that moves; write at least one, as in \
            [192.168.1.100/24]"],
        ),
        (
            "addresses: [10.0.0.100]",
            &["8:17: error: `10.0.0.100` has no prefix; write that of its \
            network, as in 10.0.0.100/24"],
        ),
        (
            "addresses: [10.0.0.9/24, \"2001:db8::64/64\"]",
            &["8:30: error: IPv4 and IPv6 addresses \
            in one instance; write an instance for each; the virtual_router_id may be the same"],
        ),
        (
            "addresses: [10.0.0.9/24, 10.0.0.9/24]",
            &["8:30: error: `V` has 10.0.0.9 already; let \
            each address move once"],
        ),
        (
            "priority: {}",
            &["8:15: error: no balancer has a priority, so that nobody would hold \
            the addresses; name the balancers, as in {balancer-1: 100, balancer-2: 90}"],
        ),
        (
            "priority: {a: 0, b: 90}",
            &["8:19: error: priority 0 of `a` would say that it leaves; \
            write 1 to 254 (255 for the one that owns the addresses), or leave it out"],
        ),
        (
            "priority: {a: 255, b: 255}",
            &["8:27: error: both `a` and `b` own the addresses (255); \
            let at most one have 255"],
        ),
        (
            "unicast_peers: [a, c, \"fe80::1\"]",
            &[
                "9:24: error: `c` is neither an address nor a balancer with a priority here; did \
                 you mean `a`?",
                "9:27: error: `fe80::1` is not of the family of the addresses that move; write the \
            peer's other address, or its name",
            ],
        ),
        (
            "track: {weight: 10}",
            &["9:21: warning: an unhealthy balancer of priority 100 would \
            still be 90 and not below the lowest of the others, 90; write 11 or more, or leave it \
            out"],
        ),
        (
            "interface: a-name-too-long-for-linux",
            &["8:16: error: `a-name-too-long-for-linux` is \
            too long for the name of an interface; write the name that `ip link` shows, at most \
            15 letters"],
        ),
    ];
    let mut wrong = String::new();
    for (changed, expected) in cases {
        let (_, said) = bundle(&with(changed));
        let expected: Vec<_> = expected.iter().map(|it| format!("cluster.yaml:{it}")).collect();
        if said != expected {
            wrong.push_str(&format!("\n{changed}\nsaid: {said:#?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn two_instances_that_would_hear_each_other_are_told_apart() {
    let both =
        format!("{}{}", with("name: V"), with("name: W").replace("10.0.0.100", "10.0.0.101"));
    let (_, said) = bundle(&both);
    assert_eq!(
        said,
        ["cluster.yaml:10:24: error: `V` has virtual_router_id 51 on eth0 already; give each \
        instance of an interface its own, from 1 to 255"]
    );
}

#[test]
fn more_addresses_than_one_instance_can_say() {
    let many: Vec<_> = (1..=21).map(|last| format!("10.0.1.{last}/24")).collect();
    let (_, said) = bundle(&with(&format!("addresses: [{}]", many.join(", "))));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("21 addresses in one instance; write at most 20"), "{said:?}");
}

#[test]
fn keepalived_s_words_are_known() {
    for (theirs, ours) in [
        ("advert_int: 1s", "advert_interval"),
        ("authentication: x", "auth_pass"),
        ("virtual_ipaddress: [10.0.0.1/24]", "addresses"),
        ("state: MASTER", "priority"),
        ("unicast_peer: [a]", "unicast_peers"),
        ("track_script: x", "track"),
    ] {
        let (_, said) = bundle(&with(theirs));
        assert!(said[0].contains(&format!("`{ours}`")), "{theirs}: {said:?}");
    }
}
