//! How a balancer and a node prove to each other that they hold the cluster key, before a byte of a
//! request is sent.
//!
//! ```text
//! balancer → node   PROXY v2 header, with a nonce of its own in a TLV of type 0xE1
//! node → balancer   64 bytes: a nonce of its own, and
//!                   HMAC(key, "node", name of the node, that nonce, header)
//! balancer → node   32 bytes: HMAC(key, "balancer", name of the node, that nonce, header);
//!                   the first request follows
//! ```
//!
//! Neither proof is of use a second time, nor towards another node, nor with another client's
//! address in the header. It costs a round trip when a connection is made; requests on a connection
//! that was proved cost nothing. What is sent afterwards is not protected by it.

use std::fmt;
use std::io;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::proxy_protocol::{self, Addresses};

/// Bytes that nobody can foresee.
pub type Nonce = [u8; 32];
/// What the node answers: its nonce and its proof.
pub type Answer = [u8; 64];
/// What the balancer sends in front of the first request.
pub type Confirmation = [u8; 32];

/// What is signed begins with the name of the proof. Both ends have to use the same bytes, so these
/// stay as the first version had them.
const OF_NODES: &[u8] = b"shoal relay door, node\0";
const OF_BALANCERS: &[u8] = b"shoal relay door, balancer\0";

/// The cluster key, ready for use. Cheap to clone; never shown.
#[derive(Clone)]
pub struct Key(Arc<Hmac<Sha256>>);

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key")
    }
}

impl Key {
    /// The key's 32 bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        let mut block = [0; 64];
        block[..32].copy_from_slice(bytes);
        // A key shorter than a block is padded with zeros by definition (RFC 2104 §2).
        Self(Arc::new(Hmac::new(&block.into())))
    }

    fn mac(&self, whose: &[u8], name: &str, nonce: &Nonce, header: &[u8]) -> Hmac<Sha256> {
        let mut mac = (*self.0).clone();
        for part in [whose, name.as_bytes(), b"\0", nonce, header] {
            mac.update(part);
        }
        mac
    }
}

/// How many nonces one call to the kernel brings.
const MANY: usize = 32;

/// Unforeseeable bytes from the kernel, many at a time.
#[derive(Debug, Default)]
pub struct Nonces {
    ahead: [Nonce; MANY],
    left: usize,
}

impl Nonces {
    /// One that nobody has had.
    ///
    /// # Errors
    /// The kernel gives no randomness.
    pub fn take(&mut self) -> io::Result<Nonce> {
        if self.left == 0 {
            fill(self.ahead.as_flattened_mut())?;
            self.left = MANY;
        }
        self.left -= 1;
        Ok(self.ahead[self.left])
    }
}

/// Unforeseeable bytes from the kernel.
///
/// # Errors
/// The kernel gives none.
pub fn nonce() -> io::Result<Nonce> {
    let mut nonce = Nonce::default();
    fill(&mut nonce)?;
    Ok(nonce)
}

