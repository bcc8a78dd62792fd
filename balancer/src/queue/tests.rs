use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    pick::plan::Candidate,
    server::{Protocol, Signs, Tally},
    standing::Standing,
    stats::PerWorker,
};

fn server(key: u64, most: Option<u32>) -> Arc<Server> {
    let server = Server {
        key,
        name: format!("s{key}"),
        address: "127.0.0.1:1".parse().expect("an address"),
        protocol: Protocol::Plain,
        discovered: false,
        backup: false,
        tally: Arc::new(Tally::new(1, 1)),
        capacity: Capacity::default(),
        backend: Arc::new(PerWorker::new(1)),
        signs: Signs::default(),
    };
    server.capacity.bound(most);
    Arc::new(server)
}

fn plan(standings: &[Standing]) -> Plan {
    let candidate = |(index, standing): (usize, &Standing)| Candidate {
        name: format!("s{index}"),
        standing: *standing,
        weight: 1,
        percent: 100,
        level: 0,
    };
    let candidates = standings.iter().enumerate().map(candidate).collect();
    Plan::build(cluster_config::document::balancer::Balance::RoundRobin.into(), candidates)
}

/// A queue over usable servers with room for so many each, in force since snapshot 1.
fn queue(most: &[u32]) -> (Arc<Queue>, Vec<Arc<Server>>) {
    let servers: Vec<_> = (0..).zip(most).map(|(key, most)| server(key, Some(*most))).collect();
    let queue = Arc::new(Queue::default());
    queue.bound(&CircuitBreaker { connections: None, pending: 1000, retries: None });
    queue.prepare(&plan(&vec![Standing::Usable; most.len()]), &servers);
    queue.follow(1);
    (queue, servers)
}

fn whoever() -> Wants {
    Wants { snapshot: 1, ..Wants::default() }
}

/// What somebody who waits has heard so far.
fn heard(place: &mut Place) -> Option<Outcome> {
    place.turn.as_mut().and_then(|turn| turn.try_recv().ok())
}

fn given(place: &mut Place) -> Option<(u64, Permit)> {
    match heard(place)? {
        Outcome::Go(permit) => Some((permit.server().key, permit)),
        Outcome::Again => panic!("has to look again"),
    }
}

#[test]
fn first_come_first_served() {
    let (queue, servers) = queue(&[1]);
    let permit = queue.take(&servers[0]).expect("room");
    assert!(queue.take(&servers[0]).is_none());
    let mut places: Vec<_> =
        (0..3).map(|_| queue.join(whoever(), None).expect("a place")).collect();
    assert_eq!(queue.waiting(), 3);
    assert!(places.iter_mut().all(|place| given(place).is_none()));
    drop(permit);
    let (_, first) = given(&mut places[0]).expect("the first one's turn");
    assert!(given(&mut places[1]).is_none() && queue.waiting() == 2);
    // The second one leaves, and the third one is next.
    drop(places.remove(1));
    drop(first);
    assert!(given(&mut places[1]).is_some());
    assert_eq!((queue.waiting(), servers[0].capacity.held()), (0, 0), "given back, too");
    assert_eq!(servers[0].capacity.peak(), 1);
}

#[test]
fn whoever_leaves_with_a_turn_hands_it_on() {
    let (queue, servers) = queue(&[1]);
    let permit = queue.take(&servers[0]).expect("room");
    let first = queue.join(whoever(), None).expect("a place");
    let mut second = queue.join(whoever(), None).expect("a place");
    drop(permit);
    drop(first);
    assert!(given(&mut second).is_some());
}

#[test]
fn the_queue_has_an_end() {
    let (queue, servers) = queue(&[1]);
    queue.bound(&CircuitBreaker { connections: None, pending: 1, retries: Some(1) });
    let _permit = queue.take(&servers[0]).expect("room");
    let place = queue.join(whoever(), None).expect("a place");
    assert_eq!(queue.join(whoever(), None).err(), Some(Full));
    assert_eq!(queue.counts.full.load(SeqCst), 1);
    // Whoever was told to look again has their place, full or not.
    let again = queue.join(whoever(), Some(place.number())).expect("their place");
    assert_eq!(again.number(), place.number());
    let retry = queue.retry().expect("one").expect("bounded");
    assert_eq!(queue.retry().err(), Some(Full));
    drop(retry);
    assert!(queue.retry().is_ok());
}

#[test]
fn what_was_tried_and_what_is_no_backup_yet_is_passed_over() {
    let (queue, servers) = queue(&[1, 1]);
    let permits: Vec<_> = servers.iter().map(|it| queue.take(it).expect("room")).collect();
    let mut picky = queue.join(Wants { tried: vec![0], ..whoever() }, None).expect("a place");
    let mut own = queue.join(Wants { only: Some(0), ..whoever() }, None).expect("a place");
    let mut easy = queue.join(whoever(), None).expect("a place");
    let [of_0, of_1]: [Permit; 2] = permits.try_into().expect("two");
    drop(of_0);
    let (key, own_permit) = given(&mut own).expect("its server");
    assert_eq!(key, 0);
    drop(own_permit);
    assert_eq!(given(&mut easy).map(|it| it.0), Some(0));
    drop(of_1);
    assert_eq!(given(&mut picky).map(|it| it.0), Some(1));
}

#[test]
fn the_backend_as_a_whole_is_bounded_too() {
    let (queue, servers) = queue(&[2, 2]);
    queue.bound(&CircuitBreaker { connections: Some(2), pending: 9, retries: None });
    let one = queue.take(&servers[0]).expect("room");
    let _other = queue.take(&servers[0]).expect("room");
    assert!(queue.take(&servers[1]).is_none() && servers[1].capacity.held() == 0);
    // Room at the backend is room at another server, too.
    let mut place = queue.join(Wants { only: Some(1), ..whoever() }, None).expect("a place");
    drop(one);
    assert_eq!(given(&mut place).map(|it| it.0), Some(1));
}

