//! What would happen to a request, and why: the same code that decides for live ones, asked without
//! sending anything but a DNS question.
//!
//! [`crate::admission`] decides whether the request may go on, [`crate::fetch::plan`] what the
//! cache does, [`Node::route`] and [`crate::egress`] where it goes. Here is only told what they
//! say.

mod cache;
mod route;
mod spell;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use cluster_config::document::egress::EgressDenial;

use crate::{
    admission::Subject,
    node::{Asker, Node},
    purge,
    request::{self, Ask, Sender},
    respond::Error,
};
pub use cache::describe;

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
    /// The node that the object belongs to; empty where owners are off.
    pub owner: String,
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
    let spelled = spell::request(url, method, headers)?;
    let normal = spelled
        .normal(&spelled.view().target())
        .map_err(|malformed| Meaningless(malformed.to_string()))?;
    let request = normal.as_ref().unwrap_or(&spelled).view();
    let generation = node.current.load_full();
    let mut told = Explanation { revision: generation.revision.clone(), ..Explanation::default() };
    if normal.is_some() {
        told.steps.push(format!("taken as {}", request.target_text()));
    }
    let (destination, path) = match request::ask(request, Sender::Client, None) {
        Ok(Ask::Fetch { destination, path }) => (destination, Some(path)),
        Ok(Ask::Tunnel(destination)) => (destination, None),
        Ok(Ask::Health | Ask::Probe) => {
            told.steps.push("answered by the proxy itself".to_owned());
            return Ok(told);
        }
        Err(failure) => {
            let status = failure.status();
            told.steps.push(format!("answered with {status} by the proxy itself: {failure}"));
            return Ok(told);
        }
    };
    let subject = Subject {
        node,
        generation: &generation,
        client,
        request,
        destination: &destination,
        now: now_millis,
    };
    if request.method_text() == purge::METHOD && path.is_some() {
        purge_told(&mut told, &subject);
        return Ok(told);
    }
    let resolved = admit(&mut told, &subject).await;
    if !told.allowed {
        told.steps.push(format!("denied: {}", told.rule));
        return Ok(told);
    }
    let answered = match path {
        Some(path) => Some(cache::tell(&mut told, &subject, path, resolved.is_some()).await),
        None => None,
    };
    match answered {
        Some(cache::Answered::Refused) => {}
        Some(cache::Answered::FromCache) => route::tell(&mut told, &subject, resolved, true).await,
        Some(cache::Answered::Elsewhere) | None => {
            route::tell(&mut told, &subject, resolved, false).await;
        }
    }
    Ok(told)
}

/// A purge is never sent on.
fn purge_told(told: &mut Explanation, subject: &Subject<'_>) {
    told.cache = "bypass";
    match subject.purged_by() {
        Some(rule) => {
            told.allowed = true;
            let whom = if subject.generation.document.cache.purge.everywhere {
                "all nodes"
            } else {
                "this node"
            };
            told.steps.push(format!("purges at {whom}, by proxy.cache.purge.allow: {rule}"));
            told.rule = rule;
        }
        None => {
            "proxy.cache.purge.allow: nothing matches".clone_into(&mut told.rule);
            told.steps.push(format!("denied with 403: {}", told.rule));
        }
    }
}

/// Whether the request may go on; answers the addresses where a rule wanted those: the ones that it
/// may go to.
async fn admit(told: &mut Explanation, subject: &Subject<'_>) -> Option<Arc<[IpAddr]>> {
    let asker = match subject.screen() {
        Ok(asker) => asker,
        Err(failure) => {
            let authority = subject.destination.authority();
            if let Error::Egress(denial) = failure {
                told.steps.push(format!("{authority} is {denial}, and is not asked for"));
                told.deny(denial);
            }
            return None;
        }
    };
    if subject.is_loop() {
        told.rule = format!("none, {}: answered with {}", Error::Loop, Error::Loop.status());
        return None;
    }
    if asker == Asker::Checker {
        told.allowed = true;
        told.rule = "none: the probe of a health-checker passes all of them".to_owned();
        return None;
    }
    let mut trace = Vec::new();
    let resolve = || route::resolve(subject);
    let verdict = match subject.walk(resolve, Some(&mut trace)).await {
        Ok(verdict) => verdict,
        Err(failure) => {
            told.rule = format!("none can be found, {failure}: answered with {}", failure.status());
            return None;
        }
    };
    let permitted = verdict.permitted();
    told.steps.append(&mut trace);
    told.rule = subject.generation.rules.describe(verdict.decision);
    told.allowed = verdict.decision.allowed;
    if let (true, Some(all), Some(some)) = (told.allowed, &verdict.addresses, &permitted)
        && some.len() < all.len()
    {
        let listed: Vec<String> = some.iter().map(ToString::to_string).collect();
        told.steps.push(format!(
            "of {} addresses only those that this rule allows are used: {}",
            all.len(),
            listed.join(", ")
        ));
    }
    permitted
}
