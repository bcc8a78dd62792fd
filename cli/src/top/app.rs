//! What the person at the keyboard has chosen: which table, which row, which order, and what is
//! about to be asked. Pure: keys in, effects out.

use std::collections::{BTreeMap, VecDeque};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    model::Model,
    table::{Kind, Table, tables},
};

/// Rates kept for the rows of bars.
const HISTORY: usize = 120;

/// What somebody wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Drain,
    Enable,
}

impl Act {
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Enable => "enable",
        }
    }
}

/// What follows from a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Nothing,
    Quit,
    /// Confirmed.
    Do {
        act: Act,
        name: String,
        /// Although nobody usable is left.
        force: bool,
    },
}

/// What keys mean at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Look,
    Help,
    /// A filter is being typed.
    Filter,
    /// `y` does it, everything else does not.
    Confirm(Act, String),
    /// It is the last that serves clients: `Y` drains it all the same.
    ConfirmLast(String),
}

/// The state.
#[derive(Debug)]
pub struct App {
    pub mode: Mode,
    pub focus: Kind,
    pub filter: String,
    /// Selected rows, by their ids, so that a selection stays with its row.
    selected: BTreeMap<Kind, String>,
    /// Column by which a table is sorted.
    sorted: BTreeMap<Kind, usize>,
    pub model: Model,
    /// Requests a second of all frontends, newest last.
    pub history: VecDeque<f64>,
    /// What came of the last act.
    pub message: String,
    /// Which cluster this is.
    pub cluster: String,
}

impl Default for App {
    fn default() -> Self {
        Self {
            mode: Mode::Look,
            focus: Kind::Servers,
            filter: String::new(),
            selected: BTreeMap::new(),
            sorted: BTreeMap::new(),
            model: Model::default(),
            history: VecDeque::new(),
            message: String::new(),
            cluster: String::new(),
        }
    }
}

const KINDS: [Kind; 3] = [Kind::Balancers, Kind::Servers, Kind::Nodes];

impl App {
    /// Of a cluster that goes by this name.
    pub fn of(cluster: String) -> Self {
        Self { cluster, ..Self::default() }
    }

    /// Shows another moment.
    pub fn show(&mut self, model: Model) {
        if let Some(rate) = model.total.requests_per_second {
            self.history.push_back(rate);
            if self.history.len() > HISTORY {
                self.history.pop_front();
            }
        }
        self.model = model;
    }

    /// The tables as chosen: filtered and sorted.
    pub fn tables(&self) -> [Table; 3] {
        let mut tables = tables(&self.model);
        for table in &mut tables {
            if !self.filter.is_empty() {
                table.filter(&self.filter);
            }
            if let Some(column) = self.sorted.get(&table.kind) {
                table.sort(*column);
            }
        }
        tables
    }

    /// Which row of a table is selected: the one that was, or the first.
    pub fn selected(&self, table: &Table) -> usize {
        let wanted = self.selected.get(&table.kind);
        table.rows.iter().position(|row| Some(&row.id) == wanted).unwrap_or(0)
    }

    /// The column by which a table is sorted, when one was chosen.
    pub fn sorted(&self, kind: Kind) -> Option<usize> {
        self.sorted.get(&kind).copied()
    }

    fn focused(&self) -> Table {
        let [balancers, servers, nodes] = self.tables();
        match self.focus {
            Kind::Balancers => balancers,
            Kind::Servers => servers,
            Kind::Nodes => nodes,
        }
    }

