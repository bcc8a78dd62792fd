//! What is wanted of a server, and the words for it.

use std::net::IpAddr;

use cluster::{AdminState, instance::MAX_WEIGHT};

use super::{Command, Error, Target};

/// What is wanted of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// With the word that has it done although nobody usable would be left.
    State {
        admin: AdminState,
        force: bool,
    },
    Weight(Weight),
    /// Requests and tunnels at a time; 0: any number.
    Maxconn(u32),
    Address {
        ip: IpAddr,
        port: Option<u16>,
    },
    /// Well or not, until checks say otherwise.
    Health(bool),
    /// Own checks go on, or rest.
    Checks(bool),
    /// Agent checks go on, or rest, or have said something.
    Agent(AgentChange),
}

/// What is wanted of the agent check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentChange {
    On,
    Off,
    /// That it is up, or down.
    Said(bool),
}

/// A share of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Absolute(u32),
    /// Per cent of the one it began with.
    Relative(u32),
}

impl Weight {
    /// The weight that is meant, for a server that began with this one.
    #[must_use]
    pub fn of(self, initial: u32) -> u32 {
        match self {
            Self::Absolute(weight) => weight,
            Self::Relative(percent) => {
                let weight = u64::from(initial) * u64::from(percent) / 100;
                u32::try_from(weight).unwrap_or(MAX_WEIGHT).min(MAX_WEIGHT)
            }
        }
    }
}

pub(super) const USAGE: &str = "usage: set server <backend>/<server> addr | agent | agent-addr | \
     agent-port | agent-send | check-addr | check-port | fqdn | health | ssl | state | weight";
pub(super) const STATES: &str = "'set server <srv> state' expects 'ready', 'drain' and 'maint'.";
pub(super) const HEALTH: &str = "'set server <srv> health' expects 'up', 'stopping', or 'down'.";
pub(super) const AGENT: &str = "'set server <srv> agent' expects 'up' or 'down'.";
const TARGET: &str = "Require 'backend/server'.";
pub(super) const WEIGHT: &str = "Require <weight> or <weight%>.";
pub(super) const GARBAGE: &str = "Empty weight string empty or preceded by garbage";
pub(super) const ABSOLUTE: &str = "Absolute weight can only be between 0 and 256 inclusive.";
pub(super) const RELATIVE: &str = "Relative weight must be positive.";
pub(super) const NO_CHANGE: &str =
    "set server <b>/<s> addr requires an address and optionally a port.";
const PORT: &str = "no need to change the addr, problem converting port to an int by 'stats socket \
     command'";

pub(super) fn target(words: &[&str]) -> Result<Target, Error> {
    let (backend, server) = words
        .first()
        .and_then(|word| word.split_once('/'))
        .filter(|(backend, server)| !backend.is_empty() && !server.is_empty())
        .ok_or(Error::Usage(TARGET))?;
    Ok(Target { backend: backend.to_owned(), server: server.to_owned() })
}

pub(super) fn switch(what: &str, on: bool, rest: &[&str]) -> Result<Command, Error> {
    let target = target(rest)?;
    let setting = match what {
        "health" => Setting::Checks(on),
        "agent" => Setting::Agent(if on { AgentChange::On } else { AgentChange::Off }),
        _ => Setting::State {
            admin: if on { AdminState::Ready } else { AdminState::Maintenance },
            force: rest.get(1) == Some(&"force"),
        },
    };
    Ok(Command::Set(target, setting))
}

/// What `set …` wants of a server. As in HAProxy the server is looked for first, then that.
pub(super) fn set(
    words: &[&str],
    setting: impl FnOnce(&[&str]) -> Result<Setting, Error>,
) -> Result<Command, Error> {
    let target = target(words)?;
    match setting(words.get(1..).unwrap_or_default()) {
        Ok(setting) => Ok(Command::Set(target, setting)),
        Err(error) => Err(Error::OfServer { target, error: Box::new(error) }),
    }
}

pub(super) fn of_server(words: &[&str]) -> Result<Setting, Error> {
    let setting = match words {
        ["state", rest @ ..] => {
            let admin = match rest.first() {
                Some(&"ready") => AdminState::Ready,
                Some(&"drain") => AdminState::Drain,
                Some(&"maint") => AdminState::Maintenance,
                _ => return Err(Error::Usage(STATES)),
            };
            Setting::State { admin, force: rest.get(1) == Some(&"force") }
        }
        ["weight", rest @ ..] => Setting::Weight(weight(rest)?),
        ["addr", rest @ ..] => address(rest)?,
        ["health", rest @ ..] => match rest.first() {
            Some(&"up") => Setting::Health(true),
            Some(&"down") => Setting::Health(false),
            Some(&"stopping") => {
                return Err(Error::NotHere {
                    command: "set server health stopping",
                    why: "a server that shall get nothing new is drained; see 'set server <b>/<s> \
                          state drain'",
                });
            }
            _ => return Err(Error::Usage(HEALTH)),
        },
        ["agent", word @ ("up" | "down"), ..] => Setting::Agent(AgentChange::Said(word == &"up")),
        ["agent", ..] => return Err(Error::Usage(AGENT)),
        [
            "agent-addr" | "agent-port" | "agent-send" | "check-addr" | "check-port" | "fqdn"
            | "ssl",
            ..,
        ] => {
            return Err(Error::NotHere {
                command: "set server with anything but state, weight, addr and health",
                why: "how a server is checked and reached is in the bundle; see 'shoal config \
                      apply'",
            });
        }
        _ => return Err(Error::Usage(USAGE)),
    };
    Ok(setting)
}

pub(super) fn weight(words: &[&str]) -> Result<Weight, Error> {
    let word =
        words.first().copied().filter(|word| !word.is_empty()).ok_or(Error::Usage(WEIGHT))?;
    let (number, percent) = match word.strip_suffix('%') {
        Some(number) => (number, true),
        None => (word, false),
    };
    let number: i64 = number.parse().map_err(|_| Error::Usage(GARBAGE))?;
    if percent {
        return u32::try_from(number).map(Weight::Relative).map_err(|_| Error::Usage(RELATIVE));
    }
    let absolute = u32::try_from(number).ok().filter(|weight| *weight <= MAX_WEIGHT);
    absolute.map(Weight::Absolute).ok_or(Error::Usage(ABSOLUTE))
}

pub(super) fn maxconn(words: &[&str]) -> Result<u32, Error> {
    let word = words.first().ok_or(Error::Usage("Require <maxconn>."))?;
    word.parse().map_err(|_| Error::Usage("maxconn string empty or preceded by garbage"))
}

fn address(words: &[&str]) -> Result<Setting, Error> {
    let ip = words.first().ok_or(Error::Usage(NO_CHANGE))?;
    let ip = ip.parse().map_err(|_| Error::Address((*ip).to_owned()))?;
    let port = match words.get(1..) {
        Some(["port", port, ..]) => Some(port.parse().map_err(|_| Error::Usage(PORT))?),
        _ => None,
    };
    Ok(Setting::Address { ip, port })
}

/// Seconds, unless another unit is said.
pub(super) fn timeout(word: Option<&str>) -> Result<Command, Error> {
    const INVALID: Error = Error::Usage("Invalid timeout value.");
    let word = word.ok_or(INVALID)?;
    let end = word.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(word.len());
    let (number, unit) = word.split_at(end);
    let number: u64 = number.parse().map_err(|_| INVALID)?;
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(INVALID),
    };
    Ok(Command::SetTimeout(number.saturating_mul(millis)))
}
