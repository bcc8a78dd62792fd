//! The process's ports: bound exclusively, announced as endpoints.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
};

use super::Process;
use crate::{Failure, Policy, admin, failure::Fail, grpc};

pub(crate) const ADMIN_REMEDY: &str = "check the address and the limits of this process";

impl Process {
    /// Announces an endpoint that is bound elsewhere.
    pub fn endpoint(&self, name: &str, address: SocketAddr) {
        self.update(|status| status.endpoints.insert(name.to_owned(), address) != Some(address));
    }

    /// Where this process listens itself, by purpose: with [`membership::ControlEndpoints`] what no
    /// client may reach through it.
    #[must_use]
    pub fn listeners(&self) -> BTreeMap<String, SocketAddr> {
        self.0.status.borrow().endpoints.clone()
    }

    /// Binds a port exclusively (non-blocking) and announces it as an endpoint, with its real
    /// number when 0 was asked for. A socket that was inherited for the endpoint is used instead.
    ///
    /// # Errors
    /// It is in use, or not this machine's.
    pub fn bind(&self, endpoint: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
        let refused = |error: io::Error| {
            let remedy = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    format!("stop what listens there, or choose another address for --{endpoint}")
                }
                io::ErrorKind::AddrNotAvailable => {
                    format!("give --{endpoint} an address of this machine")
                }
                io::ErrorKind::PermissionDenied => format!(
                    "choose a port above 1023 for --{endpoint}, or grant CAP_NET_BIND_SERVICE"
                ),
                _ => format!("check --{endpoint}"),
            };
            let sentence = match error.kind() {
                io::ErrorKind::AddrInUse => format!("the {endpoint} address {address} is in use"),
                _ => format!("cannot listen on the {endpoint} address {address}: {error}"),
            };
            Failure::new(sentence).remedy(remedy)
        };
        // std sets SO_REUSEADDR (restarts) and not SO_REUSEPORT, so that a port somebody listens on
        // is always refused.
        let inherited = self.inherited().lend(endpoint, address).map(Ok);
        let listener = inherited.unwrap_or_else(|| TcpListener::bind(address)).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let real = listener.local_addr().map_err(refused)?;
        self.endpoint(endpoint, real);
        Ok(listener)
    }

    /// Makes sure that nobody listens on a port, announces it, and leaves it: for a set of
    /// SO_REUSEPORT listeners that follows at once.
    ///
    /// # Errors
    /// As [`Process::bind`].
    pub fn claim(&self, endpoint: &str, address: SocketAddr) -> Result<SocketAddr, Failure> {
        let listener = self.bind(endpoint, address)?;
        listener.local_addr().fail(format!("read the {endpoint} address"), ADMIN_REMEDY)
    }

    /// Serves gRPC: mutual TLS, `policy` for every rpc, audit records, health, reflection. Answers
    /// the real address.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub fn serve_grpc(
        &self,
        routes: tonic::service::Routes,
        policy: &'static Policy,
    ) -> Result<SocketAddr, Failure> {
        grpc::serve(self, routes, policy)
    }

    /// Serves admin HTTP: `/livez`, `/readyz`, `/metrics`, `/version` and `extra`. Answers the real
    /// address.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub fn serve_admin(&self, extra: axum::Router) -> Result<SocketAddr, Failure> {
        admin::serve(self, extra)
    }
}