#[test]
fn a_newer_snapshot_gives_room_or_makes_look_again() {
    let (queue, servers) = queue(&[1, 1]);
    let mut permits: Vec<_> = servers.iter().map(|it| queue.take(it).expect("room")).collect();
    let mut first = queue.join(whoever(), None).expect("a place");
    let mut own = queue.join(Wants { only: Some(1), ..whoever() }, None).expect("a place");
    // A third one comes, and the second one drains.
    let all = [Arc::clone(&servers[0]), Arc::clone(&servers[1]), server(2, Some(1))];
    queue.prepare(&plan(&[Standing::Usable, Standing::Excluded, Standing::Last]), &all);
    queue.follow(2);
    let (key, _of_2) = given(&mut first).expect("the new one");
    assert_eq!(key, 2);
    assert!(matches!(heard(&mut own), Some(Outcome::Again)));
    // A free place of one that drains is nobody's.
    let mut next = queue.join(Wants { snapshot: 2, ..whoever() }, None).expect("a place");
    drop(permits.remove(1));
    assert!(heard(&mut next).is_none());
    // Who looked by an older snapshot than the one in force looks again at once.
    let mut late = queue.join(Wants { only: Some(1), ..whoever() }, None).expect("a place");
    assert!(matches!(heard(&mut late), Some(Outcome::Again)));
    queue.prepare(&Plan::nobody(), &[]);
    queue.follow(3);
    assert!(matches!(heard(&mut next), Some(Outcome::Again)) && queue.is_empty());
}

#[test]
fn no_turn_is_lost_between_threads() {
    let (queue, servers) = queue(&[1, 2]);
    let done = AtomicU64::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for turn in 0..2_000 {
                    let server = &servers[turn % 2];
                    let permit =
                        Some(&queue).filter(|it| it.is_empty()).and_then(|it| it.take(server));
                    let permit = permit.unwrap_or_else(|| {
                        let mut place = queue.join(whoever(), None).expect("a place");
                        let turn = place.turn.take().expect("a turn").blocking_recv();
                        match turn.expect("told") {
                            Outcome::Go(permit) => permit,
                            Outcome::Again => panic!("nothing has changed"),
                        }
                    });
                    assert!(permit.server().capacity.held() <= 2);
                    drop(permit);
                    done.fetch_add(1, SeqCst);
                }
            });
        }
    });
    assert_eq!(done.load(SeqCst), 8_000);
    assert!(queue.is_empty() && servers.iter().all(|it| it.capacity.held() == 0));
    assert!(servers[0].capacity.peak() <= 1 && servers[1].capacity.peak() <= 2);
}

#[derive(Clone, Debug)]
enum Step {
    Come { only: Option<u64>, tried: Option<u64> },
    End(usize),
    Leave(usize),
    Bound(u64, u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (prop::option::weighted(0.3, 0_u64..3), prop::option::weighted(0.3, 0_u64..3))
            .prop_map(|(only, tried)| Step::Come { only, tried }),
        2 => any::<usize>().prop_map(Step::End),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => (0_u64..3, 1_u32..4).prop_map(|(key, most)| Step::Bound(key, most)),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    /// Whatever happens, nobody has more than they may, nobody waits for somebody who has room, and
    /// who came earlier is served earlier by a server that both take.
    #[test]
    fn nobody_waits_for_somebody_with_room(steps in steps()) {
        let (queue, servers) = queue(&[1, 2, 1]);
        let (mut waiting, mut running) = (Vec::<(Wants, Place)>::new(), Vec::new());
        for step in steps {
            match step {
                Step::Come { only, tried } => {
                    if only.is_some() && only == tried {
                        continue;
                    }
                    let wants = Wants { only, tried: tried.into_iter().collect(), ..whoever() };
                    let free = servers.iter().find(|it| queue.is_empty() && wants.accepts(it))
                        .and_then(|it| queue.take(it));
                    match free {
                        Some(permit) => running.push(permit),
                        None => {
                            waiting.push((wants.clone(), queue.join(wants, None).expect("room")));
                        }
                    }
                }
                Step::End(which) if !running.is_empty() => {
                    let ended = running.swap_remove(which % running.len());
                    let key = ended.server().key;
                    let first = waiting.iter().position(|(it, _)| it.accepts(ended.server()));
                    let over = ended.server().capacity.held()
                        > ended.server().capacity.most().unwrap_or(u32::MAX);
                    drop(ended);
                    if let Some(first) = first.filter(|_| !over) {
                        let (_, mut place) = waiting.remove(first);
                        let (got, permit) = given(&mut place).expect("the first who takes it");
                        prop_assert_eq!(got, key);
                        running.push(permit);
                    }
                }
                Step::Leave(which) if !waiting.is_empty() => {
                    drop(waiting.remove(which % waiting.len()));
                }
                Step::Bound(key, most) => {
                    servers[key as usize].capacity.bound(Some(most));
                    queue.follow(1);
                }
                _ => {}
            }
            waiting.retain_mut(|(_, place)| match given(place) {
                Some((_, permit)) => { running.push(permit); false }
                None => true,
            });
            prop_assert_eq!(queue.waiting(), waiting.len());
            for server in &servers {
                let held = running.iter().filter(|it| it.server().key == server.key).count();
                prop_assert_eq!(server.capacity.held() as usize, held);
                let wanted = waiting.iter().any(|(wants, _)| wants.accepts(server));
                prop_assert!(!wanted || server.capacity.is_full(), "{} has room", server.key);
            }
        }
    }
}
