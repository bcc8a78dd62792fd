//! Which processes make a lab, with which arguments, in which order. Pure.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use cluster::Service;

use super::ports::{Ports, Wanted};

/// Services in the order in which they are started; they are drained in the opposite order.
pub const STAGES: [&[Service]; 3] = [
    &[Service::Registry],
    &[Service::ConfigService],
    &[
        Service::HealthChecker,
        Service::BackupService,
        Service::ProxyNode,
        Service::Balancer,
        Service::Console,
    ],
];

/// Services in the order in which they are ended: what clients use first, what the others need
/// last.
pub const ENDING: [Service; 7] = [
    Service::Balancer,
    Service::ProxyNode,
    Service::HealthChecker,
    Service::BackupService,
    Service::Console,
    Service::ConfigService,
    Service::Registry,
];

/// Who may log in to the lab's console, inside its data directory.
pub const USERS: &str = "console.users";

/// A process that shall run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name of its instance.
    pub name: String,
    /// What it is.
    pub service: Service,
}

/// Everybody, in the order in which they are listed.
#[must_use]
pub fn members(nodes: u16, balancers: u16, checkers: u16) -> Vec<Member> {
    let counts = [
        (Service::Registry, 1),
        (Service::ConfigService, 1),
        (Service::HealthChecker, checkers),
        (Service::BackupService, 1),
        (Service::ProxyNode, nodes),
        (Service::Balancer, balancers),
        (Service::Console, 1),
    ];
    let named = |(service, count)| {
        (1..=count).map(move |number| Member { name: format!("{service}-{number}"), service })
    };
    counts.into_iter().flat_map(named).collect()
}

/// What a service listens for; each is also the name of the flag that takes the address.
fn purposes(service: Service) -> &'static [&'static str] {
    match service {
        Service::ProxyNode => &["proxy", "relay", "grpc", "admin"],
        Service::Balancer => &["frontend", "grpc", "admin"],
        Service::Console => &["console", "grpc", "admin"],
        _ => &["grpc", "admin"],
    }
}

/// The ports that `members` need: frontends in a row, the rest anywhere.
#[must_use]
pub fn wanted(members: &[Member]) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut frontends = 0..;
    for member in members {
        for purpose in purposes(member.service).iter().copied() {
            let offset = if purpose == "frontend" { frontends.next() } else { None };
            wanted.push(Wanted { process: member.name.clone(), purpose, offset });
        }
    }
    wanted
}

/// How to start one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Name of its instance.
    pub name: String,
    /// What it is.
    pub service: Service,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// What it gets in its environment beside the usual.
    pub env: BTreeMap<String, String>,
    /// Where it starts.
    pub cwd: PathBuf,
    /// Where its output goes.
    pub log: PathBuf,
    /// Addresses by purpose.
    pub endpoints: BTreeMap<String, String>,
}

/// Files of the PKI that a process is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Papers {
    /// The cluster's CA certificate.
    pub ca: PathBuf,
    /// The process's own certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The key that balancers and nodes share.
    pub cluster_key: PathBuf,
}

/// How long what is under way may take when the lab ends.
const DRAIN_TIMEOUT: &str = "5s";

/// How long a service goes on accepting when it ends. The data plane's clients need the usual time
/// to hear of it; of the control plane there is one of each, so that nobody could go elsewhere.
const fn propagation(service: Service) -> &'static str {
    match service {
        Service::Balancer | Service::ProxyNode => "2s",
        _ => "100ms",
    }
}

/// The child for `member`.
#[must_use]
pub fn child(
    program: &Path,
    directory: &Path,
    member: &Member,
    ports: &Ports,
    papers: &Papers,
    env: BTreeMap<String, String>,
) -> Child {
    let address =
        |process: &str, purpose: &str| format!("127.0.0.1:{}", ports.of(process, purpose));
    let endpoints: BTreeMap<_, _> = purposes(member.service)
        .iter()
        .map(|purpose| ((*purpose).to_owned(), address(&member.name, purpose)))
        .collect();
    let path = |path: &Path| path.display().to_string();
    let mut argv = vec![path(program), "serve".to_owned(), member.service.to_string()];
    let mut flag = |name: &str, value: String| argv.extend([format!("--{name}"), value]);
    flag("name", member.name.clone());
    flag("advertise", "127.0.0.1".to_owned());
    flag("registry", address("registry-1", "grpc"));
    flag("data-dir", path(&directory.join(&member.name)));
    flag("ca", path(&papers.ca));
    flag("cert", path(&papers.cert));
    flag("key", path(&papers.key));
    flag("cluster-key", path(&papers.cluster_key));
    flag("log-format", "pretty".to_owned());
    flag("drain-propagation", propagation(member.service).to_owned());
    flag("drain-timeout", DRAIN_TIMEOUT.to_owned());
    if member.service == Service::Console {
        flag("users", path(&directory.join(USERS)));
    }
    for (purpose, address) in &endpoints {
        flag(purpose, address.clone());
    }
    let mut endpoints = endpoints;
    if member.service == Service::Balancer {
        let socket = path(&directory.join(&member.name).join("balancer.sock"));
        endpoints.insert("socket".to_owned(), socket);
    }
    let log = directory.join("logs").join(format!("{}.log", member.name));
    Child {
        name: member.name.clone(),
        service: member.service,
        argv,
        env,
        cwd: directory.to_owned(),
        log,
        endpoints,
    }
}

