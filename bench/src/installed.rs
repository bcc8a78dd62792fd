//! What has to be there before anything is measured: the peers' programs, and `shoal` itself, of
//! the same profile and the same sources.

use std::{collections::BTreeSet, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};

use crate::trial::{Trial, all};

/// The programs of peers that these trials would like and that are not there. An error when one of
/// them is required, or is nobody's.
pub fn missing(
    trials: &[&Trial],
    required: &[String],
    installed: impl Fn(&str) -> bool,
) -> Result<BTreeSet<&'static str>> {
    let programs = |trials: &[&'static Trial]| {
        trials.iter().flat_map(|trial| trial.who).flat_map(|who| who.programs()).copied().collect()
    };
    let known: BTreeSet<&str> = programs(&all().collect::<Vec<_>>());
    for name in required {
        ensure!(
            known.contains(name.as_str()),
            "--require {name}: nobody to compare with; known are {}",
            list(&known)
        );
        ensure!(installed(name), "{name} is required and not installed: apt-get install {name}");
    }
    let wanted = trials.iter().flat_map(|trial| trial.who).flat_map(|who| who.programs()).copied();
    Ok(wanted.filter(|program| !installed(program)).collect())
}

fn list(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}

/// Builds `shoal` with the profile of this program, beside it. Cargo itself finds out whether
/// anything has to be done.
pub fn build_shoal() -> Result<()> {
    let me = std::env::current_exe()?;
    let directory = me.parent().context("a program without a directory")?;
    // Of the profile `dev`, which nobody should measure, the directory is called otherwise.
    let profile = directory
        .file_name()
        .and_then(|name| name.to_str())
        .map(|name| if name == "debug" { "dev" } else { name });
    let target = directory.parent().context("a program without a target directory")?;
    let profile = profile.context("a profile's directory without a name")?;
    let Some(cargo) = std::env::var_os("CARGO") else {
        return beside(directory, profile);
    };
    eprintln!(
        "building shoal with the profile {profile}, which takes minutes when its sources have \
         changed"
    );
    let mut command = Command::new(cargo);
    command.args(["build", "--profile", profile, "-p", "cli", "--target-dir"]).arg(target);
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a crate without a workspace")?;
    let status = command.current_dir(root).status().context("run cargo")?;
    ensure!(status.success(), "shoal cannot be built");
    Ok(())
}

/// Takes what is beside this program.
pub fn take_shoal() -> Result<()> {
    let me = std::env::current_exe()?;
    let directory = me.parent().context("a program without a directory")?;
    beside(directory, directory.file_name().and_then(|name| name.to_str()).unwrap_or("dist"))
}

fn beside(directory: &Path, profile: &str) -> Result<()> {
    if !directory.join("shoal").is_file() {
        bail!(
            "there is no shoal in {}: build it with `cargo build --profile {profile} -p cli`",
            directory.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::find;

    #[test]
    fn what_is_required_and_not_installed_is_named_with_its_package() {
        let trials = [find("hit-1k").unwrap(), find("kill-get").unwrap()];
        let required = ["haproxy", "nginx", "squid"].map(str::to_owned);
        let only = |programs: &'static [&str]| move |name: &str| programs.contains(&name);
        let error =
            missing(&trials, &required, only(&["haproxy", "nginx"])).unwrap_err().to_string();
        assert_eq!(error, "squid is required and not installed: apt-get install squid");
        assert_eq!(
            missing(&trials, &required, only(&["haproxy", "nginx", "squid"])).unwrap(),
            BTreeSet::new()
        );
        assert_eq!(
            missing(&trials, &[], only(&["squid"])).unwrap(),
            BTreeSet::from(["haproxy", "nginx"]),
            "left out, and named"
        );
        let error = missing(&trials, &["varnish".to_owned()], |_| true).unwrap_err().to_string();
        assert!(error.contains("varnish") && error.contains("nginx, squid"), "{error}");
    }

    #[test]
    fn a_shoal_that_is_not_there_is_asked_for() {
        let nowhere = tempfile::tempdir().unwrap();
        let error = beside(nowhere.path(), "dist").unwrap_err().to_string();
        assert!(error.contains("cargo build --profile dist -p cli"), "{error}");
    }
}
