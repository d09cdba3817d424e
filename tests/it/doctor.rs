//! `k6sync doctor`: each thing that can be wrong is found, with what to do, and keeps nothing else from being looked at.

use std::collections::BTreeSet;
use std::path::Path;

use k6sync_standin::Options;
use serde_json::{Value, json};

use crate::on_both_databases;
use crate::rbac::{Grant, expected_grants, grants, rules_of};
use crate::support::cluster::State;
use crate::support::program::Run;
use crate::support::running_loop::{COMPLETED, LEADER};
use crate::support::{Cluster, Database, Program, RunningLoop, unique};

on_both_databases!(
    all_is_well_beside_a_loop,
    a_database_that_is_not_there_or_of_another_schema_is_told,
    without_a_cluster_the_record_is_looked_at,
    a_right_that_is_missing_is_named_with_its_rule,
    control_that_is_off_or_nonsense_is_told,
    a_late_cycle_gaps_and_late_logs_are_told,
    a_hold_that_is_overdue_is_told,
    another_clusters_database_is_told,
    no_secret_is_printed,
);

fn doctor(cluster: &Cluster, database: &Database) -> Program {
    Program::new(&["doctor", "--database-url", database.url()]).kubeconfig(cluster.kubeconfig())
}

/// What was found, as JSON, and the exit code.
async fn found(program: Program) -> (i32, Vec<Value>) {
    let run = program.args(&["-o", "json"]).run().await;
    let findings: Vec<Value> =
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    (run.code, findings)
}

/// The findings of one check: status and message.
fn of(findings: &[Value], check: &str) -> Vec<(String, String)> {
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    findings
        .iter()
        .filter(|finding| finding["check"] == check)
        .map(|finding| (text(finding, "status"), text(finding, "message")))
        .collect()
}

/// The first of a check that is not well, which must say what to do.
#[track_caller]
fn assert_ill(findings: &[Value], check: &str, status: &str, part: &str) {
    let is_it = |finding: &&Value| {
        finding["check"] == check
            && finding["status"] == status
            && finding["message"]
                .as_str()
                .is_some_and(|message| message.contains(part))
    };
    let found = findings.iter().find(is_it);
    let found =
        found.unwrap_or_else(|| panic!("no {status} of {check} with {part}: {findings:#?}"));
    assert!(found["todo"].is_string(), "{found}");
}

fn ill(findings: &[Value]) -> Vec<String> {
    findings
        .iter()
        .filter(|finding| finding["status"] != "ok")
        .map(|finding| format!("{}: {}", finding["check"], finding["message"]))
        .collect()
}

async fn all_is_well_beside_a_loop(database: Database) {
    let cluster = Cluster::start().await;
    cluster.running("shop", 2).await;
    let running = RunningLoop::spawn(RunningLoop::program(&cluster, &database)).await;
    running
        .wait_for_at_least(LEADER, 1.0, std::time::Duration::from_secs(30))
        .await;
    running
        .wait_for_at_least(COMPLETED, 1.0, std::time::Duration::from_secs(30))
        .await;
    let (code, findings) = found(doctor(&cluster, &database)).await;
    // A small disk or one of a test's machine is none of ours.
    let ill: Vec<String> = ill(&findings)
        .into_iter()
        .filter(|finding| !finding.contains("\"disk\""))
        .collect();
    assert!(ill.is_empty() && code == 0, "{ill:?}");
    for check in [
        "configuration",
        "database",
        "schema",
        "writing",
        "cluster",
        "namespaces",
        "k6-operator",
        "TestRuns",
        "holds",
        "rights",
        "clocks",
        "control",
        "lease",
        "identity",
        "last cycle",
        "gaps",
        "logs",
        "results",
    ] {
        assert!(!of(&findings, check).is_empty(), "{check}: {findings:#?}");
    }
    let text = doctor(&cluster, &database).run().await;
    assert!(
        text.stdout.contains("✓ last cycle     ok       it ended "),
        "{text:?}"
    );
    assert!(text.stdout.ends_with("\nAll is well.\n"), "{text:?}");
}

