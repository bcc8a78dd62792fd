//! A check of a server that is not Shoal's, by a request of HTTP/1.0, whose answer is neither
//! chunked nor kept alive.

use cluster_config::document::balancer::HttpCheck;
use relay::head::{Limits, Progress, ResponseHead};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Error, connect};
use crate::server::Server;

/// As much of an answer as is looked at.
const LONGEST: usize = 64 * 1024;

pub(super) async fn ask(server: &Server, check: &HttpCheck) -> Result<(), Error> {
    let mut stream = connect(server).await?;
    let host = check.host.clone().unwrap_or_else(|| server.address.to_string());
    let request = format!(
        "{} {} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: shoal-balancer\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n",
        check.method, check.path
    );
    stream.write_all(request.as_bytes()).await?;
    let (mut head, mut bytes) = (ResponseHead::new(), Vec::with_capacity(1024));
    let limits = Limits::default();
    let begin = loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(Error::Closed);
        }
        if let Progress::Complete(begin) = head.parse(&bytes, &limits)? {
            break begin;
        }
    };
    let status = head.status();
    if !check.status.iter().any(|(first, last)| (*first..=*last).contains(&status)) {
        return Err(Error::Status(status));
    }
    let Some(wanted) = &check.body else { return Ok(()) };
    let contains = |body: &[u8]| body.windows(wanted.len()).any(|it| it == wanted.as_bytes());
    while !contains(&bytes[begin..]) {
        if bytes.len() >= begin + LONGEST || stream.read_buf(&mut bytes).await? == 0 {
            return Err(Error::Body(wanted.clone()));
        }
    }
    Ok(())
}
