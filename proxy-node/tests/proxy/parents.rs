//! Parents that fail, refuse, ask for credentials and come back.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use cluster_config::document::proxy::{Login, Parent};
use proxy_node::parent;

use crate::support::{Origin, Proxy, Then, connect, read_head, read_reply, response, until};

fn at(address: SocketAddr, login: Option<Login>) -> Parent {
    Parent { host: address.ip().to_string(), port: address.port(), login }
}

/// A parent that answers everything itself, tunnels too.
fn good() -> Origin {
    Origin::start(|stream, head| {
        let answer = if head.starts_with("CONNECT") { "HTTP/1.1 200 OK\r\n\r\n".to_owned() } else { response("", "by the second") };
        drop(stream.write_all(answer.as_bytes()));
        if head.starts_with("CONNECT") { Then::Close } else { Then::Keep }
    })
}

fn refusing(status: &'static str) -> Origin {
    Origin::start(move |stream, _| {
        drop(
            stream.write_all(
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nProxy-Authenticate: Basic realm=\"theirs\"\r\n\r\n").as_bytes(),
            ),
        );
        Then::Close
    })
}

fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn connect_through(proxy: &Proxy, fields: &str) -> crate::support::Reply {
    let mut stream = connect(proxy.address);
    stream.write_all(format!("CONNECT inside.example:443 HTTP/1.1\r\nHost: inside.example:443\r\n{fields}\r\n").as_bytes()).unwrap();
    read_reply(&mut stream, "CONNECT")
}

#[test]
fn another_parent_is_asked_when_one_fails_and_a_dead_one_is_remembered() {
    let failing: [(Option<Origin>, &str); 3] = [
        (None, "refuses connections"),
        (Some(Origin::answering("", Then::Close)), "closes without an answer"),
        (Some(Origin::answering("", Then::Reset)), "resets"),
    ];
    for (first, what) in failing {
        let address = first.as_ref().map_or_else(dead, |first| first.address);
        let second = good();
        let proxy = Proxy::with(|document| document.parents = vec![at(address, None), at(second.address, None)]);
        assert_eq!(connect_through(&proxy, "").status, 200, "{what}");
        for _ in 0..5 {
            assert_eq!(proxy.get("http://inside.example/x").text(), "by the second", "{what}");
        }
        let known = proxy.node.current.load();
        assert!(!known.parents[0].is_alive() && known.parents[1].is_alive(), "{what}");
        assert_eq!(known.parents[0].counts(), (2, 2), "{what}: nobody waits for a dead one");
        assert_eq!(second.requests().len(), 6, "{what}");
    }
}

#[test]
fn what_cannot_be_repeated_is_not_asked_of_another_parent() {
    let (first, second) = (Origin::answering("", Then::Close), good());
    let proxy = Proxy::with(|document| document.parents = vec![at(first.address, None), at(second.address, None)]);
    let reply = proxy.ask("POST", "http://inside.example/x", "Content-Length: 0\r\n");
    assert_eq!((reply.status, reply.field("proxy-status")), (502, Some("proxy-node-1; error=connection_terminated")));
    assert!(reply.text().contains("the parent proxy of this node closed the connection") && !reply.text().contains("the destination"));
    assert_eq!(second.requests().len(), 0);
}

#[test]
fn all_dead_ones_are_asked_all_the_same() {
    let proxy = Proxy::with(|document| document.parents = vec![at(dead(), None), at(dead(), None)]);
    for _ in 0..4 {
        let reply = proxy.get("http://inside.example/x");
        assert_eq!((reply.status, reply.field("proxy-status")), (502, Some("proxy-node-1; error=connection_refused")));
    }
    for parent in &proxy.node.current.load().parents {
        assert_eq!((parent.is_alive(), parent.counts()), (false, (4, 4)));
    }
}

