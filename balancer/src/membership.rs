//! Who the servers of a backend are: named in the bundle, or found in the registry. Pure: documents
//! and membership in, members out.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use cluster::{AdminState, InstanceId, InstanceStatus, State};
use cluster_config::document::balancer::{Backend, Discover};

use crate::standing::{Verdict, locality::Place};

/// A server as bundle and registry describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Unique in the backend.
    pub name: String,
    /// `host:port`.
    pub address: String,
    /// Which process; none when it is named in the bundle.
    pub id: Option<InstanceId>,
    /// Share of the load.
    pub weight: u32,
    /// The one that bundle or process gave it, whatever operators set.
    pub initial_weight: u32,
    /// Named as backup.
    pub backup: bool,
    /// Named as the last resort.
    pub last_resort: bool,
    /// Where it is.
    pub place: Place,
    /// What operators want of it.
    pub admin: AdminState,
    /// What the registry says.
    pub verdict: Option<Verdict>,
    /// Requests and tunnels that it may have at a time.
    pub maxconn: Option<u32>,
    /// Something of this was set here and the registry does not know it yet.
    pub drift: bool,
}

/// What operators want of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Admin state, if set.
    pub admin: Option<AdminState>,
    /// Weight, if set.
    pub weight: Option<u32>,
    /// Where it is, if set: only for one that the bundle names, and on this balancer alone.
    pub address: Option<SocketAddr>,
}

/// Under which key what is wanted of a server is kept: an instance is the same in every backend, a
/// server in the bundle is its backend's.
#[must_use]
pub fn desired_key(backend: &str, server: &str, discovered: bool) -> String {
    if discovered { server.to_owned() } else { format!("{backend}/{server}") }
}

/// The members of a backend, by name. A name in the bundle wins over the same name in the registry.
#[must_use]
pub fn members<'a>(
    backend: &Backend,
    instances: impl Iterator<Item = &'a InstanceStatus>,
    overrides: &BTreeMap<String, Desired>,
) -> Vec<Member> {
    let mut members = BTreeMap::new();
    if let Some(discover) = &backend.discover {
        members.extend(
            instances
                .filter_map(|status| discovered(discover, status))
                .map(|member| (member.name.clone(), member)),
        );
    }
    for server in &backend.servers {
        let member = Member {
            name: server.name.clone(),
            address: address(&server.host, server.port),
            id: None,
            weight: server.weight,
            initial_weight: server.weight,
            backup: server.backup,
            last_resort: server.last_resort,
            place: Place { datacenter: server.datacenter.clone(), zone: server.zone.clone() },
            admin: AdminState::Ready,
            verdict: None,
            maxconn: server.maxconn,
            drift: false,
        };
        members.insert(server.name.clone(), member);
    }
    for member in members.values_mut() {
        if let Some(set) =
            overrides.get(&desired_key(&backend.name, &member.name, member.id.is_some()))
        {
            apply(member, *set);
        }
    }
    members.into_values().collect()
}

/// How long an instance that vanished without having said that it stops is still listed as lost
/// (invariant 4).
pub const REMEMBERED_FOR: Duration = Duration::from_secs(600);

const VANISHED: &str = "the registry does not list it any more, and it did not say that it stops";

/// The registry's list, with a memory: an instance that vanishes from it without having been
/// draining was not deregistered by anybody who asked for that. Then it is the registry that lost
/// something, and the instance stays listed as lost.
#[derive(Debug, Default)]
pub struct Memory {
    known: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    status: InstanceStatus,
    /// Since when the registry does not list it.
    vanished: Option<Instant>,
}

impl Memory {
    /// Takes the list as it is now.
    pub fn update(&mut self, listed: impl Iterator<Item = InstanceStatus>, now: Instant) {
        let listed =
            listed.map(|status| (status.instance.name.clone(), Known { status, vanished: None }));
        let listed: BTreeMap<String, Known> = listed.collect();
        self.known.retain(|name, known| listed.contains_key(name) || known.unlisted(now));
        self.known.extend(listed);
    }

