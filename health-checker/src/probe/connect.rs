//! CONNECT through the instance, then a plain GET inside the tunnel.

use cluster_config::document::checks::Expect;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Method, Request, Uri,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
    header::HOST,
    rt::{Read, Write},
    upgrade,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use super::{Error, Target, Wanted, chain, judge};

const BODY_LIMIT: usize = 4096;

pub(super) async fn probe(
    target: &Target,
    wanted: &Wanted,
    expect: &Expect,
) -> Result<String, Error> {
    let broken = |error: hyper::Error| Error::Exchange(chain(&error));
    let url: Uri =
        wanted.url.parse().map_err(|error| Error::Exchange(format!("{}: {error}", wanted.url)))?;
    let host = url.host().unwrap_or_default();
    let authority = format!("{host}:{}", url.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(&target.address)
        .await
        .map_err(|error| Error::Connect(target.address.clone(), error.to_string()))?;

    // The connections' own tasks end with the probe, however it ends.
    let mut tasks = JoinSet::new();
    let mut proxy = handshake(TokioIo::new(stream), &mut tasks).await?;
    let asked = Request::builder().method(Method::CONNECT).uri(&authority).header(HOST, &authority);
    let asked = match target.proof(wanted, "CONNECT", &authority) {
        Some(proof) => asked.header(chassis::probe::FIELD, proof),
        None => asked,
    };
    let asked = asked.body(Empty::new());
    let response = proxy
        .send_request(asked.map_err(|error| Error::Exchange(error.to_string()))?)
        .await
        .map_err(broken)?;
    if !response.status().is_success() {
        return Err(Error::Exchange(format!(
            "CONNECT {authority}: status {}",
            response.status().as_u16()
        )));
    }
    let tunnel = upgrade::on(response).await.map_err(broken)?;
    let mut inside = handshake(tunnel, &mut tasks).await?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let asked = Request::builder().uri(path).header(HOST, &authority).body(Empty::new());
    let response = inside
        .send_request(asked.map_err(|error| Error::Exchange(error.to_string()))?)
        .await
        .map_err(broken)?;
    let found = judge(response.status().as_u16(), expect)?;
    let Some(expected) = &wanted.body else { return Ok(format!("{found} inside the tunnel")) };
    let body = Limited::new(response.into_body(), BODY_LIMIT)
        .collect()
        .await
        .map_err(|error| Error::Exchange(error.to_string()))?;
    if body.to_bytes() == expected.as_bytes() {
        Ok(format!("{found} from the built-in target inside the tunnel"))
    } else {
        Err(Error::ForeignAnswer)
    }
}

async fn handshake<S>(
    stream: S,
    tasks: &mut JoinSet<()>,
) -> Result<SendRequest<Empty<Bytes>>, Error>
where
    S: Read + Write + Unpin + Send + 'static,
{
    let (sender, connection) =
        http1::handshake(stream).await.map_err(|error| Error::Exchange(chain(&error)))?;
    tasks.spawn(async move {
        // A broken connection shows at the sender too, where it is reported.
        let _ended = connection.with_upgrades().await;
    });
    Ok(sender)
}
