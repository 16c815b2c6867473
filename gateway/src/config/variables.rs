//! The variables of the gateway: their names, defaults and what `--help` says of them.

use antigravity_runtime::{
    config::Var,
    variables::{
        ANTIGRAVITY_BASE_URLS, CONNECT_TIMEOUT, GATEWAY_TOKEN, GEMINI_BASE_URL, LOG_FORMAT,
        LOG_LEVEL, TOKEN_SERVICE_CA_FILE, TOKEN_SERVICE_CLIENT_CERT_FILE,
        TOKEN_SERVICE_CLIENT_KEY_FILE, UPSTREAM_CA_FILE, UPSTREAM_HEADERS, VERTEX_BASE_URL,
    },
};
use antigravity_traces::settings as traces;

pub(super) const API_KEYS: Var = Var {
    name: "API_KEYS",
    default: "",
    help: "The keys that clients may use: a JSON list, or comma-separated, each a key or name=key, \
           or [{\"name\": …, \"key\": …}]. Not set: antigravity-gateway makes one at its first \
           start, in api_key beside the database; a gateway on its own reads data/api_key.",
    secret: true,
};
pub(super) const HOST: Var = Var {
    name: "HOST",
    default: "127.0.0.1",
    help: "The address to listen on; 0.0.0.0 for every interface.",
    secret: false,
};
pub(super) const PORT: Var = Var {
    name: "PORT",
    default: "8000",
    help: "The port to listen on; 0 takes a free one.",
    secret: false,
};
pub(super) const TLS_CERT_FILE: Var = Var {
    name: "TLS_CERT_FILE",
    default: "",
    help: "Certificate (PEM, with its chain): clients' and admin listener speak TLS alone. The \
           file is read again when it changes, and at SIGHUP.",
    secret: false,
};
pub(super) const TLS_KEY_FILE: Var = Var {
    name: "TLS_KEY_FILE",
    default: "",
    help: "Private key (PEM) of TLS_CERT_FILE.",
    secret: false,
};
pub(super) const TOKEN_SERVICE_URL: Var = Var {
    name: "TOKEN_SERVICE_URL",
    default: "http://127.0.0.1:50051",
    help: "Where the token-service is; several addresses, comma-separated, share the calls, and so \
           do all that a name has. https:// for one that speaks TLS. antigravity-gateway serve \
           brings its own.",
    secret: false,
};
pub(super) const ADMIN_LISTEN: Var = Var {
    name: "ADMIN_LISTEN",
    default: "",
    help: "An address for the status page (at /), /livez, /readyz and /metrics apart from the \
           clients' port, such as 127.0.0.1:9090. Not set: there is no status page.",
    secret: false,
};
pub(super) const DEFAULT_STREAM: Var = Var {
    name: "DEFAULT_STREAM",
    default: "false",
    help: "What `stream` is when the client does not say.",
    secret: false,
};
pub(super) const STRICT_PARAMS: Var = Var {
    name: "STRICT_PARAMS",
    default: "false",
    help: "Refuse parameters that are otherwise ignored and named in x-ignored-params.",
    secret: false,
};
pub(super) const FETCH_REMOTE_MEDIA: Var = Var {
    name: "FETCH_REMOTE_MEDIA",
    default: "false",
    help: "Fetch images, recordings and documents that requests name by http(s) addresses, from \
           public addresses only. Otherwise such requests are refused.",
    secret: false,
};
pub(super) const SIGNATURE_ID_LIMIT: Var = Var {
    name: "SIGNATURE_ID_LIMIT",
    default: "4096",
    help: "Thought signatures ride in tool call ids of up to so many characters; 0: never.",
    secret: false,
};
pub(super) const AFFINITY: Var = Var {
    name: "AFFINITY",
    default: "false",
    help: "Send a conversation to the same project again while that can be used, as Google caches \
           prompts by project. A conversation goes by its prompt_cache_key, else by API key, \
           system text and first user message. Shares are then no longer exactly even.",
    secret: false,
};
pub(super) const FIRST_BYTE_TIMEOUT: Var = Var {
    name: "FIRST_BYTE_TIMEOUT",
    default: "120s",
    help: "For the first event of a stream, per attempt.",
    secret: false,
};
pub(super) const IDLE_TIMEOUT: Var = Var {
    name: "IDLE_TIMEOUT",
    default: "120s",
    help: "Between two reads of a stream.",
    secret: false,
};
pub(super) const REQUEST_TIMEOUT: Var = Var {
    name: "REQUEST_TIMEOUT",
    default: "10m",
    help: "For a whole unary answer, and for all attempts until a stream's first event.",
    secret: false,
};
pub(super) const BODY_TIMEOUT: Var = Var {
    name: "BODY_TIMEOUT",
    default: "30s",
    help: "For a request's headers, and between two reads of its body; ten times that for all of \
           the body.",
    secret: false,
};
pub(super) const WRITE_TIMEOUT: Var = Var {
    name: "WRITE_TIMEOUT",
    default: "30s",
    help: "A client that takes nothing of its answer for so long is cut off.",
    secret: false,
};
pub(super) const HANG_UP_DRAIN: Var = Var {
    name: "HANG_UP_DRAIN",
    default: "0s",
    help: "When a client hangs up, its answer is read on for so long, so that what it cost is \
           known (64 answers at once, 16 MiB of each). 0: Google is told at once to end it.",
    secret: false,
};
pub(super) const KEEPALIVE_INTERVAL: Var = Var {
    name: "KEEPALIVE_INTERVAL",
    default: "15s",
    help: "A stream that has been silent for so long gets a comment.",
    secret: false,
};
pub(super) const MAX_ATTEMPTS: Var = Var {
    name: "MAX_ATTEMPTS",
    default: "6",
    help: "Requests to Google for one request of a client, at most.",
    secret: false,
};
pub(super) const MAX_BODY_BYTES: Var = Var {
    name: "MAX_BODY_BYTES",
    default: "32MiB",
    help: "The largest body of a request.",
    secret: false,
};
pub(super) const MAX_CONCURRENT_REQUESTS: Var = Var {
    name: "MAX_CONCURRENT_REQUESTS",
    default: "",
    help: "Chat completions at once, at most; beyond it clients are told to come back (429). Not \
           set: as many as come.",
    secret: false,
};
pub(super) const MAX_CONCURRENT_REQUESTS_PER_KEY: Var = Var {
    name: "MAX_CONCURRENT_REQUESTS_PER_KEY",
    default: "",
    help: "The same for each API key, whose answers then say in x-ratelimit-* how it stands.",
    secret: false,
};
pub(super) const CORS_ALLOW_ORIGINS: Var = Var {
    name: "CORS_ALLOW_ORIGINS",
    default: "",
    help: "Origins whose pages may ask from a browser, comma-separated, such as \
           https://chat.example.com; * for all. Not set: none.",
    secret: false,
};
pub(super) const TRACE_CONTEXT_TO_GOOGLE: Var = Var {
    name: "TRACE_CONTEXT_TO_GOOGLE",
    default: "false",
    help: "Send traceparent with requests to Google, of those that are traced. Otherwise no id of \
           a trace leaves for there.",
    secret: false,
};
pub(super) const REQUEST_LOG: Var = Var {
    name: "REQUEST_LOG",
    default: "",
    help: "A folder for a log of requests, a JSON object a line: who asked whom for what, how it \
           went and what it cost. Each gateway wants one of its own. Not set: there is none.",
    secret: false,
};
pub(super) const REQUEST_LOG_BODIES: Var = Var {
    name: "REQUEST_LOG_BODIES",
    default: "false",
    help: "Keep in REQUEST_LOG what was asked and answered too, prompts included, 1 MiB of each.",
    secret: false,
};
pub(super) const REQUEST_LOG_MAX_BYTES: Var = Var {
    name: "REQUEST_LOG_MAX_BYTES",
    default: "64MiB",
    help: "A file of REQUEST_LOG gets at most so long; then the next is begun.",
    secret: false,
};
pub(super) const REQUEST_LOG_BUDGET: Var = Var {
    name: "REQUEST_LOG_BUDGET",
    default: "1GiB",
    help: "What all files of REQUEST_LOG may take; the oldest are deleted for it.",
    secret: false,
};
pub(super) const SHUTDOWN_DELAY: Var = Var {
    name: "SHUTDOWN_DELAY",
    default: "5s",
    help: "After SIGTERM the listener stays open for so long, with /readyz at 503: longer than a \
           load balancer takes to see that. On a terminal: not at all.",
    secret: false,
};
pub(super) const SHUTDOWN_GRACE: Var = Var {
    name: "SHUTDOWN_GRACE",
    default: "300s",
    help: "Running requests may go on for so long after that.",
    secret: false,
};

