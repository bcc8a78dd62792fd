//! Values with a notation of their own: text in YAML, a typed value after reading. Each gives its
//! JSON Schema a `format`, and [`check`] is what that format means, so that the walk over a bundle
//! and the reading of its values cannot disagree.

use crate::document::{DomainPattern, PortRange, TimeWindow};
use crate::terms;
use crate::units::{self, Invalid};
use croner::parser::{CronParser, Seconds, Year};
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::borrow::Cow;

macro_rules! notations {
    ($(
        $(#[$doc:meta])*
        $name:ident($value:ty) = $format:literal, $parse:expr, like $($example:literal),+;
    )+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq)]
            pub struct $name {
                /// What it means.
                pub value: $value,
                text: String,
            }

            impl $name {
                /// Reads the notation.
                pub fn parse(text: &str) -> Result<Self, Invalid> {
                    let parse: fn(&str) -> Result<$value, Invalid> = $parse;
                    Ok(Self { value: parse(text)?, text: text.to_owned() })
                }

                /// As it is written.
                pub fn text(&self) -> &str {
                    &self.text
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    // The walk over a bundle has made text of what may be written otherwise; a list
                    // or a map is never one value.
                    let text = String::deserialize(deserializer)?;
                    Self::parse(&text).map_err(D::Error::custom)
                }
            }

            impl Serialize for $name {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.serialize_str(&self.text)
                }
            }

            impl JsonSchema for $name {
                fn inline_schema() -> bool {
                    true
                }
                fn schema_name() -> Cow<'static, str> {
                    stringify!($name).into()
                }
                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    let kind = if INTEGERS_TOO.contains(&$format) {
                        serde_json::json!(["string", "integer"])
                    } else {
                        "string".into()
                    };
                    json_schema!({ "type": kind, "format": $format, "examples": [$($example),+] })
                }
            }
        )+

        /// Whether a text is in the notation of a `format`. Formats that are not ours accept
        /// everything.
        pub fn check(format: &str, text: &str) -> Result<(), Invalid> {
            match format {
                $($format => $name::parse(text).map(drop),)+
                _ => Ok(()),
            }
        }
    };
}

/// Notations that may be written as a bare number too.
const INTEGERS_TOO: [&str; 5] =
    ["shoal-ports", "shoal-status", "shoal-retry-on", "shoal-file-mode", "shoal-field-value"];
/// Notations in which a bare number would be read as text that nobody meant. The others say
/// themselves what a number lacks.
const NEVER_NUMBERS: [&str; 5] =
    ["shoal-regex", "shoal-glob", "shoal-domain", "shoal-method", "shoal-url-path"];

/// Whether a number without quotes may stand for the text in the notation of a `format`.
pub fn takes_numbers(format: &str) -> bool {
    !NEVER_NUMBERS.contains(&format)
}

