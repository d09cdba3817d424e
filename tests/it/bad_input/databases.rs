//! Databases that can't be reached, refuse, or hold nonsense.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use super::{AT_ONCE, CLOSED, assert_refused, file, running};
use crate::support::{Cluster, Database, Program, unique};

/// Both commands refuse this database with these words.
async fn assert_database_refused(url: &str, words: &[&str]) {
    let cluster = Cluster::start().await;
    let args = ["--database-url", url];
    let begun = Instant::now();
    let run = Program::new(&["migrate"]).args(&args).run().await;
    assert_refused(&run, 1, words);
    let sync = || {
        Program::new(&["sync-once"])
            .kubeconfig(cluster.kubeconfig())
            .args(&args)
    };
    assert_refused(&sync().run().await, 1, words);
    assert!(begun.elapsed() < 2 * AT_ONCE, "no use in trying for long");

    let run = sync().env("RUST_LOG", "trace").run().await;
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(!said.contains("s3cret"), "the password is in {said}");
    assert!(!said.contains("czNjcmV0"), "the password is in {said}");
}

/// The URL of the PostgreSQL server of the tests, with changes.
async fn postgres(change: impl Fn(&mut url::Url)) -> (Database, String) {
    let database = Database::postgres().await;
    let mut url = url::Url::parse(database.url()).unwrap();
    change(&mut url);
    (database, url.into())
}

#[tokio::test]
async fn a_postgresql_that_is_down_is_told() {
    let url = format!("postgres://k6sync:s3cret@{CLOSED}/k6?password=s3cret");
    let words = [
        "cannot open the database postgres://k6sync@127.0.0.1:1/k6: ",
        "is the server running, and are host and port right?",
    ];
    assert_database_refused(&url, &words).await;
}

#[tokio::test]
async fn a_user_whom_postgresql_refuses_is_told() {
    // A server that asks for passwords refuses this one as it does a wrong password; one that asks for none does not
    // know the user.
    let user = unique("nobody");
    let (database, url) = postgres(|url| {
        url.set_username(&user).unwrap();
        url.set_password(Some("s3cret")).unwrap();
    })
    .await;
    let words = [
        &format!("cannot open the database postgres://{user}@"),
        "check the user and the password in the database URL",
    ];
    assert_database_refused(&url, &[words[0], words[1]]).await;
    assert!(database.tables().await.is_empty());
}

#[tokio::test]
async fn a_postgresql_database_that_does_not_exist_is_told() {
    let name = unique("never-made");
    let (_database, url) = postgres(|url| {
        url.set_path(&name);
        url.set_password(Some("s3cret")).unwrap();
    })
    .await;
    let missing = format!("database \"{name}\" does not exist");
    assert_database_refused(&url, &[&missing, "create it with `createdb`"]).await;
}

#[tokio::test]
async fn a_sqlite_file_in_a_missing_folder_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let url = format!("sqlite://{}/k6sync.db", missing.display());
    let advice = format!("the folder {} does not exist: create it", missing.display());
    assert_database_refused(&url, &[&url, &advice]).await;
    assert!(!missing.exists());
}

#[tokio::test]
async fn a_sqlite_file_in_a_folder_that_may_not_be_written_to_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let read_only = std::fs::Permissions::from_mode(0o555);
    std::fs::set_permissions(folder.path(), read_only).unwrap();
    let url = format!("sqlite://{}/k6sync.db", folder.path().display());
    let run = Program::unprivileged(&["migrate", "--database-url", &url])
        .run()
        .await;
    let advice = format!(
        "check that {} is a folder that this user may write to",
        folder.path().display()
    );
    assert_refused(&run, 1, &[&url, &advice]);
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_told_and_left_as_it_is() {
    let text = "This is a shopping list, not a database. ".repeat(100);
    let (_folder, path) = file(&text);
    let advice = format!("{} is damaged or no SQLite database", path.display());
    let url = format!("sqlite://{}", path.display());
    assert_database_refused(&url, &["cannot open the database", &url, &advice]).await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    let beside = path.parent().unwrap().read_dir().unwrap().count();
    assert_eq!(beside, 1, "nothing beside it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_makes_no_sense_is_told_and_the_others_are_synced() {
    let cluster = Cluster::start().await;
    let pod = running(&cluster, "good").await;
    let database = Database::sqlite();
    Program::migrate(&database).run().await;
    database
        .insert_run("bad", &[("first", None, "good"), ("second", None, "bad")])
        .await;
    database
        .execute("UPDATE test_run_steps SET created_at = 'yesterday' WHERE name = 'second'")
        .await;
    let report = Program::sync_once(&cluster, &database, &[]).report().await;
    assert_eq!(
        (&report["total"], &report["errors"], &report["logsUpdated"]),
        (&1.into(), &1.into(), &1.into())
    );
    let failure = &report["failures"][0];
    assert_eq!(
        (&failure["step"], &failure["k6TestName"]),
        (&"second".into(), &"bad".into())
    );
    let error = failure["error"].as_str().unwrap();
    assert!(
        error.starts_with("row 2 of test_run_steps can't be read: ")
            && error.contains("yesterday")
            && error.ends_with("; correct it"),
        "{error}"
    );
    assert_eq!(
        database.statuses().await,
        ["bad pending -", "good running -"]
    );
    assert!(!database.log(&pod, "k6", 0).await.is_empty());
    assert_eq!(
        database
            .texts("SELECT CAST(step_id AS TEXT) || ' ' || k6_test_name FROM sync_errors")
            .await,
        ["2 bad"]
    );
}
