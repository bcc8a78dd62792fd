//! A name server, by UDP and TCP, that misbehaves by name.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

/// Names that begin with this are never answered.
pub const DEAD: &str = "dead";
/// Only A is answered.
pub const SILENT_AAAA: &str = "no-aaaa";
/// A comes half a second later than AAAA.
pub const LATE_A: &str = "late-a";
/// By UDP only so much that it does not fit.
pub const LARGE: &str = "large";
/// There is no such name.
pub const NONE: &str = "none";

const A: u16 = 1;
const AAAA: u16 = 28;

/// Whatever is in none of the kinds above, and under no zone that is called so (`x.dead.test`), is
/// 127.0.0.1 and ::1.
#[derive(Debug)]
pub struct NameServer {
    /// Where it listens.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    /// Starts one on a free port of loopback.
    pub fn start() -> std::io::Result<Self> {
        let (socket, listener) = bind()?;
        let address = socket.local_addr()?;
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let Some(query) = buffer.get(..length).map(<[u8]>::to_vec) else { continue };
                let Some((name, kind)) = question(&query) else { continue };
                noted.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
                if is_silent(&name, kind) {
                    continue;
                }
                let (Some(reply), Ok(socket)) =
                    (reply(&query, name.starts_with(LARGE)), socket.try_clone())
                else {
                    continue;
                };
                if name.starts_with(LATE_A) && kind == A {
                    std::thread::spawn(move || {
                        later();
                        drop(socket.send_to(&reply, peer));
                    });
                } else {
                    drop(socket.send_to(&reply, peer));
                }
            }
        });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                drop(by_tcp(stream));
            }
        });
        Ok(Self { address, asked })
    }

    /// The names that it was asked for, each once.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The line of a resolv.conf that names it.
    #[must_use]
    pub fn line(&self) -> String {
        format!("nameserver [{}]:{}\n", self.address.ip(), self.address.port())
    }

    /// How often it was asked for a name by UDP.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter(|asked| *asked == name)
            .count()
    }
}

/// The same port for both protocols.
fn bind() -> std::io::Result<(UdpSocket, TcpListener)> {
    loop {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        // Somebody else may have it.
        if let Ok(listener) = TcpListener::bind(socket.local_addr()?) {
            return Ok((socket, listener));
        }
    }
}

/// A moment, in which nothing comes.
fn later() {
    let (_never, wait) = mpsc::sync_channel::<()>(0);
    let _elapsed = wait.recv_timeout(Duration::from_millis(500));
}

fn is_silent(name: &str, kind: u16) -> bool {
    name.split('.').any(|label| label.starts_with(DEAD))
        || (name.starts_with(SILENT_AAAA) && kind == AAAA)
}

fn by_tcp(mut stream: TcpStream) -> std::io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut query)?;
    let reply = reply(&query, false).ok_or_else(|| std::io::Error::other("no question"))?;
    let length = u16::try_from(reply.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &reply].concat())
}

/// What is asked for: a name, and a type.
fn question(query: &[u8]) -> Option<(String, u16)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8(query.get(at..at + length)?.to_vec()).ok()?);
        at += length;
    }
    Some((labels.join("."), u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?])))
}

fn reply(query: &[u8], truncated: bool) -> Option<Vec<u8>> {
    let (name, kind) = question(query)?;
    let missing = name.starts_with(NONE);
    let mut out = query.to_vec();
    let (flags, code) = (if truncated { 0x83 } else { 0x81 }, if missing { 0x83 } else { 0x80 });
    out.get_mut(2..4)?.copy_from_slice(&[flags, code]);
    let data: &[u8] = match kind {
        _ if missing || truncated => return Some(out),
        A => &[127, 0, 0, 1],
        AAAA => &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        _ => return Some(out),
    };
    *out.get_mut(7)? = 1;
    // The name of the question; class IN, a minute.
    out.extend_from_slice(&[0xc0, 12]);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
    out.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
    out.extend_from_slice(data);
    Some(out)
}
