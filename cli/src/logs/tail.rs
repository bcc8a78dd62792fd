//! The last access records of all nodes, and new ones as they come.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, bail};
use cluster::{InstanceStatus, Service};
use jiff::tz::TimeZone;
use proto::proxy::{TailAccessRequest, TailAccessResponse, proxy_node_client::ProxyNodeClient};
use serde::Serialize;
use tokio::sync::mpsc;

use super::{
    ANSWER,
    line::{Line, newest},
};
use crate::{
    cluster::{Cluster, ask_together, call},
    output::{self, Format, View},
};

/// Messages of nodes that wait to be printed; nodes wait when it is full, and say what a slow reader missed.
const WAITING: usize = 64;
/// The first messages of all nodes are printed in order; a node that takes longer comes later.
const TOGETHER: Duration = Duration::from_secs(2);
/// New nodes are looked for, and lost ones asked again, so often.
const LOOK: Duration = Duration::from_secs(5);
/// One message of a node carries at most so many.
const FIRST: u32 = 256;

#[derive(Serialize)]
struct Lines {
    records: Vec<Line>,
    /// Nodes that did not answer, and why.
    missing: Vec<String>,
    /// Nodes whose access log is switched off.
    off: Vec<String>,
}

/// Prints the last `count` records of all nodes.
///
/// # Errors
/// No node answered.
pub async fn last(cluster: &Cluster, nodes: &[InstanceStatus], count: usize, format: Format) -> Result<()> {
    let request = TailAccessRequest { last: u32::try_from(count).unwrap_or(u32::MAX), follow: false };
    let ask = async |node: &InstanceStatus| {
        let mut stream = match cluster.proxy_node(node)?.tail_access(request).await {
            Ok(stream) => stream,
            Err(status) => return Ok(Err(status)),
        };
        let (mut records, mut off) = (Vec::new(), false);
        while let Some(message) = stream.get_mut().message().await? {
            off |= message.off;
            records.extend(message.records);
        }
        Ok(Ok(tonic::Response::new((records, off))))
    };
    let mut lines = Lines { records: Vec::new(), missing: Vec::new(), off: Vec::new() };
    for (name, answer) in ask_together(nodes, ANSWER, ask).await {
        match answer {
            Ok((records, off)) => {
                lines.records.extend(records.into_iter().map(|record| Line::new(&name, record)));
                lines.off.extend(off.then_some(name));
            }
            Err(error) => lines.missing.push(format!("{error:#}")),
        }
    }
    if lines.missing.len() == nodes.len() {
        bail!("{}", lines.missing.join("; "));
    }
    lines.records = newest(lines.records, count);
    output::show(&lines, format)?;
    for why in &lines.missing {
        output::remark(&format!("without a node: {why}"));
    }
    Ok(())
}

impl View for Lines {
    fn text(&self) -> String {
        let zone = TimeZone::system();
        let mut lines: Vec<_> = self.records.iter().map(|line| line.text(&zone)).collect();
        if lines.is_empty() {
            lines.push("No requests yet.".to_owned());
        }
        lines.extend(self.off.iter().map(|name| off(name)));
        lines.join("\n")
    }
}

fn off(name: &str) -> String {
    format!("{name} keeps no records: the bundle switches its access log off (access_log: {{format: none}})")
}

/// What comes from one node.
enum News {
    Told(String, TailAccessResponse),
    Ended(String, String),
}

/// Prints the last `count` records, and then new ones until nobody reads them any more.
///
/// # Errors
/// stdout cannot be written.
pub async fn follow(cluster: &Cluster, name: Option<&str>, nodes: Vec<InstanceStatus>, count: usize, format: Format) -> Result<()> {
    let (sender, mut news) = mpsc::channel(WAITING);
    let mut followed = BTreeSet::new();
    let last = u32::try_from(count).unwrap_or(u32::MAX).min(FIRST);
    start(cluster, nodes, last, &mut followed, &sender)?;
    let mut printer = Printer { zone: TimeZone::system(), json: format.is_json() };
    if !printer.first(&mut news, &mut followed, count).await? {
        return Ok(());
    }
    let mut look = tokio::time::interval_at(tokio::time::Instant::now() + LOOK, LOOK);
    loop {
        tokio::select! {
            Some(news) = news.recv() => if !printer.take(news, &mut followed)? { return Ok(()) },
            _ = look.tick() => {
                // A registry that does not answer hides only nodes that are new.
                let mut nodes = cluster.instances(Service::ProxyNode).await.unwrap_or_default();
                nodes.retain(|node| name.is_none_or(|name| node.instance.name == name));
                start(cluster, nodes, 0, &mut followed, &sender)?;
            }
        }
    }
}

