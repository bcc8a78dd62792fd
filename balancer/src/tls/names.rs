//! Which certificate a client gets by the name that it asks for.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use rustls::{
    pki_types::CertificateDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What a certificate says.
pub struct Said {
    /// Whose it is: names in lower case, `*.` at the beginning of some.
    pub names: Vec<String>,
    pub not_after: Timestamp,
}

/// Reads one. None: it is none.
#[must_use]
pub fn read(certificate: &CertificateDer<'_>) -> Option<Said> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let named = parsed.subject_alternative_name().ok()?;
    let names = named.map_or_else(Vec::new, |extension| {
        let names = extension.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
            _ => None,
        });
        names.collect()
    });
    let not_after = parsed.validity().not_after.timestamp();
    let not_after = Timestamp::from_second(not_after).unwrap_or(Timestamp::MAX);
    Some(Said { names, not_after })
}

/// Certificates by the names that they are for.
#[derive(Debug, Default)]
pub struct ByName {
    /// In the order of the bundle: a name may have one of each kind of key.
    all: Vec<Arc<CertifiedKey>>,
    names: HashMap<String, Vec<usize>>,
}

impl ByName {
    pub fn add(&mut self, names: Vec<String>, certified: Arc<CertifiedKey>) {
        for name in names {
            self.names.entry(name).or_default().push(self.all.len());
        }
        self.all.push(certified);
    }

    /// The first that is for this name and fits, or else the first of all.
    fn find(
        &self,
        name: Option<&str>,
        fits: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<&Arc<CertifiedKey>> {
        let name = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        let wildcard =
            name.as_deref().and_then(|name| Some(format!("*.{}", name.split_once('.')?.1)));
        let named = [name, wildcard].into_iter().flatten();
        let named = named.filter_map(|name| self.names.get(&name)).flatten();
        let named: Vec<_> = named.map(|&index| &self.all[index]).collect();
        let default: Vec<_> = self.all.iter().collect();
        [named, default]
            .into_iter()
            .find_map(|all| all.iter().find(|it| fits(it)).or_else(|| all.first()).copied())
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let offered = hello.signature_schemes();
        let fits = |it: &CertifiedKey| it.key.choose_scheme(offered).is_some();
        self.find(hello.server_name(), fits).map(Arc::clone)
    }
}
