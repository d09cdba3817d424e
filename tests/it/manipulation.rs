//! `k6sync verify` can't be fooled: every row of the record deleted, doubled, swapped with its neighbour, and every column
//! changed. The manipulations are generated from the database's own catalogue; what is left out is listed here with its
//! reason, and in docs/guarantees.md.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use serde_json::Value;

use crate::on_both_databases;
use crate::support::cluster::{FIRST_LINE, State, recordings, write_lines};
use crate::support::program::Run;
use crate::support::{Cluster, Database, Program};

on_both_databases!(
    no_manipulation_of_a_running_log_is_missed,
    no_manipulation_of_an_ended_log_is_missed,
    no_manipulation_of_a_rotated_log_is_missed,
    no_manipulation_of_a_pruned_log_is_missed,
    no_manipulation_of_results_is_missed,
);

const TABLES: [&str; 8] = [
    "test_run_steps",
    "log_streams",
    "log_chunks",
    "log_gaps",
    "runner_summaries",
    "step_metrics",
    "step_checks",
    "step_thresholds",
];

/// Rows of `step_metrics` that are manipulated.
const METRICS: usize = 6;

/// Copies of the database that are manipulated at a time.
const COPIES: usize = 3;

/// Columns that carry nothing of what was recorded.
const WITHOUT_MEANING: [(&str, &str, &str); 8] = [
    ("test_run_steps", "external_id", "the dashboard's own"),
    ("test_run_steps", "test_run_id", "the dashboard's own"),
    ("test_run_steps", "position", "the dashboard's own"),
    ("test_run_steps", "name", "the dashboard's own"),
    (
        "test_run_steps",
        "held",
        "says that a TestRun may be held; the next cycle corrects it",
    ),
    (
        "test_run_steps",
        "synced_at",
        "when a cycle last looked; each cycle writes it anew",
    ),
    (
        "log_streams",
        "quiet_read_at",
        "when to read a quiet log again; it says nothing of what was recorded",
    ),
    (
        "log_streams",
        "summary_due",
        "whether to read the log for results; the next cycle does, and comes to the same",
    ),
];

/// What nothing that is left can tell of without the cluster.
const UNSEEN_OFFLINE: [(&str, Change); 1] = [
    // Nothing says how many steps there were: dashboards make and delete them.
    ("test_run_steps", Change::Delete),
];

/// What a hash looks like, and is none.
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Delete,
    Double,
    Swap,
    Alter,
}

struct Column {
    name: String,
    is_key: bool,
    is_text: bool,
    is_bool: bool,
    is_time: bool,
    is_bytes: bool,
}

/// A manipulation: what it is, and the statements that do it.
struct Case {
    table: &'static str,
    change: Change,
    what: String,
    sql: Vec<String>,
}

async fn columns(database: &Database, table: &str) -> Vec<Column> {
    let sql = match database.is_postgres() {
        true => format!(
            "SELECT column_name || ' ' || data_type FROM information_schema.columns
             WHERE table_name = '{table}' ORDER BY ordinal_position"
        ),
        false => {
            format!("SELECT name || ' ' || type FROM pragma_table_info('{table}') ORDER BY cid")
        }
    };
    let rows = database.texts(&sql).await;
    rows.iter()
        .map(|row| {
            let (name, kind) = row.split_once(' ').unwrap();
            let kind = kind.to_lowercase();
            let is_key = match table {
                "test_run_steps" | "log_streams" => name == "id",
                "log_chunks" => name == "stream_id" || name == "seq",
                "step_metrics" | "step_checks" | "step_thresholds" => name == "step_id",
                _ => name == "stream_id",
            };
            Column {
                is_key,
                is_text: kind == "text" && !name.ends_with("_at"),
                is_bool: kind == "boolean",
                is_bytes: kind == "blob" || kind == "bytea",
                is_time: name.ends_with("_at"),
                name: name.to_owned(),
            }
        })
        .collect()
}