notations! {
    /// `200ms`, `5s`, `1h`, `30d`.
    Duration(std::time::Duration) = "shoal-duration", units::parse_duration,
        like "200ms", "5s", "1h", "30d";
    /// `64KiB`, `256MiB`.
    Size(u64) = "shoal-size", units::parse_size, like "64KiB", "256MiB", "1GiB";
    /// `20%`.
    Percent(u8) = "shoal-percent", units::parse_percent, like "20%";
    /// `0.0.0.0:3128`.
    Bind(std::net::SocketAddr) = "shoal-bind", terms::parse_bind,
        like "0.0.0.0:3128", "[::]:3128", "${node.listen.proxy}";
    /// `0.0.0.0:8080`, or a file.
    FrontendBind(crate::document::balancer::Bind) = "shoal-frontend-bind",
        terms::parse_frontend_bind,
        like "0.0.0.0:8080", "[::]:8080", "${node.listen.frontend}", "unix:/run/shoal/http.sock";
    /// `660`: a mode in octal.
    FileMode(u32) = "shoal-file-mode", terms::parse_file_mode, like "660", "0600";
    /// `host:port`.
    Address((String, u16)) = "shoal-address", terms::parse_address,
        like "192.168.1.11:3128", "[2001:db8::1]:3128";
    /// `192.168.1.0/24`.
    Network(IpNet) = "shoal-network", terms::parse_network,
        like "192.168.1.0/24", "10.0.0.1", "2001:db8::/32";
    /// `192.168.1.0/24`, or `unix` for whoever connects to a file.
    Downstream(Option<IpNet>) = "shoal-downstream", parse_downstream,
        like "192.168.1.0/24", "10.0.0.1", "unix";
    /// `192.168.1.100/24`: an address of an interface, with its network's prefix.
    InterfaceAddress(IpNet) = "shoal-interface-address", terms::parse_interface_address,
        like "192.168.1.100/24", "2001:db8::100/64";
    /// `.example.com`.
    Domain(DomainPattern) = "shoal-domain", terms::parse_domain,
        like ".example.com", "www.example.com";
    /// `443`, `8000-8100`.
    Ports(PortRange) = "shoal-ports", terms::parse_ports, like "443", "8000-8100";
    /// `200`, `200-299`.
    Status((u16, u16)) = "shoal-status", terms::parse_status, like "200", "200-299";
    /// What is tried again.
    RetryOn(crate::document::balancer::RetryOn) = "shoal-retry-on", terms::parse_retry_on,
        like "connect_failure", "reset", "timeout", "503";
    /// `MTWHF 09:00-18:00`.
    Time(TimeWindow) = "shoal-time", terms::parse_time, like "MTWHF 09:00-18:00", "D \
        09:00-18:00", "SA";
    /// A regular expression of the `regex` crate.
    Regex(String) = "shoal-regex", parse_regex, like "\\.(deb|rpm)$", "(?i)/ads/";
    /// What a URL looks like: `*` any characters, `?` one, `\\` before what stands for itself.
    Glob(String) = "shoal-glob", terms::parse_glob,
        like "*.deb", "http://*.example.com/static/*", "*/download\\?id=*";
    /// An absolute URL.
    Url(String) = "shoal-url", |text| terms::parse_url(text).map(|()| text.to_owned()),
        like "http://example.com/health";
    /// `built-in` or an absolute URL.
    ProbeTarget(Option<String>) = "shoal-probe-target", parse_probe_target,
        like "built-in", "http://example.com/health";
    /// `text/html`, `text/*`, `application/*+json`.
    MediaType(String) = "shoal-media-type", parse_media_type,
        like "text/*", "application/json", "application/*+json";
    /// Letters, digits, `_`, `-` and `.`.
    Name(String) = "shoal-name", parse_name, like "squid_servers";
    /// `GET`.
    Method(String) = "shoal-method", parse_method, like "GET", "CONNECT";
    /// `X-User`.
    FieldName(String) = "shoal-field-name", parse_field_name, like "X-User", "User-Agent";
    /// The value of a header field, with placeholders.
    FieldValue(Vec<crate::document::balancer::Part>) = "shoal-field-value",
        terms::parse_field_value,
        like "%{client}", "max-age=31536000", "%{frontend}/%{sni}";
    /// `/health`.
    UrlPath(String) = "shoal-url-path", parse_url_path, like "/", "/health";
    /// An egress destination.
    EgressTo(crate::document::egress::EgressTarget) = "shoal-egress-to", parse_egress_to,
        like "loopback", "link_local", "metadata", "cluster_ports", "10.0.0.0/8";
    /// Where records of a log go.
    LogAddress(crate::document::log::LogAddress) = "shoal-log-address", terms::parse_log_address,
        like "stdout", "udp://127.0.0.1:514", "tcp://logs.example:601", "unix:///dev/log";
    /// How a record of a log is written.
    LogFormat(crate::document::log::LogFormat) = "shoal-log-format", terms::parse_log_format,
        like "httplog", "json", "squid", "%ci [%tr] %ST %B %{+Q}r";
    /// A reference to a secret, never the secret.
    Secret(String) = "shoal-secret", parse_secret, like "secret:vrrp_auth";
    /// A file of the process's host, which holds a secret or belongs to one.
    HostFile(String) = "shoal-host-file", parse_host_file, like "file:/etc/shoal/proxy.pem";
    /// Where the credentials for a parent come from, never the credentials.
    Login(crate::document::proxy::Login) = "shoal-login", parse_login,
        like "passthrough", "file:/etc/shoal/parent.login", "env:PARENT_LOGIN";
    /// Five fields of cron.
    Cron(String) = "shoal-cron", parse_cron, like "0 3 * * *";
    /// A name of the IANA time zone database.
    TimeZone(String) = "shoal-time-zone", parse_time_zone,
        like "UTC", "Europe/Berlin", "Asia/Shanghai";
    /// `file:DIRECTORY`.
    StoreUrl(String) = "shoal-store-url", parse_store_url,
        like "file:backups", "file:/var/backups/shoal";
}

