//! PostgreSQL 13 or newer: statements. Every statement has its twin in `sqlite`.
//!
//! Sets of ids are compared with `= ANY (ARRAY(…))`, which uses an index even when the planner has no statistics yet.

use sqlx::PgConnection;

use super::sql::{self, InsertChunks, Placed, Sql};

/// Each statement costs a round trip.
impl InsertChunks for PgConnection {
    async fn insert_chunks(&mut self, chunks: &[Placed<'_>]) -> Result<(), sqlx::Error> {
        const INSERT: &str = "
            INSERT INTO log_chunks (stream_id, seq, first_ts, last_ts, lines, body)
            SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[])";
        if chunks.is_empty() {
            return Ok(());
        }
        let column =
            |value: fn(&Placed<'_>) -> i64| -> Vec<i64> { chunks.iter().map(value).collect() };
        let bodies: Vec<&str> = chunks
            .iter()
            .map(|placed| placed.chunk.body.as_str())
            .collect();
        sqlx::query(INSERT)
            .bind(column(|placed| placed.stream_id))
            .bind(column(|placed| placed.seq))
            .bind(column(|placed| placed.chunk.first_ts))
            .bind(column(|placed| placed.chunk.last_ts))
            .bind(column(|placed| placed.chunk.lines))
            .bind(bodies)
            .execute(self)
            .await?;
        Ok(())
    }
}

/// Behind a pooler that gives each transaction any of its connections: what others have prepared there under the names
/// that the driver uses must be out of the way, and what we prepare must be used within the transaction.
pub(super) const POOLED: Sql = Sql {
    begin: "BEGIN; DEALLOCATE ALL",
    begin_append: "BEGIN; DEALLOCATE ALL; SET LOCAL synchronous_commit TO off",
    begin_read: Some("BEGIN READ ONLY; DEALLOCATE ALL"),
    ..SQL
};

pub(super) const SQL: Sql = Sql {
    begin: "BEGIN",
    begin_read: None,
    // A later commit waits until this one is on disk too, and a server that crashes before undoes this one as a whole: the
    // next sync reads those lines again.
    begin_append: "BEGIN; SET LOCAL synchronous_commit TO off",
    // Any number will do, as long as it is always the same.
    lock_migrations: "SELECT pg_advisory_xact_lock(7304871659124)",
    lock_adoption: "SELECT pg_advisory_xact_lock(7304871659123)",
    known_namespaces: "
        SELECT json_build_object('uid', uid, 'cluster', cluster, 'namespace', namespace)::text FROM cluster_uids
        ORDER BY noticed_at, uid",
    insert_cluster: "
        INSERT INTO clusters (id, created_at) VALUES ($1, $2::timestamptz) ON CONFLICT (id) DO NOTHING",
    insert_namespaces: "
        INSERT INTO cluster_uids (uid, cluster, namespace, noticed_at)
        SELECT uid, $1, namespace, $3::timestamptz FROM json_to_recordset($2::json) AS new(uid text, namespace text)
        ON CONFLICT (uid) DO NOTHING",
    unowned_steps: "
        SELECT id::text FROM test_run_steps
        WHERE cluster IS NULL AND k6_uid IS NOT NULL
          AND namespace = ANY (ARRAY(SELECT json_array_elements_text($1::json))) LIMIT 1",
    migrated_at: "SELECT json_build_object('migrated_at', migrated_at)::text FROM database_identity",
    database_id: sql::DATABASE_ID,
    renew_identity: "
        UPDATE database_identity SET id = substr(replace(gen_random_uuid()::text, '-', ''), 1, 12) RETURNING id",
    forget_holds: sql::FORGET_HOLDS,
    active_steps: "
        SELECT row_to_json(step)::text FROM (
            SELECT id, test_run_id, name, coalesce(nullif(namespace, ''), $2) AS namespace, k6_test_name, created_at,
                   version, held, cluster, k6_uid, parallelism, stage, status, reason, message, started_at, finished_at
            FROM test_run_steps
            WHERE id = ANY (ARRAY(
                SELECT id FROM test_run_steps WHERE status IN ('pending', 'initializing', 'running', 'finishing')
                UNION SELECT step_id FROM log_streams WHERE NOT complete
                UNION SELECT id FROM test_run_steps WHERE held
            )) AND ($1::json IS NULL
                   OR coalesce(nullif(namespace, ''), $2) = ANY (ARRAY(SELECT json_array_elements_text($1::json))))
              AND ($3::text IS NULL OR cluster IS NULL OR cluster NOT IN (SELECT uid FROM cluster_uids)
                   OR cluster IN (SELECT uid FROM cluster_uids WHERE cluster_uids.cluster = $3))
            ORDER BY id
        ) step",
    claimed: "
        SELECT json_build_object('k6_uid', k6_uid, 'id', id)::text FROM test_run_steps
        WHERE k6_uid = ANY (ARRAY(SELECT json_array_elements_text($1::json)))",
    find_run: sql::FIND_RUN,
    insert_run: "
        INSERT INTO test_runs (name, namespace, created_at, updated_at)
        VALUES ($1, $2, $3::timestamptz, $4::timestamptz) RETURNING id",
    insert_step: "
        INSERT INTO test_run_steps (test_run_id, position, name, namespace, k6_test_name, cluster, k6_uid, created_at)
        SELECT $1, (SELECT coalesce(max(position), 0) + 1 FROM test_run_steps WHERE test_run_id = $1),
               name, namespace, k6_test_name, cluster, k6_uid, created_at
        FROM json_to_record($2::json) AS new(name text, namespace text, k6_test_name text, cluster text, k6_uid text,
                                             created_at timestamptz)
        RETURNING id",
    streams: "
        SELECT row_to_json(stream)::text FROM (
            SELECT id, step_id, pod_name, pod_uid, container, role, restart_count, state, exit_code, reason,
                   started_at, finished_at, cursor_ts, cursor_seen, cursor_stepped, lines, gaps, complete,
                   quiet_read_at, bytes, replaced,
                   coalesce(next_seq, CASE WHEN log_streams.seal = 'unsealed'
                THEN (SELECT coalesce(max(seq) + 1, 0) FROM log_chunks WHERE stream_id = log_streams.id AND seq < 9223372036854775807) ELSE -1 END) AS next_seq,
                   hash_from, hash, hash_base, gaps_hash, log_streams.seal
            FROM log_streams WHERE step_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint)) ORDER BY id
        ) stream",
    put_streams: "
        INSERT INTO log_streams (step_id, pod_name, pod_uid, container, role, restart_count, state, exit_code, reason,
                                 started_at, finished_at, next_seq, hash_from, hash, hash_base, gaps_hash, seal,
                                 facts_seal)
        SELECT step_id, pod_name, pod_uid, container, role, restart_count, new.state, exit_code, new.reason,
               new.started_at, new.finished_at, 0, 0, 'new', 'new', 'new', 'new', new.facts_seal
        FROM json_to_recordset($1::json) AS new(step_id bigint, pod_name text, pod_uid text, container text,
            role text, restart_count bigint, state text, exit_code bigint, reason text, started_at timestamptz,
            finished_at timestamptz, facts_seal text)
        JOIN test_run_steps ON test_run_steps.id = new.step_id
        ORDER BY pod_uid, container, restart_count
        FOR KEY SHARE OF test_run_steps
        ON CONFLICT (pod_uid, container, restart_count) DO UPDATE
        SET state = excluded.state, exit_code = excluded.exit_code, reason = excluded.reason,
            started_at = excluded.started_at, finished_at = excluded.finished_at, pod_name = excluded.pod_name,
            role = excluded.role, facts_seal = excluded.facts_seal
        WHERE log_streams.state <> 'terminated' AND log_streams.step_id = excluded.step_id",
    // What is counted before and after must not be changed by others between: a statement that waited sees them.
    lock_steps: "
        SELECT id FROM test_run_steps WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))
        ORDER BY id FOR NO KEY UPDATE",
    count_streams_off: "
        UPDATE test_run_steps SET streams = streams - (SELECT count(*) FROM log_streams WHERE step_id = test_run_steps.id)
        WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))",
    count_streams_in: "
        UPDATE test_run_steps SET streams = streams + (SELECT count(*) FROM log_streams WHERE step_id = test_run_steps.id)
        WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))",
    // In one order, lest two syncs wait for each other.
    lock_streams: "
        SELECT id FROM log_streams
        WHERE id = ANY (ARRAY(SELECT (value ->> 'id')::bigint FROM json_array_elements($1::json)))
        ORDER BY id FOR NO KEY UPDATE",
    advance_streams: "
        UPDATE log_streams
        SET cursor_ts = new.cursor_ts, cursor_seen = new.cursor_seen, cursor_stepped = new.cursor_stepped,
            lines = new.lines, bytes = new.bytes, replaced = new.replaced, gaps = new.gaps, complete = new.complete,
            quiet_read_at = NULL, next_seq = new.next_seq, hash_from = new.hash_from, hash = new.hash,
            hash_base = new.hash_base, gaps_hash = new.gaps_hash, seal = new.seal
        FROM json_to_recordset($1::json) AS new(id bigint, at_ts bigint, at_seen bigint, at_lines bigint,
            at_gaps bigint, cursor_ts bigint, cursor_seen bigint, cursor_stepped boolean, lines bigint, gaps bigint,
            bytes bigint, replaced bigint, complete boolean, next_seq bigint, hash_from bigint, hash text, hash_base text,
            gaps_hash text, seal text)
        WHERE log_streams.id = new.id AND log_streams.cursor_ts IS NOT DISTINCT FROM new.at_ts
          AND log_streams.cursor_seen = new.at_seen AND log_streams.lines = new.at_lines
          AND log_streams.gaps = new.at_gaps AND NOT log_streams.complete
        RETURNING log_streams.id,
                  (SELECT coalesce(max(seq) + 1, 0) FROM log_chunks WHERE stream_id = log_streams.id AND seq < 9223372036854775807)",
    note_quiet: "
        UPDATE log_streams SET quiet_read_at = $2::timestamptz
        WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))",
    held_steps: "
        SELECT json_build_object('id', id, 'namespace', coalesce(nullif(namespace, ''), $2),
            'k6_test_name', k6_test_name, 'k6_uid', k6_uid, 'cluster', cluster)::text
        FROM test_run_steps
        WHERE held AND ($1::json IS NULL
              OR coalesce(nullif(namespace, ''), $2) = ANY (ARRAY(SELECT json_array_elements_text($1::json))))
          AND ($3::text IS NULL OR cluster IS NULL
               OR cluster IN (SELECT uid FROM cluster_uids WHERE cluster_uids.cluster = $3))
        ORDER BY id",
    set_held: "
        UPDATE test_run_steps SET held = $2
        WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))",
    open_logs: "
        SELECT DISTINCT step_id::text FROM log_streams
        WHERE NOT complete AND step_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))",
    insert_gaps: "
        INSERT INTO log_gaps (stream_id, after_ts, before_ts, cause, noticed_at)
        SELECT stream_id, after_ts, before_ts, cause, noticed_at
        FROM json_to_recordset($1::json) AS new(stream_id bigint, after_ts bigint, before_ts bigint, cause text,
                                                noticed_at timestamptz)",
    find_runs: sql::FIND_RUNS,
    steps_after: "
        SELECT row_to_json(step)::text FROM (
            SELECT id, test_run_id, position, name, nullif(namespace, '') AS namespace, k6_test_name, created_at, version, held,
                   streams, seal, synced_at, cluster, k6_uid, parallelism, stage, status, reason, message, started_at, finished_at
            FROM test_run_steps
            WHERE id > $1 AND ($2::json IS NULL
                  OR test_run_id = ANY (ARRAY(SELECT json_array_elements_text($2::json)::bigint)))
            ORDER BY id LIMIT $3
        ) step",
    steps_before: "
        SELECT row_to_json(step)::text FROM (
            SELECT id, test_run_id, position, name, nullif(namespace, '') AS namespace, k6_test_name, created_at, version, held,
                   streams, seal, synced_at, cluster, k6_uid, parallelism, stage, status, reason, message, started_at, finished_at
            FROM test_run_steps
            WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))
        ) step",
    seal_steps: "
        UPDATE test_run_steps SET seal = new.seal
        FROM json_to_recordset($1::json) AS new(id bigint, seal text) WHERE test_run_steps.id = new.id",
    recorded: "
        SELECT row_to_json(recorded)::text FROM (
            SELECT s.id, step_id, pod_name, pod_uid, container, role, restart_count, state, exit_code, reason,
                   started_at, finished_at, cursor_ts, cursor_seen, cursor_stepped, lines, gaps, complete, quiet_read_at,
                   facts_seal, bytes, replaced,
                   coalesce(next_seq, CASE WHEN s.seal = 'unsealed'
                THEN (SELECT coalesce(max(seq) + 1, 0) FROM log_chunks WHERE stream_id = s.id AND seq < 9223372036854775807) ELSE -1 END) AS next_seq,
                   hash_from, hash, hash_base, gaps_hash, s.seal
            FROM log_streams s
            WHERE step_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))
              AND ($2::bigint IS NULL OR s.id = $2) ORDER BY s.id
        ) recorded",
    gap_rows: "
        SELECT row_to_json(gap)::text
        FROM (SELECT stream_id, after_ts, before_ts, cause, noticed_at FROM log_gaps WHERE stream_id = $1) gap",
    overview: "
        SELECT json_build_object('runs', (SELECT count(*) FROM test_runs), 'steps', (SELECT count(*) FROM test_run_steps),
            'streams', (SELECT count(*) FROM log_streams),
            'database_id', (SELECT min(id) FROM database_identity),
            'unsealed_steps', (SELECT max(unsealed_steps) FROM database_identity),
            'unsealed_streams', (SELECT max(unsealed_streams) FROM database_identity),
            'looked_at', coalesce(
                (SELECT coalesce(looked_at, started_at) FROM sync_cycles
                 WHERE outcome = 'completed' AND ($1::text IS NULL OR cluster IS NULL OR cluster = $1) ORDER BY id DESC LIMIT 1),
                (SELECT max(synced_at) FROM test_run_steps)),
            'lost_steps', (SELECT coalesce(max(total - (SELECT count(*) FROM test_run_steps WHERE synced_at >= cycles.looked_at)), 0)
                           FROM (SELECT total, coalesce(looked_at, started_at) AS looked_at FROM sync_cycles
                                 WHERE outcome = 'completed' ORDER BY id DESC LIMIT 20) cycles))::text",
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
        SELECT json_build_object('after_ts', after_ts, 'before_ts', before_ts, 'cause', cause)::text
        FROM log_gaps WHERE stream_id = $1",
    chunks_before: "
        SELECT json_build_object(
            'first_ts', (SELECT first_ts FROM log_chunks WHERE stream_id = $1 ORDER BY seq LIMIT 1),
            'next_seq', coalesce(max(seq) + 1, (SELECT min(seq) FROM log_chunks WHERE stream_id = $1), 0),
            'lines', coalesce(sum(lines), 0), 'bytes', coalesce(sum(octet_length(body)), 0))::text
        FROM log_chunks WHERE stream_id = $1
          AND seq < coalesce((SELECT min(seq) FROM log_chunks WHERE stream_id = $1
                              AND (last_ts >= $2 OR first_ts >= $2 OR first_ts > last_ts)),
                             (SELECT max(seq) + 1 FROM log_chunks WHERE stream_id = $1 AND seq < 9223372036854775807))",
    chunk_rows: sql::CHUNK_ROWS,
    last_chunks: sql::LAST_CHUNKS,
    lock_runs: "
        SELECT id FROM test_runs WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))
        ORDER BY id FOR UPDATE",
    update_steps: "
        UPDATE test_run_steps
        SET cluster = new.cluster, k6_uid = new.k6_uid, parallelism = new.parallelism, stage = new.stage, status = new.status,
            reason = new.reason, message = new.message, started_at = new.started_at, finished_at = new.finished_at,
            version = test_run_steps.version + 1, seal = new.seal,
            namespace = CASE WHEN new.k6_uid IS NULL THEN test_run_steps.namespace
                             ELSE coalesce(nullif(test_run_steps.namespace, ''), new.namespace) END
        FROM json_to_recordset($1::json) AS new(id bigint, version bigint, namespace text, cluster text,
            k6_uid text, parallelism bigint, stage text,
            status text, reason text, message text, started_at timestamptz, finished_at timestamptz,
            seal text)
        WHERE test_run_steps.id = new.id AND test_run_steps.version = new.version
          AND NOT EXISTS (SELECT 1 FROM test_run_steps other WHERE other.k6_uid = new.k6_uid AND other.id <> new.id)
        RETURNING json_build_object('id', test_run_steps.id, 'test_run_id', test_run_id)::text",
    touch_steps: "
        UPDATE test_run_steps SET synced_at = $2::timestamptz
        WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))",
    steps_of_runs: "
        SELECT json_build_object('test_run_id', test_run_id, 'status', status, 'started_at', started_at,
            'finished_at', finished_at)::text
        FROM test_run_steps WHERE test_run_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))",
    update_runs: "
        UPDATE test_runs
        SET status = new.status, started_at = new.started_at, finished_at = new.finished_at,
            updated_at = $2::timestamptz
        FROM json_to_recordset($1::json) AS new(id bigint, status text, started_at timestamptz, finished_at timestamptz)
        WHERE test_runs.id = new.id
          AND (test_runs.status, test_runs.started_at, test_runs.finished_at)
              IS DISTINCT FROM (new.status, new.started_at, new.finished_at)",
    insert_cycle: "
        INSERT INTO sync_cycles (started_at, duration_ms, \"trigger\", instance, outcome, total, updated, errors,
                                 logs_updated, log_bytes, looked_at, cluster)
        SELECT started_at, duration_ms, \"trigger\", instance, outcome, total, updated, errors, logs_updated, log_bytes,
               looked_at, cluster
        FROM json_to_record($1::json) AS new(started_at timestamptz, duration_ms bigint, \"trigger\" text,
            instance text, outcome text, total bigint, updated bigint, errors bigint, logs_updated bigint,
            log_bytes bigint, looked_at timestamptz, cluster text)
        WHERE NOT EXISTS (SELECT 1 FROM sync_cycles
                          WHERE sync_cycles.started_at = new.started_at AND sync_cycles.instance = new.instance)
        RETURNING id",
    insert_errors: "
        INSERT INTO sync_errors (cycle_id, step_id, step_name, k6_test_name, error)
        SELECT $1, step_id, step_name, k6_test_name, error
        FROM json_to_recordset($2::json) AS new(step_id bigint, step_name text, k6_test_name text, error text)",
    count_errors: sql::COUNT_ERRORS,
    prunable: "
        SELECT json_build_object('logs', count(*), 'bytes', coalesce(sum(bytes), 0),
            'cycles', (SELECT count(*) FROM sync_cycles WHERE started_at < $1::timestamptz
                       AND id IS DISTINCT FROM (SELECT id FROM sync_cycles WHERE outcome = 'completed'
                                                ORDER BY started_at DESC, id DESC LIMIT 1)))::text
        FROM log_streams s
        JOIN test_run_steps ON test_run_steps.id = step_id JOIN test_runs ON test_runs.id = test_run_id
        WHERE complete AND test_runs.finished_at < $1::timestamptz
          AND test_runs.status NOT IN ('pending', 'initializing', 'running', 'finishing')
          AND test_runs.id NOT IN (SELECT id FROM test_runs ORDER BY id DESC LIMIT $2)
          AND NOT EXISTS (SELECT 1 FROM test_run_steps active WHERE active.test_run_id = test_runs.id
                          AND active.status IN ('pending', 'initializing', 'running', 'finishing'))
          AND NOT EXISTS (SELECT 1 FROM log_streams open JOIN test_run_steps sibling ON sibling.id = open.step_id
                          WHERE sibling.test_run_id = test_runs.id AND NOT open.complete)
          AND EXISTS (SELECT 1 FROM log_chunks WHERE stream_id = s.id)",
    prunable_streams: "
        SELECT json_build_object('id', s.id, 'cursor_ts', cursor_ts, 'cursor_seen', cursor_seen,
            'cursor_stepped', cursor_stepped, 'lines', lines, 'gaps', gaps, 'bytes', bytes, 'replaced', replaced,
            'next_seq', coalesce(next_seq, CASE WHEN s.seal = 'unsealed'
                THEN (SELECT coalesce(max(seq) + 1, 0) FROM log_chunks WHERE stream_id = s.id AND seq < 9223372036854775807) ELSE -1 END),
            'hash_from', hash_from, 'hash', hash, 'hash_base', hash_base, 'gaps_hash', gaps_hash, 'seal', s.seal,
            'is_marked', EXISTS (SELECT 1 FROM log_gaps WHERE stream_id = s.id AND cause = 'pruned'))::text
        FROM log_streams s
        JOIN test_run_steps ON test_run_steps.id = step_id JOIN test_runs ON test_runs.id = test_run_id
        WHERE complete AND test_runs.finished_at < $1::timestamptz
          AND test_runs.status NOT IN ('pending', 'initializing', 'running', 'finishing')
          AND test_runs.id NOT IN (SELECT id FROM test_runs ORDER BY id DESC LIMIT $2)
          AND NOT EXISTS (SELECT 1 FROM test_run_steps active WHERE active.test_run_id = test_runs.id
                          AND active.status IN ('pending', 'initializing', 'running', 'finishing'))
          AND NOT EXISTS (SELECT 1 FROM log_streams open JOIN test_run_steps sibling ON sibling.id = open.step_id
                          WHERE sibling.test_run_id = test_runs.id AND NOT open.complete)
          AND EXISTS (SELECT 1 FROM log_chunks WHERE stream_id = s.id)
        ORDER BY s.id LIMIT $3 FOR NO KEY UPDATE OF s",
    front: "
        SELECT json_build_object('stream_id', stream_id, 'last', last,
            'next', (SELECT min(seq) FROM log_chunks WHERE stream_id = front.stream_id AND seq > last))::text
        FROM (SELECT stream_id, max(seq) AS last
              FROM (SELECT stream_id, seq FROM log_chunks WHERE stream_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))
                    ORDER BY stream_id, seq LIMIT $2) chunks
              GROUP BY stream_id) front",
    move_front: "
        UPDATE log_streams
        SET gaps = new.gaps, hash_from = new.hash_from, hash_base = new.hash_base, gaps_hash = new.gaps_hash,
            seal = new.seal
        FROM json_to_recordset($1::json) AS new(id bigint, gaps bigint, hash_from bigint, hash_base text, gaps_hash text,
                                                seal text)
        WHERE log_streams.id = new.id",
    delete_front: "
        DELETE FROM log_chunks
        USING json_to_recordset($1::json) AS front(id bigint, last bigint)
        WHERE stream_id = front.id AND seq <= front.last",
    delete_cycles: "
        DELETE FROM sync_cycles
        WHERE id IN (SELECT id FROM sync_cycles WHERE started_at < $1::timestamptz
                     AND id IS DISTINCT FROM (SELECT id FROM sync_cycles WHERE outcome = 'completed'
                                              ORDER BY started_at DESC, id DESC LIMIT 1) LIMIT $2)",
    last_cycles: "
        SELECT row_to_json(cycle)::text FROM (
            SELECT started_at, duration_ms, \"trigger\", instance, outcome, total, updated, logs_updated, log_bytes,
                   looked_at, cluster,
                   (SELECT coalesce(json_agg(json_build_object('step_id', step_id, 'step_name', step_name,
                        'k6_test_name', k6_test_name, 'error', error)), '[]')
                    FROM sync_errors WHERE cycle_id = sync_cycles.id) AS errors
            FROM sync_cycles ORDER BY id DESC LIMIT $1
        ) cycle",
};
