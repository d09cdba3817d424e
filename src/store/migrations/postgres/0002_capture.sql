-- Holds: a TestRun with our finalizer is on record here before it bears it, and until it is free of it.
ALTER TABLE test_run_steps ADD COLUMN held BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX test_run_steps_held ON test_run_steps (id) WHERE held;

-- Clocks that step back: cursor_ts is then the time of the last line, though earlier ones were later, and the log is read
-- from its beginning, since a request by time would hide what follows.
ALTER TABLE log_streams ADD COLUMN cursor_stepped BOOLEAN NOT NULL DEFAULT FALSE;

-- A cycle is recorded once, also when its commit was not heard of.
CREATE INDEX sync_cycles_started ON sync_cycles (started_at);
