//! What proves this node to a parent. The bundle names where it is; the secret itself is read on
//! the node, and never shown.

use std::{fmt, fs::File, io::Read, path::Path};

use base64::prelude::{BASE64_STANDARD, Engine};
use cluster_config::document::proxy::Login;

/// No credentials are longer.
const MOST: u64 = 4096;

/// What was read.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// None are meant to be sent.
    None,
    /// The value of Proxy-Authorization.
    Basic(Box<str>),
    /// They cannot be read: why.
    Unreadable(Box<str>),
}

/// Without the secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("None"),
            Self::Basic(_) => formatter.write_str("Basic(…)"),
            Self::Unreadable(why) => write!(formatter, "Unreadable({why})"),
        }
    }
}

impl Credentials {
    /// Reads what a reference names: `user:password`, on one line.
    #[must_use]
    pub fn read(login: Option<&Login>) -> Self {
        let (place, text) = match login {
            None | Some(Login::Passthrough) => return Self::None,
            Some(Login::File(path)) => (format!("file:{path}"), read_file(Path::new(path))),
            Some(Login::Env(name)) => {
                let value = std::env::var(name).map_err(|error| error.to_string());
                (format!("env:{name}"), value)
            }
        };
        match text.and_then(|text| basic(&text)) {
            Ok(value) => Self::Basic(value.into()),
            Err(why) => Self::Unreadable(format!("{place}: {why}").into()),
        }
    }

    /// The value of Proxy-Authorization, where there is one.
    #[must_use]
    pub fn header(&self) -> Option<&str> {
        if let Self::Basic(value) = self { Some(value) } else { None }
    }

    /// Why there is none although there should be.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        if let Self::Unreadable(why) = self { Some(why) } else { None }
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MOST + 1).read_to_string(&mut text));
    match read {
        Ok(_) if text.len() as u64 > MOST => Err(format!("it is longer than {MOST} bytes")),
        Ok(_) => Ok(text),
        Err(error) => Err(error.to_string()),
    }
}

/// RFC 7617. The text is not part of what is said when it is wrong.
fn basic(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches(['\r', '\n']);
    let Some((user, _)) = text.split_once(':') else {
        return Err("it is not of the form user:password".to_owned());
    };
    if user.is_empty() || text.chars().any(char::is_control) {
        return Err("it is not of the form user:password on one line".to_owned());
    }
    Ok(format!("Basic {}", BASE64_STANDARD.encode(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_and_never_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("login");
        let login = Login::File(path.to_str().unwrap().to_owned());
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Credentials::read(Some(&login))
        };
        assert_eq!(
            read("Aladdin:open sesame\n").header(),
            Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
        );
        assert!(!format!("{:?}", read("user:geheim")).contains("Z2VoZWlt"));
        for wrong in ["geheim", "", ":geheim", "user:ge\nheim", &"x".repeat(5000)] {
            let said = read(wrong).problem().unwrap_or_default().to_owned();
            assert!(said.contains("file:") && !said.contains("geheim"), "{wrong:?}: {said}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Credentials::read(Some(&login)).problem().is_some());
        assert_eq!(Credentials::read(None), Credentials::None);
        assert_eq!(Credentials::read(Some(&Login::Passthrough)), Credentials::None);
    }
}
