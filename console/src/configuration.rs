//! Revisions, their rollout and who is not in step, in the console's own words.

use jiff::Timestamp;

/// What the config-service says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configuration {
    /// Newest first, the last few.
    pub revisions: Vec<Revision>,
    /// The newest one.
    pub rollout: Option<Rollout>,
    /// Every node that follows the configuration.
    pub nodes: Vec<Follower>,
    /// Parent proxies of the released revision, `host:port`.
    pub parents: Vec<String>,
}

/// An immutable bundle.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Revision {
    pub id: String,
    pub number: u64,
    /// Id of the one before; empty for the first.
    pub parent: String,
    /// In free text.
    pub author: String,
    /// Name in the certificate.
    pub committer: String,
    /// When it was committed.
    pub committed_at: Option<Timestamp>,
    /// What it is for.
    pub message: String,
    /// What joining nodes get.
    pub released: bool,
}

/// A revision on its way to the nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rollout {
    pub id: String,
    /// What is rolled out.
    pub revision: Revision,
    /// Where it stands.
    pub state: RolloutState,
    /// Who answered what.
    pub nodes: Vec<Answer>,
    /// Why it stands where it stands.
    pub explanation: String,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When something last happened.
    pub changed_at: Option<Timestamp>,
}

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RolloutState {
    #[default]
    Unknown,
    Trying,
    Spreading,
    Paused,
    Done,
    Failed,
    Aborted,
}

/// What one node answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub service: String,
    pub name: String,
    /// What it did.
    pub state: AnswerState,
    /// Why it refused.
    pub problems: Vec<String>,
}

/// What a node did with an assignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerState {
    #[default]
    Unknown,
    Waiting,
    Assigned,
    Applied,
    Rejected,
    Reverted,
    Gone,
}

/// One node, in step or not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Follower {
    pub service: String,
    pub name: String,
    /// What it shall run.
    pub assigned: String,
    /// What it runs.
    pub applied: String,
    /// Both are the same.
    pub in_step: bool,
    pub explanation: String,
}

/// What differs in one file between two revisions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileDifference {
    /// Inside the bundle.
    pub path: String,
    /// Neither text nor small enough, or text as a unified diff.
    pub unified: String,
    /// It is new.
    pub added: bool,
    /// It is gone.
    pub removed: bool,
}

/// Parent proxies that a bundle's main file names. A file that cannot be read names none: the
/// config-service has checked it.
#[must_use]
pub fn parents(cluster_yaml: &[u8]) -> Vec<String> {
    let (tree, _) = cluster_config::yaml::parse("cluster.yaml", cluster_yaml);
    let Some(tree) = tree else { return Vec::new() };
    let parents = tree
        .get("proxy")
        .and_then(|proxy| proxy.get("hierarchy"))
        .and_then(|hierarchy| hierarchy.get("parents"));
    let address = |parent: &cluster_config::yaml::Node| {
        parent.get("address").and_then(|address| address.text()).map(str::to_owned)
    };
    parents.map(|list| list.items().iter().filter_map(address).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_read_from_the_bundle() {
        for (text, expected) in [
            (
                "proxy:\n  hierarchy:\n    parents: [{address: \"proxy.test:3128\"}, {address: \
                 \"10.0.0.1:8080\"}]\n",
                2,
            ),
            ("proxy:\n  hierarchy: {parents: []}\n", 0),
            ("version: 1\n", 0),
            ("proxy: [", 0),
        ] {
            assert_eq!(parents(text.as_bytes()).len(), expected, "{text}");
        }
    }
}
