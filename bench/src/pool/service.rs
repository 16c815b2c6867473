//! A token-service as a process of its own: this program over again.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use antigravity_runtime::{config::Environment, shutdown::Shutdown, telemetry};
use anyhow::{Context as _, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tonic::{Request, transport::Channel};

use crate::process::{Memory, Meter, Process};

pub(super) const GATEWAY_TOKEN: &str = "gateway-token-of-the-benchmark";
/// Of nothing that is kept.
pub(super) const ENCRYPTION_KEY: &str = "dGhlIGtleSBvZiB0aGUgYmVuY2htYXJrLCAzMiBieXQ=";
pub(super) const ADMIN_TOKEN: &str = "admin-token-of-the-benchmark";

/// Serves as the environment says, until it is told to end.
pub(crate) async fn be_service() -> anyhow::Result<()> {
    let config = token_service::Config::from_environment(&Environment::load(None)?)?;
    let _lines = telemetry::init(config.log_format, &config.log_level);
    let listener = TcpListener::bind(config.listen).await?;
    token_service::serve(config, listener, Shutdown::on_signals()).await?;
    Ok(())
}

#[derive(Debug)]
pub(super) struct Service {
    process: Process,
    address: String,
    admin: String,
}

impl Service {
    /// Starts it, and waits until it listens.
    pub(super) fn start(
        environment: &[(&'static str, String)],
        folder: &Path,
        name: &'static str,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut process = Process::start(name, &program, &["pool-service"], environment, folder)?;
        let address = process.address_in_log("listening")?;
        let admin = process.address_in_log("the token-service's admin listener is open")?;
        Ok(Self {
            process,
            address,
            admin,
        })
    }

    pub(super) async fn channel(&self) -> anyhow::Result<Channel> {
        let endpoint = Channel::from_shared(format!("http://{}", self.address))?;
        Ok(endpoint.tcp_nodelay(true).connect().await?)
    }

    pub(super) fn memory(&self) -> anyhow::Result<Memory> {
        Meter::of(&[&self.process]).memory()
    }

    /// How long it takes to tell its metrics.
    pub(super) async fn scrape(&self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let mut stream = TcpStream::connect(&self.admin).await?;
        let request = "GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        ensure!(
            answer.starts_with("HTTP/1.1 200"),
            "no metrics: {:?}",
            answer.lines().next()
        );
        Ok(began.elapsed())
    }

    /// Ends it as an operator does, so that everything is stored.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        tokio::task::spawn_blocking(|| self.process.end()).await?
    }
}

/// A request that carries a token.
pub(super) fn with_token<T>(message: T, token: &str) -> anyhow::Result<Request<T>> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse()?;
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}