async fn a_database_that_is_not_there_or_of_another_schema_is_told(database: Database) {
    let cluster = Cluster::start().await;
    let (code, findings) = found(doctor(&cluster, &database)).await;
    assert_eq!(code, 1);
    match database.sqlite_file() {
        Some(file) => {
            assert_ill(&findings, "database", "error", "there is no database");
            assert!(!file.exists(), "it was made");
        }
        None => assert_ill(&findings, "schema", "error", "no tables"),
    }
    // The cluster was looked at all the same.
    assert_eq!(of(&findings, "k6-operator")[0].0, "ok");

    Program::migrate(&database).run().await;
    let schema = async |sql: &str| {
        database.execute(sql).await;
        found(doctor(&cluster, &database)).await
    };
    let (code, findings) = schema(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         SELECT 999, 'newer', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
    )
    .await;
    assert_eq!(code, 1);
    assert_ill(&findings, "schema", "error", "of a newer k6sync");
    let (code, findings) = schema("DELETE FROM _sqlx_migrations WHERE version > 6").await;
    assert_eq!(code, 0, "{findings:#?}");
    assert_ill(
        &findings,
        "schema",
        "warning",
        "it is version 6, of an older k6sync",
    );
}

async fn without_a_cluster_the_record_is_looked_at(database: Database) {
    Program::migrate(&database).run().await;
    let program = || Program::new(&["doctor", "--database-url", database.url()]);
    let (code, findings) = found(program()).await;
    assert_eq!(code, 1);
    assert_ill(
        &findings,
        "cluster",
        "error",
        "no access to a Kubernetes cluster",
    );
    assert_ill(&findings, "last cycle", "warning", "there was none yet");
    assert_eq!(of(&findings, "schema")[0].0, "ok");
    let (code, findings) = found(program().config("captures: {}\n")).await;
    assert_eq!(code, 1);
    assert_ill(&findings, "configuration", "error", "captures");
    let run = program().args(&["--nonsense"]).run().await;
    assert_eq!(run.code, 2, "{run:?}");
}

