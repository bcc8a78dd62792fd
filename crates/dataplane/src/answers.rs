//! What clients got and how long it took, counted: statuses by class and a latency histogram with
//! fixed bounds.
//!
//! One worker writes, so that an answer costs a search among the bounds and three plain additions.
//! What `/metrics` says of it is written when it is asked for.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use crate::{
    count::{Count, PerWorker},
    ledger::Counters,
};

/// Upper bounds of the buckets, in microseconds: from a hit in memory to the longest wait that
/// clients put up with.
const BOUNDS: [u32; 14] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 2_500_000,
    10_000_000, 60_000_000,
];
/// The same as Prometheus writes them, in seconds.
const LABELS: [&str; 14] = [
    "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "1",
    "2.5", "10", "60",
];
/// Classes of statuses; the first is for what got no answer.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// How long something took, by buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    /// The last one is for all that is above the bounds.
    buckets: [Count; BOUNDS.len() + 1],
    microseconds: Count,
}

impl Histogram {
    /// Takes one in.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = u32::try_from(micros)
            .map_or(BOUNDS.len(), |micros| BOUNDS.partition_point(|bound| *bound < micros));
        self.buckets[bucket].up();
        self.microseconds.add(micros);
    }
}

/// The answers of one worker.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Answers {
    classes: [Count; CLASSES.len()],
    took: Histogram,
}

impl Answers {
    /// Counts an answer; status 0: none was sent. A tunnel's time is not counted: it says how long
    /// the client stayed.
    pub fn note(&self, status: u16, took: Option<Duration>) {
        let class = usize::from(status / 100);
        self.classes[if class < CLASSES.len() { class } else { 0 }].up();
        if let Some(took) = took {
            self.took.observe(took);
        }
    }
}

impl Counters for Answers {
    fn each(&self, visit: &mut dyn FnMut(&str, &Count)) {
        for (class, count) in CLASSES.iter().zip(&self.classes) {
            visit(&format!("answers.{class}"), count);
        }
        let bounds = LABELS.iter().copied().chain(["more"]);
        for (bound, count) in bounds.zip(&self.took.buckets) {
            visit(&format!("took.{bound}"), count);
        }
        visit("took.microseconds", &self.took.microseconds);
    }
}

/// The answers of one frontend or server, worker by worker, with its labels as [`labels`] writes
/// them.
pub type Series<'a> = (String, Vec<&'a Answers>);

/// All workers' answers in what each of them counts.
pub fn of_workers<T>(workers: &PerWorker<T>, answers: impl Fn(&T) -> &Answers) -> Vec<&Answers> {
    workers.iter().map(answers).collect()
}

/// Sums of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By status class; the first is for what got no answer.
    pub classes: [u64; CLASSES.len()],
    /// Those that were timed.
    pub timed: u64,
    /// How long those took all together.
    pub microseconds: u64,
}

impl Totals {
    /// What these workers have counted.
    #[must_use]
    pub fn of(workers: &[&Answers]) -> Self {
        let mut totals = Self::default();
        for Answers { classes, took } in workers {
            for (sum, class) in totals.classes.iter_mut().zip(classes) {
                *sum += class.get();
            }
            totals.timed += took.buckets.iter().map(Count::get).sum::<u64>();
            totals.microseconds += took.microseconds.get();
        }
        totals
    }
}

