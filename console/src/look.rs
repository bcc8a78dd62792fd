//! How a state looks: a word, a shape and a colour's class, so that none of them is needed alone.

use cluster::State;

use crate::{
    configuration::{AnswerState, RolloutState},
    traffic::Standing,
};

/// A word, a shape and a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Class of the style sheet: `good`, `warn`, `bad`, `gone`, `asked`, `new`, `none`.
    pub class: &'static str,
    pub shape: &'static str,
    /// As the rest of Shoal calls it.
    pub word: &'static str,
}

const fn look(class: &'static str, shape: &'static str, word: &'static str) -> Look {
    Look { class, shape, word }
}

pub const UNKNOWN: Look = look("none", "?", "unknown");

/// Of an instance.
#[must_use]
pub const fn state(state: State) -> Look {
    match state {
        State::Starting => look("new", "◌", "starting"),
        State::Usable => look("good", "●", "usable"),
        State::Suspect => look("warn", "▲", "suspect"),
        State::Critical => look("bad", "✖", "critical"),
        State::Lost => look("gone", "○", "lost"),
        State::Draining => look("asked", "▼", "draining"),
        State::Maintenance => look("asked", "■", "maintenance"),
    }
}

/// Of an instance when the registry was heard last, and is not now.
#[must_use]
pub const fn was(state: State) -> Look {
    look(
        "none",
        "?",
        match state {
            State::Starting => "was starting",
            State::Usable => "was usable",
            State::Suspect => "was suspect",
            State::Critical => "was critical",
            State::Lost => "was lost",
            State::Draining => "was draining",
            State::Maintenance => "was in maintenance",
        },
    )
}

/// Of a registry that does not answer.
pub const SILENT: Look = look("bad", "✖", "silent");

/// Of a server in a balancer's eyes.
#[must_use]
pub const fn standing(standing: Standing) -> Look {
    match standing {
        Standing::Usable => look("good", "●", "usable"),
        Standing::Last => look("warn", "▲", "last"),
        Standing::Unwell => look("bad", "✖", "unwell"),
        Standing::Excluded => look("asked", "▼", "excluded"),
        Standing::Unknown => UNKNOWN,
    }
}

/// Of a rollout.
#[must_use]
pub const fn rollout(state: RolloutState) -> Look {
    match state {
        RolloutState::Unknown => UNKNOWN,
        RolloutState::Trying => look("new", "◌", "trying"),
        RolloutState::Spreading => look("new", "◔", "spreading"),
        RolloutState::Paused => look("asked", "■", "paused"),
        RolloutState::Done => look("good", "●", "done"),
        RolloutState::Failed => look("bad", "✖", "failed"),
        RolloutState::Aborted => look("warn", "▲", "aborted"),
    }
}

/// Of a node's answer to an assignment.
#[must_use]
pub const fn answer(state: AnswerState) -> Look {
    match state {
        AnswerState::Unknown => UNKNOWN,
        AnswerState::Waiting => look("none", "◌", "waiting"),
        AnswerState::Assigned => look("new", "◔", "assigned"),
        AnswerState::Applied => look("good", "●", "applied"),
        AnswerState::Rejected => look("bad", "✖", "rejected"),
        AnswerState::Reverted => look("warn", "▲", "reverted"),
        AnswerState::Gone => look("gone", "○", "gone"),
    }
}

/// Of a check after rise and fall.
#[must_use]
pub const fn passing(passing: Option<bool>) -> Look {
    match passing {
        Some(true) => look("good", "●", "passing"),
        Some(false) => look("bad", "✖", "failing"),
        None => look("none", "◌", "not yet"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn states_differ_without_their_colours() {
        let all = [
            State::Starting,
            State::Usable,
            State::Suspect,
            State::Critical,
            State::Lost,
            State::Draining,
            State::Maintenance,
        ];
        let looks: Vec<_> = all.into_iter().map(state).collect();
        assert_eq!(looks.iter().map(|look| look.shape).collect::<BTreeSet<_>>().len(), all.len());
        assert_eq!(looks.iter().map(|look| look.word).collect::<BTreeSet<_>>().len(), all.len());
    }
}