/// Whether a child may see this variable of the caller's environment. Settings of ours would
/// disturb it; hooks for tests and what says where traces go are meant for it.
#[must_use]
pub fn is_inherited(variable: &OsString) -> bool {
    let name = variable.to_string_lossy();
    !name.starts_with("SHOAL_") || is_hook(&name)
}

/// Variables that are meant for the children of a lab: hooks for tests, and where traces of what
/// go. Recorded in `lab.json`, so that a child can be started again the same way.
#[must_use]
pub fn is_hook(name: &str) -> bool {
    let traces = name == OTLP_ENDPOINT
        || name.starts_with("SHOAL_TRACE_")
        || name.starts_with("OTEL_EXPORTER_OTLP_");
    traces || name.starts_with("SHOAL_TEST_") || name == "SHOAL_CONFIRM_AFTER"
}

/// What a service takes `--otlp-endpoint` from.
pub const OTLP_ENDPOINT: &str = "SHOAL_OTLP_ENDPOINT";
/// And `--trace-ratio`.
pub const TRACE_RATIO: &str = "SHOAL_TRACE_RATIO";

/// What children get in their environment of the caller's, with what the lab's own options say of
/// traces: all requests, as a lab is for looking.
#[must_use]
pub fn environment(
    caller: impl Iterator<Item = (String, String)>,
    otlp_endpoint: Option<&str>,
    trace_ratio: Option<&str>,
) -> BTreeMap<String, String> {
    let mut variables: BTreeMap<_, _> = caller.filter(|(name, _)| is_hook(name)).collect();
    variables.extend(otlp_endpoint.map(|endpoint| (OTLP_ENDPOINT.to_owned(), endpoint.to_owned())));
    variables.insert(TRACE_RATIO.to_owned(), trace_ratio.unwrap_or("1").to_owned());
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_place_in_the_order() {
        let members = members(3, 2, 3);
        assert_eq!(members.len(), 12);
        for member in &members {
            assert_eq!(
                STAGES.iter().filter(|stage| stage.contains(&member.service)).count(),
                1,
                "{}",
                member.name
            );
            assert!(ENDING.contains(&member.service));
        }
        let frontends: Vec<_> = wanted(&members)
            .into_iter()
            .filter_map(|wish| wish.offset.map(|offset| (wish.process, offset)))
            .collect();
        assert_eq!(frontends, [("balancer-1".to_owned(), 0), ("balancer-2".to_owned(), 1)]);
    }

    #[test]
    fn a_child_gets_its_own_addresses() {
        let members = members(1, 1, 0);
        let ports =
            Ports::default().complete(Some(8080), &wanted(&members), 20_000.., |_| true).unwrap();
        let papers = Papers {
            ca: "ca".into(),
            cert: "cert".into(),
            key: "key".into(),
            cluster_key: "cluster.key".into(),
        };
        let balancer = members.iter().find(|member| member.service == Service::Balancer).unwrap();
        let child = child(
            Path::new("/bin/shoal"),
            Path::new("/lab"),
            balancer,
            &ports,
            &papers,
            BTreeMap::new(),
        );
        assert_eq!(child.argv[..3], ["/bin/shoal", "serve", "balancer"]);
        assert!(
            child.argv.windows(2).any(|pair| pair == ["--frontend", "127.0.0.1:8080"]),
            "{:?}",
            child.argv
        );
        assert!(
            child.argv.windows(2).any(|pair| pair == ["--data-dir", "/lab/balancer-1"]),
            "{:?}",
            child.argv
        );
        assert_eq!(child.endpoints["frontend"], "127.0.0.1:8080");
    }

    #[test]
    fn children_hear_where_traces_go() {
        let caller = || {
            [
                ("SHOAL_REGISTRY", "x"),
                ("SHOAL_TEST_X", "1"),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://o"),
            ]
            .into_iter()
        };
        let caller = || caller().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let plain = environment(caller(), None, None);
        let names: Vec<_> = plain.keys().map(String::as_str).collect();
        assert_eq!(names, ["OTEL_EXPORTER_OTLP_ENDPOINT", "SHOAL_TEST_X", "SHOAL_TRACE_RATIO"]);
        let told = environment(caller(), Some("http://e"), Some("0.5"));
        assert_eq!((told[OTLP_ENDPOINT].as_str(), told[TRACE_RATIO].as_str()), ("http://e", "0.5"));
    }

    #[test]
    fn the_caller_s_settings_stay_outside() {
        for (name, inherited) in [
            ("PATH", true),
            ("SHOAL_REGISTRY", false),
            ("SHOAL_CONTEXT", false),
            ("SHOAL_TEST_CRASH", true),
            ("SHOAL_CONFIRM_AFTER", true),
            ("SHOAL_OTLP_ENDPOINT", true),
            ("SHOAL_TRACE_RATIO", true),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", true),
        ] {
            assert_eq!(is_inherited(&name.into()), inherited, "{name}");
        }
    }
}
