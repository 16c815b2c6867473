//! Tokens and facts that are asked for without a turn: what is in hand before the first
//! request, what the pool has, and what goes back at the end.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use antigravity_proto::v1::{self, Upstream};
use tokio_util::sync::CancellationToken;

use super::{AcquireError, Token, Tokens, Want, queue::Key, wait_out_a_restart};

/// Tokens that are asked for without a turn, to have them in hand.
const TOKENS_AHEAD: u32 = 256;
/// How often it is looked whether there are any.
const LOOKING: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(250);

impl Tokens {
    /// Sees to it that tokens are in hand also without traffic, so that a gateway whose
    /// token-service goes away can serve its first request, until `ended`. Draws no turns.
    pub async fn keep_in_hand(&self, every: Option<Duration>, ended: CancellationToken) {
        let mut asked: Option<Instant> = None;
        // A pool that was just made has no tokens yet, or not all, so the first looks are soon.
        let mut pause = SOON;
        loop {
            let due = every.is_some_and(|every| asked.is_none_or(|at| at.elapsed() >= every));
            if due || pause < LOOKING || !self.has_usable() {
                let request = v1::AcquireTokensRequest {
                    count: Some(0),
                    tokens: TOKENS_AHEAD,
                    ..Default::default()
                };
                match self.client.acquire(request, None).await {
                    Ok(response) => {
                        asked = Some(Instant::now());
                        self.held.lock().add(&Key::any(), response, self.now());
                    }
                    Err(_) => pause = SOON,
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = ended.cancelled() => return,
            }
            pause = (pause * 2).min(LOOKING);
        }
    }

    /// The upstreams that the pool has projects of, asked of the token-service when that
    /// is not known yet; empty: the pool is.
    ///
    /// # Errors
    /// The token-service does not answer.
    pub async fn discover(&self) -> Result<Vec<Upstream>, AcquireError> {
        let known = self.pool_upstreams();
        if !known.is_empty() {
            return Ok(known);
        }
        let nothing = v1::AcquireTokensRequest {
            count: Some(0),
            ..Default::default()
        };
        let answer = wait_out_a_restart(async || {
            let answer = self.client.acquire(nothing.clone(), None).await;
            answer.map_err(AcquireError::from)
        });
        match answer.await {
            Ok(response) => {
                let mut held = self.held.lock();
                held.learn_pool(&response);
                Ok(held.pool_upstreams.clone())
            }
            Err(AcquireError::AllExcluded) => Ok(Vec::new()),
            Err(refused) => Err(refused),
        }
    }

    /// A token for a call that is no turn (a model list), asked of the token-service when
    /// none is in hand; its turn goes back.
    ///
    /// # Errors
    /// As [`Tokens::acquire`].
    pub async fn token_of(
        self: &Arc<Self>,
        upstream: Upstream,
    ) -> Result<Arc<Token>, AcquireError> {
        if let Some(token) = self.borrow(upstream) {
            return Ok(token);
        }
        let exclude = HashSet::new();
        let want = Want {
            model: "",
            upstreams: &[upstream],
            exclude: &exclude,
            conversation: None,
            asked_in: None,
        };
        let lease = self
            .acquire_from(&Key::of_no_model(upstream), &want)
            .await?;
        let token = Arc::clone(&lease.token);
        self.held.lock().put_back(lease, self.now());
        Ok(token)
    }

    /// A token in hand for one upstream, for calls that are no turn (model lists).
    #[must_use]
    pub fn borrow(&self, upstream: Upstream) -> Option<Arc<Token>> {
        self.held.lock().any_of(upstream, self.clock.now())
    }

    /// Gives the turns in hand back; called when the gateway ends.
    pub async fn give_back(&self) {
        let returned_turns = self.held.lock().drain();
        if returned_turns.is_empty() {
            return;
        }
        let request = v1::AcquireTokensRequest {
            count: Some(0),
            returned_turns,
            ..Default::default()
        };
        if self.client.acquire(request, None).await.is_err() {
            tracing::debug!("turns in hand could not be given back");
        }
    }
}
