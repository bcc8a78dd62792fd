//! Who holds the addresses that move between balancers.

use cluster::wire;
use proto::balancer::{Stats, VirtualRouter, VirtualRouterState};
use serde::Serialize;

use crate::output::{self, Cell, Column, column, sentences};

/// One instance of VRRP on one balancer.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The instance.
    pub name: String,
    /// The balancer.
    pub balancer: String,
    pub interface: String,
    pub virtual_router_id: u32,
    pub version: u32,
    pub addresses: Vec<String>,
    /// `master`, `backup` or `fault`.
    pub state: &'static str,
    pub since: Option<jiff::Timestamp>,
    /// What the balancer says now.
    pub priority: u32,
    pub configured_priority: u32,
    /// Why it takes no part, why its priority is another one, or whom it hears.
    pub reason: String,
    /// How often it took the addresses.
    pub became_master: u64,
}

impl Row {
    fn of(balancer: &str, it: &VirtualRouter) -> Self {
        let state = match it.state() {
            VirtualRouterState::Master => "master",
            VirtualRouterState::Backup => "backup",
            VirtualRouterState::Fault | VirtualRouterState::Unspecified => "fault",
        };
        let mut reasons = Vec::new();
        if !it.fault.is_empty() {
            reasons.push(it.fault.clone());
        }
        if !it.ailment.is_empty() {
            reasons.push(format!(
                "{} less {}: {}",
                it.configured_priority,
                it.configured_priority.saturating_sub(it.priority),
                it.ailment
            ));
        }
        if !it.master.is_empty() {
            reasons.push(format!("hears {}", it.master));
        }
        Self {
            name: it.name.clone(),
            balancer: balancer.to_owned(),
            interface: it.interface.clone(),
            virtual_router_id: it.virtual_router_id,
            version: it.version,
            addresses: it.addresses.clone(),
            state,
            since: it.since.and_then(|since| wire::from_timestamp(Some(since))),
            priority: it.priority,
            configured_priority: it.configured_priority,
            reason: reasons.join("; "),
            became_master: it.became_master,
        }
    }

    /// It takes no part, or with less than its priority.
    pub(super) fn is_unwell(&self) -> bool {
        self.state == "fault" || self.priority < self.configured_priority
    }
}

/// By instance; whoever holds the addresses first.
pub fn rows(balancers: &[(String, Stats)]) -> Vec<Row> {
    let mut rows: Vec<_> = balancers
        .iter()
        .flat_map(|(name, stats)| stats.virtual_routers.iter().map(|it| Row::of(name, it)))
        .collect();
    rows.sort_by(|one, other| {
        let key = |it: &Row| (it.name.clone(), it.state != "master", it.balancer.clone());
        key(one).cmp(&key(other))
    });
    rows
}

const COLUMNS: &[Column] = &[
    column("ADDRESS", 0),
    column("VRRP", 4),
    column("BALANCER", 0),
    column("STATE", 0),
    column("PRIORITY", 3),
    column("SINCE", 5),
    sentences("REASONS"),
];

/// A table of its own, where there are any.
pub fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let cells = rows.iter().map(|row| {
        let since = row
            .since
            .map_or_else(String::new, |it| it.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
        vec![
            Cell::new(row.addresses.join(" ")),
            Cell::new(&row.name),
            Cell::new(&row.balancer),
            Cell::new(row.state),
            Cell::new(row.priority),
            Cell::new(since),
            Cell::new(&row.reason),
        ]
    });
    format!("\n\n{}", output::table(COLUMNS, cells))
}
