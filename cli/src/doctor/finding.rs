//! What a check found: how bad, where, what, and what to do about it.

use std::io::IsTerminal;

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

    /// As a terminal is told.
    const fn colour(self) -> &'static str {
        match self {
            Self::Info => "\u{1b}[34m",
            Self::Warning => "\u{1b}[33;1m",
            Self::Critical => "\u{1b}[31;1m",
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
    pub fn new(
        severity: Severity,
        check: &'static str,
        subject: &str,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            check,
            subjects: vec![subject.to_owned()],
            finding: finding.into(),
            remedy: remedy.into(),
        }
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
    /// Puts the same finding about several instances together and the worst first; then what
    /// concerns the whole cluster, then processes in the order of `processes`.
    pub fn new(processes: &[&str], checks: Vec<&'static str>, found: Vec<Finding>) -> Self {
        let mut findings: Vec<Finding> = Vec::new();
        for new in found {
            let same = |known: &&mut Finding| {
                (known.severity, known.check, &known.finding, &known.remedy)
                    == (new.severity, new.check, &new.finding, &new.remedy)
            };
            match findings.iter_mut().find(same) {
                Some(known) => known.subjects.extend(new.subjects),
                None => findings.push(new),
            }
        }
        let place = |finding: &Finding| {
            finding
                .subjects
                .first()
                .and_then(|first| processes.iter().position(|name| name == first))
        };
        findings.sort_by(|one, other| {
            other.severity.cmp(&one.severity).then_with(|| place(one).cmp(&place(other)))
        });
        let worst = findings.iter().map(|finding| finding.severity).max();
        Self { findings, processes: processes.len(), checks, worst }
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

/// `1 error`, `2 errors`.
pub fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Names for people: the first ones, and how many there are beside them.
fn few(subjects: &[String]) -> String {
    match subjects {
        [first, second, _, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second} and {} more", rest.len() + 1)
        }
        all => all.join(", "),
    }
}

/// What a finding looks like: as wide as asked for, or every sentence on a line of its own.
fn block(finding: &Finding, width: Option<usize>, colours: bool) -> String {
    let (name, colour) = (finding.severity.name(), finding.severity.colour());
    let name = if colours { format!("{colour}{name}\u{1b}[0m") } else { name.to_owned() };
    let mut lines =
        vec![format!("{name}  {} ({})", output::printable(&few(&finding.subjects)), finding.check)];
    for (begin, text) in [("    ", &finding.finding), (" => ", &finding.remedy)] {
        lines.extend(wrapped(&output::printable(text), begin, width));
    }
    lines.join("\n")
}

/// Lines of at most `width` characters, the first after `begin`, the others as far in. What stands
/// between backquotes is to be pasted: it is not broken, even where it does not fit.
fn wrapped(text: &str, begin: &str, width: Option<usize>) -> Vec<String> {
    let mut in_quotes = false;
    let words = text.split(|character: char| {
        in_quotes ^= character == '`';
        character == ' ' && !in_quotes
    });
    let length = |text: &str| text.chars().count();
    let (mut lines, mut line) = (Vec::new(), begin.to_owned());
    for word in words {
        let empty = length(&line) == length(begin);
        if !empty && width.is_some_and(|width| length(&line) + 1 + length(word) > width) {
            lines.push(std::mem::replace(&mut line, " ".repeat(length(begin))));
            line.push_str(word);
            continue;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

impl Report {
    /// For people: as wide as asked for.
    fn rendered(&self, width: Option<usize>, colours: bool) -> String {
        let count = |severity| {
            self.findings.iter().filter(|finding| finding.severity == severity).count() as u64
        };
        let looked = format!(
            "{} processes, {} kinds of checks ({})",
            self.processes,
            self.checks.len(),
            self.checks.join(", ")
        );
        if self.findings.is_empty() {
            return wrapped(&format!("Nothing found: {looked}."), "", width).join("\n");
        }
        let blocks: Vec<_> =
            self.findings.iter().map(|finding| block(finding, width, colours)).collect();
        let (critical, warnings, info) = (
            count(Severity::Critical),
            counted(count(Severity::Warning), "warning"),
            count(Severity::Info),
        );
        let sum =
            wrapped(&format!("{critical} critical, {warnings}, {info} info; {looked}."), "", width);
        format!("{}\n\n{}", blocks.join("\n"), sum.join("\n"))
    }
}

impl View for Report {
    fn text(&self) -> String {
        let width = output::width().map(|width| width.max(40));
        self.rendered(width, std::io::stdout().is_terminal() && output::colours_wanted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_and_decides() {
        let finding = |severity, subject: &str, text: &str| {
            Finding::new(severity, "ports", subject, text, "do")
        };
        let report = |found| Report::new(&["c", "a", "b"], vec!["ports"], found);
        assert_eq!(report(vec![]).exit_code(), 0);
        assert_eq!(report(vec![finding(Severity::Info, "a", "x")]).exit_code(), 0);
        assert_eq!(
            report(vec![finding(Severity::Info, "a", "x"), finding(Severity::Warning, "a", "x")])
                .exit_code(),
            1
        );
        let both = report(vec![
            finding(Severity::Warning, "a", "x"),
            finding(Severity::Critical, "b", "y"),
            finding(Severity::Warning, "c", "x"),
        ]);
        assert_eq!(both.exit_code(), 2);
        assert_eq!(
            both.findings.iter().map(|it| it.subjects.join("+")).collect::<Vec<_>>(),
            ["b", "a+c"]
        );
        let text = both.rendered(None, false);
        assert!(
            text.contains("warning  a, c (ports)\n    x\n => do")
                && text.contains("1 critical, 1 warning, 0 info"),
            "{text}"
        );
        // The cluster as a whole, then processes in the order in which they are looked at.
        let all =
            ["a", "c", "cluster", "b"].map(|subject| finding(Severity::Critical, subject, subject));
        assert_eq!(
            report(all.into()).findings.iter().map(|it| it.subjects.join("+")).collect::<Vec<_>>(),
            ["cluster", "c", "a", "b"]
        );
        let names: Vec<_> = ["a", "b", "c", "d"].map(str::to_owned).into();
        assert_eq!(
            (few(&names[..3]), few(&names)),
            ("a, b, c".to_owned(), "a, b and 2 more".to_owned())
        );
        assert!(report(vec![]).rendered(None, false).starts_with("Nothing found: 3 processes"));
    }

    #[test]
    fn eighty_columns_are_enough() {
        let text = "its disk is full: make room, then `shoal config apply DIR` once more, or \
            nothing changes";
        assert_eq!(wrapped(text, " => ", None), [format!(" => {text}")]);
        let lines = wrapped(text, " => ", Some(40));
        let expected = [
            " => its disk is full: make room, then",
            "    `shoal config apply DIR` once more,",
            "    or nothing changes",
        ];
        assert_eq!(lines, expected);
        // A command that does not fit is not broken.
        assert_eq!(
            wrapped("see `a b c d e f g h`", "    ", Some(12)),
            ["    see", "    `a b c d e f g h`"]
        );
        assert_eq!(wrapped("", "    ", Some(12)), ["    "]);
    }
}
