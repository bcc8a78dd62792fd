//! What was measured, as it is written to the JSON and read again for the report.

use std::{collections::BTreeMap, fs, process::Command};

use serde::{Deserialize, Serialize};

use crate::{
    contender::Who,
    statistics::{Spread, spread},
};

/// One round of one contender.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Name of the trial.
    pub trial: String,
    /// Whose turn it was.
    pub who: Who,
    /// In the trial's unit; of CPU time and memory, the whole process tree's.
    pub cost: f64,
    /// The part of a cost in CPU time that was spent in user mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<f64>,
    /// The part that was spent in the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<f64>,
    /// How fast the load came through; where the contender is quick, bound by the load's core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
    /// Median latency in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<f64>,
    /// The latency that 99 % did not exceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<f64>,
    /// What the slowest single request took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowest_ms: Option<f64>,
    /// Requests sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// Requests that failed. Where failures are not what is measured, the first one ends the run
    /// instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
    /// Tunnels that stood and were cut: they cannot move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
    /// Resident memory after the round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident_kib: Option<u64>,
}

impl Sample {
    /// A sample with nothing but its cost.
    pub fn new(trial: &str, who: Who, cost: f64) -> Self {
        Self {
            trial: trial.to_owned(),
            who,
            cost,
            user: None,
            system: None,
            requests_per_second: None,
            p50_us: None,
            p99_us: None,
            slowest_ms: None,
            sent: None,
            failed: None,
            cut: None,
            resident_kib: None,
        }
    }
}

/// A whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// What it ran on.
    pub machine: String,
    /// Day of the run.
    pub date: String,
    /// Version of each program.
    pub versions: BTreeMap<String, String>,
    /// All rounds.
    pub samples: Vec<Sample>,
}

impl Results {
    /// Results without samples, of this machine.
    pub fn here() -> Self {
        let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = model
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map_or("?", |rest| rest.trim_start_matches([' ', '\t', ':']));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let programs = [("haproxy", "-v"), ("nginx", "-v"), ("squid", "-v")];
        let versions = programs
            .into_iter()
            .filter_map(|(program, flag)| Some((program.to_owned(), version(program, flag)?)));
        Self {
            machine: format!("{model}, {cores} cores, Linux {}", kernel.trim()),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            versions: versions.collect(),
            samples: Vec::new(),
        }
    }

    /// Those who took part in a trial, ours first.
    pub fn who(&self, trial: &str) -> Vec<Who> {
        let mut found = Vec::new();
        for sample in self.samples.iter().filter(|sample| sample.trial == trial) {
            if !found.contains(&sample.who) {
                found.push(sample.who);
            }
        }
        found.sort();
        found
    }

    /// What `value` takes from a contender's samples, in the order of the rounds.
    pub fn values(
        &self,
        trial: &str,
        who: Who,
        value: impl Fn(&Sample) -> Option<f64>,
    ) -> Vec<f64> {
        self.samples
            .iter()
            .filter(|sample| sample.trial == trial && sample.who == who)
            .filter_map(value)
            .collect()
    }

    /// The spread of that; none when there are no such samples.
    pub fn spread(
        &self,
        trial: &str,
        who: Who,
        value: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<Spread> {
        spread(self.values(trial, who, value))
    }
}

/// The first thing like a version that a program says of itself.
fn version(program: &str, flag: &str) -> Option<String> {
    let output = Command::new(format!("/usr/sbin/{program}")).arg(flag).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let mut words = text.split([' ', '/', '\n']).filter(|word| {
        word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.')
    });
    words.next().map(str::to_owned)
}
