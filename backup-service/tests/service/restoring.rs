//! The way back, and everything that must not be put back.

use proto::backup::{Condition, Reason};
use tonic::Code;

use crate::double::Running;

#[tokio::test]
async fn what_was_there_comes_back_and_what_was_replaced_can_too() {
    let mut service = Running::start().await;
    let then = (service.config.entries(), service.registry.entries());
    let made = service.create().await.unwrap();
    service.config.set("one", "later");
    service.registry.set("two", "later");
    let later = (service.config.entries(), service.registry.entries());

    let planned = service.plan("latest", false).await.unwrap();
    assert_eq!(planned.changes, ["config-service changes", "registry changes"]);
    assert!(planned.left_out[0].starts_with("instances:") && service.replaced() == 0, "a plan touches nothing");
    let (steps, before) = service.restore("latest", false).await.unwrap();
    assert_eq!((service.config.entries(), service.registry.entries()), then);
    assert_eq!(service.replaced(), 2);
    let place = |title: &str| steps.iter().position(|step| step.starts_with(title)).unwrap_or_else(|| panic!("{title} in {steps:?}"));
    let order = ["verify backup", "compare", "write the archive", "restore config-service", "restore registry", "wait until"].map(place);
    assert!(order.is_sorted(), "{steps:?}");
    assert_eq!((before.reason(), before.condition()), (Reason::BeforeRestore, Condition::Verified));
    assert_eq!(service.plan("latest", false).await.unwrap().backup.unwrap().id, made.id, "the latest is not the one before a restore");

    service.restore(&before.id, false).await.unwrap();
    assert_eq!((service.config.entries(), service.registry.entries()), later);
}

#[tokio::test]
async fn what_is_not_whole_touches_nothing() {
    let mut service = Running::start().await;
    let made = service.create().await.unwrap();
    let whole = std::fs::read(service.archive(&made.id)).unwrap();
    service.config.set("one", "later");
    let (config, registry) = (service.config.entries(), service.registry.entries());
    for place in [0, 1, whole.len() / 3, whole.len() / 2, whole.len() - 33, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[place] ^= 1;
        for bytes in [&whole[..place], &flipped] {
            std::fs::write(service.archive(&made.id), bytes).unwrap();
            let refused = service.restore_exactly(&made.id, &made.sha256, true).await.unwrap_err();
            assert_eq!(refused.code(), Code::DataLoss, "{place}: {refused:?}");
        }
    }
    assert_eq!((service.config.entries(), service.registry.entries(), service.replaced()), (config, registry, 0));
    assert_eq!(service.list().await.backups.len(), 1, "not even a backup was made");
}

#[tokio::test]
async fn another_cluster_s_backup_is_refused_unless_somebody_says_so() {
    let mut there = Running::start().await;
    let made = there.create().await.unwrap();
    let mut here = Running::start_in(tempfile::tempdir().unwrap(), None, "authority-b").await;
    here.registry.held.lock().unwrap().cluster_id = "cluster-b".to_owned();
    std::fs::create_dir_all(here.archive(&made.id).parent().unwrap()).unwrap();
    std::fs::copy(there.archive(&made.id), here.archive(&made.id)).unwrap();
    let refused = here.restore("latest", false).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("is of cluster cluster-a, and this is cluster cluster-b"), "{refused:?}");
    assert_eq!(here.replaced(), 0);
    here.restore("latest", true).await.unwrap();
    assert_eq!(here.registry.held.lock().unwrap().cluster_id, "cluster-a");

    // A registry that was made anew under the same authority is the same cluster's.
    let mut wiped = Running::start_in(tempfile::tempdir().unwrap(), None, "authority-a").await;
    wiped.registry.held.lock().unwrap().cluster_id = "cluster-new".to_owned();
    std::fs::create_dir_all(wiped.archive(&made.id).parent().unwrap()).unwrap();
    std::fs::copy(there.archive(&made.id), wiped.archive(&made.id)).unwrap();
    wiped.restore("latest", false).await.unwrap();
    assert_eq!(wiped.registry.held.lock().unwrap().cluster_id, "cluster-a");
}

#[tokio::test]
async fn what_was_planned_is_what_is_restored() {
    let mut service = Running::start().await;
    let made = service.create().await.unwrap();
    let refused = service.restore_exactly(&made.id, &"0".repeat(64), false).await.unwrap_err();
    assert!(refused.code() == Code::Aborted && refused.message().contains("plan it again"), "{refused:?}");
    assert_eq!(service.replaced(), 0);
}

#[tokio::test]
async fn a_restore_that_ends_in_the_middle_says_how_to_go_on() {
    let mut service = Running::start().await;
    let then = (service.config.entries(), service.registry.entries());
    service.create().await.unwrap();
    service.config.set("one", "later");
    service.registry.held.lock().unwrap().refuses = true;
    let half = service.restore("latest", false).await.unwrap_err();
    let says = [
        "the registry refuses: rollout 7 is running",
        "config-service is restored",
        "run the same restore again",
        "shoal backup restore 2026",
    ];
    assert!(says.iter().all(|part| half.message().contains(part)), "{half:?}");
    service.restore("latest", false).await.unwrap();
    assert_eq!((service.config.entries(), service.registry.entries()), then);
}

#[tokio::test]
async fn one_thing_at_a_time() {
    let mut service = Running::start().await;
    service.create().await.unwrap();
    let mut other = service.client.clone();
    // Begun, and held up by nobody: whoever comes meanwhile is told so.
    let first = service.client.plan_restore(proto::backup::PlanRestoreRequest { backup: "latest".into(), adopt: false }).await.unwrap();
    let mut refused = 0;
    for _ in 0..200 {
        match other.create_backup(proto::backup::CreateBackupRequest {}).await {
            Err(busy) => {
                assert!(busy.code() == Code::FailedPrecondition && busy.message().contains("under way"), "{busy:?}");
                refused += 1;
            }
            Ok(_) => break,
        }
    }
    drop(first);
    assert!(refused > 0, "two things were done at once");
}
