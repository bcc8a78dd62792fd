//! What the balancer asks servers itself: nodes how full they are, servers by address for a page,
//! agents beside them for a word.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use proto::balancer as pb;
use serde_json::{Value, json};
use testkit::wait::until;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{Cluster, by};

/// A server that says the same to everybody, and what it was asked last.
struct Teller {
    address: SocketAddr,
    says: Arc<Mutex<String>>,
    asked: Arc<Mutex<String>>,
}

impl Teller {
    /// One that waits for a request first, or not.
    async fn start(says: &str, listens: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let said = Arc::new(Mutex::new(says.to_owned()));
        let asked = Arc::new(Mutex::new(String::new()));
        let (says, told) = (Arc::clone(&said), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = Vec::new();
                while listens && !bytes.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                *told.lock().unwrap() = String::from_utf8_lossy(&bytes).into_owned();
                let says = said.lock().unwrap().clone();
                drop(stream.write_all(says.as_bytes()).await);
            }
        });
        Self { address, says, asked }
    }

    fn say(&self, says: &str) {
        *self.says.lock().unwrap() = says.to_owned();
    }
}

/// Servers by address, named s1 and so on, with these settings beside.
fn plain(addresses: &[SocketAddr], extra: &Value) -> Value {
    let server = |(number, address): (usize, &SocketAddr)| {
        json!({
            "name": format!("s{}", number + 1), "host": address.ip().to_string(),
            "port": address.port(), "weight": 1, "backup": false,
        })
    };
    let servers: Vec<_> = addresses.iter().enumerate().map(server).collect();
    let mut settings = json!({"discover": null, "servers": servers});
    for (key, value) in extra.as_object().into_iter().flatten() {
        settings[key] = value.clone();
    }
    settings
}

