//! What would happen to a request, and why: the same code that decides for live ones, asked without
//! sending anything but a DNS question.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use cluster_config::document::egress::EgressDenial;
use dataplane::trace::Onward;
use relay::head::{Limits, Progress, Request, RequestHead};

use crate::{
    admit::{Answer, Question},
    cache::{facts::RequestFacts, key::Key, policy},
    config::Generation,
    dns::{self, DnsProblem, Resolved},
    egress,
    node::Node,
    parent::Parent,
    request::{self, Ask, Destination, Door},
    respond::Failure,
    route::Route,
    turn::Asked,
};

/// What would happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The rules let it pass, and the destination may be connected to.
    pub allowed: bool,
    /// The rule that decides: of the ACLs, or the egress policy where that denies what they allow.
    pub rule: String,
    /// Revision in force.
    pub revision: String,
    /// `hit`, `stale`, `miss`, `bypass`; empty for CONNECT.
    pub cache: &'static str,
    /// Where it would be sent; empty when nowhere: it is denied, or its host has no address.
    pub route: String,
    /// What kind of route that is.
    pub route_kind: Option<RouteKind>,
    /// A line a step.
    pub steps: Vec<String>,
}

/// What kind of route there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// To the origin.
    Origin,
    /// To a parent.
    Parent,
}

impl Explanation {
    fn goes(&mut self, kind: RouteKind, route: String) {
        (self.route, self.route_kind) = (route, Some(kind));
    }

    fn goes_nowhere(&mut self) {
        self.route.clear();
        self.route_kind = None;
    }

    /// The egress policy denies what the rules allowed.
    fn deny(&mut self, denial: EgressDenial) {
        self.allowed = false;
        self.rule = format!("proxy.access.egress ({denial})");
        self.goes_nowhere();
    }
}

/// A question that makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no request that a client could send: {0}")]
pub struct Meaningless(String);

/// Explains a request.
pub async fn explain(
    node: &Node,
    url: &str,
    method: &str,
    client: IpAddr,
    headers: &BTreeMap<String, String>,
    now_millis: u64,
) -> Result<Explanation, Meaningless> {
    let asked = spell(url, method, headers)?;
    let normal = asked
        .normal(&asked.view().target())
        .map_err(|malformed| Meaningless(malformed.to_string()))?;
    let request = normal.as_ref().unwrap_or(&asked).view();
    let generation = node.current.load_full();
    let mut told = Explanation { revision: generation.revision.clone(), ..Explanation::default() };
    if normal.is_some() {
        told.steps.push(format!("taken as {}", request.target_text()));
    }
    let ask = match request::ask(request, Door::Proxy, None) {
        Ok(ask) => ask,
        Err(failure) => {
            told.steps
                .push(format!("answered with {} by the proxy itself: {failure}", failure.status()));
            return Ok(told);
        }
    };
    let (destination, path) = match ask {
        Ask::Fetch { destination, path } => (destination, Some(path)),
        Ask::Tunnel(destination) => (destination, None),
        Ask::Health | Ask::Probe => {
            told.steps.push("answered by the proxy itself".to_owned());
            return Ok(told);
        }
    };
    let resolved =
        rules(node, &generation, &mut told, &destination, request, client, now_millis).await;
    if !told.allowed {
        told.steps.push(format!("denied: {}", told.rule));
        return Ok(told);
    }
    if let Some(path) = path {
        let fields: Vec<(&[u8], &[u8])> = request::sent_fields(request).collect();
        cache(
            node,
            &mut told,
            &destination,
            path,
            request.method_text(),
            &fields,
            node.steady.seconds(),
        );
    }
    route(node, &generation, &mut told, &destination, request.target_text(), client, resolved)
        .await;
    if destination.tls && told.allowed && !told.route.is_empty() {
        told.steps.push(tls(&generation, &destination));
    }
    Ok(told)
}

