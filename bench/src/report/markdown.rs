//! Tables: the goals with what was reached, and every trial with its spread.

use crate::{
    contender::Who,
    goal::{Goal, Verdict, What},
    results::{Results, Sample},
    statistics::Spread,
    trial::{Trial, all, find, names},
};

/// What was wanted and what was reached, of everything that was measured.
pub fn goals(results: &Results) -> String {
    let mut text = String::from(
        "| what | who | goal | measured (least – greatest) | |\n|---|---|---|---|---|\n",
    );
    for trial in all() {
        for goal in trial.goals {
            if let Some(verdict) = goal.judge(results, trial) {
                text += &row(trial, goal, &verdict);
            }
        }
    }
    text
}

fn row(trial: &Trial, goal: &Goal, verdict: &Verdict) -> String {
    let measured = if goal.what == What::Failed {
        // The sum says more than a median of zeros.
        number(verdict.measured.greatest, 0)
    } else {
        ranged(verdict.measured)
    };
    let reached = if verdict.reached { "reached" } else { "**short**" };
    format!(
        "| {} | {} | {} | {measured} | {reached} |\n",
        trial.title,
        goal.who.name(),
        goal.text(trial.unit)
    )
}

/// The trials that README.md shows; the page has all of them.
const HEADLINES: [&str; 13] = [
    "balance-keepalive-1k",
    "balance-keepalive-64k",
    "balance-new-1k",
    "hit-1k",
    "tunnel-download",
    "tunnel-upload",
    "idle-connections",
    names::KILL_GET,
    names::KILL_CONNECT,
    names::FREEZE_GET,
    names::FREEZE_CONNECT,
    names::RELEASE_FLEET,
    names::LIST_REQUEST,
];

/// A row for each headline, ours beside the others', and how many of all goals were reached.
pub fn headlines(results: &Results) -> String {
    let mut text = String::from("| less is better | Shoal | others |\n|---|---|---|\n");
    for trial in
        HEADLINES.into_iter().filter_map(find).filter(|trial| !results.who(trial.name).is_empty())
    {
        let (ours, others): (Vec<_>, Vec<_>) =
            results.who(trial.name).into_iter().partition(|who| who.is_ours());
        let cell = |who: Vec<Who>| {
            who.into_iter()
                .filter_map(|who| brief(results, trial, who))
                .collect::<Vec<_>>()
                .join(" · ")
        };
        text += &format!(
            "| {}, {} | {} | {} |\n",
            trial.title,
            trial.unit.name(),
            cell(ours),
            cell(others)
        );
    }
    let verdicts = all().flat_map(|trial| {
        trial.goals.iter().map(move |goal| (trial, goal, goal.judge(results, trial)))
    });
    let verdicts: Vec<_> =
        verdicts.filter_map(|(trial, goal, verdict)| Some((trial, goal, verdict?))).collect();
    let short = verdicts.iter().filter(|(_, _, verdict)| !verdict.reached);
    let short: Vec<String> = short
        .map(|(trial, goal, _)| format!("{} ({})", trial.name, goal.text(trial.unit)))
        .collect();
    text += &format!("\n{} of {} goals reached", verdicts.len() - short.len(), verdicts.len());
    if !short.is_empty() {
        text += &format!("; short: {}", short.join(", "));
    }
    text + ".\n"
}

/// `HAProxy 14.6`; the requests that failed beside it, where that is what is measured.
fn brief(results: &Results, trial: &Trial, who: Who) -> Option<String> {
    let cost = results.spread(trial.name, who, |sample| Some(sample.cost))?;
    let failed =
        results.values(trial.name, who, |sample| sample.failed.map(|failed| failed as f64));
    let failed = if failed.is_empty() {
        String::new()
    } else {
        format!(", {:.0} failed", failed.iter().sum::<f64>())
    };
    let decimals = if cost.median >= 100.0 { 0 } else { 2 };
    Some(format!("{} {}{failed}", who.name(), number(cost.median, decimals)))
}

/// On what, with what, how: the sentence that the numbers mean nothing without.
pub fn circumstances(results: &Results) -> String {
    let versions: Vec<String> =
        results.versions.iter().map(|(program, version)| format!("{program} {version}")).collect();
    format!("Measured on {} ({}); {}.", results.date, results.machine, versions.join(", "))
}

/// One table for every trial.
pub fn trials(results: &Results) -> String {
    let mut text = String::new();
    for trial in all() {
        if !results.who(trial.name).is_empty() {
            text += &format!("\n### {}\n\n{}", trial.title, table(results, trial));
        }
    }
    text
}

/// A column beside the trial's own number.
struct Column {
    heading: &'static str,
    of: fn(&Sample) -> Option<f64>,
    /// Of the rounds: the greatest instead of the median.
    worst: bool,
    decimals: usize,
}

