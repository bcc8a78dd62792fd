//! `shoal ready`: is a process ready? For scripts and container health checks.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::output;

/// Ask a process's admin address whether it is ready
#[derive(Args)]
#[command(after_help = "Examples:
  shoal ready http://127.0.0.1:7102                once: exit code 0 when ready, 1 when not
  shoal ready http://127.0.0.1:7102/readyz --wait 30s")]
pub struct Options {
    /// Address of the admin HTTP server; `/readyz` is asked unless a path is given
    url: String,
    /// Ask again until it is ready, at most this long, e.g. 30s
    #[arg(long, value_name = "TIME", value_parser = chassis::options::duration)]
    wait: Option<Duration>,
}

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

pub async fn run(options: Options) -> Result<()> {
    let url = url(&options.url)?;
    let client = client()?;
    let started = Instant::now();
    loop {
        match ask(&client, &url).await {
            Ok(()) => return output::print("ready"),
            Err(error) if options.wait.is_none_or(|wait| started.elapsed() >= wait) => return Err(error),
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
    Ok(reqwest::Client::builder().no_proxy().timeout(ANSWER).connect_timeout(ANSWER).build()?)
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
    let answer =
        client.get(url.clone()).send().await.map_err(reqwest::Error::without_url).with_context(|| format!("{url} does not answer"))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let reason = answer.text().await.unwrap_or_default();
    bail!("{url} is not ready: {status}{}{}", if reason.trim().is_empty() { "" } else { ": " }, reason.trim());
}

fn url(text: &str) -> Result<reqwest::Url> {
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let mut url: reqwest::Url =
        text.parse().with_context(|| format!("{text:?} is not a URL; give an admin address such as http://127.0.0.1:7102"))?;
    if url.scheme() != "http" {
        bail!("{text:?} is not a plain http URL; give an admin address such as http://127.0.0.1:7102");
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
}
