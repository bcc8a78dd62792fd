//! The configuration in force: an immutable generation, built whole and published whole. Everything
//! in the document was validated by the config-service; what is left to check here is what only
//! this process can know.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    sync::Arc,
};

use cluster::Service;
use cluster_config::{
    FileReference,
    document::balancer::{Backend, BalancerDocument, Frontend, Mode},
};
use jiff::Timestamp;

use crate::{
    evidence::Rules,
    fields::Rewrites,
    route::{self, Route},
    tls::{Acceptor, Within},
};

/// Everything that the bundle says about this balancer.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Which revision of the bundle; empty before the first.
    pub revision: String,
    /// What it says.
    pub document: BalancerDocument,
    /// Where requests go, by the frontend's index in the document. The index of a backend there is
    /// that of its pool in a snapshot.
    pub routes: Vec<Route>,
    /// What accepts the TLS of clients, by the frontend's index; none: they speak none.
    pub acceptors: Vec<Option<Arc<Acceptor>>>,
    /// What becomes of header fields, by the frontend's index; none: they stay as they are.
    pub rewrites: Vec<Option<Arc<Rewrites>>>,
}

impl Generation {
    /// The generation before any: it listens nowhere.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            revision: String::new(),
            document: BalancerDocument {
                frontends: Vec::new(),
                backends: Vec::new(),
                log_targets: Vec::new(),
                max_connections: None,
                vrrp: Vec::new(),
                acls: BTreeMap::new(),
                workers: None,
            },
            routes: Vec::new(),
            acceptors: Vec::new(),
            rewrites: Vec::new(),
        }
    }

    /// Reads and checks a rendered document, whose files `read` gives. Slow with large lists: not
    /// for a worker.
    ///
    /// # Errors
    /// Every problem, in words for people.
    pub fn build(
        revision: &str,
        json: &[u8],
        read: impl Fn(&FileReference) -> io::Result<Vec<u8>>,
    ) -> Result<Self, Vec<String>> {
        let document =
            BalancerDocument::from_json(json).map_err(|error| vec![error.to_string()])?;
        let mut problems = problems(&document);
        match route::build(&document, read) {
            Ok(routes) if problems.is_empty() => {
                let acceptors = document.frontends.iter().map(|_| None).collect();
                let rewrites = document.frontends.iter().map(Rewrites::of).collect();
                let revision = revision.to_owned();
                Ok(Self { revision, document, routes, acceptors, rewrites })
            }
            Ok(_) => Err(problems),
            Err(more) => {
                problems.extend(more);
                Err(problems)
            }
        }
    }
}

impl Generation {
    /// Reads the certificates of its frontends; what accepts TLS by the same words in the
    /// generation before goes on.
    ///
    /// # Errors
    /// Every frontend whose files cannot be used.
    pub fn secure(&mut self, before: &Self, now: Timestamp) -> Result<(), Vec<String>> {
        let mut problems = Vec::new();
        for (frontend, acceptor) in self.document.frontends.iter().zip(&mut self.acceptors) {
            let Some(settings) = &frontend.tls else { continue };
            let within = match frontend.mode {
                Mode::Http if frontend.http2.enabled => Within::Http,
                Mode::Http => Within::Http1,
                Mode::Tcp => Within::Any,
            };
            let known = before.acceptors.iter().flatten().find(|it| it.is_for(settings, within));
            match known.map_or_else(
                || Acceptor::new(settings, within, now).map(Arc::new),
                |known| Ok(Arc::clone(known)),
            ) {
                Ok(made) => *acceptor = Some(made),
                Err(problem) => problems.push(format!("frontend {}: {problem}", frontend.name)),
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// What accepts TLS, with the names of the frontends.
    pub fn secured(&self) -> impl Iterator<Item = (&str, &Arc<Acceptor>)> {
        let named = self.document.frontends.iter().zip(&self.acceptors);
        named.filter_map(|(frontend, it)| Some((&*frontend.name, it.as_ref()?)))
    }
}

fn problems(document: &BalancerDocument) -> Vec<String> {
    let mut problems = Vec::new();
    let mut binds = HashSet::new();
    for Frontend { name, bind, .. } in &document.frontends {
        if bind.is_empty() {
            problems.push(format!("frontend {name} listens nowhere"));
        }
        for bind in bind.iter().filter(|bind| bind.is_fixed()) {
            if !binds.insert(bind) {
                problems.push(format!("frontend {name}: another listens on {bind} already"));
            }
        }
    }
    for backend in &document.backends {
        if let Some(discover) = &backend.discover
            && discover.service.parse::<Service>() != Ok(Service::ProxyNode)
        {
            problems.push(format!(
                "backend {}: instances of {:?} cannot be servers; proxy-node can",
                backend.name, discover.service
            ));
        }
        if backend.retry.attempts == 0 {
            problems.push(format!(
                "backend {}: retry.attempts is 0; at least 1 is needed",
                backend.name
            ));
        }
    }
    problems
}

/// How evidence counts in a backend.
#[must_use]
pub fn rules(backend: &Backend) -> Rules {
    Rules {
        checked: backend.check.enabled,
        inter: backend.check.inter,
        rise: backend.check.rise,
        fall: backend.check.fall,
        max_fails: backend.passive.max_fails,
        fail_timeout: backend.passive.fail_timeout,
    }
}
