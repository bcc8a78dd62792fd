//! What `shoal lab` prints when everything is ready.

use std::path::Path;

use super::material::CONSOLE_USER;
use crate::{
    labs::description::Description,
    output::{self, Cell, column, sentences},
};

/// Endpoints, pids, a line that works, and what to do next.
#[must_use]
pub fn text(
    description: &Description,
    directory: &Path,
    is_default: bool,
    password: &str,
) -> String {
    let rows = description.processes.iter().map(|process| {
        let endpoints: Vec<_> = process
            .endpoints
            .iter()
            .map(|(purpose, address)| format!("{purpose} {address}"))
            .collect();
        vec![Cell::new(&process.name), Cell::new(process.pid), Cell::new(endpoints.join(", "))]
    });
    let table = output::table(&[column("NAME", 0), column("PID", 0), sentences("ENDPOINTS")], rows);
    let first = description.frontends.first().map_or("", String::as_str);
    let second = description
        .frontends
        .get(1)
        .map_or(String::new(), |second| format!("   (or http://{second})"));
    let chosen =
        if is_default { String::new() } else { format!(" --data-dir {}", directory.display()) };
    let node = description
        .processes
        .iter()
        .find(|process| process.service == "proxy-node")
        .map_or("proxy-node-1", |node| &node.name);
    let console = description
        .processes
        .iter()
        .find_map(|process| process.endpoints.get("console"))
        .map_or("", String::as_str);
    let user = CONSOLE_USER;
    format!(
        "{table}

The lab is ready. Loopback clients may reach any origin, loopback origins included, except the \
cluster's own ports.

  curl -x http://{first} https://example.com/{second}

  http://{console}/      the cluster as a page; log in as {user} with the password {password} to \
  drain nodes there

Next, in another terminal:
  shoal status{chosen}
  shoal explain http://example.com/{chosen}
  shoal node drain {node}{chosen}          and `shoal node enable {node}{chosen}`
  edit {bundle}/cluster.yaml, then: shoal config apply {bundle}{chosen}
  shoal backup create{chosen}            and `shoal backup restore latest` goes back to it

Logs are in {logs}. Ctrl-C, or `shoal lab stop{chosen}`, drains and ends everything.",
        bundle = directory.join("bundle").display(),
        logs = directory.join("logs").display(),
    )
}
