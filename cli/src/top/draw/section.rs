//! The three tables on the screen, and how much room each gets.

use ratatui::{
    style::{Modifier, Style},
    text::{Line, Span},
};

use super::{
    super::{
        app::App,
        notes::{notes, wrapped},
        table::{Kind, Table, Tone, padded},
    },
    Look,
};

/// The three tables, each with a share of the room.
pub(super) fn body<'a>(app: &App, look: Look, width: u16, room: usize) -> Vec<Line<'a>> {
    let tables = app.tables();
    let shares = shares(room, &tables.each_ref().map(|table| table.rows.len()), place(app.focus));
    let mut lines = Vec::new();
    for (table, share) in tables.iter().zip(shares) {
        if share >= 2 {
            lines.extend(section(app, table, look, width, share));
        }
    }
    lines.extend(reasons(app, look, width, room.saturating_sub(lines.len())));
    lines
}

/// In what room is left: why those are not usable who are not.
pub(super) fn reasons<'a>(app: &App, look: Look, width: u16, room: usize) -> Vec<Line<'a>> {
    let text: Vec<_> = notes(&app.model).iter().flat_map(|note| wrapped(note, width)).collect();
    if text.is_empty() || room < 3 {
        return Vec::new();
    }
    let title = Line::styled("WHY", Style::new().add_modifier(Modifier::BOLD));
    let left_out = text.len().saturating_sub(room - 1);
    let mut lines: Vec<_> = std::iter::once(title)
        .chain(text.into_iter().map(|text| Line::styled(text, look.of(Tone::Plain))))
        .collect();
    if left_out > 0 {
        lines.truncate(room - 1);
        lines.push(Line::styled(format!("and {} lines more", left_out + 1), look.of(Tone::Faint)));
    }
    lines
}

pub(super) const fn place(kind: Kind) -> usize {
    match kind {
        Kind::Balancers => 0,
        Kind::Servers => 1,
        Kind::Nodes => 2,
    }
}

/// How many lines each table gets, its header included: all that it wants where there is room; else
/// the focused one first, then as evenly as can be; one that would get less than a header and a row
/// gets nothing.
pub(super) fn shares(room: usize, rows: &[usize; 3], focus: usize) -> [usize; 3] {
    let wants = rows.map(|rows| rows.max(1) + 2);
    let mut shares = [0; 3];
    let mut left = room;
    let order = [focus, (focus + 1) % 3, (focus + 2) % 3];
    // A header and one row for everybody, as far as it goes.
    for index in order {
        let least = wants[index].min(3).min(left);
        if least >= 2 {
            shares[index] = least;
            left -= least;
        }
    }
    while left > 0 {
        let hungry =
            order.into_iter().filter(|&index| shares[index] > 0 && shares[index] < wants[index]);
        let Some(index) = hungry.min_by_key(|&index| shares[index]) else { break };
        shares[index] += 1;
        left -= 1;
    }
    shares
}

pub(super) fn section<'a>(
    app: &App,
    table: &Table,
    look: Look,
    width: u16,
    share: usize,
) -> Vec<Line<'a>> {
    let focused = app.focus == table.kind;
    let shown = table.fit(width);
    let sorted = app.sorted(table.kind);
    let title = |(index, width): &(usize, u16)| {
        let column = &table.columns[*index];
        let text = padded(column.title, *width, column.right);
        let style = Style::new().add_modifier(if sorted == Some(*index) {
            Modifier::REVERSED
        } else {
            Modifier::BOLD
        });
        [
            Span::styled(
                text,
                if focused { style.add_modifier(Modifier::UNDERLINED) } else { style },
            ),
            Span::raw(" "),
        ]
    };
    let mut lines = vec![Line::from(shown.iter().flat_map(title).collect::<Vec<_>>())];
    let rows = share - 1;
    if table.rows.is_empty() {
        let text = if app.filter.is_empty() { "nothing yet" } else { "nothing matches the filter" };
        lines.push(Line::styled(padded(text, width, false), look.of(Tone::Faint)));
    }
    let selected = app.selected(table);
    let first =
        selected.saturating_sub(rows.saturating_sub(2)).min(table.rows.len().saturating_sub(rows));
    for (place, row) in table.rows.iter().enumerate().skip(first).take(rows) {
        let chosen = focused && place == selected;
        let cell = |(index, width): &(usize, u16)| {
            let cell = row.cells.get(*index).cloned().unwrap_or_default();
            let style = if chosen {
                look.of(cell.tone).add_modifier(Modifier::REVERSED)
            } else {
                look.of(cell.tone)
            };
            let gap =
                if chosen { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
            [
                Span::styled(padded(&cell.text, *width, table.columns[*index].right), style),
                Span::styled(" ", gap),
            ]
        };
        lines.push(Line::from(shown.iter().flat_map(cell).collect::<Vec<_>>()));
    }
    if lines.len() < share {
        lines.push(Line::raw(""));
    }
    lines.truncate(share);
    lines
}
