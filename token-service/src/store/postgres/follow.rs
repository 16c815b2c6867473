//! What other replicas change: heard of by LISTEN, and looked for now and then, since a
//! notification can be lost. Read in one snapshot, so that nothing is seen in halves: all rows
//! that were changed by a transaction which the snapshot before may not have seen.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use sqlx::{
    PgConnection,
    postgres::{PgListener, types::PgInterval},
};

use super::{
    Postgres,
    open::check_moving,
    rows::{ChangedRow, columns, read_imports},
    servers::Purpose,
};
use crate::{
    project::ProjectId,
    store::{
        ClientRecord, Everything, Lease, ProjectRecord, StoreError, milliseconds,
        moving::{MOVED, MOVING},
        seals::{ClientRow, CooldownRow, cooldowns},
    },
};

/// How often a replica says that it is there.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);
/// A replica that was not seen for as long is gone.
pub(super) const GONE: Duration = Duration::from_secs(30);
/// Those of long ago are forgotten.
const FORGOTTEN: Duration = Duration::from_secs(86_400);

/// Up to where changes have been read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    /// The first transaction that the last snapshot may not have seen.
    transaction: i64,
    removals: i64,
    /// When the server was started; 0: it has not been looked at.
    started: i64,
}

impl Mark {
    /// Nothing has been read.
    const NONE: Self = Self {
        transaction: 0,
        removals: -1,
        started: 0,
    };

    /// Whether what it counts is not what counted on to `before`: there is another server behind
    /// the same address, as a proxy or a name has it.
    fn is_of_another(self, before: Self) -> bool {
        before.started != 0
            && (self.started != before.started
                || self.transaction < before.transaction
                || self.removals < before.removals)
    }
}

/// What others have changed.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    /// Each with what may take the place of its refresh token, as long as that is stored.
    pub(crate) projects: Vec<(ProjectRecord, Lease)>,
    pub(crate) clients: Vec<ClientRecord>,
    /// The projects and OAuth clients that there are, if some may have been removed.
    pub(crate) present: Option<(HashSet<String>, HashSet<String>)>,
    /// It is the first look at a server, which may lack what the one before had last.
    pub(crate) is_another: bool,
    /// Some have been removed since the last look, as far as the server knows.
    pub(crate) has_removed: bool,
    /// The server's time.
    pub(crate) now: Option<Timestamp>,
    /// What could not be read; it is tried again with the next look.
    pub(crate) unreadable: Option<StoreError>,
}

impl Delta {
    pub(crate) fn is_empty(&self) -> bool {
        self.projects.is_empty() && self.clients.is_empty() && self.present.is_none()
    }
}

/// Where news come from.
#[derive(Debug)]
pub(crate) struct News {
    listener: PgListener,
}

impl News {
    /// Waits for a change.
    ///
    /// # Errors
    /// The connection was lost: something may have been missed.
    pub(crate) async fn next(&mut self) -> Result<(), StoreError> {
        match self.listener.try_recv().await {
            Ok(Some(_)) => {
                // Those that came with it are of the same look.
                while self.listener.next_buffered().is_some() {}
                Ok(())
            }
            Ok(None) => Err(sqlx::Error::PoolClosed.into()),
            Err(error) => Err(error.into()),
        }
    }
}

#[derive(Debug, sqlx::FromRow)]
struct Snapshot {
    transaction: i64,
    removals: i64,
    started: i64,
    now: i64,
    is_moved: bool,
}

