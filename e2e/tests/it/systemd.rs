//! Under a service manager: what it is told, sockets that outlive the process, units that confine
//! it, and hosts that join with nothing but an archive. systemd itself is played by the test, as
//! far as a process can tell the difference; its tools check the units.

mod manager;
pub mod unit;

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Output,
};

use manager::{Manager, Passed};
use testkit::{
    client,
    lab::{Lab, Options},
    load::{Kind, Load, Plan},
    origin::Origin,
    wait,
};
use tokio::process::Command;
use unit::Unit;

/// How often the process behind the socket is started again.
const RESTARTS: usize = 3;

fn plan(frontends: Vec<SocketAddr>, origin: &Origin, kind: Kind, clients: usize) -> Plan {
    Plan {
        frontends,
        origin: origin.address().to_string(),
        path: "/bytes/1024".into(),
        kind,
        clients,
        requests: 2_000,
    }
}

fn socket() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("its address");
    (socket, address)
}

/// Clients know no other frontend than the one behind the socket, so that nobody hides what a
/// restart loses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_restarted_behind_an_inherited_socket_loses_nothing() {
    let lab = Lab::start(Options::default()).await;
    let origin = Origin::start().await;
    let (kept, frontend) = socket();
    let argv =
        lab.argv_beside("balancer-1", "balancer-1-b", &["--frontend", "--grpc", "--admin"]).await;
    let mut manager = Manager::new(
        lab.data_dir().join("balancer-1-b.notify"),
        argv,
        vec![Passed { name: "frontend", socket: kept }],
    );

    manager.start();
    manager.until("READY=1").await;
    manager.until("STATUS=serving, revision").await;
    manager.until("WATCHDOG=1").await;
    let gets = Load::open_ended(plan(vec![frontend], &origin, Kind::Get, 8));
    let tunnels = Load::open_ended(plan(vec![frontend], &origin, Kind::Connect, 4));
    gets.reach(200).await;
    for _ in 0..RESTARTS {
        manager.stop().await;
        let told = manager.said();
        let place = |what: &str| {
            told.iter()
                .position(|line| line.starts_with(what))
                .unwrap_or_else(|| panic!("no {what} in {told:?}"))
        };
        assert!(
            place("READY=1") < place("STOPPING=1")
                && place("STOPPING=1") < place("STATUS=draining"),
            "{told:?}"
        );
        // Nobody listens now: connections wait in the socket.
        let waiting = tokio::spawn({
            let url = origin.url("/bytes/7");
            async move {
                client::once(frontend, "GET", &url, &[], b"").await.map(|answer| answer.status())
            }
        });
        manager.start();
        manager.until("READY=1").await;
        assert_eq!(waiting.await.expect("the waiting client").expect("its answer"), 200);
        let (reached, tunnelled) = (gets.succeeded(), tunnels.succeeded());
        gets.reach(reached + 300).await;
        tunnels.reach(tunnelled + 50).await;
    }
    let mut outcome = gets.enough().await;
    let tunnels = tunnels.enough().await;
    assert_eq!((tunnels.failed, tunnels.cut_tunnels), (0, 0), "{:#?}", tunnels.failures);
    outcome.add(&tunnels);
    outcome.print("a_balancer_restarted_behind_an_inherited_socket_loses_nothing");
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);
    manager.stop().await;
}

