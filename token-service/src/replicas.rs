//! One pool, several replicas: what others store is taken over here, and what operators change
//! here is changed on top of that. With a database of its own a service is alone, and all of this
//! is nothing.

mod ahead;
mod trouble;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{sync::MutexGuard, time::Instant};
use tokio_util::sync::CancellationToken;

use self::trouble::Asked;
pub(crate) use self::{ahead::Ahead, trouble::Trouble};
use crate::{
    pool::{Pool, State},
    project::{Project, ProjectId, Status},
    store::{
        Change, Delta, Exclusive, HEARTBEAT, Lease, News, ProjectRecord, Restated, StoreError,
    },
};

/// Changes are looked for after this at the latest, in case the news of one was lost.
const POLL: Duration = Duration::from_secs(2);
/// What is changed at once is looked at once.
const PAUSE: Duration = Duration::from_millis(20);
/// A database that is away is looked for again after this, then after twice as long.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));
/// Clocks that differ by less are taken for the same.
const SAME_CLOCK: i64 = 1000;
/// A clock that differs by more is told of.
const WRONG_CLOCK: i64 = 5000;

/// A change that an operator makes: nobody makes another meanwhile, here or elsewhere, and memory
/// is what the database is.
pub(crate) struct Changing<'p> {
    pool: &'p Pool,
    exclusive: Option<Exclusive>,
    _writes: MutexGuard<'p, ()>,
}

impl Changing<'_> {
    /// Makes all of `changes`, or none.
    pub(crate) async fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.commit_telling(changes, &|_| {}).await
    }

    /// As [`Changing::commit`], and tells after each change how many are written; they are made
    /// once it returns.
    pub(crate) async fn commit_telling(
        &mut self,
        changes: &[Change],
        written: &(dyn Fn(usize) + Sync),
    ) -> Result<(), StoreError> {
        let exclusive = match self.exclusive.take() {
            Some(exclusive) => exclusive,
            None => self.pool.store.exclusive().await?,
        };
        self.pool.store.commit(exclusive, changes, written).await
    }
}

