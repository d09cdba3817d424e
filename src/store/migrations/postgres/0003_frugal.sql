-- When a log that had long been quiet was last read and had nothing new; such logs are not read in every cycle.
ALTER TABLE log_streams ADD COLUMN quiet_read_at TIMESTAMPTZ;
