//! The gRPC face: wire types in, the same pure code as the live path, wire types out.

mod access;
mod purge;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use chassis::{
    Clock, StopSignal,
    authorize::{ANYONE, OPERATORS, PEOPLE, Policy, Rule},
};
use dataplane::limits;
use futures::stream::BoxStream;
use proto::proxy::{
    CachedVariant, DiskStats, ExplainRequestRequest, ExplainRequestResponse, GetStatsRequest,
    GetStatsResponse, LastMinute, LookupCacheRequest, LookupCacheResponse, OwnerStats, ParentStats,
    PurgeRequest, PurgeResponse, RouteKind, TailAccessRequest, TailAccessResponse, Tier,
    TopAccessRequest, TopAccessResponse, proxy_node_server::ProxyNode,
};
use relay::clients::Clients;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::{
    cache::{
        content::Content,
        disk::{Disk, Found, Standing},
        facts::ResponseFacts,
        key::Key,
        keying,
        object::{self, Object},
        policy::Freshness,
        tags,
    },
    explain,
    node::Node,
    parent::Parent,
};

/// Who may call what.
pub static POLICY: Policy = Policy::new(&[
    Rule::read("/shoal.proxy.v1.ProxyNode/GetStats", ANYONE),
    Rule::read("/shoal.proxy.v1.ProxyNode/LookupCache", PEOPLE),
    Rule::write("/shoal.proxy.v1.ProxyNode/Purge", OPERATORS),
    Rule::read("/shoal.proxy.v1.ProxyNode/ExplainRequest", PEOPLE),
    Rule::read("/shoal.proxy.v1.ProxyNode/TopAccess", OPERATORS),
    Rule::read("/shoal.proxy.v1.ProxyNode/TailAccess", OPERATORS),
]);

pub struct Api {
    /// What it tells about.
    pub node: Arc<Node>,
    /// What the clients of its workers have.
    pub clients: Arc<Clients>,
    pub clock: Clock,
    /// Raised when streams have to end.
    pub closing: StopSignal,
    /// What the process says of itself.
    pub status: watch::Receiver<chassis::Status>,
}

impl Api {
    /// The key that a URL has, by the rules of the configuration.
    fn key(&self, url: &str) -> Result<Key, Status> {
        Ok(keying::apply(&self.node.current.load().caching.keys, key(url)?).key)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.now().as_millisecond()).unwrap_or(0)
    }
}

fn key(url: &str) -> Result<Key, Status> {
    Key::parse(url).ok_or_else(|| {
        Status::invalid_argument(format!(
            "{url:?} is not an absolute http URL, and only those are cached"
        ))
    })
}

fn last_minute(traffic: cluster::recent::Traffic) -> LastMinute {
    LastMinute {
        seconds: u32::try_from(traffic.seconds).unwrap_or(u32::MAX),
        requests: traffic.requests,
        errors: traffic.failed,
    }
}

fn timestamp(unix_seconds: u64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: i64::try_from(unix_seconds).unwrap_or(i64::MAX), nanos: 0 }
}

fn seconds(seconds: u64) -> prost_types::Duration {
    prost_types::Duration { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanos: 0 }
}

fn is_fresh(freshness: &Freshness, now: u64) -> bool {
    freshness.age(now) < freshness.lifetime && !freshness.directives.no_cache
}

const fn doubt(purged: bool) -> &'static str {
    if purged { "; soft-purged: it is validated before its next use" } else { "" }
}

fn variant(object: &Object, now: u64) -> CachedVariant {
    let freshness = &object.freshness;
    let text = |value: Option<&[u8]>| {
        value.map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    };
    CachedVariant {
        url: object.key.to_string(),
        status: u32::from(object.status),
        vary: object
            .selection
            .shown()
            .map(|(name, value)| (name.to_owned(), text(value)))
            .collect(),
        bytes: object.content.len(),
        stored_at: Some(timestamp(freshness.received_at)),
        age: Some(seconds(freshness.age(now))),
        freshness_lifetime: Some(seconds(freshness.lifetime)),
        fresh: is_fresh(freshness, now) && !object.is_purged(),
        explanation: format!("{}{}", explain::describe(freshness, now), doubt(object.is_purged())),
        tier: Tier::Memory.into(),
        etag: text(object.etag.as_deref()),
        last_modified: text(object.last_modified_text.as_deref()),
        tags: tagged(&object.head),
        soft_purged: object.is_purged(),
    }
}

