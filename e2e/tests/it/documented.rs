//! Numbers that documents name are those of the code: a bound that changes takes its sentence with
//! it.

use std::path::Path;

const THREATS: &str = "docs/threat-model.md";

/// A document, what it says, the file that decides it, and how it does.
const NUMBERS: &[(&str, &str, &str, &str)] = &[
    (
        THREATS,
        "a head has 30 s in all (`request_head`)",
        "crates/cluster-config/src/schema/balancer/frontend.rs",
        r#"request_head: duration("30s")"#,
    ),
    (
        THREATS,
        "within the last 30 s",
        "proxy-node/src/start/membership.rs",
        "NAMES: Duration = Duration::from_secs(30)",
    ),
    (
        THREATS,
        "5 s to shake hands",
        "crates/chassis/src/accept.rs",
        "HANDSHAKE_WITHIN: Duration = Duration::from_secs(5)",
    ),
    (
        THREATS,
        "`audit.jsonl`, 20 MiB of them",
        "crates/chassis/src/audit/file.rs",
        "LARGEST: u64 = 4 << 20",
    ),
    (THREATS, "`audit.jsonl`, 20 MiB of them", "crates/chassis/src/audit/file.rs", "KEPT: u32 = 4"),
    (THREATS, "try five times at once", "console/src/auth/attempts.rs", "FREE: u32 = 5"),
    (
        THREATS,
        "by address up to 15 min, by name up to 1 min",
        "console/src/auth/attempts.rs",
        "[Duration::from_secs(900), Duration::from_secs(60)]",
    ),
    (THREATS, "one of 64 streams", "console/src/server.rs", "MOST_VIEWERS: usize = 64"),
    (THREATS, "256 connections", "console/src/server/listen.rs", "CONNECTIONS: usize = 256"),
    (THREATS, "256 connections at once", "crates/chassis/src/admin.rs", "CONNECTIONS: usize = 256"),
    (
        THREATS,
        "10 s for a head",
        "crates/chassis/src/admin.rs",
        "HEAD_WITHIN: Duration = Duration::from_secs(10)",
    ),
    (
        THREATS,
        "256 connections at once",
        "health-checker/src/builtin.rs",
        "CONNECTIONS: usize = 256",
    ),
    (
        "README.md",
        "50,000 values",
        "crates/cluster-config/src/yaml/builder.rs",
        "MOST_NODES: usize = 50_000",
    ),
    (
        "README.md",
        "10,000 files and 512 MiB",
        "config-service/src/api/upload.rs",
        "MOST_FILES: usize = 10_000",
    ),
    (
        "README.md",
        "10,000 files and 512 MiB",
        "config-service/src/api/upload.rs",
        "LARGEST_BUNDLE: usize = 512 << 20",
    ),
    (
        "README.md",
        "more than 16 TiB is refused",
        "crates/cluster-config/src/compile/proxy.rs",
        "MOST_MEMORY: u64 = 16 << 40",
    ),
    (
        "README.md",
        "256 MiB by default",
        "crates/cluster-config/src/schema/proxy/cache.rs",
        r#"memory: size("256MiB")"#,
    ),
    (
        "README.md",
        "`max_object_size`, 50 MiB by default",
        "crates/cluster-config/src/schema/proxy/cache.rs",
        r#"max_object_size: size("50MiB")"#,
    ),
    ("README.md", "Rust ≥ 1.95", "Cargo.toml", r#"rust-version = "1.95"#),
];

/// Without line breaks, which move when a text is changed.
fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn numbers_of_the_documents_are_those_of_the_code() {
    for (document, says, source, decides) in NUMBERS {
        assert!(
            read(document).contains(says),
            "{document} does not say {says:?} any more: change it here, too"
        );
        assert!(
            read(source).contains(decides),
            "{document} says {says:?}, and {source} does not say {decides:?}"
        );
    }
}
