//! Who is not in step with the released revision, and why.

use proto::config::Cause;

use super::{CHECK, FOLLOWS};
use crate::doctor::{
    facts::{Drift, Facts, FailedRollout, Process},
    finding::{
        Finding,
        Severity::{Info, Warning},
    },
};

pub(super) fn not_in_step(facts: &Facts, drift: &Drift) -> Finding {
    let Drift { name, cause, why } = drift;
    let (severity, remedy) = match cause {
        Cause::Disk => (Warning, format!("make room on the disk of its data dir; {}", again(""))),
        Cause::Crashed => (Warning, retry(name)),
        // That it is away is a finding of its own.
        Cause::NotConnected if facts.process(name).is_none_or(Process::is_away) => {
            (Info, "none: it gets its configuration when it is back".to_owned())
        }
        Cause::NotConnected => (
            Warning,
            "see whether it reaches the config-service, and its log; it gets its \
                configuration by itself then"
                .to_owned(),
        ),
        Cause::NoAnswer => (Warning, FOLLOWS.to_owned()),
        Cause::Unspecified => (
            Warning,
            "mend what it complains of, there or in the bundle, and apply that: `shoal \
                config apply DIR`"
                .to_owned(),
        ),
    };
    let why = if why.is_empty() { "it does not run what it was assigned" } else { why.as_str() };
    Finding::new(severity, CHECK, name, format!("not in step: {why}"), remedy)
}

pub(super) fn failed_rollout(failed: &FailedRollout) -> Finding {
    let remedy = match &failed.refused {
        Some((_, Cause::Disk)) => {
            format!("the bundle is right: make room on that disk; {}", again("the same"))
        }
        Some((node, Cause::Crashed)) => format!("{}; {}", retry(node), again("the same")),
        None | Some((_, Cause::NotConnected | Cause::NoAnswer)) => {
            format!("see the findings about that process; when it is well, {}", again("the same"))
        }
        Some((_, Cause::Unspecified)) => {
            "mend the bundle and apply it again; `shoal config rollout` shows each process's answer"
                .to_owned()
        }
    };
    Finding::new(
        Warning,
        CHECK,
        "config-service",
        format!("the last rollout, of revision {}, failed: {}", failed.revision, failed.why),
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
