//! Questions and those who wait, with look-ups that the test answers; and the whole way to servers
//! that misbehave.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicUsize, Ordering},
};

use testkit::nameserver::NameServer;
use tokio::sync::watch;

use super::*;

fn v4(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn client(last: u8) -> Asker {
    Asker::client(v4(last))
}

/// A resolver whose look-ups wait until the test says what they find, by name.
fn held() -> (Resolver, watch::Sender<HashMap<&'static str, Resolved>>, Arc<AtomicUsize>) {
    let (resolver, mut questions) = Resolver::new();
    let (tell, told) = watch::channel(HashMap::new());
    let asked = Arc::new(AtomicUsize::new(0));
    let (answering, count) = (resolver.clone(), asked.clone());
    tokio::spawn(async move {
        serve(answering, &mut questions, |host, _| {
            count.fetch_add(1, Ordering::SeqCst);
            let mut told = told.clone();
            async move {
                let known = told
                    .wait_for(|all: &HashMap<&str, Resolved>| all.contains_key(&*host))
                    .await
                    .unwrap();
                (known[&*host].clone(), Duration::from_secs(60))
            }
        })
        .await;
    });
    (resolver, tell, asked)
}

#[tokio::test]
async fn one_question_serves_all_who_wait_and_the_answer_is_kept() {
    let (resolver, tell, asked) = held();
    let waiting: Vec<_> = (0..10)
        .map(|number| {
            let resolver = resolver.clone();
            tokio::spawn(async move { resolver.resolve_for("good.example", client(number)).await })
        })
        .collect();
    assert!(resolver.cached("good.example").is_none());
    tell.send_modify(|all| drop(all.insert("good.example", Ok([v4(1)].into()))));
    for one in waiting {
        assert_eq!(one.await.unwrap().unwrap()[0], v4(1));
    }
    assert!(resolver.cached("good.example").unwrap().is_ok());
    tell.send_modify(|all| drop(all.insert("bad.example", Err(Error::NotFound))));
    assert_eq!(resolver.resolve("bad.example").await, Err(Error::NotFound));
    assert_eq!(resolver.resolve("bad.example").await, Err(Error::NotFound));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn localhost_and_the_hosts_file_need_no_resolver() {
    let (resolver, questions) = Resolver::new();
    drop(questions);
    assert!(resolver.resolve("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
    assert!(resolver.resolve("a.localhost").await.is_ok());
    assert_eq!(resolver.resolve("elsewhere").await, Err(Error::Failed));
    resolver.renew(Hosts::parse("192.0.2.1 elsewhere -ab.test"));
    assert_eq!(resolver.resolve("elsewhere").await.unwrap()[..], [v4(1)]);
    assert_eq!(resolver.whole("-ab.test", Asker::Node).await.unwrap()[..], [v4(1)]);
    resolver.renew(Hosts::parse(""));
    assert_eq!(
        resolver.cached("elsewhere"),
        None,
        "what the file says no more is not known any more"
    );
}

#[tokio::test]
async fn random_names_below_a_silent_zone_take_dns_from_nobody() {
    let (resolver, tell, asked) = held();
    tell.send_modify(|all| {
        for host in ["www.lively.test", "other.lively.test"] {
            all.insert(host, Ok([v4(1)].into()));
        }
    });
    let flood: Vec<_> = (0..1400)
        .map(|number| {
            let resolver = resolver.clone();
            tokio::spawn(async move {
                resolver.resolve_for(&format!("r{number}.silent.test"), client(1)).await
            })
        })
        .collect();
    let refused = async {
        while flood.iter().filter(|one| one.is_finished()).count() < 1000 {
            tokio::task::yield_now().await;
        }
    };
    refused.await;
    assert!(asked.load(Ordering::SeqCst) < 100, "{asked:?} look-ups of one domain");
    assert!(resolver.resolve_for("www.lively.test", client(2)).await.is_ok(), "another client");
    assert!(
        resolver.resolve_for("other.lively.test", client(1)).await.is_ok(),
        "the same one, for other names"
    );
    flood.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn who_has_gone_is_not_asked_for() {
    let (resolver, tell, asked) = held();
    let ask = |number: usize| {
        let resolver = resolver.clone();
        tokio::spawn(async move {
            resolver.resolve_for(&format!("r{number}.silent.test"), client(1)).await
        })
    };
    let waiting: Vec<_> = (0..100).map(ask).collect();
    while asked.load(Ordering::SeqCst) < 32 {
        tokio::task::yield_now().await;
    }
    for one in waiting {
        one.abort();
        assert!(one.await.is_err());
    }
    tell.send_modify(|all| drop(all.insert("r0.silent.test", Ok([v4(1)].into()))));
    let last = ask(0);
    assert!(last.await.unwrap().is_ok());
    assert_eq!(asked.load(Ordering::SeqCst), 32, "nobody waits for the others any more");
}

/// A resolver as a node has it, that goes by files in a directory.
fn system(dir: &std::path::Path, resolv_conf: &str) -> (Resolver, Arc<System>) {
    std::fs::write(dir.join("resolv.conf"), resolv_conf).unwrap();
    let system = Arc::new(System::new(files::Files {
        resolv_conf: dir.join("resolv.conf"),
        hosts: dir.join("hosts"),
    }));
    let (resolver, mut questions) = Resolver::new();
    resolver.renew(system.refresh().unwrap());
    let (answering, asking) = (resolver.clone(), system.clone());
    tokio::spawn(async move {
        serve(answering, &mut questions, |host, early| look_up(asking.clone(), host, early)).await
    });
    (resolver, system)
}

fn texts(resolved: Resolved) -> Vec<String> {
    resolved.unwrap().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_server_that_misbehaves_is_no_outage() {
    let (server, dir) = (NameServer::start().unwrap(), tempfile::tempdir().unwrap());
    let (resolver, _) = system(dir.path(), &format!("options timeout:0\n{}", server.line()));
    let both = ["::1", "127.0.0.1"];
    for name in [
        "a_b.test",
        "project_web_1.test",
        "_x.test",
        "x_.test",
        "-ab.test",
        "xn--zzzzzz99999.test",
        "large.test",
    ] {
        assert_eq!(texts(resolver.resolve(name).await), both, "{name}");
    }
    assert_eq!(texts(resolver.resolve("no-aaaa.test").await), ["127.0.0.1"]);
    assert_eq!(texts(resolver.resolve("late-a.test").await), ["::1"]);
    assert_eq!(
        texts(resolver.whole("late-a.test", client(1)).await),
        both,
        "it joins for who waits"
    );
    assert_eq!(texts(resolver.cached("late-a.test").unwrap()), both, "and for all who come later");
    assert_eq!(resolver.resolve("none.test").await, Err(Error::NotFound));
    assert_eq!(resolver.resolve("dead.test").await, Err(Error::Timeout));
    assert_eq!(resolver.resolve("not..a.name").await, Err(Error::NotFound));
}

#[tokio::test]
async fn the_next_server_is_asked_and_then_first() {
    let (server, dir) = (NameServer::start().unwrap(), tempfile::tempdir().unwrap());
    // Bound, and never read.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let line = |address: SocketAddr| format!("nameserver [{}]:{}\n", address.ip(), address.port());
    let (resolver, system) =
        system(dir.path(), &(line(silent.local_addr().unwrap()) + &server.line()));
    assert!(resolver.resolve("a.test").await.is_ok());
    assert_eq!(server.count("a.test"), 2);
    let closed = { UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    std::fs::write(dir.path().join("resolv.conf"), line(closed) + &server.line()).unwrap();
    resolver.renew(system.refresh().unwrap());
    assert!(
        resolver.resolve("b.test").await.is_ok(),
        "where nobody listens the next one is asked at once"
    );
}

#[tokio::test]
async fn changed_files_are_seen() {
    let (old, new, dir) =
        (NameServer::start().unwrap(), NameServer::start().unwrap(), tempfile::tempdir().unwrap());
    let (resolver, system) = system(dir.path(), &old.line());
    assert!(resolver.resolve("a.test").await.is_ok());
    assert!(system.refresh().is_none(), "nothing has changed");
    std::fs::write(dir.path().join("resolv.conf"), new.line() + "# another one\n").unwrap();
    std::fs::write(dir.path().join("hosts"), "192.0.2.7 web_1\n").unwrap();
    // Only the clock that it looks by is paused: servers are asked in real time.
    tokio::time::pause();
    tokio::spawn(follow(system, resolver.clone()));
    tokio::time::sleep(2 * LOOK).await;
    tokio::time::resume();
    assert_eq!(texts(resolver.resolve("web_1").await), ["192.0.2.7"]);
    assert!(resolver.resolve("a.test").await.is_ok());
    assert_eq!((old.count("a.test"), new.count("a.test")), (2, 2));
}

#[tokio::test]
async fn an_expired_answer_serves_while_no_server_answers() {
    let (resolver, tell, asked) = held();
    tell.send_modify(|all| drop(all.insert("a.test", Ok([v4(1)].into()))));
    assert!(resolver.resolve("a.test").await.is_ok());
    resolver.renew(Hosts::default());
    assert_eq!(resolver.cached("a.test"), None);
    let expired = resolver.expired("a.test");
    assert!(expired.is_some());
    assert_eq!(
        resolver.or_expired("a.test", Err(Error::NotFound), expired.clone()),
        Err(Error::NotFound)
    );
    assert_eq!(texts(resolver.or_expired("a.test", Err(Error::Timeout), expired)), ["192.0.2.1"]);
    assert_eq!(
        texts(resolver.cached("a.test").unwrap()),
        ["192.0.2.1"],
        "nobody waits again for a while"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