/// Both listeners of a node, by their addresses instead of their names.
/// What `systemctl reload` does with a unit of ours: the process that has taken over is the main
/// one, and nobody says that the unit stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reloaded_balancer_is_another_process_and_loses_nothing() {
    let lab = Lab::start(Options::default()).await;
    let origin = Origin::start().await;
    let (kept, frontend) = socket();
    let argv =
        lab.argv_beside("balancer-1", "balancer-1-c", &["--frontend", "--grpc", "--admin"]).await;
    let passed = vec![Passed { name: "frontend", socket: kept }];
    let mut manager = Manager::new(lab.data_dir().join("balancer-1-c.notify"), argv, passed);
    manager.start();
    manager.until("STATUS=serving, revision").await;
    let gets = Load::open_ended(plan(vec![frontend], &origin, Kind::Get, 8));
    let tunnels = Load::open_ended(plan(vec![frontend], &origin, Kind::Connect, 4));
    gets.reach(200).await;
    manager.reload().await;
    let (reached, tunnelled) = (gets.succeeded(), tunnels.succeeded());
    gets.reach(reached + 300).await;
    tunnels.reach(tunnelled + 50).await;
    let said = manager.said();
    assert!(!said.iter().any(|line| line == "STOPPING=1"), "{said:?}");
    let mut outcome = gets.enough().await;
    let tunnels = tunnels.enough().await;
    assert_eq!((tunnels.failed, tunnels.cut_tunnels), (0, 0), "{:#?}", tunnels.failures);
    outcome.add(&tunnels);
    outcome.print("a_reloaded_balancer_is_another_process_and_loses_nothing");
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);
    manager.stop_successor().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_restarted_behind_inherited_sockets_loses_nothing() {
    let lab = Lab::start(Options::default()).await;
    let origin = Origin::start().await;
    let (proxy, at) = socket();
    let (relay, behind) = socket();
    let mut argv = lab.argv_beside("proxy-node-3", "proxy-node-3-b", &["--grpc", "--admin"]).await;
    for (flag, address) in [("--proxy", at), ("--relay", behind)] {
        let place = argv.iter().position(|argument| argument == flag).expect("a flag of a node");
        argv[place + 1] = address.to_string();
    }
    let passed =
        vec![Passed { name: "unknown", socket: proxy }, Passed { name: "unknown", socket: relay }];
    let mut manager = Manager::new(lab.data_dir().join("proxy-node-3-b.notify"), argv, passed);
    manager.start();
    manager.until("READY=1").await;
    let load = Load::open_ended(plan(lab.description.frontends.clone(), &origin, Kind::Get, 8));
    for _ in 0..RESTARTS {
        lab.until_state("proxy-node-3-b", "usable").await;
        let before = origin.requests_via("proxy-node-3-b");
        wait::until("the node gets requests", || async {
            (origin.requests_via("proxy-node-3-b") > before + 50).then_some(())
        })
        .await;
        manager.stop().await;
        manager.start();
        manager.until("READY=1").await;
        // The listener for clients went on where it was, too.
        assert_eq!(
            client::once(at, "GET", &origin.url("/bytes/7"), &[], b"")
                .await
                .expect("an answer")
                .status(),
            200
        );
    }
    let outcome = load.enough().await;
    outcome.print("a_node_restarted_behind_inherited_sockets_loses_nothing");
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);
    assert_eq!(origin.repeated(), [], "requests that reached the origin more than once");
    manager.stop().await;
}

#[tokio::test]
async fn what_is_no_listening_socket_is_refused() {
    let file = tempfile::tempfile().expect("a file");
    let mut command = manager::shell(&["registry".to_owned()], 1);
    let arguments = [
        testkit::lab::binary().display().to_string(),
        "serve".into(),
        "registry".into(),
        "--insecure-plaintext".into(),
    ];
    let output = command
        .args(arguments)
        .stdin(file)
        .env("LISTEN_FDNAMES", "grpc")
        .output()
        .await
        .expect("run shoal");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1)
            && said.contains("descriptor 3 (grpc)")
            && said.contains("ListenStream="),
        "{output:?}"
    );
}

fn succeeded(output: &Output, what: &str) -> String {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{what}: {}\n{text}", output.status);
    text
}

#[tokio::test]
async fn systemd_finds_nothing_wrong_with_the_units() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let binary = testkit::lab::binary();
    let mut copies = Vec::new();
    for unit in unit::all() {
        // As installed, but for where the program is.
        let text = unit.text.replace("/usr/bin/shoal", &binary.display().to_string());
        let copy = scratch.path().join(&unit.name);
        std::fs::write(&copy, text).expect("a copy of the unit");
        copies.push(copy);
    }
    let analyze = |arguments: Vec<String>| async move {
        Command::new("systemd-analyze")
            .args(arguments)
            .output()
            .await
            .expect("systemd-analyze, of Debian's package systemd")
    };
    let paths = copies.iter().map(|copy| copy.display().to_string());
    let said = succeeded(
        &analyze(["verify".to_owned(), "--man=no".into()].into_iter().chain(paths).collect()).await,
        "verify",
    );
    assert_eq!(said, "", "systemd-analyze verify");
    for copy in copies.iter().filter(|copy| copy.extension().is_some_and(|kind| kind == "service"))
    {
        // 10 is no confinement at all; what is left is the network, which is what these programs
        // are for.
        let arguments =
            ["security", "--offline=true", "--threshold=15", &copy.display().to_string()]
                .map(str::to_owned)
                .to_vec();
        succeeded(&analyze(arguments).await, &copy.display().to_string());
    }
}

