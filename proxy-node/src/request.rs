//! What a request asks of this proxy, and for whom. Pure: heads and connections in, meaning out.

use std::{borrow::Cow, net::IpAddr};

use cluster_config::document::proxy::ForwardedFor;
use dataplane::list::Networks;
use relay::{
    field::Field,
    head::Request,
    hygiene::NODE_REQUEST,
    method::Method,
    target::{Authority, Host, Scheme, Target},
};
use uuid::Uuid;

use crate::respond::Error;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A client, or a proxy of its own.
    Client,
    /// A balancer, on a connection that many clients share.
    BalancerPooled,
    /// A balancer, on a connection that belongs to one client.
    BalancerForOne,
    /// Another node, on a connection that many clients share: it asks for what this one owns, and
    /// nobody else is asked for that.
    Node,
}

/// Where a request wants to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Lower case; no brackets, no dot at the end.
    pub host: Box<str>,
    /// Where the host is an address.
    pub address: Option<IpAddr>,
    pub port: u16,
    /// This node itself speaks TLS there. Not so for a tunnel, in which the client does.
    pub tls: bool,
}

impl Destination {
    fn new(authority: &Authority<'_>, default_port: u16, tls: bool) -> Self {
        let host = match authority.host {
            Host::Name(name) => name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into(),
            // An address that was read is in its only spelling.
            Host::V4(_) => authority.text.split(':').next().unwrap_or_default().into(),
            Host::V6(address) => address.to_canonical().to_string().into(),
        };
        let address = authority.host.address().map(|address| address.to_canonical());
        Self { host, address, port: authority.port.unwrap_or(default_port), tls }
    }

    /// How it is spoken to.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        if self.tls { Scheme::Https } else { Scheme::Http }
    }

    /// `host:port`, with brackets where they belong.
    #[must_use]
    pub fn authority(&self) -> String {
        match self.address {
            Some(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// Whether this node serves.
    Health,
    /// A sign of life from the data path itself.
    Probe,
    Fetch {
        /// Where it is.
        destination: Destination,
        /// Path and query; empty or beginning with `?` for the root.
        path: &'a str,
    },
    Tunnel(Destination),
}

/// Reads what a request asks for.
pub fn ask<'a>(
    request: Request<'a>,
    sender: Sender,
    health_path: Option<&str>,
) -> Result<Ask<'a>, Error> {
    ask_for(request, request.target(), sender, health_path)
}

/// The same for a request whose target has been taken apart.
pub fn ask_for<'a>(
    request: Request<'a>,
    target: Target<'a>,
    sender: Sender,
    health_path: Option<&str>,
) -> Result<Ask<'a>, Error> {
    if request.method() == Method::Trace {
        return Err(Error::Trace);
    }
    match target {
        Target::Authority(authority) => Ok(Ask::Tunnel(Destination::new(&authority, 443, false))),
        // What balancers ask has to be a sign of life, not of readiness: a node that drains is
        // alive.
        Target::Asterisk if sender != Sender::Client || request.max_forwards() == Some(0) => {
            Ok(Ask::Probe)
        }
        Target::Asterisk => Ok(Ask::Health),
        // RFC 9110 §7.6.2: at zero it is answered by whoever has it.
        Target::Absolute { .. }
            if request.method() == Method::Options && request.max_forwards() == Some(0) =>
        {
            Ok(Ask::Probe)
        }
        Target::Absolute { scheme, authority, path } => Ok(Ask::Fetch {
            destination: Destination::new(
                &authority,
                scheme.default_port(),
                scheme == Scheme::Https,
            ),
            path,
        }),
        Target::Origin(path) => {
            let asked = path.split('?').next().unwrap_or_default();
            let healthy = sender == Sender::Client
                && matches!(request.method(), Method::Get | Method::Head | Method::Options);
            if healthy && health_path == Some(asked) {
                Ok(Ask::Health)
            } else {
                Err(Error::NotForAProxy)
            }
        }
    }
}

/// Name and value of the fields that go to the origin as they came. What stays behind (nominated in
/// Connection, hop-by-hop) or is written anew never reached the origin, and an answer that is kept
/// for it would be kept for the wrong request.
pub fn sent_fields(request: Request<'_>) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    request
        .fields()
        .filter(|line| !line.nominated && !NODE_REQUEST.contains(line.field))
        .map(|line| (line.name, line.value))
}

