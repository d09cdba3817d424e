-- The tables of the contract, for SQLite. Times are UTC text of fixed width (2026-11-23T04:39:43.000000Z), so that they
-- compare and sort as text; cursor_ts, first_ts, last_ts, after_ts, before_ts are nanoseconds since 1970.

CREATE TABLE test_runs (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    external_id TEXT UNIQUE,
    name        TEXT NOT NULL,
    namespace   TEXT,
    status      TEXT NOT NULL DEFAULT 'pending' CHECK (status IN
        ('pending', 'initializing', 'running', 'finishing', 'passed', 'failed', 'errored', 'aborted', 'lost', 'finished')),
    created_at  TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    updated_at  TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    started_at  TEXT,
    finished_at TEXT
);
CREATE INDEX test_runs_name ON test_runs (name, namespace);

CREATE TABLE test_run_steps (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    external_id  TEXT UNIQUE,
    test_run_id  INTEGER NOT NULL REFERENCES test_runs (id) ON DELETE CASCADE,
    position     INTEGER NOT NULL DEFAULT 1,
    name         TEXT NOT NULL,
    namespace    TEXT,
    k6_test_name TEXT NOT NULL CHECK (k6_test_name <> ''),
    k6_uid       TEXT UNIQUE,
    parallelism  INTEGER,
    stage        TEXT,
    status       TEXT NOT NULL DEFAULT 'pending' CHECK (status IN
        ('pending', 'initializing', 'running', 'finishing', 'passed', 'failed', 'errored', 'aborted', 'lost', 'finished')),
    reason       TEXT,
    message      TEXT,
    created_at   TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    started_at   TEXT,
    finished_at  TEXT,
    synced_at    TEXT,
    version      INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX test_run_steps_run ON test_run_steps (test_run_id, position);
-- What a cycle looks at must not depend on how much history there is.
CREATE INDEX test_run_steps_active ON test_run_steps (id)
    WHERE status IN ('pending', 'initializing', 'running', 'finishing');

CREATE TABLE log_streams (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    step_id       INTEGER NOT NULL REFERENCES test_run_steps (id) ON DELETE CASCADE,
    pod_name      TEXT NOT NULL,
    pod_uid       TEXT NOT NULL,
    container     TEXT NOT NULL,
    role          TEXT NOT NULL CHECK (role IN ('initializer', 'starter', 'runner', 'other')),
    restart_count INTEGER NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'terminated')),
    exit_code     INTEGER,
    reason        TEXT,
    started_at    TEXT,
    finished_at   TEXT,
    cursor_ts     INTEGER,
    cursor_seen   INTEGER NOT NULL DEFAULT 0,
    lines         INTEGER NOT NULL DEFAULT 0,
    bytes         INTEGER NOT NULL DEFAULT 0,
    replaced      INTEGER NOT NULL DEFAULT 0,
    gaps          INTEGER NOT NULL DEFAULT 0,
    complete      BOOLEAN NOT NULL DEFAULT FALSE,
    UNIQUE (pod_uid, container, restart_count)
);
CREATE INDEX log_streams_step ON log_streams (step_id);
CREATE INDEX log_streams_incomplete ON log_streams (step_id) WHERE NOT complete;

CREATE TABLE log_chunks (
    stream_id INTEGER NOT NULL REFERENCES log_streams (id) ON DELETE CASCADE,
    seq       INTEGER NOT NULL,
    first_ts  INTEGER NOT NULL,
    last_ts   INTEGER NOT NULL,
    lines     INTEGER NOT NULL,
    body      TEXT NOT NULL,
    PRIMARY KEY (stream_id, seq)
) WITHOUT ROWID;

CREATE TABLE log_gaps (
    stream_id  INTEGER NOT NULL REFERENCES log_streams (id) ON DELETE CASCADE,
    after_ts   INTEGER,
    before_ts  INTEGER,
    cause      TEXT NOT NULL,
    noticed_at TEXT NOT NULL
);
CREATE INDEX log_gaps_stream ON log_gaps (stream_id);

CREATE TABLE sync_cycles (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    started_at   TEXT NOT NULL,
    duration_ms  INTEGER NOT NULL,
    "trigger"    TEXT NOT NULL,
    instance     TEXT NOT NULL,
    outcome      TEXT NOT NULL,
    total        INTEGER NOT NULL,
    updated      INTEGER NOT NULL,
    errors       INTEGER NOT NULL,
    logs_updated INTEGER NOT NULL,
    log_bytes    INTEGER NOT NULL
);

CREATE TABLE sync_errors (
    cycle_id     INTEGER NOT NULL REFERENCES sync_cycles (id) ON DELETE CASCADE,
    step_id      INTEGER,
    step_name    TEXT,
    k6_test_name TEXT,
    error        TEXT NOT NULL
);
CREATE INDEX sync_errors_cycle ON sync_errors (cycle_id);

-- One text a step. A pod's name ends in five random characters, so that shorter names are lower runner numbers.
-- (Aggregates take their rows in the order of the subquery; ORDER BY inside an aggregate needs SQLite 3.44, and an older
-- one could not open a database with such a view at all.)
CREATE VIEW step_logs AS
SELECT step.id AS step_id, (
    SELECT group_concat(header || coalesce(body || CASE WHEN substr(body, -1) = char(10) THEN '' ELSE char(10) END, ''), '')
    FROM (
        SELECT s.pod_name, s.container, s.restart_count,
               CASE s.role WHEN 'initializer' THEN 1 WHEN 'starter' THEN 2 WHEN 'runner' THEN 3 ELSE 4 END AS role_order,
               '==> ' || s.role || ' ' || s.pod_name || '/' || s.container
                   || CASE WHEN s.restart_count > 0 THEN ' (restart ' || s.restart_count || ')' ELSE '' END
                   || CASE WHEN s.gaps > 0 THEN ' (gaps: ' || s.gaps || ')' ELSE '' END
                   || ' <==' || char(10) AS header,
               (SELECT group_concat(body, '') FROM (SELECT c.body FROM log_chunks c WHERE c.stream_id = s.id ORDER BY c.seq)) AS body
        FROM log_streams s
        WHERE s.step_id = step.id
        ORDER BY role_order, length(s.pod_name), s.pod_name, s.container, s.restart_count
    ) streams
) AS logs
FROM test_run_steps step;
