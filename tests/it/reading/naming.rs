//! Which run is meant, and databases that can't tell.

use super::{ask, expect};
use crate::on_both_databases;
use crate::support::{Database, Program, recorded};

on_both_databases!(
    a_run_is_named_in_four_ways,
    what_cannot_be_told_has_a_code_of_its_own,
    an_older_database_is_read_as_it_is,
);

async fn a_run_is_named_in_four_ways(database: Database) {
    let _cluster = recorded(&database).await;
    let id = async |name: &str| -> String {
        let run = expect(ask(&database, &["show", "-o", "name", name]), 0).await;
        run.stdout.trim().to_owned()
    };
    let uid = database
        .texts("SELECT k6_uid FROM test_run_steps WHERE k6_test_name = 'shop-buy'")
        .await;
    database
        .execute("UPDATE test_runs SET external_id = 'JIRA-1' WHERE id = 2")
        .await;
    for (name, expected) in [
        ("5", "5"),
        ("nightly-7", "5"),
        (uid[0].as_str(), "5"),
        ("JIRA-1", "2"),
        ("@latest", "8"),
    ] {
        assert_eq!(id(name).await, expected, "{name}");
    }
    // The newest of a name; in several namespaces it could be any of two.
    database
        .execute("UPDATE test_runs SET name = 'nightly-7' WHERE id = 7")
        .await;
    assert_eq!(id("nightly-7").await, "7");
    database
        .execute("UPDATE test_runs SET namespace = 'team-b' WHERE id = 7")
        .await;
    let run = expect(ask(&database, &["show", "nightly-7"]), 2).await;
    assert!(
        run.stderr
            .contains("`nightly-7` may be any of 7 (nightly-7 in team-b), 5 (nightly-7 in "),
        "{run:?}"
    );
    let run = ask(
        &database,
        &["show", "-o", "name", "nightly-7", "-n", "team-b"],
    );
    assert_eq!(expect(run, 0).await.stdout, "7\n");
    // A name that is another one's id.
    database
        .execute("UPDATE test_runs SET name = '3' WHERE id = 8")
        .await;
    let run = expect(ask(&database, &["show", "3"]), 2).await;
    assert!(run.stderr.contains("may be any of 8 (3 in "), "{run:?}");

    for (name, code, problem) in [
        (
            "nothing",
            3,
            "no run has the id, name, external_id or TestRun uid `nothing`",
        ),
        ("@newest", 2, "it is none of @latest and @previous"),
        ("@previous", 3, "it can only be the first of two"),
    ] {
        let run = expect(ask(&database, &["show", name]), code).await;
        assert!(run.stderr.contains(problem), "{run:?}");
        assert_eq!(run.stdout, "");
    }
}

async fn what_cannot_be_told_has_a_code_of_its_own(database: Database) {
    for command in [&["runs"][..], &["show", "1"], &["wait", "1"]] {
        // Nothing is there, and nothing is made.
        let run = expect(ask(&database, command), 5).await;
        assert_eq!(run.stdout, "");
        if let Some(file) = database.sqlite_file() {
            assert!(run.stderr.contains("there is no database"), "{run:?}");
            assert!(!file.exists());
        } else {
            assert!(run.stderr.contains("schema version 0"), "{run:?}");
            assert_eq!(
                database
                    .number("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
                    .await,
                0
            );
        }
    }
    expect(Program::migrate(&database), 0).await;
    let run = expect(ask(&database, &["runs"]), 0).await;
    assert!(run.stderr.contains("there is no such run"), "{run:?}");
    expect(ask(&database, &["show", "@latest"]), 3).await;
    database
        .execute("UPDATE _sqlx_migrations SET version = 9999 WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
        .await;
    for command in [&["runs"][..], &["show", "1"], &["wait", "1"]] {
        let run = expect(ask(&database, command), 5).await;
        assert!(
            run.stderr.contains("a newer k6sync has migrated it"),
            "{run:?}"
        );
    }
}

async fn an_older_database_is_read_as_it_is(database: Database) {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/0.1.0");
    match database.sqlite_file() {
        Some(file) => {
            std::fs::copy(data.join("k6sync.sqlite"), file).unwrap();
        }
        None => {
            let dump = std::fs::read_to_string(data.join("postgres.sql")).unwrap();
            database.execute(&dump).await;
        }
    }
    let version = "SELECT max(version) FROM _sqlx_migrations";
    let before = database.number(version).await;
    let ids = expect(ask(&database, &["runs", "-o", "name"]), 0)
        .await
        .stdout;
    let count = database.number("SELECT count(*) FROM test_runs").await;
    assert_eq!(i64::try_from(ids.lines().count()).unwrap(), count);
    for format in ["table", "wide", "json", "yaml", "csv"] {
        expect(ask(&database, &["runs", "-o", format]), 0).await;
    }
    for id in ids.lines() {
        let status = database
            .texts(&format!("SELECT status FROM test_runs WHERE id = {id}"))
            .await
            .remove(0);
        let run = expect(ask(&database, &["show", id]), 0).await;
        assert!(run.stdout.contains(&status), "{run:?}");
        let code = match status.as_str() {
            "passed" => Some(0),
            "pending" | "initializing" | "running" | "finishing" => Some(124),
            _ => None,
        };
        let run = ask(&database, &["wait", id, "--timeout", "1s"]).run().await;
        assert!(run.code != 0 || code == Some(0), "{status}: {run:?}");
        if let Some(code) = code {
            assert_eq!(run.code, code, "{status}: {run:?}");
        }
        expect(ask(&database, &["compare", id, id]), 0).await;
        expect(ask(&database, &["report", id, "--markdown", "-"]), 0).await;
    }
    assert_eq!(database.number(version).await, before);
}
