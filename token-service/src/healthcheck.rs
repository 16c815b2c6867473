//! Asks a running service whether it serves, for containers without a shell.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use antigravity_runtime::tls::{self, ClientFiles, Connector, ServerFiles};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

const DEADLINE: Duration = Duration::from_secs(3);

/// Why a service is not healthy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HealthcheckError {
    /// Nobody answers.
    #[error("{address} does not answer: {source}")]
    Unreachable {
        /// Where it was asked.
        address: SocketAddr,
        /// Why.
        source: tonic::transport::Error,
    },
    /// It answers with an error.
    #[error("{address} answers with an error: {source}")]
    Refused {
        /// Where it was asked.
        address: SocketAddr,
        /// Which.
        source: Box<tonic::Status>,
    },
    /// It says that it does not serve (it starts or stops).
    #[error("{address} is not serving")]
    NotServing {
        /// Where it was asked.
        address: SocketAddr,
    },
}

/// Asks the service at `address` (or, for an unspecified one, on this machine) whether it
/// serves; `tls` where it speaks that. Whoever holds the key of the certificate that is
/// shown will do, as nothing secret is sent; and a service that demands a client certificate
/// which this machine does not have lives, or it could not demand it.
///
/// # Errors
/// When it does not answer within three seconds, or answers that it does not serve.
pub async fn healthcheck(
    address: SocketAddr,
    tls: Option<&ServerFiles>,
) -> Result<(), HealthcheckError> {
    let mut address = address;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let unreachable = |source| HealthcheckError::Unreachable { address, source };
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(unreachable)?
        .connect_timeout(DEADLINE)
        .timeout(DEADLINE);
    let channel = match tls {
        None => endpoint.connect().await,
        Some(_) => {
            let connect = tower::service_fn(move |_| async move {
                let stream = TcpStream::connect(address).await?;
                let anybody = Connector::new(ClientFiles::default()).to_anybody();
                let host = address.ip().to_string();
                let stream = anybody.connect(&host, &[b"h2"], stream).await?;
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            });
            endpoint.connect_with_connector(connect).await
        }
    };
    let demands = tls.is_some_and(ServerFiles::demands_client_certificates);
    let answer = match channel {
        Ok(channel) => {
            let mut client = HealthClient::new(channel);
            client.check(HealthCheckRequest::default()).await
        }
        Err(error) if demands && tls::demands_certificate(&error) => return Ok(()),
        Err(error) => return Err(unreachable(error)),
    };
    let answer = match answer {
        Err(status) if demands && tls::demands_certificate(&status) => return Ok(()),
        answer => answer.map_err(|source| HealthcheckError::Refused {
            address,
            source: Box::new(source),
        })?,
    };
    match answer.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        _ => Err(HealthcheckError::NotServing { address }),
    }
}
