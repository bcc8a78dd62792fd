//! A connection of which nobody reads more than the name in its ClientHello: it goes to one server,
//! byte for byte, once one of them has taken it.

mod admit;

use std::{rc::Rc, sync::Arc, time::Instant};

use relay::{
    fault::Fault,
    retry::Phase,
    stream::{Ahead, Stream},
};
use uuid::Uuid;

use super::Connection;
use crate::{
    attempt::{self, Kind},
    local::{Backend, Local, Slot},
    queue::Permit,
    record::{self, Details, Record, Timers},
    respond,
    route::Question,
    tunnel::{self, Open},
    upstream::{self, Whose},
};

/// A connection on its way to a server.
struct Opening<'a> {
    connection: &'a Connection,
    /// The name that its client asks for.
    sni: Option<Box<str>>,
    id: Uuid,
    began: Instant,
    /// Keys of the servers that were tried.
    tried: Vec<u64>,
    /// Of the last attempt.
    timers: Timers,
}

/// A server that has taken it.
struct Taken {
    upstream: Stream,
    slot: Rc<Slot>,
    permit: Option<Permit>,
    backend: Rc<Backend>,
}

/// Serves it to its end.
pub(super) async fn serve(connection: Rc<Connection>, mut client: Stream) {
    let Connection { local, frontend, peer, .. } = &*connection;
    let counts = frontend.counts.of(local.worker().index());
    let mut opening = Opening {
        connection: &connection,
        sni: None,
        id: local.ids().next(relay::clock::wall()),
        began: relay::clock::now(),
        tried: Vec::new(),
        timers: Timers::default(),
    };
    match opening.name(&mut client).await {
        Ok(name) => opening.sni = name,
        Err(error) => {
            counts.refused.up();
            opening.record(None, error);
            return client.abort();
        }
    }
    counts.requests.up();
    match opening.open(&mut client).await {
        Ok(taken) => {
            let open = opening.tunnel(taken);
            tunnel::run(local, frontend, client, *peer, Box::new(open)).await;
        }
        Err((slot, error)) => {
            if error != record::Error::ClientAborted {
                counts.failed.up();
            }
            opening.record(slot.as_deref(), error);
        }
    }
}

