//! What was measured, as it is written to the JSON and read again for the report.

use std::{collections::BTreeMap, fs, process::Command};

use serde::{Deserialize, Serialize};

use crate::contender::Who;

/// One round of one contender.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Name of the trial.
    pub trial: String,
    /// Whose turn it was.
    pub who: Who,
    /// In the trial's unit; whole process tree.
    pub cost: f64,
    /// How fast the load came through; where the contender is quick, bound by the load's core.
    pub requests_per_second: Option<f64>,
    /// Median latency in microseconds.
    pub p50_us: Option<f64>,
    /// The latency that 99 % did not exceed.
    pub p99_us: Option<f64>,
    /// Resident memory after the round.
    pub resident_kib: u64,
}

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// What it ran on.
    pub machine: String,
    /// Version of each program.
    pub versions: BTreeMap<String, String>,
    /// All rounds.
    pub samples: Vec<Sample>,
}

/// Median with its spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The value in the middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
}

impl Results {
    /// Results without samples, of this machine.
    pub fn here() -> Self {
        let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model =
            model.lines().find_map(|line| line.strip_prefix("model name")).map_or("?", |rest| rest.trim_start_matches([' ', '\t', ':']));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let programs = [("haproxy", "-v"), ("nginx", "-v"), ("squid", "-v")];
        let versions = programs.into_iter().filter_map(|(program, flag)| Some((program.to_owned(), version(program, flag)?)));
        Self { machine: format!("{model}, {cores} cores, Linux {}", kernel.trim()), versions: versions.collect(), samples: Vec::new() }
    }

    /// Those who took part in a trial, in the order in which they did.
    pub fn who(&self, trial: &str) -> Vec<Who> {
        let mut found = Vec::new();
        for sample in self.samples.iter().filter(|sample| sample.trial == trial) {
            if !found.contains(&sample.who) {
                found.push(sample.who);
            }
        }
        found
    }

    /// The spread of what `value` takes from a contender's samples; none when there are none.
    pub fn spread(&self, trial: &str, who: Who, value: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
        let samples = self.samples.iter().filter(|sample| sample.trial == trial && sample.who == who);
        spread(samples.filter_map(value).collect())
    }
}

fn spread(mut values: Vec<f64>) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    let median = if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], upper) } else { upper };
    Some(Spread { median, least: values[0], greatest: values[values.len() - 1] })
}

/// The first thing like a version that a program says of itself.
fn version(program: &str, flag: &str) -> Option<String> {
    let output = Command::new(format!("/usr/sbin/{program}")).arg(flag).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let mut words =
        text.split([' ', '/', '\n']).filter(|word| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.'));
    words.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{Spread, spread};

    #[test]
    fn medians_of_odd_even_and_no_samples() {
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, greatest: 3.0 }));
        assert_eq!(spread(vec![4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, least: 1.0, greatest: 4.0 }));
        assert_eq!(spread(Vec::new()), None);
    }
}
