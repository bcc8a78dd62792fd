//! Following the config-service; what is in force after a start without it; what is never taken
//! again.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use chassis::{Applied, Follower, Policy, Problem, Rendered};
use proto::config::{Assignment, FileReference};

use crate::{
    config_double::{ConfigDouble, sha256},
    registry_double::RegistryDouble,
    support::{Running, World, eventually, start},
};

/// No rpcs but those that every process has.
static POLICY: Policy = Policy::new(&[]);

/// What a process was given, in order, as `document|file`.
type Given = Arc<Mutex<Vec<String>>>;

fn node(world: &World, registry: SocketAddr, more: &[&str]) -> (Running, Given, Follower) {
    let given = Given::default();
    let (taking, (sender, receiver)) = (Arc::clone(&given), std::sync::mpsc::sync_channel(1));
    let running =
        start("proxy-node", world.options("node-1", Some(registry), more), move |process| {
            process.serve_grpc(tonic::service::Routes::default(), &POLICY)?;
            let variables =
                BTreeMap::from([("listen.proxy".to_owned(), "127.0.0.1:3128".to_owned())]);
            let follower = process.configuration(variables, move |rendered: Rendered| {
                let document = String::from_utf8(rendered.document.to_vec()).unwrap();
                if document.contains("bad") {
                    return Err(vec![Problem::new("it is bad"), Problem::new("very bad")]);
                }
                assert!(!document.contains("panic"), "it panics");
                let file = rendered
                    .files
                    .read("lists/a.txt")
                    .map_or_else(|e| e.to_string(), |b| String::from_utf8(b).unwrap());
                taking.lock().unwrap().push(format!("{document}|{file}"));
                Ok(())
            })?;
            sender.send(follower).unwrap();
            Ok(())
        });
    let follower = receiver.recv().unwrap();
    (running, given, follower)
}

async fn blocking<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(what).await.unwrap()
}

fn in_force(follower: &Follower) -> Option<String> {
    follower.applied().map(|applied| applied.revision)
}

