//! Is there a way back?

use cluster::Service;
use jiff::SignedDuration;

use crate::doctor::{
    facts::{Backups, Facts, Process},
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
    let finding = |severity, text: String, remedy: &str| {
        Finding::new(severity, CHECK, "backup-service", text, remedy)
    };
    let backups = match &facts.backups {
        // Without the registry nobody knows whether there is one.
        None if facts.registry.is_err() => return Vec::new(),
        None => {
            let text =
                "no backup-service is there: nothing can be restored but what each process keeps"
                    .to_owned();
            return vec![finding(
                Info,
                text,
                "run one with `shoal serve backup-service`, and keep its archives elsewhere",
            )];
        }
        // That it does not answer at all is a finding already.
        Some(Err(_)) if services(facts).any(Process::is_away) => return Vec::new(),
        Some(Err(why)) => {
            return vec![finding(
                Warning,
                format!("the backup-service does not answer: {why}"),
                "see whether it runs and its log",
            )];
        }
        Some(Ok(backups)) => backups,
    };
    let mut found: Vec<_> = backups
        .damaged
        .iter()
        .map(|(id, why)| {
            finding(
                Warning,
                format!("backup {id} cannot be restored: {why}"),
                "remove it, and see the disk that it is on",
            )
        })
        .collect();
    found.extend(another_cluster(facts, backups));
    match backups.newest.as_ref().map(|newest| facts.now.duration_since(newest.made)) {
        None => {
            // A service that is new has not come to its first one.
            let severity = if is_new(facts) { Info } else { Warning };
            found.push(finding(
                severity,
                "there is no backup that can be restored".to_owned(),
                "make one: `shoal backup create`",
            ));
        }
        Some(age) if age > OLD => {
            let severity = if age > VERY_OLD { Critical } else { Warning };
            let remedy = "make one: `shoal backup create`; see backup.schedule in the bundle and \
                the log of the backup-service";
            found.push(finding(
                severity,
                format!("the newest backup is {} h old", age.as_hours()),
                remedy,
            ));
        }
        Some(_) => {}
    }
    found
}

/// A registry whose database was lost begins another cluster, and knows nothing of what operators
/// had asked of the one before.
fn another_cluster(facts: &Facts, backups: &Backups) -> Option<Finding> {
    let (now, then) =
        (&facts.registry.as_ref().ok()?.cluster_id, &backups.newest.as_ref()?.cluster_id);
    if now.is_empty() || then.is_empty() || now == then {
        return None;
    }
    let text = format!(
        "the registry is that of another cluster ({now}) than the newest backup ({then}): its \
         database was lost, and with it which processes are \
         drained, and their weights"
    );
    let remedy = "`shoal backup restore latest` brings them back: it shows what would change, and \
        asks; if nothing is missed: `shoal backup create`";
    Some(Finding::new(Critical, CHECK, "registry", text, remedy))
}

fn services(facts: &Facts) -> impl Iterator<Item = &Process> {
    facts.processes.iter().filter(|process| process.service == Service::BackupService)
}

fn is_new(facts: &Facts) -> bool {
    let mut listed = services(facts).filter_map(|process| process.listed.as_ref());
    listed.any(|status| facts.now.duration_since(status.registered_at) < OLD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{
        facts::{
            Backup, Register,
            tests::{facts, now, process},
        },
        finding::Severity,
    };

    fn made(hours: i64, cluster_id: &str) -> Backup {
        Backup {
            made: now() - SignedDuration::from_hours(hours),
            cluster_id: cluster_id.to_owned(),
        }
    }

    #[test]
    fn a_registry_that_was_wiped_is_another_cluster_s() {
        for (now, then, wiped) in
            [("a", "a", false), ("b", "a", true), ("b", "", false), ("", "a", false)]
        {
            let registry = Ok(Register { cluster_id: now.to_owned(), ..Register::default() });
            let backups = Some(Ok(Backups { newest: Some(made(1, then)), damaged: vec![] }));
            let found = check(&Facts { registry, backups, ..facts(vec![]) });
            assert_eq!(found.len(), usize::from(wiped), "{now} {then}: {found:?}");
            assert!(
                found.iter().all(|it| it.severity == Critical
                    && it.remedy.contains("`shoal backup restore latest`")),
                "{found:?}"
            );
        }
    }

    #[test]
    fn what_nobody_could_say_is_not_said() {
        let away = Facts { registry: Err("refused".into()), backups: None, ..facts(vec![]) };
        assert!(check(&away).is_empty());
        let mut service = process(Service::BackupService, "backup-service-1");
        (service.grpc, service.ready) = (Err("refused".into()), Err("refused".into()));
        let dead = Facts { backups: Some(Err("refused".into())), ..facts(vec![service]) };
        assert!(check(&dead).is_empty(), "one fault, one finding");
    }

    #[test]
    fn table() {
        let found = |backups| -> Vec<(Severity, String)> {
            let facts = Facts { backups, ..facts(vec![]) };
            check(&facts).into_iter().map(|it| (it.severity, it.finding)).collect()
        };
        let aged =
            |hours| found(Some(Ok(Backups { newest: Some(made(hours, "")), damaged: vec![] })));
        assert_eq!(found(None)[0].0, Info);
        assert_eq!(found(Some(Err("refused".into())))[0].0, Warning);
        assert!(aged(20).is_empty());
        assert_eq!(aged(40), [(Warning, "the newest backup is 40 h old".to_owned())]);
        assert_eq!(aged(100)[0].0, Critical);
        let bad = found(Some(Ok(Backups {
            newest: None,
            damaged: vec![("x".into(), "truncated".into())],
        })));
        assert_eq!(bad.iter().map(|it| it.0).collect::<Vec<_>>(), [Warning, Warning]);
        let fresh = Facts {
            backups: Some(Ok(Backups::default())),
            ..facts(vec![process(Service::BackupService, "backup-service-1")])
        };
        assert_eq!(check(&fresh)[0].severity, Info, "it has just started");
    }
}
