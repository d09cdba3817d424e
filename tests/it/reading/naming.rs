//! Which run is meant, and databases that can't tell.

use super::{ask, expect};
use crate::on_both_databases;
use crate::support::{Database, Program, recorded};

on_both_databases!(
    a_run_is_named_in_four_ways,
    what_cannot_be_told_has_a_code_of_its_own,
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
        .execute("UPDATE _sqlx_migrations SET version = 9999 WHERE version = 7")
        .await;
    for command in [&["runs"][..], &["show", "1"], &["wait", "1"]] {
        let run = expect(ask(&database, command), 5).await;
        assert!(
            run.stderr.contains("a newer k6sync has migrated it"),
            "{run:?}"
        );
    }
}
