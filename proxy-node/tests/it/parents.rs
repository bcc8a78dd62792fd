//! Parents that fail, refuse, ask for credentials and come back.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use cluster::{AdminState, Instance, InstanceId, InstanceStatus, Service, State};
use cluster_config::document::{
    Acl, ProxyDocument, Term, UrlPattern,
    proxy::{Login, Parent, ParentNodes, Parents, Select},
};
use jiff::Timestamp;
use proxy_node::{
    parent::{Member, Members},
    start::upkeep,
};

use crate::support::{Origin, Proxy, Then, connect, read_head, read_reply, response, until};
use crate::tls_origin::{GOOD, Shown, TlsOrigin, trusting};

fn at(address: SocketAddr, login: Option<Login>) -> Parents {
    picked(address, login, Select::First)
}

fn picked(address: SocketAddr, login: Option<Login>, select: Select) -> Parents {
    Parent {
        host: address.ip().to_string(),
        port: address.port(),
        login,
        select,
        weight: 1,
        tls: false,
    }
    .into()
}

/// A parent that answers everything itself, tunnels too.
fn good() -> Origin {
    Origin::start(|stream, head| {
        let answer = if head.starts_with("CONNECT") {
            "HTTP/1.1 200 OK\r\n\r\n".to_owned()
        } else {
            response("", "by the second")
        };
        drop(stream.write_all(answer.as_bytes()));
        if head.starts_with("CONNECT") { Then::Close } else { Then::Keep }
    })
}

fn refusing(status: &'static str) -> Origin {
    Origin::start(move |stream, _| {
        drop(
            stream.write_all(
                format!(
                    "HTTP/1.1 {status}\r\nContent-Length: 0\r\nProxy-Authenticate: Basic \
                    realm=\"theirs\"\r\n\r\n"
                )
                .as_bytes(),
            ),
        );
        Then::Close
    })
}

fn dead() -> SocketAddr {
    testkit::port::free()
}

fn connect_through(proxy: &Proxy, fields: &str) -> crate::support::Reply {
    let mut stream = connect(proxy.address);
    stream
        .write_all(
            format!(
                "CONNECT inside.example:443 HTTP/1.1\r\nHost: inside.example:443\r\n{fields}\r\n"
            )
            .as_bytes(),
        )
        .unwrap();
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
        let proxy = Proxy::with(|document| {
            document.parents = vec![at(address, None), at(second.address, None)]
        });
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
    let proxy = Proxy::with(|document| {
        document.parents = vec![at(first.address, None), at(second.address, None)]
    });
    let reply = proxy.ask("POST", "http://inside.example/x", "Content-Length: 0\r\n");
    assert_eq!(
        (reply.status, reply.field("proxy-status")),
        (502, Some("proxy-node-1; error=connection_terminated"))
    );
    assert!(
        reply.text().contains("the parent proxy of this node closed the connection")
            && !reply.text().contains("the destination")
    );
    assert_eq!(second.requests().len(), 0);
}

#[test]
fn all_dead_ones_are_asked_all_the_same() {
    let proxy = Proxy::with(|document| document.parents = vec![at(dead(), None), at(dead(), None)]);
    for _ in 0..4 {
        let reply = proxy.get("http://inside.example/x");
        assert_eq!(
            (reply.status, reply.field("proxy-status")),
            (502, Some("proxy-node-1; error=connection_refused"))
        );
    }
    for parent in proxy.node.current.load().parents.iter() {
        assert_eq!((parent.is_alive(), parent.counts()), (false, (4, 4)));
    }
}

#[test]
fn a_tunnel_that_a_parent_cannot_open_is_asked_of_another_and_one_that_it_forbids_is_not() {
    let (broken, second) = (refusing("503 Full"), good());
    let proxy = Proxy::with(|document| {
        document.parents = vec![at(broken.address, None), at(second.address, None)]
    });
    assert_eq!(connect_through(&proxy, "").status, 200);
    let forbidding = refusing("403 Forbidden");
    let proxy = Proxy::with(|document| {
        document.parents = vec![at(forbidding.address, None), at(second.address, None)]
    });
    let reply = connect_through(&proxy, "");
    assert_eq!(reply.status, 502);
    assert!(
        reply.text().contains("the parent proxy refused the tunnel with status 403"),
        "{}",
        reply.text()
    );
    assert_eq!(second.requests().len(), 1);
}

