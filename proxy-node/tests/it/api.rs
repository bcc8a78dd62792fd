//! The gRPC face, asked in this process, and listeners that move with the configuration.

use std::{io::Write, net::TcpListener};

use chassis::probe::{self, Signer};
use futures::StreamExt;
use proto::access::Searched;
use proto::proxy::{
    AccessKey, AccessRecord, AccessTotal, ExplainRequestRequest, GetStatsRequest,
    LookupCacheRequest, PurgeRequest, TailAccessRequest, TopAccessRequest,
    proxy_node_server::ProxyNode,
};
use proxy_node::{
    api::Api,
    egress::ProbeTargets,
    record::{Record, Recorder},
};
use relay::proof::Challenge;
use tonic::{Code, Request};

use crate::support::{
    Origin, Proxy, Then, connect, listen_at, proved, read_reply, response, until,
};

pub fn api(proxy: &Proxy) -> Api {
    let (_, status) = tokio::sync::watch::channel(chassis::Status::default());
    Api {
        node: proxy.node.clone(),
        clients: proxy.clients(),
        clock: chassis::Clock::system(),
        closing: chassis::StopSignal::default(),
        status,
    }
}

async fn top(api: &Api, by: AccessKey) -> Vec<AccessTotal> {
    let request = TopAccessRequest { by: by.into(), ..Default::default() };
    api.top_access(Request::new(request)).await.unwrap().into_inner().totals
}