/// Where each row is, as a condition.
async fn places(database: &Database, table: &str) -> Vec<String> {
    let place = match table {
        "test_run_steps" | "log_streams" => "'id = ' || id",
        "log_chunks" => "'stream_id = ' || stream_id || ' AND seq = ' || seq",
        "runner_summaries" => "'stream_id = ' || stream_id",
        "step_metrics" => {
            "'step_id = ' || step_id || ' AND metric = ''' || metric || ''' AND stat = ''' || stat || ''''"
        }
        "step_checks" => "'step_id = ' || step_id || ' AND name = ''' || name || ''''",
        "step_thresholds" => "'step_id = ' || step_id || ' AND metric = ''' || metric || ''''",
        _ => "'stream_id = ' || stream_id || ' AND cause = ''' || cause || ''''",
    };
    let order = match table {
        "log_chunks" => "stream_id, seq",
        "log_gaps" => "stream_id, cause",
        "runner_summaries" => "stream_id",
        "step_metrics" => "step_id, metric, stat",
        "step_checks" => "step_id, name",
        "step_thresholds" => "step_id, metric",
        _ => "id",
    };
    let mut places = database
        .texts(&format!("SELECT {place} FROM {table} ORDER BY {order}"))
        .await;
    // The metrics of a step are alike.
    if table == "step_metrics" {
        places.truncate(METRICS);
    }
    places
}

/// Values that a column is given in place of its own.
fn others(column: &Column) -> Vec<String> {
    let name = &column.name;
    if column.is_bool {
        return vec![format!("NOT {name}")];
    }
    if column.is_bytes {
        let others = ["NULL", "''", "'x'", "'x' || {name}", "{name} || {name}"];
        return others.map(|other| other.replace("{name}", name)).to_vec();
    }
    if name == "document" {
        return vec!["NULL".to_owned(), "'{}'".to_owned()];
    }
    if column.is_time {
        return vec![
            "NULL".to_owned(),
            "'2026-11-01T00:00:00.000000Z'".to_owned(),
        ];
    }
    if column.is_text {
        let mut others = vec![
            "NULL".to_owned(),
            "''".to_owned(),
            format!("coalesce({name}, '') || 'x'"),
        ];
        let words: &[&str] = match name.as_str() {
            "status" => &["passed", "failed", "running", "lost"],
            "state" => &["waiting", "running", "terminated"],
            "role" => &["starter", "runner", "other"],
            "cause" => &["pruned", "deleted", "clock"],
            "source" => &["json", "text", "none", "unreadable"],
            "kind" => &["counter", "gauge", "rate", "trend"],
            "unit" => &["ms", "bytes", "none"],
            "body" => &["other line\n"],
            "seal" | "facts_seal" | "results_seal" | "hash" | "hash_base" | "gaps_hash" => {
                &["unsealed", "new", NO_HASH]
            }
            _ => &[],
        };
        others.extend(words.iter().map(|word| format!("'{word}'")));
        return others;
    }
    vec![
        "NULL".to_owned(),
        format!("coalesce({name}, 0) + 1"),
        i64::MIN.to_string(),
        i64::MAX.to_string(),
    ]
}

async fn cases(database: &Database) -> Vec<Case> {
    let mut cases = Vec::new();
    for table in TABLES {
        let columns = columns(database, table).await;
        assert!(columns.len() > 4, "{table} has columns");
        let places = places(database, table).await;
        let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
        for (number, place) in places.iter().enumerate() {
            cases.push(Case {
                table,
                change: Change::Delete,
                what: format!("delete {table} {place}"),
                sql: vec![format!("DELETE FROM {table} WHERE {place}")],
            });
            cases.push(double(table, place, &names));
            if table == "log_chunks" {
                cases.push(at_the_end_of_numbers(place, &names));
            }
            // Columns are alike in all rows, but for the first and the last chunk of a log.
            if number > usize::from(table == "log_chunks") {
                continue;
            }
            for column in &columns {
                let is_foreign = column.name == "stream_id" || column.name == "step_id";
                if column.is_key && !is_foreign && table != "log_chunks" {
                    // What refers to it would have to follow.
                    continue;
                }
                if WITHOUT_MEANING
                    .iter()
                    .any(|(of, name, _)| *of == table && *name == column.name)
                {
                    continue;
                }
                for other in others(column) {
                    cases.push(Case {
                        table,
                        change: Change::Alter,
                        what: format!("set {}.{} = {other} where {place}", table, column.name),
                        sql: vec![format!(
                            "UPDATE {table} SET {} = {other} WHERE {place}",
                            column.name
                        )],
                    });
                }
            }
        }
        for pair in places.windows(2) {
            cases.push(swap(table, &pair[0], &pair[1], &columns));
        }
    }
    cases
}

