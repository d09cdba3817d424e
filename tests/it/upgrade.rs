//! A database of 0.1.0 is brought over: nothing of it is lost, changed or read again, and what was under way goes on.
//!
//! `tests/data/0.1.0` (its README tells the story) has such a database of each kind, and the cluster at three moments. The uids are
//! of that cluster, which a real API server can't be made to show: the stand-in does.
//!
//! What a newer schema adds to rows that are there already (hashes, a cluster) is to be asserted here too: an [`Upgraded`] is
//! all that such a test needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k6sync_standin::Options;
use serde_json::Value;

use crate::on_both_databases;
use crate::support::{Cluster, Database, Program};

on_both_databases!(
    the_data_is_whole,
    the_migration_changes_no_row,
    without_the_migration_nothing_is_written,
    logs_are_read_on_from_where_they_were,
    what_goes_on_gets_hashes_and_its_cluster,
    what_had_ended_is_neither_changed_nor_read,
    a_step_that_a_dashboard_asked_for_gets_its_test_run,
    a_held_test_run_is_let_go_when_it_is_recorded,
    everything_comes_to_its_end_and_is_as_the_logs_are,
);

/// Where the recorded TestRuns are.
const NAMESPACE: &str = "k6-runs";
/// As 0.1.0 saw the cluster last, some time later, and at the end of all.
const MOMENTS: [&str; 3] = ["recorded", "grown", "ended"];
/// What the one sidecar wrote before it was restarted.
const FIRST_LIFE: &[u8] = b"2026-11-23T04:20:09.000000000Z listening on 127.0.0.1:15001\n\
                            2026-11-23T04:20:18.000000000Z fatal: out of ports\n";

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/0.1.0")
}

/// The database as 0.1.0 left it, and the cluster that it is of.
struct Upgraded {
    database: Database,
    cluster: Cluster,
    /// Tables and columns of 0.1.0.
    columns: Vec<(String, Vec<String>)>,
    /// Every row of 0.1.0.
    rows: Vec<String>,
    /// What 0.1.0 stored of each log.
    streams: BTreeMap<StreamKey, Stream>,
}

/// Pod, container, restart count.
type StreamKey = (String, String, i64);

struct Stream {
    text: String,
    complete: bool,
}

impl Upgraded {
    async fn of(database: Database) -> Self {
        match database.sqlite_file() {
            Some(file) => {
                std::fs::copy(data().join("k6sync.sqlite"), file).unwrap();
            }
            None => {
                let dump = std::fs::read_to_string(data().join("postgres.sql")).unwrap();
                database.execute(&dump).await;
            }
        }
        let columns = database.columns().await;
        let cluster = Cluster::standin_in(NAMESPACE, Options::default()).await;
        // A recorded log is the one of a container's present life.
        let sidecar = cluster.log("checkout-42-1-eb2ae", "proxy");
        sidecar.load_timestamped(FIRST_LIFE);
        sidecar.restart();
        Self {
            cluster,
            rows: database.dump_of(&columns).await,
            streams: streams(&database).await,
            columns,
            database,
        }
    }

    /// Makes the cluster show one of [`MOMENTS`].
    fn moment(&self, moment: &str) {
        let standin = self.cluster.standin_cluster();
        let folder = data().join("cluster");
        standin.load_recording(&folder, moment).unwrap();
    }

    /// One cycle of today's k6sync, which migrates first. What 0.1.0 has waited for is not given up, however long ago that was.
    async fn sync(&self) -> Value {
        Program::sync_once(&self.cluster, &self.database, &[])
            .config("missingAfter: 876000h")
            .report()
            .await
    }

    /// The rows of 0.1.0 that are not there any more as they were.
    async fn changed_rows(&self) -> Vec<String> {
        let now = self.database.dump_of(&self.columns).await;
        let is_gone = |row: &&String| now.binary_search(row).is_err() && !now.contains(row);
        self.rows.iter().filter(is_gone).cloned().collect()
    }

