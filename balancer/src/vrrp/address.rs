//! The addresses on the interface, through the kernel's routing socket (rtnetlink; it needs
//! CAP_NET_ADMIN).
//!
//! A process that was killed or is frozen cannot take an address away. So every address that moves
//! has a valid lifetime of [`LIFETIME`] and is renewed every [`RENEWED`]: the kernel takes it away
//! itself, 2.0 to 2.1 s after the last renewal. What keeps it is the life of this process, and
//! nothing else. `docs/decisions/vrrp-address-lifetimes.md` has the argument.

pub mod judge;

use std::{net::IpAddr, time::Duration};

use futures::{StreamExt, TryStreamExt};
use ipnet::IpNet;
use nix::libc;
use rtnetlink::{
    Handle,
    packet_route::{
        AddressFamily,
        address::{
            AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol,
            CacheInfo,
        },
        link::{LinkAttribute, LinkFlags, LinkMessage},
    },
};

use super::announce::frame::Mac;
use judge::{Held, Present};

/// In the kernel's unit, whole seconds.
pub const LIFETIME: u32 = 2;
/// How often it is begun anew.
pub const RENEWED: Duration = Duration::from_millis(500);
/// The kernel answers within this time, or something holds its lock.
const WITHIN: Duration = Duration::from_secs(1);
/// Marks addresses as ours for people (`ip address show proto 112`): the number of VRRP.
const MARK: AddressProtocol = AddressProtocol::Other(super::packet::PROTOCOL);

/// An interface on which an instance can take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    /// Where it is an Ethernet.
    pub mac: Option<Mac>,
    /// Where advertisements come from.
    pub source: IpAddr,
}

/// Why an instance takes no part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("it is starting")]
    Starting,
    #[error("there is no interface {0} on this host")]
    NoInterface(String),
    #[error("interface {0} is down")]
    Down(String),
    #[error("interface {0} has no carrier: its cable or its peer is gone")]
    NoCarrier(String),
    #[error("interface {interface} has no {family} address of its own to speak from")]
    NoAddress { interface: String, family: &'static str },
    #[error(
        "{address} is on interface {interface} already, and not by this process: whoever put it \
         there (keepalived, the host's network configuration) holds it, whatever is agreed here"
    )]
    Held { address: IpAddr, interface: String },
    #[error("another process of this host takes part in this instance already")]
    Twice,
    #[error(
        "no permission to {0}: grant CAP_NET_ADMIN and CAP_NET_RAW (docs/virtual-address.md says \
         how)"
    )]
    Denied(&'static str),
    #[error("the kernel does not {what}: {why}")]
    Kernel { what: &'static str, why: String },
}

impl Fault {
    /// Of an answer of the kernel.
    #[must_use]
    pub fn of(what: &'static str, error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Denied(what),
            _ => Self::Kernel { what, why: error.to_string() },
        }
    }

    fn netlink(what: &'static str, error: &rtnetlink::Error) -> Self {
        match error {
            rtnetlink::Error::NetlinkError(message) => Self::of(what, &message.to_io()),
            other => Self::Kernel { what, why: other.to_string() },
        }
    }
}

/// The kernel's tables. Cheap to clone.
#[derive(Clone)]
pub struct Kernel(Handle);

impl Kernel {
    /// Opens the socket; on a tokio runtime, which serves it.
    ///
    /// # Errors
    /// There is none to be had.
    pub fn open() -> Result<Self, Fault> {
        let what = "open a routing socket";
        let opened = rtnetlink::new_connection().map_err(|error| Fault::of(what, &error))?;
        let (connection, handle, _messages) = opened;
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// Whether an instance with these addresses can take part on an interface. `owner`: they may be
    /// there for good.
    pub async fn look(&self, name: &str, wanted: &[IpNet], owner: bool) -> Observed {
        let (link, present) = match within("tell its addresses", self.tables(name)).await {
            Ok(tables) => tables,
            Err(fault) => return Observed { interface: Err(fault), ours: Vec::new() },
        };
        let index = link.header.index;
        let ours = judge::ours(&present, index, wanted);
        let interface = usable(&link, name).and_then(|mac| {
            let source =
                judge::judge(&present, index, wanted, owner).map_err(|held| match held {
                    Held::Elsewhere { address, index } => {
                        Fault::Held { address, interface: name_of(index) }
                    }
                    Held::Nothing { family } => {
                        Fault::NoAddress { interface: name.to_owned(), family }
                    }
                })?;
            Ok(Interface { name: name.to_owned(), index, mac, source })
        });
        Observed { interface, ours: ours.into_iter().map(|net| (index, net)).collect() }
    }

    async fn tables(&self, name: &str) -> Result<(LinkMessage, Vec<Present>), Fault> {
        let mut links = std::pin::pin!(self.0.link().get().match_name(name).execute());
        let link = match links.next().await {
            Some(Ok(link)) => link,
            Some(Err(error)) => return Err(no_link(name, &error)),
            None => return Err(Fault::NoInterface(name.to_owned())),
        };
        let addresses = self.0.address().get().execute().try_collect::<Vec<_>>().await;
        let addresses = addresses.map_err(|error| Fault::netlink("tell its addresses", &error))?;
        Ok((link, addresses.iter().filter_map(present_of).collect()))
    }

    /// Puts an address on an interface, or renews it.
    ///
    /// # Errors
    /// The kernel's; `fresh` and it is there already: by whom, a [look](Self::look) tells.
    pub async fn put(&self, index: u32, net: IpNet, fresh: bool) -> Result<(), Fault> {
        let what = "add an address";
        let mut request = self.0.address().add(index, net.addr(), net.prefix_len());
        mark(request.message_mut(), net.addr().is_ipv6());
        let request = if fresh { request } else { request.replace() };
        let put = async { request.execute().await.map_err(|error| Fault::netlink(what, &error)) };
        within(what, put).await
    }

    /// Takes an address off. One that is not there is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn take_off(&self, index: u32, net: IpNet) -> Result<(), Fault> {
        let what = "remove an address";
        let mut request = self.0.address().add(index, net.addr(), net.prefix_len());
        let message = request.message_mut().clone();
        let removed = async {
            match self.0.address().del(message).execute().await {
                Err(rtnetlink::Error::NetlinkError(error))
                    if matches!(-error.raw_code(), libc::EADDRNOTAVAIL | libc::ENODEV) =>
                {
                    Ok(())
                }
                other => other.map_err(|error| Fault::netlink(what, &error)),
            }
        };
        within(what, removed).await
    }
}