/// One host may run several services, all as one user: what is taken over in one of them must not
/// read the others' keys and state.
#[test]
fn no_unit_shows_its_process_what_belongs_to_another_service() {
    let services: Vec<Unit> =
        unit::all().into_iter().filter(|unit| unit.name.ends_with(".service")).collect();
    let of = |unit: &Unit| {
        unit.name.trim_start_matches("shoal-").trim_end_matches(".service").to_owned()
    };
    for unit in &services {
        let hidden: Vec<&str> = unit
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("InaccessiblePaths="))
            .flat_map(str::split_whitespace)
            .collect();
        for other in services.iter().map(of) {
            for place in ["/etc/shoal", "/var/lib/shoal"] {
                let is_hidden = hidden.contains(&format!("-{place}/{other}").as_str());
                assert_eq!(is_hidden, other != of(unit), "{}: {place}/{other}", unit.name);
            }
        }
        assert_eq!(
            hidden.contains(&"-/var/backups/shoal"),
            of(unit) != "backup-service",
            "{}",
            unit.name
        );
    }
    // A path that is not there when a unit starts cannot be hidden from it: the package makes them
    // all.
    let made =
        std::fs::read_to_string(unit::directory().join("../debian/tmpfiles")).expect("tmpfiles");
    for service in services.iter().map(of) {
        for line in [
            format!("d /etc/shoal/{service} 0750 root shoal -"),
            format!("d /var/lib/shoal/{service} 0700 shoal shoal -"),
        ] {
            assert!(made.lines().any(|made| made == line), "{line}");
        }
    }
}

#[tokio::test]
async fn every_unit_starts_what_there_is() {
    let services: Vec<Unit> =
        unit::all().into_iter().filter(|unit| unit.name.ends_with(".service")).collect();
    assert!(services.len() >= 7, "units of all services");
    for unit in services {
        let argv = unit.command_line(Path::new("/"));
        // The flags are read before anything else is done; --help ends it there.
        let output = Command::new(testkit::lab::binary())
            .args(&argv[1..])
            .arg("--help")
            .output()
            .await
            .expect("run shoal");
        succeeded(&output, &format!("{}: {argv:?}", unit.name));
        let seconds = |flag: &str| {
            unit::seconds(
                argv.iter().skip_while(|argument| *argument != flag).nth(1).expect("a duration"),
            )
        };
        // Deregistration and the closing of connections take at most 2 s and 1.5 s beside these.
        let drain = 2.0 + seconds("--drain-propagation") + seconds("--drain-timeout") + 1.5;
        assert!(
            unit::seconds(&format!("{}s", unit.value("TimeoutStopSec"))) > drain,
            "{} is killed before it has drained",
            unit.name
        );
        assert_eq!(unit.value("Type"), "notify");
    }
    for socket in unit::all().iter().filter(|unit| unit.name.ends_with(".socket")) {
        assert!(
            unit::all().iter().any(|unit| unit.name == socket.value("Service")),
            "{} is for no unit",
            socket.name
        );
        let flag = format!("--{}", socket.value("FileDescriptorName"));
        let service = socket
            .value("Service")
            .trim_start_matches("shoal-")
            .trim_end_matches(".service")
            .to_owned();
        let help = Command::new(testkit::lab::binary())
            .args(["serve", &service, "--help"])
            .output()
            .await
            .expect("run shoal");
        assert!(
            String::from_utf8_lossy(&help.stdout).contains(&flag),
            "{} names no endpoint of {service}",
            socket.name
        );
    }
}