fn fill(bytes: &mut [u8]) -> io::Result<()> {
    // SAFETY: the buffer is ours, and as long as is said.
    let filled = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    match usize::try_from(filled) {
        Ok(filled) if filled == bytes.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::Interrupted.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// The balancer's side of one connection.
#[derive(Debug)]
pub struct Challenge {
    header: Vec<u8>,
}

impl Challenge {
    /// For a connection of the balancer's own, which many clients' requests may share.
    #[must_use]
    pub fn local(nonce: &Nonce) -> Self {
        let mut header = Vec::with_capacity(64);
        proxy_protocol::encode_local(&mut header, Some(nonce));
        Self { header }
    }

    /// For a connection of a node to another, which many clients' requests may share.
    #[must_use]
    pub fn of_node(nonce: &Nonce) -> Self {
        let mut header = Vec::with_capacity(64);
        proxy_protocol::encode_of_node(&mut header, nonce);
        Self { header }
    }

    /// For a connection that belongs to one client.
    #[must_use]
    pub fn of_client(addresses: &Addresses, nonce: &Nonce) -> Self {
        let mut header = Vec::with_capacity(96);
        proxy_protocol::encode_proxy(&mut header, addresses, Some(nonce));
        Self { header }
    }

    /// What is sent first.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// What is sent next, if `answer` proves that the node called `name` is there.
    #[must_use]
    pub fn confirm(&self, key: &Key, name: &str, answer: &Answer) -> Option<Confirmation> {
        let (nonce, proof) = answer.split_first_chunk::<32>()?;
        key.mac(OF_NODES, name, nonce, &self.header).verify_slice(proof).ok()?;
        Some(key.mac(OF_BALANCERS, name, nonce, &self.header).finalize().into_bytes().into())
    }
}

/// The node's answer to a header that holds a nonce.
#[must_use]
pub fn answer(key: &Key, name: &str, nonce: &Nonce, header: &[u8]) -> Answer {
    let mut answer = [0; 64];
    answer[..32].copy_from_slice(nonce);
    answer[32..].copy_from_slice(&key.mac(OF_NODES, name, nonce, header).finalize().into_bytes());
    answer
}

/// Whether whoever sent the header holds the key, and means the node `name`. Takes the same time
/// however wrong the proof is.
#[must_use]
pub fn confirms(
    key: &Key,
    name: &str,
    nonce: &Nonce,
    header: &[u8],
    confirmation: &Confirmation,
) -> bool {
    key.mac(OF_BALANCERS, name, nonce, header).verify_slice(confirmation).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flipped<const N: usize>(bytes: &[u8; N], at: usize) -> [u8; N] {
        let mut other = *bytes;
        other[at] ^= 1;
        other
    }

    #[test]
    fn both_prove_themselves_and_nobody_else_does() {
        let (key, other) = (Key::new(&[7; 32]), Key::new(&[8; 32]));
        let challenge = Challenge::local(&nonce().unwrap());
        let given = nonce().unwrap();
        let answered = answer(&key, "proxy-node-1", &given, challenge.header());
        let confirmed =
            challenge.confirm(&key, "proxy-node-1", &answered).expect("the node proves itself");
        assert!(confirms(&key, "proxy-node-1", &given, challenge.header(), &confirmed));

        let later = Challenge::local(&nonce().unwrap());
        for (what, challenge, key, name, answered) in [
            ("another key", &challenge, &other, "proxy-node-1", answered),
            ("another node's name", &challenge, &key, "proxy-node-2", answered),
            ("an answer of before", &later, &key, "proxy-node-1", answered),
            ("another nonce", &challenge, &key, "proxy-node-1", flipped(&answered, 0)),
            ("another proof", &challenge, &key, "proxy-node-1", flipped(&answered, 63)),
            (
                "its own confirmation sent back",
                &challenge,
                &key,
                "proxy-node-1",
                answer_of(&given, &confirmed),
            ),
        ] {
            assert_eq!(challenge.confirm(key, name, &answered), None, "{what}");
        }
        let addresses = |text: &str| Addresses {
            source: text.parse().unwrap(),
            destination: "192.0.2.9:80".parse().unwrap(),
        };
        let of_client = Challenge::of_client(&addresses("192.0.2.1:1000"), &[1; 32]);
        let of_another = Challenge::of_client(&addresses("192.0.2.2:1000"), &[1; 32]);
        let for_client =
            of_client.confirm(&key, "n", &answer(&key, "n", &given, of_client.header())).unwrap();
        assert!(confirms(&key, "n", &given, of_client.header(), &for_client));
        for (what, key, name, given, header, confirmed) in [
            ("another key", &other, "proxy-node-1", given, challenge.header(), confirmed),
            ("another node", &key, "proxy-node-2", given, challenge.header(), confirmed),
            (
                "repeated at another time",
                &key,
                "proxy-node-1",
                nonce().unwrap(),
                challenge.header(),
                confirmed,
            ),
            ("for another connection", &key, "proxy-node-1", given, later.header(), confirmed),
            ("for another client", &key, "n", given, of_another.header(), for_client),
            (
                "the node's own proof sent back",
                &key,
                "proxy-node-1",
                given,
                challenge.header(),
                answered[32..].try_into().unwrap(),
            ),
            ("not it", &key, "proxy-node-1", given, challenge.header(), flipped(&confirmed, 31)),
        ] {
            assert!(!confirms(key, name, &given, header, &confirmed), "{what}");
        }
    }

    fn answer_of(nonce: &Nonce, proof: &Confirmation) -> Answer {
        [*nonce, *proof].concat().try_into().unwrap()
    }

    #[test]
    fn nonces_differ() {
        let mut many = Nonces::default();
        let nonces = (0..1000).flat_map(|_| [nonce().unwrap(), many.take().unwrap()]);
        assert_eq!(nonces.collect::<std::collections::HashSet<_>>().len(), 2000);
    }

    /// HMAC-SHA256 itself, computed independently (Python's hmac).
    #[test]
    fn the_proof_is_hmac_sha256() {
        let key: [u8; 32] = std::array::from_fn(|index| index as u8);
        let mac = Key::new(&key)
            .mac(OF_NODES, "proxy-node-1", &[9; 32], b"header")
            .finalize()
            .into_bytes();
        let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "f785fb1188ec63f8ea392dff08129d0be86bd213fc4d5dbd48864e172bfe5b1b");
    }
}
