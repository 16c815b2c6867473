//! The connections to PostgreSQL: to the server that takes writes, of those that the URL names. A
//! server that is lost is told at once to whoever asks next, and looked for by one task alone, so
//! that an outage costs nobody a wait and the server no storm.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::RwLock;
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, PgConnection, PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::sync::Notify;

use super::open::check_moving;
use crate::{config, store::StoreError};

/// A connection, with its log-in.
const CONNECT: Duration = Duration::from_secs(3);
/// What is asked of the server at once, from the first statement to the last.
const LONGEST: Duration = Duration::from_secs(12);
/// The channel of what is changed.
const CHANNEL: &str = "antigravity_changes";
/// The oldest version with `xid8`.
const OLDEST: i32 = 130_000;

/// What holds in every session. A replica that is stopped in the middle of a change is not to
/// keep the others waiting, and one that is gone is to be found out.
const SESSION: &str = "SET statement_timeout = '10s';
    SET lock_timeout = '5s';
    SET idle_in_transaction_session_timeout = '10s';
    SET tcp_keepalives_idle = 10;
    SET tcp_keepalives_interval = 5;
    SET tcp_keepalives_count = 3;
    SET default_transaction_isolation = 'read committed'";

/// What holds in sessions of their own, whatever the role's settings are: they may take their time,
/// but one whose machine is gone is to be found out, as it may hold a lock.
const OWN_SESSION: &str = "SET statement_timeout = 0;
    SET lock_timeout = 0;
    SET idle_in_transaction_session_timeout = 0;
    SET tcp_keepalives_idle = 10;
    SET tcp_keepalives_interval = 5;
    SET tcp_keepalives_count = 3";
/// Who asked may be gone meanwhile. Servers of version 14 or later, on most systems, find that out.
const OWN_WHILE_WANTED: &str = "SET client_connection_check_interval = '2s'";

/// Who may be the primary, and who is.
pub(super) struct Servers {
    /// As operators see them.
    name: String,
    options: Vec<PgConnectOptions>,
    connections: u32,
    /// Which of them is tried first.
    first: AtomicUsize,
    state: RwLock<State>,
    /// Wakes who looks for the server when it is lost.
    lost: Notify,
}

impl fmt::Debug for Servers {
    /// Without passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Servers({})", self.name)
    }
}

/// What a server is looked for.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// To open its database, or to move it: whoever does looks at the marks of moves alone.
    Opening,
    /// To go on serving from it: while it was out of reach, its pool may have been moved.
    Serving,
}

enum State {
    Here(PgPool),
    Away { why: StoreError },
}

/// A connection on loan. It goes back only when all that was asked with it has been answered;
/// otherwise it is closed, whatever is still on its way.
#[derive(Debug)]
pub(super) struct Lent {
    connection: PoolConnection<Postgres>,
    is_done: bool,
}

impl Lent {
    /// Everything was answered.
    pub(super) fn done(mut self) {
        self.is_done = true;
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.is_done {
            self.connection.close_on_drop();
        }
    }
}

impl Servers {
    pub(super) fn new(servers: &config::Servers, connections: u32) -> Self {
        let options = servers.options().into_iter().map(|options| {
            let options = match options.get_application_name() {
                Some(_) => options,
                None => options.application_name("antigravity-token-service"),
            };
            options.disable_statement_logging()
        });
        Self {
            name: servers.to_string(),
            options: options.collect(),
            connections,
            first: AtomicUsize::new(0),
            state: RwLock::new(State::Away {
                why: StoreError::Away {
                    server: servers.to_string(),
                    problem: "it has not been asked yet".to_owned(),
                },
            }),
            lost: Notify::new(),
        }
    }

    /// Returns when the server has been lost since this was last asked.
    pub(super) async fn lost(&self) {
        self.lost.notified().await;
    }

    /// As operators see them.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Why nothing can be asked now; `None`: something can.
    pub(super) fn is_away(&self) -> Option<String> {
        match &*self.state.read() {
            State::Here(_) => None,
            State::Away { why } => Some(why.to_string()),
        }
    }

    /// Looks for the server that takes writes.
    ///
    /// # Errors
    /// None does, and why: of the last that was asked.
    pub(super) async fn reach(&self, purpose: Purpose) -> Result<(), StoreError> {
        let first = self.first.load(Ordering::Relaxed);
        let mut last = StoreError::Away {
            server: self.name.clone(),
            problem: "the URL names no server".to_owned(),
        };
        for offset in 0..self.options.len() {
            let index = (first + offset) % self.options.len();
            let options = &self.options[index];
            match self.greet(options, purpose).await {
                Ok(()) => {
                    self.first.store(index, Ordering::Relaxed);
                    *self.state.write() = State::Here(self.pool(options));
                    return Ok(());
                }
                // What is wrong with a server that is there says more than that another is not.
                Err(StoreError::Away { .. }) if !matches!(last, StoreError::Away { .. }) => {}
                Err(error) => last = error,
            }
        }
        *self.state.write() = State::Away { why: last.again() };
        Err(last)
    }

