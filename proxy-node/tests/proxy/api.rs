//! The gRPC face, asked in this process, and doors that move with the configuration.

use std::net::TcpListener;

use proto::proxy::{ExplainRequestRequest, GetStatsRequest, LookupCacheRequest, PurgeRequest, proxy_node_server::ProxyNode};
use proxy_node::api::Api;
use tonic::{Code, Request};

use crate::support::{Origin, Proxy, Then, connect, read_reply, response, until};

#[tokio::test]
async fn it_tells_what_it_holds_and_forgets_on_request() {
    let origin = Origin::answering(response("Cache-Control: max-age=60\r\nVary: Accept\r\n", "held"), Then::Keep);
    let proxy = Proxy::start();
    for path in ["/a", "/b", "/c"] {
        proxy.ask("GET", &origin.url(path), "Accept: x\r\n");
    }
    let api = Api { node: proxy.node.clone(), clock: chassis::Clock::system() };
    let lookup = |url: String| api.lookup_cache(Request::new(LookupCacheRequest { url }));
    let purge = |url: String, prefix| api.purge(Request::new(PurgeRequest { url, prefix }));
    let found = lookup(origin.url("/a")).await.unwrap().into_inner().variants.remove(0);
    assert_eq!((found.status, found.bytes, found.fresh, found.vary.get("accept").map(String::as_str)), (200, 4, true, Some("x")));
    assert!(found.explanation.contains("lifetime 60 s by max-age: fresh for another"), "{}", found.explanation);
    let stats = api.get_stats(Request::new(GetStatsRequest {})).await.unwrap().into_inner();
    assert_eq!((stats.requests, stats.misses, stats.cache_objects, stats.revision.as_str()), (3, 3, 3, "r1"));
    assert!(stats.cache_bytes > 12 && stats.cache_bytes < stats.cache_capacity_bytes);
    assert_eq!(purge(origin.url("/a"), false).await.unwrap().into_inner().removed, 1);
    assert_eq!(purge(origin.url("/a"), false).await.unwrap().into_inner().removed, 0, "safe to repeat");
    assert!(lookup(origin.url("/a")).await.unwrap().into_inner().variants.is_empty());
    assert_eq!(purge(origin.url("/"), true).await.unwrap().into_inner().removed, 2);
    assert_eq!(purge(String::new(), true).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(lookup("ftp://x/".into()).await.unwrap_err().code(), Code::InvalidArgument);
    let explained = api.explain_request(Request::new(ExplainRequestRequest { url: origin.url("/a"), ..Default::default() })).await.unwrap();
    assert_eq!(explained.into_inner().cache, "miss");
    let wrong = ExplainRequestRequest { url: origin.url("/a"), client_address: "nobody".into(), ..Default::default() };
    assert_eq!(api.explain_request(Request::new(wrong)).await.unwrap_err().code(), Code::InvalidArgument);
}

#[test]
fn doors_open_and_close_with_the_configuration() {
    let origin = Origin::answering(response("", "x"), Then::Keep);
    let mut proxy = Proxy::start();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    // What cannot be bound changes nothing.
    assert!(proxy.doors.reconcile(&[free, taken.local_addr().unwrap()]).is_err());
    assert_eq!(proxy.get(&origin.url("/")).status, 200);
    proxy.doors.reconcile(&[free]).unwrap();
    let old = proxy.address;
    proxy.address = free;
    let reply = until("the new door is open", || Some(proxy.get(&origin.url("/"))).filter(|reply| reply.status == 200));
    assert_eq!(reply.text(), "x");
    until("the old door is closed", || std::net::TcpStream::connect(old).is_err().then_some(()));
    let mut relay = connect(proxy.relay);
    assert_eq!(read_reply(&mut relay_request(&mut relay), "GET").status, 200);
}

fn relay_request(stream: &mut std::net::TcpStream) -> std::net::TcpStream {
    use std::io::Write;
    let mut header = Vec::new();
    relay::proxy_protocol::encode_local(&mut header, Some(&relay::proxy_protocol::token(&crate::support::KEY, crate::support::NAME)));
    header.extend_from_slice(b"OPTIONS * HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n");
    stream.write_all(&header).unwrap();
    stream.try_clone().unwrap()
}
