//! Nobody keeps a place for nothing, and no panic closes the port.

use std::time::Duration;

use super::*;

/// Everything that comes until the server has had enough.
async fn said(served: &Served, bytes: &str) -> String {
    let mut tcp = TcpStream::connect(served.address).await.unwrap();
    tcp.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    drop(
        tokio::time::timeout(testkit::wait::PATIENCE, tcp.read_to_end(&mut answer))
            .await
            .expect("the end of the connection"),
    );
    String::from_utf8_lossy(&answer).into_owned()
}

/// In a hurry with one thing, and patient for ever with the others.
fn hurried(change: impl Fn(&mut Patience)) -> Patience {
    let [handshake, head, body, reading] = [Duration::from_secs(3600); 4];
    let mut patience = Patience { handshake, head, body, reading };
    change(&mut patience);
    patience
}

const SOON: Duration = Duration::from_millis(100);

#[tokio::test]
async fn who_says_nothing_or_half_of_it_is_dropped() {
    let served = serve_for(rules(), None, hurried(|patience| patience.head = SOON));
    assert_eq!(said(&served, "").await, "");
    said(&served, "GET / HTTP/1.1\r\nhost: ").await;
    let again =
        said(&served, &format!("HEAD / HTTP/1.1\r\nhost: {}\r\n\r\n", served.address)).await;
    assert!(again.starts_with("HTTP/1.1 200"), "and so is an idle connection: {again}");

    let served = serve_for(rules(), None, hurried(|patience| patience.body = SOON));
    let head = format!(
        "POST /login HTTP/1.1\r\nhost: {0}\r\norigin: http://{0}\r\nx-shoal-console: \
         1\r\ncontent-type: application/json\r\n",
        served.address
    );
    let body = said(&served, &format!("{head}content-length: 100\r\n\r\n{{")).await;
    assert!(body.starts_with("HTTP/1.1 408") && body.contains("did not come in time"), "{body}");
}

#[tokio::test]
async fn who_does_not_shake_hands_is_dropped() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let [cert, key] =
        [("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())].map(
            |(file, content)| {
                std::fs::write(scratch.path().join(file), content).unwrap();
                scratch.path().join(file)
            },
        );
    let certificate = Certificate::of_files(cert, key).unwrap();
    let served = serve_for(
        Rules { tls: true, ..rules() },
        Some(certificate),
        hurried(|patience| patience.handshake = SOON),
    );
    assert_eq!(said(&served, "").await, "");
    assert_eq!(said(&served, "\x16\x03\x01").await, "", "a handshake that goes no further");
}

#[tokio::test]
async fn a_panic_while_accepting_loses_that_connection_and_the_port_stays_open() {
    let served = serve(rules());
    listen::tests::arm();
    let mut lost = TcpStream::connect(served.address).await.unwrap();
    assert!(matches!(lost.read(&mut [0]).await, Ok(0) | Err(_)));
    assert!(!listen::tests::is_armed());
    assert_eq!(served.get("/").await.status(), 200);
    // And it still closes when it is told to.
    served.closing.raise();
    testkit::wait::until("nobody is let in", || async {
        TcpStream::connect(served.address).await.is_err().then_some(())
    })
    .await;
}
