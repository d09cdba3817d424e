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
