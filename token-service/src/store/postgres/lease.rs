//! One refresh at a time per project, over all replicas: who refreshes has a lease, which ends by
//! itself when its holder dies, and a fencing number, by which a result that comes after that end
//! is told. Times are the server's alone.

use std::time::{Duration, Instant};

use secrecy::SecretString;

use super::Postgres;
use crate::{
    oauth::DEADLINE,
    project::ProjectId,
    store::{ProjectRecord, StoreError, StoredToken, milliseconds},
};

/// How long a lease holds; longer than Google may take to answer.
const LEASE: Duration = Duration::from_secs(40);
/// The sequence begins behind it.
const NO_FENCE: i64 = 0;

/// The right to refresh a project's token.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    fence: i64,
    /// The refresh token that it is for, as it is stored.
    sealed: Option<Vec<u8>>,
    /// When it was asked for: it ends no earlier than [`LEASE`] after this.
    asked: Instant,
}

impl Lease {
    /// Of a database that has no other writer.
    pub(in crate::store) fn sole() -> Self {
        Self {
            fence: NO_FENCE,
            sealed: None,
            asked: Instant::now(),
        }
    }

    /// None at all: what is kept with it is kept only as long as `sealed` is the refresh token
    /// that is stored.
    pub(crate) fn late(sealed: Vec<u8>) -> Self {
        Self {
            fence: NO_FENCE,
            sealed: Some(sealed),
            asked: Instant::now(),
        }
    }

    /// The same without its hold.
    pub(crate) fn given_up(self) -> Self {
        Self {
            fence: NO_FENCE,
            ..self
        }
    }

    /// Whether Google can still answer within it, if it is asked now. It cannot when this process
    /// was stopped meanwhile.
    pub(crate) fn is_long_enough(&self) -> bool {
        self.asked.elapsed() + DEADLINE < LEASE
    }
}

/// Who may refresh a project.
#[derive(Debug)]
pub(crate) enum Taken {
    /// The caller; and the project as it is stored, where others may have changed it.
    Mine(Lease, Option<Box<ProjectRecord>>),
    /// Another replica does.
    Another,
    /// Nobody: there is no such project, or it has another credential.
    Gone,
}

impl Postgres {
    /// Takes the lease of a project, if nobody has it.
    pub(crate) async fn take_lease(
        &self,
        project: &ProjectId,
        generation: i64,
    ) -> Result<Taken, StoreError> {
        let asked = Instant::now();
        self.servers
            .bounded(async {
                let mut lent = self.servers.lend().await?;
                let fence: Option<i64> = sqlx::query_scalar(
                    "INSERT INTO refresh_leases AS lease (project_id, fence, holder, until)
                     SELECT id, nextval('refresh_fences'), $2,
                         clock_timestamp() + $3 * interval '1 millisecond'
                     FROM projects WHERE id = $1 AND credential = $4
                     ON CONFLICT (project_id) DO UPDATE SET
                         fence = excluded.fence, holder = excluded.holder, until = excluded.until
                     WHERE lease.until < clock_timestamp()
                     RETURNING fence",
                )
                .bind(&**project)
                .bind(&self.instance)
                .bind(milliseconds(LEASE))
                .bind(generation)
                .fetch_optional(&mut *lent)
                .await?;
                // A statement of its own, which sees what the holder of before has stored.
                let stored = self.read_project(&mut lent, project).await;
                let is_of_use = matches!(&stored, Ok(Some((it, _))) if it.generation == generation);
                if !is_of_use && fence.is_some() {
                    // The credential was set anew in between, or cannot be read here: others are
                    // not to wait.
                    sqlx::query(
                        "UPDATE refresh_leases SET until = '-infinity'
                         WHERE project_id = $1 AND fence = $2",
                    )
                    .bind(&**project)
                    .bind(fence)
                    .execute(&mut *lent)
                    .await?;
                }
                lent.done();
                let stored = stored?;
                Ok(match (fence, stored) {
                    (_, None) => Taken::Gone,
                    (_, Some((stored, _))) if stored.generation != generation => Taken::Gone,
                    (Some(fence), Some((stored, sealed))) => {
                        let lease = Lease {
                            fence,
                            sealed: Some(sealed),
                            asked,
                        };
                        Taken::Mine(lease, Some(Box::new(stored)))
                    }
                    (None, Some(_)) => Taken::Another,
                })
            })
            .await
    }

    /// Lets others refresh the project; `false` when another holder has taken the lease since.
    pub(crate) async fn end_lease(
        &self,
        project: &ProjectId,
        lease: &Lease,
    ) -> Result<bool, StoreError> {
        self.servers
            .bounded(async {
                let mut lent = self.servers.lend().await?;
                let ended = sqlx::query(
                    "UPDATE refresh_leases SET until = '-infinity'
                     WHERE project_id = $1 AND fence = $2",
                )
                .bind(&**project)
                .bind(lease.fence)
                .execute(&mut *lent)
                .await?;
                lent.done();
                Ok(ended.rows_affected() == 1)
            })
            .await
    }

    /// Keeps what a refresh brought, and ends its lease; `false` when another holder has taken
    /// the lease since, or the project has another credential (or is gone): then nothing is
    /// changed. But a refresh token that Google has rotated is kept although it comes late, as
    /// long as the one that it replaces is still what is stored: there may be no other.
    pub(crate) async fn commit_refresh(
        &self,
        project: &ProjectId,
        generation: i64,
        lease: &Lease,
        token: &StoredToken,
        refresh_token: Option<&SecretString>,
    ) -> Result<bool, StoreError> {
        let access_token = self
            .seals
            .seal("projects", "access_token", project, &token.secret)?;
        let rotated = refresh_token
            .map(|secret| {
                self.seals
                    .seal("projects", "refresh_token", project, secret)
            })
            .transpose()?;
        self.servers
            .bounded(async {
                let mut lent = self.servers.lend().await?;
                let done = sqlx::query(
                    "WITH held AS (
                         UPDATE refresh_leases SET until = '-infinity'
                         WHERE project_id = $1 AND fence = $3 RETURNING project_id
                     )
                     UPDATE projects SET
                         access_token_sealed = $4, access_token_expires_at = $5,
                         access_token_lifetime = $6, refreshed_at = $7,
                         refresh_token_sealed = coalesce($8, refresh_token_sealed),
                         status = CASE WHEN status = 'needs_login'
                             AND NOT EXISTS (SELECT FROM held) THEN 'active' ELSE status END
                     WHERE id = $1 AND credential = $2
                         AND (EXISTS (SELECT FROM held)
                             OR $8::bytea IS NOT NULL AND refresh_token_sealed = $9)",
                )
                .bind(&**project)
                .bind(generation)
                .bind(lease.fence)
                .bind(access_token)
                .bind(token.expires_at.as_millisecond())
                .bind(token.lifetime.map(milliseconds))
                .bind(token.refreshed_at.map(|time| time.as_millisecond()))
                .bind(rotated)
                .bind(&lease.sealed)
                .execute(&mut *lent)
                .await?;
                lent.done();
                Ok(done.rows_affected() == 1)
            })
            .await
    }
}
