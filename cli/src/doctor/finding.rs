//! What a check found: how bad, where, what, and what to do about it.

use comfy_table::{Cell, Color};
use serde::Serialize;

use crate::output::{self, View};

/// How bad it is. The worst one is the exit code: 0, 1 or 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing needs to be done.
    Info,
    /// Nothing fails yet.
    Warning,
    /// Something fails, or nearly does.
    Critical,
}

impl Severity {
    const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    const fn colour(self) -> Color {
        match self {
            Self::Info => Color::Blue,
            Self::Warning => Color::Yellow,
            Self::Critical => Color::Red,
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// The part of the list: processes, ports, configuration, …
    pub check: &'static str,
    /// Instances, or what else is concerned.
    pub subjects: Vec<String>,
    /// In one sentence.
    pub finding: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    pub fn new(severity: Severity, check: &'static str, subject: &str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity, check, subjects: vec![subject.to_owned()], finding: finding.into(), remedy: remedy.into() }
    }
}

/// All findings, worst first.
#[derive(Debug, Serialize)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// Processes that were looked at.
    pub processes: usize,
    /// Parts of the list that were gone through.
    pub checks: Vec<&'static str>,
    pub worst: Option<Severity>,
}

impl Report {
    /// Puts the same finding about several instances together and the worst first.
    pub fn new(processes: usize, checks: Vec<&'static str>, found: Vec<Finding>) -> Self {
        let mut findings: Vec<Finding> = Vec::new();
        for new in found {
            let same = |known: &&mut Finding| {
                (known.severity, known.check, &known.finding, &known.remedy) == (new.severity, new.check, &new.finding, &new.remedy)
            };
            match findings.iter_mut().find(same) {
                Some(known) => known.subjects.extend(new.subjects),
                None => findings.push(new),
            }
        }
        findings.sort_by(|one, other| other.severity.cmp(&one.severity).then_with(|| one.subjects.cmp(&other.subjects)));
        let worst = findings.iter().map(|finding| finding.severity).max();
        Self { findings, processes, checks, worst }
    }

    /// 0 when nothing needs to be done, 1 after a warning, 2 when something fails.
    pub fn exit_code(&self) -> u8 {
        match self.worst {
            None | Some(Severity::Info) => 0,
            Some(Severity::Warning) => 1,
            Some(Severity::Critical) => 2,
        }
    }
}

/// Names for people: the first ones, and how many there are beside them.
fn few(subjects: &[String]) -> String {
    match subjects {
        [first, second, _, rest @ ..] if !rest.is_empty() => format!("{first}, {second} and {} more", rest.len() + 1),
        all => all.join(", "),
    }
}

impl View for Report {
    fn text(&self) -> String {
        let count = |severity| self.findings.iter().filter(|finding| finding.severity == severity).count();
        let looked = format!("{} processes, {} kinds of checks ({})", self.processes, self.checks.len(), self.checks.join(", "));
        if self.findings.is_empty() {
            return format!("Nothing found: {looked}.");
        }
        let rows = self.findings.iter().map(|finding| {
            vec![
                Cell::new(finding.severity.name()).fg(finding.severity.colour()),
                Cell::new(finding.check),
                Cell::new(few(&finding.subjects)),
                Cell::new(output::printable(&finding.finding)),
                Cell::new(output::printable(&finding.remedy)),
            ]
        });
        let table = output::table(&["SEVERITY", "CHECK", "WHERE", "FINDING", "REMEDY"], rows);
        let (critical, warning, info) = (count(Severity::Critical), count(Severity::Warning), count(Severity::Info));
        format!("{table}\n\n{critical} critical, {warning} warning(s), {info} info; {looked}.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_and_decides() {
        let finding = |severity, subject: &str, text: &str| Finding::new(severity, "ports", subject, text, "do");
        let report = |found| Report::new(3, vec!["ports"], found);
        assert_eq!(report(vec![]).exit_code(), 0);
        assert_eq!(report(vec![finding(Severity::Info, "a", "x")]).exit_code(), 0);
        assert_eq!(report(vec![finding(Severity::Info, "a", "x"), finding(Severity::Warning, "a", "x")]).exit_code(), 1);
        let both =
            report(vec![finding(Severity::Warning, "a", "x"), finding(Severity::Critical, "b", "y"), finding(Severity::Warning, "c", "x")]);
        assert_eq!(both.exit_code(), 2);
        assert_eq!(both.findings.iter().map(|it| it.subjects.join("+")).collect::<Vec<_>>(), ["b", "a+c"]);
        let text = both.text();
        assert!(text.contains("a, c") && text.contains("1 critical, 1 warning(s), 0 info"), "{text}");
        let names: Vec<_> = ["a", "b", "c", "d"].map(str::to_owned).into();
        assert_eq!((few(&names[..3]), few(&names)), ("a, b, c".to_owned(), "a, b and 2 more".to_owned()));
        assert!(report(vec![]).text().starts_with("Nothing found: 3 processes"));
    }
}
