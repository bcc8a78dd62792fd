//! What `shoal cache purge` is about.

use anyhow::{Result, bail};
use clap::Args;
use proto::purge::{Purge, purge::Scope};

/// What is purged: one thing
#[derive(Args)]
pub(super) struct What {
    /// Absolute URL; or with one of the flags below something else
    #[arg(value_name = "URL", required_unless_present = "all", conflicts_with = "all")]
    target: Option<String>,
    /// Everything whose URL begins so
    #[arg(long, group = "kind", conflicts_with = "all")]
    prefix: bool,
    /// Everything of this host: example.com, .example.com (and below it), example.com:8080
    #[arg(long, group = "kind", conflicts_with = "all")]
    host: bool,
    /// Everything that its origin gave this tag (Cache-Tag, Surrogate-Key)
    #[arg(long, group = "kind", conflicts_with = "all")]
    tag: bool,
    /// Everything whose URL this regular expression is found in
    #[arg(long, group = "kind", conflicts_with = "all")]
    regex: bool,
    /// Everything
    #[arg(long)]
    all: bool,
    /// Keep it, and validate it with its origin before it is used again
    #[arg(long)]
    soft: bool,
}

impl What {
    /// As it is asked for.
    ///
    /// # Errors
    /// Nothing is named.
    pub(super) fn purge(self) -> Result<Purge> {
        let Self { target, prefix, host, tag, regex, all, soft } = self;
        let target = target.unwrap_or_default();
        let scope = match (all, prefix, host, tag, regex) {
            (true, ..) => Scope::Everything(true),
            _ if target.is_empty() => bail!("name what to purge; everything is --all"),
            (_, true, ..) => Scope::Prefix(target),
            (_, _, true, ..) => Scope::Host(target),
            (_, _, _, true, _) => Scope::Tag(target),
            (_, _, _, _, true) => Scope::Regex(target),
            _ => Scope::Url(target),
        };
        Ok(Purge { scope: Some(scope), soft })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        what: What,
    }

    fn read(line: &str) -> Option<Purge> {
        let line = Line::try_parse_from(std::iter::once("purge").chain(line.split_whitespace()));
        line.ok()?.what.purge().ok()
    }

    #[test]
    fn one_thing_is_purged() {
        let purge = |scope, soft| Some(Purge { scope: Some(scope), soft });
        for (line, asked) in [
            ("http://a/", purge(Scope::Url("http://a/".into()), false)),
            ("--soft --tag news", purge(Scope::Tag("news".into()), true)),
            ("--prefix http://a/", purge(Scope::Prefix("http://a/".into()), false)),
            ("--host .a.example", purge(Scope::Host(".a.example".into()), false)),
            ("--regex png$", purge(Scope::Regex("png$".into()), false)),
            ("--all", purge(Scope::Everything(true), false)),
            ("", None),
            ("--tag", None),
            ("--all http://a/", None),
            ("--all --tag", None),
            ("--tag --host a", None),
        ] {
            assert_eq!(read(line), asked, "{line}");
        }
    }
}
