//! The Kubernetes manifests: they build, every field is one that Kubernetes has, everything refers
//! to something that is there, and the processes that they start, started here, are a cluster.

mod local;
mod manifests;
mod network;

use std::collections::{BTreeMap, BTreeSet};

use manifests::{Manifests, build, labels, list, name, selects, text};
use serde_json::Value;
use testkit::{client, origin::Origin, wait};
use tokio::process::Command;

use crate::systemd::unit;

/// What may be applied by itself. `pki` needs certificates beside it: see
/// `the_secrets_are_those_that_are_asked_for`.
const DIRECTORIES: [&str; 6] =
    ["base", "overlays/small", "overlays/large", "monitoring", "operator", "pki/job"];
/// Those with a whole cluster.
const CLUSTERS: [&str; 3] = ["base", "overlays/small", "overlays/large"];

#[tokio::test]
async fn every_directory_builds_and_kubernetes_knows_every_field() {
    for place in DIRECTORIES {
        let manifests = build(place).await;
        assert_eq!(manifests.problems, Vec::<String>::new(), "{place}");
        assert!(
            manifests.untyped.iter().all(|kind| kind == "ServiceMonitor"),
            "{place}: {:?}",
            manifests.untyped
        );
        for document in &manifests.documents {
            assert!(
                document["kind"] == "Namespace" || document["metadata"]["namespace"] == "shoal",
                "{place}: {}",
                name(document)
            );
            let has = labels(&document["metadata"]["labels"]);
            assert!(
                has.contains_key("app.kubernetes.io/name")
                    && has.contains_key("app.kubernetes.io/part-of"),
                "{place}: {}",
                name(document)
            );
        }
    }
}

#[tokio::test]
async fn the_check_refuses_an_unknown_field_and_a_wrong_type() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let file = scratch.path().join("wrong.yaml");
    let document = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: x}\nspec:\n\
        \x20 selector: {matchLabels: {a: b}}\n";
    for (wrong, expected) in [
        ("", None),
        ("  maxUnavailible: 1\n", Some("maxUnavailible")),
        ("  maxUnavailable: {}\n", Some("{}")),
    ] {
        std::fs::write(&file, format!("{document}{wrong}")).expect("a manifest");
        let problems = manifests::check(&file).await.problems;
        assert_eq!(
            problems
                .first()
                .map(|problem| expected.is_some_and(|expected| problem.contains(expected))),
            expected.map(|_| true),
            "{problems:?}"
        );
    }
}

#[tokio::test]
async fn everything_points_to_something_that_is_there() {
    let secrets = build("pki/job")
        .await
        .documents
        .into_iter()
        .find(|document| document["kind"] == "Role")
        .expect("a role");
    let secrets: Vec<Value> = list(&secrets["rules"][1]["resourceNames"]).to_vec();
    for place in CLUSTERS {
        let manifests = build(place).await;
        let pods = manifests.templates();
        let chosen =
            |selector: &Value| pods.iter().filter(|pod| selects(selector, &pod.labels)).count();
        for kind in ["Deployment", "StatefulSet"] {
            for workload in manifests.kind(kind) {
                assert_eq!(
                    chosen(&workload["spec"]["selector"]),
                    1,
                    "{} chooses its own pods, and no others",
                    name(workload)
                );
                let governing = workload["spec"].get("serviceName").map_or("none", text);
                assert!(
                    kind == "Deployment" || manifests.has("Service", governing),
                    "{}",
                    name(workload)
                );
            }
        }
        for kind in ["PodDisruptionBudget", "Service"] {
            for document in manifests.kind(kind) {
                assert_eq!(chosen(&document["spec"]["selector"]), 1, "{}", name(document));
            }
        }
        for scaler in manifests.kind("HorizontalPodAutoscaler") {
            let target = &scaler["spec"]["scaleTargetRef"];
            let scaled = manifests
                .kind(text(&target["kind"]))
                .find(|document| document["metadata"]["name"] == target["name"]);
            let scaled = scaled.unwrap_or_else(|| panic!("{} scales nothing", name(scaler)));
            assert!(
                scaled["spec"].get("replicas").is_none(),
                "{} and its autoscaler would fight over the number",
                name(scaled)
            );
            assert!(
                scaler["spec"]["minReplicas"].as_u64() >= Some(2)
                    && scaler["spec"]["minReplicas"].as_u64()
                        < scaler["spec"]["maxReplicas"].as_u64()
            );
            assert!(manifests.has("PodDisruptionBudget", text(&target["name"])));
        }
        for service in manifests.kind("Service") {
            let pod = pods
                .iter()
                .find(|pod| selects(&service["spec"]["selector"], &pod.labels))
                .expect("a pod");
            for port in list(&service["spec"]["ports"]) {
                let number = pod.ports().get(text(&port["targetPort"])).copied();
                assert_eq!(number, port["port"].as_u64(), "{} {}", name(service), port["name"]);
            }
        }
        for pod in &pods {
            refers_well(&manifests, pod, &secrets);
        }
        for policy in manifests.kind("NetworkPolicy") {
            assert!(chosen(&policy["spec"]["podSelector"]) > 0, "{} is for nobody", name(policy));
        }
    }
}

