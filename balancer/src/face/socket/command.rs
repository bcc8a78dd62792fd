//! A line of HAProxy's runtime language as commands, or as an error in HAProxy's words. Pure.

mod setting;

use super::help;
use crate::face::haproxy::select::{Proxy, Selection};

pub use setting::{AgentChange, Setting, Weight};
use setting::{maxconn, of_server, set, switch, target, timeout, weight};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    ShowStat(Selection, Format),
    ShowInfo(Format),
    /// Of one backend, or of all.
    ShowServersState(Option<String>),
    ShowServersConn(Option<String>),
    /// Of one frontend or backend, or of all.
    ShowErrors(Option<String>),
    ShowBackend,
    ShowPools,
    ShowVersion,
    /// One variable, or all.
    ShowEnv(Option<String>),
    ShowSockets,
    ShowLevel,
    GetWeight(Target),
    Set(Target, Setting),
    /// Ends what is under way there.
    Shutdown(Target),
    ClearCounters,
    /// How long this connection may idle, in milliseconds.
    SetTimeout(u64),
    /// What begins like these words.
    Help(Vec<String>),
    Prompt,
    Quit,
}

/// How it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Plain,
    Typed,
    Json,
}

/// A server of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub backend: String,
    pub server: String,
}

/// What a line is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No command begins so.
    #[error("{}", help::unknown(.0))]
    Unknown(Vec<String>),
    /// HAProxy has it, and it makes no sense here.
    #[error("'{command}' is not here: {why}.")]
    NotHere {
        /// The beginning of the command.
        command: &'static str,
        /// Why, and what to do instead.
        why: &'static str,
    },
    /// In HAProxy's words.
    #[error("{0}")]
    Usage(&'static str),
    /// Said only where there is such a server.
    #[error("{error}")]
    OfServer {
        target: Target,
        /// What is wrong with what is wanted of it.
        error: Box<Self>,
    },
    /// What is no address.
    #[error("Invalid addr '{0}' by 'stats socket command'")]
    Address(String),
}

/// Commands of HAProxy that make no sense here, by their first words, with the reason and what to
/// do instead.
const NOT_HERE: [(&str, &str); 13] = [
    ("add server", "servers register themselves or are in the bundle; see 'shoal config apply'"),
    ("del server", "servers register themselves or are in the bundle; see 'shoal config apply'"),
    ("add acl", "lists are in the bundle; see 'shoal config apply'"),
    ("add map", "lists are in the bundle; see 'shoal config apply'"),
    ("disable frontend", "frontends are in the bundle; see 'shoal config apply'"),
    ("enable frontend", "frontends are in the bundle; see 'shoal config apply'"),
    ("shutdown frontend", "frontends are in the bundle; see 'shoal config apply'"),
    ("set maxconn frontend", "the limits of a frontend are in the bundle; see its 'limits'"),
    ("set maxconn global", "how many connections there may be, the limit on descriptors says"),
    ("set rate-limit", "the limits of clients are in the bundle; see 'limits' of a frontend"),
    ("clear counters all", "others count on them; 'clear counters' clears the maxima"),
    ("show sess", "requests are in the access log; see 'shoal logs --follow' and 'shoal top'"),
    ("show table", "there are no stick tables; what clients have is bounded by 'limits'"),
];

/// The commands of a line, in order; those that are none as errors at their place.
#[must_use]
pub fn parse(line: &str) -> Vec<Result<Command, Error>> {
    split(line).iter().map(|words| command(words)).collect()
}

/// Words of commands: blanks part words and `;` parts commands, unless a backslash is before them.
fn split(line: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => word.get_or_insert_default().extend(letters.next()),
            ';' => {
                words.extend(word.take());
                commands.push(std::mem::take(&mut words));
            }
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    commands.push(words);
    commands
}

