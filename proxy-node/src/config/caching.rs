//! What the cache does by the operator's word alone, ready to be asked.

use std::io;

use chassis::configuration::Problem;
use cluster_config::{
    FileReference, ProxyDocument,
    document::{
        Access, Rule, Term, Verdict,
        caching::{self as document, Where},
        compression::{self, Compression},
        egress::Egress,
    },
};
use regex::bytes::Regex;

use crate::{
    admit::{Rules, Unusable},
    cache::{
        keying::{Host, KeyRule, Parameters, Query},
        policy::{Authorization, DefaultTtl, Overrides, RefreshPattern, names_query},
    },
    compress::{Coding, Settings},
};

/// What the cache does by the operator's word alone.
#[derive(Debug, Default)]
pub struct Caching {
    pub refresh_patterns: Vec<RefreshPattern>,
    pub default_ttls: Vec<DefaultTtl>,
    pub authorization: Authorization,
    pub keys: Vec<KeyRule>,
    pub stores: Stores,
    /// Who may purge with PURGE: without a rule that matches, nobody.
    pub purgers: Rules,
    /// What is compressed, if anything is.
    pub compression: Option<Settings>,
}

/// Where answers are kept, by request.
#[derive(Debug, Default)]
pub struct Stores {
    /// One that matches for each of the places.
    pub rules: Rules,
    pub places: Vec<(Where, String)>,
}

impl Caching {
    /// Builds it; every problem at once.
    pub fn build(
        written: &ProxyDocument,
        read: impl Fn(&FileReference) -> io::Result<Vec<u8>>,
    ) -> Result<Self, Vec<Problem>> {
        let (cache, access) = (&written.cache, &written.access);
        let mut problems = Vec::new();
        let mut regex = |text: &str| {
            let built = Regex::new(text);
            built.map_err(|error| problems.push(Problem::new(format!("cache: {error}")))).ok()
        };
        let patterns = cache.refresh_patterns.iter();
        let refresh_patterns = patterns
            .filter_map(|written| Some(pattern(written, regex(&written.url_regex)?)))
            .collect();
        let keys = cache.policy.keys.iter();
        let keys =
            keys.filter_map(|written| Some(key(written, regex(&written.url_regex)?))).collect();
        let ttls = cache.policy.default_ttls.iter();
        let purgers = rules(cache.purge.allow.iter().map(Vec::as_slice), access, &read)
            .unwrap_or_else(|unusable| {
                problems.extend(unusable.into_iter().map(super::problem));
                Rules::default()
            });
        let stores = Stores::build(&cache.policy.rules, access, &read).unwrap_or_else(|unusable| {
            problems.extend(unusable.into_iter().map(super::problem));
            Stores::default()
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            refresh_patterns,
            default_ttls: ttls.map(default_ttl).collect(),
            authorization: match cache.policy.authorization {
                document::Authorization::Rfc9111 => Authorization::Rfc9111,
                document::Authorization::Public => Authorization::Public,
                document::Authorization::Never => Authorization::Never,
            },
            keys,
            stores,
            purgers,
            compression: written.compression.as_ref().map(compression),
        })
    }
}

impl Stores {
    fn build(
        written: &[document::StoreRule],
        access: &Access,
        read: impl Fn(&FileReference) -> io::Result<Vec<u8>>,
    ) -> Result<Self, Vec<Unusable>> {
        let places = written.iter().map(|written| (written.store, written.to_string())).collect();
        let terms = written.iter().map(|written| written.terms.as_slice());
        Ok(Self { rules: rules(terms, access, read)?, places })
    }
}

/// Rules that match where all of their terms do.
pub(super) fn rules<'a>(
    terms: impl Iterator<Item = &'a [Term]> + Clone,
    access: &Access,
    read: impl Fn(&FileReference) -> io::Result<Vec<u8>>,
) -> Result<Rules, Vec<Unusable>> {
    let named = |acl: &String| terms.clone().flatten().any(|term| term.acl == *acl);
    let acls = access.acls.iter().filter(|(name, _)| named(name));
    let rules = terms.clone().map(|terms| Rule {
        verdict: Verdict::Allow,
        terms: terms.to_vec(),
        page: None,
    });
    let access = Access {
        acls: acls.map(|(name, acl)| (name.clone(), acl.clone())).collect(),
        rules: rules.collect(),
        egress: Egress { allow: Vec::new(), deny: Vec::new() },
    };
    Rules::build(&access, read)
}

fn compression(written: &Compression) -> Settings {
    let coding = |coding: &compression::Coding| match coding {
        compression::Coding::Gzip => Coding::Gzip,
        compression::Coding::Br => Coding::Br,
        compression::Coding::Zstd => Coding::Zstd,
    };
    Settings {
        codings: written.codings.iter().map(coding).collect(),
        types: written.types.clone(),
        sizes: written.min_size..=written.max_size,
        gzip_level: written.gzip_level,
        br_level: written.br_level,
        zstd_level: written.zstd_level,
    }
}

fn default_ttl(written: &document::DefaultTtl) -> DefaultTtl {
    let document::DefaultTtl { first, last, ttl } = *written;
    DefaultTtl { first, last, ttl: ttl.as_secs() }
}

fn key(written: &document::KeyRule, url: Regex) -> KeyRule {
    let parameters = match &written.keep_query {
        Some(names) => Parameters::Only(names.clone()),
        None if written.drop_query.is_empty() => Parameters::All,
        None => Parameters::Without(written.drop_query.clone()),
    };
    let hosts = written.merge_hosts.iter();
    KeyRule {
        url,
        query: Query { parameters, sorted: written.sort_query },
        to: written.to.as_ref().map(|to| to.as_bytes().into()),
        merges: hosts
            .map(|host| Host { name: host.name.clone(), subdomains: host.subdomains })
            .collect(),
        immutable: written.immutable,
    }
}

fn pattern(written: &document::RefreshPattern, url: Regex) -> RefreshPattern {
    RefreshPattern {
        url,
        query: written.queries.unwrap_or_else(|| names_query(&written.url_regex)),
        min: written.min,
        percent: written.percent,
        max: written.max,
        overrides: overrides(&written.overrides),
    }
}

fn overrides(written: &document::Overrides) -> Overrides {
    let document::Overrides {
        override_expire,
        override_lastmod,
        ignore_reload,
        ignore_no_store,
        ignore_private,
        ignore_must_revalidate,
        ignore_auth,
        store_stale,
        max_stale,
        refresh_ims,
    } = *written;
    Overrides {
        override_expire,
        override_lastmod,
        ignore_reload,
        ignore_no_store,
        ignore_private,
        ignore_must_revalidate,
        ignore_auth,
        store_stale,
        max_stale,
        refresh_ims,
    }
}