/// A parent that answers so to what is not CONNECT, and refuses tunnels with the same status.
fn in_vain(status: &'static str, fields: &'static str) -> Origin {
    Origin::answering(
        format!("HTTP/1.1 {status}\r\n{fields}Content-Length: 4\r\n\r\nvain"),
        Then::Keep,
    )
}

#[test]
fn what_one_parent_cannot_do_is_asked_of_another() {
    for status in ["502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"] {
        let (first, second) = (in_vain(status, ""), good());
        let proxy = Proxy::with(|document| {
            document.parents = vec![at(first.address, None), at(second.address, None)]
        });
        assert_eq!(proxy.get("http://inside.example/x").text(), "by the second", "{status}");
        let past = proxy.ask("GET", "http://inside.example/y", "Authorization: Basic bWluZQ==\r\n");
        assert_eq!(past.text(), "by the second", "{status}, past the cache");
        assert_eq!(proxy.ask("HEAD", "http://inside.example/x", "").status, 200, "{status}");
        let put = |method| proxy.ask(method, "http://inside.example/x", "Content-Length: 0\r\n");
        assert_eq!(put("PUT").text(), "by the second", "{status}");
        assert_eq!(connect_through(&proxy, "").status, 200, "{status}");
        // What may have had its effect is not repeated.
        let post = put("POST");
        assert_eq!(
            (post.status.to_string(), post.text()),
            (status[..3].to_owned(), "vain".to_owned())
        );
        assert!(
            proxy.node.current.load().parents[0].is_alive(),
            "{status}: one destination says nothing of the parent"
        );
        assert_eq!((first.requests().len(), second.requests().len()), (6, 5), "{status}");
    }
}

#[test]
fn what_none_can_do_is_answered_by_the_last_and_what_the_origin_said_by_the_first() {
    let (first, last) = (in_vain("503 Service Unavailable", ""), in_vain("502 Bad Gateway", ""));
    let parents =
        vec![at(first.address, None), at(dead(), None), at(last.address, None), at(dead(), None)];
    let proxy = Proxy::with(|document| document.parents = parents);
    for _ in 0..2 {
        for fields in ["", "Authorization: Basic bWluZQ==\r\n"] {
            let reply = proxy.ask("GET", "http://inside.example/x", fields);
            assert_eq!((reply.status, reply.text()), (502, "vain".to_owned()));
        }
    }
    let known = proxy.node.current.load();
    let alive: Vec<bool> = known.parents.iter().map(|parent| parent.is_alive()).collect();
    assert_eq!(alive, [true, false, true, false], "nobody did better than the two that answered");
    for (status, fields, parents) in [
        ("503 Service Unavailable", "Proxy-Status: squid; received-status=503\r\n", 503),
        ("500 Internal Server Error", "", 500),
        ("403 Forbidden", "", 403),
        ("404 Not Found", "", 404),
    ] {
        let (first, second) = (in_vain(status, fields), good());
        let proxy = Proxy::with(|document| {
            document.parents = vec![at(first.address, None), at(second.address, None)]
        });
        assert_eq!(
            (proxy.get("http://inside.example/x").status, second.requests().len()),
            (parents, 0),
            "{status}"
        );
    }
}

#[test]
fn a_parent_that_others_do_better_than_everywhere_is_dead_and_one_that_lacks_one_place_is_not() {
    let first = Origin::start(|stream, head| {
        let answer = if head.contains("//lacking.example/") {
            response("", "by the first")
        } else {
            "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_owned()
        };
        drop(stream.write_all(answer.as_bytes()));
        Then::Keep
    });
    let second = good();
    let proxy = Proxy::with(|document| {
        document.parents = vec![at(first.address, None), at(second.address, None)]
    });
    let fetch = |host: &str, number: u32| proxy.get(&format!("http://{host}/{number}")).text();
    for number in 0..5 {
        assert_eq!(fetch("one.example", number), "by the second");
        assert_eq!(fetch("lacking.example", number), "by the first");
        assert_eq!(fetch("two.example", number), "by the second");
        assert_eq!(fetch("lacking.example", 100 + number), "by the first");
    }
    assert!(proxy.node.current.load().parents[0].is_alive());
    for (number, host) in ["one.example", "two.example", "lacking.example"].into_iter().enumerate()
    {
        assert_eq!(fetch(host, 200 + number as u32), "by the second", "{host}");
    }
    let known = proxy.node.current.load();
    assert!(!known.parents[0].is_alive());
    assert!(
        known.parents[0].last_failure().is_some_and(|how| how.to_string().contains("answered 503"))
    );
}

