//! What the cluster shows of container lives.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::StepId;
use super::proof::{self, Digest};
use super::query::transaction;
use super::rows::json;
use super::statement::Statement;
use super::words::{Role, StreamState};
use super::{Store, StoreError, time};

/// Lives noted with one statement.
const BATCH: usize = 500;

/// One container life; the key of a log stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct StreamKey {
    /// The pod's uid.
    pub pod_uid: String,
    /// The container's name.
    pub container: String,
    /// How often it had been restarted before this life.
    pub restart_count: i64,
}

/// What the cluster shows of a container life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamFacts {
    /// Which life.
    #[serde(flatten)]
    pub key: StreamKey,
    /// The step it belongs to.
    pub step_id: StepId,
    pub pod_name: String,
    pub role: Role,
    pub state: StreamState,
    /// `exit_code` of one that has ended.
    pub exit_code: Option<i64>,
    /// Why it waits or ended, in the kubelet's words.
    pub reason: Option<String>,
    /// `started_at`.
    #[serde(with = "time::optional")]
    pub started_at: Option<Timestamp>,
    /// `finished_at`.
    #[serde(with = "time::optional")]
    pub finished_at: Option<Timestamp>,
}

impl StreamFacts {
    /// `log_streams.facts_seal`
    pub(crate) fn seal(&self) -> Digest {
        proof::seal("facts", self)
    }
}

/// (step ids as JSON): waits until this transaction alone may add streams to these steps
const LOCK_STEPS: Statement = Statement {
    // BEGIN IMMEDIATE is the lock.
    sqlite: "SELECT 1 WHERE $1 IS NULL",
    // What is counted before and after must not be changed by others between: a statement that waited sees them.
    postgres: "
        SELECT id FROM test_run_steps WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))
        ORDER BY id FOR NO KEY UPDATE",
};

/// (step ids as JSON): subtracts the number of streams that exist from the steps' counters
const COUNT_STREAMS_OFF: Statement = Statement {
    sqlite: "
        UPDATE test_run_steps SET streams = streams - (SELECT count(*) FROM log_streams WHERE step_id = test_run_steps.id)
        WHERE id IN (SELECT value FROM json_each($1))",
    postgres: "
        UPDATE test_run_steps SET streams = streams - (SELECT count(*) FROM log_streams WHERE step_id = test_run_steps.id)
        WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))",
};

/// (facts as JSON): inserts new lives, updates known ones that have not ended
const PUT_STREAMS: Statement = Statement {
    sqlite: "
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
    postgres: "
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
};

/// (step ids as JSON): adds the number of streams that exist to the steps' counters
const COUNT_STREAMS_IN: Statement = Statement {
    sqlite: "
        UPDATE test_run_steps SET streams = streams + (SELECT count(*) FROM log_streams WHERE step_id = test_run_steps.id)
        WHERE id IN (SELECT value FROM json_each($1))",
    postgres: "
        UPDATE test_run_steps SET streams = streams + (SELECT count(*) FROM log_streams WHERE step_id = test_run_steps.id)
        WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))",
};

impl Store {
    /// Makes streams of lives that are new, and notes the state of those that are known and had not ended.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(crate) async fn put_streams(&self, facts: &[&StreamFacts]) -> Result<(), StoreError> {
        if facts.is_empty() || self.dry_run {
            return Ok(());
        }
        #[derive(Serialize)]
        struct Row<'a> {
            #[serde(flatten)]
            facts: &'a StreamFacts,
            facts_seal: Digest,
        }
        // Rows at a time: the JSON of ten thousand, and what a database makes of it, would take more room than all logs.
        let batch = |facts: &[&StreamFacts]| {
            let row = |facts| Row {
                facts,
                facts_seal: StreamFacts::seal(facts),
            };
            let rows: Vec<Row<'_>> = facts.iter().copied().map(row).collect();
            json(&rows)
        };
        let mut step_ids: Vec<StepId> = facts.iter().map(|facts| facts.step_id).collect();
        step_ids.sort_unstable();
        step_ids.dedup();
        let step_ids = json(&step_ids);
        transaction!(self, "note the state of containers", tx => {
            sqlx::query(self.sql(LOCK_STEPS)).bind(&step_ids).fetch_all(&mut *tx).await?;
            // The difference of the two is how many were made: a counter that somebody changed stays wrong, and is found.
            sqlx::query(self.sql(COUNT_STREAMS_OFF)).bind(&step_ids).execute(&mut *tx).await?;
            for facts in facts.chunks(BATCH) {
                sqlx::query(self.sql(PUT_STREAMS)).bind(batch(facts)).execute(&mut *tx).await?;
            }
            sqlx::query(self.sql(COUNT_STREAMS_IN)).bind(&step_ids).execute(&mut *tx).await?;
        })
    }
}