/// The row once more, with whatever changes of its keys let it in.
fn double(table: &'static str, place: &str, names: &[&str]) -> Case {
    let value = |name: &&str| match (table, *name) {
        ("test_run_steps" | "log_streams", "id") => format!("(SELECT max(id) + 1 FROM {table})"),
        ("test_run_steps", "k6_uid") => "k6_uid || '-2'".to_owned(),
        ("test_run_steps", "external_id") => "NULL".to_owned(),
        ("log_streams", "restart_count") => "restart_count + 7".to_owned(),
        ("log_chunks", "seq") => {
            "(SELECT max(seq) + 1 FROM log_chunks o WHERE o.stream_id = log_chunks.stream_id)"
                .to_owned()
        }
        (_, name) => name.to_owned(),
    };
    let values: Vec<String> = names.iter().map(value).collect();
    Case {
        table,
        change: Change::Double,
        what: format!("double {table} {place}"),
        sql: vec![format!(
            "INSERT INTO {table} ({}) SELECT {} FROM {table} WHERE {place}",
            names.join(", "),
            values.join(", ")
        )],
    }
}

/// The chunk once more, with the last number that there is: none comes after it.
fn at_the_end_of_numbers(place: &str, names: &[&str]) -> Case {
    let values = names.iter().map(|name| match *name {
        "seq" => i64::MAX.to_string(),
        name => name.to_owned(),
    });
    let values: Vec<String> = values.collect();
    Case {
        table: "log_chunks",
        change: Change::Double,
        what: format!("double log_chunks {place} as the last chunk that there can be"),
        sql: vec![format!(
            "INSERT INTO log_chunks ({}) SELECT {} FROM log_chunks WHERE {place}",
            names.join(", "),
            values.join(", ")
        )],
    }
}

/// All of two rows but their keys, exchanged; unique columns by way of values that nobody has.
fn swap(table: &'static str, one: &str, other: &str, columns: &[Column]) -> Case {
    let names: Vec<&str> = columns
        .iter()
        .filter(|column| !column.is_key)
        .map(|column| column.name.as_str())
        .collect();
    let list = names.join(", ");
    let unique = match table {
        "test_run_steps" => Some("k6_uid = k6_uid || '-old'"),
        "log_streams" => Some("restart_count = restart_count + 1000"),
        _ => None,
    };
    let assign = names
        .iter()
        .map(|name| format!("{name} = (SELECT {name} FROM swapped WHERE place = 'FROM')"))
        .collect::<Vec<_>>()
        .join(", ");
    let set = |place: &str, from: &str| {
        format!(
            "UPDATE {table} SET {} WHERE {place}",
            assign.replace("'FROM'", &format!("'{from}'"))
        )
    };
    let mut sql = vec![format!(
        "CREATE TEMP TABLE swapped AS SELECT 'one' AS place, {list} FROM {table} WHERE {one}
         UNION ALL SELECT 'other', {list} FROM {table} WHERE {other}"
    )];
    sql.extend(unique.map(|free| format!("UPDATE {table} SET {free} WHERE {one} OR {other}")));
    sql.extend([
        set(one, "other"),
        set(other, "one"),
        "DROP TABLE swapped".to_owned(),
    ]);
    Case {
        table,
        change: Change::Swap,
        what: format!("swap {table} {one} with {other}"),
        sql,
    }
}

