//! TLS at a frontend: clients speak HTTPS to the proxy.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use relay::proxy_protocol::{self, Addresses};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    version::TLS12,
};
use serde_json::{Value, json};
use testkit::wait::until;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::Cluster;

/// An authority, and the files of its certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("written");
        Self { issuer, directory }
    }

    fn issue(&self, name: &str) -> (CertificateDer<'static>, KeyPair, String) {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.der().clone(), key, certificate.pem())
    }

    fn path(&self, file: &str) -> String {
        self.directory.path().join(file).to_str().expect("text").to_owned()
    }

    /// A certificate for a name, in the files `FILE.pem` and `FILE.key`.
    pub fn write(&self, file: &str, name: &str) -> Value {
        let (_, key, pem) = self.issue(name);
        let at = |end: &str| self.path(&format!("{file}.{end}"));
        fs::write(Path::new(&at("key")), key.serialize_pem()).expect("written");
        fs::write(Path::new(&at("pem")), pem).expect("written");
        json!({"certificate": at("pem"), "key": at("key")})
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        roots
    }

    pub fn client(&self) -> ClientConfig {
        builder(rustls::DEFAULT_VERSIONS).with_root_certificates(self.roots()).with_no_client_auth()
    }
}

impl Authority {
    /// One with a certificate of its own.
    fn client_of(&self, issuer: &Self, name: &str) -> ClientConfig {
        let (certificate, key, _) = issuer.issue(name);
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        builder(rustls::DEFAULT_VERSIONS)
            .with_root_certificates(self.roots())
            .with_client_auth_cert(vec![certificate], key)
            .expect("they fit")
    }
}

fn builder(
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(chassis::tls::provider())
        .with_protocol_versions(versions)
        .expect("ring knows them")
}