const COLUMNS: [Column; 10] = [
    Column { heading: "user", of: |sample| sample.user, worst: false, decimals: 2 },
    Column { heading: "system", of: |sample| sample.system, worst: false, decimals: 2 },
    Column {
        heading: "requests/s",
        of: |sample| sample.requests_per_second,
        worst: false,
        decimals: 0,
    },
    Column { heading: "p50 µs", of: |sample| sample.p50_us, worst: false, decimals: 0 },
    Column { heading: "p99 µs", of: |sample| sample.p99_us, worst: false, decimals: 0 },
    Column { heading: "slowest, ms", of: |sample| sample.slowest_ms, worst: true, decimals: 0 },
    Column {
        heading: "sent",
        of: |sample| sample.sent.map(|sent| sent as f64),
        worst: false,
        decimals: 0,
    },
    Column {
        heading: "failed, worst round",
        of: |sample| sample.failed.map(|failed| failed as f64),
        worst: true,
        decimals: 0,
    },
    Column {
        heading: "tunnels cut, worst round",
        of: |sample| sample.cut.map(|cut| cut as f64),
        worst: true,
        decimals: 0,
    },
    Column {
        heading: "RSS, MiB",
        of: |sample| sample.resident_kib.map(|kib| kib as f64 / 1024.0),
        worst: false,
        decimals: 0,
    },
];

fn table(results: &Results, trial: &Trial) -> String {
    let who = results.who(trial.name);
    let shown = COLUMNS.iter().filter(|column| {
        who.iter().any(|who| results.spread(trial.name, *who, column.of).is_some())
    });
    let shown: Vec<&Column> = shown.collect();
    let headings: String = shown.iter().map(|column| format!(" {} |", column.heading)).collect();
    let mut text =
        format!("| | {} |{headings}\n|---|---|{}\n", trial.unit.name(), "---|".repeat(shown.len()));
    for who in who {
        let Some(cost) = results.spread(trial.name, who, |sample| Some(sample.cost)) else {
            continue;
        };
        text += &format!("| {} | {} |", who.name(), ranged(cost));
        for column in &shown {
            let spread = results.spread(trial.name, who, column.of);
            let value = spread.map(|spread| {
                number(if column.worst { spread.greatest } else { spread.median }, column.decimals)
            });
            text += &format!(" {} |", value.unwrap_or_else(|| "–".to_owned()));
        }
        text.push('\n');
    }
    text
}

/// `0.67 (0.65 – 0.71)`; nothing in parentheses where nothing was spread.
fn ranged(spread: Spread) -> String {
    let decimals = if spread.greatest.abs() >= 100.0 { 0 } else { 2 };
    let [median, least, greatest] =
        [spread.median, spread.least, spread.greatest].map(|value| number(value, decimals));
    if least == greatest { median } else { format!("{median} ({least} – {greatest})") }
}

/// Without a minus before zero.
fn number(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.trim_start_matches('-').chars().all(|c| matches!(c, '0' | '.')) {
        text.trim_start_matches('-').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeMap;

    use super::*;

    pub fn example() -> Results {
        let sample = |who, cost| Sample {
            requests_per_second: Some(50_000.0),
            p50_us: Some(300.0),
            p99_us: Some(900.0),
            user: Some(cost / 4.0),
            system: Some(cost * 0.75),
            resident_kib: Some(10_240),
            ..Sample::new("balance-keepalive-1k", who, cost)
        };
        let fault = |failed| Sample {
            sent: Some(9000),
            failed: Some(failed),
            ..Sample::new("kill-get", Who::ShoalCluster, 12.0)
        };
        let samples = vec![
            sample(Who::ShoalBalancer, 8.0),
            sample(Who::Haproxy, 10.0),
            sample(Who::ShoalBalancer, 9.0),
            sample(Who::Haproxy, 10.0),
            fault(0),
            fault(3),
        ];
        let versions = BTreeMap::from([("haproxy".into(), "2.6".into())]);
        Results { machine: "a machine".into(), date: "2026-01-01".into(), versions, samples }
    }

    #[test]
    fn what_falls_short_is_said() {
        let text = goals(&example());
        let short = "| ≤ 0.82 × HAProxy | 0.85 (0.80 – 0.90) | **short** |";
        assert!(text.contains(short), "{text}");
        assert!(text.contains("| 0 failed | 3 | **short** |"), "{text}");
        assert!(text.contains("| never over 200 ms longest gap | 12.00 | reached |"), "{text}");
        assert!(!text.contains("nginx"), "nobody who took no part: {text}");
    }

    #[test]
    fn headlines_put_ours_beside_the_others_and_name_what_is_short() {
        let text = headlines(&example());
        assert!(
            text.contains(
                "| Balancing, keep-alive, 1 KiB, CPU-ms / 1000 requests | Shoal \
            balancer 8.50 | HAProxy 10.00 |"
            ),
            "{text}"
        );
        assert!(text.contains("| Shoal, balancer + 3 proxy-nodes 12.00, 3 failed |  |"), "{text}");
        assert!(
            text.ends_with(
                "1 of 3 goals reached; short: balance-keepalive-1k (≤ 0.82 × \
            HAProxy), kill-get (0 failed).\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn every_headline_is_a_trial() {
        assert!(HEADLINES.iter().all(|name| find(name).is_some()));
    }

    #[test]
    fn a_table_has_the_columns_that_its_trial_fills() {
        let text = trials(&example());
        assert!(
            text.contains(
                "| | CPU-ms / 1000 requests | user | system | requests/s | p50 µs | \
            p99 µs | RSS, MiB |"
            ),
            "{text}"
        );
        assert!(
            text.contains(
                "| Shoal balancer | 8.50 (8.00 – 9.00) | 2.12 | 6.38 | 50000 | 300 | 900 | 10 |"
            ),
            "{text}"
        );
        assert!(text.contains("| | ms longest gap | sent | failed, worst round |"), "{text}");
        assert_eq!(number(-0.001, 2), "0.00");
    }
}
