//! Who is in the picture, and what flows between them.

use std::collections::{BTreeMap, BTreeSet};

use cluster::{Service, State};

use crate::{
    history::{Measure, Meter},
    look::{self, Look},
    traffic::BalancerStats,
    view::View,
    words,
};

/// Nodes that are drawn one by one.
pub const MOST_NODES: usize = 12;
/// Balancers that are drawn one by one.
pub const MOST_BALANCERS: usize = 6;

/// Everything in the picture. Places in `actors` are what flows refer to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scene {
    /// The clients first, what is beyond last.
    pub actors: Vec<Actor>,
    /// From left to right.
    pub flows: Vec<Flow>,
}

/// Which column somebody stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    Clients,
    Balancers,
    Nodes,
    /// Who is asked when no node knows.
    Beyond,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Actor {
    /// Where it stands.
    pub column: Column,
    pub title: String,
    /// What is to be known of it, short.
    pub lines: Vec<String>,
    /// Its state; none for those who have none.
    pub look: Option<Look>,
    /// It has a page of its own.
    pub linked: bool,
    /// The same for somebody who does not see the picture.
    pub label: String,
}

/// Requests from one to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// Place of the actor who asks.
    pub from: usize,
    /// Place of the actor who is asked.
    pub to: usize,
    /// Per second; none when nobody knows.
    pub rate: Option<f64>,
    /// Nothing is to flow here: whoever it leads to is excluded, unwell or gone.
    pub idle: bool,
}

/// A name drawn one by one, or the rest together.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Drawn {
    One(String),
    Rest(BTreeSet<String>),
}

/// The scene of a view.
#[must_use]
pub fn of(view: &View) -> Scene {
    let balancers = choose(
        view.of(Service::Balancer).map(|it| (it.instance.name.clone(), it.state)),
        MOST_BALANCERS,
    );
    let nodes = choose(servers(view), MOST_NODES);
    let mut scene = Scene::default();
    scene.actors.push(clients(view));
    scene.actors.extend(balancers.iter().map(|drawn| balancer(view, drawn)));
    let first_node = scene.actors.len();
    scene.actors.extend(nodes.iter().map(|drawn| node(view, drawn)));
    let beyond = scene.actors.len();
    scene.actors.push(beyond_nodes(view));
    for (place, from) in balancers.iter().enumerate() {
        let rate = view.history.rates(view.history.meters(
            |meter| matches!(meter, Meter::Frontend { balancer, .. } if from.has(balancer)),
        ));
        scene.flows.push(Flow {
            from: 0,
            to: 1 + place,
            rate,
            idle: scene.actors[1 + place].is_out(),
        });
        for (offset, to) in nodes.iter().enumerate().filter(|(_, to)| knows(view, from, to)) {
            let wanted = |meter: &Meter| match meter {
                Meter::Server { balancer, server, .. } => from.has(balancer) && to.has(server),
                _ => false,
            };
            let rate = view.history.rates(view.history.meters(wanted));
            let idle = scene.actors[first_node + offset].is_out();
            scene.flows.push(Flow { from: 1 + place, to: first_node + offset, rate, idle });
        }
    }
    for (offset, from) in nodes.iter().enumerate() {
        let rate = node_rate(view, from, Measure::Onward);
        scene.flows.push(Flow {
            from: first_node + offset,
            to: beyond,
            rate,
            idle: scene.actors[first_node + offset].is_out(),
        });
    }
    scene
}

impl Drawn {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Rest(names) => names.contains(name),
        }
    }
}

impl Actor {
    fn is_out(&self) -> bool {
        self.look.is_some_and(|look| matches!(look.class, "gone" | "bad" | "asked"))
    }
}

/// Nodes that are registered, and servers that only the bundle names.
fn servers(view: &View) -> impl Iterator<Item = (String, State)> {
    let mut found: BTreeMap<String, State> =
        view.of(Service::ProxyNode).map(|it| (it.instance.name.clone(), it.state)).collect();
    let pools = view
        .balancers
        .values()
        .flat_map(|stats: &std::sync::Arc<BalancerStats>| stats.backends.iter());
    for server in pools.flat_map(|pool| &pool.servers).filter(|server| !server.discovered) {
        found.entry(server.name.clone()).or_insert(State::Usable);
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by(|(one, _), (other, _)| natural(one).cmp(&natural(other)));
    found.into_iter()
}

/// `node-10` after `node-9`.
fn natural(name: &str) -> (&str, u64, &str) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem, name[stem.len()..].parse().unwrap_or(0), name)
}

/// All of them, or the unwell ones first and the rest together, so that a large cluster shows what
/// matters.
fn choose(all: impl Iterator<Item = (String, State)>, most: usize) -> Vec<Drawn> {
    let all: Vec<_> = all.collect();
    if all.len() <= most {
        return all.into_iter().map(|(name, _)| Drawn::One(name)).collect();
    }
    let (mut well, unwell): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|(_, state)| *state == State::Usable);
    let mut one: Vec<_> = unwell.into_iter().collect();
    let mut rest = one.split_off(one.len().min(most - 1));
    let room = (most - 1).saturating_sub(one.len()).min(well.len());
    rest.extend(well.split_off(room));
    one.extend(well);
    one.sort_by(|(one, _), (other, _)| natural(one).cmp(&natural(other)));
    let mut drawn: Vec<_> = one.into_iter().map(|(name, _)| Drawn::One(name)).collect();
    drawn.push(Drawn::Rest(rest.into_iter().map(|(name, _)| name).collect()));
    drawn
}

