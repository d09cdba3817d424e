//! What people hold in their hands: the switch, the dry run, the reports, the log lines, the migrations.

use serde_json::{Value, json};

use crate::on_both_databases;
use crate::support::cluster::{State, write_lines};
use crate::support::program::Run;
use crate::support::{Cluster, Database, Program};

on_both_databases!(
    switched_off_by_the_config_map_nothing_is_done_but_by_force,
    the_variable_switches_off_by_false_alone,
    the_config_map_goes_before_the_variable,
    nonsense_in_the_config_map_is_told_and_passed_over,
    a_dry_run_of_an_empty_database_writes_nothing,
    a_dry_run_leaves_every_table_as_it_is,
    both_reports_say_the_same_numbers,
    the_log_has_the_lines_that_people_grep_for,
    each_cycle_leaves_a_row,
    migrate_makes_the_tables_once,
    without_migrating_an_empty_database_is_refused,
    a_database_of_a_newer_k6sync_is_refused,
);

const LINES: i64 = 3;

/// A cluster with one running TestRun and `LINES` lines of log, 100 bytes each; and its runner's pod.
async fn running() -> (Cluster, String) {
    let cluster = Cluster::start().await;
    cluster.test_run("shop", 1, "started").await;
    let pod = cluster.pod("shop", "1", State::Running).await;
    write_lines(&cluster.log(&pod, "k6"), 0..LINES);
    (cluster, pod)
}

async fn sync(cluster: &Cluster, database: &Database, args: &[&str]) -> Value {
    Program::sync_once(cluster, database, args).report().await
}

/// `sync-once` with its report for people.
async fn sync_as_text(cluster: &Cluster, database: &Database, args: &[&str]) -> Run {
    let program = Program::new(&["sync-once", "--database-url", database.url()]);
    let run = program
        .kubeconfig(cluster.kubeconfig())
        .args(args)
        .run()
        .await;
    assert_eq!(run.code, 0, "{run:?}");
    run
}

/// Neither tables nor, for SQLite, a file.
async fn assert_untouched(database: &Database) {
    match database.sqlite_file() {
        // Nor what SQLite puts beside it.
        Some(file) => assert_eq!(file.parent().unwrap().read_dir().unwrap().count(), 0),
        None => assert_eq!(database.tables().await, [""; 0]),
    }
}

/// A run that ended with exit code 1 and these words on standard error.
fn assert_refused(run: &Run, words: &[&str]) {
    assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run:?}");
    for words in words {
        assert!(run.stderr.contains(words), "`{words}` in {}", run.stderr);
    }
}

async fn switched_off_by_the_config_map_nothing_is_done_but_by_force(database: Database) {
    let (cluster, _) = running().await;
    cluster.control(json!({"enabled": "false"})).await;
    let report = sync(&cluster, &database, &[]).await;
    assert_eq!(
        report,
        json!({
            "outcome": "disabled", "total": 0, "updated": 0, "errors": 0, "logsUpdated": 0, "logBytes": 0,
            "durationMs": 0, "failures": [],
        })
    );
    assert_eq!(cluster.log_requests(), 0);
    assert_untouched(&database).await;

    let report = sync(&cluster, &database, &["--force"]).await;
    assert_eq!(
        (&report["outcome"], &report["total"]),
        (&"completed".into(), &1.into())
    );
    assert_eq!(database.statuses().await, ["shop running -"]);
}

async fn the_variable_switches_off_by_false_alone(database: Database) {
    let (cluster, _) = running().await;
    for (value, outcome) in [
        ("false", "disabled"),
        ("FALSE", "disabled"),
        ("0", "completed"),
        ("no", "completed"),
        ("", "completed"),
        ("true", "completed"),
    ] {
        let program = Program::sync_once(&cluster, &database, &[]);
        let report = program.env("K6_AUTO_SYNC_ENABLED", value).report().await;
        assert_eq!(report["outcome"], outcome, "`{value}`");
        if outcome == "disabled" {
            assert_untouched(&database).await;
        }
    }
}

async fn the_config_map_goes_before_the_variable(database: Database) {
    let (cluster, _) = running().await;
    for (in_map, in_variable, outcome) in [
        ("true", "false", "completed"),
        ("false", "true", "disabled"),
    ] {
        cluster.control(json!({"enabled": in_map})).await;
        let program = Program::sync_once(&cluster, &database, &[]);
        let report = program
            .env("K6_AUTO_SYNC_ENABLED", in_variable)
            .report()
            .await;
        assert_eq!(report["outcome"], outcome, "ConfigMap `{in_map}`");
    }
}

