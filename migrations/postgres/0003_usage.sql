-- What was used, by the hour (milliseconds since the Unix epoch, when it began). Names outlive
-- what they name. Tokens as OpenAI counts them: prompt includes cached, completion includes
-- reasoning.
CREATE TABLE usage (
    hour BIGINT NOT NULL,
    api_key_name TEXT NOT NULL,
    project_id TEXT NOT NULL,
    model TEXT NOT NULL,
    -- Requests to Google; those that were answered whole; those whose client went away.
    attempts BIGINT NOT NULL,
    answers BIGINT NOT NULL,
    cancelled BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    -- Of the answers, milliseconds: until the first event, and until the end.
    first_event_ms BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    PRIMARY KEY (hour, api_key_name, project_id, model)
);

-- The reports that are in it, so that one that is repeated, be it to another replica, counts
-- once. 16 bytes each. Forgotten after an hour: gateways repeat within seconds.
CREATE TABLE counted_reports (
    id BYTEA PRIMARY KEY,
    at BIGINT NOT NULL
);

CREATE INDEX counted_reports_by_time ON counted_reports (at);
