//! A few hundred cases of what an HTTP cache has to do and may do, as data (`conformance/cases`),
//! run against a node and against the caches that Debian has: Squid, nginx, Varnish and Traffic
//! Server. What the node may not fail it does not fail, and each of the others fails more.
//!
//! Forward proxies are asked as such, the others as servers in front of the origin; what each keeps
//! and for how long is left to its defaults. The scores are in docs/cache.md, written anew with
//! `UPDATE=1`.

pub(crate) mod case;
pub(crate) mod judge;
pub(crate) mod origin;
mod page;
pub(crate) mod peers;

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use case::{Case, Kind};
use judge::Form;
use origin::Origin;
use peers::Cache;
use testkit::lab::{Lab, Options};
use tokio::sync::Semaphore;

/// Cases under way at once.
const AT_ONCE: usize = 48;

const FILES: [&str; 7] = [
    include_str!("conformance/cases/storing.txt"),
    include_str!("conformance/cases/freshness.txt"),
    include_str!("conformance/cases/vary.txt"),
    include_str!("conformance/cases/serving.txt"),
    include_str!("conformance/cases/validation.txt"),
    include_str!("conformance/cases/changes.txt"),
    include_str!("conformance/cases/ranges.txt"),
];

/// What a cache made of all cases, in their order.
pub struct Score {
    pub name: &'static str,
    pub results: Vec<Result<(), String>>,
}

impl Score {
    /// How many of a kind it passes.
    pub fn passed(&self, cases: &[Case], kind: Kind) -> usize {
        let of =
            |(case, result): &(&Case, &Result<(), String>)| case.kind == kind && result.is_ok();
        cases.iter().zip(&self.results).filter(of).count()
    }
}

fn cases() -> Vec<Case> {
    let cases: Vec<Case> = FILES.into_iter().flat_map(case::read).collect();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    let twice: Vec<_> = cases
        .iter()
        .map(|case| case.name.as_str())
        .filter(|name| cases.iter().filter(|case| case.name == *name).count() > 1)
        .collect();
    assert!(names.len() == cases.len(), "each case has its own name, not {twice:?}");
    cases
}

async fn run(cases: &Arc<Vec<Case>>, origin: &Arc<Origin>, cache: Cache) -> Score {
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        if cache.dies_of.iter().any(|it| case.name.starts_with(it)) {
            tasks.push(tokio::spawn(async { Err("it dies of it".to_owned()) }));
            continue;
        }
        let pass = Arc::clone(&gate).acquire_owned().await.expect("an open gate");
        let (cases, origin) = (Arc::clone(cases), Arc::clone(origin));
        tasks.push(tokio::spawn(async move {
            let Cache { name, address, form, .. } = cache;
            let ran = judge::run(&cases[index], name, address, form, &origin).await;
            drop(pass);
            ran
        }));
    }
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("a case does not panic"));
    }
    Score { name: cache.name, results }
}

/// Runs those again, one by one, for which a busy machine may have been too slow: lifetimes are
/// whole seconds.
async fn again(cases: &[Case], origin: &Origin, cache: Cache, score: &mut Score) {
    for prefix in ["again", "once-more"] {
        for (case, result) in cases.iter().zip(&mut score.results) {
            if result.is_err() {
                *result = judge::run(case, prefix, cache.address, cache.form, origin).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_cache_fails_fewer() {
    let cases = Arc::new(cases());
    let origin = Arc::new(Origin::start().await);
    let arguments = ["--nodes", "1", "--balancers", "1"].map(str::to_owned).to_vec();
    let lab = Lab::start(Options { arguments, ..Options::default() }).await;
    let node: SocketAddr =
        lab.process("proxy-node-1").endpoints["proxy"].parse().expect("an address");
    let peers = peers::all(origin.address).await;
    let ours = Cache { name: "shoal", address: node, form: Form::Forward, dies_of: &[] };
    let mut scores = vec![run(&cases, &origin, ours).await];
    again(&cases, &origin, ours, &mut scores[0]).await;
    for peer in &peers {
        scores.push(run(&cases, &origin, peer.cache).await);
    }
    for score in &scores {
        println!(
            "e2e conformance {}: {{\"required\":{},\"optional\":{}}}",
            score.name,
            score.passed(&cases, Kind::Required),
            score.passed(&cases, Kind::Optional)
        );
    }
    for score in &scores[1..] {
        // A cache that passes nothing was not asked as it has to be.
        let why = score.results.iter().find_map(|it| it.as_ref().err());
        let some = score.results.iter().any(Result::is_ok);
        assert!(some, "{} passes nothing: {why:?}", score.name);
    }
    let (ours, others) = scores.split_first().expect("a node");
    let failed = |kind: Kind| -> Vec<String> {
        let all = cases.iter().zip(&ours.results).filter(|(case, _)| case.kind == kind);
        all.filter_map(|(case, result)| {
            let why = result.as_ref().err()?;
            Some(format!("{} ({}): {}\n    {why}", case.name, case.section, case.says))
        })
        .collect()
    };
    for optional in failed(Kind::Optional) {
        println!("not done: {optional}");
    }
    let required = failed(Kind::Required);
    assert!(
        required.is_empty(),
        "{} required cases fail:\n{}",
        required.len(),
        required.join("\n")
    );
    let passed =
        |score: &Score| score.passed(&cases, Kind::Required) + score.passed(&cases, Kind::Optional);
    for other in others {
        assert!(passed(ours) > passed(other), "{} fails no more", other.name);
    }
    page::check(&cases, &scores);
}
