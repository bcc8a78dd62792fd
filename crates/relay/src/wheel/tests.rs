//! The ring by ticks, without a clock; a seeded comparison with the obvious implementation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use proptest::prelude::*;

use super::Kind;
use super::ring::{Ring, SLOTS};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn advance(ring: &mut Ring, now: u64) -> usize {
    let mut woken = Vec::new();
    ring.advance(now, &mut woken);
    let count = woken.len();
    woken.into_iter().for_each(Waker::wake);
    count
}

#[test]
fn fires_once_at_its_tick_and_not_before() {
    for due in
        [1, 2, 63, 64, 65, SLOTS as u64 - 1, SLOTS as u64, SLOTS as u64 + 1, 3 * SLOTS as u64 + 7]
    {
        let waker = Waker::from(Arc::new(Count::default()));
        let mut ring = Ring::new();
        let key = ring.insert();
        ring.arm(key, Kind::Idle, due);
        assert_eq!(ring.poll(key, &waker), None);
        assert_eq!(advance(&mut ring, due - 1), 0, "due {due}");
        assert_eq!(ring.poll(key, &waker), None, "due {due}");
        assert_eq!(advance(&mut ring, due), 1, "due {due}");
        assert_eq!(ring.poll(key, &waker), Some(Kind::Idle));
        assert_eq!(advance(&mut ring, due + 2 * SLOTS as u64), 0);
        assert_eq!(ring.next_visit(), None);
    }
}

#[test]
fn pushing_a_deadline_out_needs_no_visit_and_bringing_it_forward_does() {
    let mut ring = Ring::new();
    let key = ring.insert();
    assert_eq!(ring.arm(key, Kind::Body, 10), Some(10));
    assert_eq!(ring.arm(key, Kind::Body, 50), None);
    assert_eq!(ring.arm(key, Kind::Body, 5), Some(5));
    ring.arm(key, Kind::Body, 60);
    advance(&mut ring, 59);
    assert!(!ring.has_fired(key));
    advance(&mut ring, 60);
    assert!(ring.has_fired(key));
}

#[test]
fn a_kind_can_be_expired_as_a_whole() {
    let waker = Waker::from(Arc::new(Count::default()));
    let mut ring = Ring::new();
    let keys: Vec<u32> = (0..4).map(|_| ring.insert()).collect();
    ring.arm(keys[0], Kind::Idle, 1000);
    ring.arm(keys[1], Kind::Pooled, 1000);
    ring.arm(keys[2], Kind::Idle, 1000);
    ring.disarm(keys[2]);
    assert!(keys.iter().all(|key| ring.poll(*key, &waker).is_none()));
    let mut woken = Vec::new();
    ring.expire(Kind::Idle, &mut woken);
    assert_eq!(woken.len(), 1);
    assert_eq!(ring.poll(keys[0], &waker), Some(Kind::Idle));
    assert_eq!(ring.poll(keys[1], &waker), None);
    assert_eq!(ring.poll(keys[2], &waker), None);
}

#[derive(Debug, Clone)]
enum Step {
    Arm(usize, u64),
    Disarm(usize),
    Renew(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..8_usize, prop_oneof![1..40_u64, 1..10_000_u64])
            .prop_map(|(timer, after)| Step::Arm(timer, after)),
        (0..8_usize).prop_map(Step::Disarm),
        (0..8_usize).prop_map(Step::Renew),
        prop_oneof![1..20_u64, 1..6_000_u64].prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever is armed, moved, removed and passed: a timer has fired exactly if its tick has
    /// come.
    #[test]
    fn agrees_with_the_obvious(steps in proptest::collection::vec(step(), 1..80)) {
        let waker = Waker::from(Arc::new(Count::default()));
        let mut ring = Ring::new();
        let mut keys: Vec<u32> = (0..8).map(|_| ring.insert()).collect();
        let mut due = [None; 8];
        let mut now = 0;
        for step in steps {
            match step {
                Step::Arm(timer, after) => {
                    ring.arm(keys[timer], Kind::Other, now + after);
                    due[timer] = Some(now + after);
                }
                Step::Disarm(timer) => {
                    ring.disarm(keys[timer]);
                    due[timer] = None;
                }
                Step::Renew(timer) => {
                    drop(ring.remove(keys[timer]));
                    keys[timer] = ring.insert();
                    due[timer] = None;
                }
                Step::Pass(ticks) => {
                    now += ticks;
                    advance(&mut ring, now);
                }
            }
            for (key, due) in keys.iter().zip(due) {
                let elapsed = ring.poll(*key, &waker).is_some();
                prop_assert_eq!(elapsed, due.is_some_and(|due| due <= now));
            }
        }
    }
}

#[test]
fn a_deadline_ends_a_future_that_never_does() {
    let elapsed = crate::worker::block_on(|worker| async move {
        let timer = super::Timer::new(worker.wheel());
        let ready =
            timer.within(Kind::Connect, Duration::from_secs(3600), std::future::ready(7)).await;
        assert_eq!(ready, Ok(7));
        // An hour's sleep of the driver is cut short by the next, nearer deadline.
        let far = super::Timer::new(worker.wheel());
        far.arm(Kind::Idle, Duration::from_secs(3600));
        tokio::task::yield_now().await;
        timer.within(Kind::Connect, Duration::from_millis(20), std::future::pending::<()>()).await
    });
    assert_eq!(elapsed, Err(super::Elapsed(Kind::Connect)));
}
