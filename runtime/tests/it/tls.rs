//! TLS at the listener, and certificates that change, end or do not fit.

use std::{io, path::Path, sync::Arc, time::Duration};

use antigravity_runtime::{
    config::{Environment, Var},
    listener::Limits,
    tls::{Acceptor, ClientFiles, Clients, Connector, ServerFiles},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep},
};
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::{
    certificates::{Authority, EXPIRED, GOOD, put},
    support::{Server, rest, some},
};

const fn var(name: &'static str) -> Var {
    Var {
        name,
        default: "",
        help: "",
        secret: false,
    }
}

const CERTIFICATE: Var = var("CERTIFICATE");
const KEY: Var = var("KEY");
const CLIENT_AUTHORITIES: Var = var("CLIENT_AUTHORITIES");
const AUTHORITIES: Var = var("AUTHORITIES");

fn environment(folder: &Path, names: &[(&str, &str)]) -> Environment {
    let of = |file: &str| folder.join(file).display().to_string();
    Environment::of(names.iter().map(|(name, file)| (*name, of(file))))
}

fn files(folder: &Path, names: &[(&str, &str)]) -> Result<ServerFiles, String> {
    let environment = environment(folder, names);
    let files =
        ServerFiles::from_environment(&environment, &CERTIFICATE, &KEY, Some(&CLIENT_AUTHORITIES));
    files.map(Option::unwrap).map_err(|error| error.to_string())
}

const SERVER: &[(&str, &str)] = &[("CERTIFICATE", "server.pem"), ("KEY", "server.key")];

fn acceptor(folder: &Path) -> Arc<Acceptor> {
    let files = files(folder, SERVER).unwrap();
    Acceptor::load(
        files,
        &[b"h2", b"http/1.1"],
        Duration::from_secs(1),
        Clients::Anybody,
    )
    .unwrap()
}

fn connector(folder: &Path, names: &[(&str, &str)]) -> Connector {
    let environment = environment(folder, names);
    let files = ClientFiles::from_environment(&environment, &AUTHORITIES, &CERTIFICATE, &KEY);
    Connector::new(files.unwrap())
}

async fn connect(
    server: &Server,
    folder: &Path,
    host: &str,
    protocol: &[u8],
) -> io::Result<TlsStream<TcpStream>> {
    let connector = connector(folder, &[("AUTHORITIES", "ca.pem")]);
    connector
        .connect(host, &[protocol], server.connect().await)
        .await
}

async fn refusal(server: &Server, folder: &Path, host: &str) -> String {
    let refused = connect(server, folder, host, b"h2").await;
    refused.err().unwrap().to_string()
}

#[tokio::test]
async fn both_protocols_by_alpn_and_neither_for_those_who_speak_in_the_clear() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let authority = Authority::new("ours");
    std::fs::write(folder.join("ca.pem"), &authority.pem).unwrap();
    authority.put(folder, "server");
    let server = Server::with_tls(Limits::default(), Some(acceptor(folder))).await;

    let mut http1 = connect(&server, folder, "localhost", b"http/1.1")
        .await
        .unwrap();
    // Idle for so long that nothing but the connection is kept.
    let request = b"GET /zero HTTP/1.1\r\nHost: x\r\n\r\n";
    http1.write_all(request).await.unwrap();
    let said = some(&mut http1).await;
    assert!(said.contains("GET /zero"), "{said}");
    sleep(Duration::from_millis(2500)).await;
    let request = b"GET /one HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    http1.write_all(request).await.unwrap();
    let said = rest(&mut http1).await;
    assert!(said.contains("GET /one"), "{said}");

    let http2 = connect(&server, folder, "127.0.0.1", b"h2").await.unwrap();
    let (mut client, connection) = h2::client::handshake(http2).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("https://localhost/two")
        .body(())
        .unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);

    let clear = server.ask("/three").await;
    assert!(
        clear.starts_with("HTTP/1.1 400") && clear.contains("use https"),
        "{clear}"
    );
    let (head, body) = clear.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{clear}"
    );

    // Who has done the handshake and says nothing is idle: a drain waits for nobody such.
    let mut idle = connect(&server, folder, "localhost", b"http/1.1")
        .await
        .unwrap();
    // A handshake that does not go on ends in time.
    let mut silent = server.connect().await;
    silent.write_all(&[0x16, 3, 1, 0]).await.unwrap();
    let began = Instant::now();
    assert_eq!(rest(&mut silent).await, "");
    assert!(began.elapsed() < Duration::from_secs(5));
    server.shutdown.drain.cancel();
    assert_eq!(rest(&mut idle).await, "");
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn who_is_not_who_he_should_be_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    std::fs::write(folder.join("ca.pem"), &ours.pem).unwrap();

    others.put(folder, "server");
    let server = Server::with_tls(Limits::default(), Some(acceptor(folder))).await;
    let said = refusal(&server, folder, "localhost").await;
    assert!(said.contains("no authority that is trusted"), "{said}");

    put(folder, "server", &ours.sign(&["tokens.example"], GOOD));
    let server = Server::with_tls(Limits::default(), Some(acceptor(folder))).await;
    let said = refusal(&server, folder, "localhost").await;
    assert!(
        said.contains("tokens.example") && said.contains("not for localhost"),
        "{said}"
    );

    put(folder, "server", &ours.sign(&["localhost"], EXPIRED));
    let server = Server::with_tls(Limits::default(), Some(acceptor(folder))).await;
    let said = refusal(&server, folder, "localhost").await;
    assert!(said.contains("has expired on 2020-01-01"), "{said}");

    let server = Server::start(Limits::default()).await;
    let said = refusal(&server, folder, "localhost").await;
    assert!(said.contains("does not speak TLS"), "{said}");
}

