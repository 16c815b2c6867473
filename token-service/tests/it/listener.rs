//! The gRPC listener: whom it does not keep, and how it says goodbye.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::{Home, channel, dealt, google, tokens_json, wanted};

/// What the server says until it closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    // A connection that is reset has said all that it will.
    let _ = timeout(Duration::from_secs(30), stream.read_to_end(&mut said))
        .await
        .unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn who_says_nothing_or_speaks_something_else_is_not_kept() {
    let google = google(1).await;
    let home = Home::new(&google);
    home.write_tokens(&tokens_json(1..2));
    let service = home.start().await;
    let mut gateway = service.tokens().await;
    assert_eq!(dealt(&mut gateway, wanted(1)).await, "1");

    let mut browser = TcpStream::connect(service.address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    browser.write_all(request).await.unwrap();
    let said = rest(&mut browser).await;
    assert!(
        said.starts_with("HTTP/1.1 505") && said.contains("gRPC"),
        "{said}"
    );

    let began = Instant::now();
    let mut silent = TcpStream::connect(service.address).await.unwrap();
    assert_eq!(rest(&mut silent).await, "");
    let took = began.elapsed();
    assert!(took > Duration::from_secs(5), "{took:?}");
    // Who was there before and had nothing to ask is there still.
    assert_eq!(dealt(&mut gateway, wanted(1)).await, "1");
    service.stop().await;
}

#[tokio::test]
async fn who_watches_its_health_hears_that_it_ends() {
    let google = google(1).await;
    let home = Home::new(&google);
    let service = home.start().await;
    let mut health = HealthClient::new(channel(service.address).await);
    let all = HealthCheckRequest {
        service: String::new(),
    };
    let mut watch = health.watch(all).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    let began = Instant::now();
    let stopping = tokio::spawn(service.stop());
    let then = timeout(Duration::from_secs(2), watch.message()).await;
    let then = then.unwrap().unwrap().unwrap();
    assert_eq!(then.status(), ServingStatus::NotServing);
    // It goes on for as long as calls may, and holds the process no longer.
    stopping.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(9));
    assert!(!matches!(watch.message().await, Ok(Some(_))));
}
