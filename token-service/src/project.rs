//! What a project is and how Google's answers change it. Pure: the time comes in
//! as an argument, nothing here does I/O or holds a secret.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc, time::Duration};

use antigravity_proto::{UNSTATED_REST, v1};
use jiff::Timestamp;

/// `Project.id`, shared by everything that names a project.
pub type ProjectId = Arc<str>;

/// The longest cooldown that is believed: no quota window of Google's is longer.
const MAX_COOLDOWN: Duration = Duration::from_secs(31 * 86_400);
/// The longest rest after limits without a stated end.
const MAX_REST: Duration = Duration::from_secs(600);

/// How long limits are counted after the last of them ended.
const STRIKES_KEPT: Duration = Duration::from_secs(3600);

/// The Google API family that serves a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Upstream {
    /// Cloud Code, `v1internal:*`.
    Antigravity,
    /// The public Gemini API.
    Gemini,
    /// Vertex AI.
    Vertex,
}

impl Upstream {
    /// All of them, in the order of [`Upstream::index`].
    pub const ALL: [Self; 3] = [Self::Antigravity, Self::Gemini, Self::Vertex];

    /// Its place in [`Upstream::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Antigravity => 0,
            Self::Gemini => 1,
            Self::Vertex => 2,
        }
    }

    /// As it is written in configuration and tokens files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Antigravity => "antigravity",
            Self::Gemini => "gemini",
            Self::Vertex => "vertex",
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no [`Upstream`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is none of antigravity, gemini, vertex")]
pub struct UnknownUpstream;

impl FromStr for Upstream {
    type Err = UnknownUpstream;

    fn from_str(text: &str) -> Result<Self, UnknownUpstream> {
        Self::ALL
            .into_iter()
            .find(|upstream| upstream.name().eq_ignore_ascii_case(text))
            .ok_or(UnknownUpstream)
    }
}

/// The quota group of a model, as gateways see it too. Empty for no model: the whole
/// project.
pub(crate) fn model_group(upstream: Upstream, model: &str) -> &str {
    let upstream = match upstream {
        _ if model.is_empty() => return "",
        Upstream::Antigravity => v1::Upstream::Antigravity,
        Upstream::Gemini => v1::Upstream::Gemini,
        Upstream::Vertex => v1::Upstream::Vertex,
    };
    antigravity_proto::model_group(upstream, model)
}

/// Whether Google serves a project, as far as is known. An operator's disabling is
/// apart from it, so that re-enabling brings the old status back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Active,
    /// Google refuses the credential for good.
    NeedsLogin {
        reason: String,
    },
    /// The account's owner has to open the link.
    NeedsValidation {
        reason: String,
        url: String,
    },
    /// Google disabled the service for this account.
    Suspended {
        reason: String,
        url: String,
    },
}

/// A rest of one model group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cooldown {
    pub(crate) until: Timestamp,
    /// Limits without a stated end since the last success.
    pub(crate) strikes: u32,
}

/// Google's refusal to serve a project for a stated reason, such as an API that is not
/// enabled: nothing that a login would mend, and maybe mended meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) reason: String,
    /// Where it is to be mended; empty: not told.
    pub(crate) url: String,
    /// When it was last said.
    pub(crate) at: Timestamp,
    /// Until then the project is dealt only when nobody else can serve.
    pub(crate) until: Timestamp,
    strikes: u32,
}

impl Denial {
    /// After another denial; those of requests that ran side by side are one.
    pub(crate) fn next(before: Option<&Self>, reason: String, url: String, now: Timestamp) -> Self {
        let strikes = match before {
            Some(before) if before.until > now => {
                return Self {
                    reason,
                    url,
                    at: now,
                    ..before.clone()
                };
            }
            Some(before) => before.strikes.saturating_add(1),
            None => 0,
        };
        Self {
            reason,
            url,
            at: now,
            until: now.saturating_add(rest(strikes)).unwrap_or(Timestamp::MAX),
            strikes,
        }
    }
}

/// The rest after so many limits or denials without a stated end.
fn rest(strikes: u32) -> Duration {
    // Doubled by each that follows.
    UNSTATED_REST
        .saturating_mul(1 << strikes.min(10))
        .min(MAX_REST)
}

