//! The Debian package: built, looked at as lintian would, unpacked, installed below a root of its
//! own, run from there.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Output,
};

use tokio::process::Command;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

async fn output(command: &str, arguments: &[&str]) -> Output {
    Command::new(command)
        .args(arguments)
        .output()
        .await
        .unwrap_or_else(|error| panic!("{command}: {error}"))
}

async fn ok(command: &str, arguments: &[&str]) -> String {
    let output = output(command, arguments).await;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command} {arguments:?}: {}\n{printed}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    printed
}

/// Builds the package from the program under test; compression would take longer than everything
/// else.
async fn build(into: &Path) -> PathBuf {
    let mut command = Command::new(repository().join("deploy/debian/build"));
    command.arg("--binary").arg(testkit::lab::binary()).arg("--output").arg(into);
    let built = command
        .env("COMPRESSION", "none")
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .output()
        .await
        .expect("deploy/debian/build");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    PathBuf::from(String::from_utf8_lossy(&built.stdout).trim().to_owned())
}

/// Mode and owner of everything in the package, by path.
async fn listing(package: &Path) -> BTreeMap<String, (String, String)> {
    let printed = ok("dpkg-deb", &["-c", &package.display().to_string()]).await;
    let entry = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        (fields[5].trim_start_matches('.').to_owned(), (fields[0].to_owned(), fields[1].to_owned()))
    };
    printed.lines().map(entry).collect()
}