fn command(words: &[String]) -> Result<Command, Error> {
    let text: Vec<&str> = words.iter().map(String::as_str).collect();
    let beginning = |known: &str| {
        let mut asked = text.iter();
        known.split(' ').all(|word| asked.next() == Some(&word))
    };
    if let Some((command, why)) = NOT_HERE.into_iter().find(|(known, _)| beginning(known)) {
        return Err(Error::NotHere { command, why });
    }
    let unknown = || Error::Unknown(words.to_vec());
    match text[..] {
        ["show", ref rest @ ..] => show(rest).ok_or_else(unknown)?,
        ["get", "weight", ref rest @ ..] => Ok(Command::GetWeight(target(rest)?)),
        ["disable" | "enable", what @ ("server" | "health" | "agent"), ref rest @ ..] => {
            switch(what, text[0] == "enable", rest)
        }
        ["set", "server", ref rest @ ..] => set(rest, of_server),
        ["set", "weight", ref rest @ ..] => set(rest, |rest| weight(rest).map(Setting::Weight)),
        ["set", "maxconn", "server", ref rest @ ..] => {
            set(rest, |rest| maxconn(rest).map(Setting::Maxconn))
        }
        ["set", "timeout", "cli", ref rest @ ..] => timeout(rest.first().copied()),
        ["shutdown", "sessions", "server", ref rest @ ..] => Ok(Command::Shutdown(target(rest)?)),
        ["clear", "counters", ..] => Ok(Command::ClearCounters),
        ["help", ref rest @ ..] => {
            Ok(Command::Help(rest.iter().map(|&word| word.to_owned()).collect()))
        }
        ["prompt", ..] => Ok(Command::Prompt),
        ["quit", ..] => Ok(Command::Quit),
        _ => Err(unknown()),
    }
}

/// None: there is nothing of that name to show.
fn show(rest: &[&str]) -> Option<Result<Command, Error>> {
    let named = |rest: &[&str]| rest.first().map(|&name| name.to_owned());
    Some(Ok(match rest {
        ["stat", rest @ ..] => return Some(show_stat(rest)),
        ["info", rest @ ..] => Command::ShowInfo(format(rest)),
        ["servers", "state", rest @ ..] => Command::ShowServersState(named(rest)),
        ["servers", "conn", rest @ ..] => Command::ShowServersConn(named(rest)),
        ["errors", rest @ ..] => {
            Command::ShowErrors(named(rest).filter(|it| it.parse::<i64>().is_err()))
        }
        ["backend", ..] => Command::ShowBackend,
        ["pools", ..] => Command::ShowPools,
        ["version", ..] => Command::ShowVersion,
        ["env", rest @ ..] => Command::ShowEnv(named(rest)),
        ["cli", "sockets", ..] => Command::ShowSockets,
        ["cli", "level", ..] => Command::ShowLevel,
        _ => return None,
    }))
}

fn format(words: &[&str]) -> Format {
    let formats = words.iter().filter_map(|word| match *word {
        "typed" => Some(Format::Typed),
        "json" => Some(Format::Json),
        _ => None,
    });
    formats.fold(Format::Plain, |_, last| last)
}

/// `show stat [domain proxy] [IID|NAME TYPE SID] [typed|json] [up] [no-maint]`, the words in any
/// order behind the numbers, as in HAProxy.
fn show_stat(words: &[&str]) -> Result<Command, Error> {
    let words = match words {
        ["domain", "proxy", rest @ ..] => rest,
        ["domain", ..] => return Err(Error::Usage("Invalid statistics domain.")),
        words => words,
    };
    let mut selection = Selection {
        up: words.contains(&"up"),
        no_maintenance: words.contains(&"no-maint"),
        ..Selection::default()
    };
    const OPTIONS: [&str; 5] = ["typed", "json", "up", "no-maint", "desc"];
    if let [proxy, kinds, server, ..] = words
        && !OPTIONS.contains(proxy)
    {
        selection.proxy = Some(match proxy.parse() {
            Ok(number) => Proxy::Number(number),
            Err(_) => Proxy::Name((*proxy).to_owned()),
        });
        // What is no number is 0 to HAProxy, and nothing is of kind 0.
        selection.kinds = kinds.parse().unwrap_or(0);
        selection.server = server.parse().unwrap_or(0);
    }
    Ok(Command::ShowStat(selection, format(words)))
}

#[cfg(test)]
mod tests;
