use std::collections::BTreeMap;

use cluster::{AdminState, Instance, InstanceId, State};
use jiff::Timestamp;

use super::*;

fn status(service: Service, name: &str, weight: u32) -> InstanceStatus {
    let instance = Instance {
        service,
        name: name.to_owned(),
        id: InstanceId(uuid::Uuid::nil()),
        generation: 1,
        endpoints: BTreeMap::new(),
        datacenter: String::new(),
        zone: String::new(),
        tags: Vec::new(),
        weight,
        version: String::new(),
        applied_revision: String::new(),
        applied_hash: String::new(),
    };
    InstanceStatus {
        instance,
        admin_state: AdminState::Ready,
        state: State::Usable,
        reasons: Vec::new(),
        registered_at: Timestamp::UNIX_EPOCH,
        changed_at: Timestamp::UNIX_EPOCH,
        lease_expires_at: Timestamp::UNIX_EPOCH,
        effective_weight: weight,
        opinions: Vec::new(),
        withheld_state: None,
    }
}

fn feed() -> Arc<Feed> {
    Feed::new(Identity { cluster_id: uuid::Uuid::from_u128(7), epoch: 1 }, uuid::Uuid::from_u128(9))
}

fn hear(reader: &mut Reader) -> (Event, String) {
    let step = reader.read();
    (step.event(), step.resume_token())
}

fn delta(reader: &mut Reader) -> (Vec<(String, u32)>, Vec<String>) {
    let (Event::Delta(delta), _) = hear(reader) else { panic!("a snapshot") };
    let name =
        |status: &Arc<InstanceStatus>| (status.instance.name.clone(), status.effective_weight);
    (delta.upserted.iter().map(name).collect(), delta.removed)
}

#[test]
fn a_snapshot_then_deltas_then_resumption() {
    let feed = feed();
    feed.publish(
        vec![status(Service::ProxyNode, "a", 1), status(Service::Balancer, "b", 1)],
        &[],
        vec![],
    );
    let mut reader = feed.reader(Filter::of(&[Service::ProxyNode]), "");
    let (Event::Snapshot(snapshot), token) = hear(&mut reader) else { panic!("no snapshot") };
    assert_eq!(snapshot.members(Filter::of(&[Service::ProxyNode])).count(), 1);
    feed.publish(vec![status(Service::ProxyNode, "a", 2)], &[], vec![]);
    feed.publish(
        vec![status(Service::ProxyNode, "a", 3), status(Service::Balancer, "b", 2)],
        &[],
        vec![],
    );
    assert_eq!(delta(&mut reader), (vec![("a".to_owned(), 3)], vec![]), "told once, as it is now");
    assert_eq!(delta(&mut reader), (vec![], vec![]), "a sign of life");
    feed.publish(vec![], &[(Service::ProxyNode, "a".to_owned())], vec![]);
    let mut resumed = feed.reader(Filter::of(&[Service::ProxyNode]), &token);
    assert_eq!(delta(&mut resumed), (vec![], vec!["a".to_owned()]));
}

#[test]
fn tokens_of_others_get_a_snapshot() {
    let feed = feed();
    feed.publish(vec![status(Service::ProxyNode, "a", 1)], &[], vec![]);
    let filter = Filter::of(&[]);
    let good = hear(&mut feed.reader(filter, "")).1;
    assert!(matches!(hear(&mut feed.reader(filter, &good)).0, Event::Delta(_)));
    let later = Feed::new(
        Identity { cluster_id: uuid::Uuid::from_u128(7), epoch: 1 },
        uuid::Uuid::from_u128(10),
    );
    let restored = Feed::new(
        Identity { cluster_id: uuid::Uuid::from_u128(7), epoch: 2 },
        uuid::Uuid::from_u128(9),
    );
    let foreign = Feed::new(
        Identity { cluster_id: uuid::Uuid::from_u128(8), epoch: 1 },
        uuid::Uuid::from_u128(9),
    );
    for other in [later, restored, foreign] {
        other.publish(vec![], &[], vec![]);
        let mut reader = other.reader(filter, &good);
        assert!(matches!(hear(&mut reader).0, Event::Snapshot(_)));
    }
    let ahead = good.rsplit_once('.').map(|(head, _)| format!("{head}.99")).expect("a token");
    for bad in ["", "x", ".", "1", &ahead, &good[1..]] {
        assert!(matches!(hear(&mut feed.reader(filter, bad)).0, Event::Snapshot(_)), "{bad:?}");
    }
    let mut other = feed.reader(Filter::of(&[Service::Balancer]), &good);
    assert!(
        matches!(hear(&mut other).0, Event::Snapshot(_)),
        "a token is worth nothing with another filter"
    );
}

#[test]
fn who_falls_behind_is_resynchronised_and_the_log_stays_bounded() {
    let feed = feed();
    feed.publish(vec![status(Service::ProxyNode, "a", 1)], &[], vec![]);
    let mut slow = feed.reader(Filter::of(&[]), "");
    hear(&mut slow);
    for _ in 0..=LOGGED {
        feed.publish(vec![status(Service::ProxyNode, "a", 2)], &[], vec![]);
    }
    assert!(feed.log().changes.len() <= LOGGED);
    let (Event::Snapshot(snapshot), _) = hear(&mut slow) else { panic!("no snapshot") };
    assert_eq!(snapshot.member("a").expect("is there").status.effective_weight, 2);
    feed.reset(vec![], vec![]);
    assert!(matches!(hear(&mut slow).0, Event::Snapshot(_)), "and after a reset");
}