/// Writes a counter of answers by status class: `NAME{LABELS,class="2xx"} 7`.
pub fn write_classes(out: &mut String, name: &str, help: &str, series: &[Series<'_>]) {
    begin(out, name, help, "counter");
    for (labels, workers) in series {
        for (class, text) in CLASSES.iter().enumerate() {
            let value: u64 = workers.iter().map(|answers| answers.classes[class].get()).sum();
            line(out, name, "", &joined(labels, "class", text), value);
        }
    }
}

/// Writes a histogram of how long they took.
pub fn write_durations(out: &mut String, name: &str, help: &str, series: &[Series<'_>]) {
    begin(out, name, help, "histogram");
    for (labels, workers) in series {
        let sum = |of: &dyn Fn(&Histogram) -> u64| {
            workers.iter().map(|answers| of(&answers.took)).sum::<u64>()
        };
        let mut so_far = 0;
        for bucket in 0..=BOUNDS.len() {
            so_far += sum(&|took| took.buckets[bucket].get());
            line(
                out,
                name,
                "_bucket",
                &joined(labels, "le", LABELS.get(bucket).copied().unwrap_or("+Inf")),
                so_far,
            );
        }
        let micros = sum(&|took| took.microseconds.get());
        line(out, name, "_sum", labels, Seconds(micros));
        line(out, name, "_count", labels, so_far);
    }
}

/// Writes a counter of microseconds in seconds, the unit of times (Prometheus, "Metric and label
/// naming").
pub fn write_seconds(out: &mut String, name: &str, help: &str, series: &[(String, u64)]) {
    begin(out, name, help, "counter");
    for (labels, micros) in series {
        line(out, name, "", labels, Seconds(*micros));
    }
}

/// Microseconds as seconds.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Labels in the exposition format, without braces: `frontend="a",backend="b"`.
#[must_use]
pub fn labels(labels: &[(&str, &str)]) -> String {
    labels.iter().fold(String::new(), |all, (name, value)| joined(&all, name, &escaped(value)))
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

fn joined(labels: &str, name: &str, value: &str) -> String {
    let comma = if labels.is_empty() { "" } else { "," };
    format!("{labels}{comma}{name}=\"{value}\"")
}

// Writing to a String cannot fail.

fn begin(out: &mut String, name: &str, help: &str, kind: &str) {
    let _infallible = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(out: &mut String, name: &str, suffix: &str, labels: &str, value: impl std::fmt::Display) {
    let _infallible = if labels.is_empty() {
        writeln!(out, "{name}{suffix} {value}")
    } else {
        writeln!(out, "{name}{suffix}{{{labels}}} {value}")
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_all_workers() {
        let answers = PerWorker::<Answers>::new(2);
        answers.of(0).note(200, Some(Duration::from_micros(300)));
        answers.of(1).note(503, Some(Duration::from_micros(700)));
        answers.of(1).note(0, None);
        let totals = Totals::of(&answers.iter().collect::<Vec<_>>());
        assert_eq!(totals, Totals { classes: [1, 0, 1, 0, 0, 1], timed: 2, microseconds: 1_000 });
    }

    #[test]
    fn classes_and_durations_of_all_workers() {
        let answers = PerWorker::<Answers>::new(2);
        for (worker, status, micros) in [
            (0, 200, 250),
            (1, 204, 251),
            (0, 404, 70_000_000),
            (1, 0, 1),
            (1, 999, 1),
            (0, 101, 1),
        ] {
            answers.of(worker).note(status, Some(Duration::from_micros(micros)));
        }
        answers.of(0).note(200, None);
        let series = [(labels(&[("frontend", "a\"b")]), of_workers(&answers, |it| it))];
        let mut text = String::new();
        write_classes(&mut text, "x_total", "Help.", &series);
        write_durations(&mut text, "y_seconds", "Help.", &series);
        for expected in [
            "# TYPE x_total counter\n",
            "x_total{frontend=\"a\\\"b\",class=\"2xx\"} 3\n",
            "x_total{frontend=\"a\\\"b\",class=\"none\"} 2\n",
            "x_total{frontend=\"a\\\"b\",class=\"1xx\"} 1\n",
            "# TYPE y_seconds histogram\n",
            "y_seconds_bucket{frontend=\"a\\\"b\",le=\"0.00025\"} 4\n",
            "y_seconds_bucket{frontend=\"a\\\"b\",le=\"0.0005\"} 5\n",
            "y_seconds_bucket{frontend=\"a\\\"b\",le=\"60\"} 5\n",
            "y_seconds_bucket{frontend=\"a\\\"b\",le=\"+Inf\"} 6\n",
            "y_seconds_count{frontend=\"a\\\"b\"} 6\n",
            "y_seconds_sum{frontend=\"a\\\"b\"} 70.000504\n",
        ] {
            assert!(text.contains(expected), "{expected:?} in {text}");
        }
    }

    #[test]
    fn the_bounds_are_what_the_labels_say() {
        for (bound, label) in BOUNDS.iter().zip(LABELS) {
            let seconds: f64 = label.parse().expect("a number");
            assert!((seconds * 1e6 - f64::from(*bound)).abs() < 1e-6, "{label}");
        }
        assert!(BOUNDS.is_sorted());
        let histogram = Histogram::default();
        histogram.observe(Duration::MAX);
        assert_eq!(histogram.buckets[BOUNDS.len()].get(), 1);
    }
}
