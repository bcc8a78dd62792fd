//! Volumes that are empty, old, or another cluster's: one sentence each, nothing changed, and what
//! the sentence tells helps.

use testkit::wait;

use super::project::{PATIENCE, Project};

/// One sentence in the container's log that says what is wrong with what, and what to do.
async fn until_said(project: &Project, service: &str, parts: &[&str]) {
    wait::within(PATIENCE, format!("{service} says {parts:?}"), || async {
        let logs = project.logs(service);
        logs.lines()
            .any(|line| line.contains("error: ") && parts.iter().all(|part| line.contains(part)))
            .then_some(())
    })
    .await;
}

pub async fn each_is_one_sentence(project: &Project) {
    // Without its PKI.
    project.compose(&["up", "-d", "--no-deps", "registry"]);
    until_said(
        project,
        "registry",
        &["cannot read /etc/shoal/ca.crt", "shoal pki provision", "docker-compose up -d"],
    )
    .await;
    assert_eq!(project.in_volume("registry", "ls -A /volume"), "", "nothing was made");

    // Mended by the usual command.
    let up_mends = async || {
        project.compose(&["up", "-d", "registry"]);
        project.until_ready(&project.containers(&["registry"])).await;
    };
    up_mends().await;

    // A certificate that is missing, and one that has expired.
    project.in_volume("registry-pki", "rm /volume/tls.crt");
    project.compose(&["restart", "registry"]);
    until_said(project, "registry", &["cannot read /etc/shoal/tls.crt", "docker-compose up -d"])
        .await;
    project.compose(&[
        "run",
        "--rm",
        "init",
        "pki",
        "provision",
        "--validity=1s",
        "--dir=/pki/authority/pki",
        "/pki/registry",
    ]);
    project.compose(&["restart", "registry"]);
    until_said(
        project,
        "registry",
        &["/etc/shoal/tls.crt expired at", "shoal pki issue", "docker-compose up -d"],
    )
    .await;
    up_mends().await;

    // Certificates whose authority is gone.
    let state = || {
        project.in_volume(
            "registry",
            "cd /volume && find . -type f -name '*.json' -exec sha256sum {} + | sort",
        )
    };
    let papers = || project.in_volume("registry-pki", "cd /volume && sha256sum *");
    project.compose(&["rm", "--stop", "--force", "registry", "init"]);
    let before = (state(), papers());
    assert!(before.0.contains("shoal.json"), "there is something to change: {}", before.0);
    project.remove_volume("authority");
    let refused = project.try_compose(&["up", "-d", "registry"]);
    assert!(!refused.status.success());
    until_said(
        project,
        "init",
        &["/pki/registry belongs to a cluster whose authority is not in", "docker-compose down -v"],
    )
    .await;
    assert_eq!((state(), papers()), before, "nothing was changed");

    // State of another cluster than the certificates: their volumes are new, its own is not.
    project.compose(&["rm", "--stop", "--force", "registry", "init"]);
    project
        .volumes()
        .iter()
        .filter(|volume| *volume == "authority" || volume.ends_with("-pki"))
        .for_each(|volume| project.remove_volume(volume));
    project.compose(&["up", "-d", "registry"]);
    until_said(
        project,
        "registry",
        &["/var/lib/shoal/registry belongs to another cluster", "--data-dir"],
    )
    .await;
    assert_eq!(state(), before.0, "nothing was changed");
}