    /// The containers whose logs 0.1.0 had read to the end.
    fn complete(&self) -> Vec<&StreamKey> {
        let streams = self.streams.iter().filter(|(_, stream)| stream.complete);
        streams.map(|(key, _)| key).collect()
    }

    /// What must be stored of each log whose container is there at this moment: what 0.1.0 stored, and the lines that the
    /// log has more than when 0.1.0 saw it last.
    fn expected(&self, moment: &str) -> BTreeMap<StreamKey, String> {
        let mut expected = BTreeMap::new();
        for (pod, container) in recorded_logs(moment) {
            let mut lives = self.streams.iter();
            let life = lives.rfind(|((p, c, _), _)| (p, c) == (&pod, &container));
            let (key, text) = match life {
                Some((key, stream)) if stream.complete => (key.clone(), stream.text.clone()),
                Some((key, stream)) => {
                    let seen = lines("recorded", &pod, &container).len();
                    let new = lines(moment, &pod, &container).split_off(seen);
                    (key.clone(), stream.text.clone() + &new.concat())
                }
                None => {
                    let all = lines(moment, &pod, &container).concat();
                    ((pod, container, 0), all)
                }
            };
            expected.insert(key, text);
        }
        expected
    }
}

/// What is stored of each log.
async fn streams(database: &Database) -> BTreeMap<StreamKey, Stream> {
    let mut streams = BTreeMap::new();
    let rows = "SELECT pod_name || '/' || container || '/' || restart_count || '/' || CASE WHEN complete THEN 'complete' ELSE '' END
         FROM log_streams";
    for row in database.texts(rows).await {
        let [pod, container, life, complete] =
            <[&str; 4]>::try_from(row.split('/').collect::<Vec<_>>()).unwrap();
        let life = life.parse().unwrap();
        let stream = Stream {
            text: database.log(pod, container, life).await,
            complete: complete == "complete",
        };
        streams.insert((pod.to_owned(), container.to_owned(), life), stream);
    }
    streams
}

/// Pod and container of each log that there is at a moment.
fn recorded_logs(moment: &str) -> Vec<(String, String)> {
    let folder = data().join("cluster").join(moment).join("logs");
    let names = std::fs::read_dir(folder).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let (pod, container) = name.strip_suffix(".log").unwrap().rsplit_once('.').unwrap();
        (pod.to_owned(), container.to_owned())
    });
    names.collect()
}

/// The lines of a log at a moment, without their times. Half a line is none yet.
fn lines(moment: &str, pod: &str, container: &str) -> Vec<String> {
    let file = format!("cluster/{moment}/logs/{pod}.{container}.log");
    let text = std::fs::read_to_string(data().join(file)).unwrap();
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| line.split_once(' ').unwrap().1.to_owned())
        .collect()
}

const GAPS: &str = "SELECT count(*) FROM log_gaps";

