//! One rule per test.

use std::time::Duration;

use cluster::{AdminState, Service, State, Verdict};
use registry::command::{self, Command, Outcome};

use super::cast::{TTL, World, id, instance};

#[test]
fn an_instance_starts_serves_lapses_and_is_forgotten() {
    let mut world = World::new();
    world.does(Command::Register {
        instance: instance(Service::ConfigService, "config", 1),
        ttl: TTL,
        ready: false,
        by: None,
    });
    assert_eq!(world.state("config"), Some(State::Starting));
    let renewal = world.renewal("config");
    world.does(Command::Renew(renewal));
    assert_eq!(world.state("config"), Some(State::Usable));
    world.wait(5);
    assert_eq!(world.state("config"), Some(State::Usable));
    world.wait(1);
    assert_eq!(
        world.state("config"),
        Some(State::Lost),
        "control services are not guarded: the lone one is lost"
    );
    let status = world.membership.status("config").expect("listed");
    assert!(status.reasons[0].contains("lease lapsed"), "{:?}", status.reasons);
    assert_eq!(status.changed_at, world.now);
    world.wait(599);
    assert_eq!(world.state("config"), Some(State::Lost));
    world.wait(1);
    assert_eq!(world.state("config"), None);
    assert_eq!(world.last.removed, [(Service::ConfigService, "config".to_owned())]);
    assert_eq!(
        world.store.len(),
        1,
        "only that its generation was given is kept: {:?}",
        world.store
    );
}

#[test]
fn a_lost_instance_that_renews_is_back() {
    let mut world = World::new();
    world.nodes(&["a", "b", "c"]);
    world.wait_alive(6, &["b", "c"]);
    assert_eq!(world.state("a"), Some(State::Lost));
    let renewal = world.renewal("a");
    world.does(Command::Renew(renewal));
    assert_eq!(world.state("a"), Some(State::Usable));
    assert!(
        !world.store.keys().any(|slot| slot.kind == registry::command::Kind::Loss),
        "{:?}",
        world.store.keys()
    );
}

#[test]
fn the_youngest_process_has_the_name() {
    let mut world = World::new();
    let register = |start| Command::Register {
        instance: instance(Service::ProxyNode, "a", start),
        ttl: TTL,
        ready: true,
        by: None,
    };
    assert_eq!(world.does(register(5)), Outcome::Registered { generation: 1 });
    assert_eq!(
        world.does(register(5)),
        Outcome::Registered { generation: 1 },
        "a retry is answered alike"
    );
    let older = world.renewal("a");
    assert_eq!(
        world.refuses(register(4)),
        command::Error::YoungerHolds { name: "a".to_owned(), holder: id(5) }
    );
    assert_eq!(world.does(register(6)), Outcome::Registered { generation: 2 });
    assert_eq!(
        world.refuses(Command::Renew(older.clone())),
        command::Error::Superseded { name: "a".to_owned(), holder: id(6) }
    );
    world.does(Command::Deregister { name: "a".to_owned(), id: older.id, drain_for: TTL });
    assert_eq!(world.state("a"), Some(State::Usable), "an older process has nothing to stop");
    // The younger one died; its name is free, and whoever comes back younger takes it again.
    world.register(Service::ProxyNode, "b", 7);
    world.wait_alive(6, &["b"]);
    assert_eq!(world.state("a"), Some(State::Lost));
    let younger = world.renewal("a");
    assert_eq!(world.does(register(4)), Outcome::Registered { generation: 4 });
    assert_eq!(
        world.refuses(Command::Renew(younger)),
        command::Error::NotRegistered { name: "a".to_owned() }
    );
    assert_eq!(world.does(register(6)), Outcome::Registered { generation: 5 });
}

