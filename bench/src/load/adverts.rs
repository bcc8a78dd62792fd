//! Hears VRRP advertisements in another network namespace, so that a host is hit at a known moment
//! between two of them: when that is up to chance, so is how long a takeover takes.

use std::{
    fs::File,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, setns},
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::{sync::mpsc, time::timeout};

const VRRP: i32 = 112;
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// How often it looks whether it is over.
const WAIT: Duration = Duration::from_millis(100);
const MOST: usize = 1024;

/// A running listener; dropping it ends it.
#[derive(Debug)]
pub struct Adverts {
    heard: mpsc::Receiver<Instant>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Adverts {
    /// Listens on an interface of the network namespace of this name to what `source` says.
    pub fn listen(space: &str, interface: &'static str, source: Ipv4Addr) -> Result<Self> {
        let space = File::open(format!("/var/run/netns/{space}")).context("a network namespace")?;
        let over = Arc::new(AtomicBool::new(false));
        let (tell, heard) = mpsc::channel(MOST);
        let ended = Arc::clone(&over);
        let thread = std::thread::Builder::new().name("adverts".into()).spawn(move || {
            setns(&space, CloneFlags::CLONE_NEWNET).context("enter a network namespace")?;
            let index = InterfaceIndexOrAddress::Index(if_nametoindex(interface)?);
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(VRRP)))?;
            socket.join_multicast_v4_n(&GROUP, &index)?;
            socket.set_read_timeout(Some(WAIT))?;
            hear(socket, source, &tell, &ended)
        })?;
        Ok(Self { heard, over, thread: Some(thread) })
    }

    /// When the next one came.
    pub async fn next(&mut self, within: Duration) -> Result<Instant> {
        while self.heard.try_recv().is_ok() {}
        let heard = timeout(within, self.heard.recv()).await.context("no advertisement")?;
        heard.context("nobody listens any more")
    }
}

impl Drop for Adverts {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => eprintln!("advertisements: {error:#}"),
            Some(Err(_)) => eprintln!("advertisements: panicked"),
            _ => {}
        }
    }
}

fn hear(
    mut socket: Socket,
    source: Ipv4Addr,
    tell: &mpsc::Sender<Instant>,
    over: &AtomicBool,
) -> Result<()> {
    use std::io::{ErrorKind, Read};
    let mut packet = [0; 1500];
    while !over.load(Ordering::Relaxed) {
        match socket.read(&mut packet) {
            // A raw socket of IPv4 gives the header, too: the source is at its octets 12 to 15.
            Ok(length) if length >= 20 && packet[12..16] == source.octets() => {
                // Who does not ask for it now needs the next one.
                let _nobody_asks = tell.try_send(Instant::now());
            }
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error).context("hear advertisements"),
        }
    }
    Ok(())
}
