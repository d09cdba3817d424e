//! Files, flags and variables that make no sense.

use std::os::unix::fs::PermissionsExt;

use super::assert_refused;
use crate::support::{Cluster, Database, Program};

#[tokio::test]
async fn a_configuration_file_that_makes_no_sense_is_refused() {
    for (text, words) in [
        (
            "intervalSecond: 20",
            [
                "unknown key `intervalSecond`",
                "did you mean `intervalSeconds`?",
            ],
        ),
        (
            "kubernetes: {requestTimout: 5s}",
            [
                "unknown key `kubernetes.requestTimout`",
                "did you mean `kubernetes.requestTimeout`?",
            ],
        ),
        (
            "intervalSeconds: soon",
            ["intervalSeconds: ", "a whole number"],
        ),
        (
            "intervalSeconds: 4",
            ["intervalSeconds is 4", "from 5 to 300"],
        ),
        (
            "{namespaces: [a], allNamespaces: true}",
            ["allNamespaces is true", "namespaces is set too"],
        ),
        (
            "databaseUrl: mysql://x",
            ["scheme `mysql`", "sqlite://PATH"],
        ),
        ("databaseUrl: [", ["config.yaml is wrong", "line"]),
    ] {
        for command in ["sync-once", "migrate"] {
            let run = Program::new(&[command]).config(text).run().await;
            assert_refused(&run, 2, &words);
        }
    }
}

#[tokio::test]
async fn a_configuration_file_that_is_not_there_is_refused() {
    let run = Program::new(&["sync-once", "--config", "missing.yaml"])
        .run()
        .await;
    let words = [
        "cannot read the configuration file missing.yaml",
        "No such file",
    ];
    assert_refused(&run, 2, &words);
}

#[tokio::test]
async fn a_configuration_file_that_may_not_be_read_is_refused() {
    let mut program = Program::unprivileged(&["sync-once", "--config", "config.yaml"]);
    let folder = program.command().as_std().get_current_dir().unwrap();
    let path = folder.join("config.yaml");
    std::fs::write(&path, "enabled: true").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    let words = [
        "cannot read the configuration file config.yaml",
        "ermission denied",
    ];
    assert_refused(&program.run().await, 2, &words);
}

#[tokio::test]
async fn a_flag_that_makes_no_sense_is_refused() {
    for (args, words) in [
        (&["sync-once", "--frob"][..], "'--frob'"),
        (&["sync-once", "-o", "xml"], "'xml'"),
        (
            &["sync-once", "--namespace", "a", "-A"],
            "'--namespace <NS>' cannot be used with '--all-namespaces'",
        ),
        (
            &["sync-once", "--namespace", "Team_A"],
            "--namespace is `Team_A`: it is no namespace's name",
        ),
        (
            &["migrate", "--database-url", "mysql://root:s3cret@db/k6"],
            "scheme `mysql`",
        ),
        (&["migrate", "--database-url", "k6sync.db"], "no scheme"),
        (&["migrate", "--database-url", "sqlite://"], "names no file"),
        (&["sync-twice"], "'sync-twice'"),
    ] {
        let run = Program::new(args).run().await;
        assert_refused(&run, 2, &[words]);
        assert!(!run.stderr.contains("s3cret"), "{run:?}");
    }
}

#[tokio::test]
async fn a_variable_that_makes_no_sense_is_told_and_passed_over() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    let run = Program::sync_once(&cluster, &database, &[])
        .env("K6_SYNC_INTERVAL_SECONDS", "soon")
        .run()
        .await;
    assert_eq!(run.code, 0, "{run:?}");
    let warning = "K6_SYNC_INTERVAL_SECONDS is `soon`: it must be a whole number of seconds from 5 to 300; using 20s";
    assert!(run.stderr.contains(warning), "{run:?}");
}
