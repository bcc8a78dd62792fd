//! Tells the network where an address is: gratuitous ARP (RFC 5227 §3) and unsolicited neighbour
//! advertisements (RFC 4861 §7.2.6), with the interface's own hardware address. Frames are made by
//! pure functions; the socket needs CAP_NET_RAW.

pub mod frame;

use std::{io, mem, net::IpAddr};

use nix::libc;
use socket2::{Domain, SockAddr, Socket, Type};

use super::address::Interface;

/// A socket for frames of one interface. It receives nothing.
pub struct Announcer(Socket);

impl Announcer {
    /// On an interface.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(interface: &Interface) -> io::Result<Self> {
        // Protocol 0: nothing is received.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&link(interface.index)?)?;
        Ok(Self(socket))
    }

    /// Tells where these addresses are.
    ///
    /// # Errors
    /// The kernel's.
    pub fn announce(
        &self,
        mac: frame::Mac,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> io::Result<()> {
        for address in addresses {
            match address {
                IpAddr::V4(address) => self.0.send(&frame::gratuitous_arp(mac, address))?,
                IpAddr::V6(address) => {
                    self.0.send(&frame::neighbour_advertisement(mac, address))?
                }
            };
        }
        Ok(())
    }
}

/// The address of an interface for sockets of frames.
fn link(index: u32) -> io::Result<SockAddr> {
    let index = i32::try_from(index).map_err(io::Error::other)?;
    // SAFETY: a `sockaddr_ll` is written into storage that is large enough for every address, whole
    // (`try_init` zeroes it before), and its length is told.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let link = storage.cast::<libc::sockaddr_ll>();
            (*link).sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
            (*link).sll_ifindex = index;
            *length =
                u32::try_from(mem::size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
            Ok(())
        })?
    };
    Ok(address)
}