/// A pod's mounts are its volumes, which exist; and its account does.
fn refers_well(manifests: &Manifests, pod: &manifests::Template<'_>, secrets: &[Value]) {
    let mut volumes: BTreeSet<&str> =
        list(&pod.spec["volumes"]).iter().map(|volume| text(&volume["name"])).collect();
    let claims = manifests
        .documents
        .iter()
        .filter(|document| name(document) == pod.owner)
        .flat_map(|owner| list(&owner["spec"]["volumeClaimTemplates"]));
    volumes.extend(claims.map(|claim| text(&claim["metadata"]["name"])));
    for mount in pod.containers().flat_map(|container| list(&container["volumeMounts"])) {
        assert!(volumes.contains(text(&mount["name"])), "{} mounts {mount}", pod.owner);
    }
    for volume in list(&pod.spec["volumes"]) {
        if let Some(secret) = volume["secret"].get("secretName") {
            let optional = volume["secret"]["optional"] == true;
            assert!(
                secrets.contains(secret) || optional,
                "{} needs {secret}, which nobody makes",
                pod.owner
            );
        }
        if let Some(map) = volume["configMap"].get("name") {
            let map = manifests
                .kind("ConfigMap")
                .find(|document| document["metadata"]["name"] == *map)
                .unwrap_or_else(|| panic!("{} needs {map}", pod.owner));
            for item in list(&volume["configMap"]["items"]) {
                assert!(map["data"].get(text(&item["key"])).is_some(), "{item}");
            }
        }
    }
    assert!(manifests.has("ServiceAccount", text(&pod.spec["serviceAccountName"])));
}

