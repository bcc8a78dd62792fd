//! Tables for a README: every trial with its spread, and DESIGN §12's numbers beside what was reached.

use crate::{
    results::{Results, Spread},
    trial::{Goal, TRIALS, Trial},
};

/// The whole report.
pub fn render(results: &Results) -> String {
    let versions: Vec<String> = results.versions.iter().map(|(program, version)| format!("{program} {version}")).collect();
    let mut text = format!(
        "Measured on {}; {}. Each contender on one core, load and origin on another; whole process trees; medians of interleaved rounds (least – greatest); \
         access logs and statistics on.\n\n",
        results.machine,
        versions.join(", ")
    );
    text += &goals(results);
    for trial in TRIALS {
        if !results.who(trial.name).is_empty() {
            text += &format!("\n### {}\n\n{}", trial.title, table(results, trial));
        }
    }
    text
}

fn goals(results: &Results) -> String {
    let mut text = String::from("| what | of whom | reach | measured | |\n|---|---|---|---|---|\n");
    for trial in TRIALS {
        for goal in trial.goals {
            if let Some(reached) = reached(results, trial, goal) {
                let (reach, unit) = match goal.than {
                    Some(than) => (format!("≤ {:.2} × {}", goal.most, than.name()), ""),
                    None => (format!("≤ {:.1} {}", goal.most, trial.unit.name()), trial.unit.name()),
                };
                let verdict = if reached <= goal.most { "reached" } else { "**short**" };
                text += &format!("| {} | {} | {reach} | {reached:.2} {unit} | {verdict} |\n", trial.title, goal.who.name());
            }
        }
    }
    text
}

/// The ratio of medians, or the median itself.
fn reached(results: &Results, trial: &Trial, goal: &Goal) -> Option<f64> {
    let median = |who| Some(results.spread(trial.name, who, |sample| Some(sample.cost))?.median);
    match goal.than {
        Some(than) => Some(median(goal.who)? / median(than)?),
        None => median(goal.who),
    }
}

fn table(results: &Results, trial: &Trial) -> String {
    let mut text = format!("| | {} | requests/s | p50 | p99 | RSS |\n|---|---|---|---|---|---|\n", trial.unit.name());
    for who in results.who(trial.name) {
        let of = |value: fn(&crate::results::Sample) -> Option<f64>| results.spread(trial.name, who, value);
        let cell =
            |spread: Option<Spread>, unit: &str| spread.map_or_else(|| "–".to_owned(), |spread| format!("{:.0}{unit}", spread.median));
        let Some(cost) = of(|sample| Some(sample.cost)) else { continue };
        text += &format!(
            "| {} | {:.2} ({:.2} – {:.2}) | {} | {} | {} | {} |\n",
            who.name(),
            cost.median,
            cost.least,
            cost.greatest,
            cell(of(|sample| sample.requests_per_second), ""),
            cell(of(|sample| sample.p50_us), " µs"),
            cell(of(|sample| sample.p99_us), " µs"),
            cell(of(|sample| Some(sample.resident_kib as f64 / 1024.0)), " MiB"),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::{
        contender::Who,
        results::{Results, Sample},
    };

    pub fn example() -> Results {
        let sample = |who, cost| Sample {
            trial: "balance-keepalive-1k".into(),
            who,
            cost,
            requests_per_second: Some(50_000.0),
            p50_us: Some(300.0),
            p99_us: Some(900.0),
            resident_kib: 10_240,
        };
        let samples =
            vec![sample(Who::ShoalBalancer, 8.0), sample(Who::Haproxy, 10.0), sample(Who::ShoalBalancer, 9.0), sample(Who::Haproxy, 10.0)];
        Results { machine: "a machine".into(), versions: BTreeMap::from([("haproxy".into(), "2.6".into())]), samples }
    }

    #[test]
    fn what_falls_short_is_said() {
        let text = super::render(&example());
        assert!(text.contains("| ≤ 0.75 × HAProxy | 0.85  | **short** |"), "{text}");
        assert!(text.contains("| Shoal balancer | 8.50 (8.00 – 9.00) | 50000 | 300 µs | 900 µs | 10 MiB |"), "{text}");
        assert!(!text.contains("nginx"), "nobody who took no part: {text}");
    }

    #[test]
    fn the_chart_has_a_bar_for_each() {
        let svg = super::super::chart::render(&example());
        assert_eq!(svg.matches("<rect class=").count(), 2, "{svg}");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    }
}