#[test]
fn a_tunnel_that_a_parent_cannot_open_is_asked_of_another_and_one_that_it_forbids_is_not() {
    let (broken, second) = (refusing("503 Full"), good());
    let proxy = Proxy::with(|document| document.parents = vec![at(broken.address, None), at(second.address, None)]);
    assert_eq!(connect_through(&proxy, "").status, 200);
    let forbidding = refusing("403 Forbidden");
    let proxy = Proxy::with(|document| document.parents = vec![at(forbidding.address, None), at(second.address, None)]);
    let reply = connect_through(&proxy, "");
    assert_eq!(reply.status, 502);
    assert!(reply.text().contains("the parent proxy refused the tunnel with status 403"), "{}", reply.text());
    assert_eq!(second.requests().len(), 1);
}

#[test]
fn a_parents_challenge_is_a_502_that_says_whose_it_is() {
    let parent = refusing("407 Proxy Authentication Required");
    let proxy = Proxy::with(|document| document.parents = vec![at(parent.address, None)]);
    for reply in [
        proxy.get("http://inside.example/x"),
        proxy.ask("POST", "http://inside.example/x", "Content-Length: 0\r\nProxy-Authorization: Basic bWluZQ==\r\n"),
        connect_through(&proxy, ""),
    ] {
        assert_eq!((reply.status, reply.field("proxy-authenticate")), (502, None));
        assert!(reply.text().contains("the parent proxy of this node asks for credentials"), "{}", reply.text());
    }
    assert!(parent.requests().iter().all(|head| !head.contains("Proxy-Authorization")), "a client's credentials are not the parent's");
}

#[test]
fn clients_answer_the_challenge_themselves_where_that_is_meant() {
    let parent = refusing("407 Proxy Authentication Required");
    let proxy = Proxy::with(|document| document.parents = vec![at(parent.address, Some(Login::Passthrough))]);
    let mine = "Proxy-Authorization: Basic bWluZQ==\r\n";
    for reply in [proxy.ask("GET", "http://inside.example/x", mine), connect_through(&proxy, mine)] {
        assert_eq!((reply.status, reply.field("proxy-authenticate")), (407, Some("Basic realm=\"theirs\"")));
    }
    assert!(parent.requests().iter().all(|head| head.contains(mine)), "{:?}", parent.requests());
}

/// What the process does beside the traffic.
fn look_after(proxy: &Proxy) {
    let node = Arc::clone(&proxy.node);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(parent::look_after(node, Duration::from_millis(5)));
    });
}

#[test]
fn credentials_are_read_on_the_node_and_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("login");
    std::fs::write(&file, "Aladdin:open sesame\n").unwrap();
    let second = good();
    let login = Some(Login::File(file.to_str().unwrap().to_owned()));
    let proxy = Proxy::with(|document| document.parents = vec![at(second.address, login)]);
    look_after(&proxy);
    proxy.ask("GET", "http://inside.example/x", "Proxy-Authorization: Basic bWluZQ==\r\n");
    connect_through(&proxy, "");
    for head in second.requests() {
        assert!(head.contains("\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n") && !head.contains("bWluZQ"), "{head}");
    }
    std::fs::write(&file, "Aladdin:other\n").unwrap();
    until("the new ones are used", || {
        proxy.get("http://inside.example/y");
        second.requests().last().filter(|head| head.contains("Basic QWxhZGRpbjpvdGhlcg==")).map(drop)
    });
    std::fs::remove_file(&file).unwrap();
    until("what is wrong is told", || proxy.node.current.load().parents[0].credentials().problem().map(drop));
}

#[test]
fn a_dead_parent_that_takes_connections_again_is_used_again_and_a_new_revision_forgets_nothing() {
    let (address, second) = (dead(), good());
    let mut proxy = Proxy::with(|document| document.parents = vec![at(address, None), at(second.address, None)]);
    for _ in 0..2 {
        proxy.get("http://inside.example/x");
    }
    proxy.change(|document| document.timeouts.read = Duration::from_secs(19));
    assert!(!proxy.node.current.load().parents[0].is_alive());
    let listener = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if read_head(&mut stream).is_some() {
                drop(stream.write_all(response("", "by the first").as_bytes()));
                drop(stream.read(&mut [0]));
            }
        }
    });
    look_after(&proxy);
    until("it is found alive", || proxy.node.current.load().parents[0].is_alive().then_some(()));
    assert_eq!(proxy.get("http://inside.example/x").text(), "by the first");
}
