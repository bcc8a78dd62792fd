//! The key by which an object belongs to a server: the hash of its URL, the same for balancers that
//! pick by it, for nodes that ask who owns it, and for PAC files. Pure.
//!
//! An object has one key, whether a client writes its host in capitals, with the default port or
//! with neither (RFC 9110 §4.2.3). Spellings that only a whole normal form brings together (`%61`
//! for `a`) have keys of their own, which costs a second copy and nothing else.

use relay::{
    head::Request,
    target::{Authority, Host, Target},
};

use crate::hash::Hasher;

/// The key of what a request asks for. None: it names no host.
#[must_use]
pub fn by_uri(request: Request<'_>) -> Option<u64> {
    let mut hasher = Hasher::default();
    let authority = request.authority()?;
    write_host(&mut hasher, &authority);
    let (path, default_port) = match request.target() {
        Target::Absolute { scheme, path, .. } => (path, scheme.default_port()),
        Target::Origin(path) => (path, 80),
        Target::Authority(_) | Target::Asterisk => ("", 0),
    };
    if let Some(port) = authority.port.filter(|port| *port != default_port) {
        hasher.write(&port.to_be_bytes());
    }
    // An empty path is "/" (RFC 9110 §4.2.3).
    if !path.starts_with('/') {
        hasher.write(b"/");
    }
    hasher.write(path.as_bytes());
    Some(hasher.finish())
}

/// The key of everything on the host that a request names.
#[must_use]
pub fn by_host(request: Request<'_>) -> Option<u64> {
    let mut hasher = Hasher::default();
    write_host(&mut hasher, &request.authority()?);
    Some(hasher.finish())
}

fn write_host(hasher: &mut Hasher, authority: &Authority<'_>) {
    match authority.host {
        Host::Name(name) => hasher.write_lower(name.strip_suffix('.').unwrap_or(name).as_bytes()),
        Host::V4(address) => hasher.write(&address.octets()),
        Host::V6(address) => hasher.write(&address.octets()),
    }
}