/// What an origin calls an answer.
fn tagged(head: &[u8]) -> Vec<String> {
    let each = tags::each(object::fields(head));
    each.map(|tag| String::from_utf8_lossy(tag).into_owned()).collect()
}

fn variant_on_disk(found: &Found, key: &Key, now: u64) -> CachedVariant {
    let (stored, freshness) = (&found.stored, &found.freshness);
    let ResponseFacts { etag, last_modified_text, .. } = &found.facts;
    let text = |value: &Option<bytes::Bytes>| {
        value.as_ref().map(|it| String::from_utf8_lossy(it).into_owned()).unwrap_or_default()
    };
    let names = stored.varied.iter().flat_map(|varied| &varied.names);
    CachedVariant {
        url: key.to_string(),
        status: u32::from(stored.status),
        // The values are there as a digest alone.
        vary: names.map(|name| (name.to_string(), String::new())).collect(),
        bytes: found.content.as_ref().map_or(found.body.len() as u64, Content::len),
        stored_at: Some(timestamp(freshness.received_at)),
        age: Some(seconds(freshness.age(now))),
        freshness_lifetime: Some(seconds(freshness.lifetime)),
        fresh: is_fresh(freshness, now) && !found.purged,
        explanation: format!(
            "on the disk, {}{}",
            explain::describe(freshness, now),
            doubt(found.purged)
        ),
        tier: Tier::Disk.into(),
        etag: text(etag),
        last_modified: text(last_modified_text),
        tags: tagged(&stored.head),
        soft_purged: found.purged,
    }
}

fn disk_stats(disk: &Disk) -> DiskStats {
    let problem = match disk.standing() {
        Standing::Ready => String::new(),
        Standing::Loading => "it is being loaded".to_owned(),
        Standing::Down(reason) => reason,
    };
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let counts = disk.counts();
    let trouble = [&counts.errors, &counts.late, &counts.queue_full, &counts.corrupt];
    let load = count(&counts.load_millis);
    DiskStats {
        problem,
        objects: disk.objects(),
        bytes: disk.used(),
        capacity_bytes: disk.capacity(),
        hits: count(&counts.hits),
        written: count(&counts.written),
        errors: trouble.into_iter().map(count).sum(),
        load: Some(prost_types::Duration {
            seconds: i64::try_from(load / 1000).unwrap_or(i64::MAX),
            nanos: i32::try_from(load % 1000 * 1_000_000).unwrap_or(0),
        }),
    }
}

fn parent(known: &Parent) -> ParentStats {
    let (requests, failures) = known.counts();
    ParentStats {
        address: known.to_string(),
        alive: known.is_alive(),
        dead_since: known.dead_since().map(|since| timestamp(since / 1000)),
        requests,
        failures,
        last_failure: known.last_failure().map(|how| format!("it {how}")).unwrap_or_default(),
        credentials_problem: known.credentials().problem().unwrap_or_default().to_owned(),
    }
}