/// A project, without its secrets.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    pub(crate) id: ProjectId,
    /// The order of creation.
    pub(crate) position: i64,
    pub(crate) google_project_id: String,
    pub(crate) upstream: Upstream,
    /// Empty on other upstreams than Vertex.
    pub(crate) location: String,
    /// Empty with a credential that has none.
    pub(crate) oauth_client_id: String,
    pub(crate) display_name: String,
    pub(crate) disabled: bool,
    pub(crate) status: Status,
    /// By model group; the empty group is the whole project.
    pub(crate) cooldowns: BTreeMap<String, Cooldown>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// What a gateway reported, as far as it can change a project.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Ok,
    /// 429, with the stated end of the limit.
    Limited {
        reset_at: Option<Timestamp>,
    },
    ValidationRequired {
        reason: String,
        url: String,
    },
    Suspended {
        reason: String,
        url: String,
    },
    /// 403 for another stated reason.
    Denied {
        reason: String,
        url: String,
    },
    /// Says nothing about the project.
    Neutral,
}

impl Answer {
    /// Whether it may put its project into another state.
    pub(crate) fn is_about_project(&self) -> bool {
        !matches!(self, Self::Neutral)
    }

    /// Whether it may change a project's status, as opposed to its cooldowns.
    pub(crate) fn is_about_status(&self) -> bool {
        matches!(
            self,
            Self::ValidationRequired { .. } | Self::Suspended { .. }
        )
    }

    /// For logs. Without the link, which may be good for whoever reads it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Limited { .. } => "limited",
            Self::ValidationRequired { .. } => "validation required",
            Self::Suspended { .. } => "suspended",
            Self::Denied { .. } => "denied",
            Self::Neutral => "neutral",
        }
    }
}

impl Project {
    /// Whether it is in the rotation at all.
    pub(crate) fn is_dealt(&self) -> bool {
        !self.disabled && self.status == Status::Active
    }

    /// When the last of the cooldowns that concern `group` ends; `None` when there
    /// is none now.
    pub(crate) fn cooling_until(&self, group: &str, now: Timestamp) -> Option<Timestamp> {
        let until = |group: &str| {
            let cooldown = self.cooldowns.get(group)?;
            (cooldown.until > now).then_some(cooldown.until)
        };
        if self.cooldowns.is_empty() {
            return None;
        }
        until("").max(until(group))
    }

    /// Whether no model can be asked now.
    pub(crate) fn is_cooling_wholly(&self, now: Timestamp) -> bool {
        let cooling = |group| self.cooling_until(group, now).is_some();
        match self.upstream {
            Upstream::Antigravity => cooling("gemini") && cooling("3p"),
            Upstream::Gemini | Upstream::Vertex => cooling(""),
        }
    }

    /// Takes an answer in. Says whether that changed anything worth keeping.
    pub(crate) fn apply(&mut self, answer: &Answer, model: &str, now: Timestamp) -> bool {
        let group = model_group(self.upstream, model).to_owned();
        match answer {
            Answer::Ok => {
                if let Some(cooldown) = self.cooldowns.get_mut(&group) {
                    cooldown.strikes = 0;
                }
                let before = self.cooldowns.len();
                self.cooldowns
                    .retain(|_, cooldown| cooldown.until > now || cooldown.strikes > 0);
                self.cooldowns.len() != before
            }
            Answer::Limited { reset_at } => self.limit(group, *reset_at, now),
            Answer::ValidationRequired { reason, url } => {
                self.become_unusable(Status::NeedsValidation {
                    reason: reason.clone(),
                    url: url.clone(),
                })
            }
            Answer::Suspended { reason, url } => self.become_unusable(Status::Suspended {
                reason: reason.clone(),
                url: url.clone(),
            }),
            // A denial is not kept over a restart: the project may be mended meanwhile.
            Answer::Denied { .. } | Answer::Neutral => false,
        }
    }

