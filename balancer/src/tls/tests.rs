//! Certificates in files.

use std::path::PathBuf;

use cluster_config::document::balancer::Certificate;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

struct Place(tempfile::TempDir);

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A certificate for a name that ends in this year, in the files of that number.
    fn write(&self, number: usize, name: &str, year: i32) {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(self.path(&format!("{number}.pem")), certificate.pem()).expect("written");
        fs::write(self.path(&format!("{number}.key")), key.serialize_pem()).expect("written");
    }

    fn settings(&self, count: usize) -> Settings {
        let text = |name: String| self.path(&name).to_str().expect("text").to_owned();
        let pair = |number: usize| Certificate {
            certificate: text(format!("{number}.pem")),
            key: text(format!("{number}.key")),
        };
        Settings {
            certificates: (1..=count).map(pair).collect(),
            client_ca: None,
            client_certificates_optional: false,
            min_version: TlsVersion::V1_2,
        }
    }
}

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().expect("a time")
}

#[test]
fn what_can_be_used_takes_the_place_and_what_cannot_does_not() {
    let place = Place(tempfile::tempdir().expect("a directory"));
    place.write(1, "a.example", 2030);
    let acceptor = Acceptor::new(&place.settings(1), Within::Http, now()).expect("good files");
    let first = acceptor.config();
    assert_eq!(acceptor.refresh(now()), None, "nothing has changed");
    let same = |config: &Arc<ServerConfig>| Arc::ptr_eq(config, &acceptor.config());
    place.write(1, "a.example", 2025);
    let report = acceptor.refresh(now()).expect("a change");
    assert!(report.problem.expect("a problem").contains("has ended on 2025-01-01"));
    assert!(same(&first));
    assert_eq!(acceptor.refresh(now()), None, "it is said once");
    fs::remove_file(place.path("1.key")).expect("it was there");
    let report = acceptor.refresh(now()).expect("a change");
    assert!(report.problem.expect("a problem").contains("1.key cannot be read"));
    assert!(same(&first));
    place.write(1, "a.example", 2031);
    let report = acceptor.refresh(now()).expect("a change");
    assert_eq!((report.problem, report.expires.to_string()), (None, "2031-01-01T00:00:00Z".into()));
    assert!(!same(&first));
}

#[test]
fn what_cannot_be_used_is_named() {
    let place = Place(tempfile::tempdir().expect("a directory"));
    place.write(1, "a.example", 2030);
    place.write(2, "b.example", 2030);
    let problem = |settings: &Settings| {
        Acceptor::new(settings, Within::Http, now()).map(|_| ()).expect_err("unusable")
    };
    assert!(problem(&place.settings(3)).contains("3.pem cannot be read"));
    let mut mixed = place.settings(2);
    let other = mixed.certificates[0].key.clone();
    mixed.certificates[1].key = other;
    assert!(problem(&mixed).contains("is not the key of"), "{}", problem(&mixed));
    fs::write(place.path("2.pem"), "no certificate").expect("written");
    assert!(problem(&place.settings(2)).contains("2.pem holds no certificate"));
    let mut authority = place.settings(1);
    authority.client_ca = Some(place.path("2.pem").to_str().expect("text").to_owned());
    assert!(problem(&authority).contains("2.pem: there is no certificate in this file"));
}
