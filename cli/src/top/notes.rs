//! Why somebody is not usable, in whole sentences, where a terminal has room below the tables:
//! columns cut what matters most. Pure.

use super::{model::Model, table::padded};
use crate::output::printable;

/// Somebody who is not usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub name: String,
    /// Everything that balancers and registry say of it, most important first.
    pub why: String,
}

const USABLE: &str = "usable";

/// One for each server or node that is not usable, in the order of the tables.
pub fn notes(model: &Model) -> Vec<Note> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let servers =
        model.servers.iter().filter(|row| row.state != USABLE).map(|row| (&row.name, &row.reasons));
    let nodes = model
        .nodes
        .iter()
        .filter(|row| row.state.trim_end_matches('?') != USABLE)
        .map(|row| (&row.name, &row.reasons));
    for (name, reasons) in servers.chain(nodes) {
        let place = found.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            found.push((name.clone(), Vec::new()));
            found.len() - 1
        });
        let said = &mut found[place].1;
        for reason in reasons {
            // A balancer repeats what it heard from the registry.
            if !said.iter().any(|known| known.contains(reason.as_str())) {
                said.push(reason.clone());
            }
        }
    }
    let note = |(name, reasons): (String, Vec<String>)| Note {
        name: printable(&name),
        why: printable(&reasons.join("; ")),
    };
    found.into_iter().filter(|(_, reasons)| !reasons.is_empty()).map(note).collect()
}

/// A note in lines of so many characters, those after the first indented to where the reasons
/// begin.
pub fn wrapped(note: &Note, width: u16) -> Vec<String> {
    let indent = (note.name.chars().count() + 2).min(usize::from(width) / 2);
    let mut lines = vec![format!("{}  ", note.name)];
    for word in note.why.split(' ') {
        let line = lines.last_mut().map(|line| (line.chars().count(), line));
        let Some((length, line)) = line else { break };
        let begun = line.ends_with(' ');
        if begun || length + 1 + word.chars().count() <= usize::from(width) {
            line.push_str(if begun { "" } else { " " });
            line.push_str(word);
        } else {
            lines.push(format!("{}{word}", " ".repeat(indent)));
        }
    }
    lines.into_iter().map(|line| padded(&line, width, false).trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::model::{model, tests::snapshot};

    #[test]
    fn who_is_not_usable_and_everything_that_is_said_of_it_once() {
        let mut model = model(&snapshot());
        assert_eq!(
            notes(&model),
            [Note { name: "n-2".into(), why: "Unwell; its lease lapsed".into() }]
        );
        model.servers[1].reasons = vec!["registry: its lease lapsed".into()];
        assert_eq!(notes(&model)[0].why, "registry: its lease lapsed", "not twice");
        model.servers[1].state = USABLE;
        model.nodes[1].state = USABLE.into();
        assert_eq!(notes(&model), []);
    }

    #[test]
    fn lines_fit_and_nothing_is_lost() {
        let note = Note {
            name: "node-1".into(),
            why: "its lease lapsed at noon; 3 checkers find it unwell".into(),
        };
        assert_eq!(
            wrapped(&note, 30),
            ["node-1  its lease lapsed at", "        noon; 3 checkers find", "        it unwell"]
        );
        assert_eq!(wrapped(&note, 100).len(), 1);
        for width in 1..100 {
            assert!(
                wrapped(&note, width).iter().all(|line| line.chars().count() <= usize::from(width)),
                "{width}"
            );
        }
    }
}