#[test]
fn a_name_belongs_to_one_service() {
    let mut world = World::new();
    world.nodes(&["a"]);
    let other = || Command::Register {
        instance: instance(Service::Balancer, "a", 9),
        ttl: TTL,
        ready: true,
        by: None,
    };
    assert_eq!(
        world.refuses(other()),
        command::Error::OtherService { name: "a".to_owned(), service: Service::ProxyNode }
    );
    world.does(Command::Deregister { name: "a".to_owned(), id: id(0), drain_for: TTL });
    world.does(other());
    assert_eq!(
        world.membership.status("a").expect("registered").instance.service,
        Service::Balancer
    );
}

#[test]
fn renewals_need_the_right_process() {
    let mut world = World::new();
    world.nodes(&["a"]);
    let good = world.renewal("a");
    for bad in [
        registry::command::Renewal { name: "b".to_owned(), ..good.clone() },
        registry::command::Renewal { id: id(99), ..good.clone() },
        registry::command::Renewal { generation: 7, ..good.clone() },
    ] {
        assert!(matches!(world.refuses(Command::Renew(bad)), command::Error::NotRegistered { .. }));
    }
}

#[test]
fn who_deregisters_drains_and_goes() {
    let mut world = World::new();
    world.nodes(&["a"]);
    let deregister = || Command::Deregister {
        name: "a".to_owned(),
        id: id(0),
        drain_for: Duration::from_secs(20),
    };
    world.does(deregister());
    assert_eq!(world.state("a"), Some(State::Draining));
    world.wait(15);
    world.does(deregister());
    assert_eq!(world.state("a"), Some(State::Draining), "also when its lease lapsed meanwhile");
    world.wait(5);
    assert_eq!(world.state("a"), None, "a retry does not begin anew");
    world.does(deregister());
    world.nodes(&["b"]);
    world.does(Command::Deregister { name: "b".to_owned(), id: id(0), drain_for: Duration::MAX });
    world.wait(600);
    assert_eq!(world.state("b"), None, "ten minutes are the most");
}

#[test]
fn what_operators_want_outlives_the_process() {
    let mut world = World::new();
    world.nodes(&["a"]);
    for (admin_state, state) in [
        (AdminState::Drain, State::Draining),
        (AdminState::Maintenance, State::Maintenance),
        (AdminState::Ready, State::Usable),
    ] {
        world.desired("a", admin_state, Some(7));
        assert_eq!(world.state("a"), Some(state));
    }
    world.desired("a", AdminState::Maintenance, Some(7));
    world.register(Service::ProxyNode, "a", 10);
    world.restart();
    let status = world.membership.status("a").expect("registered");
    assert_eq!(
        (status.instance.id, status.state, status.effective_weight),
        (id(10), State::Maintenance, 7)
    );
    assert!(status.reasons[0].contains("maintenance: test"), "{:?}", status.reasons);
    world.desired("a", AdminState::Ready, None);
    let status = world.membership.status("a").expect("registered");
    assert_eq!((status.state, status.effective_weight), (State::Usable, 100));
}

#[test]
fn opinions_make_suspect_then_critical_and_expire() {
    let mut world = World::new();
    world.nodes(&["a", "b", "c"]);
    world.accuse(&["k1"], "a");
    assert_eq!(world.state("a"), Some(State::Suspect));
    world.accuse(&["k1"], "a");
    assert_eq!(world.state("a"), Some(State::Suspect), "a checker counts once");
    world.accuse(&["k2"], "a");
    assert_eq!(world.state("a"), Some(State::Critical));
    let opinions = vec![world.opinion("k2", "tcp", "a", Verdict::Passing)];
    world.does(Command::Report { opinions });
    assert_eq!(world.state("a"), Some(State::Suspect));
    world.wait_alive(30, &["a", "b", "c"]);
    assert_eq!(world.state("a"), Some(State::Usable), "no opinion is no reason");
    assert!(world.membership.status("a").expect("registered").opinions.is_empty());
}

