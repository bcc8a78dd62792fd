//! Every kept input, and a bounded number of mutations of them, through every target, in every test
//! run.
//!
//! The mutations are the same in every run, so that a failure is a finding and not luck;
//! `FUZZ_SEED=7 FUZZ_EXECUTIONS=1000000 cargo test --release -p fuzz` looks further. Whatever
//! breaks a property is written to a file that the failure names: put it into the corpus, and it is
//! a regression test.

use std::{collections::BTreeMap, env, fs, panic, path::PathBuf};

use fuzz::{TARGETS, Target, mutate::Mutator};

fn corpus_of(target: &Target) -> BTreeMap<String, Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let files =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files
        .map(|entry| {
            let path = entry.expect("the folder can be read").path();
            (
                path.file_name().expect("a name").to_string_lossy().into_owned(),
                fs::read(&path).expect("a kept input can be read"),
            )
        })
        .collect()
}

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    env::var(name)
        .ok()
        .map(|text| text.parse().ok().unwrap_or_else(|| panic!("{name}={text} is no number")))
}

/// Runs one input; a broken property fails the test and leaves the input behind.
fn run(target: &Target, input: &[u8], origin: &str) {
    if panic::catch_unwind(|| (target.check)(input)).is_err() {
        let path =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-broken", target.name));
        fs::write(&path, input).expect("the input can be kept");
        panic!(
            "{origin} breaks a property of {}; it is in {}:\n{:?}",
            target.name,
            path.display(),
            String::from_utf8_lossy(input)
        );
    }
}

fn replay_and_mutate(name: &str) {
    let target = fuzz::target(name).expect("a target");
    let corpus = corpus_of(&target);
    for (file, input) in &corpus {
        run(&target, input, &format!("corpus/{name}/{file}"));
    }
    let kept: Vec<Vec<u8>> = corpus.into_values().collect();
    let seed = from_environment("FUZZ_SEED").unwrap_or(1);
    let executions = from_environment("FUZZ_EXECUTIONS").unwrap_or(target.executions);
    let mut mutator = Mutator::new(seed, &kept, target.words);
    for execution in 0..executions {
        run(&target, &mutator.input(), &format!("mutation {execution} of seed {seed}"));
    }
    println!("{name}: {} kept inputs, {executions} mutations", kept.len());
}

macro_rules! tests {
    ($($name:ident)+) => {
        const NAMES: &[&str] = &[$(stringify!($name)),+];
        $(#[test] fn $name() { replay_and_mutate(stringify!($name)); })+
    };
}

tests! {
    request_head response_head chunked proxy_protocol client_hello forwarded cache url dns bundle
    list wire resume_token vrrp
}

/// A target without a test, a test without a target, a folder that nobody reads, a corpus too large
/// to be kept.
#[test]
fn every_target_has_its_test_and_its_corpus() {
    let targets: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(targets, NAMES);
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut folders: Vec<String> = fs::read_dir(corpus)
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    folders.sort();
    let mut names = NAMES.to_vec();
    names.sort_unstable();
    assert_eq!(folders, names);
    for target in TARGETS {
        let kept = corpus_of(&target);
        let bytes: usize = kept.values().map(Vec::len).sum();
        assert!(
            (1..=300).contains(&kept.len()) && bytes <= 1 << 20,
            "{}: {} files, {bytes} bytes",
            target.name,
            kept.len()
        );
    }
}