fn parse_regex(text: &str) -> Result<String, Invalid> {
    if text.is_empty() {
        return Err(Invalid::new(
            "an empty regular expression matches everything",
            "write one that is meant, or remove it",
        ));
    }
    match regex::Regex::new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(regex::Error::CompiledTooBig(limit)) => Err(Invalid::new(
            format!("the regular expression needs more than {limit} bytes"),
            "make its repetitions smaller",
        )),
        Err(error) => {
            let said = error.to_string();
            let cause =
                said.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            let remedy = "use the syntax of Rust's regex crate (no look-around, no \
                back-references); in YAML, single quotes keep backslashes";
            Err(Invalid::new(format!("`{text}` is not a regular expression: {cause}"), remedy))
        }
    }
}

fn parse_probe_target(text: &str) -> Result<Option<String>, Invalid> {
    if text == "built-in" {
        return Ok(None);
    }
    let remedy = "write built-in or an absolute URL, as in http://example.com/health";
    terms::parse_url(text)
        .map(|()| Some(text.to_owned()))
        .map_err(|invalid| Invalid::new(invalid.message, remedy))
}

fn parse_downstream(text: &str) -> Result<Option<IpNet>, Invalid> {
    if text == "unix" {
        return Ok(None);
    }
    terms::parse_network(text).map(Some)
}

fn parse_name(text: &str) -> Result<String, Invalid> {
    let good = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if good {
        Ok(text.to_owned())
    } else {
        let remedy = match text.rsplit_once('/') {
            Some((_, last)) if parse_name(last).is_ok() => {
                "write the name alone, without folders and without an ending"
            }
            _ => "use 1 to 64 letters, digits, `_`, `-` or `.`",
        };
        Err(Invalid::new(format!("`{text}` is not a name"), remedy))
    }
}

/// A token (RFC 9110 §5.1).
fn parse_field_name(text: &str) -> Result<String, Invalid> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(fits) {
        return Err(Invalid::new(
            format!("`{text}` is not the name of a header field"),
            "write it without a colon, as in X-User",
        ));
    }
    Ok(text.to_owned())
}

/// RFC 9110 §8.3.1, in lower case; `*` for any characters.
fn parse_media_type(text: &str) -> Result<String, Invalid> {
    let token = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-*".contains(&b))
    };
    match text.split_once('/') {
        Some((main, sub)) if token(main) && token(sub) && text.matches('*').count() <= 1 => {
            Ok(text.to_ascii_lowercase())
        }
        _ => Err(Invalid::new(
            format!("`{text}` is not a media type"),
            "write one without parameters, as in text/html, text/* or application/*+json",
        )),
    }
}

fn parse_method(text: &str) -> Result<String, Invalid> {
    // RFC 9110 §5.6.2; methods are compared exactly, so a lower-case one is a slip.
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || !text.bytes().all(token) {
        return Err(Invalid::new(
            format!("`{text}` is not a method"),
            "write one like GET, POST or CONNECT",
        ));
    }
    if text.bytes().any(|b| b.is_ascii_lowercase()) {
        return Err(Invalid::new(
            format!("methods are upper case, `{text}` would never match"),
            format!("write {}", text.to_ascii_uppercase()),
        ));
    }
    Ok(text.to_owned())
}

fn parse_url_path(text: &str) -> Result<String, Invalid> {
    let good = text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if good {
        Ok(text.to_owned())
    } else {
        Err(Invalid::new(format!("`{text}` is not a path"), "begin it with `/`, as in /health"))
    }
}

