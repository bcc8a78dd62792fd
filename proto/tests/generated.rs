//! The committed code is what the .proto files generate. `UPDATE=1 cargo test --release -p proto`
//! writes it anew; no protoc is needed.

use std::{collections::BTreeMap, fs, path::Path};

/// Messages that several of [`FILES`] use.
const SHARED: [&str; 2] = ["shoal/access/v1/access.proto", "shoal/purge/v1/purge.proto"];

const FILES: [&str; 12] = [
    SHARED[0],
    SHARED[1],
    "shoal/registry/v1/registry.proto",
    "shoal/config/v1/config.proto",
    "shoal/health/v1/health.proto",
    "shoal/balancer/v1/balancer.proto",
    "shoal/proxy/v1/proxy.proto",
    "shoal/state/v1/state.proto",
    "shoal/backup/v1/backup.proto",
    "shoal/audit/v1/audit.proto",
    "shoal/follower/v1/follower.proto",
    "shoal/log/v1/log.proto",
];

#[test]
fn committed_code_is_what_the_protos_generate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = root.join("src/gen");
    let scratch = tempfile::tempdir().expect("a temporary directory");
    generate(root, scratch.path());
    let fresh = read(scratch.path());
    if std::env::var_os("UPDATE").is_some() {
        for (name, bytes) in &fresh {
            fs::write(committed.join(name), bytes).expect("write generated code");
        }
    }
    let kept = read(&committed);
    assert_eq!(
        fresh.keys().collect::<Vec<_>>(),
        kept.keys().collect::<Vec<_>>(),
        "other files than the protos generate"
    );
    for (name, bytes) in &fresh {
        assert!(
            kept[name] == *bytes,
            "{name} is not what the protos generate: run UPDATE=1 cargo test --release -p proto \
             and commit"
        );
    }
}

fn generate(root: &Path, out: &Path) {
    let compile = |files: &[&str]| {
        protox::compile(files.iter().map(|file| root.join(file)), [root])
            .expect("the protos compile")
    };
    let descriptors = compile(&FILES);
    let generator = || tonic_prost_build::configure().out_dir(out).btree_map(".");
    generator().compile_fds(compile(&SHARED)).expect("code for what several use");
    // Modules of the crate are not nested as packages are, so that others name it from the root.
    generator()
        .extern_path(".shoal.access.v1", "crate::access")
        .extern_path(".shoal.purge.v1", "crate::purge")
        .file_descriptor_set_path(out.join("descriptors.bin"))
        .compile_fds(descriptors.clone())
        .expect("code for the protos");
    let bytes = prost::Message::encode_to_vec(&descriptors);
    fs::write(out.join("descriptors.bin"), bytes).expect("write descriptors");
}

fn read(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            (
                path.file_name().expect("a name").to_string_lossy().into_owned(),
                fs::read(&path).expect("a file"),
            )
        })
        .collect()
}
