//! What an operator changes while clients are served: the number of nodes, the file, all nodes and
//! balancers.

use testkit::{load::Kind, origin::Origin, wait};

use super::{NODES, docker::repository, everybody, load, project::Project};

pub async fn two_nodes_join(project: &Project, origin: &Origin) {
    project.compose(&["up", "-d", "--scale", "proxy-node=5"]);
    project.until_usable(&everybody(&[NODES, &["proxy-node-4", "proxy-node-5"]].concat())).await;
    let served = || {
        (1..=5)
            .map(|number| origin.requests_via(&format!("proxy-node-{number}")))
            .collect::<Vec<_>>()
    };
    let before = served();
    wait::until("all five get traffic", || async {
        served().iter().zip(&before).all(|(now, before)| now > before).then_some(())
    })
    .await;
}

/// A second `up` after a change: what changed is made again, the scale is the file's, and nothing
/// is issued or committed anew.
pub async fn the_file_changes(project: &Project) {
    let papers = || {
        project.in_volumes(
            &["registry-pki", "proxy-node-pki", "balancer-1-pki", "operator-pki"],
            "sha256sum /volumes/*/*",
        )
    };
    let (before, kept, made) = (
        papers(),
        project.containers(&["registry", "balancer-1"]),
        project.containers(&["health-checker-2"]),
    );
    project.edit(
        "  command: [serve, health-checker]",
        "  command: [serve, health-checker]\n  labels: {changed: \"yes\"}",
    );
    project.compose(&["up", "-d"]);
    project
        .until_ready(&project.containers(&[
            "health-checker-1",
            "health-checker-2",
            "health-checker-3",
        ]))
        .await;
    project.until_usable(&everybody(NODES)).await;
    assert_eq!(papers(), before, "certificates stay");
    assert_eq!(project.containers(&["registry", "balancer-1"]), kept, "what did not change stays");
    assert_ne!(project.containers(&["health-checker-2"]), made, "what changed is made again");
    let history: serde_json::Value =
        serde_json::from_slice(&project.ask(&["config", "history", "-o", "json"]).stdout)
            .expect("JSON");
    assert_eq!(
        history["revisions"].as_array().map(Vec::len),
        Some(1),
        "one revision, the first: {history}"
    );
}

/// Nodes and balancers of another definition, by the lines of docs/deploy-docker.md as somebody
/// pastes them.
pub async fn the_data_plane_is_replaced(project: &Project, origin: &Origin) {
    let page = std::fs::read_to_string(repository().join("docs/deploy-docker.md"))
        .expect("docs/deploy-docker.md");
    let lines = page
        .split("## A change without an interruption")
        .nth(1)
        .and_then(|rest| rest.split("```sh\n").nth(1));
    let lines = lines
        .and_then(|rest| rest.split("```").next())
        .expect("the lines in docs/deploy-docker.md");
    project.edit(
        "  command: [serve, balancer]",
        "  command: [serve, balancer]\n  labels: {changed: \"yes\"}",
    );
    project.edit(
        "    command: [serve, proxy-node, --numbered]",
        "    command: [serve, proxy-node, --numbered]\n    labels: {changed: \"yes\"}",
    );
    let replaced = || project.containers(&["proxy-node", "balancer-1", "balancer-2"]);
    let before = replaced();
    let (nodes, balancers) = lines.rsplit_once("\n\n").expect("the balancers' lines come last");
    // What is under way on a node that stops, and must not be sent again: a drain waits for it.
    let posts = load(Kind::Post, "/delay/1000", 8, project, origin);
    posts.reach(4).await;
    project.type_in(nodes);
    let outcome = posts.enough().await;
    assert_eq!(outcome.failed, 0, "POSTs under way: {:#?}", outcome.failures);
    project.type_in(balancers);
    let after = replaced();
    assert_eq!(after.len(), before.len(), "as many as before");
    assert!(
        after.iter().all(|container| !before.contains(container)),
        "all of them are made again"
    );
    project.until_usable(&everybody(&["proxy-node-4", "proxy-node-5", "proxy-node-6"])).await;
    project.compose(&["up", "-d"]);
    assert_eq!(replaced(), after, "nothing is left to do");
}
