//! What every service process takes from its command line and environment.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};
use cluster::Service;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// For machines, one object a line.
    Json,
}

/// Options of every service. Every flag can be given as `SHOAL_<FLAG>` in the environment.
#[derive(Args, Clone, Debug)]
#[group(id = "chassis")]
pub struct Options {
    /// Stable, unique name of this process: its certificate's name, or that name followed by `-`
    /// and more [default: the certificate's name]
    #[arg(long, env = "SHOAL_NAME", value_parser = name)]
    pub name: Option<String>,
    /// Host or address under which others reach this process [default: the local address of the
    /// connection to the registry]
    #[arg(long, env = "SHOAL_ADVERTISE", value_name = "HOST")]
    pub advertise: Option<String>,
    /// Where this process stands
    #[arg(long, env = "SHOAL_DATACENTER", default_value = "", hide_default_value = true)]
    pub datacenter: String,
    /// Where in the data centre
    #[arg(long, env = "SHOAL_ZONE", default_value = "", hide_default_value = true)]
    pub zone: String,
    /// Label to choose instances by; may be repeated
    #[arg(long = "tag", env = "SHOAL_TAG", value_delimiter = ',', value_name = "TAG")]
    pub tags: Vec<String>,
    /// Share of the load: 0 or 1. More than 1 is for operators to give (`shoal node weight`), and
    /// taken as 1 where there are certificates
    #[arg(
        long,
        env = "SHOAL_WEIGHT",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(0..=256),
    )]
    pub weight: u32,
    /// Where the registry is; everything else is discovered [default: 127.0.0.1:7001]
    #[arg(
        long,
        env = "SHOAL_REGISTRY",
        value_delimiter = ',',
        value_name = "HOST:PORT",
        value_parser = seed,
    )]
    pub registry: Vec<String>,
    /// Where this process keeps its state [default: $XDG_STATE_HOME/shoal/NAME, /var/lib/shoal/NAME
    /// for root]
    #[arg(long, env = "SHOAL_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// One of several replicas that share a certificate and a --data-dir: its name is the
    /// certificate's with the first number that no other has, and its state is in DIR/NAME
    #[arg(long, env = "SHOAL_NUMBERED", conflicts_with = "name")]
    pub numbered: bool,
    /// Address of the gRPC port [default: every address, the service's own port]
    #[arg(long, env = "SHOAL_GRPC", value_name = "ADDRESS:PORT")]
    pub grpc: Option<SocketAddr>,
    /// Address of the admin HTTP port (probes and metrics) [default: every address, the service's
    /// own port]
    #[arg(long, env = "SHOAL_ADMIN", value_name = "ADDRESS:PORT")]
    pub admin: Option<SocketAddr>,
    /// Certificate (PEM) of the cluster's authority
    #[arg(long, env = "SHOAL_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// This process's certificate (PEM), made by `shoal pki issue`
    #[arg(long, env = "SHOAL_CERT", value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, env = "SHOAL_KEY", value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The key that balancers and nodes share, made by `shoal pki init`
    #[arg(long, env = "SHOAL_CLUSTER_KEY", value_name = "FILE")]
    pub cluster_key: Option<PathBuf>,
    /// Speak gRPC without TLS and believe every peer; for experiments on a closed network only
    #[arg(long, env = "SHOAL_INSECURE_PLAINTEXT")]
    pub insecure_plaintext: bool,
    /// How log lines look
    #[arg(long, env = "SHOAL_LOG_FORMAT", value_enum, default_value_t = LogFormat::Auto)]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or directives such as `info,balancer=debug`
    #[arg(long, env = "SHOAL_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// Where traces go (OTLP over gRPC) [default: what OTEL_EXPORTER_OTLP_ENDPOINT says, nowhere
    /// without it]
    #[arg(long, env = "SHOAL_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// How long others need to hear that this process stops; it keeps accepting for so long
    #[arg(
        long,
        env = "SHOAL_DRAIN_PROPAGATION",
        default_value = "2s",
        value_parser = duration,
        value_name = "DURATION",
    )]
    pub drain_propagation: Duration,
    /// How long what is under way may take to end after that
    #[arg(
        long,
        env = "SHOAL_DRAIN_TIMEOUT",
        default_value = "30s",
        value_parser = duration,
        value_name = "DURATION",
    )]
    pub drain_timeout: Duration,
    /// Take over from the process that runs with this data dir: its sockets, its lock and what it
    /// has counted; it drains and ends. Nobody is there: start as usual
    #[arg(long, env = "SHOAL_TAKE_OVER", conflicts_with = "numbered")]
    pub take_over: bool,
    /// How long the registry believes in this process without hearing from it
    #[arg(
        long,
        env = "SHOAL_LEASE_TTL",
        default_value = "10s",
        value_parser = duration,
        value_name = "DURATION",
    )]
    pub lease_ttl: Duration,
    /// How long a configuration has to serve before it is confirmed
    #[arg(
        long,
        env = "SHOAL_CONFIRM_AFTER",
        default_value = "60s",
        value_parser = duration,
        value_name = "DURATION",
        hide = true,
    )]
    pub confirm_after: Duration,
}

