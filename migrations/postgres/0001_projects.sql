-- PostgreSQL 13 or later. Several token-services share it: what each row was last changed in
-- (changed_in) tells the others what to read again.

-- Times are milliseconds since the Unix epoch. Columns named *_sealed hold secrets,
-- encrypted with the row and the column as associated data.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value BYTEA NOT NULL
);

-- The first schema that programs of today can still work with: a program that knows that one may
-- start, so that an upgrade can be taken back. A migration that older programs cannot work with
-- raises it.
INSERT INTO meta (key, value) VALUES ('compatible_with', '3');

CREATE TABLE oauth_clients (
    client_id TEXT PRIMARY KEY,
    client_secret_sealed BYTEA,
    token_url TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    changed_in xid8 NOT NULL DEFAULT pg_current_xact_id()
);

CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    -- The order of creation.
    position BIGINT NOT NULL UNIQUE,
    google_project_id TEXT NOT NULL,
    upstream TEXT NOT NULL,
    location TEXT NOT NULL,
    oauth_client_id TEXT NOT NULL REFERENCES oauth_clients (client_id),
    display_name TEXT NOT NULL,
    disabled BOOLEAN NOT NULL,
    -- active, needs_login, needs_validation or suspended.
    status TEXT NOT NULL,
    status_reason TEXT NOT NULL,
    action_url TEXT NOT NULL,
    refresh_token_sealed BYTEA NOT NULL,
    -- Drawn anew whenever an operator or an import sets the refresh token: the late
    -- result of a refresh with an older one is told by it.
    credential BIGINT NOT NULL,
    access_token_sealed BYTEA,
    access_token_expires_at BIGINT,
    -- Milliseconds; null: Google did not tell.
    access_token_lifetime BIGINT,
    refreshed_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    changed_in xid8 NOT NULL DEFAULT pg_current_xact_id()
);

CREATE INDEX projects_by_oauth_client ON projects (oauth_client_id);
CREATE INDEX projects_by_change ON projects (changed_in);

CREATE TABLE cooldowns (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    -- Empty: the whole project.
    model_group TEXT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (project_id, model_group)
);

-- When each project was last dealt, as a number that grows with every turn.
CREATE TABLE rotation (
    project_id TEXT PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    place BIGINT NOT NULL
);

-- Who refreshes a project's access token, and until when nobody else may. Apart from the project,
-- since taking it changes nothing that others have to read.
CREATE TABLE refresh_leases (
    project_id TEXT PRIMARY KEY REFERENCES projects (id) ON DELETE CASCADE,
    -- Another for each holder: a result that comes with an older one is too late.
    fence BIGINT NOT NULL,
    holder TEXT NOT NULL,
    until TIMESTAMPTZ NOT NULL
);

-- Not counted by project: a restore replaces projects, and their leases go with them.
CREATE SEQUENCE refresh_fences;

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
    imported_at BIGINT NOT NULL,
    PRIMARY KEY (project_id, source)
);

-- The same for OAuth clients.
CREATE TABLE client_imports (
    client_id TEXT NOT NULL,
    -- start or call.
    source TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    imported_at BIGINT NOT NULL,
    PRIMARY KEY (client_id, source)
);

-- The token-services that work with this database, by what they call themselves.
CREATE TABLE replicas (
    instance TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    version TEXT NOT NULL,
    -- The ids of the encryption keys that it has, separated by commas, the sealing one first.
    key_ids TEXT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    seen_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- How many projects and OAuth clients have been removed: rows that are gone have no changed_in.
CREATE TABLE removals (
    one BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
    count BIGINT NOT NULL
);
INSERT INTO removals (count) VALUES (0);

CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_in := pg_current_xact_id();
    RETURN NEW;
END
$$;

CREATE FUNCTION tell_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('antigravity_changes', '');
    RETURN NULL;
END
$$;

CREATE FUNCTION note_removal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE removals SET count = count + 1;
    PERFORM pg_notify('antigravity_changes', '');
    RETURN NULL;
END
$$;

CREATE TRIGGER note_change BEFORE INSERT OR UPDATE ON projects
    FOR EACH ROW EXECUTE FUNCTION note_change();
CREATE TRIGGER tell_change AFTER INSERT OR UPDATE ON projects
    FOR EACH STATEMENT EXECUTE FUNCTION tell_change();
CREATE TRIGGER note_removal AFTER DELETE ON projects
    FOR EACH STATEMENT EXECUTE FUNCTION note_removal();
CREATE TRIGGER note_change BEFORE INSERT OR UPDATE ON oauth_clients
    FOR EACH ROW EXECUTE FUNCTION note_change();
CREATE TRIGGER tell_change AFTER INSERT OR UPDATE ON oauth_clients
    FOR EACH STATEMENT EXECUTE FUNCTION tell_change();
CREATE TRIGGER note_removal AFTER DELETE ON oauth_clients
    FOR EACH STATEMENT EXECUTE FUNCTION note_removal();