#[tonic::async_trait]
impl ProxyNode for Api {
    async fn get_stats(
        &self,
        _: Request<GetStatsRequest>,
    ) -> Result<Response<GetStatsResponse>, Status> {
        let (metrics, store) = (&self.node.metrics, &self.node.store);
        Ok(Response::new(GetStatsResponse {
            requests: metrics.requests.get(),
            hits: metrics.hits.get() + metrics.owner_hits.get(),
            revalidated: metrics.revalidated.get(),
            misses: metrics.misses.get().saturating_sub(metrics.owner_hits.get()),
            collapsed: metrics.collapsed.get(),
            denied: metrics.denied.get(),
            errors: metrics.errors.get(),
            tunnels: metrics.tunnels.get(),
            active_tunnels: metrics.active_tunnels.get(),
            active_connections: metrics.active_connections.get(),
            cache_objects: store.objects(),
            cache_bytes: store.used(),
            cache_capacity_bytes: store.capacity(),
            bytes_to_clients: metrics.bytes_to_clients.get(),
            bytes_from_origins: metrics.bytes_from_origins.get(),
            log_records_dropped: self.node.recorder.dropped(),
            taken_at: Some(timestamp(self.now() / 1000)),
            revision: self.status.borrow().called_now(&self.node.current.load().revision),
            probes: metrics.probes.get(),
            last_minute: Some(last_minute(metrics.last_minute())),
            disk: store.disk().map(|disk| disk_stats(&disk)),
            owners: Some(OwnerStats {
                others: metrics.owners.get(),
                hits: metrics.owner_hits.get(),
                misses: metrics.owner_misses.get(),
                failures: metrics.owner_failures.get(),
                asked: metrics.owned.get(),
            }),
            parents: self.node.current.load().parents.iter().map(|known| parent(known)).collect(),
        }))
    }

    async fn top_access(
        &self,
        request: Request<TopAccessRequest>,
    ) -> Result<Response<TopAccessResponse>, Status> {
        access::top(&self.node, request.get_ref(), self.clock.now()).map(Response::new)
    }

    type TailAccessStream = BoxStream<'static, Result<TailAccessResponse, Status>>;

    async fn tail_access(
        &self,
        request: Request<TailAccessRequest>,
    ) -> Result<Response<Self::TailAccessStream>, Status> {
        access::tail(Arc::clone(&self.node), request.get_ref(), self.closing.clone())
            .await
            .map(Response::new)
    }

    async fn lookup_cache(
        &self,
        request: Request<LookupCacheRequest>,
    ) -> Result<Response<LookupCacheResponse>, Status> {
        let now = self.node.steady.seconds();
        let key = self.key(&request.get_ref().url)?;
        let store = &self.node.store;
        let (held, parts) = (store.variants(&key), store.parts(&key));
        let mut variants: Vec<CachedVariant> =
            held.iter().chain(&parts).map(|object| variant(object, now)).collect();
        if let Some(disk) = store.disk() {
            let fresh: Vec<Found> = disk.variants(&key).await;
            // What is in memory too is found there.
            let only_there = fresh.iter().filter(|found| {
                !held.iter().any(|object| {
                    object.selection.durable() == found.stored.varied.as_ref().map(|it| &it.digest)
                })
            });
            variants.extend(only_there.map(|found| variant_on_disk(found, &key, now)));
        }
        Ok(Response::new(LookupCacheResponse { variants }))
    }

    async fn purge(
        &self,
        request: Request<PurgeRequest>,
    ) -> Result<Response<PurgeResponse>, Status> {
        purge::purge(&self.node, &request).await.map(Response::new)
    }

    async fn explain_request(
        &self,
        request: Request<ExplainRequestRequest>,
    ) -> Result<Response<ExplainRequestResponse>, Status> {
        let asked = request.into_inner();
        let client: IpAddr = match asked.client_address.as_str() {
            "" => IpAddr::from([127, 0, 0, 1]),
            text => text
                .parse()
                .map_err(|_| Status::invalid_argument(format!("{text:?} is not an IP address")))?,
        };
        let headers = asked.headers.into_iter().collect();
        let told =
            explain::explain(&self.node, &asked.url, &asked.method, client, &headers, self.now())
                .await
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
        // Where clients come to the node itself: balancers look at their own limits.
        let generation = self.node.current.load_full();
        let listen = generation.document.listen.first();
        let limits = listen.and_then(|it| limits::tell(&self.clients, &it.limits, client));
        Ok(Response::new(ExplainRequestResponse {
            allowed: told.allowed,
            rule: told.rule,
            revision: self.status.borrow().called_now(&told.revision),
            cache: told.cache.to_owned(),
            route: told.route,
            explanation: limits.into_iter().chain(told.steps).collect(),
            route_kind: match told.route_kind {
                Some(explain::RouteKind::Origin) => RouteKind::Origin,
                Some(explain::RouteKind::Parent) => RouteKind::Parent,
                None => RouteKind::Unspecified,
            }
            .into(),
            owner: told.owner,
        }))
    }
}
