//! Why somebody who was asked did not answer: a kind for those who decide by it, and words for
//! people.

use std::{error::Error, fmt, io, net::SocketAddr};

use tonic::{Code, Status};

use crate::connect::{self, explain};

/// What is said of somebody from whom nothing came.
const LATE: &str = "no answer in time";

/// What kind of silence it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing listens there.
    Refused,
    /// Nothing came in time: it is stopped, hangs, or cannot be reached.
    Late,
    /// Anything else, such as an answer that is an error.
    Other,
}

/// Why somebody did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    kind: Kind,
    words: String,
}

impl Silence {
    /// Nothing came in time.
    #[must_use]
    pub fn late() -> Self {
        Self { kind: Kind::Late, words: LATE.to_owned() }
    }

    /// What a failed rpc says.
    #[must_use]
    pub fn of_status(status: &Status) -> Self {
        let by_code =
            if status.code() == Code::DeadlineExceeded { Kind::Late } else { Kind::Other };
        Self {
            kind: status.source().and_then(kind).unwrap_or(by_code),
            words: brief(&explain(status)),
        }
    }

    /// What an error says: the innermost of its causes tells it in a few words.
    #[must_use]
    pub fn of_error(error: &(dyn Error + 'static)) -> Self {
        let innermost = causes(error).last().map(ToString::to_string).unwrap_or_default();
        Self { kind: kind(error).unwrap_or(Kind::Other), words: brief(&innermost) }
    }

    /// What kind it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The same, with the place where somebody was asked, unless the words have it already.
    #[must_use]
    pub fn at(self, place: &str) -> Self {
        let words = if self.words.starts_with(place) {
            self.words
        } else {
            format!("{place}: {}", self.words)
        };
        Self { words, ..self }
    }

    /// Two ways to ask the same process; nothing listens there when one of them was refused.
    #[must_use]
    pub fn beside(&self, ours: &str, other: &Self, theirs: &str) -> Self {
        if self == other {
            return self.clone();
        }
        let kind = if other.kind == Kind::Refused { Kind::Refused } else { self.kind };
        Self { kind, words: format!("{ours}: {self}; {theirs}: {other}") }
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.words)
    }
}

impl From<String> for Silence {
    fn from(words: String) -> Self {
        Self { kind: Kind::Other, words }
    }
}

impl From<&str> for Silence {
    fn from(words: &str) -> Self {
        words.to_owned().into()
    }
}

fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| {
        let cause: &'e (dyn Error + 'static) = *cause;
        cause.source()
    })
}

fn kind(error: &(dyn Error + 'static)) -> Option<Kind> {
    causes(error).find_map(|cause| {
        let io = match (cause.downcast_ref::<io::Error>(), cause.downcast_ref::<connect::Error>()) {
            (Some(io), _) => io.kind(),
            (_, Some(connect::Error::Failed { kind, .. })) => *kind,
            _ => return None,
        };
        match io {
            io::ErrorKind::ConnectionRefused => Some(Kind::Refused),
            io::ErrorKind::TimedOut => Some(Kind::Late),
            _ => None,
        }
    })
}

/// A failure in a few words, the same words whoever found it: without the address, which is known,
/// the code and the number of the error.
fn brief(why: &str) -> String {
    let said = |part: &&str| {
        !matches!(*part, "unavailable" | "unknown" | "transport error")
            && part.parse::<SocketAddr>().is_err()
    };
    let parts: Vec<_> = why.split(": ").filter(said).collect();
    let text = parts.join(": ");
    match text.as_str() {
        "" => why.to_owned(),
        "operation timed out" | "deadline has elapsed" => LATE.to_owned(),
        text => match text.split_once(" (os error ") {
            Some((before, after)) => {
                format!("{before}{}", after.split_once(')').map_or("", |(_, rest)| rest))
            }
            None => text.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_brief_and_alike() {
        for (why, expected) in [
            ("unavailable: 127.0.0.1:30904: no answer in time: transport error", LATE),
            ("operation timed out", LATE),
            (
                "unavailable: 127.0.0.1:30923: Connection refused (os error 111): transport error",
                "Connection refused",
            ),
            ("Connection refused (os error 111)", "Connection refused"),
            ("unavailable: node-1:7001: no such host", "node-1:7001: no such host"),
            (
                "unavailable: 127.0.0.1:1: invalid peer certificate: expired: transport error",
                "invalid peer certificate: expired",
            ),
            ("transport error", "transport error"),
        ] {
            assert_eq!(brief(why), expected);
        }
    }

    #[test]
    fn the_kind_is_that_of_the_cause_and_not_of_the_words() {
        let refused = io::Error::from_raw_os_error(111);
        let failed = |kind| connect::Error::Failed {
            address: "a:1".to_owned(),
            reason: "why".to_owned(),
            kind,
        };
        let status = |error: connect::Error| {
            let mut status = Status::unavailable("transport error");
            status.set_source(std::sync::Arc::new(error));
            status
        };
        for (silence, expected) in [
            (Silence::of_error(&refused), Kind::Refused),
            (Silence::of_status(&status(failed(io::ErrorKind::ConnectionRefused))), Kind::Refused),
            (Silence::of_status(&status(failed(io::ErrorKind::TimedOut))), Kind::Late),
            (Silence::of_status(&status(failed(io::ErrorKind::Other))), Kind::Other),
            (Silence::of_status(&Status::deadline_exceeded("late")), Kind::Late),
            (
                Silence::of_status(&Status::permission_denied("it refused, and says so")),
                Kind::Other,
            ),
            ("refused".into(), Kind::Other),
        ] {
            assert_eq!(silence.kind(), expected, "{silence}");
        }
    }

    #[test]
    fn two_ports_of_one_process() {
        let (refused, late) =
            (Silence::of_error(&io::Error::from_raw_os_error(111)), Silence::late());
        assert_eq!(late.beside("gRPC", &late, "admin HTTP"), late);
        let both = late.beside("gRPC", &refused, "admin HTTP");
        assert_eq!(
            (both.kind(), both.to_string().as_str()),
            (Kind::Refused, "gRPC: no answer in time; admin HTTP: Connection refused")
        );
    }
}
