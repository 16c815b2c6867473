//! Which project serves a conversation, so that the prompt that Google has cached for it
//! is found again: rendezvous hashing over the projects in hand. Every gateway that knows
//! the same projects chooses the same one, none has to remember it, and when a project
//! rests only its own conversations move.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use super::{
    ASKING, Tokens, Want,
    held::{Held, Lease, Now, Token},
    queue::Key,
};

/// Names a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversation(u64);

impl Conversation {
    /// The conversation that these texts name together.
    #[must_use]
    pub fn of<'t>(texts: impl IntoIterator<Item = &'t [u8]>) -> Self {
        // Its keys are fixed, so that all gateways of one build agree.
        let mut hasher = DefaultHasher::new();
        for text in texts {
            text.hash(&mut hasher);
        }
        Self(hasher.finish())
    }

    fn weight(self, project: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.0, project).hash(&mut hasher);
        hasher.finish()
    }
}

/// A conversation's project.
#[derive(Debug)]
pub(super) struct Preferred {
    pub(super) token: Arc<Token>,
    /// It was dealt lately, or nobody can be asked.
    pub(super) is_known: bool,
}

impl Held {
    /// The project in hand that the conversation belongs to, among those that can be used.
    pub(super) fn preferred(
        &self,
        conversation: Conversation,
        key: &Key,
        model: &str,
        exclude: &HashSet<Arc<str>>,
        now: Now,
    ) -> Option<Preferred> {
        let token = self
            .candidates(key, model, exclude, now)
            .max_by_key(|token| (conversation.weight(&token.project), &token.project))?;
        Some(Preferred {
            token: Arc::clone(token),
            is_known: self.is_known(key, &token.project, now),
        })
    }

    /// A lease of this project: with a turn of its own when one is in hand. Otherwise the
    /// next turn lapses in its stead, so that turns are drawn as fast as requests come and
    /// the token-service tells in time who left the rotation; the shares of others are
    /// not to make up for a conversation that stays where it is.
    pub(super) fn lease_of(&mut self, token: Arc<Token>, key: &Key, now: Now) -> Lease {
        let queue = self.queue(key, now);
        queue.ask(now.instant);
        let own = queue
            .turns
            .iter()
            .position(|turn| turn.project == token.project);
        let turn = queue.turns.remove(own.unwrap_or(0));
        let turn_id = own.and(turn).map(|turn| turn.id);
        self.note_use(&token.project);
        Lease { token, turn_id }
    }
}

impl Tokens {
    /// A lease of the conversation's own project. When it was not dealt lately, it is asked
    /// for by name; if it is not to be had, the conversation moves.
    pub(super) async fn acquire_preferred(
        self: &Arc<Self>,
        conversation: Conversation,
        key: &Key,
        want: &Want<'_>,
    ) -> Option<Lease> {
        for _ in 0..3 {
            let preferred = {
                let mut held = self.held.lock();
                let now = self.now();
                let preferred = held.preferred(conversation, key, want.model, want.exclude, now)?;
                if preferred.is_known {
                    let lease = held.lease_of(preferred.token, key, now);
                    let low = held.begin_refill(key);
                    drop(held);
                    self.refill(low, key, want.model);
                    return Some(lease);
                }
                preferred
            };
            let project = &preferred.token.project;
            let prefer = Some(Arc::clone(project));
            let drawn = async {
                let guard = self.drawing_of(key).lock_owned().await;
                self.draw_apart(key, want, want.exclude, 1, prefer, guard)
                    .await
            };
            match tokio::time::timeout(ASKING, drawn).await {
                Ok(Ok(dealt)) if dealt.contains(project) => {}
                Ok(Ok(_)) => self.held.lock().forget(project),
                // Nobody is dealt, so it is not either.
                Ok(Err(refusal)) if !refusal.is_away() => {
                    self.held.lock().forget(project);
                    return None;
                }
                // Nobody says that it left the rotation.
                Ok(Err(_)) | Err(_) => {
                    let mut held = self.held.lock();
                    return Some(held.lease_of(preferred.token, key, self.now()));
                }
            }
        }
        None
    }
}
