//! Is there a way back?

use cluster::Service;
use jiff::SignedDuration;

use crate::doctor::{
    facts::Facts,
    finding::{
        Finding,
        Severity::{Critical, Info, Warning},
    },
};

const CHECK: &str = "backups";
/// A daily backup that is late by half a day, and by half a week.
const OLD: SignedDuration = SignedDuration::from_hours(36);
const VERY_OLD: SignedDuration = SignedDuration::from_hours(84);

/// The newest backup is young and whole.
pub fn check(facts: &Facts) -> Vec<Finding> {
    let finding = |severity, text: String, remedy: &str| Finding::new(severity, CHECK, "backup-service", text, remedy);
    let backups = match &facts.backups {
        None => {
            let text = "no backup-service is there: nothing can be restored but what each process keeps".to_owned();
            return vec![finding(Info, text, "run one with `shoal serve backup-service`, and keep its archives elsewhere")];
        }
        Some(Err(why)) => {
            return vec![finding(Warning, format!("the backup-service does not answer: {why}"), "see whether it runs and its log")];
        }
        Some(Ok(backups)) => backups,
    };
    let mut found: Vec<_> = backups
        .damaged
        .iter()
        .map(|(id, why)| finding(Warning, format!("backup {id} cannot be restored: {why}"), "remove it, and see the disk that it is on"))
        .collect();
    match backups.newest.map(|newest| facts.now.duration_since(newest)) {
        None => {
            // A service that is new has not come to its first one.
            let severity = if is_new(facts) { Info } else { Warning };
            found.push(finding(severity, "there is no backup that can be restored".to_owned(), "make one: `shoal backup create`"));
        }
        Some(age) if age > OLD => {
            let severity = if age > VERY_OLD { Critical } else { Warning };
            let remedy = "make one: `shoal backup create`; see backup.schedule in the bundle and the log of the backup-service";
            found.push(finding(severity, format!("the newest backup is {} h old", age.as_hours()), remedy));
        }
        Some(_) => {}
    }
    found
}

fn is_new(facts: &Facts) -> bool {
    let mut listed =
        facts.processes.iter().filter(|process| process.service == Service::BackupService).filter_map(|process| process.listed.as_ref());
    listed.any(|status| facts.now.duration_since(status.registered_at) < OLD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{
        facts::{
            Backups,
            tests::{facts, now, process},
        },
        finding::Severity,
    };

    #[test]
    fn table() {
        let found = |backups| -> Vec<(Severity, String)> {
            let facts = Facts { backups, ..facts(vec![]) };
            check(&facts).into_iter().map(|it| (it.severity, it.finding)).collect()
        };
        let aged = |hours| found(Some(Ok(Backups { newest: Some(now() - SignedDuration::from_hours(hours)), damaged: vec![] })));
        assert_eq!(found(None)[0].0, Info);
        assert_eq!(found(Some(Err("refused".into())))[0].0, Warning);
        assert!(aged(20).is_empty());
        assert_eq!(aged(40), [(Warning, "the newest backup is 40 h old".to_owned())]);
        assert_eq!(aged(100)[0].0, Critical);
        let bad = found(Some(Ok(Backups { newest: None, damaged: vec![("x".into(), "truncated".into())] })));
        assert_eq!(bad.iter().map(|it| it.0).collect::<Vec<_>>(), [Warning, Warning]);
        let fresh = Facts { backups: Some(Ok(Backups::default())), ..facts(vec![process(Service::BackupService, "backup-service-1")]) };
        assert_eq!(check(&fresh)[0].severity, Info, "it has just started");
    }
}
