//! Addresses that move between balancers, between network namespaces: two of our own, and ours
//! beside Debian's keepalived. What counts is what the hosts have, what the network has seen
//! (tcpdump), what clients get and what keepalived's notify script was told; not our logs.

use std::time::Duration;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testkit::network::{self, Capture, Network, VIRTUAL, VIRTUAL_V6, holds};
use tokio::{process::Child, time::Instant};

const V3: &str = "  - {name: V, interface: eth0, virtual_router_id: 51, \
    priority: {a: 200, b: 190}, advert_interval: 100ms, addresses: [10.77.0.100/24]}\n";

fn signal(child: &Child, signal: Signal) {
    let pid = child.id().expect("it runs");
    kill(Pid::from_raw(pid.cast_signed()), signal).expect("signalled");
}

/// Clients come again and again; from the first answer on they must all be answered.
async fn answered_again(network: &Network) -> Duration {
    let began = Instant::now();
    holds("clients are answered", || network.answers(VIRTUAL)).await;
    let gap = began.elapsed();
    for _ in 0..10 {
        assert!(network.answers(VIRTUAL), "answered once and then not");
    }
    let own = format!("{VIRTUAL}:8081");
    assert!(network.answers_at(&own), "a frontend that binds the address itself");
    gap
}

async fn pair(vrrp: &str) -> (Network, Child, Child) {
    let mut network = Network::new(&["a", "b"]);
    network.control(vrrp).await;
    let (a, b) = (network.balancer("a", &[]), network.balancer("b", &[]));
    network.until_held_by(&["a"]).await;
    holds("a serves", || network.answers(VIRTUAL)).await;
    (network, a, b)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_a_frozen_and_a_stopped_balancer_are_replaced() {
    let (network, mut a, _b) = pair(V3).await;
    let seen = network.capture("capture", "proto 112 or arp").ready().await;

    let mark = seen.mark();
    let died = Instant::now();
    a.kill().await.expect("killed");
    let gap = answered_again(&network).await;
    network.until_held_by(&["b"]).await;
    println!("killed: answered after {gap:?}, one owner after {:?}", died.elapsed());
    assert!(died.elapsed() < Duration::from_secs(4), "the address of the dead stays");
    holds("b speaks", || seen.since(mark, &["10.77.0.12 >", "prio 190"]) != 0).await;
    holds("b announces", || seen.since(mark, &["who-has 10.77.0.100", "tell 10.77.0.100"]) != 0)
        .await;

    let a = network.balancer("a", &[]);
    network.until_held_by(&["a"]).await;
    answered_again(&network).await;

    let mark = seen.mark();
    signal(&a, Signal::SIGSTOP);
    let froze = Instant::now();
    let gap = answered_again(&network).await;
    network.until_held_by(&["b"]).await;
    println!("frozen: answered after {gap:?}, one owner after {:?}", froze.elapsed());
    holds("b speaks", || seen.since(mark, &["10.77.0.12 >", "prio 190"]) != 0).await;
    // Announced once more after the frozen one has lost it.
    holds("announcements beyond the lifetime", || {
        seen.since(mark, &["who-has 10.77.0.100", "tell 10.77.0.100"]) >= 4
    })
    .await;
    signal(&a, Signal::SIGCONT);
    network.until_held_by(&["a"]).await;
    answered_again(&network).await;

    let mark = seen.mark();
    signal(&a, Signal::SIGTERM);
    network.until_held_by(&["b"]).await;
    holds("it says that it leaves", || seen.since(mark, &["10.77.0.11 >", "prio 0"]) != 0).await;
    answered_again(&network).await;
    seen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_taken_over_keeps_the_address() {
    // On a busy machine a new process may need more than the three tenths of a second of others.
    let (network, mut old, _b) = pair(&V3.replace("100ms", "1s")).await;
    let seen = network.capture("capture", "proto 112").ready().await;
    holds("a speaks", || seen.since(0, &["10.77.0.11 >", "prio 200"]) != 0).await;
    let mark = seen.mark();
    for _ in 0..3 {
        let new = network.balancer("a", &["env", "SHOAL_TAKE_OVER=true"]);
        let began = Instant::now();
        let ended = loop {
            assert_eq!(network.holders(), ["a"], "the address stays");
            assert!(network.answers(VIRTUAL), "and answers");
            assert!(began.elapsed() < Duration::from_secs(60), "the old one does not end");
            if let Some(ended) = old.try_wait().expect("waited") {
                break ended;
            }
        };
        assert_eq!(ended.code(), Some(0));
        old = new;
    }
    stays_with(&network, &seen, &["a"], "10.77.0.11 >").await;
    assert_eq!(seen.since(mark, &["10.77.0.12 >"]), 0, "the other one never speaks");
    assert_eq!(seen.since(mark, &["prio 0"]), 0, "nobody has left");
    seen.end().await;
}

/// Drops VRRP in a host, in a direction.
fn drop_vrrp(network: &Network, host: &str, hook: &str) {
    network.on(host, &["nft", "add", "table", "ip", "t"]);
    let chain = format!("{{ type filter hook {hook} priority 0 ; }}");
    network.on(host, &["nft", "add", "chain", "ip", "t", hook, &chain]);
    network.on(host, &["nft", "add", "rule", "ip", "t", hook, "ip", "protocol", "112", "drop"]);
}

fn pass_again(network: &Network, host: &str) {
    network.on(host, &["nft", "delete", "table", "ip", "t"]);
}

/// Nothing changes for three master-down intervals.
async fn stays_with(network: &Network, seen: &Capture, hosts: &[&str], speaker: &str) {
    let mark = seen.mark();
    holds("ten more advertisements", || seen.since(mark, &[speaker, "Advertisement"]) >= 10).await;
    assert_eq!(network.holders(), hosts);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_cut_one_way_or_both_and_heals() {
    let (network, _a, _b) = pair(V3).await;
    let seen = network.capture("capture", "proto 112 or arp").ready().await;

    // The master is deaf: nobody notices.
    drop_vrrp(&network, "a", "input");
    stays_with(&network, &seen, &["a"], "10.77.0.11 >").await;
    pass_again(&network, "a");

    // The master is dumb and hears: both hold it, as VRRP has it. When it is heard again it is the
    // only one, and says so to the network.
    drop_vrrp(&network, "a", "output");
    network.until_held_by(&["a", "b"]).await;
    let mark = seen.mark();
    pass_again(&network, "a");
    network.until_held_by(&["a"]).await;
    holds("the one that stays announces", || {
        seen.since(mark, &["who-has 10.77.0.100", "tell 10.77.0.100"]) >= 1
    })
    .await;

    // Neither hears the other.
    drop_vrrp(&network, "b", "input");
    drop_vrrp(&network, "a", "input");
    network.until_held_by(&["a", "b"]).await;
    pass_again(&network, "a");
    pass_again(&network, "b");
    network.until_held_by(&["a"]).await;
    stays_with(&network, &seen, &["a"], "10.77.0.11 >").await;

    // The cable.
    let center = network.space("c");
    network::run(&["ip", "-n", &center, "link", "set", "pa", "down"]);
    network.until_held_by(&["b"]).await;
    answered_again(&network).await;
    network::run(&["ip", "-n", &center, "link", "set", "pa", "up"]);
    network.until_held_by(&["a"]).await;
    answered_again(&network).await;
    seen.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_without_a_server_gives_way() {
    let (network, _a, _b) = pair(V3).await;
    network.on("a", &["ip", "route", "add", "blackhole", "10.77.0.1/32"]);
    network.until_held_by(&["b"]).await;
    answered_again(&network).await;
    // Both without: the address stays somewhere, and answers.
    network.on("b", &["ip", "route", "add", "blackhole", "10.77.0.1/32"]);
    network.until_held_by(&["a"]).await;
    network.on("b", &["ip", "route", "delete", "blackhole", "10.77.0.1/32"]);
    network.until_held_by(&["b"]).await;
    network.on("a", &["ip", "route", "delete", "blackhole", "10.77.0.1/32"]);
    network.until_held_by(&["a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_somebody_else_holds_is_named_and_left_alone() {
    let mut network = Network::new(&["a"]);
    network.control(V3).await;
    network.on("a", &["ip", "address", "add", "10.77.0.100/24", "dev", "eth0"]);
    let _a = network.balancer("a", &[]);
    let told = |word: &str| {
        let status = network.status("a");
        status.is_some_and(|it| it["state"] == "fault" && it.to_string().contains(word))
    };
    holds("the fault names it", || told("10.77.0.100 is on interface eth0 already")).await;
    holds("it serves all the same", || network.answers("10.77.0.11")).await;
    network.on("a", &["ip", "address", "delete", "10.77.0.100/24", "dev", "eth0"]);
    holds("it takes part", || network.status("a").is_some_and(|it| it["state"] == "master")).await;
    assert_eq!(network.holders(), ["a"]);
    let other = network.on("a", &["ip", "-o", "address", "show", "dev", "eth0"]);
    assert!(other.contains("10.77.0.100/24") && other.contains("dynamic"), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_without_permission_says_so_and_serves() {
    let mut network = Network::new(&["a"]);
    network.control(V3).await;
    let without = ["setpriv", "--bounding-set=-net_raw,-net_admin", "--inh-caps=-all"];
    let _a = network.balancer("a", &without);
    holds("it says what is missing", || {
        network.status("a").is_some_and(|it| it.to_string().contains("CAP_NET_RAW"))
    })
    .await;
    holds("it serves all the same", || network.answers("10.77.0.11")).await;
    let metrics = network.on("a", &["curl", "-s", "http://127.0.0.1:7202/metrics"]);
    assert!(metrics.contains("shoal_balancer_vrrp_fault{instance=\"V\"} 1"), "{metrics}");
    assert_eq!(network.holders(), [""; 0]);
}

/// keepalived on a host, with a script that writes what it is told.
fn keepalived(network: &Network, host: &str, version: u8, priority: u8) -> Child {
    let own = match version {
        2 => "advert_int 1\n authentication {\n auth_type PASS\n auth_pass 1234\n }",
        _ => "version 3\n advert_int 0.2",
    };
    keepalived_of(
        network,
        host,
        &format!("vrrp_version {version}"),
        priority,
        own,
        "10.77.0.100/24",
    )
}

fn keepalived_of(
    network: &Network,
    host: &str,
    global: &str,
    priority: u8,
    own: &str,
    addresses: &str,
) -> Child {
    let (file, script) = (network.path("keepalived.conf"), network.path("notify.sh"));
    let told = network.path("told");
    std::fs::write(&script, format!("#!/bin/sh\necho $3 >> {told}\n")).expect("a script");
    network::run(&["chmod", "755", &script]);
    let text = format!(
        "global_defs {{\n script_user root\n {global}\n}}\nvrrp_instance VI_1 {{\n \
         state BACKUP\n interface eth0\n virtual_router_id 51\n priority {priority}\n {own}\n \
         virtual_ipaddress {{\n {addresses}\n }}\n notify {script}\n}}\n"
    );
    std::fs::write(&file, text).expect("a configuration");
    let pid = |name: &str| network.path(&format!("{name}.pid"));
    let (main, child) = (pid("keepalived"), pid("vrrp"));
    network.spawn(
        host,
        "keepalived",
        &["keepalived", "-n", "-l", "-D", "-f", &file, "-p", &main, "-r", &child],
    )
}

fn told(network: &Network) -> Vec<String> {
    let text = std::fs::read_to_string(network.path("told")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn beside_keepalived(version: u8, section: &str) {
    let mut network = Network::new(&["a", "k"]);
    std::fs::create_dir(network.path("secrets")).expect("a directory");
    std::fs::write(network.path("secrets/vrrp_auth"), "1234\n").expect("a secret");
    network.control(section).await;
    let seen = network.capture("capture", "proto 112").ready().await;

    // Ours is master, keepalived its backup.
    let mut a = network.balancer("a", &[]);
    network.until_held_by(&["a"]).await;
    let mut lesser = keepalived(&network, "k", version, 90);
    holds("keepalived is backup", || told(&network).last().is_some_and(|it| it == "BACKUP")).await;
    let mark = seen.mark();
    let enough = || seen.since(mark, &["10.77.0.11 >", "Advertisement"]) >= 5;
    holds("five advertisements", enough).await;
    assert_eq!(seen.since(mark, &["10.77.0.12 >"]), 0, "keepalived does not speak");
    assert_eq!(network.holders(), ["a"]);

    // Killed, and keepalived takes over; back, and it takes the address again.
    a.kill().await.expect("killed");
    holds("keepalived is master", || told(&network).last().is_some_and(|it| it == "MASTER")).await;
    network.until_held_by(&["k"]).await;
    let mut a = network.balancer("a", &[]);
    holds("keepalived is backup", || told(&network).last().is_some_and(|it| it == "BACKUP")).await;
    network.until_held_by(&["a"]).await;

    // A stop is heard by keepalived.
    let mark = seen.mark();
    signal(&a, Signal::SIGTERM);
    holds("keepalived is master", || told(&network).last().is_some_and(|it| it == "MASTER")).await;
    holds("it says so", || seen.since(mark, &["10.77.0.11 >", "prio 0"]) != 0).await;
    a.wait().await.expect("ended");

    // Ours is the backup of a better keepalived, and takes over when that leaves.
    end(&network, &mut lesser).await;
    std::fs::remove_file(network.path("told")).expect("told");
    let mut better = keepalived(&network, "k", version, 150);
    holds("keepalived is master", || told(&network).last().is_some_and(|it| it == "MASTER")).await;
    let _a = network.balancer("a", &[]);
    holds("ours hears it", || {
        network.status("a").is_some_and(|it| it["reason"] == "hears 10.77.0.12")
    })
    .await;
    let mark = seen.mark();
    holds("five more", || seen.since(mark, &["10.77.0.12 >", "prio 150"]) >= 5).await;
    assert_eq!(seen.since(mark, &["10.77.0.11 >"]), 0, "ours does not speak");
    assert_eq!(network.holders(), ["k"]);
    end(&network, &mut better).await;
    network.until_held_by(&["a"]).await;
    holds("clients are answered", || network.answers(VIRTUAL)).await;
    seen.end().await;
}

/// keepalived takes its address off when it is asked to end.
async fn end(network: &Network, keepalived: &mut Child) {
    let pid = std::fs::read_to_string(network.path("keepalived.pid")).expect("its pid");
    kill(Pid::from_raw(pid.trim().parse().expect("a pid")), Signal::SIGTERM).expect("signalled");
    keepalived.wait().await.expect("ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_keepalived_in_version_2_with_a_password() {
    let section = "  - {name: V, interface: eth0, virtual_router_id: 51, version: 2, priority: {a: \
        100}, auth_pass: \"secret:vrrp_auth\", addresses: [10.77.0.100/24]}\n";
    beside_keepalived(2, section).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_keepalived_in_version_3() {
    let section = "  - {name: V, interface: eth0, virtual_router_id: 51, priority: {a: 100}, \
        advert_interval: 200ms, addresses: [10.77.0.100/24]}\n";
    beside_keepalived(3, section).await;
}

/// The whole way once more in IPv6 (RFC 9568 §5.2.9: the first address is a link-local one).
#[tokio::test(flavor = "multi_thread")]
async fn beside_keepalived_in_ipv6() {
    let mut network = Network::new(&["a", "k"]);
    let section = "  - {name: V, interface: eth0, virtual_router_id: 51, priority: {a: 100}, \
        advert_interval: 200ms, addresses: [\"fe80::100/64\", \"fd77::100/64\"]}\n";
    network.control(section).await;
    let seen = network.capture("capture", "ip6 proto 112 or icmp6").ready().await;
    let keepalived = |priority| {
        let addresses = "fe80::100/64\n fd77::100/64";
        let own = "version 3\n advert_int 0.2";
        keepalived_of(&network, "k", "vrrp_version 3", priority, own, addresses)
    };
    let heard_last = |what: &str| told(&network).last().is_some_and(|it| it == what);
    let answered = || network.answers_at(&format!("[{VIRTUAL_V6}]:8081"));

    // Ours is master, keepalived its backup: it hears us, and understands what it hears.
    let mut a = network.balancer("a", &[]);
    network.until_one_is_held_by(VIRTUAL_V6, &["a"]).await;
    holds("clients are answered", answered).await;
    let mut lesser = keepalived(90);
    holds("keepalived is backup", || heard_last("BACKUP")).await;
    let mark = seen.mark();
    holds("five advertisements", || seen.since(mark, &["ff02::12", "prio 100"]) >= 5).await;
    assert_eq!(seen.since(mark, &["ff02::12", "prio 90"]), 0, "keepalived does not speak");
    assert_eq!(network.holders_of(VIRTUAL_V6), ["a"]);

    // Killed, and keepalived takes over; back, and ours takes the address again and says so.
    a.kill().await.expect("killed");
    holds("keepalived is master", || heard_last("MASTER")).await;
    network.until_one_is_held_by(VIRTUAL_V6, &["k"]).await;
    let mark = seen.mark();
    let a = network.balancer("a", &[]);
    holds("keepalived is backup", || heard_last("BACKUP")).await;
    network.until_one_is_held_by(VIRTUAL_V6, &["a"]).await;
    holds("neighbours are told", || {
        seen.since(mark, &["neighbor advertisement", "tgt is fd77::100"]) != 0
    })
    .await;
    holds("clients are answered", answered).await;

    // A stop is heard by keepalived.
    let mark = seen.mark();
    signal(&a, Signal::SIGTERM);
    holds("keepalived is master", || heard_last("MASTER")).await;
    holds("it says so", || seen.since(mark, &["ff02::12", "prio 0"]) != 0).await;
    end(&network, &mut lesser).await;
    std::fs::remove_file(network.path("told")).expect("told");

    // Ours is the backup of a better keepalived, and takes over when that leaves.
    let mut better = keepalived(150);
    holds("keepalived is master", || heard_last("MASTER")).await;
    let _a = network.balancer("a", &[]);
    let hears = |it: serde_json::Value| it["reason"].to_string().contains("hears fe80:");
    holds("ours hears it", || network.status("a").is_some_and(hears)).await;
    let mark = seen.mark();
    holds("five more", || seen.since(mark, &["ff02::12", "prio 150"]) >= 5).await;
    assert_eq!(seen.since(mark, &["ff02::12", "prio 100"]), 0, "ours does not speak");
    assert_eq!(network.holders_of(VIRTUAL_V6), ["k"]);
    end(&network, &mut better).await;
    network.until_one_is_held_by(VIRTUAL_V6, &["a"]).await;
    holds("clients are answered", answered).await;
    seen.end().await;
}

/// Peers by name, a program that is told, and no multicast at all.
#[tokio::test(flavor = "multi_thread")]
async fn unicast_peers_and_a_program_that_is_told() {
    let mut network = Network::new(&["a", "b"]);
    let (notify, told) = (network.path("notify"), network.path("told"));
    std::fs::write(&notify, format!("#!/bin/sh\necho \"$@\" >> {told}\n")).expect("a script");
    network::run(&["chmod", "755", &notify]);
    let section = V3.replace("addresses", "unicast_peers: [a, b], addresses");
    network.control(&section).await;
    let seen = network.capture("capture", "proto 112").ready().await;
    let _b = network.balancer("b", &[]);
    network.until_held_by(&["b"]).await;
    holds("b is told", || self::told(&network).contains(&"INSTANCE V MASTER 190".to_owned())).await;
    let mut a = network.balancer("a", &[]);
    network.until_held_by(&["a"]).await;
    holds("a is told", || self::told(&network).contains(&"INSTANCE V MASTER 200".to_owned())).await;
    holds("b is told", || {
        self::told(&network).iter().filter(|it| *it == "INSTANCE V BACKUP 190").count() >= 1
    })
    .await;
    answered_again(&network).await;
    let to_peer = ["10.77.0.11 > 10.77.0.12", "Advertisement"];
    holds("a speaks to b", || seen.since(0, &to_peer) != 0).await;
    assert_eq!(seen.since(0, &["224.0.0.18", "Advertisement"]), 0);
    a.kill().await.expect("killed");
    network.until_held_by(&["b"]).await;
    answered_again(&network).await;
    seen.end().await;
}

/// Two instances, and a change of the configuration: what has not changed does not move.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_touches_the_instance_that_changed() {
    let section = |second: &str| {
        format!(
            "{V3}  - {{name: W, interface: eth0, virtual_router_id: 52, priority: {{a: 100, b: \
             200}}, advert_interval: 100ms, addresses: [{second}]}}\n"
        )
    };
    let mut network = Network::new(&["a", "b"]);
    network.control(&section("\"fe80::64/64\", \"2001:db8::64/64\"")).await;
    let (_a, _b) = (network.balancer("a", &[]), network.balancer("b", &[]));
    network.until_held_by(&["a"]).await;
    let six = |host: &str| network.on(host, &["ip", "-6", "-o", "address", "show", "eth0"]);
    let has = |host: &str, address: &str| six(host).contains(address);
    holds("the other one is on b", || has("b", "2001:db8::64/64")).await;
    assert!(!has("a", "2001:db8::64/64"), "{}", six("a"));
    let seen = network.capture("capture", "proto 112 and ip").ready().await;
    let mark = seen.mark();
    network.apply(&section("\"fe80::64/64\", \"2001:db8::65/64\"")).await;
    holds("it is another one", || has("b", "2001:db8::65/64") && !has("b", "2001:db8::64/64"))
        .await;
    assert_eq!(seen.since(mark, &["prio 0"]), 0, "the first did not move");
    assert_eq!(network.holders(), ["a"]);
    seen.end().await;
}