#[tokio::test]
async fn it_tells_who_asked_for_what() {
    let origin = Origin::answering(response("", "x"), Then::Keep);
    let proxy = Proxy::start();
    let api = api(&proxy);
    let mut following = api
        .tail_access(Request::new(TailAccessRequest {
            last: 9,
            follow: true,
            ..Default::default()
        }))
        .await
        .unwrap()
        .into_inner();
    let nothing = following.next().await.unwrap().unwrap();
    assert!(nothing.records.is_empty() && !nothing.off);
    for path in ["/a", "/a", "/b"] {
        proxy.ask("GET", &origin.url(path), "");
    }
    proxy.log_lines(3);
    let mut followed = Vec::new();
    while followed.len() < 3 {
        followed.extend(following.next().await.unwrap().unwrap().records);
    }
    // Connections may be different workers', whose records have no order.
    let mut urls: Vec<_> = followed.iter().map(|record| record.url.clone()).collect();
    urls.sort();
    assert_eq!(urls, ["/a", "/a", "/b"].map(|path| origin.url(path)));
    assert!(
        followed
            .iter()
            .all(|it| (it.status, it.method.as_str(), it.client.as_str())
                == (200, "GET", "127.0.0.1")),
        "{followed:?}"
    );
    let last = api
        .tail_access(Request::new(TailAccessRequest { last: 1, ..Default::default() }))
        .await
        .unwrap()
        .into_inner();
    let last: Vec<_> = last.collect().await;
    assert_eq!(
        last.into_iter().flat_map(|message| message.unwrap().records).collect::<Vec<_>>(),
        followed[2..]
    );

    let urls = top(&api, AccessKey::Url).await;
    assert_eq!(
        urls.iter()
            .map(|total| (total.key.clone(), total.requests, total.overcount))
            .collect::<Vec<_>>(),
        [(origin.url("/a"), 2, 0), (origin.url("/b"), 1, 0)]
    );
    assert!(urls.iter().all(|total| total.bytes > 0));
    for (by, key) in [
        (AccessKey::Client, "127.0.0.1"),
        (AccessKey::Status, "200"),
        (AccessKey::Domain, "127.0.0.1"),
    ] {
        let totals = top(&api, by).await;
        assert_eq!(
            totals.iter().map(|total| (total.key.as_str(), total.requests)).collect::<Vec<_>>(),
            [(key, 3)]
        );
    }
    let one = TopAccessRequest { by: AccessKey::Url.into(), limit: 1, ..Default::default() };
    let one = api.top_access(Request::new(one)).await.unwrap().into_inner();
    assert_eq!((one.totals.len(), one.requests, one.unlisted_at_most, one.off), (1, 3, 1, false));
    assert_eq!(
        api.top_access(Request::new(TopAccessRequest::default())).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn every_answer_is_found_by_its_id() {
    let origin = Origin::answering(response("", "x"), Then::Keep);
    let proxy = Proxy::start();
    let api = api(&proxy);
    let replies = [
        (proxy.get(&origin.url("/a")), 200, origin.url("/a")),
        (
            proxy.ask("GET", &format!("http://{}/own", proxy.address), ""),
            403,
            format!("http://{}/own", proxy.address),
        ),
        (
            proxy.raw(b"GET http://bad.example/x y HTTP/1.1\r\nHost: a\r\n\r\n", "GET"),
            400,
            "http://bad.example/x".to_owned(),
        ),
    ];
    proxy.log_lines(replies.len());
    for (reply, status, url) in replies {
        let id = reply.field("Shoal-Request-Id").expect("an id").to_owned();
        let mut found = Vec::new();
        while found.is_empty() {
            let request =
                TailAccessRequest { last: 9, request_id: id.clone(), ..Default::default() };
            let told: Vec<_> =
                api.tail_access(Request::new(request)).await.unwrap().into_inner().collect().await;
            found = told.into_iter().flat_map(|message| message.unwrap().records).collect();
        }
        let [record] = &found[..] else { panic!("{found:?}") };
        assert_eq!(
            (record.request_id.as_str(), record.status, record.url.as_str()),
            (id.as_str(), status, url.as_str())
        );
    }
    let request = TailAccessRequest {
        last: 9,
        domain: "bad.example".into(),
        status: "4xx".into(),
        ..Default::default()
    };
    let told: Vec<_> =
        api.tail_access(Request::new(request)).await.unwrap().into_inner().collect().await;
    let message = told[0].as_ref().unwrap();
    assert!(message.records.len() == 1 && message.kept_since.is_some(), "{message:?}");
    let unreadable = TailAccessRequest { client: "nobody".into(), ..Default::default() };
    assert_eq!(
        api.tail_access(Request::new(unreadable)).await.map(|_| ()).unwrap_err().code(),
        Code::InvalidArgument
    );
}

/// Everything told in answer to `request`: records, and how far the files were searched.
async fn told(api: &Api, request: TailAccessRequest) -> (Vec<AccessRecord>, Option<Searched>) {
    let messages: Vec<_> =
        api.tail_access(Request::new(request)).await.unwrap().into_inner().collect().await;
    let (mut records, mut searched) = (Vec::new(), None);
    for message in messages {
        let message = message.unwrap();
        records.extend(message.records);
        searched = message.searched.or(searched);
    }
    (records, searched)
}

#[tokio::test]
async fn what_memory_has_forgotten_is_found_in_the_files() {
    let origin = Origin::answering(response("", "x"), Then::Keep);
    let proxy = Proxy::start();
    let api = api(&proxy);
    let ask = |path: &str| {
        proxy.get(&origin.url(path)).field("Shoal-Request-Id").expect("an id").to_owned()
    };
    let first = ask("/first");
    let line = proxy.log_lines(1).remove(0);
    assert!(
        line.ends_with(&format!(" text/plain {first}")) || line.ends_with(&format!(" - {first}")),
        "the eleventh column: {line}"
    );
    // As logrotate does, and by another process than the one whose memory is asked.
    let rotated = proxy.log.with_extension("log.1");
    let older = "1600000000.045     12 10.0.0.5 TCP_MISS/200 1234 GET http://older.example/ - \
        HIER_NONE/- text/html\n";
    std::fs::write(
        &rotated,
        format!("{older}{line}\n").replace(&first, "018bcfe5-687b-7000-8000-000000000000"),
    )
    .unwrap();
    std::fs::write(proxy.log.with_extension("log.2.gz"), b"\x1f\x8b").unwrap();

    let by_id = |id: &str, search_files| TailAccessRequest {
        last: 9,
        request_id: id.to_owned(),
        search_files,
        ..Default::default()
    };
    let id = "018bcfe5-687b-7000-8000-000000000000";
    assert_eq!(told(&api, by_id(id, false)).await, (vec![], None), "only memory");
    let (records, searched) = told(&api, by_id(id, true)).await;
    let searched = searched.expect("searched");
    assert_eq!(
        records.iter().map(|it| (it.request_id.as_str(), it.status)).collect::<Vec<_>>(),
        [(id, 200)]
    );
    assert!(!searched.under_way && searched.stopped == 0 && searched.files == 2, "{searched:?}");
    assert_eq!(
        (searched.skipped, searched.without_id),
        (vec!["access.log.2.gz (compressed)".to_owned()], 1)
    );

    // What is in memory, too, comes once, and with enough of it nobody looks further.
    let all = TailAccessRequest {
        last: 9,
        status: "200".into(),
        search_files: true,
        ..Default::default()
    };
    let kept = |recorder: &Recorder| recorder.recent().last::<Record>(1, |_| true).1;
    until("the record is in memory", || kept(&api.node.recorder));
    let (records, _) = told(&api, all.clone()).await;
    assert_eq!(records.len(), 3, "{records:?}");
    assert_eq!(records.iter().filter(|it| it.request_id == first).count(), 1);
    assert_eq!(told(&api, TailAccessRequest { last: 1, ..all.clone() }).await.1, None);
    let until_then = cluster::wire::timestamp("2021-01-01T00:00:00Z".parse().unwrap());
    let (old, _) = told(&api, TailAccessRequest { until: Some(until_then), ..all.clone() }).await;
    assert_eq!(
        old.iter().map(|it| (it.url.as_str(), it.request_id.as_str())).collect::<Vec<_>>(),
        [("http://older.example/", "")]
    );
    let since = cluster::wire::timestamp("2021-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(told(&api, TailAccessRequest { since: Some(since), ..all }).await.0.len(), 2);
}

#[test]
fn answers_are_counted_by_class_and_duration() {
    let origin = Origin::answering(response("", "x"), Then::Keep);
    let proxy = Proxy::start();
    proxy.get(&origin.url("/a"));
    proxy.ask("GET", &format!("http://{}/own", proxy.address), "");
    proxy.raw(b"nonsense\r\n\r\n", "GET");
    let mut tunnel = connect(proxy.address);
    std::io::Write::write_all(
        &mut tunnel,
        format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.address).as_bytes(),
    )
    .unwrap();
    assert_eq!(read_reply(&mut tunnel, "CONNECT").status, 200);
    drop(tunnel);
    let text = until("all of them are counted", || {
        let mut text = String::new();
        proxy_node::metrics::write(&proxy.node.answers, &mut text);
        text.contains("shoal_proxy_answers_total{class=\"2xx\"} 2\n").then_some(text)
    });
    for line in [
        "shoal_proxy_answers_total{class=\"4xx\"} 2",
        "shoal_proxy_request_duration_seconds_count 2",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in {text}");
    }
}

#[tokio::test]
async fn a_probe_counts_as_nothing_but_a_probe() {
    let (target, origin) = (
        Origin::answering(response("", "probe"), Then::Keep),
        Origin::answering(response("", "x"), Then::Keep),
    );
    let proxy = Proxy::start();
    let signer = Signer::new().unwrap();
    let targets = |key| ProbeTargets::new([(target.address, key)].into());
    proxy.node.probe_targets.store(std::sync::Arc::new(targets(probe::key(&signer.tag()))));
    let signed =
        |method: &str, what: &str| format!("{}: {}\r\n", probe::FIELD, signer.sign(method, what));
    let url = target.url("/shoal-check/1");
    assert_eq!(proxy.ask("GET", &url, &signed("GET", &url)).text(), "probe");
    let connect_to = |authority: &str, fields: &str| {
        let mut tunnel = connect(proxy.address);
        tunnel
            .write_all(
                format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n")
                    .as_bytes(),
            )
            .unwrap();
        read_reply(&mut tunnel, "CONNECT").status
    };
    let authority = target.address.to_string();
    assert_eq!(connect_to(&authority, &signed("CONNECT", &authority)), 200);
    proxy.ask("GET", &origin.url("/"), "");
    let served = target.requests().len();
    // Nobody else gets there, by whatever way: also not from the checker's own address, or with its
    // proof for something else.
    let elsewhere = format!("http://127.0.0.2:{}/", target.address.port());
    for (url, fields) in [
        (&url, String::new()),
        (&url, signed("GET", "http://x/")),
        (&url, signed("HEAD", &url)),
        (&elsewhere, signed("GET", &elsewhere)),
    ] {
        assert_eq!(proxy.ask("GET", url, &fields).status, 403, "{url} {fields}");
    }
    assert_eq!(connect_to(&authority, ""), 403);
    assert_eq!(target.requests().len(), served);
    assert_eq!(proxy.log_lines(6).len(), 6, "probes are not written down");
    let stats = api(&proxy).get_stats(Request::new(GetStatsRequest {})).await.unwrap().into_inner();
    assert_eq!((stats.probes, stats.requests, stats.misses, stats.tunnels), (2, 6, 1, 0));
    // A checker of an earlier version signs nothing, and is known by its address.
    proxy.node.probe_targets.store(std::sync::Arc::new(targets(None)));
    assert_eq!(proxy.ask("GET", &url, "").text(), "probe");
}

#[tokio::test]
async fn a_name_does_not_lead_to_the_target_of_a_health_checker() {
    let target = Origin::answering(response("", "probe"), Then::Keep);
    let proxy =
        Proxy::with_names(|_| {}, [("target.example", vec!["127.0.0.1".parse().unwrap()])].into());
    let url = format!("http://target.example:{}/", target.address.port());
    assert_eq!(proxy.get(&url).text(), "probe");
    proxy
        .node
        .probe_targets
        .store(std::sync::Arc::new(ProbeTargets::new([(target.address, None)].into())));
    assert_eq!(proxy.get(&url).status, 403);
}

#[tokio::test]
async fn it_tells_what_it_holds_and_forgets_on_request() {
    let origin = Origin::answering(
        response("Cache-Control: max-age=60\r\nVary: Accept\r\n", "held"),
        Then::Keep,
    );
    let proxy = Proxy::start();
    for path in ["/a", "/b", "/c"] {
        proxy.ask("GET", &origin.url(path), "Accept: x\r\n");
    }
    let api = api(&proxy);
    let lookup = |url: String| api.lookup_cache(Request::new(LookupCacheRequest { url }));
    let purge =
        |url: String, prefix| api.purge(Request::new(PurgeRequest { url, prefix, purge: None }));
    let found = lookup(origin.url("/a")).await.unwrap().into_inner().variants.remove(0);
    assert_eq!(
        (found.status, found.bytes, found.fresh, found.vary.get("accept").map(String::as_str)),
        (200, 4, true, Some("x"))
    );
    assert!(
        found.explanation.contains("lifetime 60 s by max-age: fresh for another"),
        "{}",
        found.explanation
    );
    let stats = api.get_stats(Request::new(GetStatsRequest {})).await.unwrap().into_inner();
    assert_eq!(
        (stats.requests, stats.misses, stats.cache_objects, stats.revision.as_str()),
        (3, 3, 3, "r1")
    );
    assert!(stats.cache_bytes > 12 && stats.cache_bytes < stats.cache_capacity_bytes);
    assert_eq!(purge(origin.url("/a"), false).await.unwrap().into_inner().removed, 1);
    assert_eq!(
        purge(origin.url("/a"), false).await.unwrap().into_inner().removed,
        0,
        "safe to repeat"
    );
    assert!(lookup(origin.url("/a")).await.unwrap().into_inner().variants.is_empty());
    assert_eq!(purge(origin.url("/"), true).await.unwrap().into_inner().removed, 2);
    assert_eq!(purge(String::new(), true).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(lookup("ftp://x/".into()).await.unwrap_err().code(), Code::InvalidArgument);
    let explained = api
        .explain_request(Request::new(ExplainRequestRequest {
            url: origin.url("/a"),
            ..Default::default()
        }))
        .await
        .unwrap();
    assert_eq!(explained.into_inner().cache, "miss");
    let wrong = ExplainRequestRequest {
        url: origin.url("/a"),
        client_address: "nobody".into(),
        ..Default::default()
    };
    assert_eq!(
        api.explain_request(Request::new(wrong)).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[test]
fn doors_open_and_close_with_the_configuration() {
    let origin = Origin::answering(response("", "x"), Then::Keep);
    let mut proxy = Proxy::start();
    let free = testkit::port::free();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    // What cannot be bound changes nothing.
    assert!(
        proxy
            .listeners
            .reconcile(&[listen_at(free), listen_at(taken.local_addr().unwrap())])
            .is_err()
    );
    assert_eq!(proxy.get(&origin.url("/")).status, 200);
    proxy.listeners.reconcile(&[listen_at(free)]).unwrap();
    let old = proxy.address;
    proxy.address = free;
    let reply = until("the new listener is open", || {
        Some(proxy.get(&origin.url("/"))).filter(|reply| reply.status == 200)
    });
    assert_eq!(reply.text(), "x");
    until("the old listener is closed", || {
        std::net::TcpStream::connect(old).is_err().then_some(())
    });
    let mut relay = proved(proxy.relay, &Challenge::local(&[1; 32]));
    relay.write_all(b"OPTIONS * HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n").unwrap();
    assert_eq!(read_reply(&mut relay, "GET").status, 200);
}

#[test]
fn a_door_is_widened_and_narrowed_without_being_closed() {
    let origin = Origin::answering(response("", "x"), Then::Keep);
    let proxy = Proxy::start();
    let wide = std::net::SocketAddr::from(([0, 0, 0, 0], proxy.address.port()));
    let elsewhere = std::net::SocketAddr::from(([127, 0, 0, 9], proxy.address.port()));
    let (stop, url) = (std::sync::atomic::AtomicBool::new(false), origin.url("/"));
    std::thread::scope(|scope| {
        // Every request on a connection of its own: none of them is refused.
        let asking = scope.spawn(|| {
            let mut answers = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(proxy.get(&url).status, 200);
                answers += 1;
            }
            answers
        });
        let stopping = Stop(&stop);
        for _ in 0..3 {
            proxy.listeners.reconcile(&[listen_at(wide)]).unwrap();
            until("the whole host is listened on", || {
                std::net::TcpStream::connect(elsewhere).is_ok().then_some(())
            });
            proxy.listeners.reconcile(&[listen_at(proxy.address)]).unwrap();
            until("nothing else is", || {
                std::net::TcpStream::connect(elsewhere).is_err().then_some(())
            });
        }
        drop(stopping);
        assert!(asking.join().unwrap() > 0);
    });
}

/// Lets a thread end, also when the test fails.
struct Stop<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