#[tokio::test]
async fn the_package_is_in_order_and_its_program_runs() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let package = build(scratch.path()).await;
    let name = package.file_name().expect("a name").to_string_lossy().into_owned();
    let architecture = ok("dpkg", &["--print-architecture"]).await;
    assert_eq!(name, format!("shoal_{}_{}.deb", env!("CARGO_PKG_VERSION"), architecture.trim()));

    let entries = listing(&package).await;
    for (path, (mode, owner)) in &entries {
        assert_eq!(owner, "root/root", "{path}");
        let expected = if mode.starts_with('d') || path == "/usr/bin/shoal" {
            "rwxr-xr-x"
        } else {
            "rw-r--r--"
        };
        assert_eq!(&mode[1..], expected, "{path}");
        let homes = ["/usr/", "/lib/", "/etc/"];
        assert!(
            path == "/"
                || homes.iter().any(|home| path.starts_with(home)) && !path.contains("/local/"),
            "{path}"
        );
    }
    for path in [
        "/usr/share/doc/shoal/copyright",
        "/usr/share/doc/shoal/changelog.gz",
        "/usr/share/man/man1/shoal.1.gz",
        "/usr/share/bash-completion/completions/shoal",
        "/usr/lib/sysusers.d/shoal.conf",
        "/usr/lib/tmpfiles.d/shoal.conf",
    ] {
        assert!(entries.contains_key(path), "no {path}");
    }
    for unit in fs::read_dir(repository().join("deploy/systemd")).expect("the units") {
        let path =
            format!("/lib/systemd/system/{}", unit.expect("a unit").file_name().to_string_lossy());
        assert!(entries.contains_key(&path), "no {path}");
    }

    let control = scratch.path().join("control");
    let root = scratch.path().join("root");
    let text = package.display().to_string();
    ok("dpkg-deb", &["-e", &text, &control.display().to_string()]).await;
    ok("dpkg-deb", &["-x", &text, &root.display().to_string()]).await;
    let settings = fs::read_to_string(control.join("conffiles")).expect("conffiles");
    let written: Vec<_> = entries
        .iter()
        .filter(|(path, (mode, _))| path.starts_with("/etc/") && mode.starts_with('-'))
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(
        settings.lines().collect::<Vec<_>>(),
        written,
        "every file below /etc is one that dpkg asks about"
    );
    for script in ["postinst", "prerm", "postrm"] {
        let script = control.join(script);
        assert_eq!(fs::metadata(&script).expect("a script").mode() & 0o777, 0o755);
        ok("sh", &["-n", &script.display().to_string()]).await;
        assert!(fs::read_to_string(&script).expect("a script").starts_with("#!/bin/sh\nset -e\n"));
    }
    let sums = Command::new("md5sum")
        .args(["--check", "--quiet"])
        .arg(control.join("md5sums"))
        .current_dir(&root)
        .output()
        .await;
    assert!(sums.expect("md5sum").status.success(), "the sums of the files");
    let version = ok(&root.join("usr/bin/shoal").display().to_string(), &["--version"]).await;
    assert_eq!(version.trim(), concat!("shoal ", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn the_same_input_makes_the_same_package() {
    let [first, second] = [tempfile::tempdir(), tempfile::tempdir()]
        .map(|place| place.expect("a temporary directory"));
    let packages = [build(first.path()).await, build(second.path()).await];
    let mut control = Vec::new();
    for package in &packages {
        control.push(ok("dpkg-deb", &["-f", &package.display().to_string()]).await);
    }
    assert_eq!(control[0], control[1], "the control files of two builds of one time");
    assert!(listing(&packages[0]).await == listing(&packages[1]).await, "their lists of files");
    let [first, second] = packages.map(|package| fs::read(package).expect("a package"));
    assert!(first == second, "two builds of one time differ in the contents of a file");
}

/// As dpkg installs it on a host, but for the root: the user is made, and the places for keys and
/// state are its own.
#[tokio::test]
async fn installed_and_purged() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let package = build(scratch.path()).await;
    let root = scratch.path().join("root");
    for directory in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"] {
        fs::create_dir_all(root.join(directory)).expect("a directory");
    }
    fs::write(root.join("var/lib/dpkg/status"), "").expect("an empty database");
    let at = format!("--root={}", root.display());
    let dpkg = |action: Vec<String>| {
        let arguments = [at.clone(), "--force-depends".into(), "--force-script-chrootless".into()]
            .into_iter()
            .chain(action);
        let command =
            if nix::unistd::geteuid().is_root() { vec!["dpkg"] } else { vec!["fakeroot", "dpkg"] };
        let all: Vec<String> =
            command.iter().skip(1).map(|word| (*word).to_owned()).chain(arguments).collect();
        let program = command[0].to_owned();
        async move { ok(&program, &all.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    dpkg(vec!["--install".into(), package.display().to_string()]).await;
    let users = fs::read_to_string(root.join("etc/passwd")).expect("users");
    let user =
        users.lines().find(|line| line.starts_with("shoal:")).expect("the user of the services");
    assert!(user.ends_with(":/var/lib/shoal:/usr/sbin/nologin"), "{user}");
    for place in ["etc/shoal", "var/lib/shoal"] {
        assert_eq!(fs::metadata(root.join(place)).expect(place).mode() & 0o777, 0o750, "{place}");
    }
    fs::write(root.join("etc/shoal/key"), "secret").expect("a file of the operator's");
    dpkg(vec!["--remove".into(), "shoal".into()]).await;
    assert!(
        root.join("etc/shoal/key").exists() && !root.join("usr/bin/shoal").exists(),
        "a removal keeps keys"
    );
    dpkg(vec!["--purge".into(), "shoal".into()]).await;
    assert!(
        !root.join("etc/shoal").exists() && !root.join("var/lib/shoal").exists(),
        "a purge leaves nothing secret"
    );
}

#[tokio::test]
async fn what_cannot_be_packaged_is_refused_in_one_sentence() {
    let build = repository().join("deploy/debian/build").display().to_string();
    for (arguments, said) in [
        (vec!["--binary", "/nowhere/shoal"], "/nowhere/shoal is no program"),
        (vec!["--output", "/nowhere"], "/nowhere is no directory"),
        (vec!["--binary"], "--binary takes a file"),
        (vec!["--force"], "unknown argument --force"),
    ] {
        let refused = output(&build, &arguments).await;
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            !refused.status.success() && text.contains(said) && text.lines().count() == 1,
            "{arguments:?}: {text}"
        );
    }
}