#[tokio::test(flavor = "multi_thread")]
async fn assignments_are_applied_or_refused_with_reasons_and_files_fetched_once() {
    let (world, registry_double, double) =
        (World::new(), RegistryDouble::new(), ConfigDouble::new());
    let registry = registry_double.start(&world);
    let config = double.start(&world, registry.grpc());
    let first = double.assign("r1", r#"{"v":1}"#, "example.com");
    let (node, given, follower) = node(&world, registry.grpc(), &[]);
    assert_eq!(
        follower.first().await.unwrap(),
        Applied { revision: "r1".to_owned(), hash: first.clone() }
    );
    eventually("acknowledged", || double.answer("r1") == Some(vec![])).await;
    assert_eq!(given.lock().unwrap().as_slice(), [r#"{"v":1}|example.com"#]);
    let hello = double.memory().hellos[0].clone();
    assert_eq!(
        (hello.service.as_str(), hello.name.as_str(), hello.applied),
        ("proxy-node", "node-1", None)
    );
    assert_eq!(hello.variables["listen.proxy"], "127.0.0.1:3128");
    assert_eq!(
        (hello.variables["name"].as_str(), hello.variables["address"].as_str()),
        ("node-1", "127.0.0.1")
    );
    assert_eq!(node.process.status.subscribe().borrow().applied_hash, first);

    // Every refusal names its reason, and what was in force stays.
    double.assign("r2", r#"{"bad":1}"#, "example.com");
    eventually("refused", || {
        double.answer("r2") == Some(vec!["it is bad".to_owned(), "very bad".to_owned()])
    })
    .await;
    double.assign("r3", r#"{"panic":1}"#, "example.com");
    eventually("a panic is a refusal", || {
        double.answer("r3").is_some_and(|said| said[0].contains("it panics"))
    })
    .await;
    let mut lie = Assignment {
        revision: "r4".to_owned(),
        hash: first.clone(),
        document: b"{}".to_vec(),
        files: vec![],
    };
    lie.hash = sha256(b"other");
    double.assign_raw(lie);
    eventually("a wrong hash is refused", || {
        double.answer("r4").is_some_and(|said| said[0].contains("not what its hash says"))
    })
    .await;
    double.memory().files.insert(sha256(b"honest"), b"forged".to_vec());
    let files = vec![
        FileReference { path: "lists/a.txt".to_owned(), sha256: sha256(b"honest"), size: 6 },
        FileReference {
            path: "lists/b.txt".to_owned(),
            sha256: "../../../etc/passwd".to_owned(),
            size: 6,
        },
        FileReference { path: "lists/c.txt".to_owned(), sha256: sha256(b"absent"), size: 6 },
    ];
    double.assign_raw(Assignment {
        revision: "r5".to_owned(),
        hash: sha256(b"{}"),
        document: b"{}".to_vec(),
        files,
    });
    eventually("every file that cannot be had is named", || {
        double.answer("r5").is_some_and(|said| said.len() == 3)
    })
    .await;
    assert_eq!(in_force(&follower).as_deref(), Some("r1"));
    assert_eq!(given.lock().unwrap().len(), 1);

    double.assign("r6", r#"{"v":2}"#, "example.com");
    eventually("the next good one is applied", || in_force(&follower).as_deref() == Some("r6"))
        .await;
    double.assign("r7", r#"{"v":2}"#, "example.com");
    eventually("the same content under another name is only renamed", || {
        in_force(&follower).as_deref() == Some("r7")
    })
    .await;
    assert_eq!(given.lock().unwrap().len(), 2);
    let fetched =
        double.memory().fetched.iter().filter(|sha| **sha == sha256(b"example.com")).count();
    assert_eq!(fetched, 1, "what is here already is not fetched");
    blocking(|| node.stop()).await.unwrap();
    blocking(|| config.stop()).await.unwrap();
    blocking(|| registry.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_the_control_plane_serves_what_was_in_force() {
    let (world, registry_double, double) =
        (World::new(), RegistryDouble::new(), ConfigDouble::new());
    let registry = registry_double.start(&world);
    let address = registry.grpc();
    let config = double.start(&world, address);
    double.assign("r1", r#"{"v":1}"#, "example.com");
    let (first, _, follower) = node(&world, address, &[]);
    follower.first().await.unwrap();
    blocking(|| config.crash()).await;
    blocking(|| registry.crash()).await;
    blocking(|| first.crash()).await;

    let (second, given, follower) = node(&world, address, &[]);
    assert_eq!(in_force(&follower).as_deref(), Some("r1"), "in force before the body goes on");
    assert_eq!(given.lock().unwrap().as_slice(), [r#"{"v":1}|example.com"#]);
    blocking(|| second.crash()).await;

    // Nothing before it to go back to: it is tried again and again.
    let (third, _, follower) = node(&world, address, &[]);
    assert_eq!(in_force(&follower).as_deref(), Some("r1"));
    blocking(|| third.crash()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_start_of_an_unconfirmed_one_boots_the_one_before_and_says_so() {
    let (world, registry_double, double) =
        (World::new(), RegistryDouble::new(), ConfigDouble::new());
    let registry = registry_double.start(&world);
    let address = registry.grpc();
    let config = double.start(&world, address);
    double.assign("r1", r#"{"v":1}"#, "one");
    let (running, _, follower) = node(&world, address, &["--confirm-after", "1ms"]);
    follower.first().await.unwrap();
    let file = running.process.data_dir.path("configuration/generations.json");
    eventually("confirmed", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("\"confirmed\": true"))
    })
    .await;
    blocking(|| running.stop()).await.unwrap();

    // Starts that end in a clean stop do not count.
    let (running, _, follower) = node(&world, address, &[]);
    let newer = double.assign("r2", r#"{"v":2}"#, "two");
    eventually("applied", || in_force(&follower).as_deref() == Some("r2")).await;
    blocking(|| running.stop()).await.unwrap();
    for _ in 0..2 {
        let (running, _, follower) = node(&world, address, &[]);
        assert_eq!(in_force(&follower).as_deref(), Some("r2"));
        blocking(|| running.stop()).await.unwrap();
    }
    // One start tries it, and it crashes.
    let (running, _, follower) = node(&world, address, &[]);
    assert_eq!(in_force(&follower).as_deref(), Some("r2"));
    blocking(|| running.crash()).await;

    let (running, given, follower) = node(&world, address, &[]);
    assert_eq!(in_force(&follower).as_deref(), Some("r1"), "the one before");
    assert_eq!(given.lock().unwrap().as_slice(), [r#"{"v":1}|one"#]);
    eventually("reported as rejected", || {
        double.memory().hellos.last().unwrap().rejected_hashes.contains_key(&newer)
    })
    .await;
    eventually("and refused when it comes again", || {
        double
            .answer("r2")
            .is_some_and(|said| said.first().is_some_and(|why| why.contains("did not survive")))
    })
    .await;
    assert_eq!(double.cause("r2"), Some(proto::config::Cause::Crashed));
    assert_eq!(in_force(&follower).as_deref(), Some("r1"));

    // An operator may have it tried once more. Nothing but that asks for it again.
    let channel = world.channel("operator", cluster::Service::ProxyNode, running.grpc());
    let forget = async || {
        let mut client = proto::follower::follower_client::FollowerClient::new(channel.clone());
        client
            .forget_rejections(proto::follower::ForgetRejectionsRequest {})
            .await
            .unwrap()
            .into_inner()
            .rejections
    };
    let forgotten = forget().await;
    assert_eq!(forgotten.iter().map(|it| it.hash.as_str()).collect::<Vec<_>>(), [newer.as_str()]);
    eventually("a hello says that nothing is rejected", || {
        double.memory().hellos.last().unwrap().rejected_hashes.is_empty()
    })
    .await;
    eventually("tried again", || in_force(&follower).as_deref() == Some("r2")).await;
    assert!(forget().await.is_empty(), "and there is nothing more to forget");
    blocking(|| running.crash()).await;
    // It crashes again: one start tries it, the next one goes back, and rejects it.
    let (running, ..) = node(&world, address, &[]);
    blocking(|| running.crash()).await;
    let (running, _, follower) = node(&world, address, &[]);
    assert_eq!(in_force(&follower).as_deref(), Some("r1"));
    eventually("rejected again", || {
        double.memory().hellos.last().unwrap().rejected_hashes.contains_key(&newer)
    })
    .await;
    blocking(|| running.stop()).await.unwrap();
    blocking(|| config.stop()).await.unwrap();
    blocking(|| registry.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_on_disk_is_found_and_repaired_from_the_service() {
    let (world, registry_double, double) =
        (World::new(), RegistryDouble::new(), ConfigDouble::new());
    let registry = registry_double.start(&world);
    let address = registry.grpc();
    let config = double.start(&world, address);
    double.assign("r1", r#"{"v":1}"#, "one");
    let (running, _, follower) = node(&world, address, &[]);
    follower.first().await.unwrap();
    let file = running.process.data_dir.path("configuration/files").join(sha256(b"one"));
    blocking(|| running.stop()).await.unwrap();
    std::fs::write(&file, "ONE!").unwrap();
    let (running, given, follower) = node(&world, address, &[]);
    follower.first().await.unwrap();
    assert_eq!(given.lock().unwrap().as_slice(), [r#"{"v":1}|one"#], "never the damaged one");
    blocking(|| running.stop()).await.unwrap();
    blocking(|| config.stop()).await.unwrap();
    blocking(|| registry.stop()).await.unwrap();
}