#[tokio::test]
async fn files_that_do_not_fit_are_named_by_their_variables() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let authority = Authority::new("ours");
    authority.put(folder, "server");
    authority.put(folder, "other");
    std::fs::write(folder.join("text"), "planted-secret").unwrap();
    let of = |certificate, key| [("CERTIFICATE", certificate), ("KEY", key)];
    for (names, wanted) in [
        (of("server.pem", "other.key"), ["KEY", "is not the key of"]),
        (
            of("missing", "server.key"),
            ["CERTIFICATE", "cannot be read"],
        ),
        (of("server.pem", "missing"), ["KEY", "cannot be read"]),
        (of("text", "server.key"), ["CERTIFICATE", "no certificate"]),
        (of("server.pem", "text"), ["KEY", "no private key"]),
        (
            of("server.key", "server.key"),
            ["CERTIFICATE", "no certificate"],
        ),
    ] {
        let files = files(folder, &names).unwrap();
        let loaded = Acceptor::load(files, &[], Duration::from_secs(1), Clients::Anybody);
        let said = loaded.err().map(|error| error.to_string()).unwrap();
        assert!(
            said.starts_with(wanted[0]) && said.contains(wanted[1]),
            "{names:?}: {said}"
        );
        assert!(!said.contains("planted"), "{said}");
    }
    for (names, wanted) in [
        ([("CERTIFICATE", "server.pem")], "without KEY"),
        ([("KEY", "server.key")], "without CERTIFICATE"),
        (
            [("CLIENT_AUTHORITIES", "server.pem")],
            "set CERTIFICATE and KEY",
        ),
    ] {
        let said = files(folder, &names).err().unwrap();
        assert!(
            said.starts_with(names[0].0) && said.contains(wanted),
            "{said}"
        );
    }
}

/// Whether a connection shows a certificate that `localhost` may have.
async fn is_trusted(server: &Server, folder: &Path) -> bool {
    connect(server, folder, "localhost", b"h2").await.is_ok()
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_over_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let authority = Authority::new("ours");
    std::fs::write(folder.join("ca.pem"), &authority.pem).unwrap();
    put(folder, "server", &authority.sign(&["localhost"], EXPIRED));
    let acceptor = acceptor(folder);
    let stop = CancellationToken::new();
    let watching = tokio::spawn(Arc::clone(&acceptor).watch(stop.clone()));
    let server = Server::with_tls(Limits::default(), Some(acceptor)).await;
    assert!(!is_trusted(&server, folder).await);

    put(folder, "server", &authority.sign(&["localhost"], GOOD));
    let end = Instant::now() + Duration::from_secs(15);
    while !is_trusted(&server, folder).await {
        assert!(Instant::now() < end, "the new one is not taken over");
        sleep(Duration::from_millis(100)).await;
    }
    let mut before = connect(&server, folder, "localhost", b"http/1.1")
        .await
        .unwrap();

    // Keys of others, then nothing, then no longer there: what works goes on.
    authority.put(folder, "other");
    std::fs::copy(folder.join("other.key"), folder.join("server.key")).unwrap();
    sleep(Duration::from_secs(5)).await;
    assert!(is_trusted(&server, folder).await);
    std::fs::remove_file(folder.join("server.pem")).unwrap();
    sleep(Duration::from_secs(3)).await;
    assert!(is_trusted(&server, folder).await);

    // And who was connected before is served as before.
    put(folder, "server", &authority.sign(&["localhost"], EXPIRED));
    let end = Instant::now() + Duration::from_secs(15);
    while is_trusted(&server, folder).await {
        assert!(Instant::now() < end, "the last one is not taken over");
        sleep(Duration::from_millis(100)).await;
    }
    let request = b"GET /still HTTP/1.1\r\nHost: x\r\n\r\n";
    before.write_all(request).await.unwrap();
    let mut status = [0; 12];
    before.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    stop.cancel();
    watching.await.unwrap();
}

#[tokio::test]
async fn a_server_of_this_machine_is_known_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    put(
        folder,
        "server",
        &Authority::new("unknown").sign(&["elsewhere.example"], EXPIRED),
    );
    let own = files(folder, SERVER).unwrap();
    let server = Server::with_tls(Limits::default(), Some(acceptor(folder))).await;
    let to_own = Connector::default().to_own(own.certificate().clone());
    let stream = server.connect().await;
    to_own.connect("127.0.0.1", &[b"h2"], stream).await.unwrap();

    put(
        folder,
        "server",
        &Authority::new("another").sign(&["elsewhere.example"], GOOD),
    );
    let stream = server.connect().await;
    let refused = to_own.connect("127.0.0.1", &[b"h2"], stream).await;
    let said = refused.err().unwrap().to_string();
    assert!(said.contains("not the one of this machine's own"), "{said}");
    let anybody = Connector::default().to_anybody();
    let stream = server.connect().await;
    anybody
        .connect("127.0.0.1", &[b"h2"], stream)
        .await
        .unwrap();
}
