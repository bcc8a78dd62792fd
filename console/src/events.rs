//! What happened, as the difference between two views. Pure.

use std::collections::BTreeMap;

use cluster::{AdminState, InstanceStatus};
use jiff::Timestamp;

use crate::{
    configuration::{Rollout, RolloutState},
    look::{self, Look},
    traffic::Standing,
    view::View,
};

/// How many are remembered.
pub const MOST: usize = 200;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When the console saw it.
    pub at: Timestamp,
    /// How it looks.
    pub look: Look,
    /// Whom it is about.
    pub subject: String,
    /// What, in words.
    pub text: String,
}

/// What happened between two views, in a stable order. Nothing, when there was none before.
#[must_use]
pub fn between(before: &View, after: &View) -> Vec<Event> {
    let mut log = Log { at: after.at, events: Vec::new() };
    // The first view has everything appear at once; that is no news.
    if !before.cluster_id.is_empty() {
        instances(before, after, &mut log);
        guards(before, after, &mut log);
    }
    servers(before, after, &mut log);
    configuration(before, after, &mut log);
    checks(before, after, &mut log);
    sources(before, after, &mut log);
    log.events
}

/// Puts new events before the old ones, and forgets the oldest.
#[must_use]
pub fn remember(old: &[Event], mut new: Vec<Event>) -> Vec<Event> {
    new.extend_from_slice(old);
    new.truncate(MOST);
    new
}

struct Log {
    at: Timestamp,
    events: Vec<Event>,
}

impl Log {
    fn push(&mut self, look: Look, subject: &str, text: impl Into<String>) {
        self.events.push(Event {
            at: self.at,
            look,
            subject: subject.to_owned(),
            text: text.into(),
        });
    }
}

fn because(status: &InstanceStatus) -> String {
    status.reasons.first().map(|reason| format!(": {reason}")).unwrap_or_default()
}

fn instances(before: &View, after: &View, log: &mut Log) {
    let known: BTreeMap<_, _> =
        before.instances.iter().map(|status| (&status.instance.name, status)).collect();
    for status in &after.instances {
        let (name, look) = (&status.instance.name, look::state(status.state));
        let Some(old) = known.get(name) else {
            log.push(look, name, format!("joined as a {}, {}", status.instance.service, look.word));
            continue;
        };
        if old.instance.id != status.instance.id {
            log.push(look::state(cluster::State::Starting), name, "was started again");
        }
        if old.admin_state != status.admin_state {
            log.push(look, name, asked(status.admin_state));
        }
        if old.state != status.state {
            log.push(
                look,
                name,
                format!("is {}, was {}{}", look.word, look::state(old.state).word, because(status)),
            );
        }
        if old.instance.applied_revision != status.instance.applied_revision
            && !status.instance.applied_revision.is_empty()
        {
            log.push(look, name, format!("applied revision {}", status.instance.applied_revision));
        }
        if old.effective_weight != status.effective_weight {
            log.push(
                look,
                name,
                format!("has weight {}, had {}", status.effective_weight, old.effective_weight),
            );
        }
    }
    for name in known.into_keys().filter(|name| after.instance(name).is_none()) {
        log.push(look::state(cluster::State::Lost), name, "left");
    }
}

const fn asked(wanted: AdminState) -> &'static str {
    match wanted {
        AdminState::Ready => "was enabled",
        AdminState::Drain => "was asked to drain",
        AdminState::Maintenance => "was disabled",
    }
}

fn guards(before: &View, after: &View, log: &mut Log) {
    let holding = |view: &View, service| {
        view.guards.iter().any(|guard| guard.service == service && guard.holding)
    };
    for guard in &after.guards {
        let (was, subject) = (holding(before, guard.service), guard.service.as_str());
        if guard.holding && !was {
            log.push(
                look::state(cluster::State::Critical),
                subject,
                format!("losses are held back: {}", guard.explanation),
            );
        } else if was && !guard.holding {
            log.push(
                look::state(cluster::State::Usable),
                subject,
                "losses are no longer held back",
            );
        }
    }
}

