//! `shoal cache purges`: the registry's log, and how far the nodes are in it.

use anyhow::Result;
use cluster::wire::from_timestamp;
use jiff::{Timestamp, tz::TimeZone};
use proto::{
    purge::{Purge, purge::Scope},
    registry::{ListPurgesRequest, LoggedPurge, PurgeFollower},
};
use serde::Serialize;

use crate::{
    cluster::{Cluster, age, call},
    output::{self, Cell, Column, Format, View, column, sentences},
};

#[derive(Serialize)]
struct Purges {
    epoch: u64,
    newest: u64,
    /// The log has everything behind this position.
    reaches_back_to: u64,
    purges: Vec<Logged>,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct Logged {
    position: u64,
    at: Option<Timestamp>,
    what: String,
    soft: bool,
    by: String,
    reason: String,
}

#[derive(Serialize)]
struct Node {
    name: String,
    /// Everything up to here is done there.
    applied: u64,
    connected: bool,
    silent_for_seconds: i64,
}

pub(super) async fn list(cluster: &Cluster, limit: u32, format: Format) -> Result<()> {
    let asked = async { cluster.registry().list_purges(ListPurgesRequest { limit }).await };
    let listed = call("the registry", asked).await?;
    let newest = listed.newest.unwrap_or_default();
    let purges = Purges {
        epoch: newest.epoch,
        newest: newest.position,
        reaches_back_to: listed.reaches_back_to,
        purges: listed.purges.into_iter().map(Logged::from).collect(),
        nodes: listed.followers.into_iter().map(Node::from).collect(),
    };
    cluster.show(&purges, format)
}

impl From<LoggedPurge> for Logged {
    fn from(logged: LoggedPurge) -> Self {
        let purge = logged.purge.unwrap_or_default();
        Self {
            position: logged.position,
            at: from_timestamp(logged.at),
            what: what(&purge),
            soft: purge.soft,
            by: logged.by,
            reason: logged.reason,
        }
    }
}

impl From<PurgeFollower> for Node {
    fn from(follower: PurgeFollower) -> Self {
        Self {
            name: follower.name,
            applied: follower.applied,
            connected: follower.connected,
            silent_for_seconds: follower.silent_for.unwrap_or_default().seconds,
        }
    }
}

/// For people.
fn what(purge: &Purge) -> String {
    match &purge.scope {
        Some(Scope::Url(url)) => url.clone(),
        Some(Scope::Prefix(prefix)) => format!("{prefix}*"),
        Some(Scope::Host(host)) => format!("host {host}"),
        Some(Scope::Tag(tag)) => format!("tag {tag}"),
        Some(Scope::Regex(regex)) => format!("regex {regex}"),
        Some(Scope::Everything(_)) => "everything".to_owned(),
        None => "-".to_owned(),
    }
}

const PURGES: &[Column] = &[
    column("NO", 0),
    column("WHEN", 1),
    column("WHAT", 0),
    column("MODE", 2),
    column("BY", 3),
    sentences("REASON"),
];

impl View for Purges {
    fn text(&self) -> String {
        let rows = self.purges.iter().map(|logged| {
            let at = logged.at.map_or_else(String::new, |at| {
                at.to_zoned(TimeZone::system()).strftime("%F %T").to_string()
            });
            let mode = if logged.soft { "soft" } else { "hard" };
            vec![
                Cell::new(logged.position),
                Cell::new(at),
                Cell::new(&logged.what),
                Cell::new(mode),
                Cell::new(&logged.by),
                Cell::new(&logged.reason),
            ]
        });
        let mut text = output::table(PURGES, rows);
        if self.purges.is_empty() {
            text = "nothing has been purged".to_owned();
        }
        for node in &self.nodes {
            let behind = match self.newest.saturating_sub(node.applied) {
                0 => "has done all of them".to_owned(),
                behind => format!("has {behind} to do"),
            };
            let silent = jiff::SignedDuration::from_secs(node.silent_for_seconds);
            let heard = if node.connected { "" } else { &*format!(", away for {}", age(silent)) };
            text.push_str(&format!("\n{} {behind}{heard}", node.name));
        }
        text
    }
}
