//! `docs/reliability.md` from what a run of the suite printed: text in, text out.

use std::collections::BTreeMap;

use crate::promises::{ELSEWHERE, PROMISES};

/// Counts of one test, as printed.
pub type Counts = BTreeMap<String, u64>;

/// The lines `e2e NAME: {counts}` of a run, wherever they stand in a line; a later one of the same
/// name counts.
#[must_use]
pub fn parse(output: &str) -> BTreeMap<String, Counts> {
    let read = |line: &str| {
        // The differential test counts cases, not requests: its summary is for reading.
        let (name, counts) = line
            .split_once("e2e ")?
            .1
            .split_once(": ")
            .filter(|(_, counts)| counts.contains("\"sent\":"))?;
        Some((name.to_owned(), serde_json::from_str(counts).ok()?))
    };
    output.lines().filter_map(read).collect()
}

/// The page.
///
/// # Errors
/// The names that were printed without a promise, and the promises that were not tried.
pub fn render(run: &BTreeMap<String, Counts>) -> Result<String, Vec<String>> {
    let unknown =
        run.keys().filter(|name| PROMISES.iter().all(|promise| promise.name != name.as_str()));
    let untried = PROMISES.iter().filter(|promise| !run.contains_key(promise.name));
    let mut problems: Vec<_> =
        unknown.map(|name| format!("{name} has no row in e2e/src/promises.rs")).collect();
    problems
        .extend(untried.map(|promise| format!("{} printed no counts in this run", promise.name)));
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut page = String::from(HEAD);
    let mut sum = Counts::new();
    for promise in PROMISES {
        let count = |what: &str| run[promise.name].get(what).copied().unwrap_or_default();
        for what in ["sent", "failed"] {
            *sum.entry(what.to_owned()).or_default() += count(what);
        }
        page.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {} | `{}` |\n",
            promise.fault,
            promise.promise,
            count("sent"),
            count("failed"),
            count("retried"),
            count("cut_tunnels"),
            count("longest_gap_ms"),
            promise.name,
        ));
    }
    page.push_str(&format!("\n{} requests in all, {} failed.\n", sum["sent"], sum["failed"]));
    page.push_str(
        "\n## Tried on less than a whole cluster\n\n| fault | promise | where |\n|---|---|---|\n",
    );
    for (fault, promise, place) in ELSEWHERE {
        page.push_str(&format!("| {fault} | {promise} | {place} |\n"));
    }
    page.push_str(MUTANTS);
    Ok(page)
}

/// What was broken on purpose, and who noticed; written by hand.
const MUTANTS: &str = include_str!("mutants.md");

const HEAD: &str = "\
# Faults that are tried, what is promised, what was lost

Generated from a run of the end-to-end suite; do not edit. To make it anew:

```
cargo test --release -p e2e -- --nocapture --test-threads 2 | tee run.txt
cargo run --release -p e2e --example reliability -- run.txt
```

Every test starts a whole cluster of real processes with `shoal lab` (2 balancers, 3 nodes, the \
control plane), those of containers one with
docker-compose, sends requests all the while, and asserts counts. Times are printed and never \
asserted: the longest gap is the longest time in
which no client at all had a successful answer, on whatever machine this ran.

*Failed* is a request without a complete 2xx. *Retried* is what clients sent again themselves: a \
GET or CONNECT whose connection was closed
with not one byte of an answer, as RFC 9110 §9.2.2 lets them; clients never repeat a POST. *Cut* \
are tunnels that ended after their 2xx.
Which retries the cluster makes by itself is in `crates/relay/src/retry.rs`.

| fault | promise | requests | failed | retried | cut | longest gap, ms | test |
|---|---|---:|---:|---:|---:|---:|---|
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found_wherever_they_are_printed() {
        let run = parse(
            "test a_b ... e2e a_b: {\"sent\":5,\"failed\":1}\nok\ne2e posts on the node when it \
             died: 3 failed\ne2e differential host: {\"cases\":61}\ne2e c: {\"sent\":1}\n",
        );
        assert_eq!(run.keys().collect::<Vec<_>>(), ["a_b", "c"]);
        assert_eq!((run["a_b"]["sent"], run["a_b"]["failed"]), (5, 1));
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut run: BTreeMap<_, _> =
            PROMISES.iter().map(|promise| (promise.name.to_owned(), Counts::new())).collect();
        assert!(render(&run).is_ok());
        run.remove(PROMISES[0].name);
        run.insert("something_new".to_owned(), Counts::new());
        let problems = render(&run).expect_err("two problems");
        assert!(
            problems.len() == 2
                && problems[0].contains("something_new")
                && problems[1].contains(PROMISES[0].name),
            "{problems:?}"
        );
    }
}
