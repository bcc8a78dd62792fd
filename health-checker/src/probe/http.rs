//! GET of the instance itself, and GET through it as a proxy (CONNECT and TLS for an https URL).

use cluster_config::document::checks::Expect;
use reqwest::{Client, Proxy, RequestBuilder, redirect::Policy};

use super::{Error, Target, Wanted, chain, judge};

/// More than the built-in target ever answers.
const BODY_LIMIT: usize = 4096;

pub(super) async fn direct(target: &Target, path: &str, expect: &Expect) -> Result<String, Error> {
    let wanted = Wanted { url: format!("http://{}{path}", target.address), body: None };
    get(client(None, &wanted)?.get(&wanted.url), &wanted, expect).await
}

pub(super) async fn proxied(
    target: &Target,
    wanted: &Wanted,
    expect: &Expect,
) -> Result<String, Error> {
    let asked = client(Some(&target.address), wanted)?.get(&wanted.url);
    let asked = match target.proof(wanted, "GET", &wanted.url) {
        Some(proof) => asked.header(chassis::probe::FIELD, proof),
        None => asked,
    };
    get(asked, wanted, expect).await
}

/// A client whose only connection is the probe's: what a kept one would say is old.
fn client(proxy: Option<&str>, wanted: &Wanted) -> Result<Client, Error> {
    let builder = Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .pool_max_idle_per_host(0)
        .user_agent("shoal-health-checker");
    let broken = |error: reqwest::Error| Error::Exchange(chain(&error));
    let builder = match proxy {
        Some(address) => builder.proxy(Proxy::all(format!("http://{address}")).map_err(broken)?),
        None => builder,
    };
    // Reading the system's authorities costs more than a plain probe, and a small container has
    // none: that is no fault of the node's.
    let builder =
        if wanted.url.starts_with("https:") { builder } else { builder.tls_certs_only([]) };
    builder.build().map_err(broken)
}

async fn get(asked: RequestBuilder, wanted: &Wanted, expect: &Expect) -> Result<String, Error> {
    let broken = |error: reqwest::Error| Error::Exchange(chain(&error.without_url()));
    let mut response = asked.send().await.map_err(broken)?;
    let found = judge(response.status().as_u16(), expect)?;
    let Some(expected) = &wanted.body else { return Ok(found) };
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(broken)? {
        body.extend_from_slice(&piece);
        if body.len() > BODY_LIMIT {
            return Err(Error::ForeignAnswer);
        }
    }
    if body == expected.as_bytes() {
        Ok(format!("{found} from the built-in target"))
    } else {
        Err(Error::ForeignAnswer)
    }
}
