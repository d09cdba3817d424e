-- When each line of a chunk was written, as the kubelet says (src/store/line_times.rs): for each line but the first, how many
-- nanoseconds it is later than the line before. Null: the chunk is older than this. No chunk is touched here.
ALTER TABLE log_chunks ADD COLUMN line_times BYTEA;
