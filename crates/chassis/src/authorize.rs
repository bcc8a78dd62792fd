//! Which role may call which rpc: one table a service, and the pure decision over it.
//!
//! What is not in the table does not exist. Health and reflection are open to every valid
//! certificate.

use std::collections::BTreeSet;

use cluster::Service;

pub use crate::role::{Identity, Peer, Role};

/// Every role.
pub const ANYONE: &[Role] = &[
    Role::Operator,
    Role::Service(Service::ProxyNode),
    Role::Service(Service::Balancer),
    Role::Service(Service::Registry),
    Role::Service(Service::ConfigService),
    Role::Service(Service::HealthChecker),
    Role::Service(Service::BackupService),
    Role::Service(Service::Console),
];

/// Every process, no person.
pub const SERVICES: &[Role] = &[
    Role::Service(Service::ProxyNode),
    Role::Service(Service::Balancer),
    Role::Service(Service::Registry),
    Role::Service(Service::ConfigService),
    Role::Service(Service::HealthChecker),
    Role::Service(Service::BackupService),
    Role::Service(Service::Console),
];

/// People with the `shoal` command.
pub const OPERATORS: &[Role] = &[Role::Operator];

/// People, by the `shoal` command or the web page: for what only tells. What changes something
/// names the console only where the page offers it.
pub const PEOPLE: &[Role] = &[Role::Operator, Role::Service(Service::Console)];

/// One rpc.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// `/package.Service/Method`
    pub path: &'static str,
    /// Who may call it.
    pub roles: &'static [Role],
    /// Changes something: every call is an audit record.
    pub mutating: bool,
}

impl Rule {
    /// An rpc that changes nothing worth an audit record.
    #[must_use]
    pub const fn read(path: &'static str, roles: &'static [Role]) -> Self {
        Self { path, roles, mutating: false }
    }

    /// An rpc whose every call is an audit record.
    #[must_use]
    pub const fn write(path: &'static str, roles: &'static [Role]) -> Self {
        Self { path, roles, mutating: true }
    }
}

/// All rpcs of one service.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    rules: &'static [Rule],
}

/// What the table says about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allowed {
        /// The rpc, as the table has it.
        path: &'static str,
        /// Write an audit record.
        mutating: bool,
    },
    /// The rpc exists, but not for this role.
    Denied {
        /// The rpc, as the table has it.
        path: &'static str,
        /// A refused change is worth an audit record too.
        mutating: bool,
    },
    /// There is no such rpc.
    Unknown,
}

/// What every process serves beside its own rpcs.
const EVERYWHERE: [Rule; 3] = [
    Rule::read("/shoal.audit.v1.Audit/ListRecords", PEOPLE),
    Rule::read("/shoal.log.v1.Log/ListErrors", PEOPLE),
    Rule::write("/shoal.follower.v1.Follower/ForgetRejections", OPERATORS),
];

const OPEN_TO_ALL: [&str; 5] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.health.v1.Health/List",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

impl Policy {
    /// The full names of the services that the table's rpcs belong to, each once.
    #[must_use]
    pub fn services(&self) -> BTreeSet<&'static str> {
        let paths = self
            .rules
            .iter()
            .chain(&EVERYWHERE)
            .filter_map(|rule| rule.path.trim_start_matches('/').split_once('/'));
        paths.map(|(service, _)| service).collect()
    }

    /// A table.
    #[must_use]
    pub const fn new(rules: &'static [Rule]) -> Self {
        Self { rules }
    }

    /// The rules, for documentation and tests.
    #[must_use]
    pub const fn rules(&self) -> &'static [Rule] {
        self.rules
    }

    /// Whether `role` may call `path`. No role is a peer of a plaintext port, who may do everything
    /// there is.
    #[must_use]
    pub fn decide(&self, path: &str, role: Option<Role>) -> Decision {
        if let Some(path) = OPEN_TO_ALL.into_iter().find(|open| *open == path) {
            return Decision::Allowed { path, mutating: false };
        }
        let Some(rule) = self.rules.iter().chain(&EVERYWHERE).find(|rule| rule.path == path) else {
            return Decision::Unknown;
        };
        if role.is_none_or(|role| rule.roles.contains(&role)) {
            Decision::Allowed { path: rule.path, mutating: rule.mutating }
        } else {
            Decision::Denied { path: rule.path, mutating: rule.mutating }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static POLICY: Policy = Policy::new(&[
        Rule::read("/a.A/Get", ANYONE),
        Rule::write("/a.A/Set", OPERATORS),
        Rule::write("/a.A/Nobody", &[]),
    ]);

    #[test]
    fn the_table_decides() {
        let node = Some(Role::Service(Service::ProxyNode));
        let operator = Some(Role::Operator);
        let allowed = |path, mutating| Decision::Allowed { path, mutating };
        let denied = |path, mutating| Decision::Denied { path, mutating };
        for (path, role, expected) in [
            ("/a.A/Get", node, allowed("/a.A/Get", false)),
            ("/a.A/Get", operator, allowed("/a.A/Get", false)),
            ("/a.A/Set", node, denied("/a.A/Set", true)),
            ("/a.A/Set", operator, allowed("/a.A/Set", true)),
            ("/a.A/Set", None, allowed("/a.A/Set", true)),
            ("/a.A/Nobody", operator, denied("/a.A/Nobody", true)),
            ("/a.A/Other", operator, Decision::Unknown),
            ("/a.A/Other", None, Decision::Unknown),
            ("/a.A/get", operator, Decision::Unknown),
            ("/a.A/Get/", operator, Decision::Unknown),
            ("", operator, Decision::Unknown),
            ("/grpc.health.v1.Health/Check", node, allowed("/grpc.health.v1.Health/Check", false)),
            ("/grpc.health.v1.Health/Other", node, Decision::Unknown),
            (
                "/shoal.audit.v1.Audit/ListRecords",
                operator,
                allowed("/shoal.audit.v1.Audit/ListRecords", false),
            ),
            (
                "/shoal.audit.v1.Audit/ListRecords",
                Some(Role::Service(Service::Console)),
                allowed("/shoal.audit.v1.Audit/ListRecords", false),
            ),
            (
                "/shoal.audit.v1.Audit/ListRecords",
                node,
                denied("/shoal.audit.v1.Audit/ListRecords", false),
            ),
            (
                "/shoal.log.v1.Log/ListErrors",
                operator,
                allowed("/shoal.log.v1.Log/ListErrors", false),
            ),
            ("/shoal.log.v1.Log/ListErrors", node, denied("/shoal.log.v1.Log/ListErrors", false)),
            (
                "/shoal.follower.v1.Follower/ForgetRejections",
                Some(Role::Service(Service::Console)),
                denied("/shoal.follower.v1.Follower/ForgetRejections", true),
            ),
        ] {
            assert_eq!(POLICY.decide(path, role), expected, "{path} {role:?}");
        }
    }

    #[test]
    fn the_lists_are_complete() {
        assert_eq!(SERVICES.len(), Service::ALL.len());
        assert!(Service::ALL.iter().all(|service| SERVICES.contains(&Role::Service(*service))));
        assert_eq!(ANYONE.len(), SERVICES.len() + 1);
    }
}
