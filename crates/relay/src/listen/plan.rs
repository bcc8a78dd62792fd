//! Decides, when a configuration changes the listeners, which sockets are kept and which are bound
//! anew. Pure: no socket is touched here.

use std::net::{IpAddr, SocketAddr};

use super::Address;

/// How a wanted listener comes to its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It takes over this one of the open ones, by index.
    Keep(usize),
    /// It is bound anew ([`super::Listeners::open`]).
    Bind,
}

/// A listener: what is served there, and the address that is asked for; port 0 stands for any.
pub type Named<'a> = (&'a str, &'a Address);

/// For each wanted listener, by name and address, how it comes to its socket. What is open and kept
/// by nobody is to be closed, after the others are open. A socket belongs to its address: names may
/// move from one to another in any way.
#[must_use]
pub fn plan(open: &[Named<'_>], wanted: &[Named<'_>]) -> Vec<Step> {
    let mut steps = vec![Step::Bind; wanted.len()];
    let mut taken = vec![false; open.len()];
    // Those that stay as they are first: with port 0, several are asked for by the same address.
    for of_that_name in [true, false] {
        for (step, (name, asked)) in
            steps.iter_mut().zip(wanted).filter(|(step, _)| **step == Step::Bind)
        {
            let found = open.iter().enumerate().position(|(index, (there, address))| {
                !taken[index] && address == asked && (there == name || !of_that_name)
            });
            if let Some(index) = found {
                taken[index] = true;
                *step = Step::Keep(index);
            }
        }
    }
    steps
}

/// Whether a connection could be for either of two addresses to listen on. `[::]` takes IPv4 too
/// (see [`super`]).
#[must_use]
pub fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V4(wide) => wide.is_unspecified() && (narrow.is_ipv4() || narrow.is_unspecified()),
        IpAddr::V6(wide) => wide.is_unspecified(),
    };
    let (this, that) = (one.ip(), other.ip());
    one.port() == other.port()
        && one.port() != 0
        && (this == that || covers(this, that) || covers(that, this))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: fn(usize) -> Step = Step::Keep;
    const NEW: Step = Step::Bind;

    #[test]
    fn any_listeners_become_any_others() {
        type Listeners = &'static [(&'static str, &'static str)];
        let cases: [(&str, Listeners, Listeners, &[Step]); 13] = [
            ("nothing before", &[], &[("a", "127.0.0.1:80")], &[NEW]),
            ("nothing changes", &[("a", "127.0.0.1:80")], &[("a", "127.0.0.1:80")], &[KEEP(0)]),
            ("renamed", &[("a", "127.0.0.1:80")], &[("b", "127.0.0.1:80")], &[KEEP(0)]),
            (
                "ports swapped",
                &[("a", "127.0.0.1:80"), ("b", "127.0.0.1:81")],
                &[("a", "127.0.0.1:81"), ("b", "127.0.0.1:80")],
                &[KEEP(1), KEEP(0)],
            ),
            ("moved", &[("a", "127.0.0.1:80")], &[("a", "127.0.0.1:81")], &[NEW]),
            ("to the wildcard", &[("a", "127.0.0.1:80")], &[("a", "0.0.0.0:80")], &[NEW]),
            ("and back", &[("a", "0.0.0.0:80")], &[("a", "127.0.0.1:80")], &[NEW]),
            (
                "to both families",
                &[("a", "127.0.0.1:80"), ("b", "0.0.0.0:81")],
                &[("a", "[::]:80"), ("b", "[::]:81")],
                &[NEW, NEW],
            ),
            (
                "IPv4 and IPv6 do not meet",
                &[("a", "127.0.0.1:80")],
                &[("a", "127.0.0.1:80"), ("b", "[::1]:80")],
                &[KEEP(0), NEW],
            ),
            (
                "one becomes two",
                &[("a", "0.0.0.0:80")],
                &[("a", "127.0.0.1:80"), ("b", "127.0.0.2:80")],
                &[NEW, NEW],
            ),
            ("two that overlap", &[], &[("a", "0.0.0.0:80"), ("b", "127.0.0.2:80")], &[NEW, NEW]),
            (
                "files by their paths",
                &[("a", "unix:/run/a.sock"), ("b", "unix:/run/b.sock")],
                &[("a", "unix:/run/b.sock"), ("a", "unix:/run/c.sock")],
                &[KEEP(1), NEW],
            ),
            (
                "any ports stay with their names",
                &[("a", "127.0.0.1:0"), ("b", "127.0.0.1:0")],
                &[("b", "127.0.0.1:0"), ("c", "127.0.0.1:0"), ("d", "127.0.0.1:0")],
                &[KEEP(1), KEEP(0), NEW],
            ),
        ];
        let address = |at: &str| match at.strip_prefix("unix:") {
            Some(path) => Address::unix(path),
            None => at.parse::<SocketAddr>().unwrap().into(),
        };
        for (what, open, wanted, steps) in cases {
            let read = |listeners: Listeners| {
                listeners.iter().map(|(name, at)| (*name, address(at))).collect::<Vec<_>>()
            };
            let (open, wanted) = (read(open), read(wanted));
            let open: Vec<_> = open.iter().map(|(name, at)| (*name, at)).collect();
            let wanted: Vec<_> = wanted.iter().map(|(name, at)| (*name, at)).collect();
            assert_eq!(plan(&open, &wanted), steps, "{what}");
        }
    }

    #[test]
    fn addresses_that_overlap() {
        for (one, other, overlaps) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("127.0.0.1:80", "[::]:80", true),
            ("[::1]:80", "0.0.0.0:80", false),
            ("[::1]:80", "[::]:80", true),
            ("0.0.0.0:80", "[::]:80", true),
            ("0.0.0.0:0", "0.0.0.0:0", false),
        ] {
            let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
            assert!(
                overlap(one, other) == overlaps && overlap(other, one) == overlaps,
                "{one} {other}"
            );
        }
    }
}
