//! What is taken down comes back, and nonsense does not.

use super::*;

fn desired(admin_state: AdminState, weight: Option<u32>, reason: &str) -> Desired {
    Desired { admin_state, weight, reason: reason.to_owned() }
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn membership(desired: &[(&str, Desired)]) -> Membership {
    let mut membership = Membership::default();
    for (name, desired) in desired {
        let command = Command::Desired { name: (*name).to_owned(), desired: desired.clone() };
        membership.apply(command, jiff::Timestamp::UNIX_EPOCH).unwrap();
    }
    membership
}

#[test]
fn what_is_taken_down_comes_back_and_nothing_else_stays() {
    let then = membership(&[
        ("a", desired(AdminState::Drain, None, "new disk")),
        ("b", desired(AdminState::Ready, Some(3), "")),
    ]);
    let kept = Recollection::of(&then, Identity { cluster_id: id(1), epoch: 4 });
    let entries: BTreeMap<_, _> = kept.entries().unwrap().into_iter().collect();
    let restored = Restored::read(id(1), 4, |name| entries.get(name).cloned()).unwrap();
    let mut now = membership(&[
        ("b", desired(AdminState::Maintenance, None, "gone")),
        ("c", desired(AdminState::Drain, None, "")),
    ]);
    let present = Recollection::of(&now, Identity { cluster_id: id(2), epoch: 9 });
    let said = restored.changes(&present);
    assert_eq!(said.len(), 5, "{said:?}");
    assert!(
        said.contains(&"a: drain (new disk) (now ready)".to_owned())
            && said.contains(&"c: ready (now drain)".to_owned()),
        "{said:?}"
    );
    for command in restored.commands(&now) {
        now.apply(command, jiff::Timestamp::UNIX_EPOCH).unwrap();
    }
    assert_eq!(now.all_desired(), then.all_desired());
    assert_eq!(restored.identity(&present.identity), Identity { cluster_id: id(1), epoch: 10 });
    assert_eq!(restored.identity(&Identity { cluster_id: id(1), epoch: 1 }).epoch, 5);
}

#[test]
fn generations_never_go_back() {
    let mut now = membership(&[]);
    now.apply(Command::Generations { given: 7 }, jiff::Timestamp::UNIX_EPOCH).unwrap();
    for (restored, expected) in [(3, 7), (12, 12)] {
        let restored = Restored {
            cluster_id: id(1),
            epoch: 1,
            generations: restored,
            desired: BTreeMap::new(),
            purges: Vec::new(),
            expected: None,
        };
        for command in restored.commands(&now.clone()) {
            now.apply(command, jiff::Timestamp::UNIX_EPOCH).unwrap();
        }
        assert_eq!(now.generations(), expected);
    }
}

#[test]
fn nonsense_is_refused_with_its_place() {
    let line = r#"{"name":"a","admin_state":"drain","weight":null,"reason":""}"#;
    for (desired, says) in [
        (None, "admin-states.jsonl is missing"),
        (Some(format!("{line}\n{line}\n")), "line 2 of admin-states.jsonl: a comes twice"),
        (Some("{}".to_owned()), "line 1 of admin-states.jsonl: missing field"),
        (Some(line.replace("drain", "dance")), "line 1 of admin-states.jsonl: unknown variant"),
        (Some(line.replace("null", "257")), "a weight above 256"),
        (Some(line.replace("\"a\"", "\"a b\"")), "line 1 of admin-states.jsonl"),
    ] {
        let content = |name: &str| match name {
            GENERATIONS => Some(br#"{"given":1}"#.to_vec()),
            ADMIN_STATES => desired.clone().map(String::into_bytes),
            _ => None,
        };
        let refused = Restored::read(id(1), 1, content).expect_err(says).to_string();
        assert!(refused.contains(says), "{refused}");
    }
}

#[test]
fn only_what_was_looked_at_is_replaced() {
    let identity = |epoch| Identity { cluster_id: id(1), epoch };
    let drained = membership(&[("a", desired(AdminState::Drain, None, ""))]);
    let looked_at = Recollection::of(&drained, identity(1));
    let mut restored = Restored {
        cluster_id: id(1),
        epoch: 1,
        generations: 0,
        desired: BTreeMap::new(),
        purges: Vec::new(),
        expected: None,
    };
    let other = Recollection::of(&membership(&[]), identity(1));
    assert!(restored.replaces(&looked_at) && restored.replaces(&other), "whatever there is");
    restored.expected = Some(looked_at.fingerprint().unwrap());
    assert!(restored.replaces(&looked_at));
    // Somebody comes, which is no reason to look again.
    let somebody = Recollection { generations: 9, ..looked_at.clone() };
    assert!(restored.replaces(&somebody));
    assert!(!restored.replaces(&other), "an operator wants something else by now");
    assert!(
        !restored.replaces(&Recollection::of(&drained, identity(2))),
        "somebody restored something meanwhile"
    );
}
