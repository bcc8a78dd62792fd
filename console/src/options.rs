//! What the console takes from its command line and environment, and the rules that follow from it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

/// Options of this service.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// What every service takes
    #[command(flatten)]
    pub chassis: chassis::Options,
    /// Address of the web page. On a loopback address whoever reaches it may look without a
    /// password
    #[arg(long, env = "SHOAL_CONSOLE", default_value_t = DEFAULT, value_name = "ADDRESS:PORT")]
    pub console: SocketAddr,
    /// Who may log in, made by `shoal console passwd`; nobody as long as it is not there
    #[arg(long, env = "SHOAL_CONSOLE_USERS", value_name = "FILE")]
    pub users: Option<PathBuf>,
    /// Certificate (PEM) of the web page, for https
    #[arg(long, env = "SHOAL_CONSOLE_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, env = "SHOAL_CONSOLE_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Host name under which browsers reach the page, beside addresses and localhost; may be
    /// repeated
    #[arg(long = "host", env = "SHOAL_CONSOLE_HOST", value_delimiter = ',', value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Let everybody look without a password, also on an address that others reach
    #[arg(long, env = "SHOAL_CONSOLE_ANONYMOUS_READING")]
    pub anonymous_reading: bool,
    /// Beside https, show the page over plain http on the same port, to look only; otherwise http
    /// leads to https
    #[arg(long, env = "SHOAL_CONSOLE_PLAINTEXT_READING", requires = "tls_cert")]
    pub plaintext_reading: bool,
    /// Take passwords without TLS, also on an address that others reach: for a network, or a proxy
    /// with TLS, that you trust
    #[arg(long, env = "SHOAL_CONSOLE_PLAINTEXT_PASSWORDS")]
    pub plaintext_passwords: bool,
}

const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7000);

/// Who may do what at this port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The page speaks https.
    pub tls: bool,
    /// Passwords are taken here.
    pub passwords: bool,
    /// Looking takes no password.
    pub open: bool,
    /// Looking, where it takes no password, takes no https either.
    pub plain: bool,
    /// Host names, in lower case, that are ours beside addresses and localhost.
    pub hosts: Vec<String>,
    /// Name of the cookie: cookies do not know ports, and there may be several consoles on one
    /// machine.
    pub cookie: String,
}

impl Options {
    /// The rules at the address that was really bound.
    #[must_use]
    pub fn rules(&self, bound: SocketAddr, tls: bool) -> Rules {
        let loopback = bound.ip().to_canonical().is_loopback();
        Rules {
            tls,
            passwords: tls || loopback || self.plaintext_passwords,
            open: loopback || self.anonymous_reading,
            plain: self.plaintext_reading,
            hosts: self.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            cookie: format!("{}shoal-console-{}", if tls { "__Host-" } else { "" }, bound.port()),
        }
    }
}

impl Rules {
    /// What whoever starts it like this should know.
    #[must_use]
    pub const fn warning(&self) -> Option<&'static str> {
        match (self.passwords, self.open) {
            (false, false) => Some(
                "nobody can use the web page: it takes no passwords without TLS on this address, \
                 and shows nothing without one; give it --tls-cert and --tls-key, or bind \
                 --console to a loopback address",
            ),
            (false, true) => Some(
                "nobody can log in: passwords are not taken without TLS on this address; give it \
                 --tls-cert and --tls-key",
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn what_follows_from_the_address() {
        for (arguments, tls, passwords, open) in [
            (vec![], false, true, true),
            (vec!["--console", "[::1]:0"], false, true, true),
            (vec!["--console", "0.0.0.0:0"], false, false, false),
            (vec!["--console", "0.0.0.0:0"], true, true, false),
            (vec!["--console", "0.0.0.0:0", "--anonymous-reading"], false, false, true),
            (vec!["--console", "10.0.0.1:0", "--plaintext-passwords"], false, true, false),
        ] {
            let options = Line::try_parse_from(["console"].iter().chain(&arguments))
                .unwrap_or_else(|error| panic!("{error}"))
                .options;
            let rules = options.rules(options.console, tls);
            assert_eq!((rules.passwords, rules.open), (passwords, open), "{arguments:?}");
            assert_eq!(rules.warning().is_some(), !passwords, "{arguments:?}");
        }
        assert!(
            Line::try_parse_from(["console", "--tls-cert", "x"]).is_err(),
            "a certificate needs its key"
        );
        assert!(Line::try_parse_from(["console", "--plaintext-reading"]).is_err(), "beside https");
    }
}