async fn nonsense_in_the_config_map_is_told_and_passed_over(database: Database) {
    let (cluster, _) = running().await;
    cluster
        .control(json!({"enabled": "maybe", "intervalSeconds": "4"}))
        .await;
    let run = sync_as_text(&cluster, &database, &[]).await;
    let warnings: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| line.contains("WARN"))
        .collect();
    let name = format!("ConfigMap {}/k6sync-control: ", cluster.namespace());
    assert_eq!(warnings.len(), 2, "{}", run.stderr);
    assert!(
        warnings[0].contains(&format!("{name}enabled is `maybe`"))
            && warnings[1].contains(&format!(
                "{name}intervalSeconds is `4`: it must be a whole number of seconds from 5 to 300"
            )),
        "{warnings:?}"
    );
    assert_eq!(database.statuses().await, ["shop running -"]);
    // With the switch in doubt, the next source holds.
    let program = Program::sync_once(&cluster, &database, &[]);
    let report = program.env("K6_AUTO_SYNC_ENABLED", "false").report().await;
    assert_eq!(report["outcome"], "disabled");
}

/// The lines of a dry run's text report that say what would be done.
fn would(run: &Run) -> Vec<&str> {
    run.stdout
        .lines()
        .filter_map(|line| line.strip_prefix("  would      "))
        .collect()
}

async fn a_dry_run_of_an_empty_database_writes_nothing(database: Database) {
    let (cluster, _) = running().await;
    if database.is_postgres() {
        // On a server there is no imagining a schema.
        let run = Program::sync_once(&cluster, &database, &["--dry-run"])
            .run()
            .await;
        assert_refused(&run, &["run `k6sync migrate`"]);
        assert_untouched(&database).await;
        Program::migrate(&database).run().await;
    }
    let run = sync_as_text(&cluster, &database, &["--dry-run"]).await;
    let shop = format!("shop ({}/shop)", cluster.namespace());
    assert_eq!(
        would(&run),
        [
            format!("adopt {shop}"),
            format!("set {shop} from pending to running"),
            format!("append {LINES} log lines to {shop}"),
        ]
    );
    assert!(
        run.stdout
            .starts_with("K6 steps sync, dry run: nothing was written\n"),
        "{}",
        run.stdout
    );
    match database.is_postgres() {
        true => {
            let steps = "SELECT count(*) FROM test_run_steps";
            assert_eq!(database.number(steps).await, 0);
            assert_eq!(database.number("SELECT count(*) FROM sync_cycles").await, 0);
        }
        false => assert_untouched(&database).await,
    }
}

async fn a_dry_run_leaves_every_table_as_it_is(database: Database) {
    let (cluster, pod) = running().await;
    sync(&cluster, &database, &[]).await;
    write_lines(&cluster.log(&pod, "k6"), LINES..LINES + 2);
    cluster
        .container_state(&pod, State::Terminated(99, "Error"))
        .await;
    cluster.stage("shop", "finished").await;
    cluster.test_run("late", 1, "initialization").await;
    let before = database.dump().await;
    let of_log = |line: &&String| line.starts_with("log_chunks: ");
    assert_eq!(before.iter().filter(of_log).count(), 1, "{before:?}");

    let run = sync_as_text(&cluster, &database, &["--dry-run"]).await;
    let namespace = cluster.namespace();
    let changes = [
        format!("set shop ({namespace}/shop) from running to failed"),
        format!("append 2 log lines to shop ({namespace}/shop)"),
        format!("store the results of 1 runner of shop ({namespace}/shop)"),
        format!("adopt late ({namespace}/late)"),
        format!("set late ({namespace}/late) from pending to initializing"),
    ];
    assert_eq!(would(&run), changes);
    let report = sync(&cluster, &database, &["--dry-run"]).await;
    assert_eq!(report["dryRun"], json!(changes));
    assert_eq!(database.dump().await, before);

    // What it said is what is done.
    let done = sync(&cluster, &database, &[]).await;
    for number in ["total", "updated", "errors", "logsUpdated", "logBytes"] {
        assert_eq!(done[number], report[number], "{number}");
    }
    assert_eq!(
        database.statuses().await,
        ["late initializing -", "shop failed ThresholdsHaveFailed"]
    );
    assert_ne!(database.dump().await, before);
}

async fn both_reports_say_the_same_numbers(database: Database) {
    let (cluster, _) = running().await;
    Program::migrate(&database).run().await;
    let namespace = cluster.namespace();
    database
        .insert_run("asked for", &[("lost step", Some(namespace), "ghost")])
        .await;
    // Two dry runs see the same.
    let json = sync(&cluster, &database, &["--dry-run"]).await;
    let text = sync_as_text(&cluster, &database, &["--dry-run"]).await;
    assert_eq!(
        (&json["total"], &json["updated"], &json["errors"]),
        (&2.into(), &1.into(), &1.into())
    );
    assert_eq!(
        (&json["logsUpdated"], &json["logBytes"]),
        (&1.into(), &(100 * LINES).into())
    );
    let error = json["failures"][0]["error"].as_str().unwrap();
    for line in [
        "  steps      2 active, 1 updated".to_owned(),
        format!(
            "  logs       1 step with new lines, {} bytes",
            json["logBytes"]
        ),
        "  errors     1".to_owned(),
        format!("  failed     lost step ({namespace}/ghost): {error}"),
    ] {
        assert!(
            text.stdout.lines().any(|said| said == line),
            "`{line}` in {}",
            text.stdout
        );
    }
    assert!(json["durationMs"].is_u64() && text.stdout.contains("  duration   "));
}