    /// Takes a key.
    pub fn press(&mut self, key: KeyEvent) -> Effect {
        if key.modifiers.contains(KeyModifiers::CONTROL)
            && matches!(key.code, KeyCode::Char('c' | 'd'))
        {
            return Effect::Quit;
        }
        match std::mem::take(&mut self.mode) {
            Mode::Help => Effect::Nothing,
            Mode::Filter => self.type_filter(key.code),
            Mode::Confirm(Act::Drain, name)
                if matches!(key.code, KeyCode::Char('y' | 'Y'))
                    && self.model.last.contains(&name) =>
            {
                self.mode = Mode::ConfirmLast(name);
                Effect::Nothing
            }
            Mode::Confirm(act, name) if matches!(key.code, KeyCode::Char('y' | 'Y')) => {
                self.message = format!("{} {name} …", act.verb());
                Effect::Do { act, name, force: false }
            }
            Mode::ConfirmLast(name) if key.code == KeyCode::Char('Y') => {
                self.message = format!("drain {name} …");
                Effect::Do { act: Act::Drain, name, force: true }
            }
            Mode::ConfirmLast(name) => {
                self.message = format!("{name} is left as it is: no drain");
                Effect::Nothing
            }
            Mode::Confirm(act, name) => {
                self.message = format!("{name} is left as it is: no {}", act.verb());
                Effect::Nothing
            }
            Mode::Look => self.look(key.code),
        }
    }

    fn look(&mut self, code: KeyCode) -> Effect {
        self.message.clear();
        match code {
            KeyCode::Char('q') => return Effect::Quit,
            KeyCode::Esc if self.filter.is_empty() => return Effect::Quit,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char('f' | '/') => self.mode = Mode::Filter,
            KeyCode::Char('s') => self.sort_by_next(),
            KeyCode::Char('d') => self.ask(Act::Drain),
            KeyCode::Char('e') => self.ask(Act::Enable),
            KeyCode::Up | KeyCode::Char('k') => self.move_by(-1),
            KeyCode::Down | KeyCode::Char('j') => self.move_by(1),
            KeyCode::PageUp => self.move_by(-10),
            KeyCode::PageDown => self.move_by(10),
            KeyCode::Home | KeyCode::Char('g') => self.move_by(isize::MIN / 2),
            KeyCode::End | KeyCode::Char('G') => self.move_by(isize::MAX / 2),
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(KINDS.len() - 1),
            _ => {}
        }
        Effect::Nothing
    }

