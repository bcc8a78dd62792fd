//! Who may depend on whom, which licences come in, and which heavy crates may not come twice.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

const SERVICES: [&str; 7] = [
    "proxy-node",
    "balancer",
    "registry",
    "health-checker",
    "config-service",
    "backup-service",
    "console",
];
const SHARED: [&str; 8] =
    ["proto", "chassis", "cluster", "cluster-config", "database", "dataplane", "relay", "testkit"];

/// Crates that cost much to build or hold state that must be one: a second version is a mistake.
const ONCE: [&str; 14] = [
    "tokio",
    "hyper",
    "h2",
    "tonic",
    "prost",
    "axum",
    "rustls",
    "ring",
    "sqlx",
    "libsqlite3-sys",
    "clap",
    "serde",
    "reqwest",
    "regex",
];

const LICENCES: [&str; 13] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "MIT-0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unlicense",
    "0BSD",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
];

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path("../Cargo.toml").exec().expect("cargo metadata")
}

/// What each workspace crate depends on within the workspace, dev-dependencies apart.
fn inner_dependencies(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let members: BTreeSet<_> =
        metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
    let dependencies = |package: &cargo_metadata::Package| {
        let kept = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind != DependencyKind::Development);
        kept.map(|dependency| dependency.name.clone())
            .filter(|name| members.contains(name))
            .collect()
    };
    metadata
        .workspace_packages()
        .iter()
        .map(|package| (package.name.to_string(), dependencies(package)))
        .collect()
}

#[test]
fn services_never_depend_on_each_other() {
    let dependencies = inner_dependencies(&metadata());
    for service in SERVICES {
        for dependency in &dependencies[service] {
            assert!(
                SHARED.contains(&dependency.as_str()) && dependency != "testkit",
                "{service} must not depend on {dependency}"
            );
        }
    }
    for shared in SHARED {
        for dependency in &dependencies[shared] {
            assert!(
                SHARED.contains(&dependency.as_str()),
                "the shared crate {shared} must not depend on {dependency}"
            );
        }
    }
    for (name, inner) in &dependencies {
        let uses_services = inner.iter().any(|dependency| SERVICES.contains(&dependency.as_str()));
        assert!(
            !uses_services || matches!(name.as_str(), "cli" | "fuzz"),
            "only cli, e2e and fuzz may depend on services, not {name}"
        );
        assert!(
            !inner.contains("testkit") || matches!(name.as_str(), "bench" | "e2e"),
            "testkit is a dev-dependency, not for {name}"
        );
    }
}

#[test]
fn pure_crates_do_no_io() {
    let metadata = metadata();
    for pure in ["cluster", "cluster-config"] {
        let package = metadata
            .workspace_packages()
            .into_iter()
            .find(|package| package.name == pure)
            .expect("the crate");
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == DependencyKind::Normal)
        {
            let io = ["tokio", "reqwest", "sqlx", "socket2", "nix", "libc", "hyper"]
                .contains(&dependency.name.as_str());
            assert!(!io, "{pure} is pure and must not depend on {}", dependency.name);
        }
    }
}

#[test]
fn every_licence_is_permissive() {
    for package in metadata().packages {
        let licence = package.license.clone().unwrap_or_default().replace('/', " OR ");
        // An expression is fine when each of its AND parts offers one licence that is on the list.
        let parts = licence.split(" AND ").map(|part| part.trim_matches(['(', ')']).to_owned());
        let fine = parts.into_iter().all(|part| {
            part.split(" OR ").any(|one| LICENCES.contains(&one.trim_matches(['(', ')', ' '])))
        });
        // Mozilla's, which is open about changes to its own files only; it drives the browser in
        // tests and is in no program of ours.
        let for_tests = package.name == "webdriver" && licence == "MPL-2.0";
        assert!(
            fine || for_tests,
            "{} {} has the licence {licence:?}",
            package.name,
            package.version
        );
    }
}

#[test]
fn heavy_crates_come_once() {
    let metadata = metadata();
    for heavy in ONCE {
        let versions: BTreeSet<_> = metadata
            .packages
            .iter()
            .filter(|package| package.name == heavy)
            .map(|package| package.version.to_string())
            .collect();
        assert!(versions.len() <= 1, "{heavy} comes in several versions: {versions:?}");
    }
    let banned = ["openssl-sys", "native-tls", "aws-lc-sys"];
    for package in &metadata.packages {
        assert!(
            !banned.contains(&package.name.as_str()),
            "{} is a second TLS provider",
            package.name
        );
    }
}

/// Modules of the crate `relay` that the cache may use: plain types and functions of the codec.
const CODEC: [&str; 4] = ["date", "head", "normal", "target"];
/// Of `crate::`, the cache uses itself alone.
const FLOOR: &str = "cache";

