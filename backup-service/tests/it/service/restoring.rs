//! The way back, and everything that must not be put back.

use backup_service::archive::{FORMAT, read::peek, write::write};
use proto::backup::{Condition, Reason};
use tonic::Code;

use super::double::Running;

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
    assert!(
        planned.left_out[0].starts_with("instances:") && service.replaced() == 0,
        "a plan touches nothing"
    );
    let (steps, before) = service.restore("latest", false).await.unwrap();
    assert_eq!((service.config.entries(), service.registry.entries()), then);
    assert_eq!(service.replaced(), 2);
    let place = |title: &str| {
        steps
            .iter()
            .position(|step| step.starts_with(title))
            .unwrap_or_else(|| panic!("{title} in {steps:?}"))
    };
    let order = [
        "verify backup",
        "compare",
        "write the archive",
        "restore config-service",
        "restore registry",
        "wait until",
    ]
    .map(place);
    assert!(order.is_sorted(), "{steps:?}");
    assert_eq!((before.reason(), before.condition()), (Reason::BeforeRestore, Condition::Verified));
    assert_eq!(
        service.plan("latest", false).await.unwrap().backup.unwrap().id,
        made.id,
        "the latest is not the one before a restore"
    );

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
    assert_eq!(
        (service.config.entries(), service.registry.entries(), service.replaced()),
        (config, registry, 0)
    );
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
    assert!(
        refused.message().contains("is of cluster cluster-a, and this is cluster cluster-b"),
        "{refused:?}"
    );
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
    assert!(
        refused.code() == Code::Aborted && refused.message().contains("plan it again"),
        "{refused:?}"
    );
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
        "config-service is restored and the registry is not: the registry refuses: rollout 7 is \
         running",
        "it has taken nothing of it",
        "Run the same restore again",
        "shoal backup restore 2026",
    ];
    assert!(says.iter().all(|part| half.message().contains(part)), "{half:?}");
    service.restore("latest", false).await.unwrap();
    assert_eq!((service.config.entries(), service.registry.entries()), then);
}

#[tokio::test]
async fn a_restore_that_does_not_begin_says_that_nothing_is_restored() {
    let mut service = Running::start().await;
    service.create().await.unwrap();
    service.config.set("one", "later");
    let later = (service.config.entries(), service.registry.entries());
    service.config.held.lock().unwrap().refuses = true;
    let refused = service.restore("latest", false).await.unwrap_err();
    let says = "nothing is restored: the config-service refuses: rollout 7 is running; it has \
        taken nothing of it";
    assert!(refused.code() == Code::Aborted && refused.message().contains(says), "{refused:?}");
    assert_eq!(
        (service.config.entries(), service.registry.entries(), service.replaced()),
        (later.0, later.1, 0)
    );
}

#[tokio::test]
async fn everything_is_looked_at_before_anything_is_touched() {
    let mut service = Running::start().await;
    let made = service.create().await.unwrap();
    service.config.set("one", "later");
    service.registry.held.lock().unwrap().objects = true;
    let refused = service.restore_exactly(&made.id, &made.sha256, false).await.unwrap_err();
    assert!(
        refused.message().contains("the registry refuses: line 1 of it makes no sense"),
        "{refused:?}"
    );
    assert_eq!(
        (service.replaced(), service.list().await.backups.len()),
        (0, 1),
        "and nothing was backed up for it"
    );
}

#[tokio::test]
async fn a_restore_ends_when_everybody_has_heard_of_it() {
    let mut service = Running::start().await;
    let made = service.create().await.unwrap();
    service.registry.held.lock().unwrap().unheard = true;
    let request =
        proto::backup::RestoreRequest { backup: made.id, sha256: made.sha256, adopt: false };
    let mut stream = service.client.restore(request).await.unwrap().into_inner();
    let mut looks = 0;
    while let Some(message) = stream.message().await.unwrap() {
        let Some(step) = message.step.filter(|step| step.title.starts_with("wait until")) else {
            continue;
        };
        // It looks again and again, and is not done before somebody has heard.
        looks += u32::from(step.total > 0);
        assert!(
            looks >= 3 || step.state() == proto::backup::StepState::Running,
            "done without anybody: {step:?}"
        );
        if looks == 3 {
            service.registry.held.lock().unwrap().unheard = false;
        }
    }
    assert!(looks >= 3, "nobody was waited for");
}