/// Every variable of the gateway, in the order of `--help`.
pub const VARS: &[Var] = &[
    API_KEYS,
    HOST,
    PORT,
    TLS_CERT_FILE,
    TLS_KEY_FILE,
    TOKEN_SERVICE_URL,
    TOKEN_SERVICE_CA_FILE,
    TOKEN_SERVICE_CLIENT_CERT_FILE,
    TOKEN_SERVICE_CLIENT_KEY_FILE,
    GATEWAY_TOKEN,
    ADMIN_LISTEN,
    ANTIGRAVITY_BASE_URLS,
    GEMINI_BASE_URL,
    VERTEX_BASE_URL,
    UPSTREAM_HEADERS,
    UPSTREAM_CA_FILE,
    DEFAULT_STREAM,
    STRICT_PARAMS,
    FETCH_REMOTE_MEDIA,
    SIGNATURE_ID_LIMIT,
    AFFINITY,
    CONNECT_TIMEOUT,
    FIRST_BYTE_TIMEOUT,
    IDLE_TIMEOUT,
    REQUEST_TIMEOUT,
    BODY_TIMEOUT,
    WRITE_TIMEOUT,
    KEEPALIVE_INTERVAL,
    HANG_UP_DRAIN,
    MAX_ATTEMPTS,
    MAX_BODY_BYTES,
    MAX_CONCURRENT_REQUESTS,
    MAX_CONCURRENT_REQUESTS_PER_KEY,
    CORS_ALLOW_ORIGINS,
    SHUTDOWN_DELAY,
    SHUTDOWN_GRACE,
    LOG_FORMAT,
    LOG_LEVEL,
    traces::ENDPOINT,
    traces::PROTOCOL,
    traces::HEADERS,
    traces::CERTIFICATE,
    traces::CLIENT_CERTIFICATE,
    traces::CLIENT_KEY,
    traces::SERVICE_NAME,
    traces::SAMPLER,
    traces::SAMPLER_ARG,
    TRACE_CONTEXT_TO_GOOGLE,
    REQUEST_LOG,
    REQUEST_LOG_BODIES,
    REQUEST_LOG_MAX_BYTES,
    REQUEST_LOG_BUDGET,
];