impl Pool {
    /// Begins a change of what operators see.
    ///
    /// # Errors
    /// The database cannot be asked; nothing is changed.
    pub(crate) async fn change(&self) -> Result<Changing<'_>, StoreError> {
        let writes = self.writes.lock().await;
        let exclusive = self.store.exclusive().await?;
        self.take_over().await?;
        Ok(Changing {
            pool: self,
            exclusive: Some(exclusive),
            _writes: writes,
        })
    }

    /// As [`Pool::change`], and what was imported before is known too.
    pub(crate) async fn change_imports(&self) -> Result<Changing<'_>, StoreError> {
        let changing = self.change().await?;
        if let Some((imports, client_imports)) = self.store.others_imports().await? {
            let mut state = self.state();
            state.imports.clear();
            for import in imports {
                state.put_import(import);
            }
            state.client_imports = client_imports;
        }
        Ok(changing)
    }

    /// Takes over what others have stored. The caller holds `writes`.
    pub(crate) async fn take_over(&self) -> Result<(), StoreError> {
        let Some(database) = self.store.shared() else {
            return Ok(());
        };
        let mut delta = database.look().await?;
        if let Some(theirs) = delta.now {
            self.set_clock_by(theirs);
        }
        self.tell_unreadable(delta.unreadable.take());
        if !delta.is_empty() {
            let now = self.now();
            self.state().apply_delta(delta, now);
            self.changed.notify_one();
            self.restated.notify_one();
        }
        self.followed.notify_waiters();
        Ok(())
    }

    /// Replicas whose clocks differ agree on the database's.
    fn set_clock_by(&self, theirs: Timestamp) {
        let advanced = i64::try_from(self.clock.advanced().as_millis()).unwrap_or(i64::MAX);
        let theirs = theirs.as_millisecond().saturating_add(advanced);
        let ahead = theirs - self.clock.now().as_millisecond();
        let skew = if ahead.abs() < SAME_CLOCK { 0 } else { ahead };
        let before = self.skew();
        if (skew - before).abs() < SAME_CLOCK && (skew == 0) == (before == 0) {
            return;
        }
        self.set_skew(skew);
        if skew.abs() >= WRONG_CLOCK {
            tracing::warn!(
                seconds = skew / 1000,
                "this machine's clock differs from the database's, which is used; set it right"
            );
        }
    }

    fn tell_unreadable(&self, unreadable: Option<StoreError>) {
        let mut state = self.state();
        if let Some(error) = &unreadable
            && state.unreadable.is_none()
        {
            tracing::error!(
                %error,
                "cannot read what another replica has stored; what was known before is served"
            );
        } else if unreadable.is_none() && state.unreadable.is_some() {
            tracing::info!("can read again what other replicas store");
        }
        state.unreadable = unreadable.map(|error| error.to_string());
    }

    /// Tells others that this replica is here, and begins the rotation elsewhere than they do, so
    /// that no project gets the turns of all of them at once.
    pub(crate) async fn join_replicas(&self) {
        if self.store.shared().is_none() {
            return;
        }
        self.beat().await;
        self.follow_once().await;
        let mut state = self.state();
        if state.replicas > 1 {
            // Between 0 and 1, another for each.
            let share = getrandom::u32().map_or(0.5, |it| f64::from(it) / f64::from(u32::MAX));
            state.rotation.stagger(share);
        }
    }

    /// Takes over what others store, as soon as it is heard of, until `stop`; and looks for the
    /// database when it is away.
    pub(crate) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let Some(database) = self.store.shared() else {
            return;
        };
        let followed = async {
            let mut news = None;
            let mut beaten: Option<Instant> = None;
            loop {
                if self.is_database_away().is_some() {
                    news = None;
                    self.look_for_database().await;
                }
                // What is still asked of a server that others have lost is not waited for.
                tokio::select! {
                    () = self.follow_on(&mut news, &mut beaten) => {}
                    () = database.lost() => news = None,
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = followed => {}
            () = stop.cancelled() => {}
        }
    }

    /// Looks once, says that this replica is there if it is time to, and waits for news.
    async fn follow_on(&self, news: &mut Option<News>, beaten: &mut Option<Instant>) {
        if news.is_none() {
            *news = self.listen().await;
        }
        self.follow_once().await;
        self.store_what_is_ahead().await;
        if beaten.is_none_or(|at| at.elapsed() >= HEARTBEAT) {
            *beaten = Some(Instant::now());
            self.beat().await;
        }
        if !next(news).await {
            *news = None;
        }
    }

    async fn follow_once(&self) {
        let _writes = self.writes.lock().await;
        let looked = self.take_over().await;
        self.tell_trouble(Asked::Look, looked.err());
    }

    async fn listen(&self) -> Option<News> {
        let database = self.store.shared()?;
        match database.news().await {
            Ok(news) => Some(news),
            Err(error) => {
                tracing::debug!(%error, "hears of no changes; they are looked for");
                None
            }
        }
    }

    async fn beat(&self) {
        let Some(database) = self.store.shared() else {
            return;
        };
        let beaten = database.beat().await;
        if let Ok(replicas) = &beaten {
            self.state().replicas = *replicas;
        }
        self.tell_trouble(Asked::Beat, beaten.err());
    }

    /// Why the database takes nothing; `None`: it is there.
    pub(crate) fn is_database_away(&self) -> Option<String> {
        self.store.shared()?.is_away()
    }

    pub(crate) async fn look_for_database(&self) {
        let Some(database) = self.store.shared() else {
            return;
        };
        let (mut pause, longest) = LOOK_AGAIN;
        while let Err(error) = database.reach().await {
            tracing::debug!(%error, "the database is still away");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
        tracing::info!(database = database.name(), "the database is there again");
    }
}

/// Waits for news, or for the time to look without; `false`: none come any more.
async fn next(news: &mut Option<News>) -> bool {
    match news {
        None => {
            tokio::time::sleep(POLL).await;
            true
        }
        Some(news) => match tokio::time::timeout(POLL, news.next()).await {
            Ok(heard) => heard.is_ok(),
            Err(_) => true,
        },
    }
}

impl State {
    /// What of a project is only here yet, and is to be stored.
    pub(crate) fn restate(&mut self, id: &ProjectId, restated: Restated) {
        let pending = self.pending.entry(Arc::clone(id)).or_default();
        pending.status |= restated.status;
        pending.cleared |= restated.cleared;
    }

    fn apply_delta(&mut self, delta: Delta, now: Timestamp) {
        // Clients first: projects name them.
        let is_another = delta.is_another;
        for client in delta.clients {
            if self.is_client_ahead(&client, is_another) {
                continue;
            }
            let known = self.clients.get(&client.credentials.client_id);
            if known.is_none_or(|known| known.record.updated_at != client.updated_at) {
                self.change_client(client);
            }
        }
        for (record, late) in delta.projects {
            self.take_over(record, late, is_another, now);
        }
        let Some((projects, clients)) = delta.present else {
            return;
        };
        if is_another && !delta.has_removed {
            self.mark_missing(&projects, &clients);
        }
        // All of memory has been stored: what is not there was removed.
        let gone = self.projects.keys().filter(|id| !projects.contains(&***id));
        let gone = gone.filter(|id| !self.ahead.projects.contains(*id));
        for id in gone.cloned().collect::<Vec<_>>() {
            self.remove(&id);
        }
        let ahead = &self.ahead.clients;
        self.clients
            .retain(|id, _| clients.contains(id) || ahead.contains(id));
    }

    /// A project as it is stored. What this replica has learned of it and not stored yet stays.
    fn take_over(
        &mut self,
        mut record: ProjectRecord,
        late: Lease,
        is_another: bool,
        now: Timestamp,
    ) {
        let id = Arc::clone(&record.project.id);
        let Some(member) = self.projects.get(&id) else {
            self.insert(record, 0);
            return;
        };
        let mine = &member.record.project;
        let pending = self.pending.get(&id).copied();
        let same_credential = member.record.generation == record.generation;
        if self.ahead.is_behind(&record, mine, is_another) {
            if !same_credential {
                return;
            }
            record.project = Project {
                status: record.project.status,
                cooldowns: record.project.cooldowns,
                ..mine.clone()
            };
        }
        // What has ended is forgotten here and there at other times: none is brought back.
        let cooldowns = &mut record.project.cooldowns;
        cooldowns.retain(|group, it| it.until > now || mine.cooldowns.contains_key(group));
        for (group, cooldown) in &mut record.project.cooldowns {
            if let Some(known) = mine.cooldowns.get(group) {
                cooldown.strikes = known.strikes;
            }
        }
        if let Some(pending) = pending.filter(|_| same_credential) {
            let verdict_is_old = matches!(mine.status, Status::NeedsLogin { .. })
                && member.has_older_credential_than(&record);
            if pending.status && !verdict_is_old {
                record.project.status = mine.status.clone();
            }
            if verdict_is_old && let Some(pending) = self.pending.get_mut(&id) {
                pending.status = false;
            }
            if pending.cleared {
                record.project.cooldowns.clear();
            }
            for (group, cooldown) in &mine.cooldowns {
                let stored = record.project.cooldowns.entry(group.clone());
                let stored = stored.or_insert(*cooldown);
                stored.until = stored.until.max(cooldown.until);
            }
        }
        let project = record.project.clone();
        if same_credential {
            self.renew(record, late, is_another);
        } else {
            self.pending.remove(&id);
            self.replace(record, now);
        }
        let Some(member) = self.projects.get_mut(&id) else {
            return;
        };
        let rests_anew = project.cooldowns.iter().any(|(group, cooldown)| {
            let known = member.record.project.cooldowns.get(group);
            known.is_none_or(|known| known.until < cooldown.until)
        });
        member.record.project.status = project.status;
        member.record.project.cooldowns = project.cooldowns;
        if rests_anew {
            self.rotation.drop_returned(&id);
        }
        self.refit(&id);
    }

    /// The same credential, whose token another replica may have refreshed, and what operators
    /// have changed of the rest.
    fn renew(&mut self, mut record: ProjectRecord, late: Lease, is_another: bool) {
        let id = Arc::clone(&record.project.id);
        let Some(member) = self.projects.get_mut(&id) else {
            return;
        };
        if member.is_lacked_by(&record, is_another) {
            tracing::warn!(
                project = &*id,
                "the database lacks the last refresh of the project; it is stored again"
            );
            member.store_again(late);
            record.credential = member.record.credential.clone();
            record.token = member.record.token.clone();
        }
        let mine = &member.record.project;
        let (from, to) = (mine.upstream, record.project.upstream);
        let is_mended = record.project.status == Status::Active && mine.status != Status::Active;
        if record.project.updated_at != mine.updated_at || is_mended {
            // What was changed may have mended it.
            member.denial = None;
            member.failure = None;
        }
        let is_new_token = member.differs(record.token.as_ref());
        let token = record.token.clone();
        let status = mine.status.clone();
        let cooldowns = mine.cooldowns.clone();
        let client = record.project.oauth_client_id.clone();
        member.put_credential(record.credential);
        member.record.project = record.project;
        // The caller sets them as it has found them to be.
        member.record.project.status = status;
        member.record.project.cooldowns = cooldowns;
        if is_new_token {
            member.set_token(token);
            member.failure = None;
            if let Some(client) = self.clients.get_mut(&client) {
                client.refusal = None;
            }
        } else {
            member.record.token = token;
        }
        self.recount(from, to);
        if from != to {
            self.rotation.set(&id, None);
        }
    }
}
