//! Media that a request names by an address: fetched here and put into the request, since
//! Google reads only its own. A client must not reach through the gateway what it cannot
//! reach itself, so every address is looked at after its name was resolved, on every
//! redirect, and what comes is bounded in size, time and type.

mod guard;
mod nat64;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    str::FromStr as _,
    sync::Arc,
    time::Duration,
};

use antigravity_runtime::tls;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use http::{HeaderMap, header};
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};
use translate::{
    chat::request::Wanted, error::InvalidRequest, gemini::request::Fetched, json::Path,
};

use nat64::Nat64;

use crate::error::Error;

pub use guard::{Guard, is_public};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_REDIRECTS: usize = 3;
/// Of one request at a time.
const AT_ONCE: usize = 4;
/// The largest of one address; Gemini takes 20 MB in a request.
const MAX_BYTES: usize = 20 << 20;

/// How much is fetched, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most of one request, in bytes.
    pub budget: usize,
    /// For one address, redirects included.
    pub timeout: Duration,
    /// Addresses of all requests at a time.
    pub at_once: usize,
    /// How long one waits until it is among these.
    pub wait: Duration,
}

impl Limits {
    /// The usual ones.
    #[must_use]
    pub fn of(budget: usize) -> Self {
        Self {
            budget,
            timeout: Duration::from_secs(20),
            at_once: 64,
            wait: Duration::from_secs(20),
        }
    }
}

/// Looks a name up.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// As this machine does.
#[must_use]
pub fn system_lookup() -> Lookup {
    Arc::new(|name| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// Fetches media for clients.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: reqwest::Client,
    guarded: Arc<Guarded>,
    running: Arc<Semaphore>,
    limits: Limits,
}

/// Why there is nothing; a sentence for the client, without what the answer said.
struct Refused(String);

impl From<&str> for Refused {
    fn from(why: &str) -> Self {
        Self(why.to_owned())
    }
}

impl Fetcher {
    /// Reaches what `guard` lets; takes at most `budget` bytes for one request.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(guard: Guard, budget: usize) -> Result<Self, reqwest::Error> {
        Self::within(Limits::of(budget), guard, system_lookup())
    }

    /// With other limits, or another way to look names up.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn within(limits: Limits, guard: Guard, lookup: Lookup) -> Result<Self, reqwest::Error> {
        tls::install_crypto_provider();
        let nat64 = Nat64::new(Arc::clone(&lookup));
        let guarded = Arc::new(Guarded {
            guard,
            nat64,
            lookup,
        });
        let client = reqwest::Client::builder()
            .user_agent(concat!("antigravity-gateway/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            // Each is looked at as the first one was.
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would resolve names itself, unseen.
            .no_proxy()
            .dns_resolver(Arc::new(Resolver(Arc::clone(&guarded))))
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self {
            client,
            guarded,
            running: Arc::new(Semaphore::new(limits.at_once)),
            limits,
        })
    }

    /// Fetches all that a request wants, in its order.
    ///
    /// # Errors
    /// One of them cannot be had; the complaint names where the request says it. Or too many
    /// are being fetched.
    pub async fn fetch(&self, wanted: &[Wanted]) -> Result<Vec<Fetched>, Error> {
        let budget = Semaphore::new(self.limits.budget.min(Semaphore::MAX_PERMITS));
        let all: Vec<_> = wanted
            .iter()
            .map(|wanted| self.wanted(wanted, &budget))
            .collect();
        stream::iter(all).buffered(AT_ONCE).try_collect().await
    }

    async fn wanted(&self, wanted: &Wanted, budget: &Semaphore) -> Result<Fetched, Error> {
        // The time that others take is not this server's.
        let _running = self.turn().await?;
        let fetched = timeout(self.limits.timeout, self.one(wanted, budget)).await;
        let fetched = fetched.unwrap_or_else(|_| Err("it took too long.".into()));
        fetched.map_err(|Refused(why)| {
            let why = format!("it could not be fetched: {why}");
            InvalidRequest::value(&Path::Root.key(&wanted.path), why).into()
        })
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, Error> {
        let turn = timeout(self.limits.wait, self.running.acquire()).await;
        // It is never closed.
        turn.ok().and_then(Result::ok).ok_or(Error::FetchingTooMuch)
    }

    async fn one(&self, wanted: &Wanted, budget: &Semaphore) -> Result<Fetched, Refused> {
        let mut url =
            Url::parse(&wanted.url).map_err(|_| Refused::from("it is not an address."))?;
        for _ in 0..=MAX_REDIRECTS {
            self.look_at(&url).await?;
            let response = self
                .client
                .get(url.clone())
                .header(
                    header::ACCEPT,
                    "image/*,audio/*,video/*,application/pdf,text/*",
                )
                .send()
                .await
                .map_err(|error| refused_by(&error))?;
            if response.status().is_redirection() {
                let next = response.headers().get(header::LOCATION);
                let next = next.and_then(|next| url.join(next.to_str().ok()?).ok());
                url = next.ok_or_else(|| Refused::from("it redirects to nowhere."))?;
                continue;
            }
            if !response.status().is_success() {
                let status = response.status().as_u16();
                return Err(Refused(format!(
                    "its server answered with status {status}."
                )));
            }
            let mime = mime(response.headers(), &url)?;
            let encoding = response.headers().get(header::CONTENT_ENCODING);
            if encoding.is_some_and(|encoding| encoding != "identity") {
                return Err("its server compresses it unasked.".into());
            }
            let bytes = self.bytes(response, wanted.times, budget).await?;
            return Ok(Fetched {
                mime,
                data: STANDARD.encode(bytes),
            });
        }
        Err("it redirects too often.".into())
    }

    /// What a name's resolution does not see: the scheme, and addresses without a name.
    async fn look_at(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err("only http and https are fetched.".into());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it has a user's name or a password in it.".into());
        }
        // What listens below is no server of the Web, and may take a request for its own words.
        if !matches!(url.port_or_known_default(), Some(80 | 443 | 1024..)) {
            return Err("its port is none of the Web's: 80, 443, or from 1024 on.".into());
        }
        let host = url.host_str().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match IpAddr::from_str(bare) {
            Ok(address) if !self.guarded.lets(address).await => Err(NOT_PUBLIC.into()),
            _ => Ok(()),
        }
    }

    async fn bytes(
        &self,
        mut response: reqwest::Response,
        times: usize,
        budget: &Semaphore,
    ) -> Result<Vec<u8>, Refused> {
        let too_large = || {
            let most = MAX_BYTES.min(self.limits.budget) >> 20;
            Refused(format!(
                "it is larger than {most} MiB, or all of the request is."
            ))
        };
        let announced = response.content_length().unwrap_or(0);
        if usize::try_from(announced).map_or(true, |length| length > MAX_BYTES) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| refused_by(&error))? {
            // A request may name one address any number of times, and is written with as many
            // copies of what is there.
            let size = chunk.len().saturating_mul(times);
            let size = u32::try_from(size).map_err(|_| too_large())?;
            // Spent for good: the whole request has one budget.
            budget
                .try_acquire_many(size)
                .map_err(|_| too_large())?
                .forget();
            if bytes.len() + chunk.len() > MAX_BYTES {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        if bytes.is_empty() {
            return Err("it is empty.".into());
        }
        Ok(bytes)
    }
}

const NOT_PUBLIC: &str = "its address is not a public one.";

/// Resolves names, and hides every address that may not be reached.
struct Guarded {
    guard: Guard,
    nat64: Nat64,
    lookup: Lookup,
}

impl std::fmt::Debug for Guarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guarded").finish_non_exhaustive()
    }
}

