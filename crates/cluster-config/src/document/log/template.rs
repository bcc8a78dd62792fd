//! The form of a line in the words of HAProxy's `log-format`: text with variables. Pure.
//!
//! What HAProxy has and is not here is an error: a line that silently lacks a field shifts all that
//! follow it, for whoever reads it by columns.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// What can stand in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are in the table below")]
pub enum Variable {
    ClientIp,
    ClientPort,
    Frontend,
    Backend,
    Server,
    ServerIp,
    ServerPort,
    Date,
    BeginDate,
    DateUtc,
    DateLocal,
    Timestamp,
    Milliseconds,
    HeadTime,
    QueueTime,
    ConnectTime,
    ResponseTime,
    ActiveTime,
    TotalTime,
    Status,
    BytesRead,
    State,
    StateAndCookie,
    RequestCookie,
    ResponseCookie,
    ActiveConnections,
    FrontendConnections,
    BackendConnections,
    ServerConnections,
    Retries,
    BackendQueue,
    ServerQueue,
    RequestHeaders,
    ResponseHeaders,
    RequestLine,
    Method,
    Path,
    PathOnly,
    Query,
    Uri,
    Version,
    Id,
    Hostname,
    Pid,
}

use Variable as V;

/// By HAProxy's names; the second column says whether a proxy-node has it as well.
const VARIABLES: [(&str, bool, Variable); 45] = [
    ("ci", true, V::ClientIp),
    ("cp", false, V::ClientPort),
    ("f", false, V::Frontend),
    ("ft", false, V::Frontend),
    ("b", false, V::Backend),
    ("s", false, V::Server),
    ("si", true, V::ServerIp),
    ("sp", false, V::ServerPort),
    ("t", true, V::Date),
    ("tr", true, V::BeginDate),
    ("T", true, V::DateUtc),
    ("Tl", true, V::DateLocal),
    ("Ts", true, V::Timestamp),
    ("ms", true, V::Milliseconds),
    ("TR", false, V::HeadTime),
    ("Tw", false, V::QueueTime),
    ("Tc", false, V::ConnectTime),
    ("Tr", false, V::ResponseTime),
    ("Ta", true, V::ActiveTime),
    ("Tt", true, V::TotalTime),
    ("ST", true, V::Status),
    ("B", true, V::BytesRead),
    ("ts", false, V::State),
    ("tsc", false, V::StateAndCookie),
    ("CC", false, V::RequestCookie),
    ("CS", false, V::ResponseCookie),
    ("ac", false, V::ActiveConnections),
    ("fc", false, V::FrontendConnections),
    ("bc", false, V::BackendConnections),
    ("sc", false, V::ServerConnections),
    ("rc", false, V::Retries),
    ("bq", false, V::BackendQueue),
    ("sq", false, V::ServerQueue),
    ("hr", false, V::RequestHeaders),
    ("hs", false, V::ResponseHeaders),
    ("r", false, V::RequestLine),
    ("HM", true, V::Method),
    ("HP", true, V::Path),
    ("HPO", true, V::PathOnly),
    ("HQ", true, V::Query),
    ("HU", true, V::Uri),
    ("HV", false, V::Version),
    ("ID", true, V::Id),
    ("H", true, V::Hostname),
    ("pid", true, V::Pid),
];

/// A part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// What a variable says, in quotes or not.
    Variable {
        /// Which one.
        variable: Variable,
        /// `%{+Q}`.
        quoted: bool,
    },
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {remedy}")]
pub struct NotATemplate {
    /// What is wrong, with where it is.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl Template {
    /// Its parts in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The first variable that a proxy-node does not know, as it is written.
    pub fn unknown_to_nodes(&self) -> Option<&'static str> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Variable { variable, .. } => {
                let known = |it: &&(&str, bool, Variable)| it.2 == *variable;
                VARIABLES.iter().find(known).filter(|it| !it.1).map(|it| it.0)
            }
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for Template {
    type Err = NotATemplate;

    fn from_str(text: &str) -> Result<Self, NotATemplate> {
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(wrong("a control character".to_owned(), "a record is one line"));
        }
        let (mut pieces, mut quoted) = (Vec::new(), false);
        let (mut rest, mut plain) = (text, String::new());
        while let Some((before, after)) = rest.split_once('%') {
            let place = text.len() - after.len();
            plain.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                plain.push('%');
                rest = after;
                continue;
            }
            let (flags, after) = flags(after, place)?;
            let (name, behind) = name(after, place)?;
            rest = behind;
            let quotes = flags.unwrap_or(quoted);
            // `%o` says nothing itself: its flags hold for all that follow.
            if name == "o" {
                quoted = quotes;
                continue;
            }
            let known = VARIABLES.iter().find(|it| it.0 == name);
            let variable = known.ok_or_else(|| unknown(name, place))?.2;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Variable { variable, quoted: quotes });
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self { text: text.to_owned(), pieces })
    }
}

