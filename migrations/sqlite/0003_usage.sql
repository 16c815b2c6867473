-- What was used, by the hour (milliseconds since the Unix epoch, when it began). Names outlive
-- what they name. Tokens as OpenAI counts them: prompt includes cached, completion includes
-- reasoning.
CREATE TABLE usage (
    hour INTEGER NOT NULL,
    api_key_name TEXT NOT NULL,
    project_id TEXT NOT NULL,
    model TEXT NOT NULL,
    -- Requests to Google; those that were answered whole; those whose client went away.
    attempts INTEGER NOT NULL,
    answers INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    -- Of the answers, milliseconds: until the first event, and until the end.
    first_event_ms INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    PRIMARY KEY (hour, api_key_name, project_id, model)
) STRICT, WITHOUT ROWID;

-- The ids of the reports that are in it, 16 bytes each, so that one that is repeated after a
-- crash counts once. Forgotten after an hour: gateways repeat within seconds.
CREATE TABLE counted_reports (
    at INTEGER NOT NULL,
    ids BLOB NOT NULL
) STRICT;

CREATE INDEX counted_reports_by_time ON counted_reports (at);
