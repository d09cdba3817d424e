-- Which database this is: the finalizers that k6sync puts on TestRuns bear its id, so that k6syncs with other databases
-- leave them alone. One row. migrated_at: since when steps have clusters.
CREATE TABLE database_identity (
    id          TEXT NOT NULL,
    migrated_at TIMESTAMPTZ NOT NULL
);
INSERT INTO database_identity VALUES (substr(replace(gen_random_uuid()::text, '-', ''), 1, 12), now());

-- A cluster, and all the uids by which it was ever known: of namespaces that were synced, and of kube-system. Its id is the
-- first of them.
CREATE TABLE clusters (
    id         TEXT NOT NULL PRIMARY KEY,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE cluster_uids (
    uid        TEXT NOT NULL PRIMARY KEY,
    cluster    TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    namespace  TEXT NOT NULL,
    noticed_at TIMESTAMPTZ NOT NULL
);
-- In which cluster the step's TestRun was seen: clusters.id, or any of its uids where a dashboard sets it. Null: nowhere yet.
ALTER TABLE test_run_steps ADD COLUMN cluster TEXT;

-- Proof (src/store/proof.rs): a running hash over a log's chunks from hash_from on, and seals over what k6sync itself
-- writes. 'unsealed': the row is older than this. No chunk is read here: logs of older databases are hashed from their next
-- chunk on.
ALTER TABLE log_streams ADD COLUMN next_seq BIGINT;
ALTER TABLE log_streams ADD COLUMN hash_from BIGINT;
ALTER TABLE log_streams ADD COLUMN hash TEXT NOT NULL DEFAULT 'unsealed';
ALTER TABLE log_streams ADD COLUMN hash_base TEXT NOT NULL DEFAULT 'unsealed';
ALTER TABLE log_streams ADD COLUMN gaps_hash TEXT NOT NULL DEFAULT 'unsealed';
ALTER TABLE log_streams ADD COLUMN seal TEXT NOT NULL DEFAULT 'unsealed';
ALTER TABLE log_streams ADD COLUMN facts_seal TEXT NOT NULL DEFAULT 'unsealed';
ALTER TABLE test_run_steps ADD COLUMN seal TEXT NOT NULL DEFAULT 'unsealed';
-- How many log streams were made for the step: one that is gone is missed.
ALTER TABLE test_run_steps ADD COLUMN streams BIGINT NOT NULL DEFAULT 0;
UPDATE test_run_steps SET streams = (SELECT count(*) FROM log_streams WHERE step_id = test_run_steps.id);
