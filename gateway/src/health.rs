//! Asks a running gateway whether it lives, for containers without a shell.

use std::{io, net::SocketAddr, time::Duration};

use antigravity_runtime::tls::{ClientFiles, Connector};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

/// How long a healthy gateway may take to say so.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks `GET /livez` at `address`, over TLS when the listener speaks it; an unspecified
/// address is asked on loopback. Whoever holds the key of the certificate that is shown will
/// do: an expired one is no reason to end a gateway that serves, and nothing secret is sent.
///
/// # Errors
/// It does not answer 200 in time.
pub async fn check(mut address: SocketAddr, tls: bool) -> io::Result<()> {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let ask = async {
        let stream = TcpStream::connect(address).await?;
        if tls {
            let anybody = Connector::new(ClientFiles::default()).to_anybody();
            let host = address.ip().to_string();
            ask(
                anybody.connect(&host, &[b"http/1.1"], stream).await?,
                address,
            )
            .await
        } else {
            ask(stream, address).await
        }
    };
    tokio::time::timeout(PATIENCE, ask)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn ask(mut io: impl AsyncRead + AsyncWrite + Unpin, address: SocketAddr) -> io::Result<()> {
    let request = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    io.write_all(request.as_bytes()).await?;
    let mut status = [0; 12];
    io.read_exact(&mut status).await?;
    if &status == b"HTTP/1.1 200" {
        Ok(())
    } else {
        Err(io::Error::other("it does not answer 200"))
    }
}
