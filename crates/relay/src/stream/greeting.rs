//! What comes before a connection's own protocol: whose it is, said by the PROXY header of a load
//! balancer in front, and which name a TLS client asks for.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Stream;
use crate::client_hello::{self, ClientHello};
use crate::clients::Allowance;
use crate::fault::Fault;
use crate::proxy_protocol::{self, Header};
use crate::wheel::{Kind, Timer};

impl Stream {
    /// Reads the PROXY header that the connection has to begin with, and its bytes. `None`: it
    /// begins otherwise, has ended, or has not said so `within` this time.
    pub async fn read_proxy_header(&mut self, within: Duration) -> Option<(Header, Bytes)> {
        let read = self.greeting(within, proxy_protocol::parse);
        let (header, length) = read.await.ok()?.ok()?;
        Some((header, self.0.input.split_to(length).freeze()))
    }

    /// Waits for the ClientHello that a TLS connection begins with, and leaves it to be read. The
    /// inner error: something else begins here.
    ///
    /// # Errors
    /// `Timeout(Head)` when it is not whole `within` this time, `Closed`, `Reset`, `Io`.
    pub async fn peek_client_hello(
        &mut self,
        within: Duration,
    ) -> Result<Result<ClientHello, client_hello::Invalid>, Fault> {
        self.greeting(within, client_hello::parse).await
    }

    /// Reads until `parse` knows. What it does not know yet counts as a half request.
    async fn greeting<T, E>(
        &mut self,
        within: Duration,
        parse: fn(&[u8]) -> Result<Option<T>, E>,
    ) -> Result<Result<T, E>, Fault> {
        let timer = Timer::new(self.0.worker.wheel());
        let read = async {
            loop {
                match parse(&self.0.input) {
                    Ok(Some(parsed)) => return Ok(Ok(parsed)),
                    Ok(None) => {}
                    Err(invalid) => return Ok(Err(invalid)),
                }
                if self.is_of_client() && !self.0.input.is_empty() {
                    self.hold(self.0.input.len());
                }
                if self.fill(Kind::Head, within).await? == 0 {
                    return Err(Fault::Closed);
                }
            }
        };
        let read = timer.within(Kind::Head, within, read).await?;
        self.release();
        read
    }

    /// Counts the connection, which somebody trusted has made for the client at `address`, as one
    /// of that client. False: it has its share.
    pub fn enter(&mut self, address: IpAddr, allowance: &Arc<Allowance>) -> bool {
        self.exempt();
        let source = allowance.source(address);
        let worker = self.0.worker.clone();
        let descriptor = self.0.io.socket().map_or(0, AsRawFd::as_raw_fd);
        let (left, all) = worker.descriptors().left(descriptor);
        let connections = worker.connections();
        if !connections.enter(&source, allowance.connections(left, all), allowance) {
            return false;
        }
        self.0.place = connections.place(source, self.0.reading.timer.key(), allowance);
        true
    }

    /// Sends the preamble now: nothing may be written that it could go with.
    ///
    /// # Errors
    /// `Timeout(Write)`, `Reset`, `Io`.
    pub fn send_preamble(
        &mut self,
        deadline: Duration,
    ) -> impl Future<Output = Result<(), Fault>> + '_ {
        poll_fn(move |cx| self.poll_send(cx, &[], deadline).map_ok(drop))
    }
}
