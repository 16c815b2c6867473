-- Projects log in with more than refresh tokens: service-account keys and API keys have
-- no OAuth client. SQLite cannot drop a column's NOT NULL, so the table is made anew; what
-- hangs on it waits aside meanwhile, since dropping a table deletes what refers to it.

CREATE TABLE kept_cooldowns AS SELECT * FROM cooldowns;
CREATE TABLE kept_rotation AS SELECT * FROM rotation;
DROP TABLE cooldowns;
DROP TABLE rotation;

CREATE TABLE new_projects (
    id TEXT PRIMARY KEY,
    -- The order of creation.
    position INTEGER NOT NULL UNIQUE,
    -- May be empty with an API key.
    google_project_id TEXT NOT NULL,
    upstream TEXT NOT NULL,
    location TEXT NOT NULL,
    -- Null: the credential has none.
    oauth_client_id TEXT REFERENCES oauth_clients (client_id),
    display_name TEXT NOT NULL,
    disabled INTEGER NOT NULL,
    -- active, needs_login, needs_validation or suspended.
    status TEXT NOT NULL,
    status_reason TEXT NOT NULL,
    action_url TEXT NOT NULL,
    -- refresh_token, service_account_key or api_key. Part of what the seal of the
    -- credential authenticates, so that none can be passed off as another.
    credential_kind TEXT NOT NULL DEFAULT 'refresh_token',
    -- The credential, of whatever kind.
    refresh_token_sealed BLOB NOT NULL,
    -- Drawn anew whenever an operator or an import sets the credential: the late
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

INSERT INTO new_projects (id, position, google_project_id, upstream, location, oauth_client_id,
    display_name, disabled, status, status_reason, action_url, refresh_token_sealed, credential,
    access_token_sealed, access_token_expires_at, access_token_lifetime, refreshed_at, created_at,
    updated_at)
SELECT id, position, google_project_id, upstream, location, oauth_client_id,
    display_name, disabled, status, status_reason, action_url, refresh_token_sealed, credential,
    access_token_sealed, access_token_expires_at, access_token_lifetime, refreshed_at, created_at,
    updated_at
FROM projects;

DROP TABLE projects;
ALTER TABLE new_projects RENAME TO projects;
CREATE INDEX projects_by_oauth_client ON projects (oauth_client_id);

CREATE TABLE cooldowns (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    -- Empty: the whole project.
    model_group TEXT NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (project_id, model_group)
) STRICT;
INSERT INTO cooldowns (project_id, model_group, until)
SELECT project_id, model_group, until FROM kept_cooldowns;
DROP TABLE kept_cooldowns;

-- When each project was last dealt, as a number that grows with every turn.
CREATE TABLE rotation (
    project_id TEXT PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    place INTEGER NOT NULL
) STRICT;
INSERT INTO rotation (project_id, place) SELECT project_id, place FROM kept_rotation;
DROP TABLE kept_rotation;
