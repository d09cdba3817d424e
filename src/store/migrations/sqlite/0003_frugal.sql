-- When a log that had long been quiet was last read and had nothing new; such logs are not read in every cycle.
ALTER TABLE log_streams ADD COLUMN quiet_read_at TEXT;

-- Rows of log are large, and SQLite keeps large rows well only in tables with rowids: without, each takes three times the
-- work and twice the writing (https://sqlite.org/withoutrowid.html: good for rows below a twentieth of a page).
DROP VIEW step_logs;
ALTER TABLE log_chunks RENAME TO log_chunks_without_rowid;
CREATE TABLE log_chunks (
    stream_id INTEGER NOT NULL REFERENCES log_streams (id) ON DELETE CASCADE,
    seq       INTEGER NOT NULL,
    first_ts  INTEGER NOT NULL,
    last_ts   INTEGER NOT NULL,
    lines     INTEGER NOT NULL,
    body      TEXT NOT NULL,
    PRIMARY KEY (stream_id, seq)
);
INSERT INTO log_chunks SELECT stream_id, seq, first_ts, last_ts, lines, body FROM log_chunks_without_rowid;
DROP TABLE log_chunks_without_rowid;

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