fn knows(view: &View, from: &Drawn, to: &Drawn) -> bool {
    view.balancers.iter().filter(|(name, _)| from.has(name)).any(|(_, stats)| {
        let mut servers = stats.backends.iter().flat_map(|pool| &pool.servers);
        servers.any(|server| to.has(&server.name))
    })
}

fn node_rate(view: &View, node: &Drawn, wanted: Measure) -> Option<f64> {
    let meters = view.history.meters(|meter| match meter {
        Meter::Node { node: name, measure } => *measure == wanted && node.has(name),
        _ => false,
    });
    view.history.rates(meters)
}

fn clients(view: &View) -> Actor {
    let frontends = || view.balancers.values().flat_map(|stats| &stats.frontends);
    let active: u64 = frontends().map(|frontend| frontend.active).sum();
    let rate =
        view.history.rates(view.history.meters(|meter| matches!(meter, Meter::Frontend { .. })));
    let lines = vec![words::rate(rate), words::counted(active, "connection")];
    let label = format!(
        "clients: {} requests, {}",
        words::rate(rate),
        words::counted(active, "connection")
    );
    Actor {
        column: Column::Clients,
        title: "clients".into(),
        lines,
        look: None,
        linked: false,
        label,
    }
}

fn balancer(view: &View, drawn: &Drawn) -> Actor {
    let name = match drawn {
        Drawn::One(name) => name,
        Drawn::Rest(names) => return rest(view, Column::Balancers, names, "balancers"),
    };
    let active: u64 = view
        .balancers
        .get(name)
        .map_or(0, |stats| stats.frontends.iter().map(|frontend| frontend.active).sum());
    let look = appearance(view, name);
    let lines = vec![look.word.to_owned(), words::counted(active, "connection")];
    let label = format!("balancer {name}: {}, {}", look.word, words::counted(active, "connection"));
    Actor {
        column: Column::Balancers,
        title: name.clone(),
        lines,
        look: Some(look),
        linked: true,
        label,
    }
}

fn node(view: &View, drawn: &Drawn) -> Actor {
    let name = match drawn {
        Drawn::One(name) => name,
        Drawn::Rest(names) => return rest(view, Column::Nodes, names, "nodes"),
    };
    let look = appearance(view, name);
    let hits = words::percent(
        node_rate(view, drawn, Measure::Hits).unwrap_or_default(),
        node_rate(view, drawn, Measure::Lookups).unwrap_or_default(),
    );
    let rate = words::rate(node_rate(view, drawn, Measure::Requests));
    let lines = if view.has_page(name) {
        vec![format!("{} · {rate}", look.word), format!("hits {hits}")]
    } else {
        vec!["named in the bundle".to_owned()]
    };
    let label = format!("node {name}: {}, {rate} requests, {hits} hits", look.word);
    Actor {
        column: Column::Nodes,
        title: name.clone(),
        lines,
        look: Some(look),
        linked: view.has_page(name),
        label,
    }
}

/// Many together. They look like the worst of them.
fn rest(view: &View, column: Column, names: &BTreeSet<String>, kind: &str) -> Actor {
    let states: Vec<_> =
        names.iter().filter_map(|name| view.instance(name)).map(|status| status.state).collect();
    let well = states.iter().filter(|state| **state == State::Usable).count();
    let worst =
        states.iter().copied().find(|state| *state != State::Usable).unwrap_or(State::Usable);
    let look = if view.stale_since().is_some() { look::was(worst) } else { look::state(worst) };
    let rate = words::rate(node_rate(view, &Drawn::Rest(names.clone()), Measure::Requests));
    let title = format!("{} more {kind}", names.len());
    let lines =
        vec![format!("{well} usable"), if column == Column::Nodes { rate } else { String::new() }];
    let label = format!("{title}, {well} of them usable");
    Actor { column, title, lines, look: Some(look), linked: false, label }
}

fn beyond_nodes(view: &View) -> Actor {
    let onward = view.history.rates(
        view.history.meters(|meter| matches!(meter, Meter::Node { measure: Measure::Onward, .. })),
    );
    let parents = &view.configuration.parents;
    let (title, mut lines) = match parents.as_slice() {
        [] => ("origins".to_owned(), Vec::new()),
        [one] => ("parent proxy".to_owned(), vec![one.clone()]),
        [first, rest @ ..] => {
            ("parent proxies".to_owned(), vec![format!("{first} +{}", rest.len())])
        }
    };
    lines.insert(0, words::rate(onward));
    let label = format!("{title}: {} requests", words::rate(onward));
    Actor { column: Column::Beyond, title, lines, look: None, linked: false, label }
}

/// The registry's word; for a server that it does not know, the balancers' (the worst of them).
fn appearance(view: &View, name: &str) -> Look {
    if let Some(status) = view.instance(name) {
        return view.look(status);
    }
    let servers = view
        .balancers
        .values()
        .flat_map(|stats| stats.backends.iter())
        .flat_map(|pool| &pool.servers);
    let worst = servers.filter(|server| server.name == name).map(|server| server.standing).max();
    worst.map_or(look::UNKNOWN, look::standing)
}

#[cfg(test)]
mod tests;
