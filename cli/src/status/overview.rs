//! What `shoal status` shows: everybody, the alarms, and what the balancers make of the nodes.

mod addresses;
mod row;

use std::collections::BTreeSet;

use chassis::operator::Listing;
use cluster::{
    AdminState, PoolGuard, Service, State,
    alarm::{Served, Severity, alarms},
};
use proto::balancer::Stats;
use serde::Serialize;

use self::row::{SILENT, place};
use super::shunned;
use crate::{
    alarm,
    output::{self, Cell, Column, View, column, sentences},
};

pub use self::row::{Row, state_name};

/// What the registry lists.
#[derive(Debug, Serialize)]
pub struct Overview {
    /// Everybody, by service and name.
    pub instances: Vec<Row>,
    /// Pools whose losses are held back.
    pub guards: Vec<PoolGuard>,
    /// Names of nodes that every balancer finds unwell: they get no request, whatever the registry
    /// makes of them.
    pub shunned: BTreeSet<String>,
    /// Clients that are not served, and clients that will not be.
    pub alarms: Vec<alarm::Told>,
    /// Addresses that move between balancers, as each balancer that takes part sees them.
    pub virtual_routers: Vec<addresses::Row>,
    /// The registry does not answer.
    #[serde(skip)]
    pub(super) stale: bool,
}

impl From<Listing> for Overview {
    fn from(listing: Listing) -> Self {
        let mut instances: Vec<_> = listing.instances.into_iter().map(Row::from).collect();
        instances.sort_by(|one, other| {
            (place(one.service), &one.name).cmp(&(place(other.service), &other.name))
        });
        Self {
            instances,
            guards: listing.guards,
            shunned: BTreeSet::new(),
            alarms: Vec::new(),
            virtual_routers: Vec::new(),
            stale: false,
        }
    }
}

impl Overview {
    /// Adds what the balancers see: a node that the registry finds usable and that gets no request
    /// must not look well.
    pub(super) fn seen_by<'a>(
        mut self,
        balancers: impl Iterator<Item = &'a Stats> + Clone,
    ) -> Self {
        for row in self
            .instances
            .iter_mut()
            .filter(|row| matches!(row.known, State::Usable | State::Suspect))
        {
            let Some(server) = shunned(balancers.clone(), &row.name) else { continue };
            self.shunned.insert(row.name.clone());
            row.reasons.insert(
                0,
                format!("every balancer finds it unwell: {}", server.reasons.join("; ")),
            );
        }
        self
    }

    /// Adds who holds the addresses that move between balancers.
    pub(super) fn with_addresses(mut self, balancers: &[(String, Stats)]) -> Self {
        self.virtual_routers = addresses::rows(balancers);
        self
    }

    /// Adds what nobody may keep quiet about. Where balancers are listed and none answers, that is
    /// one of the alarms.
    pub(super) fn with_alarms(mut self, served: &Served) -> Self {
        self.alarms = alarms(served).into_iter().map(alarm::Told::from).collect();
        let listed: Vec<_> = self
            .instances
            .iter()
            .filter(|row| row.service == Service::Balancer)
            .map(|row| row.name.clone())
            .collect();
        if served.balancers.is_empty() {
            let text = if listed.is_empty() {
                "no balancer is registered: clients cannot come in"
            } else {
                "no balancer answers from here"
            };
            let remedy = "see whether they run, and their logs: `shoal doctor`".to_owned();
            self.alarms.insert(
                0,
                alarm::Told {
                    severity: alarm::word(Severity::Critical),
                    subjects: listed,
                    text: text.to_owned(),
                    remedy,
                },
            );
        }
        self
    }

    /// What the registry listed before it fell silent: nothing of it is as sure as it looks, and
    /// least of all the registry itself.
    #[must_use]
    pub fn remembered(mut self) -> Self {
        self.stale = true;
        for row in &mut self.instances {
            row.stale = true;
            if row.service == Service::Registry {
                row.state = SILENT;
                row.reasons.insert(0, "it does not answer".to_owned());
            }
        }
        self
    }

    /// The worst of everything that is to be seen here; what an operator asked for is none of it.
    pub(super) fn worst(&self) -> Option<Severity> {
        let critical = self.stale || self.guards.iter().any(|guard| guard.holding);
        let critical = critical
            || self.alarms.iter().any(|told| told.severity == alarm::word(Severity::Critical));
        let unwell = |row: &Row| match row.known {
            State::Usable => self.shunned.contains(&row.name),
            State::Starting | State::Suspect | State::Critical | State::Lost => true,
            // It stops, and nobody asked for it.
            State::Draining => row.admin_state == AdminState::Ready,
            State::Maintenance => false,
        };
        let unheld = self.virtual_routers.iter().any(addresses::Row::is_unwell);
        match critical {
            true => Some(Severity::Critical),
            false => (!self.alarms.is_empty() || unheld || self.instances.iter().any(unwell))
                .then_some(Severity::Warning),
        }
    }
}

pub(super) const COLUMNS: &[Column] = &[
    column("NAME", 0),
    column("SERVICE", 4),
    column("ADDRESS", 3),
    column("STATE", 0),
    column("REVISION", 5),
    column("WEIGHT", 6),
    sentences("REASONS"),
];

impl View for Overview {
    fn text(&self) -> String {
        let mut text = String::new();
        for told in &self.alarms {
            text.push_str(&format!("{}\n\n", alarm_text(told)));
        }
        if self.instances.is_empty() {
            return format!("{text}The registry lists nobody yet.");
        }
        let rows = self.instances.iter().map(|row| {
            let [name, service, address] =
                [row.name.as_str(), row.service.as_str(), &row.address].map(Cell::new);
            let revision = if row.revision.is_empty() { "-" } else { &row.revision };
            vec![
                name,
                service,
                address,
                row.state_cell(self.shunned.contains(&row.name)),
                Cell::new(revision),
                Cell::new(row.weight),
                Cell::new(row.reasons.join("; ")),
            ]
        });
        text.push_str(&output::table(COLUMNS, rows));
        text.push_str(&addresses::text(&self.virtual_routers));
        for guard in self.guards.iter().filter(|guard| guard.holding) {
            text.push_str(&format!(
                "\n\nLosses of {} are held back ({} of {} well; held: {}): {}",
                guard.service,
                guard.well,
                guard.members,
                guard.held.join(", "),
                guard.explanation
            ));
            text.push_str(&format!(
                "\nIf they are real: shoal node accept-losses {}",
                guard.service
            ));
        }
        text
    }
}

/// An alarm in lines as wide as whoever looks has room for.
pub fn alarm_text(told: &alarm::Told) -> String {
    let room = output::width().unwrap_or(usize::MAX);
    let subjects = if told.subjects.is_empty() {
        String::new()
    } else {
        format!(" ({})", told.subjects.join(", "))
    };
    let lines =
        output::wrap(&format!("{}: {}{subjects}", told.severity.to_uppercase(), told.text), room);
    let remedy = output::wrap(&told.remedy, room.saturating_sub(4)).join("\n    ");
    format!("{}\n => {remedy}", lines.join("\n"))
}

#[cfg(test)]
mod tests;
