-- What k6 measured (docs/results.md). A runner's log is complete, and its end has not been read for a summary yet: the next
-- cycle does. Not so for logs of runs that are over: `k6sync results rebuild` reads those. No chunk is touched here.
ALTER TABLE log_streams ADD COLUMN summary_due BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE log_streams SET summary_due = TRUE
WHERE complete AND role = 'runner' AND step_id IN (
    SELECT id FROM test_run_steps WHERE status IN ('pending', 'initializing', 'running', 'finishing')
    UNION SELECT step_id FROM log_streams WHERE NOT complete);
CREATE INDEX log_streams_summary_due ON log_streams (step_id) WHERE summary_due;

-- How many runners' summaries are in the tables below, and the seal of them all. Null: they were never read.
ALTER TABLE test_run_steps ADD COLUMN runners_reported BIGINT NOT NULL DEFAULT 0;
ALTER TABLE test_run_steps ADD COLUMN results_seal TEXT;
-- Logs that were complete when this was added have at most this id: only they may have no row in runner_summaries.
ALTER TABLE database_identity ADD COLUMN underived_streams BIGINT NOT NULL DEFAULT 0;
UPDATE database_identity SET underived_streams = (SELECT coalesce(max(id), 0) FROM log_streams WHERE complete);

-- What one runner reported: `document` is JSON, described in docs/results-schema.json. Without a summary there is none, and
-- source says why: 'none' (k6 printed none), 'unreadable' (problem: why).
CREATE TABLE runner_summaries (
    stream_id   BIGINT PRIMARY KEY REFERENCES log_streams (id) ON DELETE CASCADE,
    source      TEXT NOT NULL CHECK (source IN ('json', 'text', 'none', 'unreadable')),
    problem     TEXT,
    parser      BIGINT NOT NULL,
    k6_version  TEXT,
    duration_ms DOUBLE PRECISION,
    document    JSON,
    seal        TEXT NOT NULL
);

-- All runners of a step together. The value is nowhere but from low to high; they are equal where it is exact. runners: how many
-- of them have the metric.
CREATE TABLE step_metrics (
    step_id BIGINT NOT NULL REFERENCES test_run_steps (id) ON DELETE CASCADE,
    metric  TEXT NOT NULL,
    kind    TEXT NOT NULL CHECK (kind IN ('counter', 'gauge', 'rate', 'trend')),
    unit    TEXT NOT NULL CHECK (unit IN ('ms', 'bytes', 'none')),
    stat    TEXT NOT NULL,
    runners BIGINT NOT NULL,
    low     DOUBLE PRECISION NOT NULL,
    high    DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (step_id, metric, stat)
);

-- path: null where the summary does not have it. passes: null where not every runner has it.
CREATE TABLE step_checks (
    step_id BIGINT NOT NULL REFERENCES test_run_steps (id) ON DELETE CASCADE,
    path    TEXT,
    name    TEXT NOT NULL,
    passes  BIGINT,
    fails   BIGINT NOT NULL
);
CREATE INDEX step_checks_step ON step_checks (step_id);

-- Judged by k6 in each runner: it failed in `failed` of `runners`, which measured there what is from observed_low to
-- observed_high. expression: null where the summary says only that thresholds of the metric held or failed.
CREATE TABLE step_thresholds (
    step_id       BIGINT NOT NULL REFERENCES test_run_steps (id) ON DELETE CASCADE,
    metric        TEXT NOT NULL,
    expression    TEXT,
    runners       BIGINT NOT NULL,
    failed        BIGINT NOT NULL,
    observed_low  DOUBLE PRECISION,
    observed_high DOUBLE PRECISION,
    kind          TEXT CHECK (kind IN ('counter', 'gauge', 'rate', 'trend')),
    unit          TEXT NOT NULL CHECK (unit IN ('ms', 'bytes', 'none'))
);
CREATE INDEX step_thresholds_step ON step_thresholds (step_id);

-- One row a run, for dashboards. Of several steps: sums, and the interval that holds the values of all.
CREATE VIEW runs_v AS
SELECT run_id, name, namespace, external_id, verdict, started_at, finished_at, duration_seconds, steps, runners,
       runners_reported, thresholds_failed, thresholds, checks_failed, checks_failed + checks_passed AS checks, requests,
       bad_low / nullif(bad_low + good_high, 0) AS error_rate_low, bad_high / nullif(bad_high + good_low, 0) AS error_rate_high,
       p95_low, p95_high
FROM (
    SELECT run.id AS run_id, run.name, run.namespace, run.external_id, run.status AS verdict, run.started_at, run.finished_at,
       round(extract(epoch FROM run.finished_at - run.started_at), 3)::double precision AS duration_seconds,
       (SELECT count(*) FROM test_run_steps s WHERE s.test_run_id = run.id) AS steps,
       (SELECT coalesce(sum(parallelism), 0)::bigint FROM test_run_steps s WHERE s.test_run_id = run.id) AS runners,
       (SELECT coalesce(sum(runners_reported), 0)::bigint FROM test_run_steps s WHERE s.test_run_id = run.id) AS runners_reported,
       (SELECT count(*) FROM test_run_steps s JOIN step_thresholds t ON t.step_id = s.id
        WHERE s.test_run_id = run.id AND t.failed > 0) AS thresholds_failed,
       (SELECT count(*) FROM test_run_steps s JOIN step_thresholds t ON t.step_id = s.id
        WHERE s.test_run_id = run.id) AS thresholds,
       (SELECT sum(high) FROM test_run_steps s JOIN step_metrics m ON m.step_id = s.id
        WHERE s.test_run_id = run.id AND m.metric = 'checks' AND m.stat = 'fails') AS checks_failed,
       (SELECT sum(high) FROM test_run_steps s JOIN step_metrics m ON m.step_id = s.id
        WHERE s.test_run_id = run.id AND m.metric = 'checks' AND m.stat = 'passes') AS checks_passed,
       (SELECT sum(high) FROM test_run_steps s JOIN step_metrics m ON m.step_id = s.id
        WHERE s.test_run_id = run.id AND m.metric = 'http_reqs' AND m.stat = 'count') AS requests,
       (SELECT sum(low) FROM test_run_steps s JOIN step_metrics m ON m.step_id = s.id
        WHERE s.test_run_id = run.id AND m.metric = 'http_req_failed' AND m.stat = 'passes') AS bad_low,
       (SELECT sum(high) FROM test_run_steps s JOIN step_metrics m ON m.step_id = s.id
        WHERE s.test_run_id = run.id AND m.metric = 'http_req_failed' AND m.stat = 'passes') AS bad_high,
       (SELECT sum(low) FROM test_run_steps s JOIN step_metrics m ON m.step_id = s.id
        WHERE s.test_run_id = run.id AND m.metric = 'http_req_failed' AND m.stat = 'fails') AS good_low,
       (SELECT sum(high) FROM test_run_steps s JOIN step_metrics m ON m.step_id = s.id
        WHERE s.test_run_id = run.id AND m.metric = 'http_req_failed' AND m.stat = 'fails') AS good_high,
       (SELECT min(low) FROM test_run_steps s JOIN step_metrics m ON m.step_id = s.id
        WHERE s.test_run_id = run.id AND m.metric = 'http_req_duration' AND m.stat = 'p(95)') AS p95_low,
       (SELECT max(high) FROM test_run_steps s JOIN step_metrics m ON m.step_id = s.id
        WHERE s.test_run_id = run.id AND m.metric = 'http_req_duration' AND m.stat = 'p(95)') AS p95_high
    FROM test_runs run
) runs;
