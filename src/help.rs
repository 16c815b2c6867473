//! What `--help` says beyond the arguments: examples, and every variable once.

use antigravity_runtime::config::{Var, help};

pub(crate) const TOP: &str = "\
Examples:
  antigravity-gateway demo                     try it, without an account
  antigravity-gateway login                    bring a Google account in
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

pub(crate) const LOGIN: &str = "\
Opens Google's consent page in the browser (BROWSER, else the system's), waits for it to come
back to a port of this machine, finds the account's Google project, stores it with its tokens,
and makes one real call to prove it. An account that is in the pool gets a new login, which ends
`needs login`. Until it is stored nothing has changed: it can be ended at any point.

Where there is no browser, --no-browser prints the address; open it anywhere, and paste the
address that the browser ends at (its page cannot be shown, which is all right).

The OAuth client is yours, of the type \"Desktop app\" (console.cloud.google.com, Google Auth
Platform, Clients). It is asked for once, and stored sealed.

Examples:
  antigravity-gateway login
  antigravity-gateway login --no-browser
  antigravity-gateway login --upstream gemini --project my-project-123
  antigravity-gateway login --id my-project                             its next login";

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

pub(crate) const USAGE: &str = "\
Attempts are requests to Google, of which a client's request may take several; answers are those
that came whole. Tokens are counted as OpenAI counts them: prompt includes cached, completion
includes reasoning. Names of keys are those of API_KEYS.

Examples:
  antigravity-gateway usage --since 7d
  antigravity-gateway usage --by day,model --since 2026-11-01 --key team
  antigravity-gateway usage --by project --since 30d --csv > usage.csv";

pub(crate) const BACKUP: &str = "\
The token-service may go on serving. Secrets stay sealed: without the encryption key of now
(`antigravity-gateway secret encryption_key`) a backup brings no project back. Keep the two
apart; for one file that needs no key there is `export`.

Examples:
  antigravity-gateway backup pool-$(date +%F).db
  antigravity-gateway backup backups/latest.db --force";

pub(crate) const RESTORE: &str = "\
All or nothing, also while the token-service serves; it goes on with what was restored. A
backup of an older version is brought up to date, and sealed with the key of here.

Examples:
  antigravity-gateway restore pool-2026-11-26.db
  antigravity-gateway restore pool.db --key-file old-machine/encryption.key --yes";

pub(crate) const MIGRATE: &str = "\
Stop every token-service of both databases first. The new database serves nobody until it holds
the same, value by value; then the old one, which keeps what it holds, serves nobody any more.
Killed or interrupted, the same command goes on. Secrets stay sealed as they are, so that the new
database wants the same ENCRYPTION_KEY.

Examples:
  antigravity-gateway migrate --to postgres://tokens@db.example/tokens?sslmode=verify-full
  antigravity-gateway migrate --to env:NEW_DATABASE_URL
  antigravity-gateway migrate --from env:OLD_DATABASE_URL --to sqlite://data/tokens.db
  antigravity-gateway migrate --from sqlite://data/tokens.db --take-back";

pub(crate) const KEYS: &str = "\
`rotate` makes a new key in the file encryption.key and seals everything with it, all or
nothing. With ENCRYPTION_KEY set: put a new key before the old one, restart, then rotate.

Examples:
  antigravity-gateway keys list
  antigravity-gateway keys rotate
  antigravity-gateway keys reset               when the key is lost";

pub(crate) const INIT: &str = "\
What is there stays as it is. Containers run it once before the services; `serve` and
token-service do the same for themselves.

Examples:
  antigravity-gateway init
  antigravity-gateway init --gateway-folder /gateway --tokens-file /import/tokens.json \\
    --owner 65532:65532";

pub(crate) const SECRET: &str = "\
A service that was started a moment ago may not have made it yet: that is waited for.

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
