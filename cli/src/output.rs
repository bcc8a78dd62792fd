//! What people and programs see: tables or JSON on stdout, one sentence per failure on stderr.
//!
//! Much of it was written by others: messages of revisions, reasons of operators, URLs of clients.
//! Whatever goes out for people passes [`tame`], here and nowhere else, so that nobody paints
//! somebody else's terminal.

pub mod table;
mod terminal;

use std::{
    fmt::Write as _,
    io::{ErrorKind, IsTerminal, Write},
    process::ExitCode,
};

use anyhow::Result;
use clap::{Args, ValueEnum};
use cluster::text::is_hidden;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use self::terminal::{tame, uncoloured};
use crate::context::About;

pub use self::terminal::{coloured, colours_wanted, heed, printable, width};
pub use table::{Cell, Column, Tone, column, long, sentences, wrap};

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
    /// For people, fit for their terminal
    #[default]
    Table,
    /// The same with all columns, however wide
    Wide,
    /// For programs: one JSON document
    Json,
}

/// Something that a reading command shows: its fields are the JSON, [`View::text`] is what people
/// read.
pub trait View: Serialize {
    /// The same for people, without a final newline.
    fn text(&self) -> String;
}

/// Prints `view` on stdout in the format asked for: of what concerns no cluster.
///
/// # Errors
/// stdout cannot be written.
pub fn show(view: &impl View, format: Format) -> Result<()> {
    match format.output {
        Kind::Table | Kind::Wide => print(&view.text()),
        Kind::Json => print(&escaped(&serde_json::to_string_pretty(view)?)),
    }
}

/// Which cluster an answer is about, and how old it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Head {
    pub cluster: About,
    /// When the registry listed what this goes by; null where it goes by no list.
    pub as_of: Option<Timestamp>,
    /// The registry does not answer: this is what it listed last.
    pub stale: bool,
}

impl Head {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        match (self.stale, self.as_of) {
            (true, Some(at)) => {
                let at = at.to_zoned(TimeZone::system()).strftime("%F %T %Z").to_string();
                format!(
                    "{}\nAs of {at}: the registry does not answer, and states are what it listed \
                     last.",
                    self.cluster.text()
                )
            }
            _ => self.cluster.text(),
        }
    }
}

/// Prints `view` with the cluster that it is about: on a line above, or as fields beside its own.
///
/// # Errors
/// stdout cannot be written.
pub fn show_of(head: &Head, view: &impl View, format: Format) -> Result<()> {
    match format.output {
        Kind::Table | Kind::Wide => {
            print(&format!("{}\n\n{}", fitted(&head.text(), ""), view.text()))
        }
        Kind::Json => print(&escaped(&serde_json::to_string_pretty(&Headed { head, view })?)),
    }
}

/// Prose in lines as wide as there is room, those after the first of each as far in as `indent`.
#[must_use]
pub fn fitted(text: &str, indent: &str) -> String {
    let room = width().map_or(usize::MAX, |width| width.saturating_sub(indent.len()).max(20));
    let fit = |line: &str| {
        let (begin, rest) = line.split_at(line.len() - line.trim_start().len());
        format!(
            "{begin}{}",
            wrap(rest, room.saturating_sub(begin.len())).join(&format!("\n{indent}"))
        )
    };
    text.split('\n').map(fit).collect::<Vec<_>>().join("\n")
}

/// The end of what [`show_of`] began: people have read which cluster it is about.
///
/// # Errors
/// stdout cannot be written.
pub fn show_after(head: &Head, view: &impl View, format: Format) -> Result<()> {
    if format.is_json() {
        show_of(head, view, format)
    } else {
        print(&format!("\n{}", view.text()))
    }
}

/// The head's fields, then the view's.
#[derive(Serialize)]
struct Headed<'a, V: Serialize> {
    #[serde(flatten)]
    head: &'a Head,
    #[serde(flatten)]
    view: &'a V,
}

/// Prints a line on the way to an answer: for people part of it, for programs a remark beside the
/// one document.
///
/// # Errors
/// stdout cannot be written.
pub fn say(line: &str, format: Format) -> Result<()> {
    if format.is_json() {
        remark(line);
        return Ok(());
    }
    print(line)
}

/// One JSON object on one line, as programs read a stream of them.
///
/// # Errors
/// It is no JSON.
pub fn line_of(view: &impl Serialize) -> Result<String> {
    Ok(escaped(&serde_json::to_string(view)?))
}