/// The exit code, and the containers that something is said to be wrong with.
async fn verify(cluster: Option<&Cluster>, database: &Database) -> (i32, Vec<String>, Run) {
    let program = Program::new(&["verify", "-o", "json", "--database-url", database.url()]);
    let run = match cluster {
        Some(cluster) => program.kubeconfig(cluster.kubeconfig()),
        None => program.args(&["--offline"]),
    }
    .run()
    .await;
    let answer: Value = serde_json::from_str(&run.stdout).unwrap_or_default();
    let list = |of: &Value, key: &str| of[key].as_array().cloned().unwrap_or_default();
    let mut names = Vec::new();
    for container in list(&answer, "containers") {
        let is_well = ["equal", "behind", "covered", "intact", "notYet"]
            .iter()
            .any(|verdict| container["verdict"] == *verdict);
        if !is_well {
            let text = |key: &str| container[key].as_str().unwrap_or_default().to_owned();
            names.push(format!("{}/{}", text("pod"), text("container")));
        }
    }
    for problem in list(&answer, "problems") {
        let containers = list(&problem, "containers");
        names.extend(
            containers
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned),
        );
    }
    (run.code, names, run)
}

/// Every manipulation is found: with the cluster there, and but for what can't be, without it. A manipulation that the
/// database itself refuses, or that changes nothing, is none.
async fn none_is_missed(cluster: &Cluster, database: &Database) {
    for cluster in [Some(cluster), None] {
        let (code, _, run) = verify(cluster, database).await;
        assert_eq!(code, 0, "{run:?}");
    }
    let cases = cases(database).await;
    let before = database.dump().await;
    let mut copies = Vec::new();
    for _ in 0..COPIES {
        copies.push(database.copy().await);
    }
    // Whoever is done with one takes the next.
    let next = AtomicUsize::new(0);
    let take = || cases.get(next.fetch_add(1, Ordering::Relaxed));
    let work = copies
        .iter()
        .map(|copy| manipulate(cluster, copy, &before, take));
    let (mut done, mut missed) = (0, Vec::new());
    for (done_here, missed_here) in join_all(work).await {
        done += done_here;
        missed.extend(missed_here);
    }
    println!("{done} of {} manipulations were possible", cases.len());
    assert!(
        missed.is_empty(),
        "{} were missed:\n{}",
        missed.len(),
        missed.join("\n")
    );
    assert!(done > 60, "only {done}");
    for copy in &copies {
        assert_eq!(copy.dump().await, before);
        let (code, _, run) = verify(Some(cluster), copy).await;
        assert_eq!(code, 0, "{run:?}");
    }
}

/// Manipulates this copy in one way after another; returns how many were possible, and what was said of those that were missed.
async fn manipulate<'a>(
    cluster: &Cluster,
    database: &Database,
    before: &[String],
    take: impl Fn() -> Option<&'a Case>,
) -> (usize, Vec<String>) {
    let saved = database.save().await;
    let (mut done, mut missed) = (0, Vec::new());
    while let Some(case) = take() {
        if database.try_all(&case.sql).await.is_err() {
            continue;
        }
        let (code, names, run) = verify(Some(cluster), database).await;
        let is_found = code == 1 && !names.is_empty();
        if !is_found && database.dump().await == before {
            continue;
        }
        done += 1;
        if !is_found {
            missed.push(format!("{}: {run:?}", case.what));
        }
        if !UNSEEN_OFFLINE.contains(&(case.table, case.change)) {
            let (code, _, run) = verify(None, database).await;
            if code != 1 {
                missed.push(format!("offline: {}: {run:?}", case.what));
            }
        }
        database.restore(&saved).await;
    }
    (done, missed)
}

async fn sync(cluster: &Cluster, database: &Database) {
    let report = Program::sync_once(cluster, database, &[]).report().await;
    assert_eq!(report["errors"], 0, "{report}");
}

