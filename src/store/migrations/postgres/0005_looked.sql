-- When a cycle listed the cluster's objects, by the API server's clock, which stamps them too: verify compares containers with
-- it. And of which cluster it was. Null: the row is older than this, or nobody knows.
ALTER TABLE sync_cycles ADD COLUMN looked_at timestamptz;
ALTER TABLE sync_cycles ADD COLUMN cluster TEXT;

-- Rows that are older than seals have at most these ids. Another one that says 'unsealed' was changed.
ALTER TABLE database_identity ADD COLUMN unsealed_steps bigint NOT NULL DEFAULT 0;
ALTER TABLE database_identity ADD COLUMN unsealed_streams bigint NOT NULL DEFAULT 0;
UPDATE database_identity
SET unsealed_steps = (SELECT coalesce(max(id), 0) FROM test_run_steps WHERE seal = 'unsealed'),
    unsealed_streams = (SELECT coalesce(max(id), 0) FROM log_streams WHERE seal = 'unsealed' OR facts_seal = 'unsealed');
