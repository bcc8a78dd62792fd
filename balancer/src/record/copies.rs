//! What a worker has gathered for the log targets.

use std::sync::Arc;

use cluster_config::document::log::LogFormat;
use dataplane::log::target::{Lines, Target, Targets};

use super::{
    Record,
    httplog::{self, Dates},
    template,
};

/// Lines for each target, until they are handed on.
pub(super) struct Copies {
    targets: Arc<Vec<Arc<Target>>>,
    gathered: Vec<Lines>,
    dates: Dates,
    /// The name of this balancer.
    host: Box<str>,
}

impl Copies {
    pub(super) fn new() -> Self {
        Self {
            targets: Arc::default(),
            gathered: Vec::new(),
            dates: Dates::local(),
            host: "".into(),
        }
    }

    /// Whether there is any target.
    pub(super) fn are_wanted(&self) -> bool {
        !self.gathered.is_empty()
    }

    /// Adds a record, whose line as JSON is `json`.
    pub(super) fn add(&mut self, record: &Record<'_>, json: &[u8]) {
        let now = relay::clock::exact_wall();
        for (target, lines) in self.targets.iter().zip(&mut self.gathered) {
            match &target.settings().format {
                LogFormat::Json => lines.bytes.extend_from_slice(json),
                LogFormat::Custom(form) => {
                    let line = template::Line { record, now, host: &self.host };
                    line.write(&mut lines.bytes, form, &mut self.dates);
                    lines.bytes.push(b'\n');
                }
                // Squid's is of proxy-nodes, and no bundle with it gets here.
                LogFormat::Httplog | LogFormat::Squid => {
                    httplog::write(&mut lines.bytes, record, &mut self.dates, now);
                    lines.bytes.push(b'\n');
                }
            }
            lines.count += 1;
        }
    }

    /// Hands on what is there, and takes up which targets there are now.
    pub(super) fn hand_on(&mut self, now: &Targets) {
        for (target, lines) in self.targets.iter().zip(&mut self.gathered) {
            if lines.count > 0 {
                let room = lines.bytes.len();
                let next = Lines { bytes: Vec::with_capacity(room), count: 0 };
                target.send(std::mem::replace(lines, next));
            }
        }
        let targets = now.current();
        if !Arc::ptr_eq(&targets, &self.targets) {
            self.gathered = targets.iter().map(|_| Lines::default()).collect();
            self.targets = targets;
            self.host = now.host().into();
        }
    }
}
