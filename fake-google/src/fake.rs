//! The state behind the listener, and what a test can do to it while it runs.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};

use crate::accounts::{AccountId, Accounts};
use crate::catalogue::{Group, Model, Upstream};
use crate::config::{Account, Config};
use crate::connection::Connection;
use crate::counters::{Counters, count};
use crate::endpoint::Endpoint;
use crate::fault::{Fault, Plan, Script, Subject};
use crate::gates::Gates;
use crate::prepared::Prepared;
use crate::recording::ReceivedRequest;
use crate::service_accounts::RobotState;

/// How many entries of [`Counters::project_sequence`] are kept.
const SEQUENCE_LIMIT: usize = 10_000;

/// A fake Google: accounts, tokens, scripted faults and counters. Serve it with [`serve`](crate::serve).
pub struct FakeGoogle {
    prepared: Option<Prepared>,
    config: Config,
    ledger: Mutex<Ledger>,
    counters: Mutex<Counters>,
    script: Mutex<Script>,
    operations: AtomicU64,
    gates: Gates,
    received: Mutex<VecDeque<ReceivedRequest>>,
}

impl fmt::Debug for FakeGoogle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeGoogle")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What changes while it runs.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) accounts: Accounts,
    /// How far its clock is ahead of the machine's.
    ahead: Duration,
    /// Onboarding operations: whose, and how often they still answer that they are not done.
    pub(crate) operations: HashMap<String, (AccountId, u32)>,
    windows: HashMap<(AccountId, Group), Window>,
}

/// What an account has used of a quota.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    ends: SystemTime,
    used: u64,
    limit: u64,
}

impl Window {
    pub(crate) fn remaining_fraction(&self) -> f64 {
        if self.limit == 0 {
            0.0
        } else {
            self.limit.saturating_sub(self.used) as f64 / self.limit as f64
        }
    }

    pub(crate) fn ends(&self) -> SystemTime {
        self.ends
    }
}

impl Ledger {
    fn of(config: &Config) -> Self {
        let mut ledger = Self::default();
        for account in &config.accounts {
            ledger.accounts.add(account.clone());
        }
        for robot in &config.service_accounts {
            ledger.accounts.add_robot(robot.clone());
        }
        ledger
    }

    pub(crate) fn now(&self) -> SystemTime {
        SystemTime::now() + self.ahead
    }

    /// The window that an account is in, if any.
    pub(crate) fn window(&self, account: AccountId, group: Group) -> Option<Window> {
        self.windows
            .get(&(account, group))
            .copied()
            .filter(|window| window.ends > self.now())
    }
}