    fn limit(&mut self, group: String, reset_at: Option<Timestamp>, now: Timestamp) -> bool {
        // Strikes of models that nobody asks for any more.
        let forgotten = now.saturating_sub(STRIKES_KEPT).unwrap_or(Timestamp::MIN);
        self.cooldowns
            .retain(|_, cooldown| cooldown.until > forgotten);
        let cooldown = self.cooldowns.entry(group).or_insert(Cooldown {
            until: now,
            strikes: 0,
        });
        let latest = now.saturating_add(MAX_COOLDOWN).unwrap_or(Timestamp::MAX);
        let until = match reset_at {
            Some(reset_at) => reset_at.min(latest),
            // The answers of requests that ran side by side tell of one limit.
            None if cooldown.until > now => return false,
            None => {
                let rest = rest(cooldown.strikes);
                cooldown.strikes = cooldown.strikes.saturating_add(1);
                now.saturating_add(rest).unwrap_or(Timestamp::MAX)
            }
        };
        // A shorter limit of one model does not end the longer one of its group.
        let changed = until > cooldown.until;
        cooldown.until = cooldown.until.max(until);
        changed
    }

    /// A refused login outlasts what requests with the old token may still bring.
    fn become_unusable(&mut self, status: Status) -> bool {
        let changed = self.status != status && !matches!(self.status, Status::NeedsLogin { .. });
        if changed {
            self.status = status;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(upstream: Upstream) -> Project {
        Project {
            id: "p".into(),
            position: 1,
            google_project_id: "p".into(),
            upstream,
            location: String::new(),
            oauth_client_id: "c".into(),
            display_name: String::new(),
            disabled: false,
            status: Status::Active,
            cooldowns: BTreeMap::new(),
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(seconds)
    }

    #[test]
    fn model_groups_follow_the_quota_pools() {
        for (upstream, model, group) in [
            (Upstream::Antigravity, "gemini-3-pro-high", "gemini"),
            (Upstream::Antigravity, "claude-opus-4-6", "3p"),
            (Upstream::Antigravity, "", ""),
            (Upstream::Gemini, "", ""),
            (Upstream::Vertex, "gemini-2.5-flash", "gemini-2.5-flash"),
        ] {
            assert_eq!(model_group(upstream, model), group, "{upstream} {model}");
        }
    }

    #[test]
    fn stated_limits_hold_until_their_end_for_their_group_alone() {
        let mut project = project(Upstream::Antigravity);
        let limited = Answer::Limited {
            reset_at: Some(at(100)),
        };
        assert!(project.apply(&limited, "claude-x", at(0)));
        assert_eq!(project.cooling_until("3p", at(99)), Some(at(100)));
        assert_eq!(project.cooling_until("3p", at(100)), None);
        assert_eq!(project.cooling_until("gemini", at(1)), None);
        let shorter = Answer::Limited {
            reset_at: Some(at(50)),
        };
        assert!(!project.apply(&shorter, "claude-y", at(1)));
        assert_eq!(project.cooling_until("3p", at(99)), Some(at(100)));
    }

    #[test]
    fn unstated_limits_grow_until_a_success() {
        let mut project = project(Upstream::Gemini);
        let limited = Answer::Limited { reset_at: None };
        let mut now = 0;
        for rest in [30, 60, 120, 240, 480, 600, 600] {
            assert!(project.apply(&limited, "m", at(now)));
            assert!(!project.apply(&limited, "m", at(now)), "counted once");
            assert_eq!(project.cooling_until("m", at(now)), Some(at(now + rest)));
            now += rest;
        }
        assert!(project.apply(&Answer::Ok, "m", at(now)));
        assert!(project.apply(&limited, "m", at(now)));
        assert_eq!(project.cooling_until("m", at(now)), Some(at(now + 30)));
    }

    #[test]
    fn a_refused_login_is_not_overwritten_by_late_answers() {
        let mut project = project(Upstream::Antigravity);
        project.status = Status::NeedsLogin {
            reason: "revoked".into(),
        };
        let late = Answer::ValidationRequired {
            reason: String::new(),
            url: "https://example.com".into(),
        };
        assert!(!project.apply(&late, "m", at(0)));
        assert!(matches!(project.status, Status::NeedsLogin { .. }));
    }
}
