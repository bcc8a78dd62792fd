//! Cells: values as they are written in a table, with their tone.

use crate::output::printable;

/// What a text says of how well something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    #[default]
    Plain,
    Good,
    Doubtful,
    Bad,
    /// Old, or of little interest.
    Faint,
}

/// One cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    pub text: String,
    pub tone: Tone,
    /// What rows are sorted by; none: by the text.
    pub(super) key: Option<f64>,
}

pub(super) fn text(text: &str) -> Cell {
    Cell { text: printable(text), ..Cell::default() }
}

#[allow(clippy::cast_precision_loss, reason = "only the order of large numbers is at stake")]
pub(super) fn count(value: u64) -> Cell {
    Cell { text: value.to_string(), key: Some(value as f64), ..Cell::default() }
}

/// A count that should be 0.
pub(super) fn trouble(value: u64) -> Cell {
    Cell { tone: if value > 0 { Tone::Doubtful } else { Tone::Plain }, ..count(value) }
}

pub(super) fn rate(value: Option<f64>) -> Cell {
    match value {
        None => Cell { text: "-".into(), tone: Tone::Faint, key: Some(-1.0) },
        Some(value) => Cell {
            text: if value < 99.95 { format!("{value:.1}") } else { format!("{value:.0}") },
            tone: Tone::Plain,
            key: Some(value),
        },
    }
}

/// A rate that should be 0.
pub(super) fn bad_rate(value: Option<f64>) -> Cell {
    let cell = rate(value);
    if value.is_some_and(|value| value > 0.0) { Cell { tone: Tone::Bad, ..cell } } else { cell }
}

pub(super) fn percent(value: Option<f64>) -> Cell {
    match value {
        None => rate(None),
        Some(value) => {
            Cell { text: format!("{:.0}%", value * 100.0), tone: Tone::Plain, key: Some(value) }
        }
    }
}

/// Seconds since something was told; only what is not fresh is shown.
pub(super) fn age(value: Option<f64>) -> Cell {
    match value {
        None => Cell { text: "never".into(), tone: Tone::Bad, key: Some(f64::MAX) },
        Some(age) if age < 4.0 => Cell { key: Some(age), ..Cell::default() },
        Some(age) => Cell { text: format!("{age:.0}s"), tone: Tone::Bad, key: Some(age) },
    }
}

pub(super) fn state(word: &str) -> Cell {
    let tone = match word {
        "usable" => Tone::Good,
        "critical" | "lost" | "unwell" => Tone::Bad,
        _ => Tone::Doubtful,
    };
    Cell { text: word.to_owned(), tone, key: None }
}

/// A text in exactly so many characters.
pub fn padded(text: &str, width: u16, right: bool) -> String {
    let width = usize::from(width);
    let length = text.chars().count();
    if length > width {
        let kept: String = text.chars().take(width.saturating_sub(1)).collect();
        return if width == 0 { String::new() } else { format!("{kept}…") };
    }
    let space = " ".repeat(width - length);
    if right { format!("{space}{text}") } else { format!("{text}{space}") }
}

/// The last values of a rate as a row of bars, the newest at the right.
pub fn sparkline(values: &[f64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let last = &values[values.len().saturating_sub(width)..];
    let most = last.iter().copied().fold(0.0, f64::max);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index that is clamped"
    )]
    let bar = |value: &f64| {
        if most > 0.0 { BARS[((value / most * 7.0).round() as usize).min(7)] } else { BARS[0] }
    };
    last.iter().map(bar).collect()
}
