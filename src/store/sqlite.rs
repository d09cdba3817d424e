//! SQLite: connection options and statements. Every statement has its twin in `postgres`.

use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{QueryBuilder, SqliteConnection};

use super::sql::{self, InsertChunks, Placed, Sql};

/// Other processes may be writing; each write is short.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

const PAGE_BYTES: u32 = 16 * 1024;

/// How a k6sync database is opened.
pub(super) fn options(url: &str) -> Result<SqliteConnectOptions, sqlx::Error> {
    Ok(url
        .parse::<SqliteConnectOptions>()?
        .create_if_missing(true)
        // Of a new file. Lines of log are large: with SQLite's own 4 KiB most of them would need an overflow page.
        .page_size(PAGE_BYTES)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        // In WAL mode a power cut may undo the last commits but never splits one; the next sync reads those lines again.
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_TIMEOUT))
}

/// How one is opened that is only to be read: whatever would change the file is left out.
pub(super) fn options_to_read(url: &str) -> Result<SqliteConnectOptions, sqlx::Error> {
    Ok(url
        .parse::<SqliteConnectOptions>()?
        .create_if_missing(false)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT))
}

/// Each statement is handed to SQLite's own thread and back.
impl InsertChunks for SqliteConnection {
    async fn insert_chunks(&mut self, chunks: &[Placed<'_>]) -> Result<(), sqlx::Error> {
        if chunks.is_empty() {
            return Ok(());
        }
        QueryBuilder::new(
            "INSERT INTO log_chunks (stream_id, seq, first_ts, last_ts, lines, body) ",
        )
        .push_values(chunks, |mut row, placed| {
            let Placed {
                stream_id,
                seq,
                chunk,
            } = placed;
            row.push_bind(stream_id)
                .push_bind(seq)
                .push_bind(chunk.first_ts)
                .push_bind(chunk.last_ts)
                .push_bind(chunk.lines)
                .push_bind(&chunk.body);
        })
        .build()
        // Its text depends on how many chunks there are: it would only crowd out others.
        .persistent(false)
        .execute(self)
        .await?;
        Ok(())
    }
}

pub(super) const SQL: Sql = Sql {
    begin_read: None,
    begin: "BEGIN IMMEDIATE",
    begin_append: "BEGIN IMMEDIATE",
    lock_migrations: "SELECT 1",
    lock_adoption: "SELECT 1",
    known_namespaces: "
        SELECT json_object('uid', uid, 'cluster', cluster, 'namespace', namespace) FROM cluster_uids
        ORDER BY noticed_at, uid",
    insert_cluster: "INSERT INTO clusters (id, created_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
    insert_namespaces: "
        INSERT INTO cluster_uids (uid, cluster, namespace, noticed_at)
        SELECT value ->> 'uid', $1, value ->> 'namespace', $3 FROM json_each($2) WHERE true
        ON CONFLICT (uid) DO NOTHING",
    unowned_steps: "
        SELECT CAST(id AS TEXT) FROM test_run_steps
        WHERE cluster IS NULL AND k6_uid IS NOT NULL AND namespace IN (SELECT value FROM json_each($1)) LIMIT 1",
    migrated_at: "SELECT json_object('migrated_at', migrated_at) FROM database_identity",
    database_id: sql::DATABASE_ID,
    renew_identity: "UPDATE database_identity SET id = lower(hex(randomblob(6))) RETURNING id",
    forget_holds: sql::FORGET_HOLDS,
    active_steps: "
        SELECT json_object('id', id, 'test_run_id', test_run_id, 'name', name,
            'namespace', coalesce(nullif(namespace, ''), $2), 'k6_test_name', k6_test_name, 'created_at', created_at,
            'version', version, 'held', json(iif(held, 'true', 'false')), 'cluster', cluster, 'k6_uid', k6_uid, 'parallelism', parallelism, 'stage', stage, 'status', status,
            'reason', reason, 'message', message, 'started_at', started_at, 'finished_at', finished_at)
        FROM test_run_steps
        WHERE id IN (
            SELECT id FROM test_run_steps WHERE status IN ('pending', 'initializing', 'running', 'finishing')
            UNION SELECT step_id FROM log_streams WHERE NOT complete
            UNION SELECT id FROM test_run_steps WHERE held
        ) AND ($1 IS NULL OR coalesce(nullif(namespace, ''), $2) IN (SELECT value FROM json_each($1)))
          AND ($3 IS NULL OR cluster IS NULL OR cluster NOT IN (SELECT uid FROM cluster_uids)
               OR cluster IN (SELECT uid FROM cluster_uids WHERE cluster_uids.cluster = $3))
        ORDER BY id",
    claimed: "
        SELECT json_object('k6_uid', k6_uid, 'id', id) FROM test_run_steps
        WHERE k6_uid IN (SELECT value FROM json_each($1))",
    find_run: sql::FIND_RUN,
    insert_run: "
        INSERT INTO test_runs (name, namespace, created_at, updated_at) VALUES ($1, $2, $3, $4) RETURNING id",
    insert_step: "
        INSERT INTO test_run_steps (test_run_id, position, name, namespace, k6_test_name, cluster, k6_uid, created_at)
        SELECT $1, (SELECT coalesce(max(position), 0) + 1 FROM test_run_steps WHERE test_run_id = $1),
               $2 ->> 'name', $2 ->> 'namespace', $2 ->> 'k6_test_name', $2 ->> 'cluster', $2 ->> 'k6_uid',
               $2 ->> 'created_at'
        RETURNING id",
    streams: "
        SELECT json_object('id', id, 'step_id', step_id, 'pod_name', pod_name, 'pod_uid', pod_uid,
            'container', container, 'role', role, 'restart_count', restart_count, 'state', state,
            'exit_code', exit_code, 'reason', reason, 'started_at', started_at, 'finished_at', finished_at,
            'cursor_ts', cursor_ts, 'cursor_seen', cursor_seen,
            'cursor_stepped', json(iif(cursor_stepped, 'true', 'false')), 'lines', lines, 'gaps', gaps,
            'complete', json(iif(complete, 'true', 'false')), 'quiet_read_at', quiet_read_at,
            'bytes', bytes, 'replaced', replaced,
            'next_seq', coalesce(next_seq, CASE WHEN log_streams.seal = 'unsealed'
                THEN (SELECT coalesce(max(seq) + 1, 0) FROM log_chunks WHERE stream_id = log_streams.id AND seq < 9223372036854775807) ELSE -1 END),
            'hash_from', hash_from, 'hash', hash, 'hash_base', hash_base, 'gaps_hash', gaps_hash, 'seal', log_streams.seal)
        FROM log_streams WHERE step_id IN (SELECT value FROM json_each($1)) ORDER BY id",
    put_streams: "
        INSERT INTO log_streams (step_id, pod_name, pod_uid, container, role, restart_count, state, exit_code, reason,
                                 started_at, finished_at, next_seq, hash_from, hash, hash_base, gaps_hash, seal,
                                 facts_seal)
        SELECT value ->> 'step_id', value ->> 'pod_name', value ->> 'pod_uid', value ->> 'container',
               value ->> 'role', value ->> 'restart_count', value ->> 'state', value ->> 'exit_code',
               value ->> 'reason', value ->> 'started_at', value ->> 'finished_at',
               0, 0, 'new', 'new', 'new', 'new', value ->> 'facts_seal'
        FROM json_each($1) WHERE EXISTS (SELECT 1 FROM test_run_steps WHERE id = value ->> 'step_id')
        ON CONFLICT (pod_uid, container, restart_count) DO UPDATE
        SET state = excluded.state, exit_code = excluded.exit_code, reason = excluded.reason,
            started_at = excluded.started_at, finished_at = excluded.finished_at, pod_name = excluded.pod_name,
            role = excluded.role, facts_seal = excluded.facts_seal
        WHERE log_streams.state <> 'terminated' AND log_streams.step_id = excluded.step_id",
    // BEGIN IMMEDIATE is the lock.
    lock_steps: "SELECT 1 WHERE $1 IS NULL",
    count_streams_off: "
        UPDATE test_run_steps SET streams = streams - (SELECT count(*) FROM log_streams WHERE step_id = test_run_steps.id)
        WHERE id IN (SELECT value FROM json_each($1))",
    count_streams_in: "
        UPDATE test_run_steps SET streams = streams + (SELECT count(*) FROM log_streams WHERE step_id = test_run_steps.id)
        WHERE id IN (SELECT value FROM json_each($1))",
    // BEGIN IMMEDIATE is the lock.
    lock_streams: "SELECT 1 WHERE $1 IS NULL",
    advance_streams: "
        UPDATE log_streams
        SET cursor_ts = new.value ->> 'cursor_ts', cursor_seen = new.value ->> 'cursor_seen',
            cursor_stepped = new.value ->> 'cursor_stepped', lines = new.value ->> 'lines',
            bytes = new.value ->> 'bytes', replaced = new.value ->> 'replaced', gaps = new.value ->> 'gaps',
            complete = new.value ->> 'complete', quiet_read_at = NULL, next_seq = new.value ->> 'next_seq',
            hash_from = new.value ->> 'hash_from', hash = new.value ->> 'hash', hash_base = new.value ->> 'hash_base',
            gaps_hash = new.value ->> 'gaps_hash', seal = new.value ->> 'seal'
        FROM json_each($1) AS new
        WHERE log_streams.id = new.value ->> 'id' AND cursor_ts IS new.value ->> 'at_ts'
          AND cursor_seen = new.value ->> 'at_seen' AND lines = new.value ->> 'at_lines'
          AND gaps = new.value ->> 'at_gaps' AND NOT complete
        RETURNING id, (SELECT coalesce(max(seq) + 1, 0) FROM log_chunks WHERE stream_id = log_streams.id AND seq < 9223372036854775807)",
    note_quiet: "
        UPDATE log_streams SET quiet_read_at = $2 WHERE id IN (SELECT value FROM json_each($1))",
    held_steps: "
        SELECT json_object('id', id, 'namespace', coalesce(nullif(namespace, ''), $2), 'k6_test_name', k6_test_name,
            'k6_uid', k6_uid, 'cluster', cluster)
        FROM test_run_steps
        WHERE held AND ($1 IS NULL OR coalesce(nullif(namespace, ''), $2) IN (SELECT value FROM json_each($1)))
          AND ($3 IS NULL OR cluster IS NULL
               OR cluster IN (SELECT uid FROM cluster_uids WHERE cluster_uids.cluster = $3))
        ORDER BY id",
    set_held: "
        UPDATE test_run_steps SET held = $2 WHERE id IN (SELECT value FROM json_each($1))",
    open_logs: "
        SELECT DISTINCT CAST(step_id AS TEXT) FROM log_streams
        WHERE NOT complete AND step_id IN (SELECT value FROM json_each($1))",
    insert_gaps: "
        INSERT INTO log_gaps (stream_id, after_ts, before_ts, cause, noticed_at)
        SELECT value ->> 'stream_id', value ->> 'after_ts', value ->> 'before_ts', value ->> 'cause',
               value ->> 'noticed_at'
        FROM json_each($1)",
    find_runs: sql::FIND_RUNS,
    steps_after: "
        SELECT json_object('id', id, 'test_run_id', test_run_id, 'position', position, 'name', name,
            'namespace', nullif(namespace, ''), 'k6_test_name', k6_test_name, 'created_at', created_at, 'version', version,
            'held', json(iif(held, 'true', 'false')), 'streams', streams, 'seal', seal, 'synced_at', synced_at, 'cluster', cluster,
            'k6_uid', k6_uid,
            'parallelism', parallelism, 'stage', stage, 'status', status, 'reason', reason, 'message', message,
            'started_at', started_at, 'finished_at', finished_at)
        FROM test_run_steps
        WHERE id > $1 AND ($2 IS NULL OR test_run_id IN (SELECT value FROM json_each($2)))
        ORDER BY id LIMIT $3",
    steps_before: "
        SELECT json_object('id', id, 'test_run_id', test_run_id, 'position', position, 'name', name,
            'namespace', nullif(namespace, ''), 'k6_test_name', k6_test_name, 'created_at', created_at, 'version', version,
            'held', json(iif(held, 'true', 'false')), 'streams', streams, 'seal', seal, 'synced_at', synced_at, 'cluster', cluster,
            'k6_uid', k6_uid,
            'parallelism', parallelism, 'stage', stage, 'status', status, 'reason', reason, 'message', message,
            'started_at', started_at, 'finished_at', finished_at)
        FROM test_run_steps WHERE id IN (SELECT value FROM json_each($1))",
    seal_steps: "
        UPDATE test_run_steps SET seal = new.value ->> 'seal'
        FROM json_each($1) AS new WHERE test_run_steps.id = new.value ->> 'id'",
    recorded: "
        SELECT json_object('id', s.id, 'step_id', step_id,
            'pod_name', pod_name, 'pod_uid', pod_uid, 'container', container, 'role', role,
            'restart_count', restart_count, 'state', state, 'exit_code', exit_code, 'reason', reason,
            'started_at', started_at, 'finished_at', finished_at, 'cursor_ts', cursor_ts,
            'cursor_seen', cursor_seen, 'cursor_stepped', json(iif(cursor_stepped, 'true', 'false')),
            'lines', lines, 'gaps', gaps, 'complete', json(iif(complete, 'true', 'false')),
            'quiet_read_at', quiet_read_at, 'facts_seal', facts_seal,
            'bytes', bytes, 'replaced', replaced,
            'next_seq', coalesce(next_seq, CASE WHEN s.seal = 'unsealed'
                THEN (SELECT coalesce(max(seq) + 1, 0) FROM log_chunks WHERE stream_id = s.id AND seq < 9223372036854775807) ELSE -1 END),
            'hash_from', hash_from, 'hash', hash, 'hash_base', hash_base, 'gaps_hash', gaps_hash, 'seal', s.seal)
        FROM log_streams s
        WHERE step_id IN (SELECT value FROM json_each($1)) AND ($2 IS NULL OR s.id = $2) ORDER BY s.id",
    gap_rows: "
        SELECT json_object('stream_id', stream_id, 'after_ts', after_ts, 'before_ts', before_ts, 'cause', cause,
            'noticed_at', noticed_at)
        FROM log_gaps WHERE stream_id = $1",
    overview: "
        SELECT json_object('runs', (SELECT count(*) FROM test_runs), 'steps', (SELECT count(*) FROM test_run_steps),
            'streams', (SELECT count(*) FROM log_streams),
            'database_id', (SELECT min(id) FROM database_identity),
            'unsealed_steps', (SELECT max(unsealed_steps) FROM database_identity),
            'unsealed_streams', (SELECT max(unsealed_streams) FROM database_identity),
            'looked_at', coalesce(
                (SELECT coalesce(looked_at, started_at) FROM sync_cycles
                 WHERE outcome = 'completed' AND ($1 IS NULL OR cluster IS NULL OR cluster = $1) ORDER BY id DESC LIMIT 1),
                (SELECT max(synced_at) FROM test_run_steps)),
            'lost_steps', (SELECT coalesce(max(total - (SELECT count(*) FROM test_run_steps WHERE synced_at >= cycles.looked_at)), 0)
                           FROM (SELECT total, coalesce(looked_at, started_at) AS looked_at FROM sync_cycles
                                 WHERE outcome = 'completed' ORDER BY id DESC LIMIT 20) cycles))",
    orphans: "
        SELECT 'the log stream ' || id || ' (' || pod_name || '/' || container || ') is of step ' || step_id
               || ', which is not there'
        FROM log_streams WHERE NOT EXISTS (SELECT 1 FROM test_run_steps WHERE id = step_id)
        UNION ALL SELECT 'step ' || id || ' (' || k6_test_name || ') is of the run ' || test_run_id || ', which is not there'
        FROM test_run_steps WHERE NOT EXISTS (SELECT 1 FROM test_runs WHERE id = test_run_id)
        UNION ALL SELECT 'log_chunks has ' || count(*) || ' rows of stream ' || stream_id || ', which is not there'
        FROM log_chunks WHERE NOT EXISTS (SELECT 1 FROM log_streams WHERE id = stream_id) GROUP BY stream_id
        UNION ALL SELECT 'log_gaps has ' || count(*) || ' rows of stream ' || stream_id || ', which is not there'
        FROM log_gaps WHERE NOT EXISTS (SELECT 1 FROM log_streams WHERE id = stream_id) GROUP BY stream_id",
    gaps: "
        SELECT json_object('after_ts', after_ts, 'before_ts', before_ts, 'cause', cause)
        FROM log_gaps WHERE stream_id = $1",
    chunks_before: "
        SELECT json_object('first_ts', (SELECT first_ts FROM log_chunks WHERE stream_id = $1 ORDER BY seq LIMIT 1),
            'next_seq', coalesce(max(seq) + 1, (SELECT min(seq) FROM log_chunks WHERE stream_id = $1), 0),
            'lines', coalesce(sum(lines), 0), 'bytes', coalesce(sum(length(CAST(body AS BLOB))), 0))
        FROM log_chunks WHERE stream_id = $1
          AND seq < coalesce((SELECT min(seq) FROM log_chunks WHERE stream_id = $1
                              AND (last_ts >= $2 OR first_ts >= $2 OR first_ts > last_ts)),
                             (SELECT max(seq) + 1 FROM log_chunks WHERE stream_id = $1 AND seq < 9223372036854775807))",
    chunk_rows: sql::CHUNK_ROWS,
    last_chunks: sql::LAST_CHUNKS,
    // BEGIN IMMEDIATE is the lock.
    lock_runs: "SELECT id FROM test_runs WHERE id IN (SELECT value FROM json_each($1))",
    update_steps: "
        UPDATE test_run_steps
        SET cluster = new.value ->> 'cluster', k6_uid = new.value ->> 'k6_uid', parallelism = new.value ->> 'parallelism', stage = new.value ->> 'stage',
            status = new.value ->> 'status', reason = new.value ->> 'reason', message = new.value ->> 'message',
            started_at = new.value ->> 'started_at', finished_at = new.value ->> 'finished_at', version = version + 1,
            seal = new.value ->> 'seal',
            namespace = iif(new.value ->> 'k6_uid' IS NULL, namespace,
                            coalesce(nullif(namespace, ''), new.value ->> 'namespace'))
        FROM json_each($1) AS new
        WHERE test_run_steps.id = new.value ->> 'id' AND version = new.value ->> 'version'
          AND NOT EXISTS (SELECT 1 FROM test_run_steps other
                          WHERE other.k6_uid = new.value ->> 'k6_uid' AND other.id <> new.value ->> 'id')
        RETURNING json_object('id', test_run_steps.id, 'test_run_id', test_run_id)",
    touch_steps: "
        UPDATE test_run_steps SET synced_at = $2 WHERE id IN (SELECT value FROM json_each($1))",
    steps_of_runs: "
        SELECT json_object('test_run_id', test_run_id, 'status', status, 'started_at', started_at,
            'finished_at', finished_at)
        FROM test_run_steps WHERE test_run_id IN (SELECT value FROM json_each($1))",
    update_runs: "
        UPDATE test_runs
        SET status = new.value ->> 'status', started_at = new.value ->> 'started_at',
            finished_at = new.value ->> 'finished_at', updated_at = $2
        FROM json_each($1) AS new
        WHERE test_runs.id = new.value ->> 'id'
          AND (status IS NOT new.value ->> 'status' OR started_at IS NOT new.value ->> 'started_at'
               OR finished_at IS NOT new.value ->> 'finished_at')",
    insert_cycle: "
        INSERT INTO sync_cycles (started_at, duration_ms, \"trigger\", instance, outcome, total, updated, errors,
                                 logs_updated, log_bytes, looked_at, cluster)
        SELECT $1 ->> 'started_at', $1 ->> 'duration_ms', $1 ->> 'trigger', $1 ->> 'instance', $1 ->> 'outcome',
               $1 ->> 'total', $1 ->> 'updated', $1 ->> 'errors', $1 ->> 'logs_updated', $1 ->> 'log_bytes',
               $1 ->> 'looked_at', $1 ->> 'cluster'
        WHERE NOT EXISTS (SELECT 1 FROM sync_cycles
                          WHERE started_at = $1 ->> 'started_at' AND instance = $1 ->> 'instance')
        RETURNING id",
    insert_errors: "
        INSERT INTO sync_errors (cycle_id, step_id, step_name, k6_test_name, error)
        SELECT $1, value ->> 'step_id', value ->> 'step_name', value ->> 'k6_test_name', value ->> 'error'
        FROM json_each($2)",
    count_errors: sql::COUNT_ERRORS,
    prunable: "
        SELECT json_object('logs', count(*), 'bytes', coalesce(sum(bytes), 0),
            'cycles', (SELECT count(*) FROM sync_cycles WHERE julianday(started_at) < julianday($1)
                       AND id IS NOT (SELECT id FROM sync_cycles WHERE outcome = 'completed'
                                      ORDER BY julianday(started_at) DESC, id DESC LIMIT 1)))
        FROM log_streams s
        JOIN test_run_steps ON test_run_steps.id = step_id JOIN test_runs ON test_runs.id = test_run_id
        WHERE complete AND julianday(test_runs.finished_at) < julianday($1)
          AND test_runs.status NOT IN ('pending', 'initializing', 'running', 'finishing')
          AND test_runs.id NOT IN (SELECT id FROM test_runs ORDER BY id DESC LIMIT $2)
          AND NOT EXISTS (SELECT 1 FROM test_run_steps active WHERE active.test_run_id = test_runs.id
                          AND active.status IN ('pending', 'initializing', 'running', 'finishing'))
          AND NOT EXISTS (SELECT 1 FROM log_streams open JOIN test_run_steps sibling ON sibling.id = open.step_id
                          WHERE sibling.test_run_id = test_runs.id AND NOT open.complete)
          AND EXISTS (SELECT 1 FROM log_chunks WHERE stream_id = s.id)",
    prunable_streams: "
        SELECT json_object('id', s.id, 'cursor_ts', cursor_ts, 'cursor_seen', cursor_seen,
            'cursor_stepped', json(iif(cursor_stepped, 'true', 'false')), 'lines', lines, 'gaps', gaps,
            'bytes', bytes, 'replaced', replaced,
            'next_seq', coalesce(next_seq, CASE WHEN s.seal = 'unsealed'
                THEN (SELECT coalesce(max(seq) + 1, 0) FROM log_chunks WHERE stream_id = s.id AND seq < 9223372036854775807) ELSE -1 END),
            'hash_from', hash_from, 'hash', hash, 'hash_base', hash_base, 'gaps_hash', gaps_hash, 'seal', s.seal,
            'is_marked', json(iif(EXISTS (SELECT 1 FROM log_gaps WHERE stream_id = s.id AND cause = 'pruned'), 'true', 'false')))
        FROM log_streams s
        JOIN test_run_steps ON test_run_steps.id = step_id JOIN test_runs ON test_runs.id = test_run_id
        WHERE complete AND julianday(test_runs.finished_at) < julianday($1)
          AND test_runs.status NOT IN ('pending', 'initializing', 'running', 'finishing')
          AND test_runs.id NOT IN (SELECT id FROM test_runs ORDER BY id DESC LIMIT $2)
          AND NOT EXISTS (SELECT 1 FROM test_run_steps active WHERE active.test_run_id = test_runs.id
                          AND active.status IN ('pending', 'initializing', 'running', 'finishing'))
          AND NOT EXISTS (SELECT 1 FROM log_streams open JOIN test_run_steps sibling ON sibling.id = open.step_id
                          WHERE sibling.test_run_id = test_runs.id AND NOT open.complete)
          AND EXISTS (SELECT 1 FROM log_chunks WHERE stream_id = s.id)
        ORDER BY s.id LIMIT $3",
    front: "
        SELECT json_object('stream_id', stream_id, 'last', last,
            'next', (SELECT min(seq) FROM log_chunks WHERE stream_id = front.stream_id AND seq > last))
        FROM (SELECT stream_id, max(seq) AS last
              FROM (SELECT stream_id, seq FROM log_chunks WHERE stream_id IN (SELECT value FROM json_each($1))
                    ORDER BY stream_id, seq LIMIT $2) chunks
              GROUP BY stream_id) front",
    move_front: "
        UPDATE log_streams
        SET gaps = new.value ->> 'gaps', hash_from = new.value ->> 'hash_from', hash_base = new.value ->> 'hash_base',
            gaps_hash = new.value ->> 'gaps_hash', seal = new.value ->> 'seal'
        FROM json_each($1) AS new WHERE log_streams.id = new.value ->> 'id'",
    delete_front: "
        DELETE FROM log_chunks WHERE (stream_id, seq) IN (
            SELECT stream_id, seq FROM log_chunks
            JOIN json_each($1) AS front ON stream_id = front.value ->> 'id' AND seq <= front.value ->> 'last')",
    delete_cycles: "
        DELETE FROM sync_cycles
        WHERE id IN (SELECT id FROM sync_cycles WHERE julianday(started_at) < julianday($1)
                     AND id IS NOT (SELECT id FROM sync_cycles WHERE outcome = 'completed'
                                    ORDER BY julianday(started_at) DESC, id DESC LIMIT 1) LIMIT $2)",
    last_cycles: "
        SELECT json_object('started_at', started_at, 'duration_ms', duration_ms, 'trigger', \"trigger\",
            'instance', instance, 'outcome', outcome, 'total', total, 'updated', updated,
            'logs_updated', logs_updated, 'log_bytes', log_bytes, 'looked_at', looked_at, 'cluster', cluster,
            'errors', (SELECT json_group_array(json_object('step_id', step_id, 'step_name', step_name,
                'k6_test_name', k6_test_name, 'error', error)) FROM sync_errors WHERE cycle_id = sync_cycles.id))
        FROM sync_cycles ORDER BY id DESC LIMIT $1",
};
