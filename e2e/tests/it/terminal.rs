//! What people see on a terminal of 80 columns: no line of any command is longer, whatever things
//! are called, and no word is broken; and what their shells complete.

use std::process::Stdio;

use testkit::{
    client,
    lab::{Lab, Options, binary},
    origin::Origin,
    wait,
};

const WIDTH: usize = 80;

/// Runs a command as on a terminal of that width.
async fn shown(lab: &Lab, arguments: &[&str]) -> String {
    let mut command = tokio::process::Command::new(binary());
    command
        .args(arguments)
        .env("SHOAL_CONTEXT", lab.data_dir())
        .env("COLUMNS", WIDTH.to_string())
        .stdin(Stdio::null());
    let output = tokio::time::timeout(wait::PATIENCE, command.output())
        .await
        .expect("an answer in time")
        .expect("shoal");
    let (text, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!text.trim().is_empty(), "{arguments:?} shows nothing: {errors}");
    assert!(!text.contains('\u{1b}'), "nobody asked for colours: {text:?}");
    format!("{text}{errors}")
}

/// The lines that are too long. One word alone has its line, however long it is.
fn too_long(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.chars().count() > WIDTH && line.trim().contains(' ')).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_fits_and_no_word_is_broken() {
    const FRONTEND: &str = "proxy-frontend-of-the-whole-company-in-frankfurt-and-in-london";
    const CHECK: &str = "through-proxy-as-every-client-of-the-company-in-frankfurt-does";
    let long = "much has to be said about this, and so what is said is longer than a line of a \
        terminal that nobody has made wider";
    let lab = Lab::start(Options::default()).await;
    let origin = Origin::start().await;
    let bundle = lab.data_dir().join("bundle");
    let path = bundle.join("cluster.yaml");
    let text = std::fs::read_to_string(&path).expect("the bundle");
    let text = text
        .replace("proxy_frontend", FRONTEND)
        .replace("squid_servers", "squid-servers-of-the-whole-company-in-frankfurt");
    std::fs::write(&path, text.replace("name: through-proxy", &format!("name: {CHECK}")))
        .expect("written");
    let bundle = bundle.display().to_string();
    let url = origin.url(&format!("/bytes/10?{}", "a=b&".repeat(60)));

    let mut found = Vec::new();
    let dry = shown(&lab, &["config", "apply", "--dry-run", &bundle]).await;
    assert!(dry.contains("Nothing was changed."), "{dry}");
    for arguments in [
        vec!["config", "apply", &bundle, "-m", long],
        vec!["node", "drain", "proxy-node-2", "--reason", long],
        vec!["backup", "create"],
        vec!["backup", "verify", "latest"],
        vec!["backup", "restore", "latest", "--dry-run"],
    ] {
        let text = shown(&lab, &arguments).await;
        found.extend(too_long(&text).into_iter().map(|line| format!("{arguments:?}: {line}")));
    }
    for _ in 0..3 {
        client::once(lab.frontend(), "GET", &url, &[], b"").await.expect("an answer");
    }
    wait::until("the requests are told", || async {
        lab.ok(&["logs"]).await.contains("a=b&").then_some(())
    })
    .await;
    for arguments in [
        vec!["status"],
        vec!["node", "list"],
        vec!["explain", &url],
        vec!["explain", "http://example.com/", "--client", "10.0.0.1"],
        vec!["config", "validate", &bundle],
        vec!["config", "history"],
        vec!["config", "show"],
        vec!["config", "drift"],
        vec!["config", "rollout", "status"],
        vec!["cache", "stats"],
        vec!["cache", "lookup", &url],
        vec!["check", "list"],
        vec!["check", "run", CHECK],
        vec!["backup", "list"],
        vec!["top", "--once"],
        vec!["doctor"],
        vec!["logs"],
        vec!["logs", "--status", "2xx", "--since", "1h"],
        vec!["logs", "--domain", "never.example"],
        vec!["logs", "--top", "url"],
        vec!["logs", "--top", "domain"],
        vec!["audit"],
    ] {
        let text = shown(&lab, &arguments).await;
        found.extend(too_long(&text).into_iter().map(|line| format!("{arguments:?}: {line}")));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    // Who wants everything gets it, and so does another program.
    let wide = shown(&lab, &["logs", "-o", "wide"]).await;
    assert!(wide.contains(&url), "{wide}");
    assert!(lab.ok(&["logs"]).await.contains(&url));
}

/// What a shell offers for this line, asked as its own completion asks; none: there is no such
/// shell here.
async fn offered(lab: &Lab, shell: &str, line: &str) -> Option<Vec<String>> {
    let here = binary().parent().expect("a directory").to_owned();
    let path = std::env::join_paths(
        std::iter::once(here).chain(std::env::split_paths(&std::env::var_os("PATH")?)),
    )
    .expect("a path");
    let script = match shell {
        "bash" => {
            r#"source <(shoal completions bash); read -ra COMP_WORDS <<< "$LINE"
               [[ $LINE == *' ' ]] && COMP_WORDS+=(''); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
               _shoal_with_names shoal "${COMP_WORDS[COMP_CWORD]}" \
                   "${COMP_WORDS[COMP_CWORD - 1]}"
               printf '%s\n' "${COMPREPLY[@]}""#
        }
        _ => r#"shoal completions fish | source; complete -C "$LINE" | string split -f 1 \t"#,
    };
    let arguments: &[&str] =
        if shell == "bash" { &["--norc", "-c", script] } else { &["--no-config", "-c", script] };
    let mut command = tokio::process::Command::new(shell);
    command
        .args(arguments)
        .env("PATH", path)
        .env("LINE", line)
        .env("SHOAL_CONTEXT", lab.data_dir())
        .stdin(Stdio::null());
    let output = match tokio::time::timeout(wait::PATIENCE, command.output())
        .await
        .expect("an answer in time")
    {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => panic!("{shell}: {error}"),
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.trim().is_empty(), "{shell}, {line}: {errors}");
    Some(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shells_complete_the_names_of_a_running_cluster() {
    let lab = Lab::start(Options::default()).await;
    lab.ok(&["status"]).await;
    for shell in ["bash", "fish"] {
        for (line, wanted, unwanted) in [
            ("shoal node drain ", "proxy-node-2", "Cargo.toml"),
            ("shoal node drain proxy-node-3", "proxy-node-3", "proxy-node-2"),
            ("shoal logs --node ", "balancer-1", "registry-1"),
            ("shoal cache stats --node ", "proxy-node-1", "balancer-1"),
            ("shoal config show ", "released", "proxy-node-1"),
            ("shoal check run ", "through-tunnel", "proxy-node-1"),
            ("shoal backup restore ", "latest", "proxy-node-1"),
            ("shoal nod", "node", "logs"),
        ] {
            let Some(offered) = offered(&lab, shell, line).await else {
                assert_ne!(shell, "bash", "every machine has one");
                eprintln!("no {shell} here");
                break;
            };
            assert!(offered.iter().any(|it| it == wanted), "{shell}, {line:?}: {offered:?}");
            assert!(!offered.iter().any(|it| it == unwanted), "{shell}, {line:?}: {offered:?}");
        }
    }
}
