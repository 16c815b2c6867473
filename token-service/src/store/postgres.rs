//! PostgreSQL, the database that several token-services share. Each statement stands on its own
//! or in a short transaction; what is asked of it is bounded in time; and a refresh or a change
//! that another replica has overtaken changes nothing.

mod alone;
pub(in crate::store) mod copies;
mod follow;
mod lease;
mod open;
mod rows;
mod sealed;
mod servers;
mod usage;

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use parking_lot::Mutex;
use sqlx::PgConnection;

pub(in crate::store) use self::{
    alone::{is_same, was_opened},
    open::{check_known, nobody_else},
};
use self::{
    follow::Mark,
    servers::{Lent, Servers},
};
pub(crate) use self::{
    follow::{Delta, HEARTBEAT, News},
    lease::{Lease, Taken},
    sealed::forget,
};
use super::{
    Change, Restated, StoreError,
    seals::{Seals, status_columns},
    storable,
};
use crate::project::{Project, ProjectId};

/// The advisory lock of those who change what operators see. The number is our own: "AGTK".
const CHANGES: i64 = 0x4147_544b;

/// The open database.
#[derive(Debug)]
pub(crate) struct Postgres {
    servers: Servers,
    seals: Seals,
    /// What this replica calls itself.
    instance: String,
    /// Up to where it knows what others have changed.
    known: Mutex<Known>,
    /// Held by the backup that is made.
    backing_up: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    mark: Mark,
    /// Each project, and the transaction that changed it last.
    projects: HashMap<ProjectId, i64>,
    /// Since another server was found, until it is looked at: how many removals the one before
    /// had told of.
    removals_before: Option<i64>,
}

/// A change of what operators see. Nobody else makes one until it is over.
#[derive(Debug)]
pub(crate) struct Exclusive {
    lent: Lent,
}

impl Exclusive {
    pub(in crate::store) fn connection(&mut self) -> &mut PgConnection {
        &mut self.lent
    }

    /// Makes what was changed with the connection hold.
    pub(in crate::store) async fn finish(self) -> Result<(), StoreError> {
        let Self { mut lent } = self;
        sqlx::query("COMMIT").execute(&mut *lent).await?;
        lent.done();
        Ok(())
    }
}

impl Postgres {
    /// Why nothing can be asked of it now; `None`: something can.
    pub(crate) fn is_away(&self) -> Option<String> {
        self.servers.is_away()
    }

    /// Begins a change of what operators see.
    pub(crate) async fn exclusive(&self) -> Result<Exclusive, StoreError> {
        self.servers
            .bounded(async {
                let mut lent = self.servers.lend().await?;
                sqlx::query("BEGIN").execute(&mut *lent).await?;
                sqlx::query("SELECT pg_advisory_xact_lock($1)")
                    .bind(CHANGES)
                    .execute(&mut *lent)
                    .await?;
                Ok(Exclusive { lent })
            })
            .await
    }

    /// Makes all of `changes`, or none, and tells after each how many are written.
    pub(crate) async fn commit(
        &self,
        exclusive: Exclusive,
        changes: &[Change],
        written: &(dyn Fn(usize) + Sync),
    ) -> Result<(), StoreError> {
        let Exclusive { mut lent } = exclusive;
        // Not bounded as a whole: an import may hold ten thousand projects.
        let done = async {
            for (before, change) in changes.iter().enumerate() {
                self.servers.bounded(self.write(&mut lent, change)).await?;
                written(before + 1);
            }
            let commit = async { Ok(sqlx::query("COMMIT").execute(&mut *lent).await?) };
            self.servers.bounded(commit).await.map(|_| ())
        };
        let done = done.await;
        if done.is_ok() {
            lent.done();
        }
        done
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        change: &Change,
    ) -> Result<(), StoreError> {
        match change {
            Change::PutClient(client) => self.put_client(connection, client).await,
            Change::DeleteClient(id) => {
                sqlx::query("DELETE FROM oauth_clients WHERE client_id = $1")
                    .bind(id)
                    .execute(connection)
                    .await?;
                Ok(())
            }
            Change::PutProject(record) => self.put_project(connection, record).await,
            Change::DeleteProject(id) => {
                sqlx::query("DELETE FROM projects WHERE id = $1")
                    .bind(&**id)
                    .execute(connection)
                    .await?;
                Ok(())
            }
            Change::PutImport(import) => rows::put_import(connection, import).await,
            Change::PutClientImport(import) => rows::put_client_import(connection, import).await,
        }
    }

