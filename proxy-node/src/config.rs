//! Running configuration: one immutable generation, published whole. Building one is slow (lists,
//! regular expressions) and never on a worker.

pub mod caching;
pub mod origin_tls;

use std::{net::SocketAddr, sync::Arc};

use chassis::configuration::{Problem, Rendered};
use cluster_config::{
    ProxyDocument, authorities,
    document::proxy::{self as document, AccessLogFormat, Parents as Written},
};
use dataplane::list::Networks;
use relay::{exchange::Deadlines, head::Limits};

use crate::{
    admit::{Rules, Unusable},
    cache::facts::RequestFacts,
    cache::policy::RefreshPattern,
    parent::{Members, Parents},
};
use caching::Caching;
use origin_tls::OriginTls;

/// Everything that a worker needs to know to serve a request.
#[derive(Debug)]
pub struct Generation {
    pub revision: String,
    /// What the operator wrote, rendered for this node.
    pub document: ProxyDocument,
    /// The access rules.
    pub rules: Arc<Rules>,
    /// Peers whose X-Forwarded-For is believed.
    pub trusted_downstreams: Arc<Networks>,
    /// What the cache does by the operator's word alone.
    pub caching: Arc<Caching>,
    /// What goes past the parents.
    pub direct: Arc<Rules>,
    /// Whether requests are logged.
    pub logged: bool,
    /// Whether some clients may reach what others may not.
    pub egress_by_client: bool,
    /// The parent proxies, and what is known of them.
    pub parents: Parents,
    /// The nodes of the cluster, some of which may be parents.
    members: Members,
    /// Whom this node believes that it speaks TLS with.
    pub origin_tls: Arc<OriginTls>,
}

impl Generation {
    /// Builds a generation; every problem at once.
    pub fn build(rendered: &Rendered) -> Result<Self, Vec<Problem>> {
        let document = ProxyDocument::from_json(&rendered.document)
            .map_err(|error| vec![Problem::new(error.to_string())])?;
        Self::from_document(rendered.revision.clone(), document, |path| rendered.files.read(path))
    }

    /// Builds a generation of a document whose files `read` gives.
    pub fn from_document(
        revision: String,
        document: ProxyDocument,
        read: impl Fn(&str) -> std::io::Result<Vec<u8>>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let rules =
            Rules::build(&document.access, |file| read(&file.path)).unwrap_or_else(|unusable| {
                problems.extend(unusable.into_iter().map(problem));
                Rules::default()
            });
        let terms = document.direct.always.iter().map(Vec::as_slice);
        let direct = caching::rules(terms, &document.access, |file| read(&file.path))
            .unwrap_or_else(|unusable| {
                problems.extend(unusable.into_iter().map(problem));
                Rules::default()
            });
        let caching = Caching::build(&document, |file| read(&file.path)).unwrap_or_else(|found| {
            problems.extend(found);
            Caching::default()
        });
        let origin_tls = origin_tls(&document.origin_tls, &read).unwrap_or_else(|problem| {
            problems.push(problem);
            OriginTls::none()
        });
        if document.listen.is_empty() {
            problems.push(Problem::new("proxy.listen is empty: no client could reach this node"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            revision,
            rules: Arc::new(rules),
            trusted_downstreams: Arc::new(document.trusted_downstreams.iter().copied().collect()),
            caching: Arc::new(caching),
            direct: Arc::new(direct),
            logged: document.access_log.format == AccessLogFormat::Squid,
            egress_by_client: document.access.egress.is_by_client(),
            parents: Parents::new(&document.parents, &Members::default(), &Parents::default()),
            members: Members::default(),
            origin_tls: Arc::new(origin_tls),
            document,
        })
    }

    /// Keeps what is known of the parents that were there before, and the sessions with those who
    /// are believed as before.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        self.origin_tls = OriginTls::after(self.origin_tls, &before.origin_tls);
        self.members = before.members.clone();
        self.parents = Parents::new(&self.document.parents, &self.members, &before.parents);
        self
    }

