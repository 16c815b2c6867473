//! The service from start to end: opens what it needs, serves, and puts everything away.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    io,
    path::PathBuf,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use antigravity_proto::v1::{
    FILE_DESCRIPTOR_SET, database_service_server::DatabaseServiceServer,
    project_service_server::ProjectServiceServer, token_service_server::TokenServiceServer,
    usage_service_server::UsageServiceServer,
};
use antigravity_runtime::{
    descriptors,
    listener::{self, Limits, RequestBody},
    secret,
    shutdown::Shutdown,
    tls,
};
use antigravity_traces::{Traces, grpc::ServerLayer};
use futures_util::future::Either;
use http::{Request, Response, StatusCode, Version};
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tonic::{body::Body, service::Routes};
use tower::{Layer as _, Service};

use crate::{
    Error,
    config::Config,
    import,
    keys::KeyPlace,
    login::{Logins, Places},
    oauth::OAuth,
    pool::Pool,
    probes, quota,
    rpc::{Database, Guard, Measured, Projects, Tokens, Usage},
    secrets::Secrets,
    store::Store,
    tokens_file::{self, Hints, TokensFile},
    transitions,
    waiting::{self, Door},
};

/// What runs when the shutdown begins may go on for as long.
const GRACE: Duration = Duration::from_secs(5);
/// How often the order of the rotation is saved while it changes: a crash repeats the
/// turns of at most this time.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// Whose health can be asked for: everything's, and each service's.
const SERVICES: [&str; 5] = [
    "",
    "antigravity.token.v1.TokenService",
    "antigravity.token.v1.ProjectService",
    "antigravity.token.v1.DatabaseService",
    "antigravity.token.v1.UsageService",
];

/// What TLS may carry.
const GRPC: &[&[u8]] = &[b"h2"];
/// How long a TLS handshake may take, and who has connected to say something.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves gRPC on `listener` until `shutdown`.
///
/// # Errors
/// When it cannot start, and when the listener breaks. Nothing that is kept has been
/// changed when it cannot start.
pub async fn serve(config: Config, listener: TcpListener, shutdown: Shutdown) -> Result<(), Error> {
    tls::install_crypto_provider();
    let limits = limits(descriptors::raise_limit());
    let acceptor = match &config.tls {
        Some(files) => Some(tls::Acceptor::load(
            files.clone(),
            GRPC,
            HANDSHAKE,
            tls::Clients::OurOwn,
        )?),
        None => None,
    };
    // Read before anything is made, so that a broken file leaves no trace.
    let tokens_file = read_tokens_file(&config)?;
    let oauth = OAuth::new(&config)?;
    let secrets = Secrets::load_or_create(&config)?;
    for path in &secrets.created {
        tracing::info!(file = %path.display(), "made a secret");
    }
    let instance = instance()?;
    let door = Arc::new(Door::default());
    let probing = match config.admin_listen {
        Some(address) => Some(probes::open(address, &config, &door, &shutdown).await?),
        None => None,
    };
    let open = || async {
        let store = Store::open(
            &config,
            Arc::clone(&secrets.encryption_keys),
            &secrets.encryption_keys_origin,
            &instance,
        )
        .await?;
        let everything = store.load().await?;
        let counted = store.counted_reports().await?;
        Ok((store, everything, counted))
    };
    let opened = if config.wait_for_database {
        waiting::until_open(open, &door, &listener, acceptor.clone(), &shutdown).await?
    } else {
        Some(Box::pin(open()).await?)
    };
    let Some((store, everything, counted)) = opened else {
        return Ok(());
    };
    let key_place = KeyPlace {
        origin: secrets.encryption_keys_origin.clone(),
        file: secrets.encryption_key_file.clone(),
    };
    let traces = Traces::start(config.traces.as_ref(), "antigravity-token-service")?;
    let pool = Pool::new(
        &config,
        (store, everything, counted),
        oauth,
        instance,
        key_place,
        traces.clone(),
    );
    let pool = Arc::new(pool);
    pool.join_replicas().await;
    import_file(&config, &pool, tokens_file, &shutdown).await?;
    let (projects, clients) = {
        let state = pool.state();
        (state.projects.len(), state.clients.len())
    };
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, projects, clients, database = %config.database, "listening");
    }
    door.open(&pool);
    let following = tokio::spawn(Arc::clone(&pool).follow(shutdown.drain.clone()));
    let ahead = config
        .refresh_ahead
        .then(|| tokio::spawn(Arc::clone(&pool).refresh_ahead(shutdown.drain.clone())));
    let quotas = tokio::spawn(quota::watch(
        Arc::clone(&pool),
        quota::Source {
            http: pool.oauth.http(),
            hosts: config.antigravity_hosts.clone(),
            headers: config.upstream_headers.clone(),
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
    let logins = Arc::new(Logins::new(Arc::clone(&pool), Places::of(&config)));
    let served = run(logins, &secrets, (listener, acceptor), limits, &shutdown).await;
    // Ends the background tasks also when the listener broke.
    shutdown.drain.cancel();
    let background = [saving, telling, quotas, pruning, following];
    let tasks = ahead
        .into_iter()
        .chain(watching)
        .chain(probing.into_iter().flatten());
    for task in tasks.chain(background) {
        if let Err(error) = task.await {
            tracing::error!(%error, "a background task broke off");
        }
    }
    pool.store_unstored(false);
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
    drop(door);
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
        tokens_file::parse(&bytes, &Hints::upstream(config.default_upstream)).map_err(|error| {
            Error::TokensFile {
                path: source.path.clone(),
                source: error,
            }
        })?;
    Ok(Some((source.path.clone(), file)))
}

/// Imports the tokens file. What goes by, such as another replica that imports it at the same
/// time, is waited out.
async fn import_file(
    config: &Config,
    pool: &Arc<Pool>,
    mut tokens_file: Option<(PathBuf, TokensFile)>,
    shutdown: &Shutdown,
) -> Result<(), Error> {
    while let Some((path, file)) = tokens_file {
        match import::import_at_start(pool, &path, file).await {
            Err(error) if error.is_passing() && !shutdown.drain.is_cancelled() => {
                tracing::warn!(%error, "cannot import the tokens file yet; it is tried again");
                tokio::time::sleep(SAVE_INTERVAL).await;
                if pool.is_database_away().is_some() {
                    tokio::select! {
                        () = pool.look_for_database() => {}
                        () = shutdown.drain.cancelled() => {}
                    }
                }
                tokens_file = read_tokens_file(config)?;
            }
            imported => return Ok(imported?),
        }
    }
    Ok(())
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
                pool.store_unstored(true);
            }
            () = shutdown.drain.cancelled() => return,
        }
    }
}