fn servers(before: &View, after: &View, log: &mut Log) {
    for (balancer, stats) in &after.balancers {
        let Some(old) = before.balancers.get(balancer) else { continue };
        for pool in &stats.backends {
            let Some(old) = old.backends.iter().find(|old| old.name == pool.name) else { continue };
            for server in &pool.servers {
                let was =
                    old.servers.iter().find(|old| old.name == server.name).map(|old| old.standing);
                let Some(was) =
                    was.filter(|was| *was != server.standing && *was != Standing::Unknown)
                else {
                    continue;
                };
                let look = look::standing(server.standing);
                let why =
                    server.reasons.first().map(|reason| format!(": {reason}")).unwrap_or_default();
                log.push(
                    look,
                    &server.name,
                    format!("{} for {balancer}, was {}{why}", look.word, look::standing(was).word),
                );
            }
        }
    }
}

fn configuration(before: &View, after: &View, log: &mut Log) {
    let (old, new) = (&before.configuration, &after.configuration);
    let newest = old.revisions.first().map_or(0, |revision| revision.number);
    if newest > 0 {
        for revision in new.revisions.iter().rev().filter(|revision| revision.number > newest) {
            let text = format!(
                "revision {} by {}: {}",
                revision.number, revision.author, revision.message
            );
            log.push(look::rollout(RolloutState::Spreading), "configuration", text);
        }
    }
    let Some(rollout) = &new.rollout else { return };
    let (Some(was), true) = (&old.rollout, !old.revisions.is_empty()) else { return };
    if was.id != rollout.id || was.state != rollout.state {
        log.push(look::rollout(rollout.state), "configuration", rollout_text(rollout));
    }
}

fn rollout_text(rollout: &Rollout) -> String {
    let why = if rollout.explanation.is_empty() {
        String::new()
    } else {
        format!(": {}", rollout.explanation)
    };
    format!(
        "rollout of revision {} is {}{why}",
        rollout.revision.number,
        look::rollout(rollout.state).word
    )
}

/// Checkers that come to the same at the same time say it once.
fn checks(before: &View, after: &View, log: &mut Log) {
    let mut turned: BTreeMap<(&str, &str, bool), (Vec<&str>, &str)> = BTreeMap::new();
    for (checker, findings) in &after.checks {
        let Some(old) = before.checks.get(checker) else { continue };
        for finding in findings.iter() {
            let same = |old: &&crate::traffic::Finding| {
                (&old.check, &old.target) == (&finding.check, &finding.target)
            };
            let was = old.iter().find(same).and_then(|old| old.passing);
            if let (Some(was), Some(passing)) = (was, finding.passing)
                && was != passing
            {
                let (checkers, detail) =
                    turned.entry((&finding.target, &finding.check, passing)).or_default();
                checkers.push(checker);
                *detail = &finding.detail;
            }
        }
    }
    for ((target, check, passing), (checkers, detail)) in turned {
        let look = look::passing(Some(passing));
        let detail =
            if passing || detail.is_empty() { String::new() } else { format!(": {detail}") };
        log.push(
            look,
            target,
            format!("check {check} is {} for {}{detail}", look.word, checkers.join(", ")),
        );
    }
}