pub async fn connect(
    address: SocketAddr,
    config: ClientConfig,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// One request; the whole answer.
async fn ask(stream: &mut TlsStream<TcpStream>, host: &str) -> std::io::Result<String> {
    let request = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"node-1") {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn cluster(frontend: Value) -> Cluster {
    Cluster::with(1, json!({"frontend": frontend})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_tunnels_over_tls() {
    let authority = Authority::new();
    let tls = json!({"certificates": [authority.write("a", "a.test")]});
    let http2 = json!({
        "enabled": false, "prior_knowledge": false, "max_concurrent_streams": 100
    });
    let cluster = cluster(json!({"tls": tls, "http2": http2})).await;
    for versions in [rustls::DEFAULT_VERSIONS, &[&TLS12]] {
        let mut config =
            builder(versions).with_root_certificates(authority.roots()).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut stream = connect(cluster.frontend, config, "a.test").await.expect("a session");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        for _ in 0..2 {
            let answer = ask(&mut stream, "origin.test").await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
        stream.write_all(b"CONNECT b.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n").await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut head).await.expect("a head"), 0);
        }
        // More than one record, more than one buffer.
        let bytes: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
        let (mut read, mut write) = tokio::io::split(stream);
        let sent = bytes.clone();
        let sending = tokio::spawn(async move {
            write.write_all(&sent).await.expect("it is taken");
            write.shutdown().await.expect("it is open");
            write
        });
        let mut back = Vec::new();
        read.read_to_end(&mut back).await.expect("an end that is said");
        assert!(back == bytes, "{} of {} bytes", back.len(), bytes.len());
        drop(sending.await.expect("sent"));
    }
    assert_eq!(cluster.arrivals().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_chooses_the_certificate() {
    let authority = Authority::new();
    let certificates = [authority.write("a", "a.test"), authority.write("b", "*.b.test")];
    let cluster = cluster(json!({"tls": {"certificates": certificates}})).await;
    for name in ["a.test", "A.TEST", "x.b.test"] {
        connect(cluster.frontend, authority.client(), name).await.expect("its certificate");
    }
    for name in ["b.test", "x.y.b.test", "c.test"] {
        let error = connect(cluster.frontend, authority.client(), name).await.expect_err("none");
        assert!(error.to_string().contains("not valid for name"), "{name}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_speak_tls_or_not_in_time_gets_nothing() {
    let authority = Authority::new();
    let tls = json!({"certificates": [authority.write("a", "a.test")], "min_version": "1.3"});
    let timeouts = json!({"client": "5s", "client_idle": "5s", "request_head": "300ms"});
    let cluster = cluster(json!({"tls": tls, "timeouts": timeouts})).await;
    let old = builder(&[&TLS12]).with_root_certificates(authority.roots()).with_no_client_auth();
    connect(cluster.frontend, old, "a.test").await.expect_err("it is too old");
    for first in [&b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"\x16\x03\x01", b""] {
        let mut stream = TcpStream::connect(cluster.frontend).await.expect("the frontend");
        stream.write_all(first).await.expect("it is taken");
        let mut rest = Vec::new();
        let within = Duration::from_secs(10);
        let ended = tokio::time::timeout(within, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{first:?}");
        assert!(!rest.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&rest));
    }
    until("they are counted", || async { (cluster.frontend_stats().refused == 4).then_some(()) })
        .await;
    assert_eq!(cluster.frontend_stats().requests, 0);
    let log = cluster.directory.path().join("access.log");
    until("they are written down", || async {
        let lines = std::fs::read_to_string(&log).unwrap_or_default();
        (lines.matches(r#""error":"tls_handshake_error""#).count() >= 3).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_show_a_certificate_where_they_have_to() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let tls = json!({
        "certificates": [authority.write("a", "a.test")],
        "client_ca": authority.path("ca.pem"),
    });
    let cluster = cluster(json!({"tls": tls})).await;
    let with = |issuer: &Authority| authority.client_of(issuer, "client.test");
    let asks = async |config: ClientConfig| {
        let mut stream = connect(cluster.frontend, config, "a.test").await?;
        ask(&mut stream, "o.test").await
    };
    assert!(asks(with(&authority)).await.expect("an answer").starts_with("HTTP/1.1 200 "));
    // In TLS 1.3 a client hears of it when it reads.
    for config in [authority.client(), with(&foreign)] {
        assert!(asks(config).await.is_err());
    }
    assert_eq!(cluster.arrivals().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_files_are_shown_and_broken_ones_are_not() {
    let authority = Authority::new();
    let tls = json!({"certificates": [authority.write("a", "a.test")]});
    let cluster = cluster(json!({"tls": tls})).await;
    let mut kept =
        connect(cluster.frontend, authority.client(), "a.test").await.expect("a session");
    fs::write(authority.path("a.pem"), "no certificate").expect("written");
    until("the broken file is noticed", || async {
        cluster.view.certificates().iter().any(|(_, it)| it.problem.is_some()).then_some(())
    })
    .await;
    connect(cluster.frontend, authority.client(), "a.test").await.expect("the old one");
    authority.write("a", "renewed.test");
    until("the new certificate is shown", || async {
        connect(cluster.frontend, authority.client(), "renewed.test").await.ok()
    })
    .await;
    assert!(cluster.view.certificates().iter().all(|(_, it)| it.problem.is_none()));
    assert!(ask(&mut kept, "o.test").await.expect("an answer").starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_in_front_says_who_speaks_tls() {
    let authority = Authority::new();
    let tls = json!({"certificates": [authority.write("a", "a.test")]});
    let cluster = cluster(json!({"tls": tls, "proxy_protocol": ["127.0.0.0/8"]})).await;
    let addresses = Addresses {
        source: "192.0.2.7:1000".parse().expect("an address"),
        destination: "192.0.2.8:3128".parse().expect("an address"),
    };
    let mut header = Vec::new();
    proxy_protocol::encode_line(&mut header, &addresses);
    // Together with the ClientHello, so that both are read at once.
    let name = ServerName::try_from("a.test").expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(authority.client()), name.clone())
        .expect("a client");
    client.write_tls(&mut header).expect("a ClientHello");
    let mut tcp = TcpStream::connect(cluster.frontend).await.expect("the frontend");
    tcp.write_all(&header).await.expect("it is taken");
    let mut answer = [0; 3];
    tcp.read_exact(&mut answer).await.expect("the server's turn");
    assert_eq!(answer[..2], [22, 3], "a handshake");
    // And apart, to the end.
    let mut tcp = TcpStream::connect(cluster.frontend).await.expect("the frontend");
    let line = b"PROXY TCP4 192.0.2.7 192.0.2.8 1000 3128\r\n";
    tcp.write_all(line).await.expect("it is taken");
    let connector = TlsConnector::from(Arc::new(authority.client()));
    let mut stream = connector.connect(name, tcp).await.expect("a session");
    assert!(ask(&mut stream, "o.test").await.expect("an answer").starts_with("HTTP/1.1 200 "));
    let arrival = cluster.arrivals().remove(0);
    assert_eq!(arrival.head.field("x-forwarded-for"), Some("192.0.2.7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_a_certificate_is_told_to_nodes_and_nobody_forges_it() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let tls = json!({
        "certificates": [authority.write("a", "a.test")],
        "client_ca": authority.path("ca.pem"), "client_certificates_optional": true,
    });
    let cluster = cluster(json!({"tls": tls})).await;
    let forged = "GET http://o/ HTTP/1.1\r\nHost: o\r\nShoal-Client-Certificate: root\r\n\r\n\
        CONNECT o:443 HTTP/1.1\r\nHost: o:443\r\nShoal-Client-Certificate: root\r\n\r\n";
    for (config, expected) in
        [(authority.client_of(&authority, "alice"), Some("alice")), (authority.client(), None)]
    {
        let before = cluster.arrivals().len();
        let mut stream = connect(cluster.frontend, config, "a.test").await.expect("a session");
        stream.write_all(forged.as_bytes()).await.expect("it is taken");
        let arrived = until("both arrive", || async {
            let arrivals = cluster.arrivals().split_off(before);
            (arrivals.len() == 2).then_some(arrivals)
        })
        .await;
        for arrival in arrived {
            assert_eq!(arrival.head.field("shoal-client-certificate"), expected);
        }
    }
    // One that is shown has to be good.
    let config = authority.client_of(&foreign, "mallory");
    let refused = async {
        let mut stream = connect(cluster.frontend, config, "a.test").await?;
        ask(&mut stream, "o.test").await
    };
    assert!(refused.await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_by_address_hear_in_tlvs_and_fields_what_tls_told() {
    let authority = Authority::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    for mode in ["http", "tcp"] {
        let tls = json!({
            "certificates": [authority.write("a", "a.test")],
            "client_ca": authority.path("ca.pem"), "client_certificates_optional": true,
        });
        let named = |part: &str, name: &str| json!({"name": name, "value": [part]});
        let set = [named("client_subject", "X-Subject"), named("tls_version", "X-Version")];
        let fields = if mode == "http" { json!(set) } else { json!([]) };
        let cluster = Cluster::with(
            0,
            json!({
                "mode": mode, "send_proxy": "v2", "discover": null,
                "check": {"enabled": false, "inter": "1s", "timeout": "2s", "rise": 2, "fall": 3},
                "servers": [{"name": "s", "host": "127.0.0.1", "port": port, "weight": 1,
                    "backup": false}],
                "frontend": {"mode": mode, "tls": tls, "health_path": null,
                    "request_fields": {"set": fields, "add": [], "remove": []}},
            }),
        )
        .await;
        let config = authority.client_of(&authority, "alice");
        let mut stream = connect(cluster.frontend, config, "a.test").await.expect("a session");
        stream.write_all(b"GET http://o/ HTTP/1.1\r\nHost: o\r\n\r\n").await.expect("taken");
        let (mut server, _) = listener.accept().await.expect("a connection");
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\n") || heard.len() < 40 {
            assert_ne!(server.read_buf(&mut heard).await.expect("bytes"), 0);
        }
        let (header, length) = proxy_protocol::parse(&heard).expect("a header").expect("whole");
        assert!(header.addresses.is_some());
        let tlvs = b"\x02\0\x06a.test\x20\0\x17\x07\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x05alice";
        assert!(heard[..length].ends_with(tlvs), "{:?}", &heard[..length]);
        let request = String::from_utf8_lossy(&heard[length..]).into_owned();
        assert_eq!(
            request.contains("\r\nX-Subject: CN=alice\r\nX-Version: TLSv1.3\r\n"),
            mode == "http"
        );
        assert!(!request.contains("Shoal-Client-Certificate"), "for nodes alone: {request}");
    }
}