#[test]
fn parents_take_turns_or_have_urls_of_their_own() {
    let parents: Vec<Origin> = (0..3).map(|_| good()).collect();
    let counts = || parents.iter().map(|parent| parent.requests().len()).collect::<Vec<_>>();
    let all = |select| {
        parents.iter().map(|parent| picked(parent.address, None, select)).collect::<Vec<_>>()
    };
    let mut proxy = Proxy::with(|document| document.parents = all(Select::RoundRobin));
    let mut stream = connect(proxy.address);
    let mut fetch = |number: u32| {
        let url = format!("http://inside.example/{number}");
        stream
            .write_all(
                format!(
                    "GET {url} HTTP/1.1\r\nHost: inside.example\r\nCache-Control: no-store\r\n\r\n"
                )
                .as_bytes(),
            )
            .unwrap();
        read_reply(&mut stream, "GET").status
    };
    // One connection is one worker's, whose turns they are.
    assert!((0..30).all(|number| fetch(number) == 200));
    assert_eq!(counts(), [10, 10, 10]);
    proxy.change(|document| document.parents = all(Select::Carp));
    assert!((0..300).all(|number| fetch(number) == 200));
    let once = counts();
    assert!(once.iter().all(|count| *count > 60), "{once:?}");
    assert!((0..300).all(|number| fetch(number) == 200));
    let twice: Vec<_> = once.iter().map(|count| 2 * count - 10).collect();
    assert_eq!(counts(), twice, "each URL has one parent");
}

/// A parent that speaks TLS, and answers everything itself, tunnels too.
fn secure(shown: Shown) -> TlsOrigin {
    TlsOrigin::start(shown, |session, head| {
        let answer = match head.split(' ').next() {
            Some("CONNECT") => "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
            _ => response("", "in secret"),
        };
        drop(session.write_all(answer.as_bytes()));
        Then::Keep
    })
}