async fn the_data_is_whole(database: Database) {
    let upgraded = Upgraded::of(database).await;
    let statuses = [
        "checkout-1 passed -",
        "checkout-39 lost TestRunVanished",
        "checkout-40 failed ThresholdsHaveFailed",
        "checkout-41 passed -",
        "checkout-42 running -",
        "checkout-43 running -",
        "checkout-44 pending -",
    ];
    let database = &upgraded.database;
    assert_eq!(database.statuses().await, statuses);
    let held = "SELECT k6_test_name FROM test_run_steps WHERE held";
    assert_eq!(database.texts(held).await, ["checkout-43"]);
    let causes = "SELECT DISTINCT cause FROM log_gaps ORDER BY cause";
    let causes = database.texts(causes).await;
    assert_eq!(causes, ["deleted", "pruned", "rotated"]);
    // The counters are what the chunks have, but for what was pruned.
    let length = match database.is_postgres() {
        true => "octet_length(body)",
        false => "length(CAST(body AS BLOB))",
    };
    let torn = format!(
        "SELECT count(*) FROM log_streams s WHERE s.id NOT IN (SELECT stream_id FROM log_gaps WHERE cause = 'pruned')
         AND (bytes <> (SELECT coalesce(sum({length}), 0) FROM log_chunks WHERE stream_id = s.id)
           OR lines <> (SELECT coalesce(sum(lines), 0) FROM log_chunks WHERE stream_id = s.id))"
    );
    assert_eq!(database.number(&torn).await, 0);
    // What 0.1.0 saw last is the end of what it stored.
    for (pod, container) in recorded_logs("recorded") {
        if !pod.starts_with("checkout-41-1") {
            let seen = lines("recorded", &pod, &container).concat();
            let mut lives = upgraded.streams.iter();
            let is_its = lives.any(|((p, c, _), stream)| {
                (p, c) == (&pod, &container) && stream.text.ends_with(&seen)
            });
            assert!(is_its, "{pod}/{container}");
        }
    }
}

async fn the_migration_changes_no_row(database: Database) {
    let upgraded = Upgraded::of(database).await;
    let database = &upgraded.database;
    const LOGS: &str = "SELECT coalesce(logs, '') FROM step_logs ORDER BY step_id";
    let logs = database.texts(LOGS).await;
    let run = Program::migrate(database).run().await;
    assert_eq!(run.code, 0, "{run:?}");
    let changed = upgraded.changed_rows().await;
    assert!(changed.is_empty(), "{changed:#?}");
    let now = database.dump_of(&upgraded.columns).await;
    let is_old = |row: &&String| !row.starts_with("_sqlx_migrations: ");
    let rows: Vec<&String> = upgraded.rows.iter().filter(is_old).collect();
    assert!(now.iter().filter(is_old).eq(rows), "there are more rows");
    assert_eq!(database.texts(LOGS).await, logs);
    let timed = "SELECT count(*) FROM log_chunks WHERE line_times IS NOT NULL";
    assert_eq!(database.number(timed).await, 0);

    let dump = database.dump().await;
    let again = Program::migrate(database).run().await;
    assert_eq!(again.code, 0, "{again:?}");
    assert_eq!(database.dump().await, dump);
}

async fn without_the_migration_nothing_is_written(database: Database) {
    let upgraded = Upgraded::of(database).await;
    upgraded.moment("grown");
    let refused = Program::sync_once(&upgraded.cluster, &upgraded.database, &["--no-migrate"]);
    let run = refused.run().await;
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("k6sync migrate"), "{run:?}");
    let now = upgraded.database.dump().await;
    assert_eq!(now, upgraded.rows);
}

async fn logs_are_read_on_from_where_they_were(database: Database) {
    let upgraded = Upgraded::of(database).await;
    let gaps = upgraded.database.number(GAPS).await;
    // Nothing new at first: the lines at the cursors come again, and are known.
    for moment in ["recorded", "grown"] {
        upgraded.moment(moment);
        upgraded.sync().await;
        let stored = streams(&upgraded.database).await;
        for (key, expected) in upgraded.expected(moment) {
            let stored = stored.get(&key).map(|stream| stream.text.as_str());
            assert_eq!(stored, Some(expected.as_str()), "{key:?} at {moment}");
        }
        assert_eq!(upgraded.database.number(GAPS).await, gaps, "{moment}");
    }
    // Chunks are appended; none of those that were there is another now.
    let of_logs = ["log_chunks: ", "log_gaps: "];
    let mut changed = upgraded.changed_rows().await;
    changed.retain(|row| of_logs.iter().any(|table| row.starts_with(table)));
    assert!(changed.is_empty(), "{changed:#?}");
}