#[test]
fn a_name_that_changes_its_service_is_gone_for_who_watches_the_old() {
    let feed = feed();
    feed.publish(vec![status(Service::ProxyNode, "a", 1)], &[], vec![]);
    let mut reader = feed.reader(Filter::of(&[Service::ProxyNode]), "");
    hear(&mut reader);
    feed.publish(vec![status(Service::Balancer, "a", 1)], &[], vec![]);
    assert_eq!(delta(&mut reader), (vec![], vec!["a".to_owned()]));
}

#[test]
fn watchers_at_the_same_position_make_equal_steps() {
    let feed = feed();
    feed.publish(vec![status(Service::ProxyNode, "a", 1)], &[], vec![]);
    let key = |token: &str| feed.reader(Filter::of(&[]), token).read().key();
    assert_eq!(key(""), key(""));
    let token = feed.reader(Filter::of(&[]), "").read().resume_token();
    assert_ne!(key(""), key(&token));
}

/// What watchers need not hear of is in the snapshot, and wakes nobody.
#[test]
fn a_refresh_is_read_and_not_told() {
    let feed = feed();
    feed.publish(vec![status(Service::ProxyNode, "a", 1)], &[], vec![]);
    let mut reader = feed.reader(Filter::of(&[]), "");
    hear(&mut reader);
    let expires = Timestamp::from_second(9).expect("in range");
    let unknown = |name| (name, Timestamp::MAX);
    feed.refresh(
        vec![status(Service::ProxyNode, "a", 2)],
        [unknown("0"), ("a", expires), unknown("b")].into_iter(),
    );
    let snapshot = feed.snapshot();
    let listed = snapshot.member("a").expect("is there");
    assert_eq!((listed.lease_expires_at, listed.status.effective_weight), (expires, 2));
    assert!(!reader.version.has_changed().expect("it lives"));
    assert_eq!(delta(&mut reader), (vec![], vec![]));
}

/// A step that was taken before the log moved on, and is told after, tells what is true all the
/// same.
#[test]
fn a_step_outlives_its_log() {
    let feed = feed();
    feed.publish(vec![status(Service::ProxyNode, "a", 1)], &[], vec![]);
    let mut reader = feed.reader(Filter::of(&[]), "");
    hear(&mut reader);
    feed.publish(vec![status(Service::ProxyNode, "a", 2)], &[], vec![]);
    let step = reader.read();
    feed.publish(vec![status(Service::ProxyNode, "b", 3)], &[], vec![]);
    let Event::Delta(told) = step.event() else { panic!("a snapshot") };
    assert_eq!(
        (told.upserted.len(), told.upserted[0].effective_weight),
        (1, 2),
        "what came later is the next step's"
    );
    assert!(told.removed.is_empty(), "{:?}", told.removed);
    assert_eq!(delta(&mut reader), (vec![("b".to_owned(), 3)], vec![]));
    let late = feed.reader(Filter::of(&[]), &step.resume_token()).read();
    feed.reset(vec![], vec![]);
    let Event::Snapshot(snapshot) = late.event() else { panic!("a delta of what is forgotten") };
    assert_eq!(snapshot.members(Filter::of(&[])).count(), 2, "as it was when the step was taken");
}

/// Whatever a watcher reads when, in the end it knows what is.
#[test]
fn every_watcher_converges() {
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    for seed in 0..200 {
        let (feed, mut random) = (feed(), StdRng::seed_from_u64(seed));
        let mut known: BTreeMap<String, u32> = BTreeMap::new();
        let mut truth: BTreeMap<String, u32> = BTreeMap::new();
        let mut reader = feed.reader(Filter::of(&[]), "");
        let mut token = String::new();
        for step in 0..100 {
            let name = format!("n{}", random.random_range(0..5));
            if random.random_bool(0.3) {
                truth.remove(&name);
                feed.publish(vec![], &[(Service::ProxyNode, name)], vec![]);
            } else {
                truth.insert(name.clone(), step);
                feed.publish(vec![status(Service::ProxyNode, &name, step)], &[], vec![]);
            }
            if random.random_bool(0.2) {
                reader = feed.reader(Filter::of(&[]), &token);
            }
            if step == 99 || random.random_bool(0.4) {
                let (event, next) = hear(&mut reader);
                token = next;
                let (upserted, removed) = match event {
                    Event::Snapshot(snapshot) => {
                        let all = snapshot
                            .members(Filter::of(&[]))
                            .map(|listed| Arc::clone(&listed.status))
                            .collect();
                        (all, std::mem::take(&mut known).into_keys().collect())
                    }
                    Event::Delta(delta) => (delta.upserted, delta.removed),
                };
                known.retain(|name, _| !removed.contains(name));
                known.extend(
                    upserted
                        .iter()
                        .map(|status| (status.instance.name.clone(), status.effective_weight)),
                );
            }
        }
        assert_eq!(known, truth, "seed {seed}");
    }
}
