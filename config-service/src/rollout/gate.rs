//! Whether a node holds up the stage that it belongs to. Pure: what is known of it and `now` in, a
//! verdict out.

use super::NodeState;
use super::plan::{Absent, Gate};
use cluster_config::Problem;
use jiff::Timestamp;
use std::time::Duration;

/// What is known of a node that belongs to a stage.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Where it stands.
    pub state: NodeState,
    pub since: Timestamp,
    /// Whether it is connected.
    pub connected: bool,
    /// Whether it has passed this gate before.
    pub soaked: bool,
    /// Why it refused.
    pub problems: &'a [Problem],
}

/// What follows for a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The gate does not wait for it.
    Passed,
    /// The gate waits for it, and looks again at this time if nothing happens before.
    Waits(Option<Timestamp>),
    /// It is not waited for any longer, and gets the revision when it is back.
    PassedOver,
    /// It ends the rollout.
    Fails(Why),
}

/// Why a node ends a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It said no.
    Refused {
        /// The first of its reasons.
        reason: String,
    },
    /// It is connected and says nothing.
    Silent {
        /// For this long.
        within: Duration,
    },
    /// It went away after it got it.
    Away {
        /// For this long.
        within: Duration,
    },
}

impl std::fmt::Display for Why {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |within: &Duration| cluster_config::units::format_duration(*within);
        match self {
            Self::Refused { reason } => write!(formatter, "refused it: {reason}"),
            Self::Silent { within } => write!(formatter, "did not answer within {}", shown(within)),
            Self::Away { within } => write!(
                formatter,
                "went away after it got it, and was not back within {}",
                shown(within)
            ),
        }
    }
}

impl Gate {
    /// What follows for one member.
    #[must_use]
    pub fn judge(&self, member: &Member<'_>, now: Timestamp) -> Verdict {
        let answers_by = later(member.since, self.acknowledge);
        let late = answers_by <= now;
        match member.state {
            NodeState::Rejected => Verdict::Fails(Why::Refused {
                reason: member.problems.first().map(Problem::reason).unwrap_or_default(),
            }),
            NodeState::Gone | NodeState::Reverted => Verdict::Passed,
            NodeState::Applied => self.soaks(member, now),
            // Others come first.
            NodeState::Waiting if member.connected => Verdict::Waits(None),
            NodeState::Waiting | NodeState::Assigned if !late => Verdict::Waits(Some(answers_by)),
            NodeState::Waiting => Verdict::PassedOver,
            NodeState::Assigned if member.connected => {
                Verdict::Fails(Why::Silent { within: self.acknowledge })
            }
            NodeState::Assigned => match self.absent {
                Absent::Awaited => Verdict::Fails(Why::Away { within: self.acknowledge }),
                Absent::PassedOver => Verdict::PassedOver,
            },
        }
    }

    fn soaks(&self, member: &Member<'_>, now: Timestamp) -> Verdict {
        let until = later(member.since, self.soak);
        match self.absent {
            _ if member.soaked => Verdict::Passed,
            // Whoever is passed over when it goes away need not be there either.
            Absent::PassedOver if until <= now => Verdict::Passed,
            Absent::Awaited if until <= now && member.connected => Verdict::Passed,
            _ if until > now => Verdict::Waits(Some(until)),
            _ => Verdict::Waits(None),
        }
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(jiff::SignedDuration::try_from(by).unwrap_or(jiff::SignedDuration::MAX))
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_holds_its_stage_up_or_not() {
        use Absent::{Awaited, PassedOver};
        use NodeState::{Applied, Assigned, Gone, Rejected, Waiting};
        let seconds = Duration::from_secs;
        let at = |second| Timestamp::from_second(second).expect("in range");
        let waits = |second| Verdict::Waits(Some(at(second)));
        let silent = || Verdict::Fails(Why::Silent { within: seconds(15) });
        let away = || Verdict::Fails(Why::Away { within: seconds(15) });
        // Everything since second 100; the time to answer is 15 s, the soak 5 s.
        for (absent, state, connected, now, expected) in [
            (Awaited, Assigned, true, 114, waits(115)),
            (Awaited, Assigned, true, 115, silent()),
            (Awaited, Assigned, false, 114, waits(115)),
            (Awaited, Assigned, false, 115, away()),
            (Awaited, Applied, true, 104, waits(105)),
            (Awaited, Applied, true, 105, Verdict::Passed),
            (Awaited, Applied, false, 105, Verdict::Waits(None)),
            (Awaited, Waiting, true, 200, Verdict::Waits(None)),
            (PassedOver, Assigned, true, 115, silent()),
            (PassedOver, Assigned, false, 115, Verdict::PassedOver),
            (PassedOver, Waiting, false, 114, waits(115)),
            (PassedOver, Waiting, false, 115, Verdict::PassedOver),
            (PassedOver, Applied, true, 104, waits(105)),
            (PassedOver, Applied, false, 105, Verdict::Passed),
            (PassedOver, Gone, false, 101, Verdict::Passed),
            (Awaited, Rejected, true, 101, Verdict::Fails(Why::Refused { reason: String::new() })),
        ] {
            let gate = Gate { acknowledge: seconds(15), soak: seconds(5), absent };
            let member = Member { state, since: at(100), connected, soaked: false, problems: &[] };
            assert_eq!(
                gate.judge(&member, at(now)),
                expected,
                "{absent:?} {state:?} connected: {connected} at {now}"
            );
        }
        let gate = Gate { acknowledge: seconds(15), soak: seconds(5), absent: Awaited };
        let member = Member {
            state: Applied,
            since: at(100),
            connected: false,
            soaked: true,
            problems: &[],
        };
        assert_eq!(gate.judge(&member, at(100)), Verdict::Passed, "what has soaked has soaked");
    }

    #[test]
    fn why_in_words() {
        let within = Duration::from_secs(15);
        for (why, words) in [
            (Why::Refused { reason: "port in use".to_owned() }, "refused it: port in use"),
            (Why::Silent { within }, "did not answer within 15s"),
            (Why::Away { within }, "went away after it got it, and was not back within 15s"),
        ] {
            assert_eq!(why.to_string(), words);
        }
    }
}
