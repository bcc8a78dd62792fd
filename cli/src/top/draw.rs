//! Drawing: the state onto whatever room a terminal has.

use ratatui::{
    Frame,
    layout::Rect,
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Clear, Paragraph},
};

use super::{
    app::{App, Mode},
    notes::{notes, wrapped},
    table::{Kind, Table, Tone, padded, sparkline},
};
use crate::output::printable;

/// Alarms that are shown above the tables.
const ALARMS: usize = 2;

const HELP: [&str; 12] = [
    "Keys",
    "  ↑ ↓  j k      select a row           PgUp PgDn Home End",
    "  Tab  ← →      another table",
    "  s             sort by the next column",
    "  f  /          filter: rows with this text (Esc: all)",
    "  d             drain the selected instance (asks first)",
    "  e             enable it again (asks first)",
    "  q  Esc        quit",
    "",
    "OWN MS: time to the head of an answer without its origin's.",
    "HITS, rates: of the last second. AGE: since a process that",
    "does not answer was heard last.          any key: back",
];

/// How things look; without colours when NO_COLOR says so.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub colours: bool,
}

impl Look {
    fn of(self, tone: Tone) -> Style {
        let style = Style::new();
        match (tone, self.colours) {
            (Tone::Plain, _) => style,
            (Tone::Good, true) => style.fg(Color::Green),
            (Tone::Doubtful, true) => style.fg(Color::Yellow),
            (Tone::Bad, true) => style.fg(Color::Red).add_modifier(Modifier::BOLD),
            (Tone::Faint, true) => style.fg(Color::DarkGray),
            // Words say what colours would have said.
            (Tone::Bad, false) => style.add_modifier(Modifier::BOLD),
            (Tone::Good | Tone::Doubtful | Tone::Faint, false) => style,
        }
    }
}

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, app: &App, look: Look) {
    let area = frame.area();
    if area.width == 0 || area.height == 0 {
        return;
    }
    let mut lines = header(app, look, area.width);
    let footer = footer(app, look, area.width);
    let room = usize::from(area.height).saturating_sub(lines.len() + 1);
    lines.extend(body(app, look, area.width, room));
    lines.truncate(usize::from(area.height).saturating_sub(1));
    let above = Rect { height: area.height - 1, ..area };
    frame.render_widget(Paragraph::new(lines), above);
    frame.render_widget(
        Paragraph::new(footer),
        Rect { y: area.y + area.height - 1, height: 1, ..area },
    );
    if app.mode == Mode::Help {
        help(frame, look);
    }
}

fn header<'a>(app: &App, look: Look, width: u16) -> Vec<Line<'a>> {
    let total = &app.model.total;
    let number =
        |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"));
    let failed = total.failed_per_second.unwrap_or(0.0);
    let down = total.nodes_usable < total.nodes;
    let parts = [
        (format!("{} req/s", number(total.requests_per_second)), Tone::Plain),
        (
            format!("{} fail/s", number(total.failed_per_second)),
            if failed > 0.0 { Tone::Bad } else { Tone::Plain },
        ),
        (
            format!(
                "{} hits",
                total
                    .hit_ratio
                    .map_or_else(|| "-".to_owned(), |ratio| format!("{:.0}%", ratio * 100.0))
            ),
            Tone::Plain,
        ),
        (
            format!("{}/{} nodes", total.nodes_usable, total.nodes),
            if down { Tone::Bad } else { Tone::Good },
        ),
        (format!("{} conn", total.connections), Tone::Plain),
        (format!("{} tunnels", total.tunnels), Tone::Plain),
    ];
    let mut spans = vec![Span::styled("shoal ", Style::new().add_modifier(Modifier::BOLD))];
    let mut used = 6;
    for (text, tone) in parts {
        let length = text.chars().count() + 2;
        if used + length > usize::from(width) + 2 {
            break;
        }
        used += length;
        spans.push(Span::styled(text, look.of(tone)));
        spans.push(Span::raw("  "));
    }
    if let Some(room) = usize::from(width).checked_sub(used).filter(|room| *room >= 8) {
        let history: Vec<_> = app.history.iter().copied().collect();
        spans.push(Span::styled(sparkline(&history, room.min(60)), look.of(Tone::Good)));
    }
    let mut lines = vec![Line::from(spans)];
    if !app.cluster.is_empty() {
        lines.push(Line::styled(
            padded(&app.cluster, width, false).trim_end().to_owned(),
            look.of(Tone::Faint),
        ));
    }
    for alarm in app.model.alarms.iter().take(ALARMS) {
        let text = format!("{}: {}", alarm.severity.to_uppercase(), printable(&alarm.text));
        let tone = if alarm.severity == "critical" { Tone::Bad } else { Tone::Doubtful };
        lines.push(Line::styled(padded(&text, width, false).trim_end().to_owned(), look.of(tone)));
    }
    if let Some(line) = silent(app, width) {
        lines.push(Line::styled(line, look.of(Tone::Bad)));
    }
    lines
}