    /// Everybody who counts.
    pub fn instances(&self) -> impl Iterator<Item = &InstanceStatus> + Clone {
        self.known.values().map(|known| &known.status)
    }
}

impl Known {
    /// The registry does not list it; whether it counts all the same.
    fn unlisted(&mut self, now: Instant) -> bool {
        match self.vanished {
            Some(since) => now.saturating_duration_since(since) < REMEMBERED_FOR,
            None if self.status.state == State::Draining => false,
            None => {
                self.vanished = Some(now);
                (self.status.state, self.status.reasons) = (State::Lost, vec![VANISHED.to_owned()]);
                true
            }
        }
    }
}

fn discovered(discover: &Discover, status: &InstanceStatus) -> Option<Member> {
    let instance = &status.instance;
    let has_all = |tags: &[String]| tags.iter().all(|tag| instance.tags.contains(tag));
    let wanted = instance.service.as_str() == discover.service
        && has_all(&discover.tags)
        && discover.datacenter.as_ref().is_none_or(|datacenter| *datacenter == instance.datacenter);
    // A node that has not opened its relay listener yet cannot be a server.
    let address = instance.endpoints.get("relay").filter(|_| wanted)?;
    Some(Member {
        name: instance.name.clone(),
        address: address.clone(),
        id: Some(instance.id),
        weight: status.effective_weight,
        last_resort: false,
        backup: !discover.backup_tags.is_empty() && has_all(&discover.backup_tags),
        initial_weight: instance.weight,
        place: Place { datacenter: instance.datacenter.clone(), zone: instance.zone.clone() },
        admin: status.admin_state,
        verdict: Some(Verdict { state: status.state, reasons: status.reasons.clone() }),
        maxconn: discover.maxconn,
        drift: false,
    })
}

fn apply(member: &mut Member, set: Desired) {
    if let Some(admin) = set.admin {
        member.drift |= member.id.is_some() && member.admin != admin;
        member.admin = admin;
        // The registry derived its state from another admin state: `ready` set here takes back the
        // maintenance that it reports.
        if let Some(verdict) = member
            .verdict
            .as_mut()
            .filter(|it| admin == AdminState::Ready && it.state == State::Maintenance)
        {
            verdict.state = State::Usable;
        }
    }
    if let Some(address) = set.address.filter(|_| member.id.is_none()) {
        member.address = address.to_string();
    }
    if let Some(weight) = set.weight {
        member.drift |= member.id.is_some() && member.weight != weight;
        member.weight = weight;
    }
}

fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
pub(crate) mod tests {
    use cluster::{Instance, Service};
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;

    /// A discovered node for tests.
    pub(crate) fn node(name: &str, relay: Option<&str>, state: State) -> InstanceStatus {
        let endpoints =
            relay.map(|address| ("relay".to_owned(), address.to_owned())).into_iter().collect();
        InstanceStatus {
            instance: Instance {
                service: Service::ProxyNode,
                name: name.to_owned(),
                id: InstanceId(Uuid::from_u128(1)),
                generation: 1,
                endpoints,
                datacenter: "beijing".to_owned(),
                zone: String::new(),
                tags: vec!["edge".to_owned()],
                weight: 1,
                version: String::new(),
                applied_revision: String::new(),
                applied_hash: String::new(),
            },
            admin_state: AdminState::Ready,
            state,
            reasons: vec![],
            registered_at: Timestamp::UNIX_EPOCH,
            changed_at: Timestamp::UNIX_EPOCH,
            lease_expires_at: Timestamp::UNIX_EPOCH,
            effective_weight: 3,
            opinions: vec![],
            withheld_state: None,
        }
    }

