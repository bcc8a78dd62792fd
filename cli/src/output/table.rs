//! Tables for people. One that has no room drops columns, the least important first, and puts long
//! texts below their rows: words stay whole, and what is dropped is in `-o json`. Pure.

use std::fmt::Display;

use unicode_width::UnicodeWidthStr;

use super::uncoloured;

/// What a text says of how well something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    #[default]
    Plain,
    Good,
    Doubtful,
    Bad,
}

impl Tone {
    const fn colour(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "\u{1b}[38;5;10m",
            Self::Doubtful => "\u{1b}[38;5;11m",
            Self::Bad => "\u{1b}[38;5;9m",
        }
    }
}

/// One cell. Its text may have been written by others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// Text without a colour. Lines stay lines, everything else that a terminal obeys is escaped.
    #[must_use]
    pub fn new(text: impl Display) -> Self {
        Self { text: uncoloured(&text.to_string()), tone: Tone::Plain }
    }

    /// The same in a colour.
    #[must_use]
    pub fn toned(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    title: &'static str,
    /// Columns with higher ranks go first when there is no room; 0 stays.
    rank: u8,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Wrapped between words, below the row where there is no room beside it.
    Sentences,
    /// One long word, of which the end may be cut: as long as its beginning can be read, it gives
    /// room before a column goes.
    Long,
}

/// A column that goes when there is no room: those of higher rank first, those of rank 0 never.
#[must_use]
pub const fn column(title: &'static str, rank: u8) -> Column {
    Column { title, rank, kind: Kind::Plain }
}

/// A column of sentences.
#[must_use]
pub const fn sentences(title: &'static str) -> Column {
    Column { title, rank: 0, kind: Kind::Sentences }
}

/// A column of addresses and the like, which are cut where there is no room.
#[must_use]
pub const fn long(title: &'static str) -> Column {
    Column { title, rank: 0, kind: Kind::Long }
}

/// Between two columns.
const GAP: usize = 2;
/// Sentences stand beside their rows when they have as much room as this.
const ROOM: usize = 30;
/// So much of a long word is kept before a column goes for it.
const BEGINNING: usize = 20;
/// How far in they are below them.
const INDENT: usize = 4;

fn width_of(text: &str) -> usize {
    text.split('\n').map(UnicodeWidthStr::width).max().unwrap_or(0)
}

/// How a table is laid out: the columns shown with their widths, and those below the rows.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    beside: Vec<(usize, usize)>,
    below: Vec<usize>,
}

fn layout(columns: &[Column], rows: &[Vec<Cell>], width: Option<usize>) -> Layout {
    let natural = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| width_of(&cell.text));
        cells.max().unwrap_or(0).max(columns[index].title.len())
    };
    let mut beside: Vec<_> = (0..columns.len()).map(|index| (index, natural(index))).collect();
    let mut below = Vec::new();
    let Some(width) = width else { return Layout { beside, below } };
    let used = |beside: &[(usize, usize)]| {
        (beside.iter().map(|(_, width)| width + GAP).sum::<usize>()).saturating_sub(GAP)
    };
    let surplus = |beside: &[(usize, usize)]| used(beside).saturating_sub(width);
    // Sentences and long words give room first, as long as what is left of theirs can be read.
    for place in (0..beside.len()).rev() {
        let (index, wanted) = beside[place];
        let least = match columns[index].kind {
            Kind::Plain => continue,
            Kind::Sentences => ROOM,
            Kind::Long => BEGINNING,
        };
        beside[place].1 = wanted.saturating_sub(surplus(&beside)).max(least.min(wanted));
    }
    while surplus(&beside) > 0
        && let Some(place) =
            (0..beside.len()).rev().find(|&place| columns[beside[place].0].kind == Kind::Sentences)
    {
        below.insert(0, beside.remove(place).0);
    }
    while surplus(&beside) > 0 {
        let rank = |place: &usize| (columns[beside[*place].0].rank, *place);
        let Some(place) =
            (0..beside.len()).filter(|place| columns[beside[*place].0].rank > 0).max_by_key(rank)
        else {
            break;
        };
        beside.remove(place);
    }
    // Nothing may go any more: what is long is cut, then the widest, and shows that it is.
    while surplus(&beside) > 0 {
        let long = beside
            .iter_mut()
            .find(|(index, width)| columns[*index].kind == Kind::Long && *width > 12);
        if let Some((_, width)) = long {
            *width -= 1;
            continue;
        }
        let Some(widest) =
            beside.iter_mut().max_by_key(|(_, width)| *width).filter(|(_, width)| *width > 8)
        else {
            break;
        };
        widest.1 -= 1;
    }
    Layout { beside, below }
}

/// Lines of at most `width`, broken between words. A word that is longer has a line of its own.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && width_of(&line) + 1 + width_of(word) > width {
                lines.push(std::mem::take(&mut line));
            } else if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// At most so wide, with an ellipsis in place of the rest.
fn cut(text: &str, width: usize) -> String {
    if width_of(text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for character in text.chars() {
        if width_of(&kept) + width_of(character.encode_utf8(&mut [0; 4])) + 1 > width {
            break;
        }
        kept.push(character);
    }
    kept + "…"
}

/// The table without a final newline, at most `width` wide.
#[must_use]
pub fn render(
    columns: &[Column],
    rows: &[Vec<Cell>],
    width: Option<usize>,
    colours: bool,
) -> String {
    let Layout { beside, below } = layout(columns, rows, width);
    let head: Vec<_> = columns
        .iter()
        .map(|column| Cell { text: column.title.to_owned(), tone: Tone::Plain })
        .collect();
    let mut lines = Vec::new();
    let mut add = |row: &[Cell]| {
        let cells: Vec<_> = beside
            .iter()
            .map(|&(index, width)| {
                let cell = row.get(index).cloned().unwrap_or_default();
                let wrapped = if columns[index].kind == Kind::Sentences {
                    wrap(&cell.text, width)
                } else {
                    cell.text.split('\n').map(|line| cut(line, width)).collect()
                };
                (wrapped, width, cell.tone)
            })
            .collect();
        for number in 0..cells.iter().map(|(lines, ..)| lines.len()).max().unwrap_or(0) {
            lines.push(line(&cells, number, colours));
        }
        for index in &below {
            let room = width.unwrap_or(usize::MAX).saturating_sub(INDENT);
            let text = row.get(*index).map_or("", |cell| cell.text.as_str());
            lines.extend(
                wrap(text, room)
                    .into_iter()
                    .filter(|line| !line.is_empty())
                    .map(|line| format!("{:INDENT$}{line}", "")),
            );
        }
    };
    // Its title says nothing of what is below.
    let head: Vec<_> = head
        .into_iter()
        .enumerate()
        .map(|(index, cell)| if below.contains(&index) { Cell::default() } else { cell })
        .collect();
    add(&head);
    rows.iter().for_each(|row| add(row));
    lines.join("\n")
}

/// One line of a row whose cells have several.
fn line(cells: &[(Vec<String>, usize, Tone)], number: usize, colours: bool) -> String {
    let mut out = String::new();
    let mut due = 0;
    for (lines, width, tone) in cells {
        let text = lines.get(number).map_or("", String::as_str);
        if !text.is_empty() {
            out.push_str(&" ".repeat(due));
            due = 0;
            match tone.colour() {
                colour if colours && !colour.is_empty() => {
                    out.push_str(&format!("{colour}{text}\u{1b}[39m"))
                }
                _ => out.push_str(text),
            }
        }
        due += width.saturating_sub(width_of(text)) + GAP;
    }
    out
}

#[cfg(test)]
mod tests;