/// What `{+Q}` says, if it is there: whether in quotes.
fn flags(text: &str, place: usize) -> Result<(Option<bool>, &str), NotATemplate> {
    let Some((flags, after)) = text.strip_prefix('{').and_then(|it| it.split_once('}')) else {
        return Ok((None, text));
    };
    let mut quoted = None;
    for flag in flags.split(',').map(str::trim) {
        match flag {
            "+Q" => quoted = Some(true),
            "-Q" => quoted = Some(false),
            // What would forge a line is escaped anyway.
            "+E" | "-E" | "-X" | "" => {}
            flag => {
                let message = format!("the flag `{flag}` at byte {place}");
                return Err(wrong(message, "`+Q` and `+E` are known here"));
            }
        }
    }
    Ok((quoted, after))
}

/// The longest name that is known, as HAProxy reads the letters behind `%`.
fn name(text: &str, place: usize) -> Result<(&str, &str), NotATemplate> {
    if text.starts_with('[') {
        let message = format!("`%[…]` at byte {place}: sample expressions are HAProxy's own");
        return Err(wrong(message, "write a variable, as in %ci, %ST or %{+Q}r"));
    }
    let letters = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    if letters == 0 {
        let message = format!("a `%` without a name at byte {place}");
        return Err(wrong(message, "write %% for a percent sign"));
    }
    Ok(text.split_at(letters))
}

fn unknown(name: &str, place: usize) -> NotATemplate {
    let instead = match name {
        "U" => "%B are the bytes to the client; those from it are in the metrics",
        "Tq" | "Ti" | "Th" | "Td" | "Tu" => "write %TR, %Tw, %Tc, %Tr, %Ta or %Tt",
        "sslc" | "sslv" => "what TLS was spoken is in the metrics",
        "fi" | "fp" | "bi" | "bp" => "%f is the frontend by its name",
        "trg" | "trl" => "write %tr or %T",
        "hrl" | "hsl" => "write %hr or %hs",
        "lc" | "rt" => "%ID names a request",
        _ => {
            "known are %ci %cp %f %b %s %t %tr %T %Ts %TR %Tw %Tc %Tr %Ta %Tt %ST %B %ts %tsc %ac \
              %fc %bc %sc %rc %sq %bq %r %HM %HP %HQ %HU %HV %ID %H"
        }
    };
    wrong(format!("the variable `%{name}` at byte {place}"), instead)
}

fn wrong(what: String, remedy: &str) -> NotATemplate {
    NotATemplate {
        message: format!("{what} cannot be written into a log line"),
        remedy: remedy.to_owned(),
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<Piece> {
        text.parse::<Template>().unwrap_or_else(|error| panic!("{text}: {error}")).pieces
    }

    fn variable(variable: Variable, quoted: bool) -> Piece {
        Piece::Variable { variable, quoted }
    }

    #[test]
    fn text_and_variables() {
        let text = |text: &str| Piece::Text(text.to_owned());
        assert_eq!(
            pieces("%ci:%cp [%tr] 100%% %{+Q}r"),
            [
                variable(V::ClientIp, false),
                text(":"),
                variable(V::ClientPort, false),
                text(" ["),
                variable(V::BeginDate, false),
                text("] 100% "),
                variable(V::RequestLine, true),
            ]
        );
        let all = [variable(V::Frontend, true), text("/"), variable(V::Status, false)];
        assert_eq!(pieces("%{+Q}o%f/%{-Q}ST"), all);
        assert_eq!(pieces(""), []);
        let logs = "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc \
                    %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r";
        assert_eq!(pieces(logs).len(), 51, "HAProxy's own, from its manual");
    }

    #[test]
    fn what_is_not_known_is_said_with_its_place() {
        for (text, said) in [
            ("%ci %zz", "the variable `%zz` at byte 5 cannot be written"),
            ("%Tq", "write %TR, %Tw"),
            ("%[src]", "sample expressions are HAProxy's own"),
            ("50%", "write %% for a percent sign"),
            ("%{+X}ID", "the flag `+X` at byte 1"),
            ("a\nb", "a record is one line"),
        ] {
            let error = text.parse::<Template>().unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn nodes_know_some() {
        let lacks = |text: &str| text.parse::<Template>().unwrap().unknown_to_nodes();
        assert_eq!((lacks("%ci %ST %HU"), lacks("%ci %fc %b")), (None, Some("fc")));
        let mut names: Vec<_> = VARIABLES.iter().map(|it| it.0).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), VARIABLES.len());
    }
}
