//! `/etc/resolv.conf` and `/etc/hosts`: read at the start, and again whenever they have changed, so
//! that a node follows its host without a restart.

use std::{
    collections::HashMap,
    fs, io,
    net::{IpAddr, SocketAddr},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;

use super::client::Client;

/// The port of DNS.
const PORT: u16 = 53;
/// Servers and rounds that are honoured.
const MOST_SERVERS: usize = 8;
const MOST_ROUNDS: u32 = 5;
/// A look-up takes at least and at most so long, in seconds, whatever resolv.conf says.
const SHORTEST: u64 = 2;
const LONGEST: u64 = 10;
/// A file that is larger is not read.
const LARGEST: u64 = 64 << 20;

/// Where the files are.
#[derive(Clone, Debug)]
pub struct Files {
    /// As resolv.conf(5) has it; a server may have a port, as in `[127.0.0.1]:5353`.
    pub resolv_conf: PathBuf,
    /// As hosts(5) has it.
    pub hosts: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self { resolv_conf: "/etc/resolv.conf".into(), hosts: "/etc/hosts".into() }
    }
}

/// Whom to ask, and how patiently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    /// In the order of the file.
    pub list: Vec<SocketAddr>,
    /// How often each is asked at the most.
    pub rounds: u32,
    /// A look-up has a deadline of its own.
    pub within: Duration,
}

impl Servers {
    /// Reads resolv.conf. What it does not know it steps over, as all readers of that file do.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (mut list, mut timeout, mut attempts) = (Vec::new(), 5_u64, 2);
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => list.extend(words.next().and_then(server)),
                Some("options") => {
                    for option in words {
                        match option.split_once(':') {
                            Some(("timeout", value)) => timeout = value.parse().unwrap_or(timeout),
                            Some(("attempts", value)) => {
                                attempts = value.parse().unwrap_or(attempts)
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        list.truncate(MOST_SERVERS);
        let rounds = attempts.clamp(1, MOST_ROUNDS);
        let within =
            Duration::from_secs(timeout.saturating_mul(u64::from(rounds)).clamp(SHORTEST, LONGEST));
        Self { list, rounds, within }
    }
}

/// An address, with a port as OpenBSD has it.
fn server(text: &str) -> Option<SocketAddr> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once("]:"));
    let (address, port) = match bracketed {
        Some((address, port)) => (address, port.parse().ok()?),
        None => (text, PORT),
    };
    Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, port))
}

/// Names that need no server.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hosts(HashMap<Box<str>, Arc<[IpAddr]>>);

impl Hosts {
    /// Reads a hosts file.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut names: HashMap<Box<str>, Vec<IpAddr>> = HashMap::new();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
            let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
                continue;
            };
            for name in words {
                let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
                let known = names.entry(name.into()).or_default();
                if !known.contains(&address) {
                    known.push(address);
                }
            }
        }
        Self(names.into_iter().map(|(name, addresses)| (name, addresses.into())).collect())
    }

    /// What it says of a name in lower case.
    #[must_use]
    pub fn get(&self, host: &str) -> Option<Arc<[IpAddr]>> {
        if self.0.is_empty() { None } else { self.0.get(host).cloned() }
    }
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp(Option<(SystemTime, u64, u64)>);

impl Stamp {
    fn of(path: &Path) -> Self {
        let read =
            fs::metadata(path).and_then(|found| Ok((found.modified()?, found.len(), found.ino())));
        Self(read.ok())
    }
}

/// The files as they were read last, and the client that goes by them.
#[derive(Debug)]
pub struct System {
    files: Files,
    /// Whom to ask.
    pub servers: ArcSwap<Servers>,
    pub client: Client,
    seen: Mutex<Option<[Stamp; 2]>>,
}

impl System {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(files: Files) -> Self {
        Self {
            files,
            servers: ArcSwap::from_pointee(Servers::parse("")),
            client: Client::default(),
            seen: Mutex::default(),
        }
    }

    /// Reads what has changed since; not for a worker. Answers the new hosts file, and whether
    /// anything is different.
    pub fn refresh(&self) -> Option<Hosts> {
        let now = [Stamp::of(&self.files.resolv_conf), Stamp::of(&self.files.hosts)];
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == Some(now) {
            return None;
        }
        let servers = Servers::parse(&read(&self.files.resolv_conf));
        // An empty one is being written, or was taken away: whom we know is better than nobody.
        if servers.list.is_empty() {
            tracing::warn!(path = %self.files.resolv_conf.display(), "names no name server: those \
                known before are asked, and without them only the hosts file counts");
        } else {
            tracing::info!(servers = ?servers.list, within = ?servers.within, "name servers");
            self.servers.store(Arc::new(servers));
        }
        *seen = Some(now);
        Some(Hosts::parse(&read(&self.files.hosts)))
    }
}

/// Empty where it cannot be read.
fn read(path: &Path) -> String {
    let bytes = match fs::metadata(path) {
        Ok(found) if found.len() > LARGEST => Err(io::Error::other("it is too large")),
        _ => fs::read(path),
    };
    match bytes {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot be read");
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf() {
        let parse = |text: &str| {
            let Servers { list, rounds, within } = Servers::parse(text);
            (
                list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
                rounds,
                within.as_secs(),
            )
        };
        for (text, want) in [
            (
                "nameserver 192.0.2.1\n# nameserver 192.0.2.9\nsearch a b\nnameserver\t2001:db8::1 \
                 \n",
                ("192.0.2.1:53 [2001:db8::1]:53", 2, 10),
            ),
            ("options timeout:0\nnameserver 192.0.2.1", ("192.0.2.1:53", 2, 2)),
            (
                "options timeout:1 attempts:3 rotate edns0\nnameserver 192.0.2.1\r\n",
                ("192.0.2.1:53", 3, 3),
            ),
            (
                "options timeout:99999999999999999999 attempts:0\nnameserver [127.0.0.1]:5353",
                ("127.0.0.1:5353", 1, 5),
            ),
            (
                "options timeout:30 attempts:100\nnameserver fe80::1%eth0\nnameserver nonsense",
                ("", 5, 10),
            ),
            ("", ("", 2, 10)),
        ] {
            assert_eq!(parse(text), (want.0.to_owned(), want.1, want.2), "{text}");
        }
    }

    #[test]
    fn hosts() {
        let hosts = Hosts::parse(
            "127.0.0.1 localhost\n192.0.2.1\tA_b.test  project_web_1.test. -ab.test # comment\n# \
             192.0.2.9 x\n2001:db8::1 a_b.test\n192.0.2.1 a_b.test\nnonsense y\n",
        );
        let texts = |host| {
            hosts
                .get(host)
                .map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(texts("a_b.test").as_deref(), Some("192.0.2.1 2001:db8::1"));
        assert_eq!(texts("-ab.test"), texts("project_web_1.test"));
        assert_eq!((texts("x"), texts("y"), texts("comment")), (None, None, None));
    }
}
