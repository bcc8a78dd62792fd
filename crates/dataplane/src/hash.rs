//! A hash that is the same in every process and every version, so that all balancers and all nodes
//! find the same place for a key: FNV-1a, finished by the last step of `SplitMix64`. It is no
//! secret and resists nobody who chooses keys; what is chosen by it bounds what one place may get.

/// Hashes parts as if they were one.
#[derive(Clone, Copy, Debug)]
pub struct Hasher(u64);

impl Default for Hasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher {
    /// Takes these octets in.
    pub fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_octet(*byte);
        }
    }

    /// Takes these octets in, letters in lower case.
    pub fn write_lower(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_octet(byte.to_ascii_lowercase());
        }
    }

    fn write_octet(&mut self, octet: u8) {
        self.0 = (self.0 ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3);
    }

    /// The hash.
    #[must_use]
    pub const fn finish(self) -> u64 {
        mix(self.0)
    }
}

/// The hash of some octets.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = Hasher::default();
    hasher.write(bytes);
    hasher.finish()
}

/// Inputs that differ little have outputs that have nothing in common.
#[must_use]
pub const fn mix(input: u64) -> u64 {
    let mut mixed = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_what_it_is() {
        // Versions that run at the same time must agree.
        assert_eq!(hash(b""), mix(0xcbf2_9ce4_8422_2325));
        assert_eq!(hash(b"a"), mix(0xaf63_dc4c_8601_ec8c), "the published vector of FNV-1a");
        let mut parts = Hasher::default();
        parts.write_lower(b"Http://A");
        parts.write(b".example/X");
        assert_eq!(parts.finish(), hash(b"http://a.example/X"));
    }
}
