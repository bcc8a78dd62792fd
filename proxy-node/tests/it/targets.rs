//! Copies of the access log go where the bundle says.

use std::net::UdpSocket;

use cluster_config::document::log::{LogAddress, LogFormat, LogFraming, LogTarget};
use proxy_node::record;

use crate::support::{Origin, Proxy, Then, response, until};

fn target(server: &UdpSocket, format: LogFormat) -> LogTarget {
    let port = server.local_addr().unwrap().port();
    LogTarget {
        to: LogAddress::Udp("127.0.0.1".into(), port),
        format,
        framing: LogFraming::Rfc3164,
        facility: 16,
        tag: "squid".into(),
    }
}

/// The next message, without its header.
fn message(server: &UdpSocket) -> String {
    let mut buffer = [0; 16 * 1024];
    let length = server.recv(&mut buffer).unwrap();
    let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
    let (header, message) = text.split_once("]: ").unwrap();
    assert!(header.starts_with("<134>") && header.contains(" squid["), "{header}");
    message.to_owned()
}

#[test]
fn in_every_format() {
    let origin = Origin::answering(response("", "x"), Then::Keep);
    let mut proxy = Proxy::start();
    let servers = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    for server in &servers {
        server.set_read_timeout(Some(testkit::wait::PATIENCE)).unwrap();
    }
    let custom = LogFormat::Custom("%HM %ST %{+Q}HU".parse().unwrap());
    let formats = [LogFormat::Squid, LogFormat::Json, custom];
    let targets: Vec<_> =
        servers.iter().zip(formats).map(|(server, format)| target(server, format)).collect();
    proxy.change(|document| document.log_targets = targets);
    record::configure(&proxy.node.recorder, &proxy.document);
    let url = origin.url("/a");
    assert_eq!(proxy.get(&url).status, 200);
    let lines = proxy.log_lines(1);
    assert_eq!(message(&servers[0]), lines[0]);
    let json: serde_json::Value = serde_json::from_str(&message(&servers[1])).unwrap();
    assert_eq!((&json["target"], &json["status"]), (&url.as_str().into(), &200.into()));
    assert_eq!(message(&servers[2]), format!("GET 200 \"{url}\""));
    until("they are counted", || {
        let targets = proxy.node.recorder.log().targets.current();
        targets.iter().all(|it| it.counts().sent() == 1).then_some(())
    });
    // Without them nothing is sent any more, and the file goes on.
    proxy.change(|document| document.log_targets.clear());
    record::configure(&proxy.node.recorder, &proxy.document);
    proxy.get(&url);
    assert_eq!(proxy.log_lines(2).len(), 2);
    assert!(proxy.node.recorder.log().targets.current().is_empty());
}
