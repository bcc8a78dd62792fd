//! By what a proxy-node knows a health-checker's probe: the checker signs what it asks of its
//! built-in target, which nobody else may reach.
//!
//! Each checker makes a key when it starts and tells the public half with its registration. A
//! signature is over the request line, and the request line of a probe has something new in it each
//! time. No secret is shared: who can read the membership can prove nothing with it.

use ring::{
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};

use crate::error::Error;

/// The request field that holds a signature, in hexadecimal.
pub const FIELD: &str = "Shoal-Probe";
/// How the tag of a checker begins that holds its public key, in hexadecimal.
pub const TAG: &str = "probe-key=";
const CONTEXT: &[u8] = b"shoal probe\0";

/// The public half.
pub type Key = [u8; 32];

/// A checker's own half.
pub struct Signer(Ed25519KeyPair);

impl std::fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Signer")
    }
}

impl Signer {
    /// A new one.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new() -> Result<Self, Error> {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let read = made.ok().and_then(|made| Ed25519KeyPair::from_pkcs8(made.as_ref()).ok());
        read.map(Self).ok_or_else(|| {
            Error::new("cannot make a key for probes: the system has no randomness")
                .remedy("start it again")
        })
    }

    /// What the checker registers with.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("{TAG}{}", hex::encode(self.0.public_key().as_ref()))
    }

    /// The field's value for a request.
    #[must_use]
    pub fn sign(&self, method: &str, target: &str) -> String {
        hex::encode(self.0.sign(&message(method, target)).as_ref())
    }
}

/// The key that a tag holds, where it does.
#[must_use]
pub fn key(tag: &str) -> Option<Key> {
    unhex::<32>(tag.strip_prefix(TAG)?.as_bytes())
}

/// Whether the field's value is a signature of whoever has the other half of `key` over this
/// request.
#[must_use]
pub fn verifies(key: &Key, method: &str, target: &str, value: &[u8]) -> bool {
    let signature = unhex::<64>(value);
    signature.is_some_and(|signature| {
        UnparsedPublicKey::new(&ED25519, key).verify(&message(method, target), &signature).is_ok()
    })
}

fn message(method: &str, target: &str) -> Vec<u8> {
    [CONTEXT, method.as_bytes(), b"\0", target.as_bytes()].concat()
}

fn unhex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_checker_signs_and_only_this_request() {
        let (signer, other) = (Signer::new().unwrap(), Signer::new().unwrap());
        let known = key(&signer.tag()).unwrap();
        let url = "http://10.0.0.3:9000/shoal-check/0195";
        let value = signer.sign("GET", url);
        assert!(verifies(&known, "GET", url, value.as_bytes()));
        for (what, key, method, target, value) in [
            ("another key", key(&other.tag()).unwrap(), "GET", url, value.clone()),
            ("another method", known, "CONNECT", url, value.clone()),
            (
                "another target",
                known,
                "GET",
                "http://10.0.0.3:9000/shoal-check/0196",
                value.clone(),
            ),
            ("another signature", known, "GET", url, other.sign("GET", url)),
            ("half of it", known, "GET", url, value[..64].to_owned()),
            ("nothing", known, "GET", url, String::new()),
            ("no hexadecimal", known, "GET", url, "g".repeat(128)),
        ] {
            assert!(!verifies(&key, method, target, value.as_bytes()), "{what}");
        }
        for tag in ["", "probe-key=", "probe-key=00", "other"] {
            assert_eq!(key(tag), None, "{tag:?}");
        }
    }
}
