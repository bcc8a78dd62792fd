//! Making, listing, verifying and letting go.

use std::time::Duration;

use backup_service::{api::POLICY, store::Store};
use chassis::{Role, authorize::Decision};
use cluster::Service;
use cluster_config::document::backup::Keep;
use proto::backup::{Backup, Condition, Reason};
use tokio::time::{sleep, timeout};
use tonic::Code;

use super::double::{Running, parts, plan};

const LIMIT: Duration = Duration::from_secs(20);

/// Waits until the schedule has made so many, and answers all that there are.
async fn until(
    service: &mut Running,
    what: &str,
    wanted: impl Fn(&[Backup]) -> bool,
) -> Vec<Backup> {
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
    assert_eq!(
        (made.created_by.as_str(), made.reason(), made.condition()),
        ("operator ann", Reason::AskedFor, Condition::Verified)
    );
    assert_eq!(
        (made.cluster_id.as_str(), made.epoch, made.stores.as_slice()),
        ("cluster-a", 1, &["file:backups".to_owned()][..])
    );
    assert_eq!(parts(&made), [("config-service".to_owned(), 2), ("registry".to_owned(), 2)]);
    let metadata = std::fs::metadata(service.archive(&made.id)).unwrap();
    assert_eq!(
        (made.size, std::os::unix::fs::MetadataExt::mode(&metadata) & 0o777),
        (metadata.len(), 0o600)
    );
    assert_eq!(service.list().await.backups, std::slice::from_ref(&made));
    assert_eq!(service.verify(&made.id[..12]).await.unwrap().id, made.id);
    assert_eq!(service.verify("2020").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn every_store_gets_the_same_archive_and_a_store_that_fails_is_named() {
    let mut service =
        Running::start_with(Some(plan(&["file:backups", "file:elsewhere"], None))).await;
    let made = service.create().await.unwrap();
    assert_eq!(made.stores, ["file:backups", "file:elsewhere"]);
    let second = service.directory.path().join("elsewhere");
    let name = service.archive(&made.id).file_name().unwrap().to_owned();
    assert_eq!(
        std::fs::read(service.archive(&made.id)).unwrap(),
        std::fs::read(second.join(name)).unwrap()
    );
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
        let today = format!("202611{}", 21 + day);
        let enough = |backups: &[Backup]| {
            let scheduled: Vec<_> =
                backups.iter().filter(|backup| backup.reason() == Reason::Scheduled).collect();
            let newest = scheduled.first().is_some_and(|newest| newest.id.starts_with(&today));
            newest
                && scheduled.len() == day.min(2)
                && backups.iter().all(|backup| backup.condition() == Condition::Verified)
        };
        until(&mut service, "a backup a day, two of them kept", enough).await;
    }
    let backups = service.list().await.backups;
    assert!(
        backups.iter().any(|backup| backup.id == asked_for.id),
        "what somebody asked for stays"
    );
    let days: Vec<_> = backups
        .iter()
        .filter(|backup| backup.reason() == Reason::Scheduled)
        .map(|backup| backup.id[..8].to_owned())
        .collect();
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
    // Its manifest can still be read.
    let mut at_the_end = whole.clone();
    *at_the_end.last_mut().unwrap() ^= 4;
    for (bytes, says) in [
        (&whole[..whole.len() / 2], "its end is missing"),
        (&flipped[..], "its content is not what its end says"),
        (&at_the_end[..], "its content is not what its end says"),
        (&whole[..whole.len() - 1], "its end is missing"),
        (b"", "it is empty"),
    ] {
        std::fs::write(service.archive(&made.id), bytes).unwrap();
        let refused = service.verify(&made.id).await.unwrap_err();
        assert_eq!(refused.code(), Code::DataLoss);
        assert!(
            refused.message().contains(says)
                && refused.message().contains("restore another backup"),
            "{refused:?}"
        );
        let listed = service.list().await.backups.remove(0);
        assert!(
            listed.condition() == Condition::Damaged && listed.problem.contains("damaged"),
            "{listed:?}"
        );
    }
    std::fs::write(service.archive(&made.id), &whole).unwrap();
    assert_eq!(
        service.verify(&made.id).await.unwrap().condition(),
        Condition::Verified,
        "a disk that was repaired"
    );
    std::fs::write(service.archive(&made.id), &whole[..whole.len() - 1]).unwrap();
    let listed = service.list().await.backups.remove(0);
    assert_eq!(
        listed.condition(),
        Condition::Unverified,
        "it is not the one that was looked at: {listed:?}"
    );
}

/// Two backup-services whose store is the same directory.
async fn sharing(shared: &tempfile::TempDir) -> (Running, Running) {
    let url = format!("file:{}", shared.path().display());
    let one = Running::start_with(Some(plan(&[&url], None))).await;
    let other = Running::start_beside(&one, Some(plan(&[&url], None))).await;
    (one, other)
}

#[tokio::test]
async fn two_that_share_a_store_follow_the_schedule_once() {
    let shared = tempfile::tempdir().unwrap();
    let (mut one, other) = sharing(&shared).await;
    // Both have seen that there is a schedule and no backup.
    assert_eq!(
        (
            one.list().await.backups.len(),
            one.follow_the_schedule().await,
            other.follow_the_schedule().await
        ),
        (0, None, None)
    );
    for day in 1..=5_usize {
        one.clock.advance(jiff::SignedDuration::from_hours(24));
        // The timers of both look, too: there are four who would make it.
        one.pass(0);
        other.pass(0);
        tokio::join!(one.follow_the_schedule(), other.follow_the_schedule());
        let backups = until(&mut one, "a backup of this day", |backups| backups.len() >= day).await;
        assert_eq!(backups.len(), day, "{backups:#?}");
    }
    // Whoever looks later finds nothing left to do.
    assert_eq!((one.follow_the_schedule().await, other.follow_the_schedule().await), (None, None));
    assert_eq!(one.list().await.backups.len(), 5);
}

#[tokio::test]
async fn two_that_share_a_store_write_to_it_one_after_the_other() {
    let shared = tempfile::tempdir().unwrap();
    let (mut one, mut other) = sharing(&shared).await;
    let made = one.create().await.unwrap();
    let store = Store::new(&made.stores[0], shared.path()).unwrap();
    let hold = store.hold().unwrap().expect("nobody writes");
    for service in [&mut one, &mut other] {
        let refused = service.create().await.unwrap_err();
        assert!(
            refused.code() == Code::FailedPrecondition
                && refused.message().contains("another backup-service is writing"),
            "{refused:?}"
        );
        let refused = service.restore(&made.id, false).await.unwrap_err();
        assert!(
            refused.message().contains("another backup-service is writing"),
            "what is there cannot be backed up first: {refused:?}"
        );
    }
    assert_eq!((one.replaced(), one.list().await.backups.len()), (0, 1));
    drop(hold);
    other.create().await.unwrap();
    // Each sees what the other made, and believes it only after it has looked.
    assert_eq!(one.list().await.backups.len(), 2);
    assert_eq!(one.verify("latest").await.unwrap().condition(), Condition::Verified);
}

#[test]
fn only_operators_make_and_restore() {
    let node = Role::Service(Service::ProxyNode);
    for rule in POLICY.rules() {
        assert!(
            matches!(POLICY.decide(rule.path, Some(Role::Operator)), Decision::Allowed { .. }),
            "{}",
            rule.path
        );
        for role in [node, Role::Service(Service::Registry), Role::Service(Service::BackupService)]
        {
            assert!(
                matches!(POLICY.decide(rule.path, Some(role)), Decision::Denied { .. }),
                "{} by {role}",
                rule.path
            );
        }
    }
    assert_eq!(
        POLICY.rules().iter().filter(|rule| rule.mutating).count(),
        2,
        "what changes something is audited"
    );
}
