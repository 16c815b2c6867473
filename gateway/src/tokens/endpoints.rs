//! Where the token-service is: every address that its names have, looked up again and
//! again. Calls go round over them; one that fails is left alone for a while, and the call
//! goes to the next.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use antigravity_proto::v1::token_service_client::TokenServiceClient;
use antigravity_runtime::tls::{self, Connector};
use http::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{TcpStream, lookup_host};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use crate::metrics::Metrics;

/// Names are looked up again after this: replicas come and go.
const RESOLVED: Duration = Duration::from_secs(10);
/// Said where there is nobody to ask.
pub(super) const NO_ADDRESS: &str = "no address of the token-service answers";
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// An address that failed is tried again after this, then after twice as long, up to the
/// second: short enough to be back within a second of the service.
pub const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// The token-service's addresses.
pub(super) struct Endpoints {
    urls: Vec<Url>,
    state: Mutex<State>,
    next: AtomicUsize,
    resolving: tokio::sync::Mutex<()>,
    metrics: Metrics,
}

#[derive(Clone)]
struct Url {
    endpoint: Endpoint,
    /// `host:port`.
    authority: String,
    /// The name that its certificate has to have, and who sees to that.
    tls: Option<(String, Connector)>,
}

#[derive(Default)]
struct State {
    places: Vec<Place>,
    resolved: Option<Instant>,
    /// `None`: it was not called yet.
    answers: Option<bool>,
}

#[derive(Clone)]
struct Place {
    address: SocketAddr,
    channel: Channel,
    failing: Option<Failing>,
}

#[derive(Clone, Copy)]
struct Failing {
    until: Instant,
    strikes: u32,
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls = self.urls.iter().map(|url| &url.authority);
        f.debug_list().entries(urls).finish()
    }
}

impl Endpoints {
    /// `None`: this text is no address.
    pub(super) fn new(urls: &[String], tls: &Connector, metrics: Metrics) -> Result<Self, String> {
        let urls = urls.iter().map(|url| Url::new(url, tls).ok_or(url.clone()));
        Ok(Self {
            urls: urls.collect::<Result<_, _>>()?,
            state: Mutex::default(),
            next: AtomicUsize::new(0),
            resolving: tokio::sync::Mutex::default(),
            metrics,
        })
    }

    /// Calls one address after the other until one answers, be it with a refusal.
    pub(super) async fn call<T, F>(
        self: &Arc<Self>,
        method: &'static str,
        mut make: impl FnMut(TokenServiceClient<Channel>) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let began = Instant::now();
        let places = self.in_order().await;
        // A connection that broke while nobody used it is found out by the first call.
        let attempts = if places.is_empty() {
            0
        } else {
            places.len().max(2)
        };
        let mut last = Status::unavailable(NO_ADDRESS);
        for place in places.iter().cycle().take(attempts) {
            let client = TokenServiceClient::new(place.channel.clone());
            match make(client).await {
                // It may be busy: that says nothing about the next call.
                Err(status) if is_late(&status) => {
                    self.metrics
                        .token_service_call(method, false, began.elapsed());
                    return Err(status);
                }
                Err(status) if is_no_answer(&status) => {
                    self.failed(place.address);
                    last = status;
                }
                answer => {
                    self.answered(place.address);
                    self.metrics
                        .token_service_call(method, true, began.elapsed());
                    return answer.map(tonic::Response::into_inner);
                }
            }
        }
        self.nobody_answers(&last);
        self.metrics
            .token_service_call(method, false, began.elapsed());
        Err(last)
    }

    /// Calls as [`call`](Self::call) does, for operators. What comes of it neither is counted nor
    /// says anything about an address: what an operator asks for may fail where what requests
    /// need does not.
    pub(super) async fn call_aside<T, F>(
        self: &Arc<Self>,
        mut make: impl FnMut(Channel) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let each = self.each().await;
        // Twice, as in `call`.
        let attempts = if each.is_empty() {
            0
        } else {
            each.len().max(2)
        };
        let mut last = Status::unavailable(NO_ADDRESS);
        for channel in each.iter().cycle().take(attempts) {
            match make(channel.clone()).await {
                Err(status) if never_came(&status) => last = status,
                answer => return answer.map(tonic::Response::into_inner),
            }
        }
        Err(last)
    }

    /// As [`call_aside`](Self::call_aside), of one of [`each`](Self::each).
    pub(super) async fn call_one<T, F>(
        channel: &Channel,
        mut make: impl FnMut(Channel) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let answer = match make(channel.clone()).await {
            // Twice, as in `call`.
            Err(status) if never_came(&status) => make(channel.clone()).await,
            answer => answer,
        };
        answer.map(tonic::Response::into_inner)
    }

    /// Everybody there is, for operators: the next in turn first.
    pub(super) async fn each(self: &Arc<Self>) -> Vec<Channel> {
        let mut places = self.in_order().await;
        if places.is_empty() {
            // People do not ask so often that an address had to be left in peace, and want to know
            // what is wrong with it.
            places = self.state.lock().places.clone();
        }
        places.into_iter().map(|place| place.channel).collect()
    }

