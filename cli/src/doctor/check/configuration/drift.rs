//! Who is not in step with the released revision, and why.

use super::{CHECK, FOLLOWS};
use crate::doctor::{
    facts::{Facts, Process},
    finding::{
        Finding,
        Severity::{Info, Warning},
    },
};

/// Why a node has not taken a configuration, as far as it decides what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Its disk is full: the bundle is right.
    Disk,
    /// It did not survive it, or was ended by somebody soon after, and refuses it since.
    Crash,
    /// It is not connected to the config-service.
    Away,
    /// It has not answered yet.
    Waiting,
    /// It was told why not: the bundle does not fit it.
    Bundle,
}

/// Reads it in the words of the config-service and of nodes, which tell it in no other way.
pub(super) fn cause(why: &str) -> Cause {
    let says = |words: &[&str]| words.iter().any(|words| why.contains(words));
    if says(&["No space left on device", "Disk quota exceeded", "free some space"]) {
        Cause::Disk
    } else if says(&["did not survive", "will not take this again"]) {
        Cause::Crash
    } else if says(&["not connected", "went away", "cannot reach the config-service"]) {
        Cause::Away
    } else if says(&["not answered yet", "did not answer", "nothing is assigned"]) {
        Cause::Waiting
    } else {
        Cause::Bundle
    }
}

pub(super) fn not_in_step(facts: &Facts, name: &str, why: &str) -> Finding {
    let (severity, remedy) = match cause(why) {
        Cause::Disk => (Warning, format!("make room on the disk of its data dir; {}", again(""))),
        Cause::Crash => (Warning, retry(name)),
        // That it is away is a finding of its own.
        Cause::Away if facts.process(name).is_none_or(Process::is_away) => {
            (Info, "none: it gets its configuration when it is back".to_owned())
        }
        Cause::Away => (
            Warning,
            "see whether it reaches the config-service, and its log; it gets its \
                configuration by itself then"
                .to_owned(),
        ),
        Cause::Waiting => (Warning, FOLLOWS.to_owned()),
        Cause::Bundle => (
            Warning,
            "mend what it complains of, there or in the bundle, and apply that: `shoal \
                config apply DIR`"
                .to_owned(),
        ),
    };
    let why = if why.is_empty() { "it does not run what it was assigned" } else { why };
    Finding::new(severity, CHECK, name, format!("not in step: {why}"), remedy)
}

pub(super) fn failed_rollout(revision: &str, why: &str) -> Finding {
    let remedy = match cause(why) {
        Cause::Disk => {
            format!("the bundle is right: make room on that disk; {}", again("the same"))
        }
        Cause::Crash => {
            let node = why
                .split(" refused it")
                .next()
                .and_then(|who| who.rsplit(' ').next())
                .unwrap_or("NAME");
            format!("{}; {}", retry(node), again("the same"))
        }
        Cause::Away | Cause::Waiting => {
            format!("see the findings about that process; when it is well, {}", again("the same"))
        }
        Cause::Bundle => {
            "mend the bundle and apply it again; `shoal config rollout` shows each process's answer"
                .to_owned()
        }
    };
    Finding::new(
        Warning,
        CHECK,
        "config-service",
        format!("the last rollout, of revision {revision}, failed: {why}"),
        remedy,
    )
}

/// An unchanged bundle whose rollout failed is rolled out once more.
pub(super) fn again(which: &str) -> String {
    format!(
        "then apply {} bundle once more: `shoal config apply DIR`",
        if which.is_empty() { "the" } else { which }
    )
}

pub(super) fn retry(name: &str) -> String {
    format!(
        "if it was ended for another reason (kill -9, out of memory): `shoal config retry {name}`; \
         if it crashed, see its log and mend the bundle"
    )
}
