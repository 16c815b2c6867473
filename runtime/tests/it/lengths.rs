//! Requests whose lengths contradict each other, several at once, and clients that hang up
//! in the middle: never two requests out of one, and nobody is stuck.

use antigravity_runtime::listener::Limits;
use tokio::io::AsyncWriteExt as _;

use crate::support::{Server, get, rest, some};

/// Everything that comes back for `bytes` until the server closes.
async fn told(server: &Server, bytes: &[u8]) -> String {
    let mut stream = server.connect().await;
    stream.write_all(bytes).await.unwrap();
    rest(&mut stream).await
}

/// The same, of a client that hangs up once it has sent them.
async fn told_in_passing(server: &Server, bytes: &[u8]) -> String {
    let mut stream = server.connect().await;
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    rest(&mut stream).await
}

fn answers(text: &str) -> usize {
    text.matches("HTTP/1.1 ").count()
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn contradicting_lengths_are_refused() {
    let server = Server::start(Limits::default()).await;
    for headers in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Content-Length : 5\r\n",
        "Content-Length\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "X-Folded: a\r\n Content-Length: 5\r\n",
    ] {
        let request = format!("POST /a HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        let said = told(&server, format!("{request}{SMUGGLED}").as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 400"), "{headers:?}: {said:?}");
        assert_eq!(answers(&said), 1, "{headers:?}: {said:?}");
        assert!(!said.contains("/smuggled"), "{headers:?}: {said:?}");
    }
}

#[tokio::test]
async fn two_ways_to_tell_a_length_are_one_request_at_most() {
    let server = Server::start(Limits::default()).await;
    // RFC 9112, 6.3: Transfer-Encoding overrides, and the connection ends after the answer;
    // or the request is refused.
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        let request = format!("POST /a HTTP/1.1\r\nHost: x\r\n{headers}\r\n0\r\n\r\n{SMUGGLED}");
        let said = told(&server, request.as_bytes()).await;
        assert!(!said.contains("/smuggled"), "{headers:?}: {said:?}");
        assert_eq!(answers(&said), 1, "{headers:?}: {said:?}");
    }
    // Over HTTP/1.0 there are no chunks.
    let old = format!("POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}");
    let said = told(&server, old.as_bytes()).await;
    assert!(
        said.contains(" 400 ") && !said.contains("/smuggled"),
        "{said:?}"
    );
}

#[tokio::test]
async fn broken_chunks_are_no_new_request() {
    let server = Server::start(Limits::default()).await;
    for chunks in [
        "5\r\nabcdeX\r\n0\r\n\r\n",
        "-1\r\na\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\n",
        "x\r\n\r\n",
        "5;a=b\nabcde\r\n0\r\n\r\n",
    ] {
        let request = format!(
            "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{SMUGGLED}"
        );
        let said = told(&server, request.as_bytes()).await;
        assert!(!said.contains("/smuggled"), "{chunks:?}: {said:?}");
        assert!(answers(&said) <= 1, "{chunks:?}: {said:?}");
    }
}

#[tokio::test]
async fn who_is_answered_before_a_large_body_hears_that_the_connection_ends() {
    let server = Server::start(Limits::default()).await;
    for (length, closes) in [
        ("content-length: 1048576", true),
        ("transfer-encoding: chunked", true),
        ("content-length: 2", false),
    ] {
        let mut stream = server.connect().await;
        let head = format!("POST /unread HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n{{}}");
        stream.write_all(head.as_bytes()).await.unwrap();
        let said = some(&mut stream).await.to_lowercase();
        assert!(said.starts_with("http/1.1 200"), "{said}");
        assert_eq!(said.contains("\nconnection: close\r"), closes, "{said}");
        if closes {
            assert_eq!(rest(&mut stream).await, "");
        } else {
            let said = get(&mut stream, "/next").await;
            assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        }
    }
}

#[tokio::test]
async fn several_at_once_are_answered_in_order() {
    let server = Server::start(Limits::default()).await;
    let mut asked = String::new();
    for at in 0..50 {
        let path = if at == 3 {
            "/slow".to_owned()
        } else {
            format!("/{at}.")
        };
        let close = if at == 49 {
            "Connection: close\r\n"
        } else {
            ""
        };
        asked += &format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\n{close}Content-Length: 2\r\n\r\nb{}",
            at % 10
        );
    }
    let said = told(&server, asked.as_bytes()).await;
    assert_eq!(answers(&said), 50, "{said}");
    let mut from = 0;
    for at in (0..50).filter(|at| *at != 3) {
        let wanted = format!("POST /{at}. b{}", at % 10);
        from += said[from..]
            .find(&wanted)
            .unwrap_or_else(|| panic!("{wanted}: {said}"));
    }
    let slow = said.find("/slow").unwrap();
    assert!(said.find("/2.").unwrap() < slow && slow < said.find("/4.").unwrap());
}

#[tokio::test]
async fn bytes_after_the_last_request_harm_nobody() {
    let server = Server::start(Limits::default()).await;
    let close = "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let said = told(&server, format!("{close}{SMUGGLED}").as_bytes()).await;
    assert!(
        said.contains("GET /a") && !said.contains("/smuggled"),
        "{said}"
    );
    // Closed on the client's side before the answer, which is how clients hang up; and in
    // the middle of a body and of a head.
    told_in_passing(&server, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    told_in_passing(
        &server,
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
    )
    .await;
    told_in_passing(&server, b"GET /a HTT").await;
    told_in_passing(&server, b"").await;
    assert!(server.ask("/still").await.starts_with("HTTP/1.1 200"));
}
