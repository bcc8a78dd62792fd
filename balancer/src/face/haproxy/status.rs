//! Which of HAProxy's states something is in, and what its checks say.

use cluster::{AdminState, State};
use cluster_config::document::balancer::Backend;

use crate::{
    evidence::Fault,
    snapshot::Listed,
    standing::{Reason, Standing},
};

/// As the column `status` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// A frontend.
    Open,
    Up,
    Down,
    Maint,
    Drain,
    /// It stops by itself, and gets nothing new.
    Nolb,
    /// Nobody looks whether it is well.
    NoCheck,
}

impl Status {
    /// Of a server.
    #[must_use]
    pub fn of(listed: &Listed, settings: &Backend) -> Self {
        match listed.admin {
            AdminState::Maintenance => return Self::Maint,
            AdminState::Drain => return Self::Drain,
            AdminState::Ready => {}
        }
        let stops = |reason: &Reason| {
            matches!(reason, Reason::Stopping | Reason::Registry(State::Draining))
        };
        match listed.judgement.standing {
            Standing::Excluded if listed.judgement.reasons.iter().any(stops) => Self::Nolb,
            Standing::Excluded => Self::Drain,
            Standing::Unwell => Self::Down,
            _ if !settings.check.enabled && !listed.server.discovered => Self::NoCheck,
            _ => Self::Up,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Up => "UP",
            Self::Down => "DOWN",
            Self::Maint => "MAINT",
            Self::Drain => "DRAIN",
            Self::Nolb => "NOLB",
            Self::NoCheck => "no check",
        }
    }

    /// Takes new requests.
    #[must_use]
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Open | Self::Up | Self::NoCheck)
    }

    /// `srv_op_state` of `show servers state`.
    #[must_use]
    pub const fn operational(self) -> u8 {
        match self {
            Self::Down | Self::Maint => 0,
            Self::Nolb => 3,
            _ => 2,
        }
    }

    /// `srv_admin_state` of `show servers state`.
    #[must_use]
    pub const fn administrative(self) -> u8 {
        match self {
            Self::Maint => 1,
            Self::Drain => 8,
            _ => 0,
        }
    }
}

/// What the checks of a server say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// HAProxy's code, `L7OK`.
    pub code: &'static str,
    /// What that means.
    pub meaning: &'static str,
    /// In the balancer's own words; empty while there is nothing to say.
    pub words: String,
    pub passed: Option<bool>,
}

/// Every code with its meaning and HAProxy's number.
pub const CODES: [(&str, &str, u8); 14] = [
    ("INI", "Initializing", 1),
    ("HANA", "Health analyze", 4),
    ("SOCKERR", "Socket error", 5),
    ("L4OK", "Layer4 check passed", 6),
    ("L4TOUT", "Layer4 timeout", 7),
    ("L4CON", "Layer4 connection problem", 8),
    ("L6OK", "Layer6 check passed", 9),
    ("L6TOUT", "Layer6 timeout", 10),
    ("L6RSP", "Layer6 invalid response", 11),
    ("L7TOUT", "Layer7 timeout", 12),
    ("L7RSP", "Layer7 invalid response", 13),
    ("L7OK", "Layer7 check passed", 15),
    ("L7OKC", "Layer7 check conditionally passed", 16),
    ("L7STS", "Layer7 wrong status", 17),
];

impl Check {
    /// None where nobody looks.
    #[must_use]
    pub fn of(listed: &Listed, settings: &Backend) -> Option<Self> {
        if !settings.check.enabled {
            return None;
        }
        // What is asked of it is a request, and not only that it takes a connection.
        let asked = listed.server.protocol.is_relay() || settings.check.http.is_some();
        let found = listed.judgement.reasons.iter().find_map(|reason| match reason {
            Reason::Failed(fault) => Some((code(fault, asked), fault.to_string(), Some(false))),
            Reason::Answers => {
                Some((if asked { "L7OK" } else { "L4OK" }, String::new(), Some(true)))
            }
            _ => None,
        });
        let (code, words, passed) = found.unwrap_or(("INI", String::new(), None));
        let meaning = CODES.iter().find(|it| it.0 == code).map_or("", |it| it.1);
        Some(Self { code, meaning, words, passed })
    }

    /// HAProxy's number of the code.
    #[must_use]
    pub fn number(&self) -> u8 {
        CODES.iter().find(|it| it.0 == self.code).map_or(0, |it| it.2)
    }
}

const fn code(fault: &Fault, asked: bool) -> &'static str {
    match fault {
        Fault::Refused => "L4CON",
        Fault::ConnectTimeout => "L4TOUT",
        Fault::Unproven => "L6RSP",
        Fault::Reset | Fault::Told | Fault::Agent(_) | Fault::Fails { .. } | Fault::Slow { .. } => {
            "HANA"
        }
        Fault::OwnError(_) | Fault::Gateway(_) => "L7STS",
        Fault::Malformed => "L7RSP",
        Fault::Late | Fault::Silent => "L7TOUT",
        Fault::Check(_) if asked => "L7RSP",
        Fault::Check(_) => "L4CON",
    }
}
