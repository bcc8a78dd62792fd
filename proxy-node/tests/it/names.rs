//! Names as hosts have them, and name servers as the world has them.

use std::io::Write;

use testkit::nameserver::NameServer;

use crate::support::{Origin, Proxy, Then, connect, read_reply, response, until};

/// RFC 2181 §11: any of them is a name.
const NAMES: [&str; 10] = [
    "a_b.test",
    "project_web_1.test",
    "_x.test",
    "x_.test",
    "-ab.test",
    "ab-.test",
    "xn--zzzzzz99999.test",
    "xn--.test",
    "a--b.test",
    "project-web_1",
];

fn origin() -> Origin {
    Origin::answering(response("Cache-Control: no-store\r\n", "here"), Then::Keep)
}

fn tunnel(proxy: &Proxy, target: &str) -> u16 {
    let mut stream = connect(proxy.address);
    stream
        .write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes())
        .unwrap();
    read_reply(&mut stream, "CONNECT").status
}

#[test]
fn every_name_is_looked_up_in_dns_and_in_the_hosts_file() {
    let (origin, server) = (origin(), NameServer::start().unwrap());
    let port = origin.address.port();
    let by_dns = Proxy::on_host(&server.line(), "");
    let by_file = Proxy::on_host("", &format!("127.0.0.1 {}\n", NAMES.join(" ")));
    for (how, proxy) in [("DNS", by_dns), ("hosts", by_file)] {
        for name in NAMES {
            assert_eq!(
                proxy.get(&format!("http://{name}:{port}/")).text(),
                "here",
                "GET {name} by {how}"
            );
            assert_eq!(tunnel(&proxy, &format!("{name}:{port}")), 200, "CONNECT {name} by {how}");
        }
    }
    assert!(
        origin.requests().iter().any(|head| head.contains(&format!("Host: -ab.test:{port}\r\n")))
    );
}

#[test]
fn a_server_that_is_silent_about_ipv6_fails_no_request() {
    let (origin, server) = (origin(), NameServer::start().unwrap());
    let port = origin.address.port();
    let proxy = Proxy::on_host(&format!("options timeout:0\n{}", server.line()), "");
    for number in 0..20 {
        assert_eq!(proxy.get(&format!("http://no-aaaa-{number}.test:{port}/")).status, 200);
    }
    // The origin is where only the family is that comes late.
    assert_eq!(proxy.get(&format!("http://late-a.test:{port}/")).text(), "here");
    assert_eq!(proxy.get(&format!("http://none.test:{port}/")).status, 502);
}

#[test]
fn random_names_below_a_silent_zone_disturb_nobody() {
    let (origin, server) = (origin(), NameServer::start().unwrap());
    let port = origin.address.port();
    let proxy = Proxy::on_host(&server.line(), "");
    let flood: Vec<_> = (0..300)
        .map(|number| {
            let mut stream = connect(proxy.address);
            let head = format!(
                "GET http://r{number}.dead.test/ HTTP/1.1\r\nHost: r{number}.dead.test\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    // Of one domain 32 are looked up, 128 wait, and the rest is told at once, before any of them
    // has been given up.
    until("what is beyond the share is refused", || {
        (proxy.node.metrics.errors.get() >= 140).then_some(())
    });
    let asked = server.names().into_iter().filter(|name| name.ends_with(".dead.test")).count();
    assert!(asked <= 32, "{asked} names of one silent domain are looked up at a time");
    for number in 0..20 {
        assert_eq!(
            proxy.get(&format!("http://lively-{number}.test:{port}/")).text(),
            "here",
            "for the same client"
        );
    }
    drop(flood);
}
