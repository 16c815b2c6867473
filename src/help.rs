//! What `--help` says beyond the arguments: examples, and every variable once.

use antigravity_runtime::config::{Var, help};

pub(crate) const TOP: &str = "\
Examples:
  antigravity-gateway demo                     try it, without an account
  antigravity-gateway import data/tokens.json  take projects over
  antigravity-gateway                          serve

Commands about projects talk to the token-service at TOKEN_SERVICE_URL; when that is not
set, to the one at TOKEN_SERVICE_LISTEN on this machine; and when none runs there, they
open the database themselves.

Exit status: 0 done; 1 failed; 2 wrong configuration or usage.";

pub(crate) const SERVE: &str = "\
Reads ./.env and imports data/tokens.json when they are there. What is not configured is
made at the first start, beside the database: data/tokens.db, data/api_key and the others.

Examples:
  antigravity-gateway serve
  HOST=0.0.0.0 PORT=8080 antigravity-gateway serve
  antigravity-gateway --env-file production.env serve

`antigravity-gateway --help` lists every environment variable.";

pub(crate) const DEMO: &str = "\
Starts a fake Google, the token-service and the gateway on loopback ports (8000 and 50051 when
they are free), with three made-up projects, a database in memory and HTTPS between them;
streams a chat through all of it; and serves on until Ctrl-C. Reads no configuration, needs no
network, leaves nothing behind.

Examples:
  antigravity-gateway demo
  antigravity-gateway demo --once";

pub(crate) const IMPORT: &str = "\
Files are told by their shape: tokens files, sealed exports, gcloud's application default
credentials, service-account keys, gemini-cli's oauth_creds.json, and the accounts of
CLIProxyAPI, Antigravity-Manager, opencode-antigravity-auth, antigravity2api and
antigravity-claude-proxy (docs/credentials.md). They are only read. Good entries are imported,
bad ones are told with their line (exit status 1). An entry that was imported before and not
edited since changes nothing.

Examples:
  antigravity-gateway import data/tokens.json --dry-run
  antigravity-gateway import pool.sealed --passphrase-file passphrase.txt
  antigravity-gateway import ~/.config/gcloud/application_default_credentials.json
  antigravity-gateway import ~/.gemini/oauth_creds.json --project my-project --oauth-client ID
  antigravity-gateway import ~/.cli-proxy-api
  ssh old-machine cat data/tokens.json | antigravity-gateway import -";

pub(crate) const EXPORT: &str = "\
Examples:
  antigravity-gateway export pool.sealed --passphrase-file passphrase.txt
  antigravity-gateway export one.sealed --project my-project --passphrase-file -";

pub(crate) const PROJECTS: &str = "\
Examples:
  antigravity-gateway projects list
  antigravity-gateway projects list --json | jq '.projects[] | select(.state != \"active\")'
  antigravity-gateway projects add my-project --upstream gemini --refresh-token-file token.txt
  antigravity-gateway projects add --service-account-file key.json
  antigravity-gateway projects add --api-key-file gemini-key.txt
  antigravity-gateway projects set-credential my-project --service-account-file new-key.json
  antigravity-gateway projects disable my-project";

pub(crate) const OAUTH_CLIENTS: &str = "\
A refresh token works only with the OAuth client that minted it. Bring your own, from the
Google Cloud console.

Examples:
  antigravity-gateway oauth-clients put 123-abc.apps.googleusercontent.com --secret-file secret.txt
  antigravity-gateway oauth-clients list";

pub(crate) const INIT: &str = "\
What is there stays as it is. Containers run it once before the services; `serve` and
token-service do the same for themselves.

Examples:
  antigravity-gateway init
  antigravity-gateway init --gateway-folder /gateway --tokens-file /import/tokens.json \\
    --owner 65532:65532";

pub(crate) const SECRET: &str = "\
Examples:
  export OPENAI_API_KEY=$(antigravity-gateway secret api_key)
  antigravity-gateway secret encryption_key > backup/encryption.key";

pub(crate) const HEALTHCHECK: &str = "\
Asks the addresses of HOST, PORT and TOKEN_SERVICE_LISTEN, as `serve` reads them.

Examples:
  antigravity-gateway healthcheck && echo healthy";

/// Every variable of both services, each once.
pub(crate) fn variables() -> String {
    let gateway = gateway::config::VARS;
    let token_service = token_service::config::VARS;
    let is_in = |vars: &[Var], var: &Var| vars.iter().any(|other| other.name == var.name);
    let pick = |vars: &[Var], other: &[Var], shared: bool| -> Vec<Var> {
        let chosen = vars.iter().filter(|var| is_in(other, var) == shared);
        chosen.copied().collect()
    };
    [
        help(
            "Environment variables of the gateway:",
            &pick(gateway, token_service, false),
        ),
        help(
            "Environment variables of the token-service:",
            &pick(token_service, gateway, false),
        ),
        help(
            "Environment variables of both:",
            &pick(token_service, gateway, true),
        ),
    ]
    .join("\n")
}
