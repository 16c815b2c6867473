//! Which models each upstream lists: for `/v1/models`, and for asking only those that
//! know a model. Lists are kept for minutes, and beyond while an upstream is away.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use antigravity_proto::v1::Upstream as Kind;
use antigravity_runtime::clock::Clock;
use parking_lot::Mutex;
use serde::Deserialize;

use crate::{
    config::Upstreams,
    error::Error,
    tokens::{AcquireError, Token, Tokens},
    upstream::{
        client::HttpClient,
        envelope,
        google_error::{self, GoogleError},
        outcome,
    },
};

/// A list is fetched again after this.
const FRESH: Duration = Duration::from_secs(300);
/// A failed fetch is not repeated before this.
const RETRY: Duration = Duration::from_secs(15);
/// A request waits for a first list no longer than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pages that are asked for at most.
const MAX_PAGES: usize = 20;
const MAX_LIST_BYTES: usize = 16 << 20;

/// A model that an upstream lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id, as Google has it.
    pub id: String,
    /// Who made it.
    pub owner: &'static str,
}

#[derive(Debug)]
struct List {
    /// `None`: it could not be fetched so far.
    models: Option<Arc<BTreeMap<String, Listed>>>,
    tried: Instant,
}

/// The models of all upstreams.
#[derive(Debug)]
pub struct Models {
    tokens: Arc<Tokens>,
    client: HttpClient,
    config: Upstreams,
    lists: Mutex<HashMap<Kind, List>>,
    fetching: tokio::sync::Mutex<()>,
    clock: Clock,
}

impl Models {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(tokens: Arc<Tokens>, client: HttpClient, config: Upstreams, clock: Clock) -> Self {
        Self {
            tokens,
            client,
            config,
            lists: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
            clock,
        }
    }

    /// The upstreams to ask for `model`; empty: any.
    ///
    /// # Errors
    /// There is no project to ask with.
    pub async fn route(self: &Arc<Self>, model: &str) -> Result<Vec<Kind>, Error> {
        let pool = self.tokens.discover().await.map_err(told)?;
        if pool.len() < 2 {
            // Google itself knows best what it does not know.
            return Ok(Vec::new());
        }
        self.refresh(&pool).await;
        let lists = self.lists.lock();
        let lists_it = |kind: &&Kind| {
            lists
                .get(kind)
                .and_then(|list| list.models.as_ref())
                .is_some_and(|models| models.contains_key(model))
        };
        Ok(pool.iter().filter(lists_it).copied().collect())
    }

    /// All models of all upstreams, each once, by id.
    ///
    /// # Errors
    /// No list can be had.
    pub async fn all(self: &Arc<Self>) -> Result<Vec<Listed>, Error> {
        let pool = self.tokens.discover().await.map_err(told)?;
        if pool.is_empty() {
            return Err(Error::no_projects());
        }
        self.refresh(&pool).await;
        let lists = self.lists.lock();
        let mut all: BTreeMap<&String, &Listed> = BTreeMap::new();
        let mut known = false;
        for kind in &pool {
            if let Some(models) = lists.get(kind).and_then(|list| list.models.as_ref()) {
                known = true;
                all.extend(models.iter());
            }
        }
        if !known {
            return Err(Error::Upstream {
                message: "Google's list of models cannot be had at the moment.".to_owned(),
                status: http::StatusCode::BAD_GATEWAY,
                retry_after: None,
            });
        }
        Ok(all.into_values().cloned().collect())
    }

    /// Fetches what is missing, and waits for it; fetches what is old, and does not.
    async fn refresh(self: &Arc<Self>, pool: &[Kind]) {
        let due = |kinds: &[Kind]| {
            let lists = self.lists.lock();
            let now = self.clock.instant();
            let (mut missing, mut old) = (Vec::new(), Vec::new());
            for kind in kinds {
                match lists.get(kind) {
                    None => missing.push(*kind),
                    Some(list) => {
                        let age = now.duration_since(list.tried);
                        match list.models {
                            // Only the very first list is waited for.
                            None if age > RETRY => old.push(*kind),
                            Some(_) if age > FRESH => old.push(*kind),
                            _ => {}
                        }
                    }
                }
            }
            (missing, old)
        };
        let (missing, old) = due(pool);
        if !missing.is_empty() {
            let _one_at_a_time = self.fetching.lock().await;
            let (missing, _) = due(pool);
            let fetches = missing
                .into_iter()
                .map(|kind| self.fetch_and_keep(kind, true));
            futures_util::future::join_all(fetches).await;
        }
        for kind in old {
            if let Some(list) = self.lists.lock().get_mut(&kind) {
                // Marked before it is fetched, so that one request in five minutes fetches.
                list.tried = self.clock.instant();
            }
            let this = Arc::clone(self);
            tokio::spawn(async move { this.fetch_and_keep(kind, false).await });
        }
    }

    async fn fetch_and_keep(self: &Arc<Self>, kind: Kind, may_draw: bool) {
        let fetched = tokio::time::timeout(PATIENCE, self.fetch(kind, may_draw)).await;
        let fetched = fetched.ok().flatten();
        if fetched.is_none() {
            tracing::info!(
                upstream = kind.as_str_name(),
                "its list of models cannot be had"
            );
        }
        let mut lists = self.lists.lock();
        let list = lists.entry(kind).or_insert_with(|| List {
            models: None,
            tried: self.clock.instant(),
        });
        list.tried = self.clock.instant();
        if let Some(models) = fetched {
            list.models = Some(Arc::new(models));
        }
    }

