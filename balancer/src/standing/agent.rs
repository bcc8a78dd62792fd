//! What an agent beside a server says of it, in the text protocol that HAProxy's documentation
//! describes for `agent-check`: one line of words, parted by blanks, tabs or commas. Pure.
//!
//! Operators are above agents, unlike in HAProxy, where whoever spoke last is right: `ready` takes
//! back what the agent itself has said, and not what somebody has asked for. A share above 100 %
//! is all of the weight.

use cluster::AdminState;

/// What it has said so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// `drain` or `maint`, until it says `ready`.
    pub admin: AdminState,
    /// Why it is down, in its own words, until it says `up`.
    pub down: Option<String>,
    /// Percent of its weight.
    pub percent: u8,
    /// Requests and tunnels that the server may have, if it has said so.
    pub maxconn: Option<u32>,
}

impl Default for Agent {
    fn default() -> Self {
        Self { admin: AdminState::Ready, down: None, percent: 100, maxconn: None }
    }
}

impl Agent {
    /// Takes a line into account. What it says nothing of stays.
    pub fn hear(&mut self, line: &str) {
        let (words, description) = line.split_once('#').unwrap_or((line, ""));
        let separators = |c: char| c.is_ascii_whitespace() || c == ',';
        for word in words.split(separators).filter(|word| !word.is_empty()) {
            match &*word.to_ascii_lowercase() {
                "ready" => self.admin = AdminState::Ready,
                "drain" => self.admin = AdminState::Drain,
                "maint" => self.admin = AdminState::Maintenance,
                "up" => self.down = None,
                why @ ("down" | "fail" | "failed" | "stopped") => {
                    let description = printable(description);
                    self.down = Some(match &*description {
                        "" => why.to_owned(),
                        _ => format!("{why}: {description}"),
                    });
                }
                other => self.hear_number(other),
            }
        }
    }

    /// Words that it does not know are for somebody else.
    fn hear_number(&mut self, word: &str) {
        if let Some(percent) = word.strip_suffix('%').and_then(|it| it.parse::<u32>().ok()) {
            self.percent = u8::try_from(percent.min(100)).unwrap_or(100);
        } else if let Some(most) = word.strip_prefix("maxconn:").and_then(|it| it.parse().ok()) {
            self.maxconn = Some(most).filter(|most| *most > 0);
        }
    }
}

fn printable(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_it_says_lasts_until_it_says_otherwise() {
        let mut agent = Agent::default();
        for (line, admin, down, percent) in [
            ("up 80%\n", AdminState::Ready, None, 80),
            ("", AdminState::Ready, None, 80),
            ("drain", AdminState::Drain, None, 80),
            ("maint,50%\r\n", AdminState::Maintenance, None, 50),
            ("UP\t100%", AdminState::Maintenance, None, 100),
            ("ready", AdminState::Ready, None, 100),
            ("down#disk is full", AdminState::Ready, Some("down: disk is full"), 100),
            ("75%", AdminState::Ready, Some("down: disk is full"), 75),
            ("stopped", AdminState::Ready, Some("stopped"), 75),
            ("fail # \u{7}bad", AdminState::Ready, Some("fail: bad"), 75),
            ("up ready 1000%", AdminState::Ready, None, 100),
            ("0%", AdminState::Ready, None, 0),
            ("nonsense -5% x% 7", AdminState::Ready, None, 0),
        ] {
            agent.hear(line);
            let found = (agent.admin, agent.down.as_deref(), agent.percent);
            assert_eq!(found, (admin, down, percent), "{line:?}");
        }
        agent.hear("maxconn:30");
        assert_eq!(agent.maxconn, Some(30));
        agent.hear("maxconn:0");
        assert_eq!(agent.maxconn, None);
    }

    proptest! {
        #[test]
        fn whatever_it_says_is_heard(line in "\\PC{0,80}") {
            let mut agent = Agent::default();
            agent.hear(&line);
            prop_assert!(agent.percent <= 100);
        }
    }
}
