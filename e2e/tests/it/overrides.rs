//! Refresh patterns with each of their options, beside Debian's Squid with the same patterns and
//! the same answers of the origin: what is served from the cache, what is validated, and what is
//! fetched anew is the same, case by case. Where a node means to do otherwise the case is
//! `optional`, and then Squid does not do it.

use std::{net::SocketAddr, path::Path};

use testkit::lab::{Lab, Options};

use crate::conformance::{
    case::{self, Case, Kind},
    judge::{self, Form},
    origin::Origin,
    peers::{self, Cache},
};

/// The patterns: the beginning of the names of cases that each is for, its options in Squid's
/// words, and in the bundle's. `min` is a minute, 50 %, `max` ten minutes, where nothing else is
/// said.
const PATTERNS: [(&str, &str, &str); 18] = [
    ("plain", "", ""),
    // As Squid's own default has it for all URLs with a query.
    ("query", "", ", queries: true"),
    ("order", "0 0% 0", "min: 0s, percent: 0, max: 0s"),
    ("none", "0 0% 10", "min: 0s, percent: 0, max: 10m"),
    ("expire", "override-expire", ", override_expire: true"),
    ("lastmod", "override-lastmod", ", override_lastmod: true"),
    ("ims", "reload-into-ims", ", reload_into_ims: true"),
    ("reload", "ignore-reload", ", ignore_reload: true"),
    ("nostore", "ignore-no-store", ", ignore_no_store: true"),
    ("private", "ignore-private", ", ignore_private: true"),
    ("stale", "store-stale", ", store_stale: true"),
    ("most", "max-stale=1000", ", max_stale: 1000s"),
    ("refresh", "refresh-ims", ", refresh_ims: true"),
    ("nocache", "ignore-no-cache", ", ignore_no_cache: true"),
    (
        "must",
        "ignore-must-revalidate override-expire",
        ", ignore_must_revalidate: true, override_expire: true",
    ),
    ("auth", "ignore-auth", ", ignore_auth: true"),
    ("order", "", ""),
    ("case", "-i", ", ignore_case: true"),
];

/// Those of Squid's configuration.
fn of_squid() -> String {
    // A query is guessed at where a pattern says so, and not by Squid's rule for everything.
    let mut text =
        String::from("minimum_expiry_time 0 seconds\nrefresh_pattern /plain\\.query\\? 0 0% 0\n");
    for (name, options, _) in PATTERNS {
        let line = match options {
            "-i" => format!("refresh_pattern -i /{name}\\.u 1 50% 10\n"),
            times if times.starts_with(|it: char| it.is_ascii_digit()) => {
                format!("refresh_pattern /{name}\\. {times}\n")
            }
            options => format!("refresh_pattern /{name}\\. 1 50% 10 {options}\n"),
        };
        text.push_str(&line);
    }
    text + "refresh_pattern . 0 0% 0\n"
}

/// Those of the bundle.
fn of_the_bundle() -> String {
    let one = |(name, _, more): (&str, &str, &str)| {
        let times = if more.starts_with("min") { "" } else { "min: 1m, percent: 50, max: 10m" };
        let url = if name == "case" { "/case\\.u".to_owned() } else { format!("/{name}\\.") };
        format!("{{url_regex: '{url}', {times}{more}}}")
    };
    PATTERNS.map(one).join(",\n      ")
}

/// A bundle of a lab with these patterns.
fn bundle(to: &Path) {
    let templates =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/cluster-config/templates");
    let from = templates.join("lab");
    for file in ["cluster.yaml", "lists/blocked_sites.txt", "pages/blocked.html"] {
        let target = to.join(file);
        std::fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        std::fs::copy(from.join(file), target).expect("a file of the template");
    }
    let main = to.join("cluster.yaml");
    let text = std::fs::read_to_string(&main).expect("cluster.yaml");
    let pattern = "{url_regex: '\\.(deb|rpm|whl|crate)$', min: 1h, percent: 80, max: 7d}";
    assert!(text.contains(pattern), "the template has one pattern");
    let with = text.replace(&format!("- {pattern}"), &format!("[{}]", of_the_bundle()));
    std::fs::write(main, with).expect("write cluster.yaml");
}

/// What each case comes to, in their order.
async fn run(cases: &[Case], origin: &Origin, cache: Cache) -> Vec<Result<(), String>> {
    let mut results = Vec::new();
    for case in cases.iter() {
        let mut ran = Err(String::new());
        // Lifetimes are whole seconds, which a busy machine may be too slow for.
        for again in ["", "-again", "-once-more"] {
            if ran.is_err() {
                let peer = format!("{}{again}", cache.name);
                ran = judge::run(case, &peer, cache.address, cache.form, origin).await;
            }
        }
        results.push(ran);
    }
    results
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refresh_patterns_do_what_squids_do() {
    let cases = case::read(include_str!("overrides/cases.txt"));
    let origin = Origin::start().await;
    let scratch = tempfile::tempdir().expect("a temporary directory");
    bundle(scratch.path());
    let config = scratch.path().display().to_string();
    let arguments = ["--nodes", "1", "--balancers", "1", "--config", &config].map(str::to_owned);
    let lab = Lab::start(Options { arguments: arguments.to_vec(), ..Options::default() }).await;
    let node: SocketAddr =
        lab.process("proxy-node-1").endpoints["proxy"].parse().expect("an address");
    let squid = peers::squid_with(&of_squid()).await;
    let node = Cache { name: "shoal", address: node, form: Form::Forward, dies_of: &[] };
    let (ours, theirs) =
        tokio::join!(run(&cases, &origin, node), run(&cases, &origin, squid.cache));
    let mut wrong = Vec::new();
    let mut alike = 0;
    for (case, (ours, theirs)) in cases.iter().zip(ours.iter().zip(&theirs)) {
        let told = |who: &str, why: &str| format!("{who}, {} ({}): {why}", case.name, case.says);
        if let Err(why) = ours {
            wrong.push(told("node", why));
        }
        match (case.kind, theirs) {
            (Kind::Required, Err(why)) => wrong.push(told("squid", why)),
            (Kind::Required, Ok(())) => alike += 1,
            (Kind::Optional, Ok(())) => wrong.push(told("squid", "does it too")),
            (Kind::Optional, Err(_)) => {}
        }
    }
    println!("e2e overrides: {{\"cases\":{},\"alike\":{alike}}}", cases.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