async fn what_goes_on_gets_hashes_and_its_cluster(database: Database) {
    let upgraded = Upgraded::of(database).await;
    for moment in ["recorded", "grown"] {
        upgraded.moment(moment);
        upgraded.sync().await;
    }
    let database = &upgraded.database;
    let owned =
        "SELECT k6_test_name FROM test_run_steps WHERE cluster IS NOT NULL ORDER BY k6_test_name";
    let goes_on = ["checkout-42", "checkout-43", "checkout-44"];
    assert_eq!(database.texts(owned).await, goes_on);
    assert_eq!(database.number("SELECT count(*) FROM clusters").await, 1);
    // Of a log that had begun, hashing begins with the first chunk that came later.
    let resumed = "SELECT CAST(hash_from AS TEXT) FROM log_streams s WHERE pod_name = 'checkout-42-2-20428' AND hash <> 'unsealed'";
    let from = database.texts(resumed).await;
    assert!(from[0].parse::<i64>().unwrap() > 0, "{from:?}");

    let offline = Program::new(&["verify", "--offline", "--database-url", database.url()]);
    let run = offline.run().await;
    assert_eq!(run.code, 0, "{run:?}");
    // And a chunk that came later is found to be changed.
    database
        .execute(
            "UPDATE log_chunks SET body = 'changed' WHERE stream_id = (SELECT id FROM log_streams WHERE pod_name = 'checkout-42-2-20428')
             AND seq = (SELECT hash_from FROM log_streams WHERE pod_name = 'checkout-42-2-20428')",
        )
        .await;
    let offline = Program::new(&["verify", "--offline", "--database-url", database.url()]);
    let run = offline.run().await;
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stdout.contains("checkout-42-2-20428/k6"), "{run:?}");
}

async fn what_had_ended_is_neither_changed_nor_read(database: Database) {
    let upgraded = Upgraded::of(database).await;
    for moment in ["recorded", "grown"] {
        upgraded.moment(moment);
        upgraded.sync().await;
    }
    for (pod, container, life) in upgraded.complete() {
        // A container in its next life has another log under the same name.
        if !upgraded
            .streams
            .contains_key(&(pod.clone(), container.clone(), life + 1))
        {
            let reads = upgraded.cluster.log(pod, container).reads();
            assert_eq!(reads, 0, "{pod}/{container}");
        }
    }
    // Only rows of what goes on are others now: two runs, three steps, and the logs that were not complete.
    let goes_on = |row: &str| {
        let is_one_of = |names: &[&str]| names.iter().any(|name| row.contains(name));
        let open = upgraded
            .streams
            .iter()
            .filter(|(_, stream)| !stream.complete);
        let mut open = open.map(|((pod, container, _), _)| (pod, container));
        match row.split_once(": ").unwrap().0 {
            "test_runs" => is_one_of(&["nightly-2026-11-23", "Checkout, release 43"]),
            "test_run_steps" => is_one_of(&["checkout-42", "checkout-43", "checkout-44"]),
            "log_streams" => {
                open.any(|(pod, container)| is_one_of(&[pod]) && is_one_of(&[container]))
            }
            _ => false,
        }
    };
    let changed = upgraded.changed_rows().await;
    let unexpected: Vec<_> = changed.iter().filter(|row| !goes_on(row)).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
}

async fn a_step_that_a_dashboard_asked_for_gets_its_test_run(database: Database) {
    let upgraded = Upgraded::of(database).await;
    upgraded.moment("grown");
    upgraded.sync().await;
    let step =
        "SELECT external_id || ' ' || name || ' ' || position || ' ' || namespace || ' ' || status
        FROM test_run_steps WHERE k6_test_name = 'checkout-44'";
    let step = upgraded.database.texts(step).await;
    assert_eq!(step, ["dash-7-2 Buy 2 k6-runs running"]);
    let uid = "SELECT k6_uid FROM test_run_steps WHERE k6_test_name = 'checkout-44'";
    let uid = upgraded.database.texts(uid).await;
    let test_run = upgraded.cluster.find_test_run("checkout-44").await.unwrap();
    assert_eq!(test_run["metadata"]["uid"], uid[0].as_str());
    // Nothing was adopted twice.
    let counts =
        "SELECT (SELECT count(*) FROM test_runs) * 100 + (SELECT count(*) FROM test_run_steps)";
    assert_eq!(upgraded.database.number(counts).await, 507);
}

