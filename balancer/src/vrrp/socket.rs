//! A raw socket for the advertisements of one instance: bound to its interface, TTL 255, what it
//! sends to the group does not come back. It needs CAP_NET_RAW.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6},
    os::fd::AsRawFd,
};

use nix::{
    cmsg_space,
    libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo},
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, recvmsg, sendmsg,
        setsockopt, sockopt,
    },
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    address::Interface,
    packet::{Envelope, PROTOCOL, TTL, ipv4},
};

/// Who hears advertisements of IPv4.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Who hears those of IPv6.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// Network control: routers let it pass first.
const PRECEDENCE: u32 = 0xc0;
/// Octets of the largest advertisement, 255 addresses of IPv6, with every header.
const LARGEST: usize = 4608;

/// Sends and receives the advertisements of one instance.
pub struct Channel {
    socket: AsyncFd<Socket>,
    index: u32,
    source: IpAddr,
    buffer: Vec<u8>,
}

impl Channel {
    /// On an interface.
    ///
    /// # Errors
    /// The kernel's; without CAP_NET_RAW [`io::ErrorKind::PermissionDenied`].
    pub fn open(interface: &Interface) -> io::Result<Self> {
        let v4 = interface.source.is_ipv4();
        let domain = if v4 { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(PROTOCOL))))?;
        socket.bind_device(Some(interface.name.as_bytes()))?;
        socket.set_nonblocking(true)?;
        if v4 {
            socket.set_ttl_v4(TTL.into())?;
            socket.set_multicast_ttl_v4(TTL.into())?;
            socket.set_multicast_loop_v4(false)?;
            socket.set_tos_v4(PRECEDENCE)?;
            let index = InterfaceIndexOrAddress::Index(interface.index);
            socket.join_multicast_v4_n(&GROUP_V4, &index)?;
        } else {
            socket.set_unicast_hops_v6(TTL.into())?;
            socket.set_multicast_hops_v6(TTL.into())?;
            socket.set_multicast_loop_v6(false)?;
            socket.set_tclass_v6(PRECEDENCE)?;
            socket.set_multicast_if_v6(interface.index)?;
            socket.join_multicast_v6(&GROUP_V6, interface.index)?;
            setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        // SAFETY: the descriptor is the socket's own, which `AsyncFd` owns from here on, so that it
        // stays open and the same for as long as it is registered.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE)? };
        let (index, source) = (interface.index, interface.source);
        Ok(Self { socket, index, source, buffer: vec![0; LARGEST] })
    }

    /// Sends to the group or to one peer. Never waits: what finds no room is lost, as on the
    /// network.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(&self, bytes: &[u8], to: IpAddr) -> io::Result<()> {
        let (socket, data) = (self.socket.as_raw_fd(), [io::IoSlice::new(bytes)]);
        match (self.source, to) {
            (IpAddr::V4(source), IpAddr::V4(to)) => {
                let info = in_pktinfo {
                    ipi_ifindex: self.index.cast_signed(),
                    ipi_spec_dst: in_addr { s_addr: u32::from_ne_bytes(source.octets()) },
                    ipi_addr: in_addr { s_addr: 0 },
                };
                let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
                let control = [ControlMessage::Ipv4PacketInfo(&info)];
                sendmsg(socket, &data, &control, MsgFlags::empty(), Some(&to))?;
            }
            (IpAddr::V6(source), IpAddr::V6(to)) => {
                let info = in6_pktinfo {
                    ipi6_addr: in6_addr { s6_addr: source.octets() },
                    ipi6_ifindex: self.index,
                };
                let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, self.index));
                let control = [ControlMessage::Ipv6PacketInfo(&info)];
                sendmsg(socket, &data, &control, MsgFlags::empty(), Some(&to))?;
            }
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
        Ok(())
    }

    /// The next one that comes; none where what came is no packet. Cancel safe.
    ///
    /// # Errors
    /// The kernel's, as when the interface goes down.
    pub async fn receive(&mut self) -> io::Result<Option<(Envelope, &[u8])>> {
        loop {
            let mut ready = self.socket.readable().await?;
            let buffer = &mut self.buffer;
            let v4 = self.source.is_ipv4();
            match ready.try_io(|socket| read(socket.get_ref(), v4, buffer)) {
                Ok(read) => {
                    let read = read?;
                    return Ok(read.and_then(|(envelope, length)| match envelope {
                        Some(envelope) => Some((envelope, self.buffer.get(..length)?)),
                        None => ipv4::unwrap(self.buffer.get(..length)?),
                    }));
                }
                Err(_would_block) => {}
            }
        }
    }
}

/// What is known of it, where the kernel tells, and how long it is.
fn read(
    socket: &Socket,
    v4: bool,
    buffer: &mut [u8],
) -> io::Result<Option<(Option<Envelope>, usize)>> {
    let mut control = cmsg_space!(in6_pktinfo, i32);
    let mut data = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let got = recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut data, Some(&mut control), flags)?;
    if v4 {
        return Ok(Some((None, got.bytes)));
    }
    let (mut ttl, mut destination) = (None, None);
    for message in got.cmsgs()? {
        match message {
            ControlMessageOwned::Ipv6HopLimit(limit) => ttl = u8::try_from(limit).ok(),
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                destination = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr));
            }
            _ => {}
        }
    }
    let source = got.address.map(|it| it.ip());
    let (Some(ttl), Some(destination), Some(source)) = (ttl, destination, source) else {
        return Ok(None);
    };
    let envelope = Envelope { source: source.into(), destination: destination.into(), ttl };
    Ok(Some((Some(envelope), got.bytes)))
}