    async fn fetch(
        self: &Arc<Self>,
        kind: Kind,
        may_draw: bool,
    ) -> Option<BTreeMap<String, Listed>> {
        let token = match self.tokens.borrow(kind) {
            Some(token) => token,
            None if may_draw => self.tokens.token_of(kind).await.ok()?,
            None => return None,
        };
        let ids = match kind {
            Kind::Gemini => self.gemini(&token).await?,
            Kind::Vertex => self.vertex(&token).await?,
            Kind::Antigravity | Kind::Unspecified => self.antigravity(&token).await?,
        };
        let listed = ids.into_iter().map(|id| {
            let owner = match id.split('-').next() {
                Some("claude") => "anthropic",
                Some("gpt") => "openai",
                _ => "google",
            };
            (id.clone(), Listed { id, owner })
        });
        Some(listed.collect())
    }

    async fn get(&self, request: reqwest::RequestBuilder, token: &Token) -> Option<Vec<u8>> {
        let mut response = request
            .headers(envelope::headers(&self.config, token))
            .send()
            .await
            .ok()?;
        if !response.status().is_success() {
            if token.is_api_key() {
                let mut said = Vec::new();
                while said.len() < google_error::MAX_BYTES
                    && let Ok(Some(bytes)) = response.chunk().await
                {
                    said.extend_from_slice(&bytes);
                }
                let error = GoogleError::parse(&String::from_utf8_lossy(&said));
                if outcome::refuses_key(&error) {
                    // Without its list the key might never be asked, and nobody told.
                    let said = outcome::one_line(&error.message);
                    self.tokens.replace(token, &said, None).await;
                }
            }
            return None;
        }
        let mut body = Vec::new();
        while let Some(bytes) = response.chunk().await.ok()? {
            body.extend_from_slice(&bytes);
            if body.len() > MAX_LIST_BYTES {
                return None;
            }
        }
        Some(body)
    }

    /// `fetchAvailableModels`: the models are the keys of an object.
    async fn antigravity(&self, token: &Token) -> Option<Vec<String>> {
        #[derive(Deserialize)]
        struct Answer {
            models: HashMap<String, serde::de::IgnoredAny>,
        }
        for host in 0..envelope::hosts(&self.config, Kind::Antigravity) {
            let host = envelope::antigravity_host(&self.config, host);
            let url = format!("{host}/v1internal:fetchAvailableModels");
            let place = self.client.place(&url);
            let mut project = Vec::from(*b"{\"project\":");
            translate::json::write_string(&mut project, &token.google_project_id);
            project.push(b'}');
            // Some accounts may list models, but not for their project.
            for body in [project, b"{}".to_vec()] {
                let request = place.client().post(&url).body(body);
                let Some(answer) = self.get(request, token).await else {
                    continue;
                };
                let Answer { models } = serde_json::from_slice(&answer).ok()?;
                // Completion models of the editor, which answer no chat.
                let is_chat = |id: &String| !id.starts_with("chat_") && !id.starts_with("tab_");
                return Some(models.into_keys().filter(is_chat).collect());
            }
        }
        None
    }

    /// `models.list`, page by page.
    async fn gemini(&self, token: &Token) -> Option<Vec<String>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page {
            #[serde(default)]
            models: Vec<Model>,
            next_page_token: Option<String>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Model {
            name: String,
            #[serde(default)]
            supported_generation_methods: Vec<String>,
        }
        let base = format!("{}/v1beta/models", self.config.gemini);
        let pages = self.pages(&base, 1000, token, |page: Page| {
            let generates = |model: &Model| {
                let methods = &model.supported_generation_methods;
                methods.is_empty() || methods.iter().any(|m| m == "generateContent")
            };
            let ids = page
                .models
                .into_iter()
                .filter(generates)
                .map(|model| translate::gemini::model::bare(&model.name).to_owned());
            (ids.collect(), page.next_page_token)
        });
        pages.await
    }

    /// The Model Garden's list of Google's own models.
    async fn vertex(&self, token: &Token) -> Option<Vec<String>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page {
            #[serde(default)]
            publisher_models: Vec<Model>,
            next_page_token: Option<String>,
        }
        #[derive(Deserialize)]
        struct Model {
            name: String,
        }
        let host = envelope::vertex_host(&self.config, &token.location);
        let base = format!("{host}/v1beta1/publishers/google/models");
        let pages = self.pages(&base, 200, token, |page: Page| {
            let prefix = "publishers/google/models/";
            let ids = page.publisher_models.into_iter().map(|model| {
                model
                    .name
                    .strip_prefix(prefix)
                    .unwrap_or(&model.name)
                    .to_owned()
            });
            (ids.collect(), page.next_page_token)
        });
        pages.await
    }

    async fn pages<P: serde::de::DeserializeOwned>(
        &self,
        base: &str,
        size: usize,
        token: &Token,
        read: impl Fn(P) -> (Vec<String>, Option<String>),
    ) -> Option<Vec<String>> {
        let place = self.client.place(base);
        let mut ids = Vec::new();
        let mut next = String::new();
        for _ in 0..MAX_PAGES {
            let mut url = format!("{base}?pageSize={size}");
            if !next.is_empty() {
                url.push_str("&pageToken=");
                url.push_str(&envelope::percent_encoded(&next));
            }
            let page = self.get(place.client().get(url), token).await?;
            let (more, token) = read(serde_json::from_slice(&page).ok()?);
            ids.extend(more);
            match token {
                Some(token) if !token.is_empty() => next = token,
                _ => return Some(ids),
            }
        }
        Some(ids)
    }
}

fn told(error: AcquireError) -> Error {
    match error {
        AcquireError::Refused(error) => error,
        AcquireError::AllExcluded => Error::NoUsableProject {
            message: "No Google project can serve this request now.".to_owned(),
        },
    }
}
