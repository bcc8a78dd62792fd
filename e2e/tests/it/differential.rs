//! Several hundred malformed and borderline messages through a balancer and a node, and to a node
//! alone: each is refused and leaves nothing behind, or arrives as exactly one message with exactly
//! one meaning. What the proxies make of them is read by a strict reader of this test's own.

mod case;
mod fields;
mod framing;
mod judge;
mod limits;
mod lines;
mod message;
mod origin;
mod poisoning;
mod replies;
mod scenes;
mod sharing;
mod talk;
mod targets;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use case::{Case, Expect, Gets, Reply};
use judge::{Manner, Ran, Via};
use testkit::lab::{Lab, Options};
use tokio::sync::Semaphore;

/// Cases under way at once.
const AT_ONCE: usize = 8;

/// Origins kept for a second look.
const KEPT: usize = 120;

/// What came of a class.
#[derive(Default)]
struct Tally {
    cases: usize,
    refused: usize,
    forwarded: usize,
    exchanges: usize,
}

/// Everything that went wrong, and how much was tried.
#[derive(Default)]
struct Report {
    classes: BTreeMap<&'static str, Tally>,
    wrong: Vec<String>,
    /// The last origins, with how many requests they have to have seen in the end.
    origins: Vec<(String, origin::Origin, usize)>,
}

impl Report {
    fn add(&mut self, class: &'static str, refused: bool) {
        let tally = self.classes.entry(class).or_default();
        tally.cases += 1;
        *(if refused { &mut tally.refused } else { &mut tally.forwarded }) += 1;
    }

    fn ran(&mut self, class: &'static str, name: &str, verdict: Result<(), String>) {
        self.classes.entry(class).or_default().exchanges += 1;
        if let Err(why) = verdict {
            self.wrong.push(format!("{class}: {name}\n      {why}"));
        }
    }

    /// Looks once more at the origins of the cases before, and lets go of them.
    fn settle(&mut self) {
        for (name, origin, count) in std::mem::take(&mut self.origins) {
            let requests = origin.record().requests.len();
            if requests != count {
                self.wrong.push(format!(
                    "late: {name}\n      {requests} requests in the end instead of {count}"
                ));
            }
        }
    }

    fn print(&self) {
        for (class, tally) in &self.classes {
            let Tally { cases, refused, forwarded, exchanges } = tally;
            println!(
                "e2e differential {class}: \
                 {{\"cases\":{cases},\"refused\":{refused},\
                 \"forwarded\":{forwarded},\"exchanges\":{exchanges}}}"
            );
        }
    }
}