/// Walks through the rules; answers the addresses where one of them wanted those: the ones that the
/// request may go to.
async fn rules(
    node: &Node,
    generation: &Generation,
    told: &mut Explanation,
    destination: &Destination,
    request: Request<'_>,
    client: IpAddr,
    now_millis: u64,
) -> Option<Arc<[IpAddr]>> {
    let (day, minute) = node.civil(now_millis);
    let mut resolved: Option<Arc<[IpAddr]>> = None;
    loop {
        let question = Question {
            client,
            host: &destination.host,
            port: destination.port,
            method: request.method_text(),
            url: request.target_text().as_bytes(),
            addresses: resolved.as_deref(),
            day,
            minute,
        };
        let mut steps = Vec::new();
        match generation.rules.walk(&question, |step| steps.push(step.to_string())) {
            Answer::Decided(decision) => {
                told.steps.append(&mut steps);
                told.rule = generation.rules.describe(decision);
                told.allowed = decision.allowed;
                let narrowed = resolved.clone().map(|all| decision.narrow(all));
                if let (Some(all), Some(some)) = (&resolved, &narrowed)
                    && decision.allowed
                    && some.len() < all.len()
                {
                    let listed: Vec<String> = some.iter().map(ToString::to_string).collect();
                    told.steps.push(format!(
                        "of {} addresses only those that this rule allows are used: {}",
                        all.len(),
                        listed.join(", ")
                    ));
                }
                return narrowed;
            }
            Answer::NeedsAddresses => match resolve(node, generation, destination).await {
                Ok(found) => resolved = Some(found),
                Err(problem) => {
                    let failure = Failure::Undecided(problem);
                    told.rule =
                        format!("none can be found, {failure}: answered with {}", failure.status());
                    return None;
                }
            },
        }
    }
}

/// The request as a client would send it.
fn spell(
    url: &str,
    method: &str,
    headers: &BTreeMap<String, String>,
) -> Result<Asked, Meaningless> {
    let method = if method.is_empty() { "GET" } else { method };
    let authority = match url.split_once("://") {
        Some((_, rest)) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
        None => url,
    };
    let target = url.split('#').next().unwrap_or_default();
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n");
    for (name, value) in headers {
        if name.contains(['\r', '\n']) || value.contains(['\r', '\n']) {
            return Err(Meaningless("a header holds a line break".to_owned()));
        }
        if !name.eq_ignore_ascii_case("host") {
            text.extend([name, ": ", value, "\r\n"]);
        }
    }
    text.push_str("\r\n");
    let bytes = Bytes::from(text);
    let mut head = Box::new(RequestHead::new());
    match head.parse(&bytes, &Limits::default()) {
        Ok(Progress::Complete(_)) => Ok(Asked { head, bytes, onward: Onward::default() }),
        Ok(Progress::NeedMore) => Err(Meaningless("it is not complete".to_owned())),
        Err(malformed) => Err(Meaningless(malformed.to_string())),
    }
}

fn cache(
    node: &Node,
    told: &mut Explanation,
    destination: &Destination,
    path: &str,
    method: &str,
    fields: &[(&[u8], &[u8])],
    now: u64,
) {
    if node.store.capacity() == 0 {
        told.cache = "bypass";
        told.steps.push("cache: switched off".to_owned());
        return;
    }
    let facts = RequestFacts::new(method.as_bytes(), false, fields.iter().copied());
    if let Err(bypass) = policy::eligible(&facts) {
        told.cache = "bypass";
        told.steps.push(format!("cache: bypassed, {bypass}"));
        return;
    }
    let key = Key::new(destination.scheme(), &destination.host, destination.port, path.as_bytes());
    let variants = node.store.variants(&key);
    let found = variants
        .iter()
        .find(|object| crate::cache::vary::selects(&object.selection, fields.iter().copied()));
    let Some(object) = found else {
        told.cache = "miss";
        told.steps.push(match variants.len() {
            0 => format!("cache: nothing is stored for {key}"),
            others => format!(
                "cache: none of the {others} variants stored for {key} is for these request fields"
            ),
        });
        return;
    };
    let described = describe(&object.freshness, now);
    match policy::usable(&object.freshness, &facts.directives, now) {
        Ok(_) => {
            told.cache = "hit";
            told.steps.push(format!("cache: hit, {described}"));
        }
        Err(unfit) => {
            told.cache = "stale";
            let validator = if object.has_validator() {
                "would be validated with the origin"
            } else {
                "would be fetched anew: it has no validator"
            };
            told.steps.push(format!("cache: {unfit}, {described}; {validator}"));
        }
    }
}

/// Age and lifetime in words.
#[must_use]
pub fn describe(freshness: &policy::Freshness, now: u64) -> String {
    let (age, lifetime) = (freshness.age(now), freshness.lifetime);
    let state = if age < lifetime {
        format!("fresh for another {} s", lifetime - age)
    } else {
        format!("stale for {} s", age - lifetime)
    };
    format!("age {age} s, lifetime {lifetime} s by {}: {state}", freshness.source)
}

