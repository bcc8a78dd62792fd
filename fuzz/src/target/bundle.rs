//! Bundles from operators. What validation accepts, every service can render, read and build: a bad
//! configuration never reaches a node.

use std::{collections::BTreeMap, io};

use cluster::Service;
use cluster_config::{
    BackupDocument, Bundle, ChecksDocument, FileReference, ProxyDocument, bundle, render,
};

use crate::Target;

/// Begins the next file of a bundle in an input: this, a path, a line's end.
const NEXT_FILE: &[u8] = b"\n%% ";
/// No input has more files.
const MOST_FILES: usize = 8;

/// See the module.
pub const TARGET: Target = Target {
    name: "bundle",
    check,
    words: &[
        b"\n",
        b"\n  ",
        b"\n    - ",
        b": ",
        b"{",
        b"}",
        b"[",
        b"]",
        b", ",
        b"\"",
        b"'",
        b"&a ",
        b"*a",
        b"!!str ",
        b"|\n",
        b"---\n",
        b"#",
        b"<<: ",
        b"\t",
        b"null",
        b"~",
        b"true",
        b"1e9",
        b"0x10",
        b"-1",
        b"1000GiB",
        b"18446744073709551615s",
        b"0s",
        b"${node.name}",
        b"${node.listen.proxy}",
        b"${node.nothing}",
        b"${",
        b"version: 1\n",
        b"proxy:\n",
        b"balancer:\n",
        b"checks:\n",
        b"overrides:\n",
        b"  access:\n",
        b"  acls: ",
        b"  rules: ",
        b"allow: [all]",
        b"deny: [\"!a\"]",
        b"url_regex: ['(']",
        b"dstdomain_list: a",
        b"src: [0.0.0.0/0]",
        b"time: [\"MTWHF 09:00-18:00\"]",
        b"match: {name: proxy-node-1}",
        b"set: ",
        b"\n%% lists/a.txt\n",
        b"\n%% pages/a.html\n",
        b"{{url}}",
        b"a.example\n",
    ],
    executions: 3_000,
};

fn check(bytes: &[u8]) {
    let files = files(bytes);
    let (accepted, problems) = Bundle::from_files(&files);
    for problem in &problems {
        // To YAML a CR alone ends a line, too.
        let lines = files
            .get(&problem.place.file)
            .map(|content| content.split(|byte| matches!(byte, b'\n' | b'\r')).count() + 1);
        let placed = problem.place.line == u32::MAX
            || lines.is_none_or(|lines| problem.place.line as usize <= lines);
        assert!(placed && !problem.message.is_empty(), "{problem:?}");
    }
    let Some(accepted) = accepted else {
        assert!(problems.iter().any(cluster_config::Problem::is_error), "refused without a reason");
        return;
    };
    let main = files.get(bundle::MAIN).expect("an accepted bundle has its main file");
    let reopened = Bundle::reopen(main, accepted.files().cloned())
        .expect("what is stored can be opened again");
    for service in bundle::FOLLOWERS {
        let variables = bundle::sample(service);
        let rendered = render(&accepted, service, &variables)
            .unwrap_or_else(|problems| panic!("accepted, and then {service}: {problems:?}"));
        assert_eq!(
            render(&reopened, service, &variables).as_ref(),
            Ok(&rendered),
            "the same document after it was stored"
        );
        build(service, &rendered.document, &files);
    }
}

/// As the service does that gets the document.
fn build(service: Service, document: &[u8], files: &BTreeMap<String, Vec<u8>>) {
    match service {
        Service::ProxyNode => {
            let document =
                ProxyDocument::from_json(document).expect("a proxy-node can read its document");
            let read = |path: &str| {
                files.get(path).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
            };
            let built =
                proxy_node::config::Generation::from_document("1".to_owned(), document, read);
            assert!(built.is_ok(), "a proxy-node cannot build it: {:?}", built.err());
        }
        Service::Balancer => {
            let read = |file: &FileReference| {
                files.get(&file.path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
            };
            let built = balancer::config::Generation::build("1", document, read);
            assert!(built.is_ok(), "a balancer cannot build it: {:?}", built.err());
        }
        Service::HealthChecker => drop(
            ChecksDocument::from_json(document).expect("a health-checker can read its document"),
        ),
        Service::BackupService => drop(
            BackupDocument::from_json(document).expect("a backup-service can read its document"),
        ),
        Service::Registry | Service::ConfigService | Service::Console => {
            panic!("{service} takes no section")
        }
    }
}

fn files(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut path = bundle::MAIN.to_owned();
    let mut rest = bytes;
    while files.len() < MOST_FILES {
        let Some(end) = rest.windows(NEXT_FILE.len()).position(|window| window == NEXT_FILE) else {
            break;
        };
        files.insert(path, rest[..=end].to_vec());
        let after = &rest[end + NEXT_FILE.len()..];
        let line = after.iter().position(|byte| *byte == b'\n').unwrap_or(after.len());
        path = String::from_utf8_lossy(&after[..line]).into_owned();
        rest = after.get(line + 1..).unwrap_or_default();
    }
    files.insert(path, rest.to_vec());
    files
}
