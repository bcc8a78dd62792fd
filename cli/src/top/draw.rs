//! Drawing: the state onto whatever room a terminal has.

mod section;
#[cfg(test)]
mod tests;

use ratatui::{
    Frame,
    layout::Rect,
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Clear, Paragraph},
};

use self::section::body;
use super::{
    app::{App, Mode},
    table::{Tone, padded, sparkline},
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
