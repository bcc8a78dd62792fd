//! What people and programs see: tables or JSON on stdout, one sentence per failure on stderr.
//!
//! Much of it was written by others: messages of revisions, reasons of operators, URLs of clients. Whatever goes out for people passes [`tame`],
//! here and nowhere else, so that nobody paints somebody else's terminal.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{ErrorKind, IsTerminal, Write},
    process::ExitCode,
};

use anyhow::Result;
use clap::{Args, ValueEnum};
use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use serde::Serialize;

/// How a reading command answers.
#[derive(Args, Clone, Copy, Default)]
pub struct Format {
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t = Kind::Table, value_name = "FORMAT")]
    output: Kind,
}

impl Format {
    /// For programs.
    #[must_use]
    pub fn is_json(self) -> bool {
        self.output == Kind::Json
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// For people
    #[default]
    Table,
    /// For programs: one JSON document
    Json,
}

/// Something that a reading command shows: its fields are the JSON, [`View::text`] is what people read.
pub trait View: Serialize {
    /// The same for people, without a final newline.
    fn text(&self) -> String;
}

/// Prints `view` on stdout in the format asked for.
///
/// # Errors
/// stdout cannot be written.
pub fn show(view: &impl View, format: Format) -> Result<()> {
    match format.output {
        Kind::Table => print(&view.text()),
        Kind::Json => print(&escaped(&serde_json::to_string_pretty(view)?)),
    }
}

/// JSON escapes the controls of ASCII by itself; those beyond, which a terminal may obey as well, stay the same document when they are escaped.
fn escaped(json: &str) -> String {
    let escape = |c: char| if c.is_control() && c != '\n' { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    if json.chars().any(|c| c.is_control() && c != '\n') { json.chars().map(escape).collect() } else { json.to_owned() }
}

/// Prints lines on stdout. A reader that went away (`| head`) is no failure.
///
/// # Errors
/// stdout cannot be written for another reason.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{}", tame(text)).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints a line on stdout for as long as somebody reads there: false once nobody does.
///
/// # Errors
/// stdout cannot be written for another reason.
pub fn print_to_reader(line: &str) -> Result<bool> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{}", tame(line)).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What others have sent, fit for a terminal: controls are percent-encoded.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                write!(out, "%{byte:02X}").ok();
            }
        } else {
            out.push(character);
        }
    }
    out
}

/// Text as it may go to a terminal: lines, tabs and the colours that this module itself gives pass, every other control is percent-encoded.
fn tame(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|character| character.is_control() && character != '\n') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find(|character: char| character.is_control()) {
        let (plain, from) = rest.split_at(place);
        out.push_str(plain);
        let colour = colour(from);
        let length = if colour > 0 { colour } else { from.chars().next().map_or(1, char::len_utf8) };
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
fn colour(text: &str) -> usize {
    // Of tables: `38;5;` and 8 to 15; of words beside them, the rest.
    const OURS: [&str; 13] = [
        "0m", "39m", "34m", "33;1m", "31;1m", "38;5;8m", "38;5;9m", "38;5;10m", "38;5;11m", "38;5;12m", "38;5;13m", "38;5;14m", "38;5;15m",
    ];
    let Some(code) = text.strip_prefix("\u{1b}[") else { return 0 };
    OURS.iter().find(|ours| code.starts_with(**ours)).map_or(0, |ours| 2 + ours.len())
}

/// Bytes for people: `1.5 MiB`.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "three digits for people")]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    if value < 9.95 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

/// Prints a remark on stderr, where it does not mix with an answer.
pub fn remark(text: &str) {
    // Nothing is left to be done about a stderr that cannot be written.
    writeln!(std::io::stderr().lock(), "{}", tame(text)).ok();
}

/// Turns a command's result into the process's exit code, with the reason on stderr.
pub fn conclude(result: Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let mut message = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !message.contains(&cause) {
            write!(message, ": {cause}").ok();
        }
    }
    let (colour, plain) = if std::io::stderr().is_terminal() && colours_wanted() { ("\u{1b}[31;1m", "\u{1b}[0m") } else { ("", "") };
    remark(&format!("{colour}error:{plain} {}", uncoloured(&message)));
    ExitCode::FAILURE
}

