//! Bad starts: one sentence with the remedy, and nothing changed.

use std::{fs, path::Path, time::Duration};

use chassis::{Clock, Error, Options, Role, credentials::Credentials, pki};
use cluster::Service;
use jiff::SignedDuration;

use crate::{
    registry_double::RegistryDouble,
    support::{World, start},
};

fn refused(service: &'static str, options: &Options) -> String {
    let result: Result<(), Error> = chassis::run(service, options, |process| async move {
        process.serve_admin(axum::Router::new())?;
        Ok(())
    });
    result.expect_err("it has to refuse").to_string()
}

fn tree(path: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .map(|e| e.unwrap().path())
        .map(|p| (p.clone(), fs::read(&p).unwrap_or_default()))
        .collect();
    found.sort();
    found
}

#[test]
fn bad_certificates_say_what_is_wrong_with_which_file() {
    let (world, other) = (World::new(), World::new());
    let good = world.options("node-1", None, &[]);
    let role = Role::Service(Service::ProxyNode);
    let past = chassis::Clock::system().now() - SignedDuration::from_hours(48);
    pki::issue(&world.pki(), role, "old", &[], past, Duration::from_secs(3600)).unwrap();
    pki::issue(
        &world.pki(),
        role,
        "early",
        &[],
        chassis::Clock::system().now() + SignedDuration::from_hours(48),
        pki::VALIDITY,
    )
    .unwrap();
    let broken = world.directory.path().join("broken.pem");
    fs::write(&broken, "-----BEGIN CERTIFICATE-----\nnonsense\n").unwrap();
    let absent = world.directory.path().join("absent.pem");
    let with = |change: &dyn Fn(&mut Options)| {
        let mut options = good.clone();
        change(&mut options);
        options
    };
    for (expected, options) in [
        ("is for proxy-node node-1, not for a registry", good.clone()),
        (
            "expired at",
            with(&|o| {
                (o.cert, o.key) = (Some(world.files("old").cert), Some(world.files("old").key))
            }),
        ),
        (
            "not valid before",
            with(&|o| {
                (o.cert, o.key) = (Some(world.files("early").cert), Some(world.files("early").key))
            }),
        ),
        ("does not belong to the certificate", with(&|o| o.key = Some(world.files("node-2").key))),
        ("was not issued by the authority", with(&|o| o.ca = Some(other.files("node-1").ca))),
        ("holds no certificate", with(&|o| o.cert = Some(broken.clone()))),
        ("holds no private key", with(&|o| o.key = Some(broken.clone()))),
        ("cannot read", with(&|o| o.ca = Some(absent.clone()))),
        ("--key not given", with(&|o| o.key = None)),
        ("does not allow the name elsewhere", with(&|o| o.name = Some("elsewhere".to_owned()))),
        ("does not allow the name node-1-b", with(&|o| o.name = Some("node-1-b".to_owned()))),
        ("cannot read the cluster key", with(&|o| o.cluster_key = Some(absent.clone()))),
        ("holds no cluster key", with(&|o| o.cluster_key = Some(broken.clone()))),
    ] {
        let service = if expected.contains("registry") { "registry" } else { "proxy-node" };
        let said = refused(service, &options);
        assert!(
            said.contains(expected) && said.contains("; ") && !said.contains('\n'),
            "{expected}: {said}"
        );
    }
    assert!(!world.directory.path().join("node-1").exists(), "nothing was made");
}

#[test]
fn data_dirs_and_ports_in_use_are_refused_and_nothing_changes() {
    let world = World::new();
    let double = RegistryDouble::new();
    let registry = double.start(&world);
    let directory = world.directory.path().join("registry-1");
    let before = tree(&directory);
    let same = world.options("registry-1", None, &[]);
    assert!(refused("registry", &same).contains("is in use by another process"));
    let mut foreign = world.options("node-1", None, &[]);
    foreign.data_dir = Some(directory.clone());
    assert!(refused("proxy-node", &foreign).contains("is in use by another process"));
    assert_eq!(tree(&directory), before);

    let mut port = world.options("node-1", None, &[]);
    port.admin = Some(registry.process.ports.listeners()["admin"]);
    let said = refused("proxy-node", &port);
    assert!(
        said.contains("the admin address 127.0.0.1:")
            && said.contains("is in use; stop what listens there"),
        "{said}"
    );
    assert!(
        !world.directory.path().join("node-1").exists(),
        "a start that came to nothing leaves nothing behind"
    );
    port.data_dir = Some(world.directory.path().join("shared/deep/node-1"));
    fs::create_dir(world.directory.path().join("shared")).unwrap();
    refused("proxy-node", &port);
    assert!(tree(&world.directory.path().join("shared")).is_empty());
    registry.stop().unwrap();

    let before = tree(&directory);
    assert!(
        refused("proxy-node", &foreign)
            .contains("belongs to registry registry-1, not to proxy-node node-1")
    );
    assert_eq!(tree(&directory), before);
}

#[test]
fn replicas_number_themselves_and_come_back_to_what_they_left() {
    let world = World::new();
    let shared = world.directory.path().join("shared");
    let mut options = world.options("node-1", None, &["--numbered"]);
    options.data_dir = Some(shared.clone());
    let replica = || start("proxy-node", options.clone(), |_| Ok(()));
    let (first, second, third) = (replica(), replica(), replica());
    for (running, name) in [(&first, "node-1-1"), (&second, "node-1-2"), (&third, "node-1-3")] {
        assert_eq!(running.process.identity.name(), name);
        assert_eq!(running.process.data_dir.root(), shared.join(name).canonicalize().unwrap());
    }
    fs::write(shared.join("node-1-2/left"), "there").unwrap();
    second.crash();
    let again = replica();
    assert_eq!(again.process.identity.name(), "node-1-2", "the first number that nobody has");
    assert!(again.process.data_dir.path("left").exists());
    [first, third, again].into_iter().for_each(|running| running.stop().unwrap());

    // A volume from another cluster is refused, not passed over.
    let foreign = World::new();
    let mut other = foreign.options("node-1", None, &["--numbered"]);
    other.data_dir = Some(shared.clone());
    let before = tree(&shared.join("node-1-1"));
    assert!(refused("proxy-node", &other).contains("node-1-1 belongs to another cluster"));
    assert_eq!(tree(&shared.join("node-1-1")), before);
    assert!(!shared.join("node-1-4").exists());
}

#[test]
fn a_port_is_bound_exclusively_also_against_a_shared_one() {
    let world = World::new();
    let node = start("proxy-node", world.options("node-1", None, &[]), |_| Ok(()));
    let claimed = node.process.ports.claim("proxy", "127.0.0.1:0".parse().unwrap()).unwrap();
    let held = node.process.ports.bind("proxy", claimed).unwrap();
    assert!(node.process.ports.claim("proxy", claimed).unwrap_err().to_string().contains("in use"));
    drop(held);
    assert_eq!(node.process.ports.claim("proxy", claimed).unwrap(), claimed);
    node.stop().unwrap();
}

#[test]
fn credentials_do_not_change_identity() {
    let world = World::new();
    let files = world.files("node-1");
    let credentials = Credentials::load(files.clone(), Clock::system()).unwrap();
    assert!(!credentials.reload().unwrap(), "nothing changed");
    fs::copy(world.files("node-2").cert, &files.cert).unwrap();
    fs::copy(world.files("node-2").key, &files.key).unwrap();
    assert!(credentials.reload().unwrap_err().to_string().contains("is now for proxy-node node-2"));
    assert_eq!(credentials.current().identity.name, "node-1");
}
