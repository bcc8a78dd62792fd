//! Do the clocks agree? Leases and caches do not go by them, but schedules, certificates and
//! everybody who reads logs do.

use crate::doctor::{
    facts::Facts,
    finding::{
        Finding,
        Severity::{Critical, Warning},
    },
};

const CHECK: &str = "clocks";
/// A difference to the others in seconds from which somebody will be misled.
const OFF: f64 = 1.0;
/// From which certificates and schedules go wrong.
const FAR_OFF: f64 = 60.0;

/// Compares every clock with the one in the middle, and this machine's with them.
pub fn check(facts: &Facts) -> Vec<Finding> {
    let read: Vec<_> = facts
        .processes
        .iter()
        .filter_map(|process| Some((process.name.as_str(), process.clock?)))
        .collect();
    let mut ahead: Vec<_> = read.iter().map(|(_, reading)| reading.ahead).collect();
    ahead.sort_by(f64::total_cmp);
    let Some(&middle) = ahead.get(ahead.len().saturating_sub(1) / 2) else { return Vec::new() };
    let mut found = Vec::new();
    let remedy = "run a time service (chrony, systemd-timesyncd) on its machine, and see whether \
        that is synchronised";
    for (name, reading) in &read {
        let off = reading.ahead - middle;
        if off.abs() - reading.exact_to > OFF {
            let severity = if off.abs() > FAR_OFF { Critical } else { Warning };
            found.push(Finding::new(
                severity,
                CHECK,
                name,
                format!("its clock is {}", difference(off, "the others")),
                remedy,
            ));
        }
    }
    let closest = read.iter().map(|(_, reading)| reading.exact_to).fold(f64::INFINITY, f64::min);
    if middle.abs() - closest > OFF {
        let severity = if middle.abs() > FAR_OFF { Critical } else { Warning };
        let text = format!("this machine's clock is {}", difference(-middle, "the cluster's"));
        found.push(Finding::new(severity, CHECK, "this machine", text, remedy));
    }
    found
}

/// `2.5 s behind the others`
fn difference(seconds: f64, whom: &str) -> String {
    let (size, side) = (seconds.abs(), if seconds < 0.0 { "behind" } else { "ahead of" });
    let size = if size < 120.0 {
        format!("{size:.1} s")
    } else if size < 7200.0 {
        format!("{:.0} min", size / 60.0)
    } else {
        format!("{:.1} h", size / 3600.0)
    };
    format!("{size} {side} {whom}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cluster::Service;

    use super::*;
    use crate::doctor::facts::{
        Reading,
        tests::{facts, process},
    };

    fn found(readings: &[(f64, f64)]) -> Vec<(String, String)> {
        let processes = readings.iter().enumerate().map(|(number, (ahead, exact_to))| {
            let mut process = process(Service::ProxyNode, &format!("n-{number}"));
            process.clock =
                Some(Reading { ahead: *ahead, exact_to: *exact_to, took: Duration::ZERO });
            process
        });
        check(&facts(processes.collect()))
            .into_iter()
            .map(|it| (it.subjects.join(","), it.finding))
            .collect()
    }

    #[test]
    fn table() {
        let one = |name: &str, text: &str| vec![(name.to_owned(), text.to_owned())];
        assert!(found(&[]).is_empty());
        assert!(found(&[(0.2, 0.01), (-0.3, 0.01), (0.9, 0.01)]).is_empty());
        assert_eq!(
            found(&[(0.0, 0.01), (-1.8, 0.01), (0.1, 0.01)]),
            one("n-1", "its clock is 1.8 s behind the others")
        );
        assert_eq!(
            found(&[(0.0, 0.01), (3600.0, 0.01), (0.1, 0.01)]),
            one("n-1", "its clock is 60 min ahead of the others")
        );
        assert!(
            found(&[(0.0, 0.01), (1.8, 1.0), (0.1, 0.01)]).is_empty(),
            "a reading that is not exact enough proves nothing"
        );
        // All agree with one another, and not with this machine: it is this one that is wrong.
        assert_eq!(
            found(&[(90.0, 0.01), (90.1, 0.01)]),
            one("this machine", "this machine's clock is 90.0 s behind the cluster's")
        );
        assert_eq!(
            found(&[(-86_400.0, 0.01)]),
            one("this machine", "this machine's clock is 24.0 h ahead of the cluster's")
        );
    }
}
