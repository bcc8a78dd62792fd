//! `shoal cache purge`.

use anyhow::Result;
use cluster::InstanceStatus;
use proto::proxy::PurgeRequest;
use serde::Serialize;

use crate::{
    cluster::{Cluster, ask_all, call},
    output::{self, Cell, Format, View, column},
};

#[derive(Serialize)]
struct Purged {
    nodes: Vec<NodePurged>,
}

#[derive(Serialize)]
struct NodePurged {
    name: String,
    removed: u64,
}

pub(super) async fn purge(
    cluster: &Cluster,
    nodes: &[InstanceStatus],
    request: PurgeRequest,
    format: Format,
) -> Result<()> {
    let ask = async |node: &InstanceStatus| {
        call(&node.instance.name, cluster.proxy_node(node)?.purge(request.clone())).await
    };
    let answers = ask_all(nodes, ask).await?;
    let nodes = answers
        .given
        .into_iter()
        .map(|(name, answer)| NodePurged { name, removed: answer.removed })
        .collect();
    cluster.show(&Purged { nodes }, format)?;
    answers.verdict
}

impl View for Purged {
    fn text(&self) -> String {
        output::table(
            &[column("NODE", 0), column("REMOVED", 0)],
            self.nodes.iter().map(|node| vec![Cell::new(&node.name), Cell::new(node.removed)]),
        )
    }
}