/// JSON escapes the controls of ASCII by itself; what else a terminal obeys or hides stays the same
/// document when it is escaped.
fn escaped(json: &str) -> String {
    let hidden = |c: char| is_hidden(c) && c != '\n';
    if !json.chars().any(hidden) {
        return json.to_owned();
    }
    let escape = |c: char| -> String {
        c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
    };
    json.chars().map(|c| if hidden(c) { escape(c) } else { c.to_string() }).collect()
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
    if value < 9.95 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

/// Prints a remark on stderr, where it does not mix with an answer.
pub fn remark(text: &str) {
    // Nothing is left to be done about a stderr that cannot be written.
    writeln!(std::io::stderr().lock(), "{}", tame(&fitted(text, ""))).ok();
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
    let (colour, plain) = if std::io::stderr().is_terminal() && colours_wanted() {
        ("\u{1b}[31;1m", "\u{1b}[0m")
    } else {
        ("", "")
    };
    remark(&format!("{colour}error:{plain} {}", uncoloured(&message)));
    ExitCode::FAILURE
}

/// A table: as wide as its content, or as whoever looks at it has room for.
#[must_use]
pub fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<Cell>>) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    table::render(columns, &rows, width(), colours_wanted() && std::io::stdout().is_terminal())
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
            (
                "http://a/\u{202e}fdp.exe\u{2066}\u{e0041}",
                "http://a/%E2%80%AEfdp.exe%E2%81%A6%F3%A0%81%81",
            ),
        ] {
            assert_eq!(tame(text), shown, "{text:?}");
        }
        let json = serde_json::to_string("\u{9b}2J\u{7f}ü\n").unwrap();
        assert!(json.contains('\u{9b}') && !escaped(&json).contains('\u{9b}'), "{json:?}");
        assert_eq!(
            serde_json::from_str::<String>(&escaped(&json)).unwrap(),
            "\u{9b}2J\u{7f}ü\n",
            "the same document"
        );
        let json = serde_json::to_string("\u{202e}\u{e0041}ü").unwrap();
        assert_eq!(escaped(&json), r#""\u202e\udb40\udc41ü""#);
        assert_eq!(
            serde_json::from_str::<String>(&escaped(&json)).unwrap(),
            "\u{202e}\u{e0041}ü",
            "the same document"
        );
        assert_eq!(uncoloured("\u{1b}[31;1merror:\u{1b}[0m x\ny"), "%1B[31;1merror:%1B[0m x\ny");
    }

    #[test]
    fn every_answer_says_of_which_cluster_it_is() {
        #[derive(Serialize)]
        struct Nodes {
            nodes: Vec<u8>,
        }
        let cluster =
            About { id: Some("c-1".into()), name: "lab in /tmp/x".into(), context: "newest lab" };
        let at = Timestamp::from_second(1000).unwrap();
        let head = Head { cluster, as_of: Some(at), stale: true };
        let json =
            serde_json::to_value(Headed { head: &head, view: &Nodes { nodes: vec![1] } }).unwrap();
        assert_eq!(json["nodes"], serde_json::json!([1]));
        assert_eq!(
            (&json["cluster"]["id"], &json["cluster"]["name"], &json["cluster"]["context"]),
            (&"c-1".into(), &"lab in /tmp/x".into(), &"newest lab".into())
        );
        assert_eq!(
            (&json["as_of"], &json["stale"]),
            (&"1970-01-01T00:16:40Z".into(), &true.into())
        );
        assert!(
            head.text().starts_with("Cluster: lab in /tmp/x")
                && head.text().contains("\nAs of 1970-01-01"),
            "{}",
            head.text()
        );
        assert_eq!(Head { stale: false, ..head }.text().lines().count(), 1);
    }

    #[test]
    fn cells_and_colours() {
        let text = table(
            &[column("NAME", 0), sentences("REASON")],
            [vec![coloured("usable"), Cell::new("new\u{1b}[2J\r\u{1b}[38;5;10mdisk")]],
        );
        assert!(text.contains("new%1B[2J%0D%1B[38;5;10mdisk"), "{text:?}");
        let rows = [vec![coloured("usable"), coloured("suspect"), coloured("lost")]];
        let colours =
            table::render(&[column("A", 0), column("B", 0), column("C", 0)], &rows, None, true);
        assert!(colours.contains('\u{1b}'), "{colours:?}");
        assert_eq!(tame(&colours), colours, "the colours of tables pass");
    }
}