async fn until_reason(cluster: &Cluster, name: &str, reason: &str) -> pb::Server {
    until(format!("{name}: {reason}"), || async {
        cluster.server(name).filter(|it| it.reasons.iter().any(|it| it.contains(reason)))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_says_whether_a_server_is_well() {
    let server = Teller::start("HTTP/1.0 200 OK\r\n\r\nall is fine here", true).await;
    let check = json!({
        "check": {
            "enabled": true, "inter": "250ms", "timeout": "2s", "rise": 1, "fall": 1,
            "http": {
                "method": "GET", "path": "/up?x", "host": "www.example", "status": [[200, 299]],
                "body": "is fine",
            },
        },
    });
    let cluster = Cluster::with(0, plain(&[server.address], &check)).await;
    until_reason(&cluster, "s1", "it answers").await;
    let asked = server.asked.lock().unwrap().clone();
    assert!(asked.starts_with("GET /up?x HTTP/1.0\r\nHost: www.example\r\n"), "{asked}");
    for (says, reason) in [
        ("HTTP/1.0 200 OK\r\n\r\nall is lost", "does not contain \"is fine\""),
        ("HTTP/1.0 503 No\r\n\r\nall is fine here", "answered 503"),
        ("SSH-2.0-x\r\n\r\n", "malformed answer"),
        ("", "closed without an answer"),
    ] {
        server.say(says);
        let told = until_reason(&cluster, "s1", reason).await;
        assert_eq!(told.standing, i32::from(pb::Standing::Unwell), "{says:?}");
    }
    server.say("HTTP/1.1 204 OK\r\n\r\nis fine");
    cluster.until_standing("s1", pb::Standing::Usable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_keeps_a_client_with_its_server() {
    let mut servers = Vec::new();
    for number in 1..=3 {
        let says = format!(
            "HTTP/1.1 200 OK\r\nX-Node: s{number}\r\nCache-Control: max-age=9\r\n\
             Connection: close\r\nContent-Length: 0\r\n\r\n"
        );
        servers.push(Teller::start(&says, true).await);
    }
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let sticky = json!({
        "sticky": {
            "cookie": "SRV", "insert": true, "indirect": true, "nocache": true, "httponly": true,
            "secure": false, "hashed": true,
        },
    });
    let mut cluster = Cluster::with(0, plain(&addresses, &sticky)).await;
    for name in ["s1", "s2", "s3"] {
        until_reason(&cluster, name, "it answers").await;
    }
    let ask = async |cluster: &Cluster, cookie: &str| {
        let fields = if cookie.is_empty() { vec![] } else { vec![("Cookie", cookie)] };
        let mut client = cluster.open().await;
        let answer = client.request("GET", "http://o/x", &fields, b"").await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let given = answer.head.field("set-cookie").map(str::to_owned);
        (by(&answer), given, answer)
    };
    let (own, given, answer) = ask(&cluster, "").await;
    let given = given.expect("a cookie");
    let value = given.strip_suffix("; Path=/; HttpOnly").expect("its attributes");
    assert!(value.starts_with("SRV=") && !value.contains(&own), "{value}");
    let caching: Vec<_> =
        answer.head.fields.iter().filter(|it| it.0 == "cache-control").map(|it| &*it.1).collect();
    assert_eq!(caching, ["max-age=9", "private"]);
    for _ in 0..6 {
        let (server, given, _) = ask(&cluster, &format!("a=1; {value}; b=2")).await;
        assert_eq!((&server, given), (&own, None), "it has it already");
    }
    let index = servers.iter().position(|it| answer_names(it, &own)).expect("its server");
    let asked = servers[index].asked.lock().unwrap().clone();
    assert!(asked.contains("Cookie: a=1; b=2\r\n"), "{asked}");
    // Whose server is gone is given another one, and told so.
    let others: Vec<_> =
        addresses.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, it)| *it).collect();
    let mut settings = plain(&others, &sticky);
    for (server, address) in
        settings["servers"].as_array_mut().expect("a list").iter_mut().zip(&others)
    {
        let at = addresses.iter().position(|it| it == address).expect("known");
        server["name"] = format!("s{}", at + 1).into();
    }
    cluster.apply(settings).expect("a good configuration");
    cluster.until_applied().await;
    let (server, given, _) = ask(&cluster, value).await;
    assert!(server != own && given.is_some_and(|it| !it.starts_with(value)));
}

fn answer_names(server: &Teller, name: &str) -> bool {
    server.says.lock().unwrap().contains(&format!("X-Node: {name}\r"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_says_what_its_server_gets() {
    let server = Teller::start("HTTP/1.0 200 OK\r\n\r\n", true).await;
    let agent = Teller::start("up 40%\n", false).await;
    let check = json!({"agent_check": {"port": agent.address.port(), "inter": "200ms"}});
    let mut cluster = Cluster::with(0, plain(&[server.address], &check)).await;
    let told = until_reason(&cluster, "s1", "its agent gives it 40 % of its weight").await;
    assert_eq!(told.percent, 40);
    for (says, reason, standing) in [
        ("drain\n", "its agent says drain", pb::Standing::Excluded),
        ("maint", "its agent says maint", pb::Standing::Excluded),
        ("ready\r\n", "40 % of its weight", pb::Standing::Usable),
        ("down#the disk is full", "down: the disk is full", pb::Standing::Unwell),
        ("up 100%", "it answers", pb::Standing::Usable),
    ] {
        agent.say(says);
        until_reason(&cluster, "s1", reason).await;
        cluster.until_standing("s1", standing).await;
    }
    agent.say("maxconn:7 stopped");
    let told = until_reason(&cluster, "s1", "its agent says stopped").await;
    assert_eq!(told.maxconn, Some(7));
    // What an agent has said ends with it.
    cluster.apply(plain(&[server.address], &json!({}))).expect("a good configuration");
    cluster.until_standing("s1", pb::Standing::Usable).await;
    until("any number", || async {
        cluster.server("s1").filter(|it| it.maxconn.is_none()).map(drop)
    })
    .await;
}

/// Over the runtime socket.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_speaks_for_an_agent() {
    let server = Teller::start("HTTP/1.0 200 OK\r\n\r\n", true).await;
    let agent = Teller::start("up 40%\n", false).await;
    let check = json!({"agent_check": {"port": agent.address.port(), "inter": "200ms"}});
    let cluster = Cluster::with(0, plain(&[server.address], &check)).await;
    until_reason(&cluster, "s1", "its agent gives it 40 % of its weight").await;
    let say = |line: &'static str| crate::runtime_socket::said(&cluster, line);
    // What it says from now on is not asked for, and what an operator says lasts.
    assert_eq!(say("disable agent squid_servers/s1\n").await, "\n");
    // Between two checks of the server its agent would be asked five times.
    let checks = |more: u64| {
        let before = cluster.counters("s1").checks_passed;
        let cluster = &cluster;
        until("checks", move || async move {
            (cluster.counters("s1").checks_passed >= before + more).then_some(())
        })
    };
    checks(1).await;
    agent.say("drain\n");
    checks(2).await;
    assert_eq!(cluster.server("s1").map(|it| it.standing()), Some(pb::Standing::Usable));
    assert_eq!(say("set server squid_servers/s1 agent down\n").await, "\n");
    until_reason(&cluster, "s1", "its agent says down: an operator said so").await;
    assert_eq!(say("set server squid_servers/s1 agent up\n").await, "\n");
    cluster.until_standing("s1", pb::Standing::Usable).await;
    assert_eq!(say("enable agent squid_servers/s1\n").await, "\n");
    until_reason(&cluster, "s1", "its agent says drain").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_full_gets_less() {
    let check = json!({
        "check": {"enabled": true, "inter": "200ms", "timeout": "2s", "rise": 2, "fall": 3},
    });
    let cluster = Cluster::with(2, check).await;
    cluster.nodes[0].set_load(90);
    cluster.nodes[1].set_load(70);
    // Step by step, each time that it may have told something new.
    let told = until_reason(&cluster, "node-1", "90 % full: 55 % of its weight").await;
    assert_eq!((told.percent, told.load), (55, Some(90)));
    until("node-2 has told", || async {
        cluster.server("node-2").filter(|it| it.load == Some(70) && it.percent == 100).map(drop)
    })
    .await;
    let mut client = cluster.open().await;
    for _ in 0..155 {
        let answer = client.request("GET", "http://o/", &[], b"").await.expect("an answer");
        assert_eq!(answer.status(), 200);
    }
    let shares: Vec<_> = cluster.nodes.iter().map(|node| node.arrivals().len()).collect();
    assert!((53..=57).contains(&shares[0]), "{shares:?}");
    cluster.nodes[0].set_load(10);
    until("it has room again", || async {
        cluster.server("node-1").filter(|it| it.percent == 100).map(drop)
    })
    .await;
}