async fn a_right_that_is_missing_is_named_with_its_rule(database: Database) {
    let cluster = Cluster::start().await;
    Program::migrate(&database).run().await;
    let asked_as = async |granted: &BTreeSet<Grant>| {
        let user = unique("user");
        cluster.allow(&user, rules_of(granted)).await;
        found(doctor(&cluster, &database).kubeconfig(&cluster.kubeconfig_as(&user))).await
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/base/role.yaml");
    let role: Value = serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(grants(&role), expected_grants());
    let (_, findings) = asked_as(&grants(&role)).await;
    assert_eq!(of(&findings, "rights")[0].0, "ok", "{findings:#?}");
    // Each right of the role is looked at.
    for missing in grants(&role) {
        let mut fewer = grants(&role);
        fewer.remove(&missing);
        let [group, resource, name, verb] = &missing;
        let (_, findings) = asked_as(&fewer).await;
        let told = of(&findings, "rights");
        assert_eq!(told.len(), 1, "{missing:?}: {findings:#?}");
        assert_ne!(told[0].0, "ok", "{missing:?}");
        assert!(
            told[0].1.contains(&format!("may not {verb} {resource}")),
            "{told:?}"
        );
        let todo = findings.iter().find_map(|finding| {
            finding["todo"]
                .as_str()
                .filter(|todo| todo.starts_with("add the rule"))
        });
        let names = match resource.as_str() {
            "namespaces" => format!(", resourceNames: [\"{}\"]", cluster.namespace()),
            _ if name.is_empty() => String::new(),
            _ => format!(", resourceNames: [\"{name}\"]"),
        };
        let rule = format!(
            "{{apiGroups: [\"{group}\"], resources: [\"{resource}\"]{names}, verbs: [\"{verb}\"]}}"
        );
        assert!(todo.unwrap().contains(&rule), "{rule}: {todo:?}");
    }
}

async fn control_that_is_off_or_nonsense_is_told(database: Database) {
    let cluster = Cluster::start().await;
    Program::migrate(&database).run().await;
    cluster
        .control(json!({"enabled": "perhaps", "intervalSeconds": "1\u{1b}[2J"}))
        .await;
    let (_, findings) = found(doctor(&cluster, &database)).await;
    assert_ill(&findings, "control", "warning", "enabled is `perhaps`");
    assert_ill(
        &findings,
        "control",
        "warning",
        "intervalSeconds is `1\\u{1b}[2J`",
    );
    cluster.control(json!({"enabled": "false"})).await;
    let (_, findings) = found(doctor(&cluster, &database)).await;
    assert_ill(&findings, "control", "warning", "sync is off");
    assert_ill(&findings, "lease", "warning", "nobody holds the lease");
}

async fn a_late_cycle_gaps_and_late_logs_are_told(database: Database) {
    let cluster = Cluster::start().await;
    let pods = cluster.running("shop", 1).await;
    Program::sync_once(&cluster, &database, &[]).report().await;
    let (_, findings) = found(doctor(&cluster, &database)).await;
    assert_eq!(of(&findings, "last cycle")[0].0, "ok", "{findings:#?}");
    assert_eq!(of(&findings, "logs")[0].0, "ok", "{findings:#?}");

    cluster
        .container_state(&pods[0], State::Terminated(0, "Completed"))
        .await;
    for sql in [
        "UPDATE sync_cycles SET started_at = '2026-01-01T00:00:00.000000Z'",
        "UPDATE test_run_steps SET status = 'passed', finished_at = '2026-01-01T00:00:00.000000Z'",
        "UPDATE log_streams SET complete = FALSE, summary_due = TRUE",
    ] {
        database.execute(sql).await;
    }
    let now = jiff::Timestamp::now();
    database
        .execute(&format!(
            "INSERT INTO log_gaps (stream_id, cause, noticed_at) SELECT max(id), 'rotated', '{now:.6}' FROM log_streams"
        ))
        .await;
    let (code, findings) = found(doctor(&cluster, &database)).await;
    assert_eq!(code, 1);
    assert_ill(
        &findings,
        "last cycle",
        "error",
        "which is longer than 3 intervals of 20 s",
    );
    assert_ill(&findings, "gaps", "warning", "1 rotated");
    assert_ill(
        &findings,
        "logs",
        "warning",
        "1 of steps that ended more than 10 minutes ago",
    );
    assert_ill(&findings, "results", "warning", "1 complete logs");
    // While it is off, none is missing.
    cluster.control(json!({"enabled": "false"})).await;
    let (code, findings) = found(doctor(&cluster, &database)).await;
    assert_eq!(code, 0, "{findings:#?}");

    database
        .execute(
            "UPDATE sync_cycles SET looked_at = '2099-01-01T00:00:00.000000Z', outcome = 'failed'",
        )
        .await;
    let (_, findings) = found(doctor(&cluster, &database)).await;
    assert_ill(&findings, "clocks", "warning", "in the future");
    assert_ill(&findings, "last cycle", "error", "and it failed");
}

async fn a_hold_that_is_overdue_is_told(database: Database) {
    let cluster = Cluster::start().await;
    Program::migrate(&database).run().await;
    cluster.running("shop", 1).await;
    let finalizers = json!({"metadata": {"finalizers": ["k6sync.dev/capture-abc"]}});
    cluster.patch_test_run("shop", &finalizers).await;
    let (_, findings) = found(doctor(&cluster, &database)).await;
    assert_eq!(
        of(&findings, "holds"),
        [("ok".to_owned(), "1 TestRuns are held".to_owned())]
    );
    cluster.delete_test_run("shop").await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let soon = doctor(&cluster, &database).config("capture:\n  holdTimeout: 1s\n");
    let (code, findings) = found(soon).await;
    assert_eq!(code, 1);
    assert_ill(
        &findings,
        "holds",
        "error",
        "1 TestRuns are to be deleted and held for longer",
    );
    cluster
        .patch_test_run("shop", &json!({"metadata": {"finalizers": null}}))
        .await;
}

async fn another_clusters_database_is_told(database: Database) {
    let cluster = Cluster::start().await;
    cluster.running("shop", 1).await;
    Program::sync_once(&cluster, &database, &[]).report().await;
    let other = Cluster::standin(Options::default()).await;
    let (code, findings) = found(doctor(&other, &database)).await;
    assert_eq!(code, 1);
    assert_ill(&findings, "identity", "error", "of another cluster");
    other.standin_cluster().remove_crd();
    let (_, findings) = found(doctor(&other, &database)).await;
    assert_ill(
        &findings,
        "k6-operator",
        "error",
        "is k6-operator installed?",
    );
}

async fn no_secret_is_printed(database: Database) {
    const SECRET: &str = "hunter2-is-secret";
    let cluster = Cluster::start().await;
    let url = match url::Url::parse(database.url()) {
        Ok(mut url) if database.is_postgres() => {
            url.set_password(Some(SECRET)).unwrap();
            url.set_port(Some(1)).unwrap();
            url.to_string()
        }
        _ => format!("postgres://somebody:{SECRET}@127.0.0.1:1/k6sync"),
    };
    let said = |run: &Run| format!("{}{}", run.stdout, run.stderr);
    for output in ["text", "json"] {
        let run = Program::new(&["doctor", "--database-url", &url, "-o", output])
            .kubeconfig(&cluster.kubeconfig_with_wrong_token())
            .env("K6_SYNC_API_KEY", &format!("{SECRET}-{SECRET}"))
            .run()
            .await;
        assert_eq!(run.code, 1, "{run:?}");
        let said = said(&run);
        assert!(!said.contains(SECRET), "{said}");
        assert!(!said.contains("nobody-has-this-token"), "{said}");
        assert!(said.contains("127.0.0.1"), "{said}");
    }
}