    /// The same with other nodes in the cluster; `None`: that makes no difference.
    #[must_use]
    pub fn among(&self, members: &Members) -> Option<Self> {
        let concerned =
            self.document.parents.iter().any(|written| matches!(written, Written::Nodes(_)));
        (concerned && self.members != *members).then(|| Self {
            parents: Parents::new(&self.document.parents, members, &self.parents),
            members: members.clone(),
            revision: self.revision.clone(),
            document: self.document.clone(),
            rules: self.rules.clone(),
            trusted_downstreams: self.trusted_downstreams.clone(),
            caching: self.caching.clone(),
            direct: self.direct.clone(),
            logged: self.logged,
            egress_by_client: self.egress_by_client,
            origin_tls: Arc::clone(&self.origin_tls),
        })
    }

    /// What of a request does not count for a URL. Costs nothing for those that ask for nothing of
    /// that kind, nor where no pattern says so.
    pub fn overrule(&self, url: &[u8], request: &mut RequestFacts) {
        let directives = &request.directives;
        let concerned =
            directives.no_cache || directives.max_age == Some(0) || request.conditional();
        let patterns = &self.caching.refresh_patterns;
        if concerned
            && patterns.iter().any(|pattern| pattern.overrides.concern_requests())
            && let Some(pattern) = RefreshPattern::of(patterns, url)
        {
            pattern.overrides.of_request(request);
        }
    }

    /// Tags of the nodes that are parents of the others, a list for each line of the bundle.
    pub fn parent_tags(&self) -> impl Iterator<Item = &[String]> {
        self.document.parents.iter().filter_map(|written| match written {
            Written::Nodes(nodes) => Some(&*nodes.tags),
            Written::At(_) => None,
        })
    }

    /// Addresses of the listeners for clients.
    pub fn binds(&self) -> impl Iterator<Item = SocketAddr> {
        self.document.listen.iter().map(|listen| listen.bind)
    }

    /// The deadlines of an exchange with the next hop.
    #[must_use]
    pub fn deadlines(&self) -> Deadlines {
        let timeouts = &self.document.timeouts;
        Deadlines {
            // Nobody is told that an origin is late: there is no other one to ask.
            late: timeouts.read,
            first_byte: timeouts.read,
            head: timeouts.read,
            body: timeouts.read.max(timeouts.request_body),
            write: timeouts.write,
            ..Deadlines::default()
        }
    }

    /// How the heads of answers are read.
    #[must_use]
    pub const fn reply_limits(&self) -> Limits {
        let replies = &self.document.replies;
        // At most 96 KiB, by the schema.
        Limits::of(replies.max_size as usize).relaxed(replies.relaxed)
    }
}

fn origin_tls(
    document: &document::OriginTls,
    read: impl Fn(&str) -> std::io::Result<Vec<u8>>,
) -> Result<OriginTls, Problem> {
    let Some(file) = &document.ca_file else { return Ok(OriginTls::new(document, Vec::new())) };
    let problem =
        |message: String| Problem { file: file.path.clone(), message, ..Problem::default() };
    let content = read(&file.path).map_err(|cause| problem(format!("cannot be read: {cause}")))?;
    let trusted =
        authorities::read(&content).map_err(|unreadable| problem(unreadable.to_string()))?;
    Ok(OriginTls::new(document, trusted))
}

fn problem(unusable: Unusable) -> Problem {
    match unusable {
        Unusable::Line { path, line, message, remedy } => {
            Problem { file: path, line, column: 0, message, remedy }
        }
        Unusable::File { path, cause } => Problem {
            file: path,
            message: format!("cannot be read: {cause}"),
            ..Problem::default()
        },
        other => Problem::new(other.to_string()),
    }
}

/// What is published to the workers.
pub type Current = Arc<arc_swap::ArcSwap<Generation>>;
