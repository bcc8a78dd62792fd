//! What `shoal status` shows: everybody, the alarms, and what the balancers make of the nodes.

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
        match critical {
            true => Some(Severity::Critical),
            false => (!self.alarms.is_empty() || self.instances.iter().any(unwell))
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
mod tests {
    use cluster::InstanceStatus;
    use cluster::{alarm::Backend, recent::Traffic};
    use proto::balancer::{Server, Standing};
    use proto::registry::{Instance, State as Wire};

    use super::*;

    fn status(service: &str, name: &str, endpoint: (&str, &str)) -> InstanceStatus {
        let instance = Instance {
            service: service.into(),
            name: name.into(),
            id: "019d0000-0000-7000-8000-000000000001".into(),
            endpoints: [
                (endpoint.0.into(), endpoint.1.into()),
                ("grpc".into(), "127.0.0.1:1".into()),
            ]
            .into(),
            applied_revision: "4f2a".into(),
            ..Instance::default()
        };
        let now = Some(Default::default());
        let status = proto::registry::InstanceStatus {
            instance: Some(instance),
            admin_state: proto::registry::AdminState::Ready.into(),
            state: Wire::Usable.into(),
            registered_at: now,
            changed_at: now,
            lease_expires_at: now,
            effective_weight: 1,
            ..Default::default()
        };
        status.try_into().unwrap()
    }

    fn overview() -> Overview {
        Overview::from(Listing {
            instances: vec![
                status("registry", "registry-1", ("admin", "127.0.0.1:2")),
                status("proxy-node", "proxy-node-1", ("proxy", "127.0.0.1:3128")),
                status("balancer", "balancer-1", ("proxy_frontend", "127.0.0.1:8080")),
            ],
            guards: vec![PoolGuard {
                service: Service::ProxyNode,
                holding: true,
                held: vec!["proxy-node-1".into()],
                members: 1,
                well: 0,
                explanation: "all of them at once".into(),
            }],
            ..Listing::default()
        })
    }

    #[test]
    fn json_has_the_contract_s_fields() {
        let value = serde_json::to_value(overview()).unwrap();
        let first = &value["instances"][0];
        assert_eq!(
            (first["name"].as_str(), first["address"].as_str()),
            (Some("balancer-1"), Some("127.0.0.1:8080"))
        );
        assert_eq!(
            (first["state"].as_str(), first["revision"].as_str()),
            (Some("usable"), Some("4f2a"))
        );
        assert_eq!(first["service"], "balancer");
        assert!(first["reasons"].is_array());
        assert_eq!(value["instances"][1]["address"], "127.0.0.1:3128");
        assert_eq!(value["instances"][2]["address"], "127.0.0.1:1");
    }

    #[test]
    fn a_node_that_every_balancer_finds_unwell_does_not_look_well() {
        let server = |standing: Standing| Server {
            name: "proxy-node-1".into(),
            standing: standing.into(),
            discovered: true,
            reasons: vec!["check failed".into()],
            ..Server::default()
        };
        let stats = |standings: &[Standing]| {
            let servers = standings.iter().map(|standing| server(*standing)).collect();
            Stats {
                backends: vec![proto::balancer::Backend { servers, ..Default::default() }],
                ..Stats::default()
            }
        };
        let unwell = || stats(&[Standing::Unwell]);
        for (balancers, shunned) in [
            (vec![], false),
            (vec![stats(&[])], false),
            (vec![unwell(), stats(&[Standing::Usable])], false),
            (vec![unwell(), unwell()], true),
            (vec![unwell(), stats(&[])], true),
        ] {
            let overview = overview().seen_by(balancers.iter());
            let row = overview.instances.iter().find(|row| row.name == "proxy-node-1").unwrap();
            assert_eq!(
                (overview.shunned.contains(&row.name), row.state),
                (shunned, "usable"),
                "{balancers:?}"
            );
            let text = overview.text();
            assert_eq!(
                text.contains("every balancer finds it unwell: check failed"),
                shunned,
                "{text}"
            );
            assert_eq!(text.contains("  unwell  "), shunned, "{text}");
        }
    }

    #[test]
    fn what_is_remembered_is_not_called_usable() {
        let mut overview = overview().remembered();
        overview.guards.clear();
        let text = overview.text();
        assert!(text.contains("was usable") && !text.contains("  usable"), "{text}");
        let registry = text.lines().find(|line| line.starts_with("registry-1")).unwrap();
        assert!(
            registry.contains("silent")
                && registry.contains("it does not answer")
                && !registry.contains("usable"),
            "{registry}"
        );
        let json = serde_json::to_value(&overview).unwrap();
        let states: Vec<_> = (0..3)
            .map(|row| {
                (
                    &json["instances"][row]["name"],
                    &json["instances"][row]["state"],
                    &json["instances"][row]["stale"],
                )
            })
            .collect();
        assert_eq!(states[2], (&"registry-1".into(), &"silent".into(), &true.into()));
        assert_eq!(states[0], (&"balancer-1".into(), &"usable".into(), &true.into()));
        assert_eq!(overview.worst(), Some(Severity::Critical));
    }

    #[test]
    fn the_exit_code_knows_about_clients() {
        let calm = || {
            let mut calm = overview();
            calm.guards.clear();
            calm
        };
        let served = |usable, requests, failed| Served {
            backends: vec![Backend {
                name: "squid".into(),
                balancer: "balancer-1".into(),
                usable,
                unwell: 0,
                excluded: 1,
            }],
            balancers: vec![("balancer-1".into(), Traffic { seconds: 60, requests, failed })],
            nodes: vec![],
        };
        for (served, worst) in [
            (served(1, 100, 0), None),
            (served(1, 1000, 10), Some(Severity::Warning)),
            (served(1, 100, 50), Some(Severity::Critical)),
            (served(0, 0, 0), Some(Severity::Critical)),
            (Served::default(), Some(Severity::Critical)),
        ] {
            assert_eq!(calm().with_alarms(&served).worst(), worst, "{served:?}");
        }
        let text = calm().with_alarms(&served(0, 0, 0)).text();
        assert!(
            text.starts_with("CRITICAL: backend squid has no usable server, 1 drained")
                && text.contains("\n => bring one back"),
            "{text}"
        );
        let in_state = |known, admin_state| {
            let mut overview = calm().with_alarms(&served(1, 0, 0));
            (overview.instances[1].known, overview.instances[1].admin_state) = (known, admin_state);
            overview.worst()
        };
        assert_eq!(in_state(State::Lost, AdminState::Ready), Some(Severity::Warning));
        assert_eq!(
            in_state(State::Draining, AdminState::Ready),
            Some(Severity::Warning),
            "it stops by itself"
        );
        assert_eq!(in_state(State::Draining, AdminState::Drain), None, "as was asked for");
        assert_eq!(in_state(State::Maintenance, AdminState::Maintenance), None);
    }

    #[test]
    fn text_shows_guards_with_their_remedy() {
        let text = overview().text();
        assert!(
            text.contains("balancer-1") && text.contains("shoal node accept-losses proxy-node"),
            "{text}"
        );
    }
}