#[test]
fn a_parent_may_speak_tls_and_has_to_show_who_it_is() {
    let tls = |parent: &TlsOrigin| {
        let (host, port) = ("127.0.0.1".to_owned(), parent.address.port());
        Parents::from(Parent { tls: true, ..Parent::at(host, port) })
    };
    let parent = secure(GOOD);
    let proxy = Proxy::with(|document| {
        trusting(document);
        document.parents = vec![tls(&parent)];
    });
    for number in 0..3 {
        let reply = proxy.get(&format!("http://inside.example/{number}"));
        assert_eq!((reply.status, reply.text().as_str()), (200, "in secret"));
    }
    assert!(parent.requests()[0].starts_with("GET http://inside.example/0 HTTP/1.1\r\n"));
    let mut stream = connect(proxy.address);
    let head = "CONNECT inside.example:443 HTTP/1.1\r\nHost: inside.example:443\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_reply(&mut stream, "CONNECT").status, 200);
    // What is in the tunnel the parent takes for another request.
    stream.write_all(b"GET /inside HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(read_reply(&mut stream, "GET").text(), "in secret");
    // One that nobody vouches for is nobody's, and the next one is asked.
    let (foreign, second) = (secure(Shown { foreign: true, ..GOOD }), good());
    let proxy = Proxy::with(|document| {
        trusting(document);
        document.parents = vec![tls(&foreign), at(second.address, None)];
    });
    assert_eq!(proxy.get("http://inside.example/x").text(), "by the second");
    assert_eq!((connect_through(&proxy, "").status, foreign.requests().len()), (200, 0));
    // TLS in TLS is not spoken: another parent is asked for what the node itself has to secure.
    let proxy = Proxy::with(|document| {
        trusting(document);
        document.parents = vec![tls(&parent)];
    });
    let reply = proxy.get("https://inside.example/x");
    assert_eq!(reply.status, 502, "{}", reply.head);
}

#[test]
fn what_rules_call_direct_goes_past_the_parents() {
    let (parent, origin) = (good(), Origin::answering(response("", "the origin's"), Then::Keep));
    let names = [("inside.example", vec!["127.0.0.1".parse().unwrap()])].into();
    let change = |document: &mut ProxyDocument| {
        document.parents = vec![at(parent.address, None)];
        let updates = Acl::UrlRegex(vec![UrlPattern { regex: "/updates/".into() }]);
        document.access.acls.insert("updates".into(), updates);
        document.access.acls.insert("posts".into(), Acl::Method(vec!["POST".into()]));
        let term = |acl: &str, negated| Term { acl: acl.into(), negated };
        document.direct.always = vec![vec![term("updates", false), term("posts", true)]];
    };
    let proxy = Proxy::with_names(change, names);
    let url = |path: &str| format!("http://inside.example:{}{path}", origin.address.port());
    assert_eq!(proxy.get(&url("/x")).text(), "by the second");
    assert_eq!(proxy.get(&url("/updates/1")).text(), "the origin's");
    let posted = proxy.ask("POST", &url("/updates/1"), "Content-Length: 0\r\n");
    assert_eq!(posted.text(), "by the second");
    let ranged = proxy.ask("GET", &url("/updates/2"), "Range: bytes=99999999-\r\n");
    assert_eq!(ranged.text(), "the origin's", "past the cache too");
    assert_eq!((parent.requests().len(), origin.requests().len()), (2, 2));
}

#[test]
fn each_client_has_a_parent_where_the_bundle_says_so() {
    let parents: Vec<Origin> = (0..3).map(|_| good()).collect();
    let change = |document: &mut ProxyDocument| {
        let all = parents.iter().map(|it| picked(it.address, None, Select::Source));
        document.parents = all.collect();
        document.trusted_downstreams = vec!["127.0.0.1/32".parse().unwrap()];
    };
    let proxy = Proxy::with(change);
    let counts = || parents.iter().map(|it| it.requests().len()).collect::<Vec<_>>();
    for client in 0..30 {
        let before = counts();
        for number in 0..3 {
            let url = format!("http://inside.example/{client}/{number}");
            let whose = format!("X-Forwarded-For: 192.0.2.{client}\r\n");
            assert_eq!(proxy.ask("GET", &url, &whose).status, 200);
        }
        let moved = counts().iter().zip(&before).filter(|(now, was)| now != was).count();
        assert_eq!(moved, 1, "client {client}");
    }
    assert!(counts().iter().all(|count| *count > 0), "{:?}", counts());
    assert!(proxy.log_lines(1)[0].contains(" SOURCEHASH_PARENT/127.0.0.1 "));
}

#[test]
fn nodes_of_the_cluster_are_parents_of_those_that_are_none() {
    let (one, two) = (good(), good());
    let nodes = || {
        vec![Parents::Nodes(ParentNodes {
            tags: vec!["parent".into()],
            login: None,
            select: Select::RoundRobin,
        })]
    };
    let proxy = Proxy::with(|document| document.parents = nodes());
    let reply = proxy.get("http://inside.example/x");
    assert_eq!(
        (reply.status, reply.field("proxy-status")),
        (502, Some("proxy-node-1; error=destination_unavailable"))
    );
    assert!(
        reply.text().contains("the parent proxy of this node is any of several nodes"),
        "{}",
        reply.text()
    );
    let members = |addresses: &[SocketAddr], own: &[&str]| {
        let member = |(number, address): (usize, &SocketAddr)| {
            Member::of(&node_at(&format!("proxy-node-{}", number + 2), *address)).unwrap()
        };
        Members {
            own: own.iter().map(ToString::to_string).collect(),
            others: addresses.iter().enumerate().map(member).collect(),
        }
    };
    let tell = |members: &Members| {
        let current = proxy.node.current.load_full();
        proxy.node.current.store(Arc::new(current.among(members).expect("it makes a difference")));
    };
    tell(&members(&[one.address, two.address], &[]));
    for number in 0..8 {
        assert_eq!(proxy.get(&format!("http://inside.example/{number}")).text(), "by the second");
    }
    let counts = (one.requests().len(), two.requests().len());
    assert!(counts.0 >= 3 && counts.1 >= 3 && counts.0 + counts.1 == 8, "{counts:?}");
    // What does not concern it is no new generation; what leaves is asked no more.
    assert!(proxy.node.current.load().among(&members(&[one.address, two.address], &[])).is_none());
    tell(&members(&[two.address], &[]));
    for number in 10..14 {
        assert_eq!(proxy.get(&format!("http://inside.example/{number}")).text(), "by the second");
    }
    assert_eq!(two.requests().len(), counts.1 + 4);
    // One of them goes to origins itself.
    tell(&members(&[two.address], &["parent"]));
    assert_eq!(proxy.get(&one.url("/own")).text(), "by the second");
    assert!(one.requests().last().is_some_and(|head| head.starts_with("GET /own ")));
}

fn node_at(name: &str, address: SocketAddr) -> InstanceStatus {
    let instance = Instance {
        service: Service::ProxyNode,
        name: name.into(),
        id: InstanceId(uuid::Uuid::nil()),
        generation: 1,
        endpoints: [("proxy".to_owned(), address.to_string())].into(),
        datacenter: String::new(),
        zone: String::new(),
        tags: vec!["parent".into()],
        weight: 1,
        version: String::new(),
        applied_revision: String::new(),
        applied_hash: String::new(),
    };
    InstanceStatus {
        instance,
        admin_state: AdminState::Ready,
        state: State::Usable,
        reasons: vec![],
        registered_at: Timestamp::UNIX_EPOCH,
        changed_at: Timestamp::UNIX_EPOCH,
        lease_expires_at: Timestamp::UNIX_EPOCH,
        effective_weight: 1,
        opinions: vec![],
        withheld_state: None,
    }
}

#[test]
fn a_parents_challenge_is_a_502_that_says_whose_it_is() {
    let parent = refusing("407 Proxy Authentication Required");
    let proxy = Proxy::with(|document| document.parents = vec![at(parent.address, None)]);
    for reply in [
        proxy.get("http://inside.example/x"),
        proxy.ask(
            "POST",
            "http://inside.example/x",
            "Content-Length: 0\r\nProxy-Authorization: Basic bWluZQ==\r\n",
        ),
        connect_through(&proxy, ""),
    ] {
        assert_eq!((reply.status, reply.field("proxy-authenticate")), (502, None));
        assert!(
            reply.text().contains("the parent proxy of this node asks for credentials"),
            "{}",
            reply.text()
        );
    }
    assert!(
        parent.requests().iter().all(|head| !head.contains("Proxy-Authorization")),
        "a client's credentials are not the parent's"
    );
}

#[test]
fn clients_answer_the_challenge_themselves_where_that_is_meant() {
    let parent = refusing("407 Proxy Authentication Required");
    let proxy = Proxy::with(|document| {
        document.parents = vec![at(parent.address, Some(Login::Passthrough))]
    });
    let mine = "Proxy-Authorization: Basic bWluZQ==\r\n";
    for reply in [proxy.ask("GET", "http://inside.example/x", mine), connect_through(&proxy, mine)]
    {
        assert_eq!(
            (reply.status, reply.field("proxy-authenticate")),
            (407, Some("Basic realm=\"theirs\""))
        );
    }
    assert!(parent.requests().iter().all(|head| head.contains(mine)), "{:?}", parent.requests());
}

/// What the process does beside the traffic.
fn look_after(proxy: &Proxy) {
    let node = Arc::clone(&proxy.node);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(upkeep::look_after_parents(node, Duration::from_millis(5)));
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
        assert!(
            head.contains("\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n")
                && !head.contains("bWluZQ"),
            "{head}"
        );
    }
    std::fs::write(&file, "Aladdin:other\n").unwrap();
    until("the new ones are used", || {
        proxy.get("http://inside.example/y");
        second
            .requests()
            .last()
            .filter(|head| head.contains("Basic QWxhZGRpbjpvdGhlcg=="))
            .map(drop)
    });
    std::fs::remove_file(&file).unwrap();
    until("what is wrong is told", || {
        proxy.node.current.load().parents[0].credentials().problem().map(drop)
    });
}

#[test]
fn a_dead_parent_that_takes_connections_again_is_used_again_and_a_new_revision_forgets_nothing() {
    let (address, second) = (dead(), good());
    let mut proxy = Proxy::with(|document| {
        document.parents = vec![at(address, None), at(second.address, None)]
    });
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