/// Follows those of `nodes` that are not followed yet.
fn start(
    cluster: &Cluster,
    nodes: Vec<InstanceStatus>,
    last: u32,
    followed: &mut BTreeSet<String>,
    sender: &mpsc::Sender<News>,
) -> Result<()> {
    for node in nodes {
        let Ok(client) = cluster.proxy_node(&node) else { continue };
        if followed.insert(node.instance.name.clone()) {
            // It ends with the command, whose runtime it is on.
            tokio::spawn(follow_one(client, node.instance.name, last, sender.clone()));
        }
    }
    Ok(())
}

async fn follow_one(mut client: ProxyNodeClient<chassis::ServiceChannel>, name: String, last: u32, news: mpsc::Sender<News>) {
    let why = async {
        let mut stream = call(&name, client.tail_access(TailAccessRequest { last, follow: true })).await?;
        while let Some(message) = stream.message().await? {
            if news.send(News::Told(name.clone(), message)).await.is_err() {
                break;
            }
        }
        anyhow::Ok("it stops".to_owned())
    };
    let why = why.await.unwrap_or_else(|error| format!("{error:#}"));
    // Nobody listens any more: nothing is left to be said.
    news.send(News::Ended(name, why)).await.ok();
}

struct Printer {
    zone: TimeZone,
    json: bool,
}

impl Printer {
    /// The first message of every node, merged.
    async fn first(&mut self, news: &mut mpsc::Receiver<News>, followed: &mut BTreeSet<String>, count: usize) -> Result<bool> {
        let (mut lines, mut waited) = (Vec::new(), followed.clone());
        let deadline = tokio::time::Instant::now() + TOGETHER;
        while !waited.is_empty() {
            match tokio::time::timeout_at(deadline, news.recv()).await {
                Ok(Some(News::Told(name, message))) => {
                    waited.remove(&name);
                    self.remarks(&name, &message);
                    lines.extend(message.records.into_iter().map(|record| Line::new(&name, record)));
                }
                Ok(Some(News::Ended(name, why))) => {
                    waited.remove(&name);
                    Self::ended(&name, &why, followed);
                }
                Ok(None) | Err(_) => break,
            }
        }
        self.print(&newest(lines, count))
    }

    /// Prints what came; false when nobody reads any more.
    fn take(&mut self, news: News, followed: &mut BTreeSet<String>) -> Result<bool> {
        match news {
            News::Told(name, message) => {
                self.remarks(&name, &message);
                let lines: Vec<_> = message.records.into_iter().map(|record| Line::new(&name, record)).collect();
                self.print(&lines)
            }
            News::Ended(name, why) => {
                Self::ended(&name, &why, followed);
                Ok(true)
            }
        }
    }

    fn ended(name: &str, why: &str, followed: &mut BTreeSet<String>) {
        output::remark(&format!("-- {name}: {why}; it is asked again"));
        followed.remove(name);
    }

    fn remarks(&self, name: &str, message: &TailAccessResponse) {
        if message.missed > 0 {
            output::remark(&format!("-- {name}: {} records were missed, because they came faster than they were read", message.missed));
        }
        if message.off && message.records.is_empty() {
            output::remark(&format!("-- {}", off(name)));
        }
    }

    fn print(&self, lines: &[Line]) -> Result<bool> {
        for line in lines {
            let text = if self.json { serde_json::to_string(line)? } else { line.text(&self.zone) };
            if !output::print_to_reader(&text)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
