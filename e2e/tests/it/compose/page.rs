//! The page as docs/deploy-docker.md has operators use it: a password by one command, https beside
//! http on one port, the cluster's own authority.

use std::process::Command;

use testkit::wait;

use super::{docker, project::Project};

const PASSWORD: &str = "correct horse";

/// curl with the authority and a jar for cookies.
struct Browser {
    directory: tempfile::TempDir,
    page: String,
}

impl Browser {
    fn new(project: &Project) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = project.compose(&["exec", "-T", "console", "cat", "/etc/shoal/ca.crt"]);
        std::fs::write(directory.path().join("ca.crt"), authority).expect("write the authority");
        Self {
            directory,
            page: format!("https://{}", project.compose(&["port", "console", "7000"])),
        }
    }

    fn curl(&self, arguments: &[&str]) -> String {
        let ours = [
            "--silent",
            "--show-error",
            "--cacert",
            "ca.crt",
            "--cookie",
            "jar",
            "--cookie-jar",
            "jar",
        ];
        docker::ok(
            Command::new("curl").current_dir(self.directory.path()).args(ours).args(arguments),
        )
    }

    fn get(&self, path: &str) -> String {
        self.curl(&[&format!("{}{path}", self.page)])
    }

    /// As the page's own script sends it.
    fn post(&self, path: &str, token: &str, body: &str) -> String {
        let (origin, token) = (format!("origin: {}", self.page), format!("x-shoal-token: {token}"));
        let fields = [
            "-H",
            &origin,
            "-H",
            "x-shoal-console: 1",
            "-H",
            "content-type: application/json",
            "-H",
            &token,
        ];
        self.curl(&[&fields[..], &["--data", body, &format!("{}{path}", self.page)]].concat())
    }
}

/// Logs in and drains a node, which the audit record tells under the person's name.
pub async fn an_operator_logs_in_and_drains_a_node(project: &Project) {
    let browser = Browser::new(project);
    let plain = browser.page.replacen("https", "http", 1);
    let led = browser.curl(&[
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code} %{redirect_url}",
        &format!("{plain}/login"),
    ]);
    assert_eq!(led, format!("307 {}/login", browser.page));

    let credentials = format!(r#"{{"name":"ann","password":"{PASSWORD}"}}"#);
    assert!(browser.get("/login").contains("Nobody has a password yet"));
    let passwd = format!("echo '{PASSWORD}' | /opt/shoal/shoal console passwd ann");
    project.compose(&["run", "--rm", "-T", "--entrypoint", "sh", "console", "-c", &passwd]);
    let said = browser.post("/login", "", &credentials);
    assert!(said.contains("Logged in as ann"), "{said}");

    let page = browser.get("/");
    let token = page
        .split("name=\"shoal-token\" content=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a token");
    let path = "/instances/proxy-node-2/admin-state";
    let said = browser.post(path, token, r#"{"state":"drain","reason":"a new disk"}"#);
    assert!(said.contains("proxy-node-2 drains"), "{said}");
    until_state(project, "draining").await;
    let audit = project.cli(&["audit"]);
    assert!(
        audit.lines().any(|line| line.contains("ann via console") && line.contains("a new disk")),
        "{audit}"
    );
    browser.post(path, token, r#"{"state":"ready"}"#);
    until_state(project, "usable").await;
}

async fn until_state(project: &Project, state: &str) {
    wait::until(format!("proxy-node-2 is {state}"), || async {
        let instances = project.instances();
        let node = instances.iter().find(|instance| instance["name"] == "proxy-node-2")?;
        (node["state"] == state).then_some(())
    })
    .await;
}
