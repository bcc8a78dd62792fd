//! What a terminal can show: its width, its colours, and text without control characters.

use std::{
    borrow::Cow,
    io::IsTerminal,
    sync::atomic::{AtomicBool, Ordering},
};

use clap::ArgMatches;
use cluster::text::{self, is_hidden};

use super::{
    Kind,
    table::{Cell, Tone},
};

/// What others have sent, fit for a terminal: controls and format characters are percent-encoded.
#[must_use]
pub fn printable(text: &str) -> String {
    text::shown(text).into_owned()
}

/// Text as it may go to a terminal: lines, tabs and the colours that this module itself gives pass,
/// everything else that a terminal would obey or hide is percent-encoded.
pub(super) fn tame(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|character| is_hidden(character) && character != '\n') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find(is_hidden) {
        let (plain, from) = rest.split_at(place);
        out.push_str(plain);
        let colour = colour(from);
        let length =
            if colour > 0 { colour } else { from.chars().next().map_or(1, char::len_utf8) };
        let (control, after) = from.split_at(length);
        if colour > 0 || matches!(control, "\n" | "\t") {
            out.push_str(control);
        } else {
            out.push_str(&printable(control));
        }
        rest = after;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// How long the colour is that `text` begins with; 0: it begins with none of ours.
pub(super) fn colour(text: &str) -> usize {
    // Of tables: `38;5;` and 9 to 11; of words beside them, the rest.
    const OURS: [&str; 13] = [
        "0m", "39m", "34m", "33;1m", "31;1m", "38;5;8m", "38;5;9m", "38;5;10m", "38;5;11m",
        "38;5;12m", "38;5;13m", "38;5;14m", "38;5;15m",
    ];
    let Some(code) = text.strip_prefix("\u{1b}[") else { return 0 };
    OURS.iter().find(|ours| code.starts_with(**ours)).map_or(0, |ours| 2 + ours.len())
}

/// Somebody wants all columns.
pub(super) static WIDE: AtomicBool = AtomicBool::new(false);

/// Takes note of `-o wide`, wherever it was given: once, before anything is shown.
pub fn heed(matches: &ArgMatches) {
    let wide = matches.try_get_one::<Kind>("output").ok().flatten() == Some(&Kind::Wide);
    if wide {
        WIDE.store(true, Ordering::Relaxed);
    }
    if let Some((_, matches)) = matches.subcommand() {
        heed(matches);
    }
}

/// How many columns there is room for: what COLUMNS says, else as wide as the terminal is; none
/// where nobody looks, or who does wants everything.
#[must_use]
pub fn width() -> Option<usize> {
    if cfg!(test) || WIDE.load(Ordering::Relaxed) {
        // Whatever terminal the tests run in.
        return None;
    }
    let said = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse::<usize>().ok())
        .filter(|columns| *columns > 0);
    let terminal = || {
        std::io::stdout()
            .is_terminal()
            .then(ratatui::crossterm::terminal::size)?
            .ok()
            .map(|(columns, _)| usize::from(columns))
    };
    said.or_else(terminal).map(|columns| columns.max(20))
}

/// Text that somebody else wrote, lines apart: not even a colour of ours passes.
pub(super) fn uncoloured(text: &str) -> String {
    text.split('\n')
        .map(|line| line.split('\t').map(printable).collect::<Vec<_>>().join("\t"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A cell whose colour says how well the thing it names is.
#[must_use]
pub fn coloured(text: &str) -> Cell {
    let tone = match text {
        "usable" | "applied" | "done" | "passed" | "verified" | "in step" | "ok" => Tone::Good,
        "starting" | "suspect" | "draining" | "maintenance" | "last" | "excluded" | "waiting"
        | "assigned" | "reverted" => Tone::Doubtful,
        "critical" | "lost" | "damaged" | "unwell" | "rejected" | "failed" | "drift" | "silent" => {
            Tone::Bad
        }
        _ => Tone::Plain,
    };
    Cell::new(text).toned(tone)
}

/// See <https://no-color.org>.
pub fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
