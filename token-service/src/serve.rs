//! The service from start to end: opens what it needs, serves, and puts everything away.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use antigravity_proto::v1::{
    FILE_DESCRIPTOR_SET, database_service_server::DatabaseServiceServer,
    project_service_server::ProjectServiceServer, token_service_server::TokenServiceServer,
    usage_service_server::UsageServiceServer,
};
use antigravity_runtime::{descriptors, secret, shutdown::Shutdown, tls};
use antigravity_traces::{Traces, grpc::ServerLayer};
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Server, server::TcpIncoming};

use crate::{
    Error,
    config::Config,
    import,
    keys::KeyPlace,
    oauth::OAuth,
    pool::Pool,
    quota,
    rpc::{Database, Guard, Projects, Tokens, Usage},
    secrets::Secrets,
    store::Store,
    tokens_file::{self, TokensFile},
    transitions,
};

/// What runs when the shutdown begins may go on for as long.
const GRACE: Duration = Duration::from_secs(5);
/// How often the order of the rotation is saved while it changes: a crash repeats the
/// turns of at most this time.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// What grpc.health.v1 tells of; the empty name is all of them.
const SERVICES: [&str; 5] = [
    "",
    "antigravity.token.v1.TokenService",
    "antigravity.token.v1.ProjectService",
    "antigravity.token.v1.DatabaseService",
    "antigravity.token.v1.UsageService",
];
/// What TLS may carry.
const GRPC: &[&[u8]] = &[b"h2"];
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves gRPC on `listener` until `shutdown`.
///
/// # Errors
/// When it cannot start, and when the listener breaks. Nothing that is kept has been
/// changed when it cannot start.
pub async fn serve(config: Config, listener: TcpListener, shutdown: Shutdown) -> Result<(), Error> {
    tls::install_crypto_provider();
    // A gateway keeps a connection, and many are good to have: best effort.
    let _ = descriptors::raise_limit();
    let acceptor = match &config.tls {
        Some(files) => Some(tls::Acceptor::load(files.clone(), GRPC, HANDSHAKE)?),
        None => None,
    };
    // Read before anything is made, so that a broken file leaves no trace.
    let tokens_file = read_tokens_file(&config)?;
    let oauth = OAuth::new(&config)?;
    let secrets = Secrets::load_or_create(&config)?;
    for path in &secrets.created {
        tracing::info!(file = %path.display(), "made a secret");
    }
    let store = Store::open(
        &config.database,
        Arc::clone(&secrets.encryption_keys),
        &secrets.encryption_keys_origin,
    )
    .await?;
    let key_place = KeyPlace {
        origin: secrets.encryption_keys_origin.clone(),
        file: secrets.encryption_key_file.clone(),
    };
    let traces = Traces::start(config.traces.as_ref(), "antigravity-token-service")?;
    let pool = Pool::load(
        &config,
        store,
        oauth,
        instance()?,
        key_place,
        traces.clone(),
    )
    .await?;
    let pool = Arc::new(pool);
    if let Some((path, file)) = tokens_file {
        import::import_at_start(&pool, &path, file).await?;
    }
    let (projects, clients) = {
        let state = pool.state();
        (state.projects.len(), state.clients.len())
    };
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, projects, clients, database = %config.database, "listening");
    }

    let ahead = config
        .refresh_ahead
        .then(|| tokio::spawn(Arc::clone(&pool).refresh_ahead(shutdown.drain.clone())));
    let quotas = tokio::spawn(quota::watch(
        Arc::clone(&pool),
        quota::Source {
            http: pool.oauth.http(),
            hosts: config.antigravity_hosts.clone(),
            interval: config.quota_interval,
        },
        shutdown.drain.clone(),
    ));
    let saving = tokio::spawn(save_places(Arc::clone(&pool), shutdown.clone()));
    let pruning = tokio::spawn(Arc::clone(&pool).prune_usage(shutdown.drain.clone()));
    let telling = tokio::spawn(transitions::tell(Arc::clone(&pool), shutdown.drain.clone()));
    let watching = acceptor
        .clone()
        .map(|acceptor| tokio::spawn(acceptor.watch(shutdown.drain.clone())));
    let served = run(&pool, &secrets, (listener, acceptor), &shutdown).await;
    // Ends the background tasks also when the listener broke.
    shutdown.drain.cancel();
    let background = [saving, telling, quotas, pruning];
    for task in ahead.into_iter().chain(watching).chain(background) {
        if let Err(error) = task.await {
            tracing::error!(%error, "a background task broke off");
        }
    }
    pool.tasks.close();
    tokio::select! {
        () = pool.tasks.wait() => {}
        () = tokio::time::sleep(GRACE) => {
            tracing::warn!("some refreshes have not ended; what Google answers to them is lost");
        }
        () = shutdown.abort.cancelled() => {}
    }
    pool.save_places().await;
    pool.keep_states().await;
    pool.keep_usage().await;
    match Arc::try_unwrap(pool) {
        Ok(pool) => pool.store.close().await?,
        // A refresh still holds it; every commit is in the write-ahead log already.
        Err(_) => tracing::debug!("the database is left to be closed by the system"),
    }
    tokio::select! {
        () = traces.end() => {}
        () = shutdown.abort.cancelled() => {}
    }
    served
}