impl FakeGoogle {
    /// A Google with the accounts of `config` and nothing counted.
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            ledger: Mutex::new(Ledger::of(&config)),
            prepared: config.prepared.then(|| Prepared::new(&config)),
            config,
            counters: Mutex::default(),
            script: Mutex::default(),
            operations: AtomicU64::new(0),
            gates: Gates::default(),
            received: Mutex::default(),
        })
    }

    /// Adds an account.
    pub fn add_account(&self, account: Account) {
        self.ledger.lock().accounts.add(account);
    }

    /// Queues a scripted fault.
    pub fn script(&self, fault: Fault) {
        self.script.lock().push(fault);
    }

    /// Drops the scripted faults that are still waiting.
    pub fn clear_script(&self) {
        self.script.lock().clear();
    }

    /// What it has seen so far.
    pub fn counters(&self) -> Counters {
        self.counters.lock().clone()
    }

    /// The newest requests to a model's methods, oldest first; as many as [`Config::keep_requests`] says.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.received.lock().iter().cloned().collect()
    }

    /// Opens a gate of [`Action::Hold`](crate::Action::Hold) for everybody who waits there. Who comes later waits again.
    pub fn release(&self, gate: &str) {
        self.gates.open(gate);
    }

    /// Waits until `requests` of them have come to a gate that has not been opened since.
    pub async fn reached(&self, gate: &str, requests: usize) {
        self.gates.reached(gate, requests).await;
    }

    /// Moves its clock forward: access tokens, codes and quota windows expire by it.
    pub fn advance(&self, by: Duration) {
        self.ledger.lock().ahead += by;
    }

    /// Ends a refresh token and the access tokens of its account (the account's owner removed the app), or one access
    /// token. False when it is unknown.
    pub fn revoke(&self, token: &str) -> bool {
        let mut ledger = self.ledger.lock();
        if self.config.api_keys.iter().any(|key| key == token) {
            ledger.accounts.delete_key(token);
            return true;
        }
        ledger.accounts.revoke(token) || ledger.accounts.set_robot(token, RobotState::KeyDeleted)
    }

    /// From now on grants nothing to the service account of this address, and answers 401 to its access tokens. False
    /// when there is none.
    pub fn disable_service_account(&self, client_email: &str) -> bool {
        let mut ledger = self.ledger.lock();
        ledger
            .accounts
            .set_robot(client_email, RobotState::Disabled)
    }

    /// From now on answers 401 to the access tokens that the account with this refresh token or this Google project
    /// holds, though they have not expired. False when there is no such account.
    pub fn invalidate_access_tokens(&self, refresh_token_or_project: &str) -> bool {
        self.ledger
            .lock()
            .accounts
            .invalidate(refresh_token_or_project)
    }

    /// Uses up the quota of the account with this refresh token or Google project for `reset_in`. False when there is
    /// no such account.
    pub fn exhaust_quota(
        &self,
        refresh_token_or_project: &str,
        group: Group,
        reset_in: Duration,
    ) -> bool {
        let mut ledger = self.ledger.lock();
        let Some(account) = ledger.accounts.find(refresh_token_or_project) else {
            return false;
        };
        let limit = self.config.quota.map_or(0, |quota| quota.requests);
        let window = Window {
            ends: ledger.now() + reset_in,
            used: limit,
            limit,
        };
        ledger.windows.insert((account, group), window);
        true
    }

    /// Back to the start: the accounts of the configuration, no tokens, no faults, nothing counted, the machine's clock.
    pub fn reset(&self) {
        *self.ledger.lock() = Ledger::of(&self.config);
        self.script.lock().clear();
        self.received.lock().clear();
        let mut counters = self.counters.lock();
        let connections = counters.connections;
        let in_flight = counters.in_flight;
        *counters = Counters::default();
        counters.connections.open = connections.open;
        counters.in_flight = in_flight;
    }

    /// What it was started with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn gates(&self) -> &Gates {
        &self.gates
    }

    pub(crate) fn receive(&self, request: impl FnOnce() -> ReceivedRequest) {
        let keep = self.config.keep_requests;
        if keep == 0 {
            return;
        }
        let mut received = self.received.lock();
        if received.len() == keep {
            received.pop_front();
        }
        received.push_back(request());
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    pub(crate) fn tally(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock()
    }

    pub(crate) fn timestamp(&self) -> Timestamp {
        // The clock would have to be moved by ten thousand years for this to fail.
        Timestamp::try_from(self.ledger.lock().now()).unwrap_or(Timestamp::MAX)
    }

    /// The answers that are ready, if it works that way.
    pub(crate) fn prepared(&self) -> Option<&Prepared> {
        self.prepared.as_ref()
    }

    pub(crate) fn meet(&self, subject: &Subject<'_>) -> Plan {
        let (plan, fired) = self.script.lock().meet(subject);
        if fired > 0 {
            self.counters.lock().faults_fired += fired;
        }
        plan
    }

    /// The model of that id on that upstream.
    pub(crate) fn model(&self, id: &str, upstream: Upstream) -> Option<Model> {
        let listed = self
            .config
            .models
            .iter()
            .find(|model| model.id == id && model.upstreams.contains(&upstream))
            .cloned();
        listed.or_else(|| self.config.accept_any_model.then(|| Model::unlisted(id)))
    }

    pub(crate) fn next_operation(&self) -> u64 {
        self.operations.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes one request off an account's quota; the time that is left of the window and its limit when it is used up.
    pub(crate) fn spend(&self, account: AccountId, group: Group) -> Result<(), (Duration, u64)> {
        let mut ledger = self.ledger.lock();
        let now = ledger.now();
        let mut window = match (ledger.window(account, group), self.config.quota) {
            (Some(window), _) => window,
            (None, Some(quota)) => Window {
                ends: now + quota.window,
                used: 0,
                limit: quota.requests,
            },
            (None, None) => return Ok(()),
        };
        if window.used >= window.limit {
            return Err((
                window.ends.duration_since(now).unwrap_or_default(),
                window.limit,
            ));
        }
        window.used += 1;
        ledger.windows.insert((account, group), window);
        Ok(())
    }

    pub(crate) fn count_connection(self: &Arc<Self>) -> OpenConnection {
        let mut counters = self.counters.lock();
        counters.connections.accepted += 1;
        counters.connections.open += 1;
        OpenConnection(Arc::clone(self))
    }

    pub(crate) fn count_generation(&self, project: &str, model: &str, token: &str) {
        let mut counters = self.counters.lock();
        count(&mut counters.by_project, project.to_owned());
        count(&mut counters.by_model, model.to_owned());
        count(
            &mut counters.by_access_token,
            crate::counters::fingerprint(token),
        );
        if counters.project_sequence.len() == SEQUENCE_LIMIT {
            counters.project_sequence.remove(0);
        }
        counters.project_sequence.push(project.to_owned());
    }

    /// Counts a request, and watches over its answer.
    pub(crate) fn begin(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        endpoint: Option<Endpoint>,
        http2: bool,
    ) -> Watch {
        let mut counters = self.counters.lock();
        counters.in_flight += 1;
        counters.in_flight_max = counters.in_flight_max.max(counters.in_flight);
        if http2 {
            counters.connections.http2_requests += 1;
        } else {
            counters.connections.http1_requests += 1;
        }
        if let Some(endpoint) = endpoint {
            count(&mut counters.requests, endpoint.name().to_owned());
        }
        Watch {
            fake: Arc::clone(self),
            connection: Arc::clone(connection),
            over: false,
        }
    }
}

/// Counts a connection as open while it lives.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<FakeGoogle>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.counters.lock().connections.open -= 1;
    }
}

/// Watches over one answer: dropped before it is over, the client did not wait for it.
#[derive(Debug)]
pub(crate) struct Watch {
    fake: Arc<FakeGoogle>,
    connection: Arc<Connection>,
    over: bool,
}

impl Watch {
    /// All of it was handed over, or this side broke it off.
    pub(crate) fn over(&mut self) {
        self.over = true;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut counters = self.fake.counters.lock();
        counters.in_flight -= 1;
        if !self.over && !self.connection.is_cut() {
            counters.aborted += 1;
        }
    }
}
