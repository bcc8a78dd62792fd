//! Whether one request may go on, and may have what is stored: the access rules and the egress
//! policy, asked in the same way for live requests and for [`crate::explain`]. Only how a name is
//! resolved, and who hears why, is the caller's.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use cluster_config::document::{caching::Where, egress::EgressDenial};
use relay::{field::Field, head::Request, via};

use crate::{
    admit::{Answer, Decision, Question, Rules},
    config::Generation,
    dns::Resolved,
    egress,
    node::{Asker, Node},
    request::Destination,
    respond::Error,
};

/// A request, as far as it matters whether it may go on.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The node that was asked.
    pub node: &'a Node,
    /// The configuration that decides.
    pub generation: &'a Generation,
    pub client: IpAddr,
    /// What is asked.
    pub request: Request<'a>,
    /// Where it would go.
    pub destination: &'a Destination,
    /// When, in Unix milliseconds.
    pub now: u64,
}

/// What the rules said of a request.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub decision: Decision,
    /// The addresses of the destination, where a rule wanted them: all of them.
    pub addresses: Option<Arc<[IpAddr]>>,
}

impl Verdict {
    /// The addresses that the request may go to, where a rule wanted them.
    #[must_use]
    pub fn permitted(&self) -> Option<Arc<[IpAddr]>> {
        self.addresses.clone().map(|all| self.decision.narrow(all))
    }
}

impl<'a> Subject<'a> {
    /// What is refused before any rule is asked: a request for the target of a health-checker from
    /// somebody else.
    ///
    /// # Errors
    /// It is refused.
    pub fn screen(&self) -> Result<Asker, Error> {
        match self.node.probe(self.client, self.destination, self.request) {
            Asker::Stranger => Err(Error::Egress(EgressDenial::ClusterPort)),
            asker => Ok(asker),
        }
    }

    /// Whether the request has passed this cluster already.
    #[must_use]
    pub fn is_loop(&self) -> bool {
        let lines = self.request.lines();
        lines.has(Field::Via) && via::passed_through(lines, &self.node.pseudonym.load())
    }

    /// The rules' answer, if the destination has these addresses. `trace` hears what every rule on
    /// the way said.
    pub fn ask(&self, addresses: Option<&[IpAddr]>, trace: Option<&mut Vec<String>>) -> Answer {
        let rules = &self.generation.rules;
        let question = self.question(rules, addresses);
        match trace {
            None => rules.decide(&question),
            Some(trace) => {
                trace.clear();
                rules.walk(&question, |step| trace.push(step.to_string()))
            }
        }
    }

    fn question<'q>(&'q self, rules: &Rules, addresses: Option<&'q [IpAddr]>) -> Question<'q> {
        let (day, minute) = if rules.timed() { self.node.civil(self.now) } else { (0, 0) };
        Question {
            client: self.client,
            host: &self.destination.host,
            port: self.destination.port,
            method: self.request.method_text(),
            url: self.request.target_text().as_bytes(),
            addresses,
            day,
            minute,
        }
    }

    /// The rule by which the request goes past the parents.
    #[must_use]
    pub fn direct_by(&self) -> Option<Decision> {
        let rules = &self.generation.direct;
        if self.generation.parents.is_unused() || rules.get(0).is_none() {
            return None;
        }
        match rules.decide(&self.question(rules, None)) {
            Answer::Decided(decision) if decision.allowed => Some(decision),
            _ => None,
        }
    }

    /// The rule by which the client may purge what it asks for; `None`: it may not.
    #[must_use]
    pub fn purged_by(&self) -> Option<String> {
        let rules = &self.generation.caching.purgers;
        match rules.decide(&self.question(rules, None)) {
            Answer::Decided(decision) if decision.allowed => Some(rules.describe(decision)),
            _ => None,
        }
    }

    /// Where the answer is kept, where a rule of the cache says so, by its index.
    #[must_use]
    pub fn kept_by(&self) -> Option<usize> {
        let stores = &self.generation.caching.stores;
        if stores.places.is_empty() {
            return None;
        }
        match stores.rules.decide(&self.question(&stores.rules, None)) {
            Answer::Decided(decision) => decision.rule,
            // No rule of the cache looks at addresses.
            Answer::NeedsAddresses => None,
        }
    }

    /// The same, the place.
    #[must_use]
    pub fn kept(&self) -> Option<Where> {
        let places = &self.generation.caching.stores.places;
        self.kept_by().and_then(|index| places.get(index)).map(|(place, _)| *place)
    }

    /// Walks through the rules, and resolves the name with `resolve` where one of them wants that.
    /// `trace` has, afterwards, what every rule on the way said.
    ///
    /// # Errors
    /// A rule wants addresses that cannot be found out. What is not known is neither allowed nor
    /// denied, and never asked for again behind the rules' back.
    pub async fn walk<R: Future<Output = Resolved>>(
        &self,
        resolve: impl Fn() -> R,
        mut trace: Option<&mut Vec<String>>,
    ) -> Result<Verdict, Error> {
        let mut addresses: Option<Arc<[IpAddr]>> = None;
        loop {
            match self.ask(addresses.as_deref(), trace.as_deref_mut()) {
                Answer::Decided(decision) => return Ok(Verdict { decision, addresses }),
                Answer::NeedsAddresses => {
                    addresses = Some(resolve().await.map_err(Error::Undecided)?);
                }
            }
        }
    }

    /// Whether this client may have what came `from` there (none: from a parent): rules and egress
    /// policy would let it go there. `by_address`: a rule wanted the destination's addresses. Costs
    /// nothing where neither makes a difference between clients or addresses.
    #[must_use]
    pub fn may_have(&self, from: Option<SocketAddr>, by_address: bool) -> bool {
        if let (true, Some(from)) = (by_address, from)
            && !self.ask(Some(&[from.ip()]), None).is_allowed()
        {
            return false;
        }
        if !self.generation.egress_by_client {
            return true;
        }
        let (egress, ports) = (&self.generation.document.access.egress, self.node.ports.load());
        let verdict = match from {
            Some(from) => egress::check(egress, &ports, self.client, &self.destination.host, from),
            None => egress::check_unresolved(egress, &ports, self.client, self.destination),
        };
        verdict.is_ok()
    }
}