fn read_tokens_file(config: &Config) -> Result<Option<(PathBuf, TokensFile)>, Error> {
    let Some(source) = &config.tokens_file else {
        return Ok(None);
    };
    let bytes = match std::fs::read(&source.path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !source.required => {
            return Ok(None);
        }
        Err(error) => {
            return Err(Error::TokensFileUnreadable {
                path: source.path.clone(),
                source: error,
            });
        }
    };
    let file =
        tokens_file::parse(&bytes, config.default_upstream).map_err(|error| Error::TokensFile {
            path: source.path.clone(),
            source: error,
        })?;
    Ok(Some((source.path.clone(), file)))
}

/// A name for this process's turns.
fn instance() -> Result<String, Error> {
    let random = secret::generate()
        .map_err(|error| Error::Secrets(crate::secrets::SecretsError::Randomness(error)))?;
    Ok(secret::hex_digest(random.expose_secret(), 6))
}

async fn save_places(pool: Arc<Pool>, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SAVE_INTERVAL) => {
                pool.save_places().await;
                pool.keep_states().await;
                pool.keep_usage().await;
            }
            () = shutdown.drain.cancelled() => return,
        }
    }
}

async fn run(
    pool: &Arc<Pool>,
    secrets: &Secrets,
    (listener, acceptor): (TcpListener, Option<Arc<tls::Acceptor>>),
    shutdown: &Shutdown,
) -> Result<(), Error> {
    let (gateway, admin) = (&secrets.gateway_token, &secrets.admin_token);
    let tokens = TokenServiceServer::with_interceptor(
        Tokens {
            pool: Arc::clone(pool),
        },
        Guard::gateways(gateway, admin),
    );
    let projects = ProjectServiceServer::with_interceptor(
        Projects {
            pool: Arc::clone(pool),
        },
        Guard::operators(gateway, admin),
    );
    let database = DatabaseServiceServer::with_interceptor(
        Database {
            pool: Arc::clone(pool),
        },
        Guard::operators(gateway, admin),
    );
    let usage = UsageServiceServer::with_interceptor(
        Usage {
            pool: Arc::clone(pool),
        },
        Guard::operators(gateway, admin),
    );
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // So that grpcurl can read the details of errors.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let (health, health_service) = tonic_health::server::health_reporter();
    for service in SERVICES {
        health
            .set_service_status(service, tonic_health::ServingStatus::Serving)
            .await;
    }
    let draining = shutdown.drain.clone();
    let drained = async move {
        draining.cancelled().await;
        for service in SERVICES {
            health
                .set_service_status(service, tonic_health::ServingStatus::NotServing)
                .await;
        }
    };
    let router = Server::builder()
        .layer(ServerLayer::new(pool.traces.clone(), "antigravity."))
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(tokens)
        .add_service(projects)
        .add_service(database)
        .add_service(usage);
    let server = async {
        match acceptor {
            Some(acceptor) => {
                let incoming = ReceiverStream::new(acceptor.incoming(listener));
                router.serve_with_incoming_shutdown(incoming, drained).await
            }
            None => {
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                router.serve_with_incoming_shutdown(incoming, drained).await
            }
        }
    };
    tokio::select! {
        served = server => served?,
        () = async {
            shutdown.drain.cancelled().await;
            tokio::time::sleep(GRACE).await;
        } => tracing::warn!("the time to drain is over; ending the calls that still run"),
        () = shutdown.abort.cancelled() => {}
    }
    Ok(())
}