async fn the_log_has_the_lines_that_people_grep_for(database: Database) {
    const FIRST: &str = "Starting scheduled K6 steps sync";
    const LAST: &str = "K6 steps sync completed";
    let (cluster, _) = running().await;
    let text = sync_as_text(&cluster, &database, &[]).await;
    let lines: Vec<&str> = text
        .stderr
        .lines()
        .filter(|line| line.contains("K6 steps sync"))
        .collect();
    assert_eq!(lines.len(), 2, "{}", text.stderr);
    assert!(lines[0].contains(FIRST) && lines[1].contains(LAST));

    let run = sync_as_text(&cluster, &database, &["--log-format", "json"]).await;
    let events: Vec<Value> = run
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    let named = |message: &str| events.iter().find(|event| event["message"] == message);
    assert_eq!(named(FIRST).unwrap()["trigger"], "sync-once");
    let last = named(LAST).unwrap();
    assert_eq!(
        (&last["level"], &last["total"]),
        (&"INFO".into(), &1.into())
    );
}

async fn each_cycle_leaves_a_row(database: Database) {
    const CYCLES: &str = "
        SELECT outcome || ' ' || \"trigger\" || ' ' || CAST(total AS TEXT) || ' ' || CAST(updated AS TEXT) || ' ' ||
               CAST(errors AS TEXT) || ' ' || CAST(logs_updated AS TEXT) || ' ' || CAST(log_bytes AS TEXT)
        FROM sync_cycles ORDER BY id";
    let (cluster, _) = running().await;
    let today = || jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let before = today();
    let first = Program::sync_once(&cluster, &database, &[])
        .env("HOSTNAME", "the-pod")
        .report()
        .await;
    sync(&cluster, &database, &[]).await;
    assert_eq!(
        database.texts(CYCLES).await,
        [
            "completed sync-once 1 1 0 1 300",
            "completed sync-once 1 0 0 0 0"
        ]
    );
    let instances = database
        .texts("SELECT instance FROM sync_cycles ORDER BY id")
        .await;
    assert!(instances[0].starts_with("the-pod/"), "{instances:?}");
    let lasted = "SELECT duration_ms FROM sync_cycles WHERE id = 1";
    // The row is written after the report's clock was read.
    assert!(database.number(lasted).await >= first["durationMs"].as_i64().unwrap());
    let dates = database
        .texts("SELECT CAST(started_at AS TEXT) FROM sync_cycles ORDER BY id DESC")
        .await;
    let today = [before, today()];
    assert!(
        today.iter().any(|day| dates[0].starts_with(day)),
        "{dates:?}, today is {today:?}"
    );
    assert_eq!(database.number("SELECT count(*) FROM sync_errors").await, 0);
}

async fn migrate_makes_the_tables_once(database: Database) {
    const TABLES: [&str; 15] = [
        "_sqlx_migrations",
        "cluster_uids",
        "clusters",
        "database_identity",
        "log_chunks",
        "log_gaps",
        "log_streams",
        "runner_summaries",
        "step_checks",
        "step_metrics",
        "step_thresholds",
        "sync_cycles",
        "sync_errors",
        "test_run_steps",
        "test_runs",
    ];
    let first = Program::migrate(&database).run().await;
    assert_eq!(first.code, 0, "{first:?}");
    assert!(
        first.stdout.ends_with(" has schema version 8\n"),
        "{}",
        first.stdout
    );
    assert_eq!(database.tables().await, TABLES);
    let migrated = database.dump().await;

    let second = Program::migrate(&database).run().await;
    assert_eq!((second.code, &second.stdout), (0, &first.stdout));
    assert_eq!(database.dump().await, migrated);

    let (cluster, _) = running().await;
    let report = sync(&cluster, &database, &["--no-migrate"]).await;
    assert_eq!(report["total"], 1);
}

async fn without_migrating_an_empty_database_is_refused(database: Database) {
    let (cluster, _) = running().await;
    let run = Program::sync_once(&cluster, &database, &["--no-migrate"])
        .run()
        .await;
    assert_refused(&run, &["has schema version 0", "run `k6sync migrate`"]);
    assert_eq!(database.tables().await, [""; 0]);
}

async fn a_database_of_a_newer_k6sync_is_refused(database: Database) {
    let (cluster, _) = running().await;
    Program::migrate(&database).run().await;
    database
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             SELECT 9999, 'of the future', success, checksum, execution_time FROM _sqlx_migrations
             WHERE version = 1",
        )
        .await;
    let before = database.dump().await;
    for program in [
        Program::sync_once(&cluster, &database, &[]),
        Program::sync_once(&cluster, &database, &["--no-migrate"]),
        Program::sync_once(&cluster, &database, &["--dry-run"]),
        Program::migrate(&database),
    ] {
        assert_refused(
            &program.run().await,
            &["has schema version 9999", "run that version or newer"],
        );
    }
    assert_eq!(database.dump().await, before);
}