/// What was seen of an interface and of the addresses that move.
pub struct Observed {
    /// Where the instance can take part.
    pub interface: Result<Interface, Fault>,
    /// Those that are there and end by themselves, with their interface.
    pub ours: Vec<(u32, IpNet)>,
}

/// The hardware address of an interface that is up.
fn usable(link: &LinkMessage, name: &str) -> Result<Option<Mac>, Fault> {
    let flags = link.header.flags;
    if !flags.contains(LinkFlags::Up) {
        return Err(Fault::Down(name.to_owned()));
    }
    if !flags.contains(LinkFlags::LowerUp) {
        return Err(Fault::NoCarrier(name.to_owned()));
    }
    Ok(link.attributes.iter().find_map(|it| match it {
        LinkAttribute::Address(octets) => Mac::try_from(octets.as_slice()).ok(),
        _ => None,
    }))
}

async fn within<T>(
    what: &'static str,
    asked: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let late = || Fault::Kernel { what, why: "it does not answer".to_owned() };
    tokio::time::timeout(WITHIN, asked).await.unwrap_or_else(|_| Err(late()))
}

/// Lifetime and mark. An address of IPv6 is not tried for duplicates, which would take a second
/// before it can be used, and is never chosen as the source of this host's own connections
/// (preferred lifetime 0), which would break when it moves.
fn mark(message: &mut AddressMessage, v6: bool) {
    let mut lifetime = CacheInfo::default();
    lifetime.ifa_valid = LIFETIME;
    lifetime.ifa_preferred = if v6 { 0 } else { LIFETIME };
    message.attributes.push(AddressAttribute::CacheInfo(lifetime));
    message.attributes.push(AddressAttribute::Protocol(MARK));
    if v6 {
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
}

fn no_link(name: &str, error: &rtnetlink::Error) -> Fault {
    match error {
        rtnetlink::Error::NetlinkError(message)
            if matches!(-message.raw_code(), libc::ENODEV | libc::EINVAL | libc::ERANGE) =>
        {
            Fault::NoInterface(name.to_owned())
        }
        other => Fault::netlink("tell its interfaces", other),
    }
}

fn present_of(message: &AddressMessage) -> Option<Present> {
    let (mut address, mut local, mut flags, mut valid) = (None, None, None, u32::MAX);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(it) => address = Some(*it),
            AddressAttribute::Local(it) => local = Some(*it),
            AddressAttribute::Flags(it) => flags = Some(*it),
            AddressAttribute::CacheInfo(it) => valid = it.ifa_valid,
            _ => {}
        }
    }
    let flags = flags.unwrap_or(AddressFlags::empty());
    let known = matches!(message.header.family, AddressFamily::Inet | AddressFamily::Inet6);
    // On a point-to-point link the address is the peer's, and the local one ours.
    let address = local.or(address).filter(|_| known)?;
    Some(Present {
        index: message.header.index,
        net: IpNet::new(address, message.header.prefix_len).ok()?,
        valid,
        secondary: flags.contains(AddressFlags::Secondary),
        tentative: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
    })
}

fn name_of(index: u32) -> String {
    let name = nix::net::if_::if_indextoname(index).ok();
    name.and_then(|it| it.into_string().ok()).unwrap_or_else(|| format!("number {index}"))
}
