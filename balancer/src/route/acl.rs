//! The conditions of routes, ready to be asked. Pure.

use std::{borrow::Cow, cell::OnceCell, io, net::IpAddr};

use cluster_config::{
    FileReference,
    document::{
        DomainPattern, PortRange,
        balancer::{Acl as Document, HeaderTest},
    },
};
use dataplane::list::{self, Domains, Networks};
use regex::bytes::{RegexSet, RegexSetBuilder};
use relay::{
    head::Request,
    normal,
    target::{Host, Target},
};

/// What is asked about, as far as it is known.
#[derive(Clone, Copy, Default)]
pub struct Question<'a> {
    /// Who asks.
    pub client: Option<IpAddr>,
    /// The request; none where bytes are passed on.
    pub request: Option<Request<'a>>,
    /// The name that a TLS client asks for: lower case, without a dot at its end.
    pub sni: Option<&'a str>,
}

/// A question with what conditions look at, which is worked out when the first of them asks.
pub(super) struct Subject<'a> {
    question: Question<'a>,
    host: OnceCell<Option<Cow<'a, str>>>,
    path: OnceCell<Option<Cow<'a, str>>>,
}

impl<'a> Subject<'a> {
    pub(super) fn new(question: Question<'a>) -> Self {
        Self { question, host: OnceCell::new(), path: OnceCell::new() }
    }

    fn host(&self) -> Option<&str> {
        self.host.get_or_init(|| host(self.question.request?)).as_deref()
    }

    fn path(&self) -> Option<&str> {
        self.path.get_or_init(|| path(self.question.request?)).as_deref()
    }
}

/// In the form of lists: lower case, no brackets, no dot at the end.
fn host(request: Request<'_>) -> Option<Cow<'_, str>> {
    Some(match request.authority()?.host {
        Host::Name(name) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                name.to_ascii_lowercase().into()
            } else {
                name.into()
            }
        }
        Host::V4(address) => address.to_string().into(),
        Host::V6(address) => IpAddr::V6(address).to_canonical().to_string().into(),
    })
}

fn port(request: Request<'_>) -> Option<u16> {
    let default = match request.target() {
        Target::Absolute { scheme, .. } => scheme.default_port(),
        Target::Authority(_) | Target::Origin(_) | Target::Asterisk => 80,
    };
    Some(request.authority()?.port.unwrap_or(default))
}

/// Without the query, in the normal form by which nodes judge too: whoever routed by one spelling
/// could be walked around by another.
fn path(request: Request<'_>) -> Option<Cow<'_, str>> {
    let (Target::Absolute { path, .. } | Target::Origin(path)) = request.target() else {
        return None;
    };
    let path = path.split('?').next().unwrap_or_default();
    Some(normal::path(if path.is_empty() { "/" } else { path }))
}

/// One condition.
#[derive(Debug)]
pub(super) enum Acl {
    All,
    Src(Networks),
    Dstdomain(Domains),
    Port(Vec<PortRange>),
    Method(Vec<String>),
    Path(Vec<String>),
    PathPrefix(Vec<String>),
    PathRegex(RegexSet),
    Header { test: HeaderTest, regexes: RegexSet },
    Sni(Domains),
}

impl Acl {
    /// `read` gives the content of a file of the bundle. Slow with large lists: not for a worker.
    pub(super) fn build(
        document: &Document,
        read: &impl Fn(&FileReference) -> io::Result<Vec<u8>>,
    ) -> Result<Self, String> {
        let load = |file: &FileReference| {
            read(file).map_err(|error| format!("{} cannot be read: {error}", file.path))
        };
        let domains = |file: &FileReference| {
            list::domains(&load(file)?).map_err(|error| format!("{}, {error}", file.path))
        };
        Ok(match document {
            Document::All => Self::All,
            Document::Src(networks) => Self::Src(networks.iter().copied().collect()),
            Document::SrcList(file) => Self::Src(
                list::networks(&load(file)?).map_err(|error| format!("{}, {error}", file.path))?,
            ),
            Document::Dstdomain(patterns) => Self::Dstdomain(set(patterns)?),
            Document::DstdomainList(file) => Self::Dstdomain(domains(file)?),
            Document::Port(ranges) => Self::Port(ranges.clone()),
            Document::Method(methods) => Self::Method(methods.clone()),
            Document::Path(paths) => Self::Path(paths.clone()),
            Document::PathPrefix(prefixes) => Self::PathPrefix(prefixes.clone()),
            Document::PathRegex(patterns) => Self::PathRegex(regexes(patterns)?),
            Document::Header(test) => {
                Self::Header { test: test.clone(), regexes: regexes(&test.regexes)? }
            }
            Document::Sni(patterns) => Self::Sni(set(patterns)?),
            Document::SniList(file) => Self::Sni(domains(file)?),
        })
    }

    /// What it looks at that nobody has said who only asks; none: it can be answered.
    pub(super) fn lacks(&self, question: &Question<'_>) -> Option<String> {
        match self {
            Self::Src(_) if question.client.is_none() => Some("the client's address".to_owned()),
            Self::Header { test, .. } => Some(format!("the field {}", test.name)),
            Self::Sni(_) if question.sni.is_none() => {
                Some("the name in the client's TLS handshake".to_owned())
            }
            _ => None,
        }
    }

    /// What is not known matches nothing.
    pub(super) fn matches(&self, subject: &Subject<'_>) -> bool {
        let Question { client, request, sni } = subject.question;
        match self {
            Self::All => true,
            Self::Src(networks) => client.is_some_and(|client| networks.contains(client)),
            Self::Dstdomain(domains) => subject.host().is_some_and(|host| domains.contains(host)),
            Self::Port(ranges) => request
                .and_then(port)
                .is_some_and(|port| ranges.iter().any(|range| range.contains(port))),
            Self::Method(methods) => {
                request.is_some_and(|it| methods.iter().any(|method| method == it.method_text()))
            }
            Self::Path(paths) => {
                subject.path().is_some_and(|path| paths.iter().any(|it| it == path))
            }
            Self::PathPrefix(prefixes) => subject
                .path()
                .is_some_and(|path| prefixes.iter().any(|it| path.starts_with(it.as_str()))),
            Self::PathRegex(regexes) => {
                subject.path().is_some_and(|path| regexes.is_match(path.as_bytes()))
            }
            Self::Header { test, regexes } => {
                request.is_some_and(|request| has_field(request, test, regexes))
            }
            Self::Sni(domains) => sni.is_some_and(|name| domains.contains(name)),
        }
    }
}

fn has_field(request: Request<'_>, test: &HeaderTest, regexes: &RegexSet) -> bool {
    let any = test.values.is_empty() && test.prefixes.is_empty() && test.regexes.is_empty();
    request.lines().named(&test.name).any(|value| {
        any || test.values.iter().any(|it| it.as_bytes() == value)
            || test.prefixes.iter().any(|it| value.starts_with(it.as_bytes()))
            || regexes.is_match(value)
    })
}

fn set(patterns: &[DomainPattern]) -> Result<Domains, String> {
    let mut domains = Domains::with_capacity(patterns.len(), 0);
    for pattern in patterns {
        domains.insert(pattern).map_err(|error| error.to_string())?;
    }
    Ok(domains)
}

fn regexes(patterns: &[String]) -> Result<RegexSet, String> {
    RegexSetBuilder::new(patterns).build().map_err(|error| error.to_string())
}