/// Runs these, a few at once, and hands them back in order.
async fn at_once<T: Send + 'static>(runs: Vec<impl Future<Output = T> + Send + 'static>) -> Vec<T> {
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = Vec::new();
    for run in runs {
        let pass = Arc::clone(&gate).acquire_owned().await.expect("an open gate");
        tasks.push(tokio::spawn(async move {
            let ran = run.await;
            drop(pass);
            ran
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.expect("a run does not panic"));
    }
    all
}

async fn requests(report: &mut Report, ways: [(Via, SocketAddr); 2], cases: Vec<Case>) {
    let mut runs = Vec::new();
    for case in cases {
        report.add(case.class, !matches!(case.expect, Expect::Forwarded(_)));
        let case = Arc::new(case);
        for (via, address) in ways {
            for manner in [Manner::Pipelined, Manner::Dripped, Manner::Apart] {
                let case = Arc::clone(&case);
                runs.push(async move {
                    let ran: Ran = judge::run(&case, via, address, manner).await;
                    (case.class, format!("{via:?} {manner:?} {}", case.name), ran)
                });
            }
        }
    }
    while !runs.is_empty() {
        let some = runs.split_off(runs.len().saturating_sub(KEPT));
        let ran = at_once(some).await;
        // What arrived after its case was judged arrived all the same.
        report.settle();
        for (class, name, (origin, count, verdict)) in ran {
            // What is wrong already is not reported again.
            if verdict.is_ok() {
                report.origins.push((name.clone(), origin, count));
            }
            report.ran(class, &name, verdict);
        }
    }
    report.settle();
}

async fn responses(report: &mut Report, ways: [(Via, SocketAddr); 2], replies: Vec<Reply>) {
    let mut runs = Vec::new();
    for reply in replies {
        report.add(reply.class, !matches!(reply.expect, Gets::Answer(_)));
        let reply = Arc::new(reply);
        for (via, address) in ways {
            for &method in reply.methods {
                let reply = Arc::clone(&reply);
                runs.push(async move {
                    let ran: Ran = judge::reply(&reply, method, address).await;
                    (reply.class, format!("{via:?} {method} {:?} {}", reply.then, reply.name), ran)
                });
            }
        }
    }
    for (class, name, (_, _, verdict)) in at_once(runs).await {
        report.ran(class, &name, verdict);
    }
}

async fn scenes(report: &mut Report, ways: [(Via, SocketAddr); 2]) {
    for (via, address) in ways {
        for (class, played) in [
            ("tunnels", scenes::tunnels(address).await),
            ("early answers", scenes::early_answers(address).await),
            ("hang-ups", scenes::hang_ups(address).await),
            ("cache poisoning", poisoning::play(address).await),
            ("cache sharing", sharing::play(address).await),
            ("limits", limits::play(address).await),
        ] {
            for (name, verdict) in played {
                if via == Via::Balancer {
                    report.add(class, false);
                }
                report.ran(class, &format!("{via:?} {name}"), verdict);
            }
        }
    }
}

/// The node's name in Via, as an origin sees it.
async fn pseudonym(address: SocketAddr) -> String {
    let origin = origin::Origin::start(Arc::new(|_, _| None)).await;
    let mut client = talk::Talk::open(address).await;
    client.send(&case::fill(&case::get(""), &origin.address.to_string())).await;
    assert!(
        matches!(client.answer("GET").await, talk::Got::Answer(..)),
        "a plain request goes through"
    );
    let request = origin.record().requests.remove(0);
    request
        .all("via")
        .last()
        .and_then(|via| via.split(' ').nth(1))
        .expect("a name in Via")
        .to_owned()
}

/// The panics that the processes of a lab have counted: lines of their metrics.
async fn panics(lab: &Lab) -> Vec<String> {
    let mut found = Vec::new();
    for process in lab.now().processes {
        let Some(admin) = process.endpoints.get("admin").and_then(|admin| admin.parse().ok())
        else {
            continue;
        };
        let url = format!("http://{admin}/metrics");
        let answer = testkit::client::once(admin, "GET", &url, &[], b"").await.expect("metrics");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains("shoal_process_info{"), "{} shows its metrics", process.name);
        found.extend(
            text.lines()
                .filter(|line| line.starts_with("shoal_panics_total{"))
                .map(|line| format!("{}: {line}", process.name)),
        );
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_meaning_or_none() {
    let arguments =
        ["--nodes", "1", "--balancers", "1", "--checkers", "1"].map(str::to_owned).to_vec();
    let lab = Lab::start(Options { arguments, ..Options::default() }).await;
    let node: SocketAddr =
        lab.process("proxy-node-1").endpoints["proxy"].parse().expect("an address");
    let ways = [(Via::Balancer, lab.frontend()), (Via::Node, node)];
    let before = lab.now();
    let name = pseudonym(node).await;
    let mut report = Report::default();
    let cases = [framing::cases(), lines::cases(), targets::cases(), fields::cases(&name)]
        .into_iter()
        .flatten()
        .collect();
    requests(&mut report, ways, cases).await;
    responses(&mut report, ways, replies::cases()).await;
    scenes(&mut report, ways).await;

    // Nothing of all this ended a process or spoke against the node.
    let pids = |description: &testkit::lab::Description| {
        description.processes.iter().map(|process| process.pid).collect::<Vec<_>>()
    };
    assert_eq!(pids(&lab.now()), pids(&before), "a process was started again");
    assert_eq!(panics(&lab).await, Vec::<String>::new(), "something panicked");
    for via in ways {
        pseudonym(via.1).await;
    }
    report.print();
    let shown: Vec<_> = report.wrong.iter().take(60).map(String::as_str).collect();
    assert!(
        report.wrong.is_empty(),
        "{} of the exchanges went wrong:\n{}",
        report.wrong.len(),
        shown.join("\n")
    );
}