/// Who asks, and what the next hop is told about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Whose request it is, for rules and logs.
    pub address: IpAddr,
    /// What becomes of X-Forwarded-For.
    pub forwarded: Forwarded,
    /// Whether the sender may name the request.
    pub trusted: bool,
}

/// What becomes of X-Forwarded-For.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// As it came.
    Keep,
    /// As it came, and this address.
    Append(IpAddr),
    /// This address alone.
    Set(IpAddr),
    Remove,
}

/// Who is believed about what.
#[derive(Debug)]
pub struct Trust<'a> {
    /// Those on a listener for clients whose X-Forwarded-For is believed.
    pub downstreams: &'a Networks,
    /// What happens to one that is not believed.
    pub unbelieved: ForwardedFor,
}

/// Finds out whose request it is. `source` is the connection's peer, or what its PROXY header said.
#[must_use]
pub fn client(request: Request<'_>, sender: Sender, source: IpAddr, trust: &Trust<'_>) -> Client {
    let source = source.to_canonical();
    let believed = match sender {
        Sender::BalancerPooled | Sender::Node => true,
        Sender::BalancerForOne => false,
        Sender::Client => trust.downstreams.contains(source),
    };
    if !believed {
        let forwarded = match trust.unbelieved {
            ForwardedFor::Replace => Forwarded::Set(source),
            ForwardedFor::Append => Forwarded::Append(source),
            ForwardedFor::Delete => Forwarded::Remove,
        };
        return Client { address: source, forwarded, trusted: sender == Sender::BalancerForOne };
    }
    let address = nearest(request, trust.downstreams).unwrap_or(source);
    let forwarded = match (trust.unbelieved, sender) {
        (ForwardedFor::Delete, _) => Forwarded::Remove,
        // The balancer is part of us: it has already said who its peer was.
        (_, Sender::BalancerPooled | Sender::BalancerForOne | Sender::Node) => Forwarded::Keep,
        (_, Sender::Client) => Forwarded::Append(source),
    };
    Client { address, forwarded, trusted: true }
}

/// The last address in X-Forwarded-For, or else in Forwarded (RFC 7239), that is not a trusted
/// downstream itself: everything before it is hearsay.
fn nearest(request: Request<'_>, downstreams: &Networks) -> Option<IpAddr> {
    let mut last = None;
    let mut chain: Vec<IpAddr> = Vec::new();
    let listed = request.lines().has(Field::XForwardedFor);
    let (field, read): (_, fn(&str) -> Option<IpAddr>) = if listed {
        (Field::XForwardedFor, parse_address)
    } else {
        (Field::Forwarded, forwarded_for)
    };
    for value in request.values(field) {
        for element in crate::cache::directives::elements(value) {
            match std::str::from_utf8(element).ok().and_then(read) {
                Some(address) => chain.push(address.to_canonical()),
                // What cannot be read hides whoever stands before it.
                None => chain.clear(),
            }
        }
    }
    for address in chain.into_iter().rev() {
        last = Some(address);
        if !downstreams.contains(address) {
            break;
        }
    }
    last
}

/// Whom an element of Forwarded is for: `for=192.0.2.1;proto=http`, `For="[2001:db8::1]:4711"`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| parse_address(value.trim()))?
    })
}

/// An address, with or without port and brackets.
fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches('"');
    text.parse()
        .ok()
        .or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

/// Whose certificate the client has shown to a balancer. Only balancers say that here; on its way
/// to an origin it stays behind ([`NODE_REQUEST`]).
pub fn user(request: Request<'_>, sender: Sender) -> Cow<'_, str> {
    match sender {
        Sender::Client | Sender::Node => Cow::Borrowed(""),
        Sender::BalancerPooled | Sender::BalancerForOne => {
            let name = request.value(Field::ShoalClientCertificate).unwrap_or_default();
            String::from_utf8_lossy(name)
        }
    }
}

/// The id that a request carries, if its sender may name it.
#[must_use]
pub fn carried_id(request: Request<'_>, trusted: bool) -> Option<Uuid> {
    if !trusted {
        return None;
    }
    Uuid::try_parse_ascii(request.value(Field::ShoalRequestId)?).ok()
}

#[cfg(test)]
mod tests;
