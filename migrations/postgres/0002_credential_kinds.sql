-- Projects log in with more than refresh tokens: service-account keys and API keys have
-- no OAuth client.

ALTER TABLE projects
    -- refresh_token, service_account_key or api_key. Part of what the seal of the
    -- credential authenticates, so that none can be passed off as another.
    ADD COLUMN credential_kind TEXT NOT NULL DEFAULT 'refresh_token',
    -- Null: the credential has none.
    ALTER COLUMN oauth_client_id DROP NOT NULL;
