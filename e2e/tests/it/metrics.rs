//! `docs/metrics.md` is what the sources say of their metrics: each `metrics.rs` names them once,
//! for who counts, who reads and the page.
//!
//! `UPDATE=1 cargo test --release -p e2e --test it metrics::` writes the page anew.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// Heading and file, in the order of the page.
const SOURCES: &[(&str, &str)] = &[
    ("Every process", "crates/chassis/src/metrics.rs"),
    ("balancer", "balancer/src/metrics.rs"),
    ("balancer, as HAProxy's exporter names them", "balancer/src/metrics/haproxy.rs"),
    ("proxy-node", "proxy-node/src/metrics.rs"),
    ("registry", "registry/src/metrics.rs"),
    ("config-service", "config-service/src/metrics.rs"),
    ("health-checker", "health-checker/src/metrics.rs"),
    ("backup-service", "backup-service/src/metrics.rs"),
    ("console", "console/src/metrics.rs"),
];

struct Metric {
    name: String,
    kind: &'static str,
    meaning: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// One line, with one blank between words.
fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first string literal of a text.
fn literal(text: &str) -> Option<&str> {
    text.split('"').nth(1)
}

/// `/// meaning` lines above `pub const NAME: &str = "metric";`, and rows of a macro: `counter
/// field = NAME "metric": "meaning";`.
fn metrics(source: &str) -> Vec<Metric> {
    let (mut found, mut docs) = (Vec::new(), String::new());
    let mut lines = source.lines().peekable();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if let Some(more) = line.strip_prefix("/// ") {
            docs = format!("{docs} {more}");
        } else if let Some(constant) =
            line.strip_prefix("pub const ").filter(|rest| rest.contains(": &str"))
        {
            let mut statement = constant.to_owned();
            while !statement.ends_with(';') {
                statement.push_str(lines.next().expect("the end of a constant").trim());
            }
            let rust = statement.split(':').next().unwrap_or_default().to_owned();
            if let Some(name) = literal(&statement) {
                found.push(Metric {
                    name: name.to_owned(),
                    kind: kind(source, &rust, name),
                    meaning: plain(&docs),
                });
            }
            docs.clear();
        } else if let Some(kind) = ["counter", "gauge"]
            .into_iter()
            .find(|kind| line.starts_with(&format!("{kind} ")) && line.contains(" = "))
        {
            let mut row = line.to_owned();
            while !row.ends_with("\";") {
                // A literal goes on in the next line.
                row.truncate(row.trim_end_matches('\\').len());
                row.push_str(lines.next().expect("the end of a row").trim());
            }
            let parts: Vec<&str> = row.split('"').collect();
            found.push(Metric { name: parts[1].to_owned(), kind, meaning: plain(parts[3]) });
        } else {
            docs.clear();
        }
    }
    found
}

/// As it is described to the recorder; what is written by hand says by its name what it is.
fn kind(source: &str, rust: &str, name: &str) -> &'static str {
    let described = |how: &str| {
        let calls = [format!("describe_{how}!({rust},"), format!("write_{how}(out, {rust},")];
        calls.iter().any(|call| source.contains(call.as_str()))
    };
    match name {
        _ if described("histogram")
            || described("durations")
            || name.ends_with("_duration_seconds") =>
        {
            "histogram"
        }
        _ if described("gauge") => "gauge",
        _ if described("counter") || described("classes") || name.ends_with("_total") => "counter",
        _ => "gauge",
    }
}

fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\nOn `/metrics` of every process's admin port, in Prometheus's text format. \
         Made of the `metrics.rs` of each crate by \
         `UPDATE=1 cargo test --release -p e2e --test it metrics::`; do not edit it. To add a \
         metric, add a constant with its meaning and labels there, and \
         describe it; [telemetry.md](telemetry.md) says how metrics, logs and traces go \
         together.\n",
    );
    for (heading, path) in SOURCES {
        let source =
            fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let found = metrics(&source);
        assert!(!found.is_empty(), "{path} names no metric");
        let _infallible =
            write!(page, "\n## {heading}\n\n| metric | kind | meaning |\n|---|---|---|\n");
        for Metric { name, kind, meaning } in found {
            assert!(meaning.len() > 5, "{path}: {name} has no meaning");
            let _infallible =
                writeln!(page, "| `{name}` | {kind} | {} |", meaning.replace('|', "\\|"));
        }
    }
    page
}

#[test]
fn the_page_is_what_the_sources_say() {
    let (path, page) = (root().join("docs/metrics.md"), page());
    if std::env::var_os("UPDATE").is_some() {
        return fs::write(&path, page).expect("the page is written");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == page,
        "docs/metrics.md is not what the sources say: run this test once with UPDATE=1, and commit \
         it"
    );
}