fn parse_egress_to(text: &str) -> Result<crate::document::egress::EgressTarget, Invalid> {
    use crate::document::egress::EgressTarget;
    Ok(match text {
        "loopback" => EgressTarget::Loopback,
        "link_local" => EgressTarget::LinkLocal,
        "metadata" => EgressTarget::Metadata,
        "cluster_ports" => EgressTarget::ClusterPorts,
        _ => EgressTarget::Net(terms::parse_network(text).map_err(|invalid| {
            Invalid::new(
                invalid.message,
                "write loopback, link_local, metadata, cluster_ports, or \
                a network as in 10.0.0.0/8",
            )
        })?),
    })
}

fn parse_secret(text: &str) -> Result<String, Invalid> {
    match text.strip_prefix("secret:") {
        Some(name) => parse_name(name).map(|_| text.to_owned()),
        None => Err(Invalid::new(
            "a secret may not be written into a bundle",
            "write a reference, as in secret:vrrp_auth",
        )),
    }
}

fn parse_host_file(text: &str) -> Result<String, Invalid> {
    let path = text.strip_prefix("file:").filter(|path| {
        path.starts_with('/') && !path.split('/').any(|part| part == "..") && !path.contains('\0')
    });
    path.map(str::to_owned).ok_or_else(|| {
        Invalid::new(
            format!("`{text}` is not a file of the host"),
            "write file: and an absolute path, as in file:/etc/shoal/proxy.pem",
        )
    })
}

fn parse_login(text: &str) -> Result<crate::document::proxy::Login, Invalid> {
    use crate::document::proxy::Login;
    let remedy =
        "write passthrough, file:/PATH or env:NAME; the file or variable holds user:password";
    if text == "passthrough" {
        return Ok(Login::Passthrough);
    }
    if let Some(path) = text.strip_prefix("file:") {
        let good = path.starts_with('/')
            && !path.split('/').any(|part| part == "..")
            && !path.contains('\0');
        return if good {
            Ok(Login::File(path.to_owned()))
        } else {
            Err(Invalid::new(format!("`{path}` is not an absolute path"), remedy))
        };
    }
    if let Some(name) = text.strip_prefix("env:") {
        let good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        return if good {
            Ok(Login::Env(name.to_owned()))
        } else {
            Err(Invalid::new(format!("`{name}` is not the name of a variable"), remedy))
        };
    }
    Err(Invalid::new("credentials may not be written into a bundle", remedy))
}

fn parse_cron(text: &str) -> Result<String, Invalid> {
    let remedy = "write minute, hour, day, month and weekday, as in \"0 3 * * *\"";
    let fields: Vec<&str> = text.split_whitespace().collect();
    let good = fields.len() == 5
        && fields
            .iter()
            .all(|field| field.bytes().all(|b| b.is_ascii_alphanumeric() || b"*/,-".contains(&b)));
    if !good {
        return Err(Invalid::new(format!("`{text}` is not a schedule"), remedy));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    match parser.parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            let said = error.to_string().to_lowercase();
            let cause = said.trim_start_matches("component error: ").trim_end_matches('.');
            Err(Invalid::new(format!("`{text}` is not a schedule: {cause}"), remedy))
        }
    }
}

/// Whether there is such a zone, only a machine with the database can tell: the backup-service
/// refuses a revision with one that it lacks.
fn parse_time_zone(text: &str) -> Result<String, Invalid> {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b))
    };
    if text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.split('/').all(part)
    {
        Ok(text.to_owned())
    } else {
        Err(Invalid::new(
            format!("`{text}` is not a time zone"),
            "write a name of the IANA database, as in UTC or Europe/Berlin",
        ))
    }
}

fn parse_store_url(text: &str) -> Result<String, Invalid> {
    let remedy = "write file:DIRECTORY, as in file:backups (in the backup-service's data dir) or \
        file:/var/backups/shoal";
    if text.starts_with("s3:") {
        return Err(Invalid::new("S3 stores are not in this version", remedy));
    }
    match text.strip_prefix("file:") {
        Some(path)
            if !path.trim_matches('/').is_empty()
                && !path.split('/').any(|part| part == "..")
                && !path.contains('\0') =>
        {
            Ok(text.to_owned())
        }
        _ => Err(Invalid::new(format!("`{text}` is not a store"), remedy)),
    }
}
