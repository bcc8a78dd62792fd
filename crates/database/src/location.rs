//! What `--database` names.

use std::path::{Path, PathBuf};

/// A database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file.
    Sqlite(PathBuf),
}

/// Why `--database` is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLocation {
    /// PostgreSQL.
    #[error("PostgreSQL is not supported by this version")]
    Postgres,
    /// Something else.
    #[error("{0:?} is no database URL")]
    Unknown(String),
}

impl Location {
    /// Reads `sqlite:PATH`; without a URL, it is the file `default`.
    ///
    /// # Errors
    /// When it names a database that cannot be used.
    pub fn parse(url: Option<&str>, default: &Path) -> Result<Self, BadLocation> {
        let Some(url) = url else { return Ok(Self::Sqlite(default.to_owned())) };
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            return Err(BadLocation::Postgres);
        }
        let path = url
            .strip_prefix("sqlite://")
            .or_else(|| url.strip_prefix("sqlite:"))
            .unwrap_or_default();
        if path.is_empty() || path.starts_with(':') {
            Err(BadLocation::Unknown(url.to_owned()))
        } else {
            Ok(Self::Sqlite(path.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        let parse = |url| Location::parse(url, Path::new("/d/registry.db"));
        assert_eq!(parse(None), Ok(Location::Sqlite("/d/registry.db".into())));
        assert_eq!(parse(Some("sqlite:a/b.db")), Ok(Location::Sqlite("a/b.db".into())));
        assert_eq!(parse(Some("sqlite:///a/b.db")), Ok(Location::Sqlite("/a/b.db".into())));
        assert_eq!(parse(Some("postgres://u@h/d")), Err(BadLocation::Postgres));
        for bad in ["", "sqlite:", "sqlite::memory:", "mysql://h", "/a/b.db"] {
            assert_eq!(parse(Some(bad)), Err(BadLocation::Unknown(bad.to_owned())));
        }
    }
}
