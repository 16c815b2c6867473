-- Names the file as ours ("AGTK"), so that another program's database is never touched.
PRAGMA application_id = 1095193675;

-- Times are milliseconds since the Unix epoch. Columns named *_sealed hold secrets,
-- encrypted with the row and the column as associated data.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

CREATE TABLE oauth_clients (
    client_id TEXT PRIMARY KEY,
    client_secret_sealed BLOB,
    token_url TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    -- The order of creation.
    position INTEGER NOT NULL UNIQUE,
    google_project_id TEXT NOT NULL,
    upstream TEXT NOT NULL,
    location TEXT NOT NULL,
    oauth_client_id TEXT NOT NULL REFERENCES oauth_clients (client_id),
    display_name TEXT NOT NULL,
    disabled INTEGER NOT NULL,
    -- active, needs_login, needs_validation or suspended.
    status TEXT NOT NULL,
    status_reason TEXT NOT NULL,
    action_url TEXT NOT NULL,
    refresh_token_sealed BLOB NOT NULL,
    -- Drawn anew whenever an operator or an import sets the refresh token: the late
    -- result of a refresh with an older one is told by it.
    credential INTEGER NOT NULL,
    access_token_sealed BLOB,
    access_token_expires_at INTEGER,
    -- Milliseconds; null: Google did not tell.
    access_token_lifetime INTEGER,
    refreshed_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE INDEX projects_by_oauth_client ON projects (oauth_client_id);

CREATE TABLE cooldowns (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    -- Empty: the whole project.
    model_group TEXT NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (project_id, model_group)
) STRICT;

-- When each project was last dealt, as a number that grows with every turn.
CREATE TABLE rotation (
    project_id TEXT PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    place INTEGER NOT NULL
) STRICT;

-- What was last taken over from tokens files: from the one that is read at the start,
-- and from those that operators sent. Outlives the project, so that a removed one does
-- not come back with the next start.
CREATE TABLE imports (
    project_id TEXT NOT NULL,
    -- start or call.
    source TEXT NOT NULL,
    google_project_id TEXT NOT NULL,
    refresh_token_fingerprint TEXT NOT NULL,
    fields_fingerprint TEXT NOT NULL,
    imported_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, source)
) STRICT;

-- The same for OAuth clients.
CREATE TABLE client_imports (
    client_id TEXT NOT NULL,
    source TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    imported_at INTEGER NOT NULL,
    PRIMARY KEY (client_id, source)
) STRICT;
