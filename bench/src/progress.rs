//! How far a run is: a bar with the time that is left on a terminal, a line for each sample
//! anywhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::{results::Sample, trial::find};

/// Shows progress on standard error.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A run that is expected to take so long.
    pub fn new(expected: Duration) -> Self {
        let bar = ProgressBar::new(millis(expected));
        // Positions are milliseconds of expected work, so that what is left scales with how fast
        // this machine has been so far.
        let style = ProgressStyle::with_template(
            "{wide_bar} {percent}% {elapsed} of about {duration}, {msg}",
        );
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar }
    }

    /// What is being done.
    pub fn doing(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// Work that was expected to take so long has been done.
    pub fn done(&self, expected: Duration) {
        self.bar.inc(millis(expected));
    }

    /// Shows a sample.
    pub fn sample(&self, sample: &Sample) {
        let unit = find(&sample.trial).map_or("", |trial| trial.unit.name());
        let failed = sample.failed.map_or_else(String::new, |failed| {
            format!(", {failed} of {} failed", sample.sent.unwrap_or_default())
        });
        self.say(&format!(
            "{:<24} {:<34} {:>10.3} {unit}{failed}",
            sample.trial,
            sample.who.name(),
            sample.cost
        ));
    }

    /// Shows a line.
    pub fn say(&self, line: &str) {
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