/// A borderless table with a header: as wide as its content, or as the terminal if that is narrower.
#[must_use]
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<Cell>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(header.to_vec());
    if !colours_wanted() {
        table.force_no_tty();
    }
    for row in rows {
        table.add_row(row.into_iter().map(tamed));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Text that somebody else wrote, lines apart: not even a colour of ours passes.
fn uncoloured(text: &str) -> String {
    text.split('\n').map(|line| line.split('\t').map(printable).collect::<Vec<_>>().join("\t")).collect::<Vec<_>>().join("\n")
}

/// A cell that others wrote into keeps its lines, and loses every other control. Cells with a colour hold words of ours.
fn tamed(cell: Cell) -> Cell {
    let content = cell.content();
    if content.chars().any(|character| character.is_control() && character != '\n') { Cell::new(uncoloured(&content)) } else { cell }
}

/// A cell whose colour says how well the thing it names is.
#[must_use]
pub fn coloured(text: &str) -> Cell {
    let cell = Cell::new(text);
    match text {
        "usable" | "applied" | "done" | "passed" | "verified" | "in step" | "ok" => cell.fg(Color::Green),
        "starting" | "suspect" | "draining" | "maintenance" | "last" | "excluded" | "waiting" | "assigned" | "reverted" => {
            cell.fg(Color::Yellow)
        }
        "critical" | "lost" | "damaged" | "unwell" | "rejected" | "failed" | "drift" => cell.fg(Color::Red),
        _ => cell,
    }
}

/// See <https://no-color.org>.
pub fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_never_moves_the_cursor() {
        for (text, shown) in [
            ("plain, ü, 漢", "plain, ü, 漢"),
            ("two\nlines\tand a tab", "two\nlines\tand a tab"),
            ("a\u{1b}[2Jb", "a%1B[2Jb"),
            ("a\rb\u{7}\u{8}", "a%0Db%07%08"),
            ("a\u{9b}2Jb", "a%C2%9B2Jb"),
            ("\u{1b}]0;title\u{7}", "%1B]0;title%07"),
            ("\u{1b}[38;5;10mgood\u{1b}[39m", "\u{1b}[38;5;10mgood\u{1b}[39m"),
            ("\u{1b}[8mhidden", "%1B[8mhidden"),
            ("the end\u{1b}", "the end%1B"),
        ] {
            assert_eq!(tame(text), shown, "{text:?}");
        }
        let json = serde_json::to_string("\u{9b}2J\u{7f}ü\n").unwrap();
        assert!(json.contains('\u{9b}') && !escaped(&json).contains('\u{9b}'), "{json:?}");
        assert_eq!(serde_json::from_str::<String>(&escaped(&json)).unwrap(), "\u{9b}2J\u{7f}ü\n", "the same document");
        assert_eq!(uncoloured("\u{1b}[31;1merror:\u{1b}[0m x\ny"), "%1B[31;1merror:%1B[0m x\ny");
    }

    #[test]
    fn cells_and_colours() {
        let text = table(&["NAME", "REASON"], [vec![coloured("usable"), Cell::new("new\u{1b}[2J\r\u{1b}[38;5;10mdisk")]]);
        assert!(text.contains("new%1B[2J%0D%1B[38;5;10mdisk"), "{text:?}");
        let mut forced = Table::new();
        forced.enforce_styling().add_row([coloured("usable"), coloured("suspect"), coloured("lost")]);
        let colours = forced.to_string();
        assert!(colours.contains('\u{1b}'), "{colours:?}");
        assert_eq!(tame(&colours), colours, "the colours of tables pass");
    }
}
