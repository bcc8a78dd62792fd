//! How counters move: what came in the last second, the most of it so far, and for how long a
//! server or a backend has been down. A task looks once a second, so that the data path only
//! counts; what lasts less than a second may be missed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::View;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Of what was averaged before, a look takes away this part: what is a minute old hardly counts.
const FORGOTTEN: u64 = 16;

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Frontend(String),
    Backend(String),
    /// Of a backend.
    Server(String, String),
    /// All frontends together.
    Process,
}

/// Counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Connections of a frontend; requests that went to a server or a backend.
    pub sessions: u64,
    pub requests: u64,
    /// Under way now.
    pub active: u64,
    /// Answers that were timed, and their time.
    pub answers: u64,
    pub microseconds: u64,
    /// Sent to clients.
    pub bytes: u64,
    /// Requests and tunnels that have ended, and their times all together, in microseconds: in the
    /// queue, until there was a connection, in all.
    pub ended: u64,
    pub times: [u64; 3],
    /// Whether it can be used.
    pub up: bool,
}

/// How the counters of one subject move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// In the last second, and the most in one.
    pub sessions: u64,
    pub sessions_max: u64,
    pub requests: u64,
    pub requests_max: u64,
    pub bytes: u64,
    /// The most that was under way.
    pub active_max: u64,
    /// Mean time of the latest answers, in microseconds, and the longest mean of one second.
    pub time: u64,
    pub time_max: u64,
    /// Mean times of the last 1024 that have ended, in microseconds, and the longest means of one
    /// second: in the queue, until there was a connection, in all.
    pub times: [u64; 3],
    pub times_max: [u64; 3],
    /// How often it went down, and for how many seconds it was.
    pub downs: u64,
    pub down_seconds: u64,
}

/// The sum of the latest: as in HAProxy, 1024 of them.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    count: u64,
    micros: u64,
}

const WINDOW: u64 = 1024;

impl Window {
    /// So many more, which took so long all together.
    fn add(&mut self, count: u64, micros: u64) {
        if count >= WINDOW {
            let micros = u128::from(micros) * u128::from(WINDOW) / u128::from(count);
            *self = Self { count: WINDOW, micros: u64::try_from(micros).unwrap_or(u64::MAX) };
        } else if count > 0 {
            // As many of those before as have room beside them, of which each counts alike.
            let kept = self.count.min(WINDOW - count);
            let before = u128::from(self.micros) * u128::from(kept);
            let before = before / u128::from(self.count.max(1));
            self.micros = micros.saturating_add(u64::try_from(before).unwrap_or(u64::MAX));
            self.count = kept + count;
        }
    }

    fn mean(self) -> u64 {
        self.micros / self.count.max(1)
    }
}

#[derive(Debug)]
struct Seen {
    sample: Sample,
    rates: Rates,
    /// Answers and their time, the older the less.
    answers: u64,
    microseconds: u64,
    windows: [Window; 3],
}

impl Seen {
    fn new(sample: Sample) -> Self {
        let rates = Rates { active_max: sample.active, ..Rates::default() };
        Self { sample, rates, answers: 0, microseconds: 0, windows: Default::default() }
    }

    /// A second later.
    fn look(&mut self, sample: Sample) {
        let before = std::mem::replace(&mut self.sample, sample);
        let rates = &mut self.rates;
        rates.sessions = sample.sessions.saturating_sub(before.sessions);
        rates.requests = sample.requests.saturating_sub(before.requests);
        rates.bytes = sample.bytes.saturating_sub(before.bytes);
        rates.sessions_max = rates.sessions_max.max(rates.sessions);
        rates.requests_max = rates.requests_max.max(rates.requests);
        rates.active_max = rates.active_max.max(sample.active);
        let answers = sample.answers.saturating_sub(before.answers);
        let micros = sample.microseconds.saturating_sub(before.microseconds);
        if let Some(mean) = micros.checked_div(answers) {
            // Thousandfold, so that the last answer before a silence is not rounded away.
            self.answers = self.answers - self.answers / FORGOTTEN + answers * 1000;
            self.microseconds = self.microseconds - self.microseconds / FORGOTTEN + micros * 1000;
            rates.time = self.microseconds / self.answers.max(1);
            rates.time_max = rates.time_max.max(mean);
        }
        let ended = sample.ended.saturating_sub(before.ended);
        for (index, window) in self.windows.iter_mut().enumerate() {
            let micros = sample.times[index].saturating_sub(before.times[index]);
            window.add(ended, micros);
            rates.times[index] = window.mean();
            let mean = micros.checked_div(ended).unwrap_or(0);
            rates.times_max[index] = rates.times_max[index].max(mean);
        }
        rates.downs += u64::from(before.up && !sample.up);
        rates.down_seconds += u64::from(!sample.up);
    }
}

