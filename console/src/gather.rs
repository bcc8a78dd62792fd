//! One task asks everybody, however many browsers look: what it learns becomes the next [`View`].
//!
//! Somebody who does not answer delays nobody else, and what was last known of them stays. `known`
//! is what is known and asked next, [`ask`] how a question is asked, [`wire`] what becomes of the
//! answer.

pub mod ask;
mod known;
pub mod wire;

use std::{sync::Arc, time::Duration};

use chassis::{Clock, StopSignal, membership};
use futures::{StreamExt, stream};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::view::View;
use ask::Others;
use known::Known;

/// Between two rounds while somebody looks.
const WATCHED: Duration = Duration::from_secs(1);
/// Between two rounds while nobody does.
const UNWATCHED: Duration = Duration::from_secs(5);
/// Changes of the membership that come within this time are shown together.
const COALESCE: Duration = Duration::from_millis(100);
/// Questions that are open at the same time.
const AT_ONCE: usize = 64;

/// What the gatherer publishes to, and how it hears that somebody came.
#[derive(Clone, Debug)]
pub struct Board {
    views: Arc<watch::Sender<Arc<View>>>,
    arrived: Arc<Notify>,
}

impl Default for Board {
    fn default() -> Self {
        Self { views: Arc::new(watch::Sender::new(Arc::default())), arrived: Arc::default() }
    }
}

impl Board {
    /// Everything as last seen.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.views.borrow())
    }

    /// Follows the views. A reader that is slow misses some and gets the newest.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Arc<View>> {
        let receiver = self.views.subscribe();
        self.arrived.notify_one();
        receiver
    }

    /// Publishes a view.
    pub fn publish(&self, view: View) {
        self.views.send_replace(Arc::new(view));
    }

    fn is_watched(&self) -> bool {
        self.views.receiver_count() > 0
    }
}

/// Asks until `stop`.
pub async fn run(
    others: Arc<Others>,
    membership: membership::Watch,
    board: Board,
    clock: Clock,
    stop: StopSignal,
) {
    let begun = Instant::now();
    let mut known = Known::after((*board.view()).clone());
    let mut members = membership.clone();
    for round in 0_u64.. {
        let started = Instant::now();
        known.members(&membership.borrow(), clock.now());
        let questions = known.questions(&others, round);
        let mut answers = stream::iter(questions).buffer_unordered(AT_ONCE);
        known.history.begin(begun.elapsed().as_secs_f64());
        loop {
            // A change of the membership shows at once, and waits for nobody's statistics.
            tokio::select! {
                () = stop.wait() => return,
                answer = answers.next() => match answer {
                    Some((name, service, answer)) => known.take(name, service, answer, clock.now()),
                    None => break,
                },
                () = members.changed() => {
                    tokio::time::sleep(COALESCE).await;
                    known.members(&membership.borrow(), clock.now());
                    board.publish(known.next(clock.now()));
                }
            }
        }
        drop(answers);
        known.forget(&others);
        board.publish(known.next(clock.now()));
        let pause = if board.is_watched() { WATCHED } else { UNWATCHED };
        let until = started + pause;
        loop {
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep_until(until) => break,
                () = board.arrived.notified() => if pause == UNWATCHED { break },
                () = members.changed() => {
                    tokio::time::sleep(COALESCE).await;
                    known.members(&membership.borrow(), clock.now());
                    board.publish(known.next(clock.now()));
                }
            }
        }
    }
}