    fn type_filter(&mut self, code: KeyCode) -> Effect {
        match code {
            KeyCode::Enter => return Effect::Nothing,
            KeyCode::Esc => {
                self.filter.clear();
                return Effect::Nothing;
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(character) if self.filter.len() < 64 => self.filter.push(character),
            _ => {}
        }
        self.mode = Mode::Filter;
        Effect::Nothing
    }

    fn turn(&mut self, by: usize) {
        let place = KINDS.iter().position(|kind| *kind == self.focus).unwrap_or(0);
        self.focus = KINDS[(place + by) % KINDS.len()];
    }

    fn move_by(&mut self, by: isize) {
        let table = self.focused();
        let place =
            self.selected(&table).saturating_add_signed(by).min(table.rows.len().saturating_sub(1));
        if let Some(row) = table.rows.get(place) {
            self.selected.insert(table.kind, row.id.clone());
        }
    }

    /// The next column, and after the last one none.
    fn sort_by_next(&mut self) {
        let columns = self.focused().columns;
        let next = self.sorted.get(&self.focus).map_or(0, |column| column + 1);
        if next < columns.len() {
            self.sorted.insert(self.focus, next);
            self.message = format!("sorted by {}", columns[next].title);
        } else {
            self.sorted.remove(&self.focus);
            self.message = "sorted by name".to_owned();
        }
    }

    fn ask(&mut self, act: Act) {
        let table = self.focused();
        match table.rows.get(self.selected(&table)) {
            None => self.message = format!("there is nothing to {}", act.verb()),
            Some(row) => match &row.instance {
                Some(name) => {
                    self.selected.insert(table.kind, row.id.clone());
                    self.mode = Mode::Confirm(act, name.clone());
                }
                None => {
                    self.message = format!(
                        "{} is named in the bundle, not registered: change it there",
                        row.id
                    )
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::model::{model, tests::snapshot};

    fn app() -> App {
        let mut app = App::default();
        app.show(model(&snapshot()));
        app
    }

    fn press(app: &mut App, keys: &str) -> Effect {
        let mut effect = Effect::Nothing;
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '\t' => KeyCode::Tab,
                '\u{8}' => KeyCode::Backspace,
                key => KeyCode::Char(key),
            };
            effect = app.press(KeyEvent::new(code, KeyModifiers::NONE));
        }
        effect
    }

    #[test]
    fn keys() {
        let effect = |act, name: &str, force| Effect::Do { act, name: name.to_owned(), force };
        let drain = |name: &str| effect(Act::Drain, name, false);
        for (keys, expected) in [
            ("q", Effect::Quit),
            ("\u{1b}", Effect::Quit),
            ("?q", Effect::Nothing),
            ("?qq", Effect::Quit),
            // The last one that is usable asks a second time.
            ("dy", Effect::Nothing),
            ("dyy", Effect::Nothing),
            ("dyn", Effect::Nothing),
            ("dyY", effect(Act::Drain, "n-1", true)),
            ("dyYY", Effect::Nothing),
            ("jdy", drain("n-2")),
            ("jjjkdyY", effect(Act::Drain, "n-1", true)),
            ("ey", effect(Act::Enable, "n-1", false)),
            ("Gdy", drain("n-2")),
            ("GgdyY", effect(Act::Drain, "n-1", true)),
            ("dn", Effect::Nothing),
            ("dq", Effect::Nothing),
            ("d\n", Effect::Nothing),
            ("jey", effect(Act::Enable, "n-2", false)),
            ("\tjdy", drain("n-2")),
            ("\t\tdy", drain("b-1")),
            ("fn-2\ndy", drain("n-2")),
            ("fn-2\u{8}1\ndyY", effect(Act::Drain, "n-1", true)),
            ("fnobody\ndy", Effect::Nothing),
            // A `q` in a filter is a letter; Esc takes the filter away before it quits.
            ("fq", Effect::Nothing),
            ("fx\n\u{1b}", Effect::Nothing),
            ("fx\n\u{1b}\u{1b}", Effect::Quit),
        ] {
            assert_eq!(press(&mut app(), keys), expected, "{keys:?}");
        }
        let control = |key| KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL);
        assert_eq!(app().press(control('c')), Effect::Quit);
        let mut asking = app();
        press(&mut asking, "d");
        assert_eq!(asking.press(control('c')), Effect::Quit, "also while something is asked");
    }

    #[test]
    fn a_selection_stays_with_its_row() {
        let mut app = app();
        press(&mut app, "j");
        let mut snapshot = snapshot();
        // Another server comes first.
        for told in snapshot.balancers.values_mut() {
            let mut stats = told.value().unwrap().clone();
            let first = stats.backends[0].servers[0].clone();
            stats.backends[0].servers.push(proto::balancer::Server { name: "a-0".into(), ..first });
            told.answered(stats, 4.0);
        }
        app.show(model(&snapshot));
        assert_eq!(
            press(&mut app, "dy"),
            Effect::Do { act: Act::Drain, name: "n-2".into(), force: false }
        );
    }

    #[test]
    fn sorting_goes_through_the_columns_and_back() {
        let mut app = app();
        let columns = app.focused().columns.len();
        for _ in 0..columns {
            press(&mut app, "s");
            assert!(app.sorted(Kind::Servers).is_some());
        }
        press(&mut app, "s");
        assert_eq!(app.sorted(Kind::Servers), None);
    }

    #[test]
    fn what_the_registry_does_not_know_is_not_drained_there() {
        let mut app = app();
        app.model.servers[0].discovered = false;
        assert_eq!(press(&mut app, "d"), Effect::Nothing);
        assert!(app.message.contains("bundle") && app.mode == Mode::Look, "{}", app.message);
        app.model = Model::default();
        assert_eq!(press(&mut app, "dy"), Effect::Nothing);
    }

    #[test]
    fn history_is_bounded() {
        let mut app = app();
        for _ in 0..3 * HISTORY {
            app.show(model(&snapshot()));
        }
        assert_eq!(app.history.len(), HISTORY);
    }
}