impl Opening<'_> {
    /// The name that the client asks for, if a rule looks at it. What is no TLS has none.
    async fn name(&self, client: &mut Stream) -> Result<Option<Box<str>>, record::Error> {
        let Connection { local, frontend, .. } = self.connection;
        let within = {
            let table = local.table();
            let Some(served) = table.served(frontend).filter(|it| it.route.looks_at_sni()) else {
                return Ok(None);
            };
            served.settings.timeouts.request_head
        };
        match client.peek_client_hello(within).await {
            Ok(hello) => Ok(hello.ok().and_then(|hello| hello.name)),
            Err(Fault::Timeout(_)) => Err(record::Error::ClientTimeout),
            Err(_) => Err(record::Error::ClientAborted),
        }
    }

    fn backend(&self) -> Option<Rc<Backend>> {
        let Connection { local, frontend, peer, .. } = self.connection;
        let sni = self.sni.as_deref();
        local.backend(frontend, Question { client: Some(peer.ip()), request: None, sni })
    }

    /// Asks one server after the other until one takes the connection; nothing of the client's has
    /// been sent before that.
    async fn open(
        &mut self,
        client: &mut Stream,
    ) -> Result<Taken, (Option<Rc<Slot>>, record::Error)> {
        let mut last: (Option<Rc<Slot>>, _) = (None, respond::Error::NoBackend.kind());
        while let Some(backend) = self.backend() {
            if self.tried.is_empty() {
                last.1 = respond::Error::NoServer.kind();
            }
            if self.tried.len() >= backend.pool.settings.retry.attempts as usize {
                break;
            }
            let asked = relay::clock::now();
            let (slot, permit) = match self.admit(client, &backend).await {
                Ok(Some(admitted)) => admitted,
                Ok(None) => break,
                Err(error) => return Err((None, error)),
            };
            let admitted = relay::clock::now();
            self.tried.push(slot.server.key);
            if let Some(before) = &last.0 {
                before.counts().retries_away.up();
            }
            let attempt = self.attempt(client, &backend, &slot).await;
            self.timers = Timers {
                queue: Some(admitted.saturating_duration_since(asked)),
                connect: attempt.is_ok().then(|| relay::clock::since(admitted)),
                ..Timers::default()
            };
            match attempt {
                Ok(upstream) => return Ok(Taken { upstream, slot, permit, backend }),
                Err(Unopened::ClientLeft) => {
                    return Err((Some(slot), record::Error::ClientAborted));
                }
                Err(Unopened::Server(kind)) => {
                    last = (Some(slot), record::Error::Answered(kind.error_type()));
                }
            }
        }
        Err(last)
    }

    async fn attempt(
        &self,
        client: &mut Stream,
        backend: &Rc<Backend>,
        slot: &Rc<Slot>,
    ) -> Result<Stream, Unopened> {
        let Connection { local, frontend, peer, told, .. } = self.connection;
        let settings = &backend.pool.settings;
        let releases = slot.server.signs.releases();
        let _owing = slot.owing(relay::clock::now());
        slot.counts().requests.up();
        let frontend = upstream::reached(client, frontend.address().ip_or_this_host());
        let whose = Some(Whose { client: *peer, told: told.as_deref(), frontend });
        let elsewhere = || self.backend().is_some_and(|it| it.has_others(&self.tried));
        let open = || upstream::open(local, slot, settings, whose, releases, elsewhere);
        let within = settings.timeouts.connect;
        let connecting = async {
            let mut upstream = upstream::with_descriptors(local, within, open).await?;
            // Who speaks first is not known.
            upstream.send_preamble(within).await?;
            Ok::<_, Fault>(upstream)
        };
        let opened = tokio::select! {
            biased;
            opened = connecting => opened,
            _ = client.left(Ahead::Nothing) => return Err(Unopened::ClientLeft),
        };
        opened.inspect(|_| answered(local, slot)).map_err(|fault| {
            slot.counts().connect_errors.up();
            let (server, kind) = (&slot.server.protocol, Kind::from(fault));
            let phase = Phase::NothingWritten;
            if let Some(fault) = attempt::held_against(server, settings, kind, phase, false) {
                attempt::blame(local, slot, fault);
            }
            Unopened::Server(kind)
        })
    }

    fn tunnel(&self, taken: Taken) -> Open {
        let Taken { upstream, slot, permit, backend } = taken;
        Open {
            upstream: Box::new(upstream),
            framed: false,
            slot,
            permit,
            idle: backend.pool.settings.timeouts.tunnel_idle,
            id: self.id,
            began: self.began,
            target: self.sni.as_deref().unwrap_or_default().into(),
            status: None,
            attempts: self.attempts(),
            trace: None,
            method: record::TCP.into(),
            protocol: record::Protocol::default(),
            pool: Arc::clone(&backend.pool),
            timers: self.timers,
        }
    }

    fn attempts(&self) -> u32 {
        u32::try_from(self.tried.len()).unwrap_or(u32::MAX)
    }

    /// Writes down that no server got it.
    fn record(&self, slot: Option<&Slot>, error: record::Error) {
        let Connection { local, frontend, peer, name, .. } = self.connection;
        let record = Record {
            id: self.id,
            client: name.as_str(),
            frontend: &frontend.name,
            method: record::TCP,
            target: self.sni.as_deref().unwrap_or_default(),
            status: 0,
            bytes: 0,
            took: relay::clock::since(self.began),
            server: slot.map_or("", |slot| &slot.server.name),
            attempts: self.attempts(),
            error: Some(error),
            details: Details {
                port: peer.port(),
                timers: self.timers,
                frontend: Some(frontend),
                server: slot.map(|slot| &*slot.server),
                ..Details::default()
            },
        };
        local.record(&record, None);
    }
}

/// Why a server has not taken a connection.
enum Unopened {
    ClientLeft,
    Server(Kind),
}

/// It took the connection: a sign of life.
fn answered(local: &Local, slot: &Slot) {
    let now = relay::clock::now();
    slot.heard(now);
    slot.counts().answered_at.set(local.shared().uptime.millis(now));
}