fn sources(before: &View, after: &View, log: &mut Log) {
    for (name, source) in &after.sources {
        let was = before.sources.get(name).is_some_and(|old| old.silent_since(before.at).is_some());
        let is = source.silent_since(after.at).is_some();
        if is && !was {
            let why = source.failure.as_deref().unwrap_or_default();
            log.push(
                look::state(cluster::State::Lost),
                name,
                format!("does not answer the console: {why}"),
            );
        } else if was && !is {
            log.push(look::state(cluster::State::Usable), name, "answers the console again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cluster::State;

    use super::*;
    use crate::sample;

    fn texts(before: &View, after: &View) -> Vec<String> {
        between(before, after)
            .into_iter()
            .map(|event| format!("{} {}", event.subject, event.text))
            .collect()
    }

    #[test]
    fn nothing_happened() {
        let view = sample::view();
        assert_eq!(texts(&view, &view), Vec::<String>::new());
        assert_eq!(
            texts(&View::default(), &view),
            Vec::<String>::new(),
            "the first look is no news"
        );
    }

    #[test]
    fn what_happens_to_an_instance() {
        let before = sample::view();
        for (change, expected) in [
            (
                (|status: &mut InstanceStatus| {
                    status.state = State::Critical;
                    status.reasons = vec!["2 of 3 checkers find it critical".into()];
                }) as fn(&mut InstanceStatus),
                "proxy-node-1 is critical, was usable: 2 of 3 checkers find it critical",
            ),
            (|status| status.admin_state = AdminState::Drain, "proxy-node-1 was asked to drain"),
            (
                |status| status.instance.id.0 = chassis::random::id(),
                "proxy-node-1 was started again",
            ),
            (
                |status| status.instance.applied_revision = "beef".into(),
                "proxy-node-1 applied revision beef",
            ),
            (|status| status.effective_weight = 7, "proxy-node-1 has weight 7, had 1"),
        ] {
            let mut after = before.clone();
            let status = after
                .instances
                .iter_mut()
                .find(|status| status.instance.name == "proxy-node-1")
                .unwrap();
            change(Arc::make_mut(status));
            assert_eq!(texts(&before, &after), [expected]);
        }
        let mut after = before.clone();
        after.instances.retain(|status| status.instance.name != "proxy-node-2");
        assert_eq!(texts(&before, &after), ["proxy-node-2 left"]);
        assert_eq!(texts(&after, &before), ["proxy-node-2 joined as a proxy-node, usable"]);
    }

    #[test]
    fn what_happens_elsewhere() {
        let before = sample::view();
        let mut after = before.clone();
        let stats = Arc::make_mut(after.balancers.get_mut("balancer-1").unwrap());
        stats.backends[0].servers[1].standing = Standing::Unwell;
        stats.backends[0].servers[1].reasons = vec!["connection refused".into()];
        Arc::make_mut(after.checks.get_mut("health-checker-1").unwrap())[0].passing = Some(false);
        Arc::make_mut(&mut after.configuration).rollout.as_mut().unwrap().state =
            RolloutState::Failed;
        let source = after.sources.get_mut("registry").unwrap();
        source.failure = Some("connection refused".into());
        source.answered_at = Some(after.at - jiff::SignedDuration::from_secs(30));
        let found = texts(&before, &after);
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(
            found[0].contains("proxy-node-2 unwell for balancer-1, was usable: connection refused"),
            "{found:?}"
        );
        assert!(found[1].contains("rollout of revision 2 is failed"), "{found:?}");
        assert!(found[2].contains("check port is failing for health-checker-1"), "{found:?}");
        assert!(
            found[3].contains("registry does not answer the console: connection refused"),
            "{found:?}"
        );
        assert_eq!(texts(&after, &before).last().unwrap(), "registry answers the console again");
    }

    #[test]
    fn checkers_that_find_the_same_say_it_once() {
        let mut before = sample::view();
        before
            .checks
            .insert("health-checker-2".into(), Arc::clone(&before.checks["health-checker-1"]));
        let mut after = before.clone();
        for findings in after.checks.values_mut() {
            let finding = &mut Arc::make_mut(findings)[0];
            (finding.passing, finding.detail) = (Some(false), "no answer".into());
        }
        assert_eq!(
            texts(&before, &after),
            ["proxy-node-1 check port is failing for health-checker-1, health-checker-2: no \
                 answer"]
        );
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let event = |text: usize| Event {
            at: Timestamp::UNIX_EPOCH,
            look: look::UNKNOWN,
            subject: String::new(),
            text: text.to_string(),
        };
        let old: Vec<_> = (0..MOST).map(event).collect();
        let kept = remember(&old, vec![event(MOST)]);
        assert_eq!((kept.len(), kept[0].text.as_str(), kept[1].text.as_str()), (MOST, "200", "0"));
    }
}
