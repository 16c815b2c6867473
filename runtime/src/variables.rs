//! The variables that both services read, said once.

use crate::config::Var;

/// Bearer token of the gateways.
pub const GATEWAY_TOKEN: Var = Var {
    name: "GATEWAY_TOKEN",
    default: "",
    help: "Bearer token that gateways show to the token-service. Not set: gateway_token beside the \
           database, made at the first start; a gateway on its own reads data/gateway_token.",
    secret: true,
};
/// The file that keeps it while it is not set: the token-service makes it beside its
/// database, and a gateway reads it.
pub const GATEWAY_TOKEN_FILE: &str = "gateway_token";
/// Whom to believe to be the token-service.
pub const TOKEN_SERVICE_CA_FILE: Var = Var {
    name: "TOKEN_SERVICE_CA_FILE",
    default: "",
    help: "Certificates (PEM) of the authorities that alone are trusted for an https:// \
           TOKEN_SERVICE_URL. Not set: the system's. Read anew for each connection.",
    secret: false,
};
/// What is shown to a token-service that demands it.
pub const TOKEN_SERVICE_CLIENT_CERT_FILE: Var = Var {
    name: "TOKEN_SERVICE_CLIENT_CERT_FILE",
    default: "",
    help: "Certificate (PEM, with its chain) for a token-service that demands one, which \
           TOKEN_SERVICE_CLIENT_CA_FILE makes it do.",
    secret: false,
};
/// The key of that.
pub const TOKEN_SERVICE_CLIENT_KEY_FILE: Var = Var {
    name: "TOKEN_SERVICE_CLIENT_KEY_FILE",
    default: "",
    help: "Private key (PEM) of TOKEN_SERVICE_CLIENT_CERT_FILE.",
    secret: false,
};
/// Where Code Assist is.
pub const ANTIGRAVITY_BASE_URLS: Var = Var {
    name: "ANTIGRAVITY_BASE_URLS",
    default: "https://daily-cloudcode-pa.googleapis.com,https://cloudcode-pa.googleapis.com",
    help: "Hosts of the Cloud Code API, comma-separated, tried in this order.",
    secret: false,
};
/// Where the Gemini API is.
pub const GEMINI_BASE_URL: Var = Var {
    name: "GEMINI_BASE_URL",
    default: "https://generativelanguage.googleapis.com",
    help: "Host of the Gemini API.",
    secret: false,
};
/// Where Vertex AI is.
pub const VERTEX_BASE_URL: Var = Var {
    name: "VERTEX_BASE_URL",
    default: "",
    help: "Host of Vertex AI. Not set: Google's host of each project's location.",
    secret: false,
};
/// What goes with every request beside our own headers.
pub const UPSTREAM_HEADERS: Var = Var {
    name: "UPSTREAM_HEADERS",
    default: "",
    help: "Extra headers on every request to Google, as a JSON object of names and values.",
    secret: true,
};
/// Further certificate authorities.
pub const UPSTREAM_CA_FILE: Var = Var {
    name: "UPSTREAM_CA_FILE",
    default: "",
    help: "Certificates (PEM) that are trusted beside the system's, for a proxy that opens TLS.",
    secret: false,
};
/// How long a connection to Google may take.
pub const CONNECT_TIMEOUT: Var = Var {
    name: "CONNECT_TIMEOUT",
    default: "10s",
    help: "For a connection to Google, TLS included.",
    secret: false,
};
/// How log lines look.
pub const LOG_FORMAT: Var = Var {
    name: "LOG_FORMAT",
    default: "text",
    help: "Log lines on standard error: text (or pretty, which is the same) or json.",
    secret: false,
};
/// Which log lines are written.
pub const LOG_LEVEL: Var = Var {
    name: "LOG_LEVEL",
    default: "info",
    help: "trace, debug, info, warn, error or off; or a filter such as info,gateway=debug. At SIGHUP \
           it is read again from the .env file (--env-file), which then goes before the environment.",
    secret: false,
};