impl Guarded {
    async fn lets(&self, address: IpAddr) -> bool {
        nat64::lets(self.guard, &self.nat64.prefixes().await, address)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("not a public address")]
struct NotPublic;

/// What the client resolves names with.
struct Resolver(Arc<Guarded>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guarded = Arc::clone(&self.0);
        Box::pin(async move {
            let all = (guarded.lookup)(name.as_str().to_owned()).await?;
            let prefixes = guarded.nat64.prefixes().await;
            let public: Vec<SocketAddr> = all
                .into_iter()
                .filter(|address| nat64::lets(guarded.guard, &prefixes, *address))
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            if public.is_empty() {
                return Err(NotPublic.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

fn refused_by(error: &reqwest::Error) -> Refused {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = source {
        if current.is::<NotPublic>() {
            return NOT_PUBLIC.into();
        }
        source = current.source();
    }
    "its server could not be reached, or broke off.".into()
}

/// What the server says it is, or else what its name tells.
fn mime(headers: &HeaderMap, url: &Url) -> Result<String, Refused> {
    let told = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase())
        .filter(|value| !value.is_empty() && value != "application/octet-stream");
    let mime = match told {
        Some(mime) if mime == "image/jpg" => "image/jpeg".to_owned(),
        Some(mime) => mime,
        None => translate::media::mime_of(url.path())
            .ok_or_else(|| Refused::from("its server does not say what it is."))?
            .to_owned(),
    };
    let kind = mime.split('/').next().unwrap_or_default();
    if matches!(kind, "image" | "audio" | "video") || translate::media::is_document(&mime) {
        return Ok(mime);
    }
    Err(Refused(format!(
        "its type is {mime:.100}, which is none of media or documents."
    )))
}
