//! How bytes go to and fro: TLS to clients and to the token-service, and clients that do
//! not read.

use std::time::{Duration, Instant};

use fake_google::{Action, Fault};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    certificates::{Authority, EXPIRED, put},
    support::{API_KEY, Setup, World, eventually, hello, with},
};

fn path(folder: &tempfile::TempDir, file: &str) -> String {
    folder.path().join(file).display().to_string()
}

/// A client that trusts `authority` alone.
fn https(authority: &Authority) -> reqwest::Client {
    antigravity_runtime::tls::install_crypto_provider();
    let certificate = reqwest::Certificate::from_pem(authority.pem.as_bytes()).unwrap();
    reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .tls_certs_only([certificate])
        .build()
        .unwrap()
}

#[tokio::test]
async fn clients_and_admins_are_served_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    authority.put(folder.path(), "server");
    let admin_address = fake_google::unused_address().unwrap();
    let setup = Setup {
        environment: vec![
            ("TLS_CERT_FILE", path(&folder, "server.pem")),
            ("TLS_KEY_FILE", path(&folder, "server.key")),
            ("ADMIN_LISTEN", admin_address.to_string()),
        ],
        ..Setup::default()
    };
    let world = setup.start().await;
    let address = world.gateways[0].address;
    let client = https(&authority);
    for stream in [false, true] {
        let answer = client
            .post(format!("https://{address}/v1/chat/completions"))
            .bearer_auth(API_KEY)
            .body(with(hello(), "stream", json!(stream)).to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.version(), reqwest::Version::HTTP_2);
        assert!(answer.text().await.unwrap().contains("choices"));
    }
    let metrics = client.get(format!("https://{admin_address}/metrics"));
    assert_eq!(metrics.send().await.unwrap().status(), 200);

    gateway::health::check(address, true).await.unwrap();
    assert!(gateway::health::check(address, false).await.is_err());
    let clear = world.client.get(world.url(0, "/livez")).send().await;
    let clear = clear.unwrap();
    assert_eq!(clear.status(), 400);
    assert!(clear.text().await.unwrap().contains("https"));
}

#[tokio::test]
async fn a_gateway_with_files_that_do_not_fit_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    authority.put(folder.path(), "server");
    authority.put(folder.path(), "other");
    let setup = Setup {
        environment: vec![
            ("TLS_CERT_FILE", path(&folder, "server.pem")),
            ("TLS_KEY_FILE", path(&folder, "other.key")),
        ],
        ..Setup::default()
    };
    let mut world = setup.start().await;
    let ended = world.gateways.remove(0).task.await.unwrap();
    let error = ended.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let said = error.to_string();
    assert!(
        said.starts_with("TLS_KEY_FILE (") && said.contains("is not the key of"),
        "{said}"
    );
}

async fn is_ready(world: &World) -> bool {
    world.get("/readyz").await.body.contains("\"ok\"")
}

#[tokio::test]
async fn a_certificate_of_the_token_service_that_ends_while_all_runs() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    authority.put(folder.path(), "service");
    authority.put(folder.path(), "gateway");
    std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
    let setup = Setup {
        environment: vec![
            ("TOKEN_SERVICE_TLS_CERT_FILE", path(&folder, "service.pem")),
            ("TOKEN_SERVICE_TLS_KEY_FILE", path(&folder, "service.key")),
            ("TOKEN_SERVICE_CLIENT_CA_FILE", path(&folder, "ca.pem")),
            ("TOKEN_SERVICE_CA_FILE", path(&folder, "ca.pem")),
            (
                "TOKEN_SERVICE_CLIENT_CERT_FILE",
                path(&folder, "gateway.pem"),
            ),
            (
                "TOKEN_SERVICE_CLIENT_KEY_FILE",
                path(&folder, "gateway.key"),
            ),
        ],
        ..Setup::default()
    };
    let mut world = setup.start().await;
    assert_eq!(world.chat(&hello()).await.status, 200);
    assert!(is_ready(&world).await);

    // It ends, and the service takes that over: who is connected goes on.
    let old = authority.sign(&["localhost", "127.0.0.1"], EXPIRED);
    put(folder.path(), "service", &old);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(is_ready(&world).await);
    assert_eq!(world.chat(&hello()).await.status, 200);

    // After a restart nobody new is let in; what is in hand is used.
    world.stop_tokens().await;
    // Its connections end a moment later, and the last of them lets go of the database.
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.restart_tokens().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let ready = world.get("/readyz").await;
    assert_eq!(ready.status, 200);
    assert!(ready.body.contains("degraded"), "{}", ready.body);
    assert_eq!(world.chat(&hello()).await.status, 200);

    // Renewed: nobody has to be restarted.
    authority.put(folder.path(), "service");
    let end = Instant::now() + Duration::from_secs(15);
    while !is_ready(&world).await {
        assert!(Instant::now() < end, "the new certificate is not used");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(world.chat(&hello()).await.status, 200);
}

#[tokio::test]
async fn who_does_not_read_his_stream_ends_it_at_google_too() {
    let setup = Setup {
        environment: vec![("WRITE_TIMEOUT", "1s".to_owned())],
        ..Setup::default()
    };
    let world = setup.start().await;
    let text = "x".repeat(256 * 1024);
    let chunk = json!({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}}]});
    let google = world.google.fake();
    google.script(Fault::once(Action::Answer {
        chunks: vec![chunk; 200],
    }));
    let mut stream = TcpStream::connect(world.gateways[0].address).await.unwrap();
    let body = with(hello(), "stream", json!(true)).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_KEY}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    eventually("the stream at Google ends", || {
        google.counters().aborted == 1 && google.counters().in_flight == 0
    })
    .await;
}

#[tokio::test]
async fn a_body_of_one_byte_at_a_time_ends_in_time() {
    let setup = Setup {
        environment: vec![("BODY_TIMEOUT", "200ms".to_owned())],
        ..Setup::default()
    };
    let world = setup.start().await;
    let stream = TcpStream::connect(world.gateways[0].address).await.unwrap();
    let (mut answer, mut request) = stream.into_split();
    let began = Instant::now();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_KEY}\r\n\
         Content-Length: 100000\r\n\r\n"
    );
    request.write_all(head.as_bytes()).await.unwrap();
    let trickle = tokio::spawn(async move {
        while request.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut status = [0; 12];
    answer.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 408");
    let took = began.elapsed();
    assert!(
        took > Duration::from_secs(1) && took < Duration::from_secs(8),
        "{took:?}"
    );
    trickle.abort();
}
