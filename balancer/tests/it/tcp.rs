//! Frontends of mode tcp, and who the client is: said by a load balancer in front, and to servers.

use std::{net::SocketAddr, time::Duration};

use relay::{
    client_hello,
    proxy_protocol::{self, Addresses, Command},
};
use serde_json::{Value, json};
use testkit::{client::Connection, port::free, wait::until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{Cluster, NO_FILES, document, records};

/// A server that says its name, and then what it hears.
async fn echo(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.into_split();
                write.write_all(name.as_bytes()).await?;
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    address
}

fn server(name: &str, address: SocketAddr) -> Value {
    json!({
        "name": name, "host": address.ip().to_string(), "port": address.port(),
        "weight": 1, "backup": false,
    })
}

/// A backend of these servers like that of [`document`], with what is laid over it.
fn backend(name: &str, servers: &[(&str, SocketAddr)], extra: &Value) -> Value {
    let whole: Value = serde_json::from_slice(&document(&json!({}))).expect("JSON");
    let mut backend = whole["backends"][0].clone();
    backend["name"] = name.into();
    backend["discover"] = Value::Null;
    backend["servers"] = servers.iter().map(|(name, at)| server(name, *at)).collect();
    // What is held against a server is what clients meet.
    backend["check"]["enabled"] = false.into();
    for (key, value) in extra.as_object().into_iter().flatten() {
        backend[key] = value.clone();
    }
    backend
}

fn frontend(extra: &Value) -> Value {
    let whole: Value = serde_json::from_slice(&document(&json!({}))).expect("JSON");
    let mut frontend = whole["frontends"][0].clone();
    frontend["health_path"] = Value::Null;
    for (key, value) in extra.as_object().into_iter().flatten() {
        frontend[key] = value.clone();
    }
    frontend
}

/// A balancer with this frontend and these backends, and where it listens.
async fn balancer(frontend: Value, backends: &[Value], acls: Value) -> (Cluster, SocketAddr) {
    let cluster = Cluster::start(0).await;
    let bind = free();
    let mut frontend = frontend;
    frontend["bind"] = bind.to_string().into();
    let document = json!({"frontends": [frontend], "backends": backends, "acls": acls});
    let document = serde_json::to_vec(&document).expect("JSON");
    cluster.engine.apply("tcp", &document, NO_FILES).unwrap_or_else(|it| panic!("{it:?}"));
    until("it is open", || async {
        cluster.stats().frontends.iter().any(|it| it.address == bind.to_string()).then_some(())
    })
    .await;
    (cluster, bind)
}

async fn tcp(servers: &[(&str, SocketAddr)], extra: &Value) -> (Cluster, SocketAddr) {
    let mut extra = extra.clone();
    extra["mode"] = "tcp".into();
    let frontend = frontend(&json!({"mode": "tcp", "backend": "b"}));
    balancer(frontend, &[backend("b", servers, &extra)], json!({})).await
}

/// Sends this and ends; what came back until the other side ended too.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("the frontend");
    stream.write_all(bytes).await.expect("it is taken");
    stream.shutdown().await.expect("it is open");
    let mut answer = Vec::new();
    // Cut, the rest is not there.
    drop(stream.read_to_end(&mut answer).await);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_goes_to_one_server_byte_for_byte() {
    let servers = [("one", echo("one").await), ("two", echo("two").await)];
    // One worker's turn is not another's.
    let (cluster, address) = tcp(&servers, &json!({"balance": "first"})).await;
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    for size in [0, 10, 300_000] {
        let answer = exchange(address, &bytes[..size]).await;
        assert_eq!(answer.len(), size + 3, "{size} bytes");
        assert!(answer == [b"one", &bytes[..size]].concat(), "{size} bytes come back as they were");
    }
    // Who speaks first does not matter: nothing was sent.
    let mut silent = TcpStream::connect(address).await.expect("the frontend");
    let mut name = [0; 3];
    silent.read_exact(&mut name).await.expect("the server speaks first");
    drop(silent);
    let records = records(&cluster, 4).await;
    // A worker writes its own ones down in order.
    let large = records.iter().find(|it| it["bytes"] == 600_003).expect("the large one");
    assert_eq!(
        (&large["method"], &large["server"], &large["error"]),
        (&json!("TCP"), &json!("one"), &json!(""))
    );
    let stats = cluster.frontend_stats();
    assert_eq!((stats.requests, stats.tunnels, stats.failed), (4, 4, 0));
    assert_eq!(cluster.counters("one").active_tunnels, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_is_asked_until_one_takes_it() {
    let dead = free();
    let servers = [("dead", dead), ("well", echo("well").await)];
    let (cluster, address) = tcp(&servers, &json!({"balance": "first"})).await;
    assert_eq!(exchange(address, b"!").await, b"well!");
    let first = records(&cluster, 1).await.remove(0);
    assert_eq!((&first["server"], &first["attempts"]), (&json!("well"), &json!(2)));
    assert_eq!(cluster.counters("dead").failures, 1);
    // Held against it twice, it is out of turn.
    assert_eq!(exchange(address, b"?").await, b"well?");
    cluster.until_standing("dead", proto::balancer::Standing::Unwell).await;
    assert_eq!(exchange(address, b".").await, b"well.");
    assert!(records(&cluster, 3).await.iter().any(|it| it["attempts"] == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_it() {
    let servers = [("one", free()), ("two", free())];
    let (cluster, address) = tcp(&servers, &json!({"retry": {"attempts": 5, "budget": 20}})).await;
    assert_eq!(exchange(address, b"!").await, b"");
    let record = records(&cluster, 1).await.remove(0);
    assert_eq!(
        (&record["attempts"], &record["error"], &record["status"]),
        (&json!(2), &json!("connection_refused"), &json!(0))
    );
    assert_eq!(cluster.frontend_stats().failed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_hears_whose_connection_it_is() {
    let cluster =
        Cluster::with(1, json!({"mode": "tcp", "frontend": {"mode": "tcp", "health_path": null}}))
            .await;
    let mut client = cluster.open().await;
    let answer = client.request("GET", "http://a.example/", &[], b"").await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let arrival = cluster.arrivals().remove(0);
    assert_eq!(arrival.proxied.command, Command::Proxy);
    let addresses = arrival.proxied.addresses.expect("addresses");
    assert_eq!(addresses.destination, cluster.frontend);
    assert_eq!(addresses.source.ip(), cluster.frontend.ip());
    assert_eq!(arrival.head.field("via"), None, "nobody has read the request");
}

/// A ClientHello of this name.
fn hello(name: &str) -> Vec<u8> {
    let vector = |bytes: &[u8], length: usize| {
        [&(bytes.len() as u32).to_be_bytes()[4 - length..], bytes].concat()
    };
    let entry = [&[0][..], &vector(name.as_bytes(), 2)].concat();
    let extension = [&[0, 0][..], &vector(&vector(&entry, 2), 2)].concat();
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([vector(&[], 1), vector(&[0x13, 1], 2), vector(&[0], 1)].concat());
    body.extend(vector(&extension, 2));
    let bytes = [&[22, 3, 1][..], &vector(&[&[1][..], &vector(&body, 3)].concat(), 2)].concat();
    assert!(client_hello::parse(&bytes).expect("TLS").is_some());
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_goes_where_its_name_belongs_unread() {
    let [a, b] = [("a", echo("a").await), ("b", echo("b").await)];
    let mode = json!({"mode": "tcp"});
    let backends = [backend("a", &[a], &mode), backend("b", &[b], &mode)];
    let rules = json!([{"when": [{"acl": "a", "negated": false}], "backend": "a"}]);
    let timeouts = json!({"client": "5s", "client_idle": "5s", "request_head": "300ms"});
    let frontend = frontend(
        &json!({"mode": "tcp", "backend": "b", "use_backend": rules, "timeouts": timeouts}),
    );
    let acls = json!({"a": {"sni": [{"name": "a.example", "subdomains": true}]}});
    let (cluster, address) = balancer(frontend, &backends, acls).await;
    for (bytes, server) in [
        (hello("A.example"), "a"),
        (hello("x.a.example"), "a"),
        (hello("b.example"), "b"),
        (b"SSH-2.0-x".to_vec(), "b"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "b"),
    ] {
        let answer = exchange(address, &bytes).await;
        assert_eq!(answer, [server.as_bytes(), &bytes].concat(), "{bytes:?}");
    }
    assert!(records(&cluster, 5).await.iter().any(|it| it["target"] == "a.example"));
    // In two pieces it is one; half of one is waited for, and no longer than a head.
    let whole = hello("a.example");
    let mut slow = TcpStream::connect(address).await.expect("the frontend");
    slow.write_all(&whole[..20]).await.expect("it is taken");
    tokio::task::yield_now().await;
    slow.write_all(&whole[20..]).await.expect("it is taken");
    let mut name = [0];
    slow.read_exact(&mut name).await.expect("a server");
    assert_eq!(&name, b"a");
    let mut half = TcpStream::connect(address).await.expect("the frontend");
    half.write_all(&whole[..20]).await.expect("it is taken");
    let mut rest = Vec::new();
    drop(half.read_to_end(&mut rest).await);
    assert_eq!(rest, b"");
    until("it is written down", || async {
        records(&cluster, 6).await.iter().any(|it| it["error"] == "client_timeout").then_some(())
    })
    .await;
    assert_eq!(cluster.frontend_stats().refused, 1);
}

/// A server by address that keeps what it hears first, and answers as HTTP.
async fn listener() -> (SocketAddr, tokio::sync::mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (heard, hears) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heard = heard.clone();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                while !bytes.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut bytes).await? == 0 {
                        break;
                    }
                }
                drop(heard.send(bytes).await);
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
                // It stays, so that it could be used again.
                stream.read_buf(&mut Vec::new()).await
            });
        }
    });
    (address, hears)
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_by_address_are_told_whose_connection_it_is() {
    for mode in ["http", "tcp"] {
        for version in ["v1", "v2"] {
            let (server, mut hears) = listener().await;
            let backend =
                backend("b", &[("s", server)], &json!({"mode": mode, "send_proxy": version}));
            let frontend = frontend(&json!({"mode": mode, "backend": "b"}));
            let (_cluster, address) = balancer(frontend, &[backend], json!({})).await;
            let mut ports = Vec::new();
            for _ in 0..2 {
                let stream = TcpStream::connect(address).await.expect("the frontend");
                let client = stream.local_addr().expect("connected");
                let mut client_of = Connection::over(stream);
                let answer =
                    client_of.request("GET", "http://a/", &[], b"").await.expect("an answer");
                assert_eq!(answer.status(), 200);
                let heard = hears.recv().await.expect("a connection of its own");
                let (header, length) =
                    proxy_protocol::parse(&heard).expect("a header").expect("whole");
                let expected = Addresses { source: client, destination: address };
                assert_eq!(header.addresses, Some(expected), "{mode} {version}");
                assert_eq!(heard.starts_with(b"PROXY TCP4 "), version == "v1");
                assert!(heard[length..].starts_with(b"GET http://a/ HTTP/1.1\r\n"));
                ports.push(client.port());
            }
            assert_ne!(ports[0], ports[1]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_in_front_says_who_the_client_is() {
    let (server, mut hears) = listener().await;
    let limits = json!({"connections_per_client": 2});
    let trusting = |networks: &[&str]| {
        frontend(&json!({"backend": "b", "proxy_protocol": networks, "limits": limits}))
    };
    let backends = [backend("b", &[("s", server)], &json!({"keepalive": 0}))];
    let (cluster, address) = balancer(trusting(&["127.0.0.0/8"]), &backends, json!({})).await;
    let open = async |client: &str, version: u8| {
        let addresses = Addresses {
            source: client.parse().expect("an address"),
            destination: "192.0.2.200:3128".parse().expect("an address"),
        };
        let mut header = Vec::new();
        match version {
            1 => proxy_protocol::encode_line(&mut header, &addresses),
            _ => proxy_protocol::encode_proxy(&mut header, &addresses, None),
        }
        let mut stream = TcpStream::connect(address).await.expect("the frontend");
        // The request may come with it.
        header.extend_from_slice(b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(&header).await.expect("it is taken");
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.map(|_| stream)
    };
    let mut kept = Vec::new();
    for (client, version) in [("192.0.2.1:1000", 1), ("192.0.2.1:1001", 2), ("[2001:db8::1]:9", 2)]
    {
        kept.push(open(client, version).await.expect("an answer"));
        let heard = String::from_utf8(hears.recv().await.expect("a request")).expect("text");
        let ip = client.parse::<SocketAddr>().expect("an address").ip();
        assert!(heard.contains(&format!("\r\nX-Forwarded-For: {ip}\r\n")), "{heard}");
    }
    assert!(records(&cluster, 3).await.iter().any(|it| it["client"] == "2001:db8::1"));
    // Each client has its own share, whoever is in front: an older one of its own makes room, or,
    // where all of them are another worker's, it is refused.
    drop(open("192.0.2.1:1002", 1).await);
    until("its share is its share", || async {
        let closed = cluster.running.clients().expect("running").closed();
        (closed.refused + closed.displaced == 1).then_some(())
    })
    .await;
    kept.push(open("192.0.2.9:1", 1).await.expect("another client's"));
    // Without a header there is no answer.
    let answer = exchange(address, b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(answer, b"");
    // It is counted a moment after it was closed.
    until("it is counted", || async { (cluster.frontend_stats().refused >= 1).then_some(()) })
        .await;
    until("it is written down", || async {
        let records = records(&cluster, 4).await;
        records.iter().any(|it| it["error"] == "proxy_header_error").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_says_of_the_client_is_no_header() {
    let (server, _hears) = listener().await;
    let frontend = frontend(&json!({"backend": "b", "proxy_protocol": ["192.0.2.0/24"]}));
    let (_cluster, address) =
        balancer(frontend, &[backend("b", &[("s", server)], &json!({}))], json!({})).await;
    let claimed =
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = exchange(address, claimed).await;
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&answer));
    let plain = exchange(address, b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(plain.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&plain));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_says_who_the_client_is_is_not_waited_for() {
    let (server, _hears) = listener().await;
    let timeouts = json!({"client": "5s", "client_idle": "5s", "request_head": "200ms"});
    let frontend = frontend(
        &json!({"backend": "b", "proxy_protocol": ["127.0.0.1/32"], "timeouts": timeouts}),
    );
    let (cluster, address) =
        balancer(frontend, &[backend("b", &[("s", server)], &json!({}))], json!({})).await;
    let mut silent = TcpStream::connect(address).await.expect("the frontend");
    silent.write_all(b"PROXY TCP4 192.0.2").await.expect("it is taken");
    let mut rest = Vec::new();
    let within = Duration::from_secs(10);
    let ended = tokio::time::timeout(within, silent.read_to_end(&mut rest)).await;
    assert!(ended.is_ok() && rest.is_empty());
    until("it is counted", || async { (cluster.frontend_stats().refused == 1).then_some(()) })
        .await;
}
