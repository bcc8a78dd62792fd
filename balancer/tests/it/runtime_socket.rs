//! HAProxy's runtime socket over fake nodes: what it says, what it does, and what it bears.

use std::os::unix::fs::PermissionsExt;

use balancer::face::{
    process::About,
    socket::{Caller, Socket, answer::Runtime, listen},
};
use chassis::{Clock, StopSignal, audit::Journal};
use proto::balancer as pb;
use testkit::wait::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::support::{Cluster, Mode};

fn about() -> About {
    About::new("balancer-1".to_owned(), Default::default, 2, StopSignal::default())
}

fn socket(cluster: &Cluster) -> Socket {
    let runtime =
        Runtime { view: cluster.view.clone(), operator: cluster.operator(), about: about() };
    let path = cluster.directory.path().join("audit.jsonl");
    let journal = Journal::open(&path, Clock::system()).expect("a journal");
    Socket::new(runtime, journal, Clock::system())
}

fn open(socket: &Socket) -> DuplexStream {
    let (client, server) = tokio::io::duplex(4096);
    let socket = socket.clone();
    let caller = Caller { who: "user 0".to_owned(), from: "runtime socket".to_owned() };
    tokio::spawn(async move { socket.serve(server, caller).await });
    client
}

/// What the cluster's socket says to this.
pub async fn said(cluster: &Cluster, lines: &str) -> String {
    dialogue(&socket(cluster), lines).await
}

