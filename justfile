# Everything that a change has to pass, but for the replays.
check: fmt lint test

# Format.
fmt:
    cargo fmt --all

# The lints and the documentation, without a warning.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Every test; `just test -p gateway` for one crate's.
test *arguments="--workspace":
    cargo test {{arguments}}

# What the gateway adds to a request; `just bench --quick` for seconds.
bench *arguments:
    cargo run --release -p bench -- {{arguments}}

# A chat through everything, without an account.
demo *arguments:
    cargo run --release -- demo {{arguments}}

# Both services, with ./.env and data/tokens.json.
serve *arguments:
    cargo run --release -- {{arguments}}

# README.md and .env.example from the variables that there are.
documents:
    UPDATE_DOCUMENTS=1 cargo test -p antigravity-gateway --test it documents

# The images, their sizes and bills of materials; `just images gateway` for one.
images *targets:
    deploy/images {{targets}}

# An hour of fuzzing for each target.
full-fuzz:
    .ci/fuzz 3600

# The token pool in real life, in its full length; about four minutes.
full-pool:
    cargo build --release --workspace
    .ci/pool.py --full

# Three gateways and the token-service are restarted behind nginx and HAProxy under load; about fourteen minutes.
full-rollout:
    cargo build --release -p gateway -p token-service -p fake-google
    .ci/rollout.py --full

# The manifests for Kubernetes, and a rollout as large as the others, with streams of up to a minute; about five minutes.
full-kubernetes:
    cargo build --release --workspace
    .ci/kubernetes.py --full

# Attacks on the listeners while others are served, in their full length; about twenty minutes.
full-attacks:
    cargo build --release --workspace
    .ci/attacks.py --full

# The operators' commands are killed at every step; about ten minutes.
full-kills:
    cargo build --release --workspace
    .ci/kills.py --full

# A hundred kills of replicas over PostgreSQL, PostgreSQL away for a minute, a standby that takes over, and moves of a large pool; about fifty minutes.
full-replicas:
    cargo build --release --workspace
    .ci/replicas.py --full

# What the continuous integration runs.
ci:
    .ci/run

# Every recorded answer, in every way of writing and breaking it, over all three upstreams; about half an hour.
full-replay shared="../shared":
    cargo build --release -p gateway -p token-service
    .ci/replay.py {{shared}}
