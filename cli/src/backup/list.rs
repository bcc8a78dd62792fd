//! Backups as tables and JSON.

use std::collections::BTreeMap;

use proto::backup::{self as pb, Condition, ListBackupsResponse, Reason};
use serde::Serialize;

use crate::output::{self, Cell, Column, View, column};

/// Every backup.
#[derive(Serialize)]
pub struct Backups {
    backups: Vec<Backup>,
    schedule: Option<String>,
    next_at: Option<String>,
    problems: Vec<String>,
}

/// One backup.
#[derive(Serialize)]
pub struct Backup {
    pub id: String,
    pub created_at: Option<String>,
    pub created_by: String,
    pub reason: &'static str,
    pub size: u64,
    pub sha256: String,
    pub condition: &'static str,
    pub verified_at: Option<String>,
    pub problem: String,
    pub stores: Vec<String>,
    pub cluster_id: String,
    pub epoch: u64,
    pub parts: Vec<Part>,
    pub has_pki: bool,
}

/// What there is of one service.
#[derive(Serialize)]
pub struct Part {
    pub service: String,
    pub counts: BTreeMap<String, u64>,
    pub facts: BTreeMap<String, String>,
}

impl From<ListBackupsResponse> for Backups {
    fn from(message: ListBackupsResponse) -> Self {
        Self {
            backups: message.backups.into_iter().map(Backup::from).collect(),
            schedule: Some(message.schedule).filter(|schedule| !schedule.is_empty()),
            next_at: message.next_at.map(time),
            problems: message.problems,
        }
    }
}

impl From<pb::Part> for Part {
    fn from(message: pb::Part) -> Self {
        Self { service: message.service, counts: message.counts, facts: message.facts }
    }
}

impl From<pb::Backup> for Backup {
    fn from(message: pb::Backup) -> Self {
        let reason = match message.reason() {
            Reason::Scheduled => "schedule",
            Reason::AskedFor => "asked for",
            Reason::BeforeRestore => "before a restore",
            Reason::Unspecified => "",
        };
        let condition = match message.condition() {
            Condition::Verified => "verified",
            Condition::Damaged => "damaged",
            Condition::Unverified | Condition::Unspecified => "not verified",
        };
        Self {
            id: message.id,
            created_at: message.created_at.map(time),
            created_by: message.created_by,
            reason,
            size: message.size,
            sha256: message.sha256,
            condition,
            verified_at: message.verified_at.map(time),
            problem: message.problem,
            stores: message.stores,
            cluster_id: message.cluster_id,
            epoch: message.epoch,
            parts: message.parts.into_iter().map(Part::from).collect(),
            has_pki: message.has_pki,
        }
    }
}

/// Whole seconds are enough for people.
fn time(at: prost_types::Timestamp) -> String {
    jiff::Timestamp::from_second(at.seconds).map_or_else(|_| String::new(), |at| at.to_string())
}

/// `1.2 MiB`
pub fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// How long ago that is: `, 3 h 20 min ago,`; nothing for what is no time.
pub fn age(at: &str, now: jiff::Timestamp) -> String {
    let Ok(at) = at.parse::<jiff::Timestamp>() else { return String::new() };
    let minutes = now.duration_since(at).as_secs().max(0) / 60;
    let text = match (minutes / (24 * 60), minutes / 60 % 24, minutes % 60) {
        (0, 0, 0) => return ", a moment ago,".to_owned(),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    };
    format!(", {text} ago,")
}

impl Part {
    /// By what it is; what is said in words is not counted, too.
    pub fn items(&self) -> BTreeMap<String, String> {
        let counts = self.counts.iter().map(|(what, count)| (what.clone(), count.to_string()));
        counts.chain(self.facts.clone()).collect()
    }

    /// In one line.
    pub fn line(&self) -> String {
        let counts = self.counts.iter().map(|(what, count)| format!("{what} {count}"));
        let facts = self.facts.iter().map(|(what, said)| format!("{what} {said}"));
        format!("{}: {}", self.service, counts.chain(facts).collect::<Vec<_>>().join("; "))
    }
}

impl Backup {
    fn released(&self) -> &str {
        self.parts
            .iter()
            .find_map(|part| part.facts.get("released revision"))
            .map_or("", String::as_str)
    }
}

const COLUMNS: &[Column] = &[
    column("ID", 0),
    column("MADE", 1),
    column("BY", 4),
    column("WHY", 3),
    column("SIZE", 2),
    column("STATE", 0),
    column("RELEASED REVISION", 5),
];

impl View for Backups {
    fn text(&self) -> String {
        let rows = self.backups.iter().map(|backup| {
            let made = backup.created_at.clone().unwrap_or_else(|| "?".to_owned());
            let [id, made, by, reason] =
                [&backup.id, &made, &backup.created_by, &backup.reason.to_owned()].map(Cell::new);
            vec![
                id,
                made,
                by,
                reason,
                Cell::new(size(backup.size)),
                output::coloured(backup.condition),
                Cell::new(backup.released()),
            ]
        });
        let mut text = match self.backups.is_empty() {
            true => "no backup yet: make one with `shoal backup create`".to_owned(),
            false => output::table(COLUMNS, rows),
        };
        let damaged = self.backups.iter().filter(|backup| !backup.problem.is_empty());
        for line in damaged
            .map(|backup| format!("{}: {}", backup.id, backup.problem))
            .chain(self.problems.iter().cloned())
        {
            text.push_str(&format!("\n{line}"));
        }
        match (&self.schedule, &self.next_at) {
            (Some(schedule), Some(next)) => {
                text.push_str(&format!("\nschedule {schedule}: the next at {next}"))
            }
            _ => text.push_str("\nno schedule: the section `backup` of the bundle has one"),
        }
        text
    }
}

impl View for Backup {
    fn text(&self) -> String {
        let verified = self.verified_at.clone().unwrap_or_default();
        let mut text = format!(
            "backup {} is {} ({verified}): {}, sha256 {}, in {}",
            self.id,
            self.condition,
            size(self.size),
            self.sha256,
            self.stores.join(", ")
        );
        for part in &self.parts {
            text.push_str(&format!("\n  {}", part.line()));
        }
        output::fitted(&text, "    ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_for_people() {
        let now = "2026-11-22T03:00:00Z".parse().unwrap();
        for (at, said) in [
            ("2026-11-22T02:59:30Z", ", a moment ago,"),
            ("2026-11-22T02:18:00Z", ", 42 min ago,"),
            ("2026-11-21T23:30:00Z", ", 3 h 30 min ago,"),
            ("2026-11-19T01:00:00Z", ", 3 d 2 h ago,"),
            // Made by somebody whose clock is ahead.
            ("2026-11-22T03:00:30Z", ", a moment ago,"),
            ("", ""),
        ] {
            assert_eq!(age(at, now), said, "{at}");
        }
    }
}
