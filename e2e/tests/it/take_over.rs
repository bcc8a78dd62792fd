//! A binary upgrade: each process is taken over from several times under load (`--take-over`), and
//! nobody notices: no request fails, no counter falls, the registry sees the same instance.

use std::{net::SocketAddr, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testkit::{
    client,
    lab::{Lab, Options},
    load::{Kind, Load, Outcome, Plan},
    origin::Origin,
    wait,
};
use tokio::process::Child;

fn load(lab: &Lab, origin: &Origin, kind: Kind, clients: usize, requests: u64) -> Load {
    let path = if kind == Kind::Post { "/echo" } else { "/bytes/1024" };
    Load::open_ended(Plan {
        frontends: lab.description.frontends.clone(),
        origin: origin.address().to_string(),
        path: path.into(),
        kind,
        clients,
        requests,
    })
}

async fn lab() -> Lab {
    let arguments = ["--no-restart", "--nodes", "2", "--balancers", "1"];
    Lab::start(Options { arguments: arguments.map(Into::into).into(), ..Options::default() }).await
}

/// Starts a process as it was started, to take over from the one that runs.
fn take_over(lab: &Lab, name: &str, more: &[(&str, &str)]) -> Child {
    let take_over = [("SHOAL_TAKE_OVER", "true")];
    let environment = take_over.iter().chain(more).map(|(k, v)| ((*k).into(), (*v).into()));
    lab.start_beside(name, &environment.collect::<Vec<_>>())
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().expect("it runs").cast_signed())
}

async fn metrics(admin: SocketAddr) -> Option<String> {
    let answer = client::once(admin, "GET", "/metrics", &[], b"").await.ok()?;
    String::from_utf8(answer.body).ok()
}

/// The sum of a counter's series in what the process behind an admin port tells.
async fn counted(admin: SocketAddr, series: &str) -> Option<u64> {
    let text = metrics(admin).await?;
    let lines = text.lines().filter(|it| it.starts_with(series));
    Some(lines.filter_map(|it| it.rsplit_once(' ')?.1.parse::<u64>().ok()).sum())
}

/// Which process answers, by when it began: another one for each that took over.
async fn began(admin: SocketAddr) -> Option<String> {
    let text = metrics(admin).await?;
    text.lines().find(|it| it.starts_with("process_start_time")).map(str::to_owned)
}

async fn in_a_row(test: &str, name: &str, counters: &[&str]) {
    let lab = lab().await;
    let origin = Origin::start().await;
    let gets = load(&lab, &origin, Kind::Get, 8, 6_000);
    let posts = load(&lab, &origin, Kind::Post, 4, 1_000);
    let tunnels = load(&lab, &origin, Kind::Connect, 2, 300);
    gets.reach(300).await;
    let admin: SocketAddr = lab.process(name).endpoints["admin"].parse().expect("an address");
    // Numbers are copied once a second.
    for counter in counters {
        wait::until(format!("{counter} is told"), || async {
            counted(admin, counter).await.filter(|it| *it > 0).map(drop)
        })
        .await;
    }
    let mut before = vec![0; counters.len()];
    let (mut old, mut running) = (Pid::from_raw(lab.process(name).pid), None::<Child>);
    for _ in 0..5 {
        let first = began(admin).await.expect("it answers");
        let child = take_over(&lab, name, &[("SHOAL_DRAIN_PROPAGATION", "200ms")]);
        wait::until(format!("{name} is taken over"), || async {
            began(admin).await.filter(|now| *now != first).map(drop)
        })
        .await;
        for (counter, before) in counters.iter().zip(&mut before) {
            let now = counted(admin, counter).await.expect("it answers");
            assert!(now >= *before, "{counter} fell from {before} to {now}");
            assert_ne!(now, 0, "{counter}");
            *before = now;
        }
        let served = gets.succeeded();
        gets.reach(served + 300).await;
        match running.replace(child) {
            Some(mut before) => {
                let ended = tokio::time::timeout(Duration::from_secs(60), before.wait()).await;
                assert_eq!(ended.expect("it drains").expect("waited").code(), Some(0));
            }
            None => {
                wait::until("the first one drains", || async {
                    kill(old, None::<Signal>).is_err().then_some(())
                })
                .await;
            }
        }
        old = pid(running.as_ref().expect("it runs"));
        assert_eq!(lab.state(name).await.as_deref(), Some("usable"));
    }
    let mut sum = Outcome::default();
    for (kind, outcome) in [
        ("gets", gets.enough().await),
        ("posts", posts.enough().await),
        ("tunnels", tunnels.enough().await),
    ] {
        sum.add(&outcome);
        if outcome.failed > 0 {
            eprintln!("{}", lab.log(name));
        }
        let failed = (outcome.failed, outcome.cut_tunnels);
        assert_eq!(failed, (0, 0), "{kind}: {:#?}", outcome.failures);
    }
    sum.print(test);
    assert_eq!(origin.repeated(), [], "requests that reached the origin more than once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_is_taken_over_five_times_and_nothing_fails() {
    let counters = ["shoal_balancer_requests", "haproxy_frontend_bytes"];
    in_a_row("a_balancer_is_taken_over_five_times_and_nothing_fails", "balancer-1", &counters)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_taken_over_five_times_and_nothing_fails() {
    let counters = ["shoal_proxy_requests", "shoal_proxy_answers"];
    in_a_row("a_node_is_taken_over_five_times_and_nothing_fails", "proxy-node-1", &counters).await;
}

/// The frontend answers, from whichever process.
async fn answers(lab: &Lab, origin: &Origin) {
    let url = format!("http://{}/bytes/10", origin.address());
    wait::until("the frontend answers", || async {
        let answer = client::once(lab.frontend(), "GET", &url, &[], b"").await.ok()?;
        (answer.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dies_on_the_way_the_frontend_answers() {
    let (lab, name) = (lab().await, "balancer-1");
    let origin = Origin::start().await;
    let admin: SocketAddr = lab.process(name).endpoints["admin"].parse().expect("an address");
    let first = began(admin).await.expect("it answers");

    // The new one cannot be built: it ends, and the old one goes on.
    let gets = load(&lab, &origin, Kind::Get, 4, 500);
    let missing = [("SHOAL_VRRP_NOTIFY", "/nonexistent/program")];
    for _ in 0..3 {
        let ended = take_over(&lab, name, &missing).wait().await.expect("waited");
        assert_eq!(ended.code(), Some(1));
    }
    // Neither does one that is killed as it begins.
    let mut killed = take_over(&lab, name, &[]);
    killed.kill().await.expect("killed");
    assert_eq!(began(admin).await, Some(first.clone()), "the same process");
    let outcome = gets.enough().await;
    assert_eq!((outcome.failed, outcome.cut_tunnels), (0, 0), "{:#?}", outcome.failures);

    // The old one freezes, is asked, and dies.
    lab.signal(name, Signal::SIGSTOP);
    let second = take_over(&lab, name, &[]);
    lab.signal(name, Signal::SIGKILL);
    wait::until("the new one serves", || async { began(admin).await.filter(|it| *it != first) })
        .await;
    answers(&lab, &origin).await;

    // Nobody is there.
    kill(pid(&second), Signal::SIGKILL).expect("killed");
    drop(second);
    let _third = take_over(&lab, name, &[]);
    answers(&lab, &origin).await;
    let log = lab.log(name);
    assert!(log.contains("there is no process to take over from"), "{log}");
}