/// Who does not answer, and for how long.
fn silent(app: &App, width: u16) -> Option<String> {
    let told = app.model.silent.iter().map(|silent| match silent.age {
        Some(age) if silent.name == "registry" => {
            format!("registry silent for {age:.0} s, states with ? are as old as that")
        }
        Some(age) => format!("{} silent for {age:.0} s", silent.name),
        None => format!("{} has not answered yet ({})", silent.name, silent.why),
    });
    let told: Vec<_> = told.collect();
    (!told.is_empty())
        .then(|| padded(&printable(&told.join(", ")), width, false).trim_end().to_owned())
}

/// The three tables, each with a share of the room.
fn body<'a>(app: &App, look: Look, width: u16, room: usize) -> Vec<Line<'a>> {
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
fn reasons<'a>(app: &App, look: Look, width: u16, room: usize) -> Vec<Line<'a>> {
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

const fn place(kind: Kind) -> usize {
    match kind {
        Kind::Balancers => 0,
        Kind::Servers => 1,
        Kind::Nodes => 2,
    }
}

/// How many lines each table gets, its header included: all that it wants where there is room; else
/// the focused one first, then as evenly as can be; one that would get less than a header and a row
/// gets nothing.
fn shares(room: usize, rows: &[usize; 3], focus: usize) -> [usize; 3] {
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

fn section<'a>(app: &App, table: &Table, look: Look, width: u16, share: usize) -> Vec<Line<'a>> {
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

fn footer<'a>(app: &App, look: Look, width: u16) -> Line<'a> {
    let strong = Style::new().add_modifier(Modifier::REVERSED);
    let (text, style) = match &app.mode {
        Mode::Confirm(act, name) => {
            (format!("{} {name}? y: yes, any other key: no", act.verb()), strong)
        }
        Mode::ConfirmLast(name) => (
            format!(
                "{name} is the last usable one, clients would get errors. Y: drain it all the \
                 same, other keys: no"
            ),
            strong,
        ),
        Mode::Filter => (format!("filter: {}▏  Enter: keep, Esc: all", app.filter), strong),
        Mode::Look | Mode::Help if !app.message.is_empty() => {
            (printable(&app.message), look.of(Tone::Plain))
        }
        Mode::Look | Mode::Help => {
            let filter = if app.filter.is_empty() {
                String::new()
            } else {
                format!("  only: {}", app.filter)
            };
            (
                format!(
                    "q quit  ↑↓ select  Tab table  s sort  f filter  d drain  e enable  ? \
                     help{filter}"
                ),
                look.of(Tone::Faint),
            )
        }
    };
    Line::styled(padded(&text, width, false), style)
}

fn help(frame: &mut Frame<'_>, look: Look) {
    let area = frame.area();
    let (width, height) =
        (64.min(area.width), u16::try_from(HELP.len()).unwrap_or(u16::MAX).min(area.height));
    let area = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    let lines: Vec<_> = HELP
        .iter()
        .map(|text| {
            Line::styled(
                padded(text, width, false),
                look.of(Tone::Plain).add_modifier(Modifier::REVERSED),
            )
        })
        .collect();
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines), area);
}

#[cfg(test)]
mod tests {
    use ratatui::{
        Terminal,
        backend::TestBackend,
        crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    };

    use super::*;
    use crate::top::model::{Model, model, tests::snapshot};

    fn app(keys: &str) -> App {
        let mut app = App::default();
        app.show(model(&snapshot()));
        for key in keys.chars() {
            app.press(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE));
        }
        app
    }

    fn screen(app: &App, width: u16, height: u16, colours: bool) -> (String, bool) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, app, Look { colours })).unwrap();
        let buffer = terminal.backend().buffer();
        let coloured =
            buffer.content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        let lines = buffer
            .content()
            .chunks(usize::from(width).max(1))
            .map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>());
        (lines.map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n"), coloured)
    }

    #[test]
    fn eighty_by_twenty_four_shows_what_matters() {
        let (text, coloured) = screen(&app(""), 80, 24, true);
        for wanted in [
            "150 req/s",
            "1/2 nodes",
            "n-2 silent for 3 s",
            "BALANCER",
            "b-2",
            "SERVER",
            "unwell",
            "75.0",
            "1.50",
            "NODE",
            "lost",
            "60%",
            "q quit",
        ] {
            assert!(text.contains(wanted), "{wanted} is missing:\n{text}");
        }
        assert!(coloured);
        let (wide, _) = screen(&app(""), 120, 40, true);
        assert!(wide.contains("squid_servers n-1"), "{wide}");
    }

    #[test]
    fn reasons_are_told_in_full_where_there_is_room() {
        let mut app = app("");
        app.model.servers[1].reasons =
            vec!["own evidence: check failed: no answer within 500 ms; ".repeat(6) + "the end"];
        let (text, _) = screen(&app, 80, 24, true);
        assert!(
            text.contains("\nWHY\nn-2  own evidence")
                && text.contains("the end")
                && text.contains("lapsed"),
            "{text}"
        );
        let (text, _) = screen(&app, 80, 18, true);
        assert!(
            text.contains("lines more") && text.lines().last().unwrap().starts_with("q quit"),
            "{text}"
        );
        // The tables come first.
        assert!(!screen(&app, 80, 14, true).0.contains("WHY"));
    }

    #[test]
    fn without_colours_words_are_enough() {
        let (text, coloured) = screen(&app(""), 80, 24, false);
        assert!(!coloured && text.contains("unwell") && text.contains("lost"), "{text}");
    }

    #[test]
    fn every_size_is_drawn() {
        for keys in ["", "?", "d", "f", "s"] {
            let app = app(keys);
            for (width, height) in [
                (0, 0),
                (0, 9),
                (9, 0),
                (1, 1),
                (1, 30),
                (200, 1),
                (5, 3),
                (20, 6),
                (40, 10),
                (80, 24),
                (300, 80),
            ] {
                screen(&app, width, height, true);
            }
        }
        let (text, _) = screen(&App::default(), 80, 24, true);
        assert!(text.contains("nothing yet"), "{text}");
        // In a few lines the table that is looked at remains.
        let (text, _) = screen(&app(""), 60, 7, true);
        assert!(text.contains("SERVER") && text.contains("n-1"), "{text}");
    }

    #[test]
    fn what_is_asked_stands_at_the_bottom() {
        let (text, _) = screen(&app("jd"), 80, 24, true);
        assert!(text.lines().last().unwrap().starts_with("drain n-2? y: yes"), "{text}");
        assert!(screen(&app("?"), 80, 24, true).0.contains("drain the selected instance"));
        assert!(screen(&app("fn-9"), 80, 24, true).0.contains("nothing matches the filter"));
    }

    #[test]
    fn alarms_stand_above_everything_and_the_last_node_asks_twice() {
        let mut app = app("");
        app.cluster = "Cluster: lab in /tmp/x".into();
        let told = |severity: &'static str, text: &str| crate::alarm::Told {
            severity,
            subjects: vec![],
            text: text.into(),
            remedy: String::new(),
        };
        app.model.alarms = vec![
            told("critical", "backend a has no usable server"),
            told("warning", "b"),
            told("warning", "c"),
        ];
        let (text, _) = screen(&app, 80, 24, true);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[1..4],
            ["Cluster: lab in /tmp/x", "CRITICAL: backend a has no usable server", "WARNING: b"],
            "{text}"
        );
        let (text, _) = screen(&super::tests::app("dy"), 80, 24, true);
        let asked = text.lines().last().unwrap();
        assert!(
            asked.starts_with("n-1 is the last usable one, clients would get errors. Y: drain"),
            "{asked}"
        );
    }

    #[test]
    fn the_selected_row_is_always_seen() {
        let mut app = app("");
        let server = app.model.servers[0].clone();
        app.model = Model {
            servers: (0..200)
                .map(|number| crate::top::model::ServerRow {
                    name: format!("node-{number:03}"),
                    ..server.clone()
                })
                .collect(),
            ..Model::default()
        };
        for number in [0, 1, 50, 198, 199] {
            app.press(KeyEvent::new(KeyCode::Home, KeyModifiers::NONE));
            (0..number)
                .for_each(|_| drop(app.press(KeyEvent::new(KeyCode::Down, KeyModifiers::NONE))));
            let (text, _) = screen(&app, 80, 24, true);
            assert!(text.contains(&format!("node-{number:03}")), "{number}:\n{text}");
        }
    }

    #[test]
    fn room_is_shared() {
        for (room, rows, focus, expected) in [
            (30, [2, 3, 3], 1, [4, 5, 5]),
            (12, [9, 9, 9], 1, [4, 4, 4]),
            (9, [9, 9, 9], 1, [3, 3, 3]),
            (5, [9, 9, 9], 1, [0, 3, 2]),
            (3, [9, 9, 9], 0, [3, 0, 0]),
            (1, [9, 9, 9], 0, [0, 0, 0]),
            (0, [0, 0, 0], 0, [0, 0, 0]),
        ] {
            assert_eq!(shares(room, &rows, focus), expected, "{room} {rows:?}");
        }
    }
}
