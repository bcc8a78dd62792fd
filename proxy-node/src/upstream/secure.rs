//! TLS with a destination, for requests whose client leaves that to this node.
//!
//! The name in the certificate is the host of the request in its normal form, an address where that
//! is one.

use std::time::{Duration, Instant};

use relay::{
    fault::Fault,
    stream::Stream,
    tls::{self, ServerName},
};

use crate::{config::origin_tls::OriginTls, request::Destination, respond::Error, steps::Step};

/// Speaks TLS on a connection with a destination, which has to show who it is before `until`.
///
/// # Errors
/// It is not believed, or no session came to be.
pub(super) async fn start(
    tls: &OriginTls,
    stream: Stream,
    destination: &Destination,
    until: Instant,
) -> Result<Stream, Error> {
    let name = server_name(destination).ok_or(Error::Tls(tls::Error::WrongName))?;
    let left = until.saturating_duration_since(relay::clock::now()).max(Duration::from_millis(1));
    let step = Step::begin();
    let begun = stream.start_tls(tls.client(), name, left).await.map_err(|fault| match fault {
        Fault::Timeout(_) => Error::HandshakeTimeout,
        Fault::Tls(error) => Error::Tls(error),
        Fault::Exhausted => Error::Limit,
        _ => Error::HandshakeCut,
    });
    if let Some(step) = step {
        step.secured(&destination.host, &begun);
    }
    begun
}

/// The name that the certificate has to be for. Not every name that can be asked for can stand in
/// one.
fn server_name(destination: &Destination) -> Option<ServerName<'static>> {
    match destination.address {
        Some(address) => Some(ServerName::from(address)),
        None => ServerName::try_from(destination.host.to_string()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_for_the_host_of_the_request() {
        let name = |host: &str| {
            let destination =
                Destination { host: host.into(), address: host.parse().ok(), port: 443, tls: true };
            server_name(&destination).map(|name| name.to_str().into_owned())
        };
        assert_eq!(name("a.example").as_deref(), Some("a.example"));
        assert_eq!(name("192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(name("2001:db8::1").as_deref(), Some("2001:db8::1"));
        assert_eq!(name("under_score.example").as_deref(), Some("under_score.example"));
        assert_eq!(name("-.example"), None);
    }
}
