use std::sync::atomic::Ordering;

use cluster_config::document::proxy as document;
use relay::{exchange, fault::Fault, method::Method, retry::Phase};

use super::{peer::MOST, *};
use crate::{
    clock::unix_millis,
    request::Destination,
    respond::{Error, Unreached},
};

const CLIENT: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn parents(count: u16) -> Parents {
    let document = |port| document::Parent::at("192.0.2.1".into(), port).into();
    Parents::new(
        &(0..count).map(document).collect::<Vec<_>>(),
        &Members::default(),
        &Parents::default(),
    )
}

fn ports(parents: &Parents) -> Vec<u16> {
    order(parents, "", CLIENT).iter().map(|parent| parent.document.port).collect()
}

#[test]
fn the_living_come_first_and_the_dead_last() {
    let parents = parents(4);
    assert_eq!(ports(&parents), [0, 1, 2, 3]);
    parents[0].failed(Error::ConnectTimeout);
    parents[2].failed(Error::Refused);
    assert_eq!(ports(&parents), [1, 2, 3, 0], "a refusal may be a restart");
    parents[2].failed(Error::Terminated);
    assert_eq!(ports(&parents), [1, 3, 0, 2]);
    parents[2].answered();
    assert_eq!(ports(&parents), [1, 2, 3, 0]);
    assert_eq!(
        (parents[2].counts(), parents[2].last_failure()),
        ((3, 2), Some(Unreached::Terminated))
    );
}

#[test]
fn what_others_do_does_not_make_it_dead() {
    let parents = parents(1);
    for failure in [Error::ResponseTimeout, Error::Incomplete, Error::Limit, Error::Internal] {
        for _ in 0..10 {
            parents[0].failed(failure);
        }
        assert!(parents[0].is_alive(), "{failure:?}");
    }
    for _ in 0..10 {
        parents[0].failed(Error::Refused);
        parents[0].answered();
    }
    assert!(parents[0].is_alive(), "only failures in a row count");
}

#[test]
fn who_is_outdone_for_several_destinations_in_a_row_is_dead() {
    let (parents, account) = (parents(3), Account::default());
    let destination =
        |host: &str| Destination { host: host.into(), address: None, port: 80, tls: false };
    // Whether another one does better, and the destination; whether the first one is alive
    // then.
    let request = |better: bool, host: &str| {
        let mut tried = account.begin(&parents, "", CLIENT);
        tried.note_in_vain(&parents, 0, 503);
        if better {
            parents[1].answered();
            tried.settle(&parents, &destination(host), &account);
        } else {
            tried.note_in_vain(&parents, 1, 503);
        }
        parents[0].is_alive()
    };
    for host in ["a", "b", "c", "d"] {
        assert!(request(false, host), "nobody can reach {host}");
    }
    for _ in 0..5 {
        assert!(request(true, "a"), "one destination is no evidence");
    }
    parents[0].answered();
    assert!(request(true, "b"), "it has answered between");
    assert!(!request(true, "c"));
    assert_eq!(parents[0].last_failure(), Some(Unreached::Outdone(503)));
    assert_eq!((parents[0].counts(), parents[1].counts()), ((12, 7), (11, 0)));
    assert!(
        parents[0].left_until.load(Ordering::Relaxed) > unix_millis() + 20_000,
        "and is not asked for a while"
    );
}

#[test]
fn an_origin_that_is_down_is_not_asked_by_all_and_a_parent_that_is_broken_is_always_made_up_for() {
    let (parents, account) = (parents(2), Account::default());
    let another = || may_ask_another_after_answer(Method::Get, true, Phase::Written, &account);
    for number in 0..1000 {
        let mut tried = account.begin(&parents, "", CLIENT);
        assert!(another(), "request {number}");
        tried.note_in_vain(&parents, 0, 502);
        tried.settle(&parents, &parents[1].destination, &account);
    }
    let asked = (0..1000).filter(|_| {
        account.begin(&parents, "", CLIENT);
        another()
    });
    let asked = asked.count();
    assert!((200..=210).contains(&asked), "{asked}");
    for (method, replayable, phase) in [
        (Method::Post, true, Phase::Written),
        (Method::Put, false, Phase::Written),
        (Method::Get, true, Phase::ResponseRelayed),
    ] {
        assert!(
            !may_ask_another_after_answer(method, replayable, phase, &Account::default()),
            "{method:?} {phase:?}"
        );
    }
}

#[test]
fn answers_in_vain() {
    for (head, in_vain) in [
        ("502 Bad Gateway\r\n", true),
        ("503 Service Unavailable\r\n", true),
        ("504 Gateway Timeout\r\nProxy-Status: squid; error=connection_timeout\r\n", true),
        ("503 Service Unavailable\r\nProxy-Status: squid; received-status=503\r\n", false),
        (
            "502 Bad Gateway\r\nProxy-Status: a; error=dns_error, b; received-status=502; \
             next-hop=\"x; y\"\r\n",
            false,
        ),
        ("503 Service Unavailable\r\nProxy-Status: a; details=\"; received-status=503\"\r\n", true),
        ("500 Internal Server Error\r\n", false),
        ("403 Forbidden\r\n", false),
        ("404 Not Found\r\n", false),
    ] {
        let bytes = format!("HTTP/1.1 {head}\r\n");
        let mut response = relay::head::ResponseHead::new();
        response.parse(bytes.as_bytes(), &relay::head::Limits::default()).expect("well-formed");
        assert_eq!(is_in_vain(response.view(bytes.as_bytes())), in_vain, "{head}");
    }
}

#[test]
fn nobody_is_asked_twice_but_on_a_connection_that_was_closing() {
    let parents = parents(70);
    let mut tried = Tried::default();
    let first = tried.next(&parents).map(|(index, _)| index);
    tried.forget(0);
    assert_eq!((first, tried.next(&parents).map(|(index, _)| index)), (Some(0), Some(0)));
    tried.forget(200);
    let rest: Vec<usize> =
        std::iter::from_fn(|| tried.next(&parents).map(|(index, _)| index)).collect();
    assert_eq!(rest, (1..MOST).collect::<Vec<_>>());
    assert!(!tried.leaves_any(&parents));
}

#[test]
fn another_one_is_asked_as_the_table_allows() {
    use exchange::{Error, Side};
    for (method, replayable, side, fault, phase, another) in [
        (Method::Get, true, Side::Upstream, Fault::Closed, Phase::Written, true),
        (Method::Get, true, Side::Upstream, Fault::Reset, Phase::Written, true),
        (Method::Connect, true, Side::Upstream, Fault::Closed, Phase::Written, true),
        (Method::Post, true, Side::Upstream, Fault::Closed, Phase::Written, false),
        (Method::Post, true, Side::Upstream, Fault::Reset, Phase::NothingWritten, true),
        (Method::Put, false, Side::Upstream, Fault::Closed, Phase::Written, false),
        (
            Method::Get,
            true,
            Side::Upstream,
            Fault::Timeout(relay::wheel::Kind::FirstByte),
            Phase::Written,
            false,
        ),
        (Method::Get, true, Side::Upstream, Fault::Closed, Phase::ResponseRelayed, false),
        (Method::Get, true, Side::Client, Fault::Closed, Phase::Written, false),
    ] {
        assert_eq!(
            may_ask_another(method, replayable, &Error { side, fault, phase }),
            another,
            "{method:?} {fault:?} {phase:?}"
        );
    }
}
