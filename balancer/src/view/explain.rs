//! Which server a request would get now, and which after it. What decides for live requests decides
//! here too ([`crate::route`], [`crate::pick`]), from a state of its own, so that asking takes
//! nobody's turn.

use std::{net::IpAddr, sync::Arc};

use cluster_config::document::balancer::{Frontend, Mode, TlsVersion};
use relay::head::{Limits, Progress, RequestHead};

use crate::{
    config::Generation,
    pick,
    route::{self, Destination},
    snapshot::{Pool, Snapshot},
    standing::Standing,
    stats::ServerCounts,
};

/// Why nothing can be said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The configuration in force has no such frontend.
    #[error("there is no frontend {0:?}")]
    NoFrontend(String),
    /// The roster has not taken up the configuration yet.
    #[error("the configuration is being applied; try again")]
    NotYet,
}

/// A request, as far as somebody who asks about it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The frontend that it comes to; empty: the first.
    pub frontend: String,
    /// Its method; empty: GET.
    pub method: String,
    /// Its target; empty: any.
    pub target: String,
    /// Who asks; none: anybody.
    pub client: Option<IpAddr>,
}

impl Question {
    /// The head that a client would send, so that it is read as one.
    fn head(&self) -> String {
        let method = if self.method.is_empty() { "GET" } else { &self.method };
        format!("{method} {} HTTP/1.0\r\n\r\n", self.target)
    }
}

/// What a balancer answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// Whether it serves.
    Health,
    /// Its statistics page.
    Stats,
    /// Which proxy to ask.
    Pac,
}

/// What would happen to a request.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The frontend that it comes to.
    pub frontend: String,
    /// What the balancer answers it itself with; none: a server answers.
    pub own: Option<Own>,
    /// What a connection has to begin with there.
    pub entry: Vec<String>,
    /// The rules that were asked for a backend, and what came of it.
    pub routing: Vec<String>,
    /// The backend that it goes to, with all of its servers.
    pub pool: Arc<Pool>,
    /// The servers, by their index in the pool, in the order in which one request would try them.
    pub order: Vec<usize>,
}

impl Explanation {
    /// Servers that get nothing.
    pub fn excluded(&self) -> impl Iterator<Item = usize> {
        let excluded =
            |index: &usize| self.pool.servers[*index].judgement.standing == Standing::Excluded;
        (0..self.pool.servers.len()).filter(excluded)
    }
}

/// What all workers together see of the servers.
struct Servers<'a> {
    pool: &'a Pool,
    now: u64,
}

impl pick::Servers for Servers<'_> {
    fn load(&self, index: usize) -> u64 {
        ServerCounts::load(&self.pool.servers[index].server.tally.counts)
    }

    fn load_of_all(&self) -> u64 {
        self.pool.servers.first().map_or(0, |it| it.server.backend.sum(|it| &it.active))
    }

    fn response_time(&self, index: usize) -> Option<u64> {
        let counts = self.pool.servers[index].server.tally.counts.iter();
        let averages: Vec<_> = counts.filter_map(|it| Some(it.average()?.now(self.now))).collect();
        averages.iter().sum::<u64>().checked_div(averages.len() as u64)
    }
}

/// What a connection to a frontend has to begin with, in words.
fn entry(frontend: &Frontend) -> Vec<String> {
    let mut lines = Vec::new();
    if !frontend.proxy_protocol.is_empty() {
        let networks: Vec<_> = frontend.proxy_protocol.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "a PROXY header has to say who the client is, from {}; others are who they are",
            networks.join(", ")
        ));
    }
    if let Some(tls) = &frontend.tls {
        let files: Vec<_> = tls.certificates.iter().map(|it| it.certificate.as_str()).collect();
        let least = match tls.min_version {
            TlsVersion::V1_2 => "1.2",
            TlsVersion::V1_3 => "1.3",
        };
        let client = match &tls.client_ca {
            Some(file) => format!("a certificate of an authority in {file} is asked of them"),
            None => "no certificate is asked of them".to_owned(),
        };
        lines.push(format!(
            "clients speak TLS, {least} or newer, and are shown {}; {client}",
            files.join(", or by the name that they ask for ")
        ));
    }
    lines
}

/// Explains a request. `now`: in milliseconds of uptime.
///
/// # Errors
/// There is no such frontend, or it is not open yet.
pub fn explain(snapshot: &Snapshot, question: &Question, now: u64) -> Result<Explanation, Error> {
    let Generation { document, routes, .. } = &*snapshot.generation;
    let asked = &question.frontend;
    let index = document.frontends.iter().position(|it| asked.is_empty() || it.name == *asked);
    let index = index.ok_or_else(|| Error::NoFrontend(asked.clone()))?;
    let (route, frontend) = (&routes[index], document.frontends[index].name.clone());
    let pool = |index: usize| snapshot.pools.get(index).cloned().ok_or(Error::NotYet);
    let (text, mut parsed) = (question.head(), RequestHead::new());
    let known =
        matches!(parsed.parse(text.as_bytes(), &Limits::default()), Ok(Progress::Complete(_)));
    let head = known.then(|| parsed.view(text.as_bytes()));
    let entry = entry(&document.frontends[index]);
    let tcp = document.frontends[index].mode == Mode::Tcp;
    let question = route::Question {
        client: question.client,
        request: head.filter(|_| !tcp),
        // A client of TLS is asked about by the name that it asks for.
        sni: Some(&*question.target).filter(|name| tcp && !name.is_empty()),
    };
    let routing = route.explain(question);
    let own = |own| {
        Ok(Explanation {
            frontend: frontend.clone(),
            own: Some(own),
            entry: entry.clone(),
            routing: Vec::new(),
            pool: pool(route.backend)?,
            order: Vec::new(),
        })
    };
    // What is no request goes where most requests go.
    match route.choose(question) {
        Destination::Health => own(Own::Health),
        Destination::Stats => own(Own::Stats),
        Destination::Pac => own(Own::Pac),
        Destination::Backend(backend) => {
            let pool = pool(backend)?;
            let request = pick::Request {
                head: question.request,
                client: question.client,
                servers: &Servers { pool: &pool, now },
                tried: &|_| false,
            };
            let order = pick::order(&pool.plan, &pick::State::new(&pool.plan, 0), &request);
            Ok(Explanation { frontend, own: None, entry, routing, pool, order })
        }
    }
}
