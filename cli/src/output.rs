//! What people and programs see: tables or JSON on stdout, one sentence per failure on stderr.

use std::{
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
        Kind::Json => print(&serde_json::to_string_pretty(view)?),
    }
}

/// Prints lines on stdout. A reader that went away (`| head`) is no failure.
///
/// # Errors
/// stdout cannot be written for another reason.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
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
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
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
    writeln!(std::io::stderr().lock(), "{text}").ok();
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
    remark(&format!("{colour}error:{plain} {message}"));
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
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
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