/// All that is said to this until the connection ends.
async fn dialogue(socket: &Socket, lines: &str) -> String {
    let (mut said, mut client) = (String::new(), open(socket));
    // The socket may have said its last before it has read all.
    drop(client.write_all(lines.as_bytes()).await);
    client.read_to_string(&mut said).await.expect("text");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn dialogues_are_haproxy_s() {
    let cluster = Cluster::start(1).await;
    let socket = socket(&cluster);
    let version = chassis::VERSION;
    for (lines, expected) in [
        ("show version\n", format!("{version}\n\n")),
        ("show version\nshow version\n", format!("{version}\n\n{version}\n\n")),
        ("  show   version\r\n", format!("{version}\n\n")),
        ("prompt; show version\nshow version\nquit\n", format!("\n{version}\n\n> {version}\n\n> ")),
        ("disable server x/y; disable server squid_servers/y\n", {
            "No such backend.\n\nNo such server.\n\n".to_owned()
        }),
        ("get weight squid_servers/node-1\n", "1 (initial 1)\n\n".to_owned()),
        ("show backend\n", "# name\nsquid_servers\n\n".to_owned()),
        ("enable agent squid_servers/node-1\n", {
            "Agent was not configured on this server, cannot enable.\n\n".to_owned()
        }),
        ("quit\n", String::new()),
    ] {
        assert_eq!(dialogue(&socket, lines).await, expected, "{lines}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_and_connections_have_bounds() {
    let cluster = Cluster::start(1).await;
    let socket = socket(&cluster);
    assert_eq!(dialogue(&socket, &format!("{}\n", "x".repeat(20_000))).await, "");
    let mut half = open(&socket);
    half.write_all(b"show version").await.expect("sent");
    half.shutdown().await.expect("ended");
    let mut said = String::new();
    half.read_to_string(&mut said).await.expect("text");
    assert_eq!(said, "", "what has no end is no line");
    assert_eq!(dialogue(&socket, "prompt; set timeout cli 50ms\n").await, "\n\n> ");

    let mut first: Vec<_> = (0..10).map(|_| open(&socket)).collect();
    for client in &mut first {
        client.write_all(b"prompt\n").await.expect("sent");
        let mut said = [0; 3];
        client.read_exact(&mut said).await.expect("a prompt");
    }
    let mut eleventh = open(&socket);
    eleventh.write_all(b"show version\n").await.expect("sent");
    let mut said = String::new();
    let waits = tokio::time::timeout(
        std::time::Duration::from_millis(200),
        eleventh.read_to_string(&mut said),
    );
    assert!(waits.await.is_err(), "there are ten");
    drop(first.pop());
    eleventh.read_to_string(&mut said).await.expect("its turn");
    assert!(said.starts_with(chassis::VERSION), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_the_bundle_are_changed_here() {
    let named = serde_json::json!({"discover": null, "servers": [
        {"name": "a", "host": "127.0.0.1", "port": 1, "weight": 100, "backup": false}
    ]});
    let cluster = Cluster::with(0, named).await;
    let socket = socket(&cluster);
    let done = async |line: &str| assert_eq!(dialogue(&socket, line).await, "\n", "{line}");
    let server = || cluster.server("a").expect("a server");

    done("disable server squid_servers/a\n").await;
    assert_eq!(server().admin_state(), pb::ServerState::Maintenance);
    let state = dialogue(&socket, "show servers state squid_servers\n").await;
    assert!(state.contains(" a 127.0.0.1 0 1 100 100 "), "{state}");
    done("set server squid_servers/a state ready\n").await;
    done("set server squid_servers/a weight 25%\n").await;
    assert_eq!(server().weight, 25);
    assert_eq!(dialogue(&socket, "get weight squid_servers/a\n").await, "25 (initial 100)\n\n");
    done("set maxconn server squid_servers/a 3\n").await;
    assert_eq!(server().maxconn, Some(3));
    let moved = dialogue(&socket, "set server squid_servers/a addr 127.0.0.2 port 2\n").await;
    assert_eq!(
        moved,
        "IP changed from '127.0.0.1' to '127.0.0.2', port changed from '1' to '2' by 'stats socket \
         command'\n\n"
    );
    assert_eq!(server().address, "127.0.0.2:2");
    let records = std::fs::read_to_string(cluster.directory.path().join("audit.jsonl"));
    let records = records.expect("records");
    assert!(records.contains("squid_servers/a: ") && records.contains("user 0"), "{records}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_what_one_says_until_checks_differ() {
    let cluster = Cluster::start(2).await;
    let socket = socket(&cluster);
    // Without checks nothing differs.
    assert_eq!(dialogue(&socket, "disable health squid_servers/node-1\n").await, "\n");
    assert_eq!(dialogue(&socket, "set server squid_servers/node-1 health down\n").await, "\n");
    cluster.until_standing("node-1", pb::Standing::Unwell).await;
    let stat = dialogue(&socket, "show stat squid_servers 4 1\n").await;
    assert!(stat.contains("squid_servers,node-1,") && stat.contains(",DOWN,"), "{stat}");
    let hidden = dialogue(&socket, "show stat up\n").await;
    assert!(!hidden.contains("squid_servers,node-1,"), "{hidden}");
    assert_eq!(dialogue(&socket, "set server squid_servers/node-1 health up\n").await, "\n");
    cluster.until_standing("node-1", pb::Standing::Usable).await;
    assert_eq!(dialogue(&socket, "set server squid_servers/node-1 health down\n").await, "\n");
    cluster.until_standing("node-1", pb::Standing::Unwell).await;
    assert_eq!(dialogue(&socket, "enable health squid_servers/node-1\n").await, "\n");
    cluster.until_standing("node-1", pb::Standing::Usable).await;
    let refused = dialogue(&socket, "set server squid_servers/node-1 addr 127.0.0.1\n").await;
    assert!(refused.contains("found in the registry") && refused.contains("another address"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_before_its_answer_goes_elsewhere_and_blames_nobody() {
    let cluster = Cluster::start(2).await;
    let socket = socket(&cluster);
    cluster.nodes.iter().for_each(|node| node.set(Mode::SlowOrigin));
    let (mut client, active) =
        (cluster.open().await, |name: &str| cluster.counters(name).active_requests);
    client.send(b"GET http://o/x HTTP/1.1\r\nHost: o\r\n\r\n").await.expect("sent");
    let carrier = until("somebody has it", || async {
        ["node-1", "node-2"].into_iter().find(|name| active(name) == 1)
    })
    .await;
    let other = if carrier == "node-1" { "node-2" } else { "node-1" };
    let cut = format!("shutdown sessions server squid_servers/{carrier}\n");
    assert_eq!(dialogue(&socket, &cut).await, "\n");
    until("the other has it", || async { (active(other) == 1).then_some(()) }).await;
    cluster.nodes.iter().for_each(|node| node.open_gate());
    assert_eq!(client.answer("GET").await.expect("an answer").status(), 200);
    assert_eq!(cluster.counters(carrier).failures, 0);
    assert_eq!(cluster.server(carrier).expect("it").standing(), pb::Standing::Usable);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_errors() {
    let cluster = Cluster::start(1).await;
    let socket = socket(&cluster);
    let mut client = cluster.open().await;
    client.send(b"nonsense\r\n\r\n").await.expect("sent");
    assert_eq!(client.answer("GET").await.expect("an answer").status(), 400);
    until("it is told", || async {
        let told = dialogue(&socket, "show errors\n").await;
        (told.contains("] : 1\n") && told.contains("frontend proxy_frontend (#2): invalid request"))
            .then_some(())
    })
    .await;
    assert_eq!(dialogue(&socket, "show errors nobody\n").await, "No such proxy.\n\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frontend_has_the_page_where_its_bundle_says_so() {
    let page = serde_json::json!({"frontend": {"stats": {"uri": "/stats", "refresh": 7}}});
    let cluster = Cluster::with(1, page).await;
    let text = async |target: &str| {
        let mut client = cluster.open().await;
        let head = format!("GET {target} HTTP/1.1\r\nHost: b\r\n\r\n");
        client.send(head.as_bytes()).await.expect("sent");
        let answer = client.answer("GET").await.expect("an answer");
        assert_eq!(answer.status(), 200, "{target}");
        String::from_utf8(answer.body).expect("text")
    };
    let page = text("/stats").await;
    assert!(page.contains("content=\"7\"") && page.contains("node-1"), "{page}");
    assert!(text("/stats;csv").await.starts_with("# pxname,"));
    assert_eq!(cluster.arrivals().len(), 0, "nobody was asked");
    text("http://origin.example/stats").await;
    assert_eq!(cluster.arrivals().len(), 1, "a site's page is the site's");
}

#[tokio::test]
async fn the_file_is_this_user_s_and_nobody_else_s_is_touched() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("b.sock");
    let first = listen::bind(&path).expect("a socket");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let refused = listen::bind(&path).map(drop).expect_err("somebody listens").to_string();
    let named = format!("(process {}) listens there", std::process::id());
    assert!(refused.contains(&named) && refused.contains("--socket"), "{refused}");
    drop(first);
    // What a dead process left.
    listen::bind(&path).expect("replaced");
    let file = directory.path().join("file");
    std::fs::write(&file, "mine").expect("written");
    let refused = listen::bind(&file).map(drop).expect_err("no socket").to_string();
    assert!(refused.contains("that is no socket"), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "mine");
    let long = directory.path().join("x".repeat(120));
    let refused = listen::bind(&long).map(drop).expect_err("too long").to_string();
    assert!(refused.contains("longer than"), "{refused}");
}

/// As the process does it.
pub fn make_pages(cluster: &balancer::engine::Engine, listed: chassis::membership::Watch) {
    let (asker, mut wanted) = balancer::pages::channel();
    cluster.ask_for_pages(asker);
    let pages = balancer::face::page::Pages::new(cluster.view(), about(), listed);
    tokio::spawn(async move { balancer::face::page::make(&pages, &mut wanted).await });
}

/// What stands in a column of a server's row.
async fn column(cluster: &Cluster, server: &str, name: &str) -> u64 {
    let table = said(cluster, "show stat\n").await;
    let mut lines = table.lines();
    let names = lines.next().expect("a header").trim_start_matches("# ");
    let at = names.split(',').position(|it| it == name).expect("a column");
    let row = lines.find(|row| row.split(',').nth(1) == Some(server)).expect("a row");
    row.split(',').nth(at).expect("a field").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn times_and_errors_are_those_of_the_requests() {
    let settings = serde_json::json!({"balance": "first"});
    let cluster = Cluster::with(2, settings).await;
    let rates = tokio::spawn(balancer::view::rates::follow(cluster.view.clone()));
    cluster.nodes[0].set(Mode::Takes(30, 30));
    until("times are seen", || async {
        assert_eq!(cluster.get("GET", b"").await.status(), 200);
        (column(&cluster, "node-1", "ttime").await >= 30).then_some(())
    })
    .await;
    // Of that time nothing is the node's own.
    assert!(column(&cluster, "node-1", "rtime").await < 30);
    let (econ, eresp) = ("econ", "eresp");
    assert_eq!(column(&cluster, "node-1", econ).await, 0);
    cluster.nodes[0].kill().await;
    assert_eq!(cluster.get("GET", b"").await.status(), 200);
    assert!(column(&cluster, "node-1", econ).await >= 1);
    assert_eq!(column(&cluster, "node-1", eresp).await, 0, "nothing else has failed");
    assert!(column(&cluster, "node-1", "wredis").await >= 1);
    rates.abort();
}
