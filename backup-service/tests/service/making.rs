//! Making, listing, verifying and letting go.

use std::time::Duration;

use backup_service::api::POLICY;
use chassis::{Role, authorize::Decision};
use cluster::Service;
use cluster_config::document::backup::Keep;
use proto::backup::{Backup, Condition, Reason};
use tokio::time::{sleep, timeout};
use tonic::Code;

use crate::double::{Running, parts, plan};

const LIMIT: Duration = Duration::from_secs(20);

/// Waits until the schedule has made so many, and answers all that there are.
async fn until(service: &mut Running, what: &str, wanted: impl Fn(&[Backup]) -> bool) -> Vec<Backup> {
    let reached = async {
        loop {
            let backups = service.list().await.backups;
            if wanted(&backups) {
                return backups;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, reached).await.unwrap_or_else(|_| panic!("never: {what}"))
}

#[tokio::test]
async fn a_backup_is_made_verified_and_listed() {
    let mut service = Running::start().await;
    assert!(service.list().await.backups.is_empty());
    assert_eq!(service.verify("latest").await.unwrap_err().code(), Code::NotFound);
    let made = service.create().await.unwrap();
    assert_eq!((made.created_by.as_str(), made.reason(), made.condition()), ("operator ann", Reason::AskedFor, Condition::Verified));
    assert_eq!((made.cluster_id.as_str(), made.epoch, made.stores.as_slice()), ("cluster-a", 1, &["file:backups".to_owned()][..]));
    assert_eq!(parts(&made), [("config-service".to_owned(), 2), ("registry".to_owned(), 2)]);
    let metadata = std::fs::metadata(service.archive(&made.id)).unwrap();
    assert_eq!((made.size, std::os::unix::fs::MetadataExt::mode(&metadata) & 0o777), (metadata.len(), 0o600));
    assert_eq!(service.list().await.backups, std::slice::from_ref(&made));
    assert_eq!(service.verify(&made.id[..12]).await.unwrap().id, made.id);
    assert_eq!(service.verify("2020").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn every_store_gets_the_same_archive_and_a_store_that_fails_is_named() {
    let mut service = Running::start_with(Some(plan(&["file:backups", "file:elsewhere"], None))).await;
    let made = service.create().await.unwrap();
    assert_eq!(made.stores, ["file:backups", "file:elsewhere"]);
    let second = service.directory.path().join("elsewhere");
    let name = service.archive(&made.id).file_name().unwrap().to_owned();
    assert_eq!(std::fs::read(service.archive(&made.id)).unwrap(), std::fs::read(second.join(name)).unwrap());
    std::fs::remove_dir_all(&second).unwrap();
    std::fs::write(&second, "in the way").unwrap();
    let failed = service.create().await.unwrap_err();
    assert!(failed.message().contains("the store file:elsewhere cannot be written"), "{failed:?}");
    assert!(service.list().await.problems[0].contains("file:elsewhere"));
}

#[tokio::test]
async fn the_schedule_makes_them_and_lets_go_of_old_ones() {
    let keep = Keep { daily: 2, ..Keep::default() };
    let mut service = Running::start_with(Some(plan(&["file:backups"], Some(keep)))).await;
    let asked_for = service.create().await.unwrap();
    assert_eq!(service.list().await.schedule, "0 3 * * *");
    // The timer has looked once, and nothing was due a minute before.
    for day in 1..=4_usize {
        service.pass(if day == 1 { 1 } else { 24 });
        let enough = |backups: &[Backup]| {
            let scheduled = backups.iter().filter(|backup| backup.reason() == Reason::Scheduled).count();
            scheduled == day.min(2) && backups.iter().all(|backup| backup.condition() == Condition::Verified)
        };
        until(&mut service, "a backup a day, two of them kept", enough).await;
    }
    let backups = service.list().await.backups;
    assert!(backups.iter().any(|backup| backup.id == asked_for.id), "what somebody asked for stays");
    let days: Vec<_> =
        backups.iter().filter(|backup| backup.reason() == Reason::Scheduled).map(|backup| backup.id[..8].to_owned()).collect();
    assert_eq!(days, ["20261125", "20261124"]);
    let next = service.list().await.next_at.unwrap();
    assert_eq!(next.to_string(), "2026-11-26T03:00:00Z");
}

#[tokio::test]
async fn what_is_damaged_is_found_and_said() {
    let mut service = Running::start().await;
    let made = service.create().await.unwrap();
    let whole = std::fs::read(service.archive(&made.id)).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    for (bytes, says) in
        [(&whole[..whole.len() / 2], "its end is missing"), (&flipped[..], "its content is not what its end says"), (b"", "it is empty")]
    {
        std::fs::write(service.archive(&made.id), bytes).unwrap();
        let refused = service.verify(&made.id).await.unwrap_err();
        assert_eq!(refused.code(), Code::DataLoss);
        assert!(refused.message().contains(says) && refused.message().contains("restore another backup"), "{refused:?}");
        let listed = service.list().await.backups.remove(0);
        assert!(listed.condition() == Condition::Damaged && listed.problem.contains("damaged"), "{listed:?}");
    }
    std::fs::write(service.archive(&made.id), whole).unwrap();
    assert_eq!(service.verify(&made.id).await.unwrap().condition(), Condition::Verified, "a disk that was repaired");
}

#[test]
fn only_operators_make_and_restore() {
    let node = Role::Service(Service::ProxyNode);
    for rule in POLICY.rules() {
        assert!(matches!(POLICY.decide(rule.path, Some(Role::Operator)), Decision::Allowed { .. }), "{}", rule.path);
        for role in [node, Role::Service(Service::Registry), Role::Service(Service::BackupService)] {
            assert!(matches!(POLICY.decide(rule.path, Some(role)), Decision::Denied { .. }), "{} by {role}", rule.path);
        }
    }
    assert_eq!(POLICY.rules().iter().filter(|rule| rule.mutating).count(), 2, "what changes something is audited");
}
