use super::section::shares;
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
        (0..number).for_each(|_| drop(app.press(KeyEvent::new(KeyCode::Down, KeyModifiers::NONE))));
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
