//! What the cache would do.

mod said;

use std::sync::Arc;

use cluster_config::document::caching::Where;
use relay::head::Request;

use super::Explanation;
use crate::{
    admission::Subject,
    cache::{
        facts::RequestFacts,
        key::Key,
        object::Object,
        policy::{Bypass, Freshness},
    },
    fetch::{
        owner::{self, Choice},
        plan::{self, Fetches, Found, Plan, Why},
        sibling,
    },
    node::Store,
    request::{self, Sender},
};

/// Who would answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// What is stored.
    FromCache,
    /// The next hop.
    Elsewhere,
    /// The proxy itself: nothing else was asked for than what is stored.
    Refused,
}

/// Tells what the plan for the request is. `by_address`: a rule wanted the destination's addresses.
pub(super) async fn tell(
    told: &mut Explanation,
    subject: &Subject<'_>,
    path: &str,
    by_address: bool,
) -> Answered {
    let Subject { node, destination, request, .. } = *subject;
    let store = &node.store;
    let mut facts = RequestFacts::new(
        request.method_text().as_bytes(),
        !request.framing().is_empty(),
        request::sent_fields(request),
    );
    let key = Key::new(destination.scheme(), &destination.host, destination.port, path.as_bytes());
    let key = said::key(told, subject.generation, key);
    said::pattern(told, subject.generation, &key);
    subject.generation.overrule(key.as_bytes(), &mut facts);
    if said::store(told, subject) == Some(Where::Never) {
        told.cache = "bypass";
        told.steps.push(format!("cache: {}", bypassed(Why::Bypass(Bypass::Rule))));
        return Answered::Elsewhere;
    }
    let planned = plan::Request::new(request, &facts);
    told.owner = owner::name(node, request);
    if let Err(why) = plan::eligible(&planned, store.capacity()) {
        told.cache = "bypass";
        told.steps.push(format!("cache: {}", bypassed(why)));
        return Answered::Elsewhere;
    }
    let (seconds, millis) = (node.steady.seconds(), node.steady.millis());
    let (mut stored, mut place) = match store.peek(&key, request::sent_fields(request)) {
        Some(object) => (Some(object), ""),
        None => (on_disk(store, &key, request).await, " on the disk"),
    };
    if stored.is_none() && facts.range {
        let fit = |part: &Object| planned.is_answered_by(part, seconds);
        (stored, place) =
            (store.part(&key, request::sent_fields(request), fit), " in a part that is stored");
    }
    let described = match &stored {
        Some(object) => describe(&object.freshness, seconds),
        None => missing(store, &key, seconds),
    };
    let found = match stored {
        Some(object) if !subject.may_have(object.from, by_address) => Found::Forbidden,
        Some(object) if node.doubts(subject.generation, &object, millis) => Found::Doubtful(object),
        Some(object) => Found::Object(object),
        None => Found::Nothing,
    };
    let nothing = matches!(found, Found::Nothing);
    let cache = &subject.generation.document.cache;
    let unshared = || store.is_unshared(&key, seconds);
    let coded = match &found {
        Found::Object(object) => said::coding(subject.generation, object, request),
        _ => None,
    };
    match plan::plan(&planned, found, cache, millis, unshared) {
        Plan::Serve { behind: None, .. } => {
            told.cache = "hit";
            told.steps.push(format!("cache: hit{place}, {described}"));
            told.steps.extend(coded);
            Answered::FromCache
        }
        Plan::Serve { behind: Some(_), .. } => {
            told.cache = "hit";
            told.steps.push(format!(
                "cache: hit, {described}; stale-while-revalidate lets it be served and validated \
                 behind the answer{}",
                match store.pause(&key, seconds) {
                    0 => String::new(),
                    left => format!(", which has failed lately: not within the next {left} s"),
                }
            ));
            told.steps.extend(coded);
            Answered::FromCache
        }
        Plan::Refuse => {
            told.cache = if nothing { "miss" } else { "stale" };
            told.steps.push(format!(
                "cache: {described}; the request says only-if-cached: answered with 504"
            ));
            Answered::Refused
        }
        Plan::Pass(why) => {
            told.cache = named(why);
            told.steps
                .push(format!("cache: {}, and the answer is not stored", said(why, &described)));
            Answered::Elsewhere
        }
        Plan::Fill(fill) => {
            let follows =
                fill.shared && store.is_filled(&key, request::sent_fields(request), seconds);
            told.cache = named(fill.why);
            told.steps.push(format!("cache: {}{}", said(fill.why, &described), fetched(&fill)));
            let circumstances = owner::Circumstances {
                sender: Sender::Client,
                facts: &facts,
                unshared: unshared(),
            };
            tell_owner(told, owner::choose(subject, &circumstances));
            tell_siblings(told, subject, sibling::past(subject, &facts, by_address, unshared()));
            if follows {
                told.steps.push(
                    "cache: another request fetches it already, and this one waits for that"
                        .to_owned(),
                );
            }
            Answered::Elsewhere
        }
    }
}