    /// Whether a server is there, can do what is wanted of it, and takes writes.
    async fn greet(&self, options: &PgConnectOptions, purpose: Purpose) -> Result<(), StoreError> {
        let greeting = async {
            let connected = options.connect().await;
            let mut connection = connected.map_err(|error| StoreError::from(error).of_log_in())?;
            let said: Result<(i32, bool, bool), sqlx::Error> = sqlx::query_as(
                "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(),
                     current_setting('transaction_read_only')::bool",
            )
            .fetch_one(&mut connection)
            .await;
            let (version, is_standby, reads_only) = said?;
            let is_ours = match purpose {
                Purpose::Opening => Ok(()),
                Purpose::Serving => check_moving(&mut connection, &self.name).await,
            };
            // It is closed either way.
            let _ = connection.close().await;
            if version < OLDEST {
                Err(StoreError::OldServer {
                    version: version / 10_000,
                })
            } else if is_standby {
                Err(StoreError::ReadOnly {
                    server: self.shown(options),
                })
            } else if reads_only {
                Err(StoreError::Unwritable {
                    server: self.shown(options),
                })
            } else {
                is_ours
            }
        };
        let greeted = match tokio::time::timeout(CONNECT, greeting).await {
            Ok(greeted) => greeted,
            Err(_) => Err(late()),
        };
        greeted.map_err(|error| error.of_server(&self.shown(options)))
    }

    fn shown(&self, options: &PgConnectOptions) -> String {
        match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        }
    }

    fn pool(&self, options: &PgConnectOptions) -> PgPool {
        PgPoolOptions::new()
            // One is the listener's.
            .max_connections(self.connections.saturating_sub(1).max(1))
            .acquire_timeout(CONNECT)
            .idle_timeout(Duration::from_secs(300))
            .max_lifetime(Duration::from_secs(1800))
            .acquire_slow_threshold(CONNECT)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute(SESSION).await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options.clone())
    }

    /// Lends a connection to the server, for one change or one question.
    pub(super) async fn lend(&self) -> Result<Lent, StoreError> {
        let pool = match &*self.state.read() {
            State::Here(pool) => pool.clone(),
            State::Away { why } => return Err(why.again()),
        };
        match pool.acquire().await {
            Ok(connection) => Ok(Lent {
                connection,
                is_done: false,
            }),
            Err(sqlx::Error::PoolTimedOut)
                if pool.size() >= pool.options().get_max_connections() =>
            {
                Err(StoreError::Busy)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A connection of its own, which no timeouts of the sessions hold for: for what may take
    /// its time.
    pub(super) async fn own(&self) -> Result<PgConnection, StoreError> {
        let index = self.first.load(Ordering::Relaxed) % self.options.len().max(1);
        let options = self.options.get(index).ok_or_else(late)?;
        let connected = async {
            let mut connection = options.connect().await?;
            connection.execute(OWN_SESSION).await?;
            // Elsewhere it is asked for to no end.
            let _ = connection.execute(OWN_WHILE_WANTED).await;
            Ok(connection)
        };
        match tokio::time::timeout(CONNECT, connected).await {
            Ok(connected) => connected,
            Err(_) => Err(late()),
        }
    }

    /// The same as a pool, as the migrator wants it.
    pub(super) fn own_pool(&self) -> Result<PgPool, StoreError> {
        let index = self.first.load(Ordering::Relaxed) % self.options.len().max(1);
        let options = self.options.get(index).ok_or_else(late)?;
        Ok(PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute(OWN_SESSION).await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options.clone()))
    }

    /// Hears of what others change.
    pub(super) async fn listener(&self) -> Result<PgListener, StoreError> {
        let listening = async {
            let mut listener = PgListener::connect_with(&self.own_pool()?).await?;
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        match tokio::time::timeout(CONNECT, listening).await {
            Ok(listener) => listener,
            Err(_) => Err(late()),
        }
    }

    /// Asks, for a bounded time; whoever finds that the server is lost has all others told.
    pub(super) async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let done = match tokio::time::timeout(LONGEST, work).await {
            Ok(done) => done,
            Err(_) => Err(late()),
        };
        self.told(done)
    }

    /// Names the server in an error, and has all others told if it is lost.
    pub(super) fn told<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        done.map_err(|error| {
            let error = error.of_server(&self.name);
            if matches!(
                error,
                StoreError::Away { .. }
                    | StoreError::ReadOnly { .. }
                    | StoreError::Moving { .. }
                    | StoreError::Moved { .. }
            ) {
                self.lose(&error);
            }
            error
        })
    }

    fn lose(&self, error: &StoreError) {
        let mut state = self.state.write();
        if let State::Here(pool) = &*state {
            tracing::error!(
                database = self.name,
                %error,
                "lost the database; what is in memory is served, and the database is looked for"
            );
            // Without waiting: those who have a connection give it back in their time.
            let pool = pool.clone();
            tokio::spawn(async move { pool.close().await });
            *state = State::Away { why: error.again() };
            self.lost.notify_one();
        }
    }

    pub(super) async fn close(&self) {
        let before = std::mem::replace(
            &mut *self.state.write(),
            State::Away {
                why: StoreError::Away {
                    server: self.name.clone(),
                    problem: "the service ends".to_owned(),
                },
            },
        );
        if let State::Here(pool) = before {
            // What does not end in time is ended by the server.
            let _ = tokio::time::timeout(CONNECT, pool.close()).await;
        }
    }
}

fn late() -> StoreError {
    StoreError::Away {
        server: String::new(),
        problem: "it does not answer in time".to_owned(),
    }
}
