//! Nodes that are connected, and what each is sent, rendered for it.

use super::library::{Library, render_for};
use super::{Assignment, Hello, Session};
use crate::rollout::{Action, Key, Rendering, Target};
use crate::store::{Error, Store};
use cluster_config::{Place, Problem, Rendered, Variables};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::{mpsc, oneshot};

struct Connection {
    session: u64,
    variables: Variables,
    assignments: mpsc::Sender<Assignment>,
    /// Dropped to end the connection.
    _over: oneshot::Sender<()>,
    /// By revision: what was rendered for this node, while it may be sent.
    rendered: BTreeMap<String, Arc<Rendered>>,
}

/// Nodes that are connected.
pub(super) struct Connections {
    store: Store,
    library: Library,
    nodes: BTreeMap<Key, Connection>,
    sessions: u64,
}

impl Connections {
    pub(super) fn new(store: Store) -> Self {
        Self { store, library: Library::default(), nodes: BTreeMap::new(), sessions: 0 }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// A node connects; a connection that it had before ends.
    pub(super) fn open(&mut self, hello: &Hello) -> Session {
        self.sessions += 1;
        let (over, ended) = oneshot::channel();
        let connection = Connection {
            session: self.sessions,
            variables: hello.variables.clone(),
            assignments: hello.assignments.clone(),
            _over: over,
            rendered: BTreeMap::new(),
        };
        self.nodes.insert(hello.key.clone(), connection);
        Session { number: self.sessions, over: ended }
    }

    /// A connection has ended, unless the node has another by now.
    pub(super) fn closed(&mut self, key: &Key, session: u64) {
        if self.nodes.get(key).is_some_and(|connection| connection.session == session) {
            self.nodes.remove(key);
        }
    }

    /// Everything that was stored is another now: each comes back and says hello again.
    pub(super) fn forget(&mut self) {
        self.library = Library::default();
        self.nodes.clear();
    }

    /// What a revision is for a connected node; remembered until it is sent.
    pub(super) async fn rendering(&mut self, key: &Key, revision: &str) -> Rendering {
        let Some(connection) = self.nodes.get_mut(key) else { return Err(Vec::new()) };
        let rendered = match connection.rendered.get(revision) {
            Some(rendered) => Arc::clone(rendered),
            None => {
                let lost = |error: Error| {
                    vec![Problem::error(
                        Place::default(),
                        format!("the store: {error}"),
                        "check the config-service's disk",
                    )]
                };
                let bundle = self.library.get(&self.store, revision).await.map_err(lost)?;
                let rendered = render_for(&bundle, &key.service, &connection.variables)?;
                connection.rendered.insert(revision.to_owned(), Arc::clone(&rendered));
                rendered
            }
        };
        Ok(Target { revision: revision.to_owned(), hash: rendered.sha256.clone() })
    }

    /// The same for every connected node.
    pub(super) async fn renderings(&mut self, revision: &str) -> BTreeMap<Key, Rendering> {
        let keys: Vec<Key> = self.nodes.keys().cloned().collect();
        let mut renderings = BTreeMap::new();
        for (count, key) in keys.into_iter().enumerate() {
            let rendering = self.rendering(&key, revision).await;
            renderings.insert(key, rendering);
            if count % 64 == 63 {
                tokio::task::yield_now().await;
            }
        }
        renderings
    }

    /// Sends what is to be sent.
    pub(super) async fn send(&mut self, actions: Vec<Action>) {
        for action in actions {
            let Action::Assign { key, target } = action else { continue };
            // Rendered before, as a rule: a node that it cannot be rendered for is not assigned it.
            if let Err(problems) = self.rendering(&key, &target.revision).await {
                tracing::error!(
                    node = key.name,
                    revision = target.revision,
                    ?problems,
                    "cannot be rendered any more"
                );
                continue;
            }
            let Some(connection) = self.nodes.get_mut(&key) else { continue };
            connection.rendered.retain(|revision, _| *revision == target.revision);
            let Some(rendered) = connection.rendered.get(&target.revision).cloned() else {
                continue;
            };
            if connection
                .assignments
                .try_send(Assignment { revision: target.revision, rendered })
                .is_err()
            {
                tracing::warn!(
                    node = key.name,
                    "does not read its assignments and is disconnected"
                );
                self.nodes.remove(&key);
            }
        }
    }
}