/// # Errors
/// Also when the pool is being moved, or has been: nobody is served from there any more.
async fn snapshot(
    connection: &mut PgConnection,
    name: &str,
) -> Result<(Mark, Timestamp), StoreError> {
    sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .execute(&mut *connection)
        .await?;
    let snapshot: Snapshot = sqlx::query_as(
        "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS transaction,
             (SELECT count FROM removals) AS removals,
             (extract(epoch FROM pg_postmaster_start_time()) * 1000)::bigint AS started,
             (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now,
             EXISTS (SELECT FROM meta WHERE key IN ($1, $2)) AS is_moved",
    )
    .bind(MOVING)
    .bind(MOVED)
    .fetch_one(&mut *connection)
    .await?;
    if snapshot.is_moved {
        check_moving(connection, name).await?;
    }
    let mark = Mark {
        transaction: snapshot.transaction,
        removals: snapshot.removals,
        started: snapshot.started,
    };
    let now = Timestamp::from_millisecond(snapshot.now).unwrap_or_default();
    Ok((mark, now))
}

impl Postgres {
    /// Hears of what others change from now on.
    pub(crate) async fn news(&self) -> Result<News, StoreError> {
        let listener = self.servers.listener().await?;
        Ok(News { listener })
    }

    /// Looks for the server again, after it was lost.
    pub(crate) async fn reach(&self) -> Result<(), StoreError> {
        self.servers.reach(Purpose::Serving).await?;
        self.doubt();
        Ok(())
    }

    /// It may be another server, which lacks what the old one had last, and counts transactions
    /// its own way: all is read again.
    fn doubt(&self) {
        let mut known = self.known.lock();
        let removals = known.mark.removals;
        known.removals_before.get_or_insert(removals);
        known.projects.clear();
        known.mark = Mark::NONE;
    }

    /// The OAuth clients that there are.
    pub(in crate::store) async fn clients(&self) -> Result<Vec<ClientRecord>, StoreError> {
        self.servers
            .bounded(async {
                let mut lent = self.servers.lend().await?;
                let rows: Vec<ClientRow> = sqlx::query_as(concat!(
                    "SELECT ",
                    columns!(oauth_clients),
                    " FROM oauth_clients"
                ))
                .fetch_all(&mut *lent)
                .await?;
                lent.done();
                rows.into_iter().map(|row| self.seals.client(row)).collect()
            })
            .await
    }

    /// Reads and opens all that is kept.
    ///
    /// # Errors
    /// A value that cannot be opened or is unknown, named.
    pub(crate) async fn load(&self) -> Result<Everything, StoreError> {
        self.servers
            .bounded(async {
                let mut lent = self.servers.lend().await?;
                let (mark, _) = snapshot(&mut lent, self.name()).await?;
                let mut everything = Everything::default();
                let clients = sqlx::query_as(concat!(
                    "SELECT ",
                    columns!(oauth_clients),
                    " FROM oauth_clients ORDER BY client_id"
                ));
                let clients: Vec<ClientRow> = clients.fetch_all(&mut *lent).await?;
                for row in clients {
                    everything.clients.push(self.seals.client(row)?);
                }
                let resting: Vec<CooldownRow> =
                    sqlx::query_as(concat!("SELECT ", columns!(cooldowns), " FROM cooldowns"))
                        .fetch_all(&mut *lent)
                        .await?;
                let mut resting = cooldowns(resting);
                let mut changes = HashMap::new();
                // Row by row: all rows of a large pool at once would be most of what this process
                // ever takes.
                let mut rows = sqlx::query_as::<_, ChangedRow>(concat!(
                    "SELECT ",
                    columns!(projects),
                    ", changed_in::text::bigint AS change FROM projects ORDER BY position"
                ))
                .fetch(&mut *lent);
                while let Some(ChangedRow { row, change }) = rows.try_next().await? {
                    let resting = resting.remove(&row.id).unwrap_or_default();
                    let record = self.seals.project(row, resting)?;
                    changes.insert(record.project.id.clone(), change);
                    everything.projects.push(record);
                }
                drop(rows);
                (everything.imports, everything.client_imports) = read_imports(&mut lent).await?;
                let places: Vec<(String, i64)> =
                    sqlx::query_as("SELECT project_id, place FROM rotation")
                        .fetch_all(&mut *lent)
                        .await?;
                for (project, place) in places {
                    let place = u64::try_from(place).unwrap_or_default();
                    everything.places.push((project.into(), place));
                }
                sqlx::query("COMMIT").execute(&mut *lent).await?;
                lent.done();
                let mut known = self.known.lock();
                known.mark = mark;
                known.projects = changes;
                Ok(everything)
            })
            .await
    }

    /// What has changed since the last look. The caller sees to it that there is one at a time.
    pub(crate) async fn look(&self) -> Result<Delta, StoreError> {
        self.servers
            .bounded(async {
                let mut lent = self.servers.lend().await?;
                let (mark, now) = snapshot(&mut lent, self.name()).await?;
                let told = Instant::now();
                if mark.is_of_another(self.known.lock().mark) {
                    self.doubt();
                }
                let (before, removals_before) = {
                    let known = self.known.lock();
                    (known.mark, known.removals_before)
                };
                let mut delta = Delta {
                    is_another: removals_before.is_some(),
                    has_removed: mark.removals > removals_before.unwrap_or(before.removals),
                    ..Delta::default()
                };
                let clients: Vec<ClientRow> = sqlx::query_as(concat!(
                    "SELECT ",
                    columns!(oauth_clients),
                    " FROM oauth_clients WHERE changed_in >= $1::text::xid8"
                ))
                .bind(before.transaction.to_string())
                .fetch_all(&mut *lent)
                .await?;
                let rows: Vec<ChangedRow> = sqlx::query_as(concat!(
                    "SELECT ",
                    columns!(projects),
                    ", changed_in::text::bigint AS change FROM projects
                     WHERE changed_in >= $1::text::xid8 ORDER BY position"
                ))
                .bind(before.transaction.to_string())
                .fetch_all(&mut *lent)
                .await?;
                let rows = self.unknown(rows);
                let ids: Vec<&str> = rows.iter().map(|row| row.row.id.as_str()).collect();
                let mut resting = match ids.is_empty() {
                    true => Default::default(),
                    false => {
                        let resting = sqlx::query_as(concat!(
                            "SELECT ",
                            columns!(cooldowns),
                            " FROM cooldowns WHERE project_id = ANY($1)"
                        ));
                        cooldowns(resting.bind(&ids).fetch_all(&mut *lent).await?)
                    }
                };
                let present = match mark.removals == before.removals {
                    true => None,
                    false => Some(present(&mut lent).await?),
                };
                sqlx::query("COMMIT").execute(&mut *lent).await?;
                lent.done();

                for row in clients {
                    match self.seals.client(row) {
                        Ok(client) => delta.clients.push(client),
                        Err(error) => delta.unreadable = Some(error),
                    }
                }
                let mut changes = Vec::with_capacity(rows.len());
                for ChangedRow { row, change } in rows {
                    let resting = resting.remove(&row.id).unwrap_or_default();
                    let late = Lease::late(row.refresh_token_sealed.clone());
                    match self.seals.project(row, resting) {
                        Ok(record) => {
                            changes.push((record.project.id.clone(), change));
                            delta.projects.push((record, late));
                        }
                        Err(error) => delta.unreadable = Some(error),
                    }
                }
                delta.present = present;
                self.remember(mark, &delta, changes);
                // As of the end of the look.
                delta.now = Some(now.saturating_add(told.elapsed()).unwrap_or(now));
                Ok(delta)
            })
            .await
    }

    /// Those rows that are not known as they are.
    fn unknown(&self, mut rows: Vec<ChangedRow>) -> Vec<ChangedRow> {
        let known = self.known.lock();
        rows.retain(|row| known.projects.get(row.row.id.as_str()) != Some(&row.change));
        rows
    }

    fn remember(&self, mark: Mark, delta: &Delta, changes: Vec<(ProjectId, i64)>) {
        let mut known = self.known.lock();
        known.projects.extend(changes);
        if let Some((projects, _)) = &delta.present {
            known.projects.retain(|id, _| projects.contains(&**id));
        }
        known.mark.removals = mark.removals;
        known.mark.started = mark.started;
        known.removals_before = None;
        // Rows that could not be opened are read again, once the key is there.
        if delta.unreadable.is_none() {
            known.mark.transaction = mark.transaction;
        }
    }

    /// Tells others that this replica is there; how many there are.
    pub(crate) async fn beat(&self) -> Result<usize, StoreError> {
        let key_ids: Vec<String> = self.keys().ids().collect();
        self.servers
            .bounded(async {
                let mut lent = self.servers.lend().await?;
                sqlx::query(
                    "INSERT INTO replicas (instance, host, version, key_ids)
                     VALUES ($1, $2, $3, $4)
                     ON CONFLICT (instance) DO UPDATE SET
                         key_ids = excluded.key_ids, seen_at = now()",
                )
                .bind(&self.instance)
                .bind(host())
                .bind(env!("CARGO_PKG_VERSION"))
                .bind(key_ids.join(","))
                .execute(&mut *lent)
                .await?;
                sqlx::query("DELETE FROM replicas WHERE seen_at < now() - $1")
                    .bind(interval(FORGOTTEN))
                    .execute(&mut *lent)
                    .await?;
                let count: i64 =
                    sqlx::query_scalar("SELECT count(*) FROM replicas WHERE seen_at > now() - $1")
                        .bind(interval(GONE))
                        .fetch_one(&mut *lent)
                        .await?;
                lent.done();
                Ok(usize::try_from(count).unwrap_or_default())
            })
            .await
    }

    pub(super) async fn leave(&self) -> Result<(), StoreError> {
        self.servers
            .bounded(async {
                let mut lent = self.servers.lend().await?;
                sqlx::query("DELETE FROM replicas WHERE instance = $1")
                    .bind(&self.instance)
                    .execute(&mut *lent)
                    .await?;
                lent.done();
                Ok(())
            })
            .await
    }
}

async fn present(
    connection: &mut PgConnection,
) -> Result<(HashSet<String>, HashSet<String>), StoreError> {
    let projects: Vec<String> = sqlx::query_scalar("SELECT id FROM projects")
        .fetch_all(&mut *connection)
        .await?;
    let clients: Vec<String> = sqlx::query_scalar("SELECT client_id FROM oauth_clients")
        .fetch_all(connection)
        .await?;
    Ok((
        projects.into_iter().collect(),
        clients.into_iter().collect(),
    ))
}

pub(super) fn interval(duration: Duration) -> PgInterval {
    PgInterval {
        months: 0,
        days: 0,
        microseconds: milliseconds(duration).saturating_mul(1000),
    }
}

/// What the machine, or the pod, calls itself.
fn host() -> String {
    let uname = rustix::system::uname();
    uname.nodename().to_string_lossy().into_owned()
}
