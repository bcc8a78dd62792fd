//! Rates out of counters, and the last minute of them. Pure: times and counters come in.

use std::collections::BTreeMap;

/// What sparklines show, in seconds.
pub const WINDOW: f64 = 60.0;
/// A rate is news for so long; after that nobody has measured it.
const FRESH: f64 = 6.0;

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meter {
    /// Requests that clients sent to a frontend.
    Frontend {
        /// Name of the balancer.
        balancer: String,
        /// Name of the frontend.
        frontend: String,
    },
    /// Requests that a balancer answered itself because no server could.
    Refused {
        /// Name of the balancer.
        balancer: String,
        /// Name of the frontend.
        frontend: String,
    },
    /// Requests that a balancer sent to a server.
    Server {
        /// Name of the balancer.
        balancer: String,
        /// Name of the pool.
        backend: String,
        /// Name of the server.
        server: String,
    },
    /// Something that a node counts.
    Node {
        /// Name of the node.
        node: String,
        /// What it is.
        measure: Measure,
    },
}

/// What a node counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    Requests,
    Hits,
    /// Sent on: misses, validations, tunnels.
    Onward,
    /// Hits and misses: what the cache was asked for.
    Lookups,
    Errors,
    BytesOut,
}

/// One value at one moment, in seconds of the console's own steady clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub at: f64,
    pub rate: f64,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Series {
    last: Option<(f64, u64)>,
    points: Vec<Point>,
}

/// Every meter's last minute.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    now: f64,
    series: BTreeMap<Meter, Series>,
}

impl History {
    /// Begins a round of measurements: what is older than the window, and meters that nobody reads
    /// any more, go.
    pub fn begin(&mut self, now: f64) {
        self.now = now;
        self.series.retain(|_, series| {
            series.points.retain(|point| now - point.at <= WINDOW);
            series.last.is_some_and(|(at, _)| now - at <= WINDOW)
        });
    }

    /// Takes a counter's value in this round. One that went backwards belongs to a new process and
    /// begins anew.
    #[allow(clippy::cast_precision_loss, reason = "rates for people")]
    pub fn take(&mut self, meter: Meter, counter: u64) {
        let now = self.now;
        let series = self.series.entry(meter).or_default();
        if let Some((at, before)) = series.last
            && counter >= before
            && now > at
        {
            series.points.push(Point { at: now, rate: (counter - before) as f64 / (now - at) });
        }
        series.last = Some((now, counter));
    }

    /// The rate now; none when nobody knows it.
    #[must_use]
    pub fn rate(&self, meter: &Meter) -> Option<f64> {
        let last = self.series.get(meter)?.points.last()?;
        (self.now - last.at <= FRESH).then_some(last.rate)
    }

    /// The last minute, oldest first.
    #[must_use]
    pub fn points(&self, meter: &Meter) -> &[Point] {
        self.series.get(meter).map_or(&[], |series| &series.points)
    }

    /// The last minute of several meters together: measurements of one round add up.
    #[must_use]
    pub fn sum<'a>(&self, meters: impl IntoIterator<Item = &'a Meter>) -> Vec<Point> {
        let mut sums: BTreeMap<u64, Point> = BTreeMap::new();
        for point in meters.into_iter().flat_map(|meter| self.points(meter)) {
            // Times of one round are the same number, so its bits are a key; for positive numbers
            // they sort as the numbers do.
            sums.entry(point.at.to_bits()).or_insert(Point { at: point.at, rate: 0.0 }).rate +=
                point.rate;
        }
        sums.into_values().collect()
    }

    /// All meters that a filter wants.
    pub fn meters<'a>(
        &'a self,
        wanted: impl Fn(&Meter) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Meter> {
        self.series.keys().filter(move |meter| wanted(meter))
    }

    /// The rate of several meters together now; none when none of them is known.
    #[must_use]
    pub fn rates<'a>(&self, meters: impl IntoIterator<Item = &'a Meter>) -> Option<f64> {
        meters.into_iter().filter_map(|meter| self.rate(meter)).reduce(|sum, rate| sum + rate)
    }

    /// The moment of the last round.
    #[must_use]
    pub const fn now(&self) -> f64 {
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(server: &str) -> Meter {
        Meter::Server { balancer: "b".into(), backend: "p".into(), server: server.into() }
    }

    fn run(counters: &[(f64, u64)]) -> History {
        let mut history = History::default();
        for (at, counter) in counters {
            history.begin(*at);
            history.take(meter("s"), *counter);
        }
        history
    }

    #[test]
    fn counters_become_rates() {
        for (counters, rate) in [
            (vec![(0.0, 100)], None),
            (vec![(0.0, 100), (1.0, 150)], Some(50.0)),
            (vec![(0.0, 100), (2.0, 150)], Some(25.0)),
            // The process was started again: no rate below zero, and none out of nothing.
            (vec![(0.0, 100), (1.0, 5)], None),
            (vec![(0.0, 100), (1.0, 5), (2.0, 25)], Some(20.0)),
            // The same moment twice.
            (vec![(0.0, 100), (0.0, 150)], None),
        ] {
            assert_eq!(run(&counters).rate(&meter("s")), rate, "{counters:?}");
        }
    }

    #[test]
    fn what_nobody_measures_is_unknown_and_then_forgotten() {
        let mut history = run(&[(0.0, 0), (1.0, 10)]);
        history.begin(1.0 + FRESH);
        assert_eq!(history.rate(&meter("s")), Some(10.0));
        history.begin(2.0 + FRESH);
        assert_eq!(history.rate(&meter("s")), None);
        history.begin(2.0 + WINDOW);
        assert_eq!(history.meters(|_| true).count(), 0);
    }

    #[test]
    fn rounds_add_up() {
        let mut history = History::default();
        for round in 0..4_u32 {
            history.begin(f64::from(round));
            history.take(meter("s"), u64::from(round) * 10);
            history.take(meter("t"), u64::from(round) * 5);
        }
        let both = [meter("s"), meter("t")];
        let sums: Vec<_> = history.sum(&both).iter().map(|point| (point.at, point.rate)).collect();
        assert_eq!(sums, [(1.0, 15.0), (2.0, 15.0), (3.0, 15.0)]);
        assert_eq!(history.rates(&both), Some(15.0));
        assert_eq!(history.rates(&[meter("u")]), None);
    }
}