async fn a_held_test_run_is_let_go_when_it_is_recorded(database: Database) {
    let upgraded = Upgraded::of(database).await;
    upgraded.moment("recorded");
    upgraded.sync().await;
    let finalizers = |test_run: Value| test_run["metadata"]["finalizers"].clone();
    let held = upgraded.cluster.find_test_run("checkout-43").await.unwrap();
    assert_eq!(finalizers(held).as_array().unwrap().len(), 1, "it runs");

    upgraded.moment("grown");
    let begun = upgraded.cluster.find_test_run("checkout-43").await.unwrap();
    assert!(begun["metadata"]["deletionTimestamp"].is_string());
    upgraded.sync().await;
    let left = upgraded.cluster.find_test_run("checkout-43").await;
    assert_eq!(left, None, "it is recorded");
    let held = "SELECT count(*) FROM test_run_steps WHERE held";
    assert_eq!(upgraded.database.number(held).await, 0);
    let status = "SELECT status FROM test_run_steps WHERE k6_test_name = 'checkout-43'";
    assert_eq!(upgraded.database.texts(status).await, ["passed"]);
}

/// Whenever the new k6sync takes over: at once, later, or when all is over.
async fn everything_comes_to_its_end_and_is_as_the_logs_are(database: Database) {
    let mut database = Some(database);
    for first in 0..MOMENTS.len() {
        let upgraded = Upgraded::of(database.take().unwrap()).await;
        let gaps = upgraded.database.number(GAPS).await;
        for moment in &MOMENTS[first..] {
            upgraded.moment(moment);
            upgraded.sync().await;
        }
        let from = MOMENTS[first];
        // The held one was let go by nobody we know of if it had gone before: the end of its log is missing, and a gap says so.
        let is_gone = from == "ended";
        if is_gone {
            // A step whose cluster nobody knows may be another's for a day. The day is over.
            let long_ago =
                "UPDATE database_identity SET migrated_at = '2026-01-01T00:00:00.000000Z'";
            upgraded.database.execute(long_ago).await;
            upgraded.sync().await;
        }
        let statuses = [
            "checkout-1 passed -",
            "checkout-39 lost TestRunVanished",
            "checkout-40 failed ThresholdsHaveFailed",
            "checkout-41 passed -",
            "checkout-42 passed -",
            match is_gone {
                true => "checkout-43 lost TestRunVanished",
                false => "checkout-43 passed -",
            },
            "checkout-44 errored ScriptException",
        ];
        assert_eq!(upgraded.database.statuses().await, statuses, "from {from}");
        let stored = streams(&upgraded.database).await;
        for (key, expected) in upgraded.expected("ended") {
            let stream = stored
                .get(&key)
                .unwrap_or_else(|| panic!("{key:?} is not stored"));
            assert_eq!(stream.text, expected, "{key:?} from {from}");
        }
        assert!(stored.values().all(|stream| stream.complete), "from {from}");
        let more = upgraded.database.number(GAPS).await - gaps;
        assert_eq!(more, i64::from(is_gone), "from {from}");

        let verify = Program::new(&["verify", "--database-url", upgraded.database.url()]);
        let run = verify.kubeconfig(upgraded.cluster.kubeconfig()).run().await;
        assert_eq!(run.code, 0, "from {from}: {run:?}");
        let report = upgraded.sync().await;
        assert_eq!(report["total"], 0, "from {from}: {report}");
        upgraded.database.drop_tables().await;
        database = Some(upgraded.database);
    }
}
