//! Clients that do not read: cut off. Those that read slowly: served.

use std::time::{Duration, Instant};

use antigravity_runtime::listener::Limits;
use tokio::{
    io::AsyncReadExt as _,
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::support::{PATIENCE, Server, get};

fn impatient() -> Limits {
    Limits {
        write_timeout: Duration::from_secs(1),
        ..Limits::default()
    }
}

/// A connection whose answer has begun and never ends.
async fn endless(server: &Server) -> TcpStream {
    let mut stream = server.connect().await;
    let begun = get(&mut stream, "/endless").await;
    assert!(begun.starts_with("HTTP/1.1 200"), "{begun}");
    stream
}

#[tokio::test]
async fn who_does_not_read_is_cut_off() {
    let mut server = Server::start(impatient()).await;
    let _stream = endless(&server).await;
    let began = Instant::now();
    timeout(PATIENCE, server.dropped.recv()).await.unwrap();
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(900) && took < Duration::from_secs(4),
        "{took:?}"
    );
}

#[tokio::test]
async fn who_reads_slowly_is_served() {
    let mut server = Server::start(impatient()).await;
    let mut stream = endless(&server).await;
    // Kernels hold megabytes, and tell the other side of room only when there is some.
    let mut read = vec![0; 4 << 20];
    for _ in 0..8 {
        sleep(Duration::from_millis(400)).await;
        stream.read_exact(&mut read).await.unwrap();
    }
    assert!(server.dropped.try_recv().is_err(), "it was cut off");
}

#[tokio::test]
async fn a_stream_without_a_window_is_cut_off_and_the_others_go_on() {
    let mut server = Server::start(impatient()).await;
    let (mut client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    tokio::spawn(connection);
    let ask = |path: &str| {
        let uri = format!("http://{}{path}", server.address);
        http::Request::get(uri).body(()).unwrap()
    };
    let (stuck, _) = client.send_request(ask("/endless"), true).unwrap();
    let mut stuck = stuck.await.unwrap().into_body();
    // Nothing is released: the window stays shut, but not this other stream's.
    let began = Instant::now();
    timeout(PATIENCE, server.dropped.recv()).await.unwrap();
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(900) && took < Duration::from_secs(4),
        "{took:?}"
    );
    let ended = async {
        while let Some(data) = stuck.data().await {
            if let Err(error) = data {
                return Some(error);
            }
        }
        None
    };
    let ended = timeout(PATIENCE, ended).await.unwrap();
    assert!(ended.is_some_and(|error| error.is_reset()), "it was reset");
    // What it held of the connection's window is given back by its reader.
    drop(stuck);
    let (other, _) = client.send_request(ask("/other"), true).unwrap();
    assert_eq!(
        timeout(PATIENCE, other).await.unwrap().unwrap().status(),
        200
    );
}

#[tokio::test]
async fn a_stream_that_is_read_slowly_is_served() {
    let mut server = Server::start(impatient()).await;
    let (mut client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(format!("http://{}/endless", server.address));
    let (answer, _) = client
        .send_request(request.body(()).unwrap(), true)
        .unwrap();
    let mut body = answer.await.unwrap().into_body();
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        let data = timeout(PATIENCE, body.data())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    assert!(server.dropped.try_recv().is_err(), "it was cut off");
}