async fn resolve(node: &Node, generation: &Generation, destination: &Destination) -> Resolved {
    if let Some(address) = destination.address {
        return Ok(Arc::new([address]));
    }
    // On the control runtime; a second more than the deadline never happens.
    let deadline = generation.document.timeouts.dns.min(Duration::from_secs(30));
    let expired = node.resolver.expired(&destination.host);
    let patience = if expired.is_some() { deadline.min(dns::PATIENCE) } else { deadline };
    let answer = tokio::time::timeout(patience, node.resolver.resolve(&destination.host)).await;
    node.resolver.or_expired(&destination.host, answer.unwrap_or(Err(DnsProblem::Timeout)), expired)
}

async fn route(
    node: &Node,
    generation: &Generation,
    told: &mut Explanation,
    destination: &Destination,
    url: &str,
    client: IpAddr,
    resolved: Option<Arc<[IpAddr]>>,
) {
    let route = node.route(generation, destination);
    told.goes(
        if matches!(route, Route::Parents(..)) { RouteKind::Parent } else { RouteKind::Origin },
        route.describe(url),
    );
    let ports = node.ports.load();
    let egress = &generation.document.access.egress;
    if let Route::Parents(_, parents) = route {
        told.steps.extend(parents.iter().filter_map(|parent| passed_over(parent)));
        match egress::check_unresolved(egress, &ports, client, destination) {
            Ok(()) => told.steps.push(format!(
                "route: {}, as neither this host nor proxy.hierarchy.direct is meant",
                told.route
            )),
            Err(denial) => {
                told.steps.push(format!(
                    "route: {} is {denial}, and is not asked for",
                    destination.authority()
                ));
                told.deny(denial);
            }
        }
        return;
    }
    let resolved = match resolved {
        Some(resolved) => Ok(resolved),
        None => resolve(node, generation, destination).await,
    };
    let addresses = match resolved {
        Ok(addresses) => addresses,
        Err(problem) => {
            told.steps.push(format!("route: {} cannot be resolved: {problem}", destination.host));
            told.goes_nowhere();
            return;
        }
    };
    let targets = node.probe_targets.load();
    connect(told, destination, &addresses, |target| {
        match egress::check(egress, &ports, client, &destination.host, target) {
            // A client is no health-checker.
            Ok(()) if targets.contains(target) => Err(EgressDenial::ClusterPort),
            verdict => verdict,
        }
    });
}

/// Whom the node believes that it speaks TLS with.
fn tls(generation: &Generation, destination: &Destination) -> String {
    let (host, authorities) = (&destination.host, generation.origin_tls.authorities());
    let way = if generation.parents.is_empty() {
        ""
    } else {
        ", through a tunnel where a parent is asked"
    };
    format!(
        "tls: this node speaks TLS with the destination itself{way}; it has to show a certificate \
         for {host} by one of {authorities} authorities"
    )
}

/// What keeps a parent from being asked first, or from answering.
fn passed_over(parent: &Parent) -> Option<String> {
    if let Some(problem) = parent.credentials().problem() {
        return Some(format!("route: parent {parent} is asked without credentials: {problem}"));
    }
    let how = parent.last_failure().filter(|_| !parent.is_alive())?;
    Some(format!("route: parent {parent} is dead, as it {how}: it is asked after those that live"))
}

/// Which of the addresses may be connected to, as `check` says.
fn connect(
    told: &mut Explanation,
    destination: &Destination,
    addresses: &[IpAddr],
    check: impl Fn(SocketAddr) -> Result<(), EgressDenial>,
) {
    let (mut usable, mut denied) = (None, None);
    for address in addresses {
        let target = SocketAddr::new(*address, destination.port);
        match check(target) {
            Ok(()) => {
                told.steps.push(format!("route: {target} may be connected to"));
                usable.get_or_insert(target);
            }
            Err(denial) => {
                told.steps.push(format!("route: {target} is {denial}, and is not connected to"));
                denied.get_or_insert(denial);
            }
        }
    }
    match (usable, denied) {
        (Some(target), _) => told.goes(RouteKind::Origin, format!("origin {target}")),
        (None, Some(denial)) => told.deny(denial),
        (None, None) => told.goes_nowhere(),
    }
}
