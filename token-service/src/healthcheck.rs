//! Asks a running service whether it serves, for containers without a shell.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

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
/// serves.
///
/// # Errors
/// When it does not answer within three seconds, or answers that it does not serve.
pub async fn healthcheck(address: SocketAddr) -> Result<(), HealthcheckError> {
    let mut address = address;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let unreachable = |source| HealthcheckError::Unreachable { address, source };
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .map_err(unreachable)?
        .connect_timeout(DEADLINE)
        .timeout(DEADLINE)
        .connect()
        .await
        .map_err(unreachable)?;
    let answer = HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await
        .map_err(|source| HealthcheckError::Refused {
            address,
            source: Box::new(source),
        })?;
    match answer.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        _ => Err(HealthcheckError::NotServing { address }),
    }
}
