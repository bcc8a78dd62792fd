//! What must hold for every sequence of bytes that somebody else may send, as functions of those
//! bytes.
//!
//! **What it is.** One [`Target`] per place where untrusted bytes are parsed. A target panics when
//! a property is broken. The properties are more than "does not panic": the verdict is the same
//! however the bytes are cut, what is forwarded means what was received (also to a lenient reader,
//! see [`oracle`]), what validation accepts can be built, what policy forbids is not stored.
//!
//! **How it is used.** `tests/kept.rs` sends every kept input (`corpus/TARGET`) and a bounded
//! number of seeded mutations of them ([`mutate`]) through the targets, with the ordinary compiler,
//! in every test run. `./grow` lets libFuzzer look for inputs that reach new code and keeps what it
//! finds.
//!
//! **Reading order:** [`target`], [`oracle`], [`mutate`], `tests/kept.rs`.

pub mod mutate;
pub mod oracle;
pub mod target;

/// One parser, with what must hold of it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is also the folder of its corpus.
    pub name: &'static str,
    /// Panics when a property does not hold of these bytes.
    pub check: fn(&[u8]),
    /// Words of the language that it reads.
    pub words: &'static [&'static [u8]],
    /// Mutations tried in one test run: as many as take about a second.
    pub executions: u32,
}

/// All of them.
pub const TARGETS: [Target; 14] = [
    target::request_head::TARGET,
    target::response_head::TARGET,
    target::chunked::TARGET,
    target::proxy_protocol::TARGET,
    target::client_hello::TARGET,
    target::forwarded::TARGET,
    target::cache::TARGET,
    target::url::TARGET,
    target::dns::TARGET,
    target::bundle::TARGET,
    target::list::TARGET,
    target::wire::TARGET,
    target::resume_token::TARGET,
    target::vrrp::TARGET,
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