/// A bare host: the archive unpacked at its root, and the unit. Nothing else is told to the
/// process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enrolled_host_joins_and_gets_traffic() {
    let lab = Lab::start(Options::default()).await;
    let origin = Origin::start().await;
    let host = tempfile::tempdir().expect("the root of a host");
    let archive = lab.data_dir().join("proxy-node-4.tar");
    let (pki, file) =
        (lab.data_dir().join("pki").display().to_string(), archive.display().to_string());
    let enrol = [
        "node",
        "enrol",
        "proxy-node",
        "proxy-node-4",
        "--address",
        "127.0.0.1",
        "--pki",
        &pki,
        "--archive",
        &file,
    ];
    let said = lab.ok(&enrol).await;
    for step in [
        "apt-get install ./shoal_",
        "tar -xkpf proxy-node-4.tar -C /",
        "systemctl enable --now shoal-proxy-node",
    ] {
        assert!(said.contains(step), "{said}");
    }
    let again = lab.shoal(&enrol).await;
    let refused = String::from_utf8_lossy(&again.stderr);
    assert!(
        !again.status.success()
            && refused.contains("is taken already")
            && refused.contains("shoal pki renew proxy-node-4"),
        "{again:?}"
    );
    let elsewhere =
        ["node", "enrol", "proxy-node", "proxy-node-5", "--address", "10.0.0.17", "--pki", &pki];
    let refused = lab.shoal(&elsewhere).await;
    assert!(
        String::from_utf8_lossy(&refused.stderr)
            .contains("cannot be reached from 10.0.0.17: give --registry"),
        "{refused:?}"
    );
    assert!(!Path::new(&pki).join("proxy-node-4.key").exists(), "the key is in the archive alone");

    let unpacked = Command::new("tar")
        .args(["--no-same-owner", "-xkpf", &file, "-C"])
        .arg(host.path())
        .output()
        .await
        .expect("run tar");
    succeeded(&unpacked, "tar");
    let unit = unit::all()
        .into_iter()
        .find(|unit| unit.name == "shoal-proxy-node.service")
        .expect("a unit for nodes");
    let mut environment = unit.environment(host.path());
    assert_eq!(
        environment.keys().collect::<Vec<_>>(),
        ["SHOAL_ADVERTISE", "SHOAL_REGISTRY"],
        "two flags"
    );
    // One host for all of the lab: what an operator would add to the file for ports that are taken.
    for port in ["SHOAL_PROXY", "SHOAL_RELAY", "SHOAL_GRPC", "SHOAL_ADMIN"] {
        environment.insert(port.to_owned(), "127.0.0.1:0".to_owned());
    }
    let mut argv = unit.command_line(host.path());
    argv[0] = testkit::lab::binary().display().to_string();
    let mut manager = Manager::new(host.path().join("notify"), argv, Vec::new());
    manager.environment = environment;
    let load = Load::start(plan(lab.description.frontends.clone(), &origin, Kind::Get, 8));
    manager.start();
    manager.until("READY=1").await;
    lab.until_state("proxy-node-4", "usable").await;
    let outcome = load.finish().await;
    outcome.print("an_enrolled_host_joins_and_gets_traffic");
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);
    wait::until("the enrolled node gets requests", || async {
        let few =
            Plan { requests: 50, ..plan(lab.description.frontends.clone(), &origin, Kind::Get, 4) };
        assert_eq!(Load::start(few).finish().await.failed, 0);
        (origin.requests_via("proxy-node-4") > 0).then_some(())
    })
    .await;
    manager.stop().await;
}

async fn shoal(arguments: &[&str]) -> String {
    succeeded(
        &Command::new(testkit::lab::binary()).args(arguments).output().await.expect("run shoal"),
        &format!("{arguments:?}"),
    )
}

/// A host is up before anybody has said what it shall do, so that neither its boot nor `systemctl
/// start` waits for that; and after a year it gets another certificate without a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_without_a_configuration_is_up_and_takes_a_renewed_certificate() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let (pki, here, host) = (
        scratch.path().join("pki"),
        scratch.path().display().to_string(),
        scratch.path().join("host"),
    );
    let (pki, archive) = (pki.display().to_string(), scratch.path().join("node-1.tar"));
    std::fs::create_dir(&host).expect("the root of a host");
    shoal(&["pki", "init", &pki]).await;
    let file = archive.display().to_string();
    let nobody = "127.0.0.1:9";
    let enrol = [
        "node",
        "enrol",
        "proxy-node",
        "node-1",
        "--address",
        "127.0.0.1",
        "--registry",
        nobody,
        "--pki",
        &pki,
        "--archive",
        &file,
    ];
    shoal(&enrol).await;
    let unpack = async |how: &str| {
        let unpacked = Command::new("tar")
            .args(["--no-same-owner", how, &file, "-C"])
            .arg(&host)
            .output()
            .await
            .expect("run tar");
        succeeded(&unpacked, "tar");
        std::fs::remove_file(&archive).expect("the archive goes");
    };
    unpack("-xkpf").await;
    let unit = unit::all()
        .into_iter()
        .find(|unit| unit.name == "shoal-proxy-node.service")
        .expect("a unit for nodes");
    let mut argv = unit.command_line(&host);
    argv[0] = testkit::lab::binary().display().to_string();
    let mut manager = Manager::new(host.join("notify"), argv, Vec::new());
    manager.environment = unit.environment(&host);
    for port in ["SHOAL_PROXY", "SHOAL_RELAY", "SHOAL_GRPC", "SHOAL_ADMIN"] {
        manager.environment.insert(port.to_owned(), "127.0.0.1:0".to_owned());
    }
    manager.start();
    manager.until("READY=1").await;
    manager
        .until("STATUS=not serving yet: waiting for the registry and the first configuration")
        .await;

    let said = shoal(&["pki", "renew", "node-1", "--dir", &pki, "--archives", &here]).await;
    assert!(said.contains("tar -xpf node-1.tar -C /"), "{said}");
    unpack("-xpf").await;
    wait::until("the process has taken the new certificate", || async {
        std::fs::read_to_string(host.join("notify.log"))
            .is_ok_and(|log| log.contains("certificate renewed"))
            .then_some(())
    })
    .await;
    manager.stop().await;
}