/// What a source names directly after `prefix`, in a group in braces too.
fn named<'a>(source: &'a str, prefix: &str) -> Vec<&'a str> {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let first = |path: &'a str| path.trim_start().split(|other| !is_name(other)).next();
    let mut named = Vec::new();
    for (at, _) in source.match_indices(prefix) {
        let (before, path) = (&source[..at], &source[at + prefix.len()..]);
        if before.ends_with(|last| is_name(last) || last == ':') {
            continue;
        }
        let Some(group) = path.strip_prefix('{') else {
            named.extend(first(path));
            continue;
        };
        let (mut depth, mut begins) = (1, 0);
        for (end, character) in group.char_indices() {
            if depth == 1 && matches!(character, ',' | '}') {
                named.extend(first(&group[begins..end]).filter(|name| !name.is_empty()));
                begins = end + 1;
            }
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    named
}

#[test]
fn what_a_source_names() {
    let source = "use crate::{a, b::{c, d}, e};\nmycrate::f; crate::g::h; crate::relay::i";
    assert_eq!(named(source, "crate::"), ["a", "b", "e", "g", "relay"]);
    assert_eq!(named(source, "relay::"), [""; 0]);
}

#[test]
fn the_cache_knows_neither_configuration_nor_requests_nor_sockets() {
    let sources = sources("../proxy-node/src/cache");
    assert!(sources.len() > 20, "{} sources", sources.len());
    for (path, source) in sources.iter().chain([&source("../proxy-node/src/cache.rs")]) {
        let code = code(source);
        for module in named(&code, "crate::") {
            assert_eq!(module, FLOOR, "{path} uses crate::{module}");
        }
        for module in named(&code, "relay::") {
            assert!(CODEC.contains(&module), "{path} uses relay::{module}");
        }
        for other in ["cluster_config", "cluster", "dataplane", "chassis", "proto"] {
            assert!(named(&code, &format!("{other}::")).is_empty(), "{path} uses {other}");
        }
    }
}

/// Crates whose `lib.rs` names every module once after its words "Reading order", from high to low.
const ORDERED: [&str; 3] = ["../proxy-node/src", "../balancer/src", "../crates/chassis/src"];

#[test]
fn modules_use_those_that_are_named_after_them() {
    for directory in ORDERED {
        let (path, text) = source(&format!("{directory}/lib.rs"));
        let declared = declared(&text);
        let order = reading_order(&text, &declared);
        assert_eq!(order.len(), declared.len(), "{path} names every module once: {order:?}");
        for (path, source) in sources(directory) {
            let within = path.trim_start_matches(directory).trim_start_matches('/');
            let own = within.split('/').next().map(|first| first.trim_end_matches(".rs"));
            let place = |module: &str| order.iter().position(|other| *other == module);
            let Some(own) = own.and_then(place) else { continue };
            for module in named(&code(&source), "crate::") {
                // What `lib.rs` exports again hides which module is used.
                let other = place(module).unwrap_or_else(|| panic!("{path} uses crate::{module}"));
                assert!(own <= other, "{path} uses crate::{module}, which is above it");
            }
        }
    }
}

/// The modules that a `lib.rs` declares.
fn declared(source: &str) -> BTreeSet<&str> {
    source
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect()
}

/// In which order its documentation names them.
fn reading_order<'a>(source: &'a str, declared: &BTreeSet<&str>) -> Vec<&'a str> {
    let (_, order) = source.split_once("**Reading order").expect("the order");
    let (order, _) = order.split_once("\n\n").expect("an end");
    order.split('`').filter(|word| declared.contains(word)).collect()
}

/// A source without its documentation: what that links to is no dependency.
fn code(source: &str) -> String {
    source.lines().filter(|line| !line.trim_start().starts_with("//")).collect()
}

/// rustfmt leaves comments, long strings and the arguments of macros as they are.
#[test]
fn no_line_is_over_100_columns() {
    let mut long = Vec::new();
    for package in metadata().workspace_packages() {
        let directory = package.manifest_path.parent().expect("a directory");
        for part in ["src", "tests", "examples", "benches"] {
            let part = directory.join(part);
            let sources = if part.is_dir() { sources(part.as_str()) } else { Vec::new() };
            for (path, source) in sources {
                let lines = source.lines().enumerate();
                let over = lines.filter(|(_, line)| line.chars().count() > 100);
                let written = !path.contains("/proto/src/gen/");
                long.extend(over.filter(|_| written).map(|(at, _)| format!("{path}:{}", at + 1)));
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

/// Path and content of a source.
fn source(path: &str) -> (String, String) {
    (path.to_owned(), std::fs::read_to_string(path).expect("a source"))
}

/// Every Rust source below a directory.
fn sources(directory: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let path = path.to_str().expect("UTF-8");
        match std::path::Path::new(path).is_dir() {
            true => found.extend(sources(path)),
            false if path.ends_with(".rs") => found.push(source(path)),
            false => {}
        }
    }
    found
}
