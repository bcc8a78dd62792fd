//! What is not to be guessed or not to happen twice. Whoever needs it asks here; `clippy.toml`
//! forbids other sources. What has to be the same in every run of a test takes a seed instead.

use uuid::Uuid;

/// An id that nobody else has: a UUID v7, which begins with the time.
#[expect(clippy::disallowed_methods, reason = "this is where everybody gets ids")]
#[must_use]
pub fn id() -> Uuid {
    Uuid::now_v7()
}

/// A seed for a generator: differs between processes, and from one call to the next.
#[must_use]
pub fn seed() -> u64 {
    // The low half of the id is random.
    id().as_u64_pair().1
}