async fn run(
    logins: Arc<Logins>,
    secrets: &Secrets,
    (listener, acceptor): (TcpListener, Option<Arc<tls::Acceptor>>),
    limits: Limits,
    shutdown: &Shutdown,
) -> Result<(), Error> {
    let (gateway, admin) = (&secrets.gateway_token, &secrets.admin_token);
    let tokens = TokenServiceServer::with_interceptor(
        Tokens {
            pool: Arc::clone(&logins.pool),
        },
        Guard::gateways(gateway, admin),
    );
    let projects = ProjectServiceServer::with_interceptor(
        Projects {
            pool: Arc::clone(&logins.pool),
            logins: Arc::clone(&logins),
        },
        Guard::operators(gateway, admin),
    );
    let database = DatabaseServiceServer::with_interceptor(
        Database {
            pool: Arc::clone(&logins.pool),
        },
        Guard::operators(gateway, admin),
    );
    let usage = UsageServiceServer::with_interceptor(
        Usage {
            pool: Arc::clone(&logins.pool),
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
    let told = tokio::spawn(async move {
        draining.cancelled().await;
        for service in SERVICES {
            health
                .set_service_status(service, tonic_health::ServingStatus::NotServing)
                .await;
        }
    });
    let routes = Routes::new(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(tokens)
        .add_service(projects)
        .add_service(database)
        .add_service(usage)
        .prepare();
    // The end of the drain is the listener's; refreshes have time of their own after it.
    let shutdown = Shutdown {
        drain: shutdown.drain.clone(),
        abort: shutdown.abort.child_token(),
    };
    let traced = ServerLayer::new(logins.pool.traces.clone(), "antigravity.").layer(Grpc(routes));
    let measured = Measured::new(Arc::clone(&logins.pool)).layer(traced);
    let served = listener::serve(listener, acceptor, measured, limits, shutdown).await;
    told.abort();
    served.map_err(Error::Listener)
}

/// What the listener grants gateways and operators.
fn limits(descriptors: Option<u64>) -> Limits {
    let usual = Limits::default();
    // The others are for the database and for Google.
    let possible = descriptors.and_then(|limit| usize::try_from(limit / 2).ok());
    Limits {
        header_timeout: HANDSHAKE,
        // A gateway without clients has nothing to ask, and is to find its connection when it
        // has; pings tell whether it is there.
        idle_timeout: Duration::MAX,
        connections: possible.map_or(usual.connections, |it| it.clamp(1, usual.connections)),
        drain_grace: GRACE,
        ..usual
    }
}

/// The services over HTTP/2. Who speaks HTTP/1.1 is told that it is not spoken here, as no
/// client of gRPC would do.
#[derive(Clone)]
struct Grpc(Routes);

impl Service<Request<RequestBody>> for Grpc {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<
        <Routes as Service<Request<RequestBody>>>::Future,
        Ready<Result<Response<Body>, Infallible>>,
    >;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<RequestBody>>::poll_ready(&mut self.0, context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        if request.version() == Version::HTTP_2 {
            return Either::Left(self.0.call(request));
        }
        let mut answer = Response::new(Body::new(
            "This port speaks gRPC, over HTTP/2 alone.\n".to_owned(),
        ));
        *answer.status_mut() = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
        Either::Right(ready(Ok(answer)))
    }
}