impl Options {
    /// The gRPC port's address: as given, or the service's default port on every address.
    #[must_use]
    pub fn grpc_address(&self, service: Service) -> SocketAddr {
        self.grpc.unwrap_or_else(|| everywhere(default_grpc_port(service)))
    }

    /// The admin port's address: as given, or the service's default port on every address.
    #[must_use]
    pub fn admin_address(&self, service: Service) -> SocketAddr {
        self.admin.unwrap_or_else(|| everywhere(default_grpc_port(service) + 1))
    }

    /// Where the data dir is: as given, or by the name of the process.
    #[must_use]
    pub fn data_dir_of(&self, name: &str) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| state_home().join("shoal").join(name))
    }

    /// Where the data dir of a replica is that numbers itself: below the one that is given.
    #[must_use]
    pub(crate) fn data_dir_of_replica(&self, name: &str) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| state_home().join("shoal")).join(name)
    }

    /// The registry's addresses (`host:port`) to begin with.
    #[must_use]
    pub fn registry_seeds(&self) -> Vec<String> {
        if self.registry.is_empty() {
            vec!["127.0.0.1:7001".to_owned()]
        } else {
            self.registry.clone()
        }
    }
}

const fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

/// The gRPC port on a host of one's own; the admin port is the next one.
#[must_use]
pub const fn default_grpc_port(service: Service) -> u16 {
    match service {
        Service::Registry => 7001,
        Service::ProxyNode => 7101,
        Service::Balancer => 7201,
        Service::ConfigService => 7301,
        Service::HealthChecker => 7401,
        Service::BackupService => 7501,
        Service::Console => 7601,
    }
}

fn state_home() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/var/lib");
    }
    std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")))
        .unwrap_or_else(|| PathBuf::from("."))
}

/// Reads a duration with its unit: `2s`, `500ms`, `1m 30s`.
///
/// # Errors
/// What is wrong with it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let signed: jiff::SignedDuration = text.parse().map_err(|_| {
        format!("{text:?} is no duration; write a number with its unit, such as 500ms, 2s or 1m")
    })?;
    Duration::try_from(signed)
        .map_err(|_| format!("{text:?} is negative; a duration is 0s or longer"))
}

/// Checks a process name: it becomes part of certificates, file names, header fields and metric
/// labels.
fn name(text: &str) -> Result<String, String> {
    let good = (1..=63).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if good {
        Ok(text.to_owned())
    } else {
        Err("a name is 1 to 63 letters, digits, `-`, `_` or `.`, and begins with a letter or digit"
            .into())
    }
}

/// Reads one registry address: `host:port`, `https://host:port`, or a host alone (then port 7001).
///
/// # Errors
/// What is wrong with it.
pub fn seed(text: &str) -> Result<String, String> {
    let bare = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .unwrap_or(text)
        .trim_end_matches('/');
    let authority: http::uri::Authority = bare.parse().map_err(|_| {
        format!("{text:?} is no address; write host:port, such as registry-1.example:7001")
    })?;
    if bare.is_empty() || bare.contains('@') {
        return Err(format!(
            "{text:?} is no address; write host:port, such as registry-1.example:7001"
        ));
    }
    let port = authority.port_u16();
    if port.is_none()
        && bare.ends_with(|c: char| c.is_ascii_digit())
        && authority.host().len() != bare.len()
    {
        return Err(format!("{text:?} has no usable port; ports are 1 to 65535"));
    }
    Ok(format!("{}:{}", authority.host(), port.unwrap_or(default_grpc_port(Service::Registry))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds() {
        for (text, expected) in [
            ("127.0.0.1:7001", Some("127.0.0.1:7001")),
            ("https://registry:9/", Some("registry:9")),
            ("registry", Some("registry:7001")),
            ("[::1]:7001", Some("[::1]:7001")),
            ("", None),
            ("a b", None),
            ("user@host:1", None),
            ("host:99999", None),
        ] {
            assert_eq!(seed(text).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn durations_and_names() {
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert!(duration("5").is_err() && duration("-1s").is_err());
        assert!(
            name("node-1").is_ok()
                && name("").is_err()
                && name("a/b").is_err()
                && name("-x").is_err()
        );
    }
}