#[tokio::test]
async fn nothing_is_replaced_that_nobody_looked_at() {
    let mut service = Running::start().await;
    service.create().await.unwrap();
    service.config.held.lock().unwrap().overtaken = true;
    let refused = service.restore("latest", false).await.unwrap_err();
    assert!(
        refused.message().starts_with("nothing is restored")
            && refused.message().contains("it was looked at"),
        "{refused:?}"
    );
    assert_eq!(service.replaced(), 0);
    service.registry.held.lock().unwrap().overtaken = true;
    let half = service.restore("latest", false).await.unwrap_err();
    assert!(
        half.message().starts_with("config-service is restored and the registry is not"),
        "{half:?}"
    );
    assert_eq!(service.replaced(), 1, "of two who restore at once, one is told");
    service.restore("latest", false).await.unwrap();
}

#[tokio::test]
async fn the_epoch_is_one_that_nobody_remembers() {
    let mut service = Running::start().await;
    let first = service.create().await.unwrap();
    service.restore(&first.id, false).await.unwrap();
    service.restore(&first.id, false).await.unwrap();
    let epoch = service.create().await.unwrap().epoch;
    assert_eq!(epoch, 3);
    // Made anew, it counts from one, and the backup is of the first epoch.
    service.registry.held.lock().unwrap().epoch = 1;
    service.restore(&first.id, false).await.unwrap();
    assert_eq!(
        service.registry.held.lock().unwrap().epoch,
        epoch + 1,
        "two backups remember a later one than both"
    );
}

#[tokio::test]
async fn a_newer_backup_is_refused_with_the_version_that_reads_it() {
    let mut service = Running::start().await;
    let made = service.create().await.unwrap();
    let path = service.archive(&made.id);
    let mut manifest = peek(&path).unwrap();
    (manifest.format, manifest.version, manifest.entries) =
        (FORMAT + 1, "9.0.0".to_owned(), Vec::new());
    let mut bytes = Vec::new();
    write(&mut bytes, &manifest, |_| Ok(std::io::empty())).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let refused = service.restore_exactly(&made.id, &made.sha256, true).await.unwrap_err();
    let says = "in format 2, made by Shoal 9.0.0, and this version";
    assert!(
        refused.code() == Code::FailedPrecondition && refused.message().contains(says),
        "{refused:?}"
    );
    assert_eq!(
        service.plan("latest", false).await.unwrap_err().code(),
        Code::NotFound,
        "it is no backup that could be restored here"
    );
    let listed = service.list().await.backups.remove(0);
    assert!(
        listed.condition() == Condition::Damaged && listed.problem.contains(says),
        "{listed:?}"
    );
    assert_eq!(service.replaced(), 0);
}

#[tokio::test]
async fn a_part_of_a_newer_version_is_refused_by_its_service_in_its_own_words() {
    let mut service = Running::start().await;
    service.config.held.lock().unwrap().format = 2;
    // So much that it is refused while it is still being sent.
    service.config.held.lock().unwrap().entries.insert("huge".to_owned(), vec![1; 32 << 20]);
    let made = service.create().await.unwrap();
    let refused = service.restore_exactly(&made.id, &made.sha256, false).await.unwrap_err();
    let says = "the config-service refuses: the state of config-service is in format 2, and this \
        version of Shoal knows format 1";
    assert!(refused.code() == Code::Aborted && refused.message().contains(says), "{refused:?}");
    assert_eq!(service.replaced(), 0);
}

#[tokio::test]
async fn one_thing_at_a_time() {
    let mut service = Running::start().await;
    service.create().await.unwrap();
    let mut other = service.client.clone();
    // Begun, and held up by nobody: whoever comes meanwhile is told so.
    let first = service
        .client
        .plan_restore(proto::backup::PlanRestoreRequest { backup: "latest".into(), adopt: false })
        .await
        .unwrap();
    let mut refused = 0;
    for _ in 0..200 {
        match other.create_backup(proto::backup::CreateBackupRequest {}).await {
            Err(busy) => {
                assert!(
                    busy.code() == Code::FailedPrecondition && busy.message().contains("under way"),
                    "{busy:?}"
                );
                refused += 1;
            }
            Ok(_) => break,
        }
    }
    drop(first);
    assert!(refused > 0, "two things were done at once");
}