    /// Keeps what this replica has learned of a project: its status, if it is `restated`, and its
    /// cooldowns, of which others may know longer ones. Nothing when there is no such project, or
    /// it has another credential meanwhile, which the status says nothing about.
    pub(crate) async fn commit_state(
        &self,
        project: &Project,
        generation: i64,
        restated: Restated,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.servers
            .bounded(async {
                let mut lent = self.servers.lend().await?;
                sqlx::query("BEGIN").execute(&mut *lent).await?;
                let (status, reason, url) = status_columns(&project.status);
                // Locked and marked as changed, whatever of it has changed.
                let found = sqlx::query(
                    "UPDATE projects SET
                         status = CASE WHEN $5 THEN $2 ELSE status END,
                         status_reason = CASE WHEN $5 THEN $3 ELSE status_reason END,
                         action_url = CASE WHEN $5 THEN $4 ELSE action_url END
                     WHERE id = $1 AND credential = $6",
                )
                .bind(&*project.id)
                .bind(status)
                .bind(storable(reason))
                .bind(storable(url))
                .bind(restated.status)
                .bind(generation)
                .execute(&mut *lent)
                .await?;
                if found.rows_affected() == 1 {
                    sqlx::query(
                        "DELETE FROM cooldowns WHERE project_id = $1 AND ($2 OR until <= $3)",
                    )
                    .bind(&*project.id)
                    .bind(restated.cleared)
                    .bind(now.as_millisecond())
                    .execute(&mut *lent)
                    .await?;
                    self.put_cooldowns(&mut lent, project).await?;
                }
                sqlx::query("COMMIT").execute(&mut *lent).await?;
                lent.done();
                Ok(())
            })
            .await
    }

    /// Keeps the numbers of projects' last turns, as far as nobody has dealt them later.
    pub(crate) async fn commit_places(
        &self,
        places: &[(ProjectId, u64)],
    ) -> Result<(), StoreError> {
        // In one order for all, so that no two wait for each other.
        let mut places: Vec<_> = places.iter().collect();
        places.sort_unstable();
        let projects: Vec<&str> = places.iter().map(|(project, _)| &**project).collect();
        let numbers: Vec<i64> = places
            .iter()
            .map(|(_, place)| i64::try_from(*place).unwrap_or(i64::MAX))
            .collect();
        self.servers
            .bounded(async {
                let mut lent = self.servers.lend().await?;
                sqlx::query(
                    "INSERT INTO rotation AS known (project_id, place)
                     SELECT moved.id, moved.place
                     FROM unnest($1::text[], $2::bigint[]) AS moved (id, place)
                     JOIN projects ON projects.id = moved.id
                     ORDER BY moved.id
                     ON CONFLICT (project_id)
                         DO UPDATE SET place = greatest(known.place, excluded.place)",
                )
                .bind(projects)
                .bind(numbers)
                .execute(&mut *lent)
                .await?;
                lent.done();
                Ok(())
            })
            .await
    }

    /// Gives the connections up.
    pub(crate) async fn close(&self) {
        let leaving = self.leave().await;
        if let Err(error) = leaving {
            tracing::debug!(%error, "the replica is forgotten by the others after a while");
        }
        self.servers.close().await;
    }

    pub(crate) fn keys(&self) -> Arc<crate::seal::Keyring> {
        self.seals.keys()
    }

    pub(in crate::store) fn seals(&self) -> &Seals {
        &self.seals
    }

    /// Returns when no other backup is made.
    pub(in crate::store) async fn one_backup(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.backing_up.lock().await
    }

    /// Returns when the server has been lost since this was last asked.
    pub(crate) async fn lost(&self) {
        self.servers.lost().await;
    }

    /// A connection of its own, for what may take its time.
    pub(in crate::store) async fn own(&self) -> Result<PgConnection, StoreError> {
        self.servers.own().await
    }

    /// The same, while nobody else opens the database or uses it.
    pub(in crate::store) async fn own_alone(&self) -> Result<PgConnection, StoreError> {
        let mut connection = self.own().await?;
        open::lock(&mut connection).await?;
        open::nobody_else(&mut connection).await?;
        Ok(connection)
    }

    /// As [`Postgres::close`], of one that has told nobody that it is there.
    pub(in crate::store) async fn close_alone(&self) {
        self.servers.close().await;
    }

    /// As operators see it.
    pub(crate) fn name(&self) -> &str {
        self.servers.name()
    }
}