/// Tells which caches on the same level are asked.
fn tell_siblings(told: &mut Explanation, subject: &Subject<'_>, past: Option<&str>) {
    let node = subject.node;
    let (siblings, now) = (node.icp.siblings.load(), node.steady.millis());
    if siblings.is_empty() {
        return;
    }
    if let Some(why) = past {
        return told.steps.push(format!("siblings: not asked, as {why}"));
    }
    let each = siblings.iter().map(|sibling| {
        let at = format!("{}, ICP {}", sibling.http.authority(), sibling.icp_port);
        let how = match (sibling.is_trusted(now), sibling.is_silent()) {
            (false, _) => "left alone for a while, as it had not what it said".to_owned(),
            (true, true) => "asked and not waited for, as it is silent".to_owned(),
            (true, false) => {
                format!("waited for at most {:?}", sibling.patience(siblings.max_timeout))
            }
        };
        format!("siblings: {at} is {how}")
    });
    told.steps.extend(each);
}

/// Tells who is asked first.
fn tell_owner(told: &mut Explanation, choice: Choice) {
    told.steps.push(match choice {
        Choice::Off => return,
        Choice::Here => "owner: this node, by the hash of the URL".to_owned(),
        Choice::Past(why) => format!("owner: {}, which is not asked, as {why}", told.owner),
        Choice::Node { peer, hot } => format!(
            "owner: {}, by the hash of the URL: it is asked first, at {}, and what it sends is {}",
            peer.name,
            peer.destination.authority(),
            if hot { "kept here too, as it is asked for often" } else { "not kept here" },
        ),
    });
}

/// What the disk has for a request.
async fn on_disk(store: &Store, key: &Key, request: Request<'_>) -> Option<Arc<Object>> {
    let found = store.disk()?.peek(key, request::sent_fields(request)).await?;
    let budget = store.budget();
    let (object, body, bytes) = found.object(budget, key, request::sent_fields(request));
    if let Some(body) = body {
        body.append(&bytes, Some(0), |more| Some(budget.work(more)));
        body.complete();
    }
    Some(object)
}

/// What the answer calls it.
const fn named(why: Why) -> &'static str {
    match why {
        Why::Upgrade | Why::Bypass(_) | Why::Policy | Why::Contended => "bypass",
        Why::Missing | Why::Halted | Why::Partial => "miss",
        Why::Unfit(_) => "stale",
    }
}

/// Why the cache has no say in the request.
fn bypassed(why: Why) -> String {
    match why {
        Why::Bypass(Bypass::Off) => "switched off".to_owned(),
        Why::Bypass(bypass) => format!("bypassed, {bypass}"),
        _ => "bypassed, the request asks for another protocol".to_owned(),
    }
}

/// Why nothing exists that the request selects.
fn missing(store: &Store, key: &Key, now: u64) -> String {
    match store.variants(key).len() {
        0 if !store.parts(key).is_empty() => {
            format!("parts of {key} are stored, and not what is asked for")
        }
        0 => format!("nothing is stored for {key}{}", purged(store, key, now)),
        others => {
            format!("none of the {others} variants stored for {key} is for these request fields")
        }
    }
}

/// The purge that may have taken it away.
fn purged(store: &Store, key: &Key, now: u64) -> String {
    store.last_purge(key).map_or_else(String::new, |(purge, at)| {
        format!(" (purged {} s ago: {purge})", now.saturating_sub(at))
    })
}

/// Why what is stored does not answer.
fn said(why: Why, described: &str) -> String {
    match why {
        Why::Unfit(unfit) => format!("{unfit}, {described}"),
        Why::Halted => "what is stored is being fetched, and nothing has come for long".to_owned(),
        Why::Partial => {
            "what is stored is being fetched, and is far from the part that is asked for".to_owned()
        }
        Why::Policy => "bypassed, what is stored came from where this client may not go".to_owned(),
        Why::Missing | Why::Upgrade | Why::Bypass(_) | Why::Contended => described.to_owned(),
    }
}

/// How it is fetched.
fn fetched(fill: &plan::Fill) -> &'static str {
    match &fill.found {
        _ if fill.validates => "; would be validated with the origin",
        Some(object) if !object.has_validator() => "; would be fetched anew: it has no validator",
        Some(_) => "; would be fetched anew",
        None if fill.fetches == Fetches::WholeForPart => {
            "; the whole would be fetched, and the part sent from it"
        }
        None if fill.fetches == Fetches::Part => "; the part would be fetched and kept",
        None => "",
    }
}

/// Age and lifetime in words, and how long after it a stale one may still be served.
#[must_use]
pub fn describe(freshness: &Freshness, now: u64) -> String {
    let (age, lifetime) = (freshness.age(now), freshness.lifetime);
    let state = if age < lifetime {
        format!("fresh for another {} s", lifetime - age)
    } else {
        format!("stale for {} s", age - lifetime)
    };
    let directives = &freshness.directives;
    let afterwards = if directives.forbids_stale() {
        ", never served stale".to_owned()
    } else {
        let graces = [
            ("while it is validated", directives.stale_while_revalidate),
            ("for an error", directives.stale_if_error),
        ];
        graces
            .into_iter()
            .filter_map(|(what, grace)| {
                Some(format!(", {what} for {} s past its lifetime", grace?))
            })
            .collect()
    };
    format!("age {age} s, lifetime {lifetime} s by {}: {state}{afterwards}", freshness.source)
}