#[test]
fn only_the_freshest_opinion_of_the_living_process_counts() {
    let mut world = World::new();
    world.nodes(&["a", "b", "c"]);
    let old = world.opinion("k1", "tcp", "a", Verdict::Critical);
    world.wait_alive(1, &["a", "b", "c"]);
    let new = world.opinion("k1", "tcp", "a", Verdict::Passing);
    world.does(Command::Report { opinions: vec![new, old.clone()] });
    assert_eq!(world.state("a"), Some(State::Usable));
    world.register(Service::ProxyNode, "a", 20);
    assert_eq!(
        world.does(Command::Report { opinions: vec![old] }),
        Outcome::Reported { unknown: vec![id(0)] }
    );
    assert_eq!(world.state("a"), Some(State::Usable));
    // A clock that is a day ahead does not make an opinion last a day.
    let mut ahead = world.opinion("k1", "tcp", "a", Verdict::Critical);
    ahead.observed_at = registry::lease::after(world.now, Duration::from_secs(86_400));
    world.does(Command::Report { opinions: vec![ahead] });
    world.wait_alive(30, &["a", "b", "c"]);
    assert_eq!(world.state("a"), Some(State::Usable));
}

#[test]
fn the_second_of_three_is_held_until_it_can_be_borne_or_is_accepted() {
    let mut world = World::new();
    world.nodes(&["a", "b", "c"]);
    world.wait_alive(6, &["c"]);
    assert_eq!(
        (world.state("a"), world.state("b"), world.state("c")),
        (Some(State::Lost), Some(State::Usable), Some(State::Usable))
    );
    assert_eq!((world.withheld("a"), world.withheld("b")), (None, Some(State::Lost)));
    let guard = &world.membership.guards()[&Service::ProxyNode];
    assert!(
        guard.holding && guard.held == ["b"] && guard.members == 3 && guard.well == 1,
        "{guard:?}"
    );
    assert!(guard.explanation.contains("accept-losses"), "{guard:?}");
    world.wait_alive(700, &["c"]);
    assert_eq!(world.state("a"), Some(State::Lost), "time alone does not erode the pool");
    assert_eq!(world.state("b"), Some(State::Usable));
    let outcome = world.does(Command::AcceptLosses { service: Service::ProxyNode });
    assert_eq!(outcome, Outcome::Accepted { names: vec!["b".to_owned()] });
    assert_eq!(
        (world.state("a"), world.state("b")),
        (None, Some(State::Lost)),
        "a's ten minutes were over long ago"
    );
    assert!(!world.membership.guards()[&Service::ProxyNode].holding);
    assert_eq!(
        world.does(Command::AcceptLosses { service: Service::ProxyNode }),
        Outcome::Accepted { names: vec![] }
    );
    world.wait_alive(600, &["c"]);
    assert_eq!(world.state("b"), None, "ten minutes from when it was believed");
}

#[test]
fn a_newcomer_makes_a_held_loss_bearable() {
    let mut world = World::new();
    world.nodes(&["a", "b", "c"]);
    world.wait_alive(6, &["c"]);
    assert_eq!(world.withheld("b"), Some(State::Lost));
    world.register(Service::ProxyNode, "d", 9);
    assert_eq!(
        (world.state("b"), world.withheld("b")),
        (Some(State::Lost), None),
        "c and d are half of four"
    );
}

#[test]
fn when_everybody_is_unwell_from_everywhere_the_last_state_stays() {
    let mut world = World::new();
    world.nodes(&["a", "b", "c"]);
    for checker in ["k1", "k2", "k3"] {
        let opinions = ["a", "b", "c"]
            .map(|target| world.opinion(checker, "through-proxy", target, Verdict::Critical))
            .to_vec();
        world.does(Command::Report { opinions });
    }
    let states = ["a", "b", "c"].map(|name| (world.state(name), world.withheld(name)));
    let held = (Some(State::Suspect), Some(State::Critical));
    assert_eq!(states, [(Some(State::Critical), None), held, held]);
    world.restart();
    let again = ["a", "b", "c"].map(|name| (world.state(name), world.withheld(name)));
    assert_eq!(again, states, "a restart does not change what was decided");
    world.wait_alive(30, &["a", "b", "c"]);
    assert!(["a", "b", "c"].iter().all(|name| world.state(name) == Some(State::Usable)));
    assert!(!world.membership.guards()[&Service::ProxyNode].holding);
}

