//! `shoal ready`: is a process ready? For scripts and container health checks.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use chassis::options::default_grpc_port;
use clap::Args;
use cluster::Service;
use tokio::time::Instant;

use crate::output;

/// Ask a process's admin address whether it is ready
#[derive(Args)]
#[command(after_help = "Examples:
  shoal ready http://127.0.0.1:7102                once: exit code 0 when ready, 1 when not
  shoal ready http://127.0.0.1:7102/readyz --wait 30s
  shoal ready                                      in a container: the service that runs there")]
pub struct Options {
    /// Address of the admin HTTP server; `/readyz` is asked unless a path is given [default: that
    /// of the service which is process 1]
    url: Option<String>,
    /// Ask again until it is ready, at most this long, e.g. 30s
    #[arg(long, value_name = "TIME", value_parser = chassis::options::duration)]
    wait: Option<Duration>,
}

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

pub async fn run(options: Options) -> Result<()> {
    let url = url(&options.url.map_or_else(of_this_container, Ok)?)?;
    let client = client()?;
    let started = Instant::now();
    loop {
        match ask(&client, &url).await {
            Ok(()) => return output::print("ready"),
            Err(error) if options.wait.is_none_or(|wait| started.elapsed() >= wait) => {
                return Err(error);
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// A client for admin addresses: no proxy from the environment, a deadline on everything.
///
/// # Errors
/// The client cannot be built.
pub fn client() -> Result<reqwest::Client> {
    install_tls();
    // Admin HTTP is plain: the system's authorities, which a small container has none of, are not
    // read.
    Ok(reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(ANSWER)
        .connect_timeout(ANSWER)
        .build()?)
}

/// reqwest asks for the process's TLS provider even for plain HTTP.
fn install_tls() {
    // An error means that one is installed already.
    rustls::crypto::ring::default_provider().install_default().ok();
}

/// Asks once.
///
/// # Errors
/// It does not answer, or says that it is not ready: the text says why.
pub async fn ask(client: &reqwest::Client, url: &reqwest::Url) -> Result<()> {
    let answer = client
        .get(url.clone())
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(|| format!("{url} does not answer"))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let reason = answer.text().await.unwrap_or_default();
    bail!(
        "{url} is not ready: {status}{}{}",
        if reason.trim().is_empty() { "" } else { ": " },
        reason.trim()
    );
}

/// The admin address of the service that is process 1: in a container of the image, what the
/// container is for.
fn of_this_container() -> Result<String> {
    let arguments = std::fs::read("/proc/1/cmdline")
        .context("cannot see what process 1 is; give the admin address as a URL")?;
    let arguments: Vec<_> = arguments
        .split(|byte| *byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect();
    admin_address(&arguments, std::env::var("SHOAL_ADMIN").ok()).context(
        "process 1 is no service of Shoal; give the admin address as a URL, such as \
            http://127.0.0.1:7102",
    )
}

/// Where a process with this command line and environment answers admin HTTP, seen from its own
/// host. Pure.
fn admin_address(arguments: &[String], environment: Option<String>) -> Option<String> {
    let mut rest = arguments.iter().skip_while(|argument| *argument != "serve").skip(1);
    let service: Service = rest.next()?.parse().ok()?;
    let flag = arguments.iter().enumerate().find_map(|(place, argument)| {
        match argument.strip_prefix("--admin") {
            Some("") => arguments.get(place + 1).cloned(),
            Some(value) => value.strip_prefix('=').map(str::to_owned),
            None => None,
        }
    });
    let given = flag.or(environment).map(|text| text.parse::<SocketAddr>()).transpose().ok()?;
    let address =
        given.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, default_grpc_port(service) + 1).into());
    let host: IpAddr = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    Some(SocketAddr::new(host, address.port()).to_string())
}

fn url(text: &str) -> Result<reqwest::Url> {
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let mut url: reqwest::Url = text.parse().with_context(|| {
        format!("{text:?} is not a URL; give an admin address such as http://127.0.0.1:7102")
    })?;
    if url.scheme() != "http" {
        bail!(
            "{text:?} is not a plain http URL; give an admin address such as http://127.0.0.1:7102"
        );
    }
    if url.path() == "/" {
        url.set_path("/readyz");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (given, asked) in [
            ("127.0.0.1:7102", Some("http://127.0.0.1:7102/readyz")),
            ("http://127.0.0.1:7102", Some("http://127.0.0.1:7102/readyz")),
            ("http://127.0.0.1:7102/livez", Some("http://127.0.0.1:7102/livez")),
            ("https://127.0.0.1:7102", None),
            ("http://", None),
        ] {
            assert_eq!(url(given).ok().map(String::from).as_deref(), asked, "{given}");
        }
    }
    #[test]
    fn the_service_of_a_container() {
        for (command, environment, expected) in [
            ("shoal serve registry", None, Some("127.0.0.1:7002")),
            (
                "/sbin/docker-init -- /usr/local/bin/shoal serve proxy-node --numbered",
                None,
                Some("127.0.0.1:7102"),
            ),
            ("shoal serve balancer --admin 10.0.0.5:99", Some("0.0.0.0:98"), Some("10.0.0.5:99")),
            ("shoal serve balancer --admin=[::]:99", None, Some("[::1]:99")),
            ("shoal serve balancer", Some("0.0.0.0:98"), Some("127.0.0.1:98")),
            ("shoal serve balancer", Some("nonsense"), None),
            ("shoal serve", None, None),
            ("shoal status", None, None),
            ("sleep infinity", None, None),
        ] {
            let arguments: Vec<_> = command.split(' ').map(str::to_owned).collect();
            assert_eq!(
                admin_address(&arguments, environment.map(str::to_owned)).as_deref(),
                expected,
                "{command}"
            );
        }
    }
}