#[tokio::test]
async fn every_container_is_confined_and_measured() {
    for place in DIRECTORIES {
        let manifests = build(place).await;
        for pod in manifests.templates() {
            let owner = &pod.owner;
            let context = &pod.spec["securityContext"];
            assert_eq!(context["runAsNonRoot"], true, "{owner}");
            assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault", "{owner}");
            assert!(
                pod.spec["automountServiceAccountToken"] == false || pod.component == "pki",
                "{owner}"
            );
            for container in pod.containers() {
                let context = &container["securityContext"];
                assert_eq!(
                    context["readOnlyRootFilesystem"], true,
                    "{owner}: {}",
                    container["name"]
                );
                assert_eq!(
                    context["allowPrivilegeEscalation"], false,
                    "{owner}: {}",
                    container["name"]
                );
                assert_eq!(
                    context["capabilities"],
                    serde_json::json!({"drop": ["ALL"]}),
                    "{owner}: {}",
                    container["name"]
                );
                for (kind, what) in
                    [("requests", "cpu"), ("requests", "memory"), ("limits", "memory")]
                {
                    assert!(
                        container["resources"][kind].get(what).is_some(),
                        "{owner}: {} has no {kind} of {what}",
                        container["name"]
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn one_image_with_a_version_is_everywhere() {
    let mut seen = BTreeSet::new();
    for place in ["overlays/small", "overlays/large", "operator", "pki/job"] {
        let manifests = build(place).await;
        for container in manifests.templates().iter().flat_map(manifests::Template::containers) {
            let image = text(&container["image"]);
            let tag = image.rsplit_once(':').map(|(_, tag)| tag);
            assert!(tag.is_some_and(|tag| tag != "latest" && !tag.is_empty()), "{place}: {image}");
            seen.insert(image.to_owned());
        }
    }
    seen.retain(|image| !image.starts_with("registry.k8s.io/kubectl:"));
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(
        seen.iter().all(|image| image.ends_with(concat!(":", env!("CARGO_PKG_VERSION")))),
        "{seen:?}"
    );
}

/// The container of a component that runs `shoal serve`.
fn serving<'a>(pod: &manifests::Template<'a>) -> Option<&'a Value> {
    pod.containers()
        .find(|container| list(&container["args"]).first().is_some_and(|first| first == "serve"))
}

#[tokio::test]
async fn probes_and_the_end_of_a_pod() {
    for place in CLUSTERS {
        let manifests = build(place).await;
        for pod in manifests.templates() {
            let container = serving(&pod).unwrap_or_else(|| panic!("{} serves nothing", pod.owner));
            for (probe, path) in [
                ("startupProbe", "/livez"),
                ("livenessProbe", "/livez"),
                ("readinessProbe", "/readyz"),
            ] {
                assert_eq!(container[probe]["httpGet"]["path"], path, "{}", pod.owner);
                assert!(
                    pod.ports().contains_key(text(&container[probe]["httpGet"]["port"])),
                    "{} {probe}",
                    pod.owner
                );
            }
            let argument = |flag: &str| {
                let found = list(&container["args"])
                    .iter()
                    .find_map(|argument| text(argument).strip_prefix(flag)?.strip_prefix('='));
                unit::seconds(found.unwrap_or_else(|| panic!("{} does not say {flag}", pod.owner)))
            };
            let before =
                container["lifecycle"]["preStop"]["sleep"]["seconds"].as_f64().unwrap_or(0.0);
            // Deregistration and the closing of connections take at most 2 s and 1.5 s beside what
            // the flags say.
            let drain =
                before + 2.0 + argument("--drain-propagation") + argument("--drain-timeout") + 1.5;
            let grace = pod.spec["terminationGracePeriodSeconds"].as_f64().expect("a grace period");
            assert!(
                grace > drain,
                "{} is killed after {grace} s, before it has drained ({drain} s)",
                pod.owner
            );
            let unready = f64::from(
                u32::try_from(
                    container["readinessProbe"]["periodSeconds"].as_u64().expect("a period"),
                )
                .expect("seconds"),
            );
            let data_plane = matches!(pod.component, "proxy-node" | "balancer");
            // In this order: taken out of the endpoints while it serves as ever, then the drain,
            // which still accepts.
            assert!(
                !data_plane || (before >= unready && argument("--drain-propagation") >= unready),
                "{}",
                pod.owner
            );
        }
    }
}

#[tokio::test]
async fn the_arguments_are_those_of_the_program() {
    let binary = testkit::lab::binary();
    for place in ["overlays/small", "overlays/large", "pki/job"] {
        let manifests = build(place).await;
        for pod in manifests.templates() {
            for container in pod.containers().filter(|container| {
                text(&container["image"]).contains("/shoal:") && container.get("command").is_none()
            }) {
                let arguments: Vec<_> = list(&container["args"])
                    .iter()
                    .map(|argument| local::expand(text(argument), "pod-1"))
                    .collect();
                // The flags are read before anything else is done; --help ends it there.
                let output = Command::new(&binary)
                    .args(&arguments)
                    .arg("--help")
                    .output()
                    .await
                    .expect("run shoal");
                assert!(
                    output.status.success(),
                    "{}: {arguments:?}: {}",
                    pod.owner,
                    String::from_utf8_lossy(&output.stderr)
                );
                let ports = pod.ports();
                assert!(
                    list(&container["ports"]).iter().all(|port| ports[text(&port["name"])]
                        == local::default_port(pod.component, text(&port["name"]))),
                    "{}",
                    pod.owner
                );
            }
        }
    }
}

#[tokio::test]
async fn the_network_lets_through_what_is_needed_and_nothing_else() {
    let (cluster, operator, pki) =
        (build("base").await, build("operator").await, build("pki/job").await);
    let mut expected: BTreeSet<String> = BTreeSet::new();
    let mut allow =
        |from: &[&str], to: &str| expected.extend(from.iter().map(|from| format!("{from} → {to}")));
    let services =
        ["config-service", "health-checker", "proxy-node", "balancer", "backup-service", "console"];
    allow(&[&services[..], &["operator"]].concat(), "registry:grpc");
    allow(
        &["health-checker", "proxy-node", "balancer", "backup-service", "console", "operator"],
        "config-service:grpc",
    );
    for service in ["health-checker", "proxy-node", "balancer", "backup-service"] {
        allow(&["console", "operator"], &format!("{service}:grpc"));
    }
    for service in services.iter().chain(&["registry"]) {
        allow(&["monitoring", "operator"], &format!("{service}:admin"));
    }
    allow(&["balancer"], "proxy-node:relay");
    allow(&["health-checker"], "proxy-node:proxy");
    allow(&["proxy-node"], "health-checker:target");
    allow(&["outside", "monitoring", "operator"], "balancer:frontend");
    for port in [53, 80, 443, 6443] {
        allow(&["proxy-node"], &format!("outside:{port}"));
    }
    // The Kubernetes API may be anywhere; nothing else of ours may talk to it.
    allow(&["pki"], "outside:443");
    allow(&["pki"], "outside:6443");
    let found: BTreeSet<String> =
        network::allowed(&[&cluster, &operator, &pki]).into_iter().collect();
    let missing: Vec<_> = expected.difference(&found).collect();
    let surplus: Vec<_> = found.difference(&expected).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "not let through: {missing:#?}\nlet through: {surplus:#?}"
    );
}

#[tokio::test]
async fn every_pod_is_scraped_once() {
    let manifests = build("overlays/large").await;
    let monitor = manifests.kind("ServiceMonitor").next().expect("a ServiceMonitor");
    // Its type is not one of Kubernetes' own: these are all the fields that it has here.
    let fields: Vec<_> =
        monitor["spec"].as_object().expect("a specification").keys().map(String::as_str).collect();
    assert_eq!(fields, ["endpoints", "jobLabel", "selector"]);
    let mut scraped: BTreeMap<&str, u32> =
        manifests.templates().iter().map(|pod| (pod.component, 0)).collect();
    for endpoint in list(&monitor["spec"]["endpoints"]) {
        assert_eq!(
            endpoint.as_object().expect("an endpoint").keys().collect::<Vec<_>>(),
            ["interval", "path", "port", "scrapeTimeout"]
        );
        for service in manifests.kind("Service").filter(|service| {
            selects(&monitor["spec"]["selector"], &labels(&service["metadata"]["labels"]))
        }) {
            let ports = list(&service["spec"]["ports"])
                .iter()
                .filter(|port| port["name"] == endpoint["port"])
                .count();
            let component = text(&service["spec"]["selector"]["app.kubernetes.io/component"]);
            *scraped.get_mut(component).expect("a component") += u32::try_from(ports).expect("few");
        }
    }
    assert!(scraped.values().all(|times| *times == 1), "{scraped:?}");
}

#[tokio::test]
async fn large_is_larger() {
    let (small, large) = (build("overlays/small").await, build("overlays/large").await);
    for component in ["proxy-node", "balancer"] {
        let replicas = |manifests: &Manifests| {
            let scaler = manifests
                .kind("HorizontalPodAutoscaler")
                .find(|scaler| scaler["metadata"]["name"] == component)
                .expect("an autoscaler");
            (scaler["spec"]["minReplicas"].as_u64(), scaler["spec"]["maxReplicas"].as_u64())
        };
        assert!(replicas(&large).0 > replicas(&small).0 && replicas(&large).1 > replicas(&small).1);
        let apart = &large.template(component).spec["affinity"]["podAntiAffinity"];
        let alone = &apart["requiredDuringSchedulingIgnoredDuringExecution"][0];
        assert!(
            alone["topologyKey"] == "kubernetes.io/hostname"
                && selects(&alone["labelSelector"], &large.template(component).labels),
            "{component}"
        );
    }
}

/// What the directory `pki` makes of what `shoal pki provision` wrote, as its comment says, is what
/// the pods mount.
#[tokio::test]
async fn the_secrets_are_those_that_are_asked_for() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    local::provision(scratch.path()).await;
    for file in ["pki/kustomization.yaml", "pki/job/secrets.yaml"] {
        std::fs::copy(manifests::directory().join(file), scratch.path().join("kustomization.yaml"))
            .expect("a kustomization");
        let secrets = manifests::build_at(scratch.path()).await;
        assert_eq!(secrets.problems, Vec::<String>::new(), "{file}");
        for place in ["base", "operator"] {
            for pod in build(place).await.templates() {
                let secret = secrets.kind("Secret").find(|secret| {
                    secret["metadata"]["name"] == format!("shoal-{}", pod.component)
                });
                let secret =
                    secret.unwrap_or_else(|| panic!("{file}: no Secret for {}", pod.component));
                let keys: BTreeSet<_> = secret["data"]
                    .as_object()
                    .expect("data")
                    .keys()
                    .map(|key| format!("/etc/shoal/pki/{key}"))
                    .collect();
                let settings = list(&pod.spec["containers"][0]["env"])
                    .iter()
                    .filter_map(|variable| variable["value"].as_str());
                let asked = pod
                    .containers()
                    .flat_map(|container| list(&container["args"]))
                    .filter_map(|argument| text(argument).split_once('='))
                    .map(|(_, value)| value);
                let asked: BTreeSet<_> = asked
                    .chain(settings)
                    .filter(|value| value.starts_with("/etc/shoal/pki/"))
                    .map(str::to_owned)
                    .collect();
                assert_eq!(asked, keys, "{file}: {}", pod.owner);
            }
        }
    }
}

/// The processes of the overlay `small` with the names, certificates and files that Kubernetes
/// would give them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_processes_of_the_manifests_are_a_cluster() {
    let manifests = build("overlays/small").await;
    let origin = Origin::start().await;
    let cluster = local::Cluster::start(&manifests).await;
    let url = origin.url("/bytes/100");
    let answer = wait::until("a request goes through", || async {
        let answer = client::once(cluster.frontend, "GET", &url, &[], b"").await.ok()?;
        (answer.status() == 200).then_some(answer)
    })
    .await;
    assert_eq!(answer.body.len(), 100);
    let names = [
        "registry-0",
        "config-service-0",
        "health-checker-7d4b9c6f5d-a",
        "proxy-node-7d4b9c6f5d-a",
        "proxy-node-7d4b9c6f5d-b",
        "balancer-7d4b9c6f5d-a",
    ];
    wait::until("everybody is usable", || async {
        let listed = cluster.status().await?;
        let usable = |name: &&str| {
            list(&listed["instances"])
                .iter()
                .any(|instance| instance["name"] == **name && instance["state"] == "usable")
        };
        names.iter().all(usable).then_some(())
    })
    .await;
    cluster.stop().await;
}