/// Two runs of one runner each; each log has two chunks, and a hole that a rotation made.
async fn recorded(database: &Database) -> (Cluster, Vec<String>) {
    let cluster = Cluster::start().await;
    let mut pods = Vec::new();
    for name in ["shop", "cart"] {
        pods.extend(cluster.running(name, 1).await);
    }
    for pod in &pods {
        write_lines(&cluster.log(pod, "k6"), 0..6);
    }
    sync(&cluster, database).await;
    for pod in &pods {
        write_lines(&cluster.log(pod, "k6"), 6..11);
    }
    sync(&cluster, database).await;
    (cluster, pods)
}

async fn rotate(cluster: &Cluster, pods: &[String]) {
    for pod in pods {
        let log = cluster.log(pod, "k6");
        log.rotate();
        write_lines(&log, 30..36);
    }
}

async fn end(cluster: &Cluster, database: &Database, pods: &[String]) {
    for (pod, name) in pods.iter().zip(["shop", "cart"]) {
        cluster
            .container_state(pod, State::Terminated(0, "Completed"))
            .await;
        cluster.stage(name, "finished").await;
    }
    sync(cluster, database).await;
    assert_eq!(
        database
            .number("SELECT count(*) FROM log_streams WHERE complete")
            .await,
        2
    );
}

async fn no_manipulation_of_a_running_log_is_missed(database: Database) {
    let (cluster, _) = recorded(&database).await;
    none_is_missed(&cluster, &database).await;
}

async fn no_manipulation_of_an_ended_log_is_missed(database: Database) {
    let (cluster, pods) = recorded(&database).await;
    end(&cluster, &database, &pods).await;
    none_is_missed(&cluster, &database).await;
}

async fn no_manipulation_of_a_rotated_log_is_missed(database: Database) {
    let (cluster, pods) = recorded(&database).await;
    rotate(&cluster, &pods).await;
    sync(&cluster, &database).await;
    let gaps = database.number("SELECT count(*) FROM log_gaps").await;
    assert_eq!(gaps, 2);
    none_is_missed(&cluster, &database).await;
}

async fn no_manipulation_of_a_pruned_log_is_missed(database: Database) {
    let (cluster, pods) = recorded(&database).await;
    end(&cluster, &database, &pods).await;
    // The first of them only.
    let old =
        "UPDATE test_runs SET finished_at = '2025-11-23T04:39:43.000000Z' WHERE name = 'shop'";
    database.execute(old).await;
    let run = Program::new(&[
        "prune",
        "--older-than",
        "30d",
        "--database-url",
        database.url(),
    ])
    .run()
    .await;
    assert_eq!(run.code, 0, "{run:?}");
    let pruned = database
        .number("SELECT count(*) FROM log_gaps WHERE cause = 'pruned'")
        .await;
    assert_eq!(pruned, 1);
    none_is_missed(&cluster, &database).await;
}

async fn no_manipulation_of_results_is_missed(database: Database) {
    let cluster = Cluster::start().await;
    let mut pods = Vec::new();
    for (name, recorded) in [
        ("shop", "http-failing.compact"),
        ("cart", "checks-only.compact"),
    ] {
        let run = cluster.running(name, 1).await;
        let file = recordings()
            .join("k6/summaries")
            .join(recorded)
            .join("log.txt");
        let text = std::fs::read(file).unwrap();
        let log = cluster.log(&run[0], "k6");
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let at = FIRST_LINE + i64::try_from(number).unwrap();
            log.write_line(at, line);
        }
        pods.extend(run);
    }
    end(&cluster, &database, &pods).await;
    for table in ["step_metrics", "step_checks", "step_thresholds"] {
        let rows = database
            .number(&format!("SELECT count(*) FROM {table}"))
            .await;
        assert!(rows > 0, "{table} is empty");
    }
    none_is_missed(&cluster, &database).await;
}
