//! The smallest balancer there is, to see what the engine itself costs: `bare_balancer LISTEN
//! UPSTREAM [WORKERS]`.
//!
//! No health, no retries, no logs. Count its system calls with `strace -c -f`, its processor time
//! with the shell's `times`.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use relay::exchange::{Deadlines, Error, Exchange, Upload};
use relay::fault::Fault;
use relay::head::{Limits, RequestHead, ResponseHead};
use relay::listen::{Listeners, Options};
use relay::pool::{self, Pool, Reuse};
use relay::rewrite::{BodyFields, HeadWriter, LineForm, Persistence};
use relay::stream::{Patience, Stream};
use relay::wheel::Kind;
use relay::worker::{Settings, Worker, Workers};
use relay::{hygiene, tunnel};

const PATIENCE: Patience = Patience {
    idle_kind: Kind::Idle,
    idle: Duration::from_secs(60),
    head: Duration::from_secs(10),
};
const CONNECT: Duration = Duration::from_secs(5);

/// What follows a request.
enum Next {
    Request,
    Tunnel(Stream),
    End,
}

/// One worker's share.
struct Balancer {
    worker: Worker,
    pool: Pool<SocketAddr>,
    upstream: SocketAddr,
    deadlines: Deadlines,
    limits: Limits,
}

impl Balancer {
    async fn connection(self: Rc<Self>, mut client: Stream) {
        loop {
            // The request's state is a box of its own, gone before the connection idles or becomes
            // a tunnel: both are then small, and nothing holds on to the buffer that the head was
            // read into.
            match Box::pin(self.request(&mut client)).await {
                Ok(Next::Request) => {}
                Ok(Next::Tunnel(mut upstream)) => {
                    Box::pin(tunnel::run(
                        &mut client,
                        &mut upstream,
                        &tunnel::Options { idle: PATIENCE.idle, framed: tunnel::Framed::Neither },
                    ))
                    .await;
                    return;
                }
                Ok(Next::End) | Err(_) => return,
            }
            if client.input().is_empty()
                && !matches!(client.fill(Kind::Idle, PATIENCE.idle).await, Ok(1..))
            {
                return;
            }
        }
    }

    async fn request(&self, client: &mut Stream) -> Result<Next, Fault> {
        let mut head = RequestHead::new();
        let Some(bytes) = client.read_request(&mut head, &self.limits, &PATIENCE).await? else {
            return Ok(Next::End);
        };
        let mut upload = Upload::new(head.framing(), head.expects_continue());
        let mut upstream = match self.pool.take(&self.upstream, 0, Reuse::Replayable) {
            Some(pooled) => pooled,
            None => Stream::connect(&self.worker, self.upstream, CONNECT).await?,
        };
        if head.method() == relay::method::Method::Connect {
            upstream.write_all(&[&bytes], self.deadlines.write).await?;
            return Ok(Next::Tunnel(upstream));
        }
        let mut out = Vec::new();
        let mut writer = HeadWriter::request(
            &mut out,
            head.view(&bytes),
            LineForm::AsReceived,
            hygiene::BALANCER_REQUEST,
            BodyFields::AsReceived,
        );
        writer.connection(Persistence::Implied);
        writer.finish();
        let exchange = Exchange::new(client, &mut upstream, &mut upload, &self.deadlines);
        let keep =
            self.exchange(exchange, &head, &mut out).await.map_err(|failure| failure.fault)?;
        if !keep {
            return Ok(Next::End);
        }
        self.pool.put(self.upstream, 0, upstream);
        Ok(if head.persistent() { Next::Request } else { Next::End })
    }

    async fn exchange(
        &self,
        mut exchange: Exchange<'_>,
        head: &RequestHead,
        out: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        exchange.send(out).await?;
        let mut response = ResponseHead::new();
        let bytes = loop {
            let bytes =
                exchange.response(&mut response, &self.limits, std::future::pending::<()>).await?;
            if !response.is_interim() {
                break bytes;
            }
            exchange.interim(&bytes).await?;
        };
        out.clear();
        HeadWriter::response(
            out,
            response.view(&bytes),
            hygiene::BALANCER_RESPONSE,
            BodyFields::AsReceived,
        )
        .finish();
        let framing = response.framing(head.method());
        let done = exchange.finish(out, framing, framing).await?;
        Ok(done.upload_done && response.persistent(head.method()))
    }
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, listen, upstream, rest @ ..] = &arguments[..] else {
        anyhow::bail!("usage: bare_balancer LISTEN UPSTREAM [WORKERS]")
    };
    let workers = rest.first().map_or(Ok(1), |count| count.parse())?;
    let listeners = Arc::new(Listeners::bind(listen.parse()?, workers, &Options::default())?);
    let upstream: SocketAddr = upstream.parse()?;
    let running = Workers::start(Settings { name: "bare", workers }, move |worker: Worker| {
        let listeners = listeners.clone();
        async move {
            let Ok(listener) = listeners.take(&worker) else { return };
            let pool =
                Pool::new(&worker, pool::Limits { per_upstream: 256, ..pool::Limits::default() });
            let (deadlines, limits) = (Deadlines::default(), Limits::default());
            let balancer =
                Rc::new(Balancer { worker: worker.clone(), pool, upstream, deadlines, limits });
            worker.serve(listener, move |_, client, _| balancer.clone().connection(client)).await;
        }
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c())?;
    println!("{:?}", runtime.block_on(running.drain(Duration::from_secs(5))));
    Ok(())
}