    /// A backend for tests.
    pub(crate) fn backend(extra: &str) -> Backend {
        let json = r#"{"name":"squid_servers","balance":"round_robin",
            "discover":{"service":"proxy-node","tags":[],"datacenter":null},"servers":[],
            "check":{"enabled":true,"inter":"5s","timeout":"2s","rise":2,"fall":3},
            "passive":{"max_fails":2,"fail_timeout":"30s","count":["connect","reset"]},
            "suspicion":{"after":"500ms","probe_timeout":"250ms","probes":2},
            "retry":{"attempts":3,"budget":20},
            "timeouts":{"connect":"5s","client":"50s","server":"50s",
                "request_head":"10s","client_idle":"60s","tunnel_idle":"1h"},
            "keepalive":32,"keepalive_idle":"60s","panic_threshold":50}"#;
        let mut value: serde_json::Value = serde_json::from_str(json).expect("valid JSON");
        let extra: serde_json::Value = serde_json::from_str(extra).expect("valid JSON");
        for (key, item) in extra.as_object().into_iter().flatten() {
            value[key] = item.clone();
        }
        serde_json::from_value(value).expect("a backend")
    }

    #[test]
    fn registry_and_bundle_together() {
        let backend = backend(
            r#"{"servers":[
                {"name":"old-squid","host":"::1","port":3128,"weight":1,"backup":true},
                {"name":"b","host":"x","port":1,"weight":2,"backup":false}
            ]}"#,
        );
        let instances = [
            node("a", Some("127.0.0.1:1"), State::Usable),
            node("b", Some("127.0.0.1:2"), State::Usable),
            node("c", None, State::Usable),
        ];
        let members = members(&backend, instances.iter(), &BTreeMap::new());
        let found: Vec<_> = members
            .iter()
            .map(|it| (it.name.as_str(), it.address.as_str(), it.weight, it.id.is_some()))
            .collect();
        assert_eq!(
            found,
            [
                ("a", "127.0.0.1:1", 3, true),
                ("b", "x:1", 2, false),
                ("old-squid", "[::1]:3128", 1, false)
            ]
        );
    }

    #[test]
    fn tags_and_datacenter_choose() {
        for (discover, count) in [
            (r#"{"service":"proxy-node","tags":["edge"],"datacenter":"beijing"}"#, 1),
            (r#"{"service":"proxy-node","tags":["edge","core"],"datacenter":null}"#, 0),
            (r#"{"service":"proxy-node","tags":[],"datacenter":"shanghai"}"#, 0),
        ] {
            let backend = backend(&format!(r#"{{"discover":{discover}}}"#));
            let instances = [node("a", Some("127.0.0.1:1"), State::Usable)];
            assert_eq!(
                members(&backend, instances.iter(), &BTreeMap::new()).len(),
                count,
                "{discover}"
            );
        }
    }

    #[test]
    fn what_is_set_here_is_drift_until_the_registry_says_the_same() {
        let backend = backend("{}");
        let mut instances = [node("a", Some("127.0.0.1:1"), State::Usable)];
        let overrides = BTreeMap::from([("a".to_owned(), Desired::from(AdminState::Drain))]);
        let member = members(&backend, instances.iter(), &overrides).remove(0);
        assert_eq!((member.admin, member.drift), (AdminState::Drain, true));
        instances[0].admin_state = AdminState::Drain;
        assert!(!members(&backend, instances.iter(), &overrides)[0].drift);
    }

    #[test]
    fn vanishing_is_not_leaving() {
        let now = relay::clock::now();
        let (a, b) = (
            node("a", Some("127.0.0.1:1"), State::Usable),
            node("b", Some("127.0.0.1:2"), State::Draining),
        );
        let mut memory = Memory::default();
        memory.update([a.clone(), b].into_iter(), now);
        memory.update(std::iter::empty(), now);
        let listed: Vec<_> =
            memory.instances().map(|it| (it.instance.name.as_str(), it.state)).collect();
        assert_eq!(listed, [("a", State::Lost)], "b had said that it stops");
        memory.update([a].into_iter(), now);
        assert_eq!(memory.instances().next().map(|it| it.state), Some(State::Usable));
        memory.update(std::iter::empty(), now);
        memory.update(std::iter::empty(), now + REMEMBERED_FOR);
        assert_eq!(memory.instances().count(), 0);
    }
}