#[test]
fn what_somebody_asked_for_always_counts() {
    let mut world = World::new();
    world.nodes(&["a", "b"]);
    world.desired("a", AdminState::Maintenance, None);
    world.desired("b", AdminState::Drain, None);
    assert_eq!(
        (world.state("a"), world.state("b")),
        (Some(State::Maintenance), Some(State::Draining))
    );
    world.wait(6);
    assert_eq!(
        (world.state("a"), world.state("b")),
        (Some(State::Maintenance), Some(State::Draining)),
        "powered off for maintenance"
    );
    assert_eq!(world.membership.guards()[&Service::ProxyNode].members, 0);
    world.wait(600);
    assert_eq!(world.state("a"), None);
    world.register(Service::ProxyNode, "a", 9);
    assert_eq!(world.state("a"), Some(State::Maintenance));
}

#[test]
fn the_last_one_is_never_lost() {
    let mut world = World::new();
    world.nodes(&["a"]);
    world.wait(3600);
    assert_eq!((world.state("a"), world.withheld("a")), (Some(State::Usable), Some(State::Lost)));
    // Who replaces it starts anew; who was never ready was never in the pool.
    world.does(Command::Register {
        instance: instance(Service::ProxyNode, "a", 3),
        ttl: TTL,
        ready: false,
        by: None,
    });
    assert_eq!(world.membership.guards()[&Service::ProxyNode].members, 0);
    world.wait(6);
    assert_eq!(world.state("a"), Some(State::Lost));
}

#[test]
fn a_restart_forgives_one_lease_and_no_more() {
    let mut world = World::new();
    world.nodes(&["a", "b", "c"]);
    world.wait_alive(7, &["b", "c"]);
    assert_eq!(world.state("a"), Some(State::Lost));
    world.now = registry::lease::after(world.now, Duration::from_secs(60));
    world.restart();
    assert_eq!(
        (world.state("a"), world.state("b")),
        (Some(State::Lost), Some(State::Usable)),
        "lost before is lost after"
    );
    world.wait(5);
    assert_eq!(world.state("b"), Some(State::Usable));
    world.wait(1);
    assert_eq!((world.withheld("b"), world.withheld("c")), (Some(State::Lost), Some(State::Lost)));
    // The same when the registry only stood still.
    let mut world = World::new();
    world.nodes(&["a", "b", "c"]);
    world.now = registry::lease::after(world.now, Duration::from_secs(60));
    world.does(Command::Forgive);
    assert!(
        ["a", "b", "c"]
            .iter()
            .all(|name| world.state(name) == Some(State::Usable) && world.withheld(name).is_none())
    );
}

#[test]
fn watchers_hear_what_matters_and_no_more() {
    let mut world = World::new();
    world.nodes(&["a", "b", "c"]);
    assert_eq!(world.last.upserted.iter().collect::<Vec<_>>(), ["c"]);
    let renewal = world.renewal("a");
    world.does(Command::Renew(renewal));
    assert!(world.last.is_empty(), "a renewal is no news: {:?}", world.last);
    world.accuse(&["k1"], "a");
    assert!(world.last.upserted.contains("a"));
    world.accuse(&["k1"], "a");
    assert!(world.last.is_empty(), "neither is the same opinion again: {:?}", world.last);
    let mut renewal = world.renewal("a");
    renewal.applied_revision = "r2".to_owned();
    world.does(Command::Renew(renewal));
    assert!(world.last.upserted.contains("a"), "a new revision is");
    world.does(Command::Deregister { name: "a".to_owned(), id: id(0), drain_for: Duration::ZERO });
    assert_eq!(world.last.removed, [(Service::ProxyNode, "a".to_owned())]);
}
