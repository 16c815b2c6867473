//! Asks a running gateway whether it lives, for containers without a shell.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// How long a healthy gateway may take to say so.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks `GET /livez` at `address`; an unspecified address is asked on loopback.
///
/// # Errors
/// It does not answer 200 in time.
pub async fn check(mut address: SocketAddr) -> io::Result<()> {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        if &status == b"HTTP/1.1 200" {
            Ok(())
        } else {
            Err(io::Error::other("it does not answer 200"))
        }
    };
    tokio::time::timeout(PATIENCE, ask)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
