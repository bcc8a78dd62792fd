//! Messages of other processes: what is accepted into the domain goes out as the same message
//! again.

use cluster::{Instance, InstanceStatus, Opinion, PoolGuard};
use prost::Message;
use proto::registry as pb;

use crate::Target;

/// See the module.
pub const TARGET: Target = Target {
    name: "wire",
    check,
    words: &[
        b"\x0a",
        b"\x12",
        b"\x1a",
        b"\x22",
        b"\x2a",
        b"\x08\x01",
        b"\x00",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"proxy-node",
        b"balancer",
        b"0192f0c1-2345-7abc-8def-0123456789ab",
        b"127.0.0.1:3128",
        b"[::1]:80",
        b"proxy",
        b"a.example:65535",
        b"\x08\x80\x92\xb8\xc3\x98\xfe\xff\xff\xff\x01",
    ],
    executions: 60_000,
};

/// The first byte says which message the others are.
fn check(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 4 {
        0 => again::<pb::Instance, Instance, _>(bytes, |domain| pb::Instance::from(domain)),
        1 => again::<pb::Opinion, Opinion, _>(bytes, |domain| pb::Opinion::from(domain)),
        2 => again::<pb::InstanceStatus, InstanceStatus, _>(bytes, |domain| {
            pb::InstanceStatus::from(domain)
        }),
        _ => again::<pb::PoolGuard, PoolGuard, _>(bytes, |domain| pb::PoolGuard::from(domain)),
    }
}

fn again<M, D, E>(bytes: &[u8], back: impl Fn(&D) -> M)
where
    M: Message + Default,
    D: TryFrom<M, Error = E> + PartialEq + std::fmt::Debug,
    E: std::fmt::Display,
{
    let Ok(message) = M::decode(bytes) else { return };
    match D::try_from(message) {
        Ok(domain) => {
            let sent = back(&domain).encode_to_vec();
            let received = M::decode(&sent[..]).expect("what is sent can be decoded");
            let received = D::try_from(received)
                .unwrap_or_else(|error| panic!("what is sent is accepted: {error}"));
            assert_eq!(received, domain, "sent and received");
        }
        Err(error) => {
            let sentence = error.to_string();
            assert!(
                !sentence.is_empty() && sentence.len() < 2048,
                "a refusal is one sentence: {sentence:?}"
            );
        }
    }
}