/// The rates of everything. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<Subject, Seen>>>);

impl Board {
    /// Those of one subject; zeros before it was looked at.
    #[must_use]
    pub fn of(&self, subject: &Subject) -> Rates {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(subject).map(|seen| seen.rates).unwrap_or_default()
    }

    /// Has every maximum begin at what is now.
    pub fn clear_maxima(&self) {
        for seen in self.0.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            let rates = &mut seen.rates;
            rates.sessions_max = rates.sessions;
            rates.requests_max = rates.requests;
            rates.active_max = seen.sample.active;
            rates.time_max = 0;
            rates.times_max = [0; 3];
        }
    }

    /// Looks at everything once, and forgets what is gone.
    fn look(&self, samples: BTreeMap<Subject, Sample>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|subject, _| samples.contains_key(subject));
        for (subject, sample) in samples {
            match seen.get_mut(&subject) {
                Some(seen) => seen.look(sample),
                None => drop(seen.insert(subject, Seen::new(sample))),
            }
        }
    }
}

/// Looks at what can be seen for ever.
pub async fn follow(view: View) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        view.rates.look(super::samples::of(&view.stats()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject::Server("b".to_owned(), "s".to_owned())
    }

    fn board(samples: &[Sample]) -> Board {
        let board = Board::default();
        samples.iter().for_each(|sample| board.look(BTreeMap::from([(subject(), *sample)])));
        board
    }

    #[test]
    fn what_came_in_the_last_second_and_the_most_of_it() {
        let up = Sample { up: true, ..Sample::default() };
        let sample = |sessions, active| Sample { sessions, requests: sessions, active, ..up };
        let board = board(&[sample(7, 0), sample(17, 5), sample(20, 2)]);
        let rates = board.of(&subject());
        assert_eq!((rates.sessions, rates.sessions_max, rates.active_max), (3, 10, 5));
        board.clear_maxima();
        let rates = board.of(&subject());
        assert_eq!((rates.sessions_max, rates.requests_max, rates.active_max), (3, 3, 2));
        assert_eq!(board.of(&Subject::Process), Rates::default());
    }

    #[test]
    fn times_are_those_of_the_latest_answers() {
        let sample =
            |answers, microseconds| Sample { answers, microseconds, up: true, ..Sample::default() };
        let still = board(&[sample(0, 0), sample(10, 1_000), sample(10, 1_000)]);
        assert_eq!(still.of(&subject()).time, 100, "a silence changes nothing");
        let mut samples: Vec<_> = (0..20).map(|n| sample(n * 10, n * 1_000)).collect();
        samples.extend((1..100).map(|n| sample(190 + n * 10, 19_000 + n * 9_000)));
        let rates = board(&samples).of(&subject());
        assert!((880..=900).contains(&rates.time), "{rates:?}");
        assert_eq!(rates.time_max, 900);
    }

    #[test]
    fn times_are_means_of_the_last_thousand() {
        let sample = |ended, total| Sample { ended, times: [0, 0, total], ..Sample::default() };
        let of = |samples: &[Sample]| board(samples).of(&subject());
        let begin = of(&[sample(0, 0), sample(4, 400), sample(4, 400)]);
        assert_eq!((begin.times, begin.times_max), ([0, 0, 100], [0, 0, 100]));
        // A thousand at 100, then as many at 300: those before are gone but for 24.
        let later = of(&[sample(0, 0), sample(1000, 100_000), sample(2000, 400_000)]);
        assert_eq!(later.times[2], (24 * 100 + 1000 * 300) / 1024);
        let many = of(&[sample(0, 0), sample(1000, 100_000), sample(9000, 2_500_000)]);
        assert_eq!((many.times[2], many.times_max[2]), (300, 300));
    }

    #[test]
    fn down_is_counted_in_seconds() {
        let sample = |up| Sample { up, ..Sample::default() };
        let rates = board(&[true, false, false, true, false].map(sample)).of(&subject());
        assert_eq!((rates.downs, rates.down_seconds), (2, 3));
    }
}
