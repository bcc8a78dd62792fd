use std::cell::RefCell;

use proptest::prelude::*;
use relay::head::{Limits, RequestHead};

use super::{plan::Candidate, *};
use crate::standing::Standing;

/// Loads by index; all servers take the same time.
struct Loads(RefCell<Vec<u64>>);

impl Servers for Loads {
    fn load(&self, index: usize) -> u64 {
        self.0.borrow().get(index).copied().unwrap_or(0)
    }
    fn load_of_all(&self) -> u64 {
        self.0.borrow().iter().sum()
    }
    fn response_time(&self, index: usize) -> Option<u64> {
        // The last one answers ten times as quickly as the others.
        Some(if index + 1 == self.0.borrow().len() { 1_000 } else { 10_000 })
    }
}

pub(super) const ANY: Request<'static> =
    Request { head: None, client: None, servers: &Idle, tried: &|_| false };

const POLICIES: [fn() -> Balance; 9] = [
    || Balance::RoundRobin,
    || Balance::LeastConnections,
    || Balance::Random,
    || Balance::ResponseTime,
    || Balance::First,
    || Balance::IpHash,
    || Balance::UriHash,
    || Balance::HostHash,
    || Balance::HeaderHash { header: "X-User".to_owned() },
];

fn plan_by(policy: Policy, rows: &[(Standing, u32)]) -> Plan {
    let candidate = |(index, &(standing, weight)): (usize, &(Standing, u32))| Candidate {
        name: index.to_string(),
        standing,
        weight,
        percent: 100,
        level: 0,
    };
    Plan::build(policy, rows.iter().enumerate().map(candidate).collect())
}

fn plan(rows: &[(Standing, u32)]) -> Plan {
    plan_by(Balance::RoundRobin.into(), rows)
}

/// What so many requests for different objects find, none of which ends; how many each server got.
fn loads(policy: Policy, servers: &[u32], requests: u32, targets: u32) -> Vec<u64> {
    let rows: Vec<_> = servers.iter().map(|weight| (Standing::Usable, *weight)).collect();
    let plan = plan_by(policy, &rows);
    let mut state = State::new(&plan, 7);
    let loads = Loads(RefCell::new(vec![0; servers.len()]));
    for number in 0..requests {
        let head = format!("GET http://h{0}.example/{0} HTTP/1.0\r\n\r\n", number % targets);
        let mut parsed = RequestHead::new();
        parsed.parse(head.as_bytes(), &Limits::default()).expect("a head");
        let request = Request { head: Some(parsed.view(head.as_bytes())), servers: &loads, ..ANY };
        let picked = pick(&plan, &mut state, &request).expect("somebody");
        loads.0.borrow_mut()[picked] += 1;
    }
    loads.0.into_inner()
}

#[test]
fn tiers_are_exhausted_in_order_and_excluded_servers_never_tried() {
    use Standing::{Backup, Excluded, Last, Unwell, Usable};
    for balance in POLICIES {
        let all = plan_by(
            balance().into(),
            &[Unwell, Backup, Excluded, Last, Usable].map(|standing| (standing, 1)),
        );
        assert_eq!(order(&all, &State::new(&all, 0), &ANY), [4, 3, 1, 0]);
        let nobody = plan_by(balance().into(), &[(Excluded, 1)]);
        assert_eq!(order(&nobody, &State::new(&nobody, 0), &ANY), Vec::<usize>::new());
    }
}

#[test]
fn explaining_takes_nobodys_turn() {
    let plan = plan(&[(Standing::Usable, 1), (Standing::Usable, 1)]);
    let mut state = State::new(&plan, 0);
    let first = order(&plan, &state, &ANY)[0];
    assert_eq!(order(&plan, &state, &ANY)[0], first);
    assert_eq!(pick(&plan, &mut state, &ANY), Some(first));
    assert_ne!(order(&plan, &state, &ANY)[0], first);
}

#[test]
fn workers_begin_with_different_servers() {
    let plan = plan(&[(Standing::Usable, 1); 3]);
    let firsts: Vec<_> =
        (0..4).filter_map(|worker| pick(&plan, &mut begin(&plan, worker, 0), &ANY)).collect();
    assert_eq!(firsts, [0, 1, 2, 0]);
}

#[test]
fn loads_follow_the_policy() {
    let even = |loads: Vec<u64>, most: u64| {
        assert!(loads.iter().all(|load| load.abs_diff(100) <= most), "{loads:?}");
    };
    even(loads(Balance::RoundRobin.into(), &[1; 10], 1000, 1000), 0);
    even(loads(Balance::LeastConnections.into(), &[1; 10], 1000, 1000), 0);
    even(loads(Balance::Random.into(), &[1; 10], 1000, 1000), 3);
    assert_eq!(loads(Balance::First.into(), &[1; 3], 9, 9), [9, 0, 0]);
    assert_eq!(loads(Balance::RoundRobin.into(), &[3, 2, 1], 600, 9), [300, 200, 100]);
    assert_eq!(loads(Balance::LeastConnections.into(), &[3, 2, 1], 600, 9), [300, 200, 100]);
    let quickest = loads(Balance::ResponseTime.into(), &[1; 3], 1000, 1);
    assert!(quickest[2] > 600 && quickest[0] > 40 && quickest[1] > 40, "{quickest:?}");
}

#[test]
fn one_object_lives_on_one_server_until_it_is_hot() {
    for balance in [Balance::UriHash, Balance::HostHash] {
        let alone = loads(balance.clone().into(), &[1; 5], 1000, 1);
        assert_eq!(alone.iter().filter(|load| **load > 0).count(), 1, "{alone:?}");
        let bounded = loads(Policy { balance, bound: Some(125) }, &[1; 5], 1000, 1);
        assert!(bounded.iter().all(|load| *load <= 251), "{bounded:?}");
    }
}

proptest! {
    /// A server that answers is always reached: the order holds every server that is not excluded
    /// exactly once, better tiers first.
    #[test]
    fn nobody_is_forgotten(
        balance in 0..POLICIES.len(),
        rows in prop::collection::vec((0_usize..6, 1_u32..=256), 0..12),
        turns in 0_usize..40,
        bound in prop::option::of(100_u32..200),
        seed in any::<u64>(),
    ) {
        let all = [
            Standing::Usable,
            Standing::Last,
            Standing::Backup,
            Standing::LastResort,
            Standing::Unwell,
            Standing::Excluded,
        ];
        let rows: Vec<_> = rows.iter().map(|&(standing, weight)| (all[standing], weight)).collect();
        let plan = plan_by(Policy { balance: POLICIES[balance](), bound }, &rows);
        let mut state = State::new(&plan, seed);
        let client = "192.0.2.1".parse().ok();
        for _ in 0..turns {
            pick(&plan, &mut state, &Request { client, ..ANY });
        }
        let order = order(&plan, &state, &Request { client, ..ANY });
        prop_assert_eq!(order.len(), rows.iter().filter(|it| it.0 != Standing::Excluded).count());
        let in_order =
            |pair: &[usize]| rows[pair[0]].0 <= rows[pair[1]].0 && pair[0] != pair[1];
        prop_assert!(order.windows(2).all(in_order));
    }
}