    /// Those that are to be tried, each once, the next in turn first.
    async fn in_order(self: &Arc<Self>) -> Vec<Place> {
        let (known, old) = {
            let state = self.state.lock();
            let old = state.resolved.is_none_or(|at| at.elapsed() > RESOLVED);
            (!state.places.is_empty(), old)
        };
        if !known {
            self.resolve().await;
        } else if old {
            let this = Arc::clone(self);
            // Not on the call's path: the addresses of before may serve it.
            tokio::spawn(async move { this.resolve().await });
        }
        let now = Instant::now();
        let mut places = self.state.lock().places.clone();
        places.retain(|place| place.failing.is_none_or(|failing| failing.until <= now));
        if !places.is_empty() {
            let first = self.next.fetch_add(1, Ordering::Relaxed) % places.len();
            places.rotate_left(first);
        }
        places
    }

    async fn resolve(&self) {
        let _one_at_a_time = self.resolving.lock().await;
        let is_new = |state: &State| state.resolved.is_some_and(|at| at.elapsed() < BACKOFF.1);
        if is_new(&self.state.lock()) {
            return;
        }
        let mut found: Vec<(SocketAddr, &Url)> = Vec::new();
        let mut whole = true;
        for url in &self.urls {
            match tokio::time::timeout(LOOKUP_TIMEOUT, lookup_host(&url.authority)).await {
                Ok(Ok(addresses)) => found.extend(addresses.map(|address| (address, url))),
                Ok(Err(_)) | Err(_) => whole = false,
            }
        }
        let mut state = self.state.lock();
        state.resolved = Some(Instant::now());
        // Names that cannot be looked up now may still be where they were.
        if whole {
            let places = &mut state.places;
            places.retain(|place| found.iter().any(|(address, _)| *address == place.address));
        }
        for (address, url) in found {
            if !state.places.iter().any(|place| place.address == address) {
                state.places.push(url.place(address));
            }
        }
    }

    fn failed(&self, address: SocketAddr) {
        let mut state = self.state.lock();
        let place = state.places.iter_mut().find(|p| p.address == address);
        if let Some(place) = place {
            let strikes = place.failing.map_or(0, |failing| failing.strikes + 1);
            let (first, longest) = BACKOFF;
            let rest = first.saturating_mul(1 << strikes.min(10)).min(longest);
            place.failing = Some(Failing {
                until: Instant::now() + rest,
                strikes,
            });
        }
        // It may have moved.
        if state.resolved.is_some_and(|at| at.elapsed() > BACKOFF.1) {
            state.resolved = None;
        }
    }

    fn answered(&self, address: SocketAddr) {
        self.metrics.token_service_answers(true);
        let mut state = self.state.lock();
        let place = state.places.iter_mut().find(|p| p.address == address);
        if let Some(place) = place {
            place.failing = None;
        }
        if state.answers == Some(false) {
            tracing::info!(%address, "the token-service answers again");
        }
        state.answers = Some(true);
    }

    fn nobody_answers(&self, status: &Status) {
        self.metrics.token_service_answers(false);
        let before = self.state.lock().answers.replace(false);
        if before != Some(false) {
            let tls = tls::connection_failure(status);
            tracing::warn!(
                code = %status.code(),
                said = tls.as_deref().unwrap_or(status.message()),
                "the token-service does not answer; what is in hand is used"
            );
        }
    }
}

impl Url {
    fn new(url: &str, tls: &Connector) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let host = uri.host()?;
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let authority = format!("{host}:{port}");
        let tls = is_tls.then(|| (host.to_owned(), tls.clone()));
        // Of a name without TLS even where there is: our own connector does the handshake.
        let endpoint = Endpoint::from_shared(format!("http://{authority}"))
            .ok()?
            .origin(uri)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5));
        Some(Self {
            endpoint,
            authority,
            tls,
        })
    }

    fn place(&self, address: SocketAddr) -> Place {
        let channel = match self.tls.clone() {
            None => {
                let connect = tower::service_fn(move |_| async move {
                    Ok::<_, io::Error>(TokioIo::new(connect(address).await?))
                });
                self.endpoint.connect_with_connector_lazy(connect)
            }
            Some((host, tls)) => {
                let connect = tower::service_fn(move |_| {
                    let (host, tls) = (host.clone(), tls.clone());
                    async move {
                        let stream = connect(address).await?;
                        let stream = tls.connect(&host, &[b"h2"], stream).await?;
                        Ok::<_, io::Error>(TokioIo::new(stream))
                    }
                });
                self.endpoint.connect_with_connector_lazy(connect)
            }
        };
        Place {
            address,
            channel,
            failing: None,
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether it is our side that says so: what a service answers comes without a cause.
fn never_came(status: &Status) -> bool {
    status.code() == Code::Unavailable && std::error::Error::source(status).is_some()
}

/// Whether there was no answer in the time that the call had.
fn is_late(status: &Status) -> bool {
    matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded)
}

/// Whether nobody answered, as opposed to a service that says no.
fn is_no_answer(status: &Status) -> bool {
    let transport = matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Internal
    );
    transport && status.get_details_error_info().is_none()
}
