//! What is wrong with a file, a flag, a database, a cluster or an object is told once, with what to do, and does no harm.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use k6sync_standin::{Certificate, Fault, FaultAction, Options, Standin};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::cluster::{State, owner_job, write_lines};
use crate::support::program::Run;
use crate::support::{Cluster, Database, Program, unique};

/// Nobody listens on this port.
const CLOSED: &str = "127.0.0.1:1";

/// A certificate, a password or a port that is refused is refused at once; retries go on for 30 seconds.
const AT_ONCE: Duration = Duration::from_secs(10);

/// `k6sync` ended with this exit code and one error, which has these words, and has left nothing behind.
fn assert_refused(run: &Run, code: i32, words: &[&str]) {
    assert_eq!(run.code, code, "{run:?}");
    for words in words {
        assert!(run.stderr.contains(words), "no `{words}` in {run:?}");
    }
    assert_eq!(run.stdout, "", "no report");
    // clap, which knows no log, begins its message so.
    let is_error = |line: &&str| line.contains(" ERROR ") || line.starts_with("error: ");
    assert_eq!(run.stderr.lines().filter(is_error).count(), 1, "{run:?}");
    assert!(!run.stderr.contains(" WARN "), "{run:?}");
    let files: Vec<&String> = run
        .files
        .iter()
        .filter(|name| !["config.yaml", "k6sync"].contains(&name.as_str()))
        .collect();
    assert!(files.is_empty(), "it left {files:?} behind");
}

/// A folder with one file of this text.
fn file(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn kubeconfig_of(url: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters: [{{name: test, cluster: {{server: '{url}'}}}}]\n\
         users: [{{name: test, user: {{token: token}}}}]\n\
         contexts: [{{name: test, context: {{cluster: test, user: test, namespace: k6}}}}]\n"
    )
}

// === the command line and the configuration file ===

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

/// A URL and a word, as they are pasted into the wrong place.
const SECRETS: [&str; 2] = ["postgres://u:hunter2secret@127.0.0.1:1/d", "hunter2secret"];

/// Every key of a configuration file, as the example has them.
fn keys() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let document: Value = serde_yaml::from_str(&text).unwrap();
    let mut keys = Vec::new();
    for (key, value) in document.as_object().unwrap() {
        keys.push(key.clone());
        let children = value.as_object().into_iter().flatten();
        keys.extend(children.map(|(child, _)| format!("{key}.{child}")));
    }
    keys
}

/// A configuration file with this value there.
fn config_with(key: &str, value: &Value) -> String {
    match key.split_once('.') {
        Some((parent, child)) => json!({ parent: { child: value } }),
        None => json!({ key: value }),
    }
    .to_string()
}

/// Whatever it came to, it shows nothing of the secret.
async fn assert_not_shown(program: Program, place: &str) {
    let run = program.run().await;
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(!said.contains("hunter2"), "{place}: {said}");
    assert!(!said.contains("panicked"), "{place}: {said}");
    assert!(run.files.iter().all(|name| !name.contains("hunter2")));
}

/// Where a name or a path belongs, a word is one, and is shown; a URL never is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_in_the_wrong_place_is_never_shown() {
    const NAMES: [&str; 6] = [
        "context",
        "namespaces",
        "control.configMap",
        "control.namespace",
        "tls.cert",
        "tls.key",
    ];
    let cluster = Cluster::start().await;
    let base = |args: &[&str]| {
        Program::new(args)
            .kubeconfig(cluster.kubeconfig())
            .env("RUST_LOG", "trace")
    };
    let keys = keys();
    assert!(keys.len() > 25, "{keys:?}");
    for secret in SECRETS {
        let is_name = !secret.contains("://");
        for key in &keys {
            if is_name && NAMES.contains(&key.as_str()) {
                continue;
            }
            let (text, list) = (json!(secret), json!([secret]));
            for value in [&text, &list, &json!({ secret: secret }), &json!([[secret]])] {
                let config = config_with(key, value);
                // The loop reads all of it, and goes on if nothing is wrong.
                let args = match (key.starts_with("tls"), is_name) {
                    (true, false) => &["loop", "--listen", "127.0.0.1:0"][..],
                    _ => &["sync-once", "-o", "json"],
                };
                // A key of one's own is named: it is what is wrong.
                if is_name && value.is_object() {
                    continue;
                }
                assert_not_shown(base(args).config(&config), &format!("{key}: {value}")).await;
            }
        }
        for text in [
            secret.to_owned(),
            format!("- {secret}"),
            format!("databaseUrl: [{secret}"),
            format!("databaseUrl: {secret}: x"),
            format!("databaseUrl: *{secret}"),
            format!("capture: !{secret} x"),
            format!("{{namespaces: ['{secret}'], allNamespaces: true}}"),
        ] {
            if is_name && text.contains("namespaces") {
                continue;
            }
            assert_not_shown(base(&["sync-once"]).config(&text), &text).await;
        }
        for name in [
            "DATABASE_URL",
            "DATABASE_URL_FILE",
            "K6_SYNC_API_KEY",
            "K6_SYNC_API_KEY_FILE",
            "K6_AUTO_SYNC_ENABLED",
            "K6_SYNC_INTERVAL_SECONDS",
            "RUST_LOG",
            "HTTPS_PROXY",
            "HOSTNAME",
        ] {
            if is_name && name == "HOSTNAME" {
                continue;
            }
            for args in [
                &["sync-once", "-o", "json"][..],
                &["job", "status", "-o", "json"],
            ] {
                assert_not_shown(base(args).env(name, secret), &format!("{name}={secret}")).await;
            }
        }
        for (command, flag) in [
            (&["sync-once"][..], "--database-url"),
            (&["sync-once"], "--output"),
            (&["sync-once"], "--hold"),
            (&["sync-once"], "--log-format"),
            (&["sync-once"], "--force"),
            (&["sync-once"], "--unknown"),
            (&["sync-once"], "--namespace"),
            (&["sync-once"], "--context"),
            (&["sync-once"], "--config"),
            (&["loop"], "--listen"),
            (&["loop"], "--tls-cert"),
            (
                &["loop", "--listen", "127.0.0.1:0", "--tls-key", "k"],
                "--tls-cert",
            ),
            (&["job", "start"], "--interval"),
            (&["prune"], "--older-than"),
            (&["prune", "--older-than", "1h"], "--keep-last"),
            (&["migrate"], "--same-cluster"),
            (&["verify"], "--run"),
        ] {
            let is_of_name = [
                "--namespace",
                "--context",
                "--config",
                "--tls-cert",
                "--same-cluster",
                "--run",
            ];
            if is_name && is_of_name.contains(&flag) {
                continue;
            }
            let joined = format!("{flag}={secret}");
            for args in [&[flag, secret][..], &[&joined]] {
                assert_not_shown(base(command).args(args), &format!("{command:?} {args:?}")).await;
            }
        }
        for args in [
            &[secret][..],
            &["migrate", secret],
            &["job", secret],
            &["sync-once", &format!("-o{secret}")],
        ] {
            assert_not_shown(base(args), &format!("{args:?}")).await;
        }
    }
    for args in [
        ["release", SECRETS[0]],
        ["migrate", "--same-cluster=u:hunter2@h"],
        ["sync-once", "--context=u:hunter2@h"],
        ["sync-once", "-nu:hunter2@h"],
    ] {
        assert_not_shown(base(&args), &format!("{args:?}")).await;
    }
    for url in [
        "sqlite:postgres://u:hunter2@h/db",
        "sqlite://k.db?password=hunter2",
        "sqlite://k.db?hunter2",
        "sqlite://k.db?mode=hunter2",
        "postgres://127.0.0.1:1/hunter2",
        "postgresql://u:hunter2%zz@h/db",
        "postgres://u:p@127.0.0.1:1/d?sslrootcert=x:%2F%2Fhunter2",
    ] {
        assert_not_shown(base(&["sync-once"]).env("DATABASE_URL", url), url).await;
    }
}

/// A kubeconfig has tokens, and a message about it shows none of its lines.
#[tokio::test]
async fn a_broken_kubeconfig_is_not_shown() {
    let good = kubeconfig_of("http://u:hunter2@127.0.0.1:1");
    for text in [
        good.replace("{token: token}", "{token: hunter2, exec: 5}"),
        good.replace("{token: token}", "{token: hunter2"),
        good.replace("{token: token}", "hunter2"),
        good.replace("token: token", "client-key-data: hunter2"),
        good.replace("{server:", "{proxy-url: 'http://u:hunter2@h:1', server:"),
        good,
    ] {
        let (_folder, path) = file(&text);
        let program = Program::new(&["sync-once"])
            .kubeconfig(&path)
            .config("kubernetes: {cycleDeadline: 1s}");
        assert_not_shown(program, &text).await;
    }
}

// === the database ===

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

// === the way to the cluster ===

#[tokio::test]
async fn without_a_cluster_it_says_where_it_looked() {
    let run = Program::new(&["sync-once"]).run().await;
    let words = [
        "no access to a Kubernetes cluster",
        ".kube/config",
        "set KUBECONFIG",
    ];
    assert_refused(&run, 2, &words);

    let missing = PathBuf::from("missing-kubeconfig");
    let run = Program::new(&["sync-once"])
        .kubeconfig(&missing)
        .run()
        .await;
    let words = [
        "no access to a Kubernetes cluster",
        "missing-kubeconfig",
        "set KUBECONFIG",
    ];
    assert_refused(&run, 2, &words);
}

#[tokio::test]
async fn a_context_that_there_is_not_is_refused() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    let run = Program::sync_once(&cluster, &database, &["--context", "prod"])
        .run()
        .await;
    assert_refused(&run, 2, &["context `prod`", "kubectl config get-contexts"]);
    assert!(!database.sqlite_file().unwrap().exists());
}

#[tokio::test]
async fn a_broken_kubeconfig_is_refused() {
    let url = kubeconfig_of("http://127.0.0.1:1");
    for (text, words) in [
        ("clusters: [".to_owned(), "failed to parse kubeconfig YAML"),
        ("clusters: 5".to_owned(), "failed to parse kubeconfig YAML"),
        (String::new(), "failed to determine current context"),
        (
            url.replace("current-context: test", "current-context: prod"),
            "failed to load current context: prod",
        ),
        (
            url.replace("cluster: test,", "cluster: gone,"),
            "failed to load the cluster of context: gone",
        ),
        (
            url.replace("http://127.0.0.1:1", "no url at all"),
            "failed to parse cluster url",
        ),
    ] {
        let (_folder, path) = file(&text);
        let run = Program::new(&["sync-once"]).kubeconfig(&path).run().await;
        let access = "no access to a Kubernetes cluster";
        let advice = "set KUBECONFIG to a good kubeconfig file";
        assert_refused(&run, 2, &[access, words, advice]);
    }
}

#[tokio::test]
async fn an_api_server_that_cannot_be_reached_is_named() {
    let (_folder, kubeconfig) = file(&kubeconfig_of(&format!("http://{CLOSED}")));
    let begun = Instant::now();
    let run = Program::new(&["sync-once"])
        .kubeconfig(&kubeconfig)
        .config("kubernetes: {cycleDeadline: 1s}")
        .run()
        .await;
    assert!(begun.elapsed() < AT_ONCE, "it may go on for a second only");
    let words = [
        "cannot get configmaps k6sync-control in namespace k6",
        "cannot reach the API server http://127.0.0.1:1",
        "onnection refused",
    ];
    assert_refused(&run, 1, &words);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_good_is_told_at_once() {
    let with = |certificate| Options {
        tls: true,
        certificate,
        ..Options::default()
    };
    let expired = Standin::start(with(Certificate::Expired)).await.unwrap();
    let unknown = Standin::start(with(Certificate::Good)).await.unwrap();
    let untold = unknown.kubeconfig("k6");
    let untold: Vec<&str> = untold
        .lines()
        .filter(|line| !line.contains("certificate-authority-data"))
        .collect();
    for (url, kubeconfig, problem) in [
        (expired.url(), expired.kubeconfig("k6"), "expired"),
        (unknown.url(), untold.join("\n"), "UnknownIssuer"),
    ] {
        let (_folder, kubeconfig) = file(&kubeconfig);
        let begun = Instant::now();
        let run = Program::new(&["sync-once"])
            .kubeconfig(&kubeconfig)
            .run()
            .await;
        assert!(begun.elapsed() < AT_ONCE, "no use in trying again");
        let server = format!("cannot reach the API server {url}");
        assert_refused(&run, 1, &[&server, "certificate", problem]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_accepted_is_told() {
    let cluster = Cluster::start().await;
    let database = Database::sqlite();
    let run = Program::sync_once(&cluster, &database, &[])
        .kubeconfig(&cluster.kubeconfig_with_wrong_token())
        .run()
        .await;
    let words = [
        "does not accept our credentials (401 Unauthorized)",
        "has expired or is wrong; log in again, or check the kubeconfig or service account",
    ];
    assert_refused(&run, 1, &words);
    assert!(!database.sqlite_file().unwrap().exists());
}

// === what k6sync may do ===

const CONFIG_MAPS: (&str, &str, &str) = ("", "configmaps", "get");
const TEST_RUNS: (&str, &str, &str) = ("k6.io", "testruns", "list");
const PODS: (&str, &str, &str) = ("", "pods", "list");

/// Syncs as a user who may do only this: API group, resource, verb.
async fn sync_as_one_who_may(
    cluster: &Cluster,
    database: &Database,
    rights: &[(&str, &str, &str)],
) -> Run {
    let user = unique("user");
    let rules: Vec<Value> = rights
        .iter()
        .map(|(group, resource, verb)| {
            json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]})
        })
        .collect();
    cluster.allow(&user, rules.into()).await;
    Program::sync_once(cluster, database, &[])
        .kubeconfig(&cluster.kubeconfig_as(&user))
        .run()
        .await
}

/// A TestRun that runs, with a runner that has logged.
async fn running(cluster: &Cluster, test_run: &str) -> String {
    cluster.test_run(test_run, 1, "started").await;
    let pod = cluster.pod(test_run, "1", State::Running).await;
    write_lines(&cluster.log(&pod, "k6"), 0..3);
    pod
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_missing_is_named_with_the_rule_that_gives_it() {
    let cluster = Cluster::start().await;
    let namespace = cluster.namespace();
    let pod = running(&cluster, "shop").await;
    let database = Database::sqlite();

    let run = sync_as_one_who_may(&cluster, &database, &[]).await;
    let words = [
        "(--force does not ask)",
        &format!("not allowed to get configmaps k6sync-control in namespace {namespace} (403 "),
        r#"add the rule {apiGroups: [""], resources: ["configmaps"], resourceNames: ["k6sync-control"], verbs: ["get"]} to a Role"#,
        &format!("check with: kubectl auth can-i get configmaps -n {namespace}"),
    ];
    assert_refused(&run, 1, &words);
    assert!(!database.sqlite_file().unwrap().exists());

    let run = sync_as_one_who_may(&cluster, &database, &[CONFIG_MAPS]).await;
    let words = [
        &format!("not allowed to list testruns.k6.io in namespace {namespace} (403 "),
        r#"add the rule {apiGroups: ["k6.io"], resources: ["testruns"], verbs: ["list"]} to a Role"#,
        &format!("check with: kubectl auth can-i list testruns.k6.io -n {namespace}"),
    ];
    assert_refused(&run, 1, &words);
    assert_nothing_synced(&database, "not allowed to list testruns.k6.io").await;

    let run = sync_as_one_who_may(&cluster, &database, &[CONFIG_MAPS, TEST_RUNS]).await;
    let words = [
        &format!("not allowed to list pods in namespace {namespace} (403 "),
        r#"add the rule {apiGroups: [""], resources: ["pods"], verbs: ["list"]} to a Role"#,
        &format!("check with: kubectl auth can-i list pods -n {namespace}"),
    ];
    assert_refused(&run, 1, &words);
    // It has become a step, of which nothing is known yet.
    assert_eq!(database.statuses().await, ["shop pending -"]);

    // Without its logs, the step is synced all the same.
    let rights = [CONFIG_MAPS, TEST_RUNS, PODS];
    let run = sync_as_one_who_may(&cluster, &database, &rights).await;
    assert_eq!(run.code, 0, "{run:?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let error = report["failures"][0]["error"].as_str().unwrap();
    for words in [
        &format!("not allowed to get pods/log {pod}/k6 in namespace {namespace} (403 "),
        r#"add the rule {apiGroups: [""], resources: ["pods/log"], verbs: ["get"]} to a Role"#,
        &format!("check with: kubectl auth can-i get pods --subresource=log -n {namespace}"),
    ] {
        assert!(error.contains(words), "no `{words}` in {error}");
    }
    assert_eq!(database.statuses().await, ["shop running -"]);

    // With all rights, everything comes in that was missed.
    let rights = [CONFIG_MAPS, TEST_RUNS, PODS, ("", "pods/log", "get")];
    let run = sync_as_one_who_may(&cluster, &database, &rights).await;
    assert_eq!(run.code, 0, "{run:?}");
    let written = String::from_utf8(cluster.log(&pod, "k6").written()).unwrap();
    assert_eq!(database.log(&pod, "k6", 0).await, written);
    assert_eq!(database.statuses().await, ["shop running -"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_missing_in_all_namespaces_takes_a_cluster_role() {
    let cluster = Cluster::start().await;
    let user = unique("user");
    let rule = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]);
    cluster.allow(&user, rule).await;
    let database = Database::sqlite();
    let run = Program::sync_once(&cluster, &database, &["-A"])
        .kubeconfig(&cluster.kubeconfig_as(&user))
        .run()
        .await;
    let words = [
        "not allowed to list testruns.k6.io in all namespaces (403 ",
        r#"{apiGroups: ["k6.io"], resources: ["testruns"], verbs: ["list"]} to a ClusterRole"#,
        "check with: kubectl auth can-i list testruns.k6.io --all-namespaces",
    ];
    assert_refused(&run, 1, &words);
}

/// The tables are there and empty, but for one failed cycle that says why.
async fn assert_nothing_synced(database: &Database, error: &str) {
    for table in ["test_runs", "test_run_steps", "log_streams", "log_chunks"] {
        let rows = database
            .number(&format!("SELECT count(*) FROM {table}"))
            .await;
        assert_eq!(rows, 0, "{table}");
    }
    let cycles =
        "SELECT outcome || ': ' || error FROM sync_cycles JOIN sync_errors ON id = cycle_id";
    let cycles = database.texts(cycles).await;
    assert_eq!(cycles.len(), 1, "{cycles:?}");
    assert!(
        cycles[0].starts_with("failed: ") && cycles[0].contains(error),
        "{cycles:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_without_k6_operator_is_told() {
    let cluster = Cluster::standin(Options::default()).await;
    cluster.standin_cluster().remove_crd();
    let database = Database::sqlite();
    let run = Program::sync_once(&cluster, &database, &[]).run().await;
    let words = [
        "cannot list testruns.k6.io in namespace",
        "is k6-operator installed?",
        "kubectl get crd testruns.k6.io",
    ];
    assert_refused(&run, 1, &words);
    assert_nothing_synced(&database, "is k6-operator installed?").await;
}

// === objects ===

/// The report's errors by the TestRun's name.
fn errors(report: &Value) -> Vec<(&str, &str)> {
    let failures = report["failures"].as_array().unwrap();
    let mut errors: Vec<(&str, &str)> = failures
        .iter()
        .map(|failure| {
            let text = |key: &str| failure[key].as_str().unwrap();
            (text("k6TestName"), text("error"))
        })
        .collect();
    errors.sort_unstable();
    assert_eq!(report["errors"], errors.len());
    errors
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_run_that_makes_no_sense_is_told_by_its_field_and_the_others_are_synced() {
    let cluster = Cluster::standin(Options::default()).await;
    let namespace = cluster.namespace();
    let pod = running(&cluster, "good").await;
    let put = |name: &str, field: &str, value: Value| {
        let mut object = json!({
            "apiVersion": "k6.io/v1alpha1", "kind": "TestRun",
            "metadata": {"name": name, "namespace": namespace, "labels": {}},
            "spec": {"parallelism": 1}, "status": {"stage": "started"},
        });
        *object.pointer_mut(field).unwrap() = value;
        cluster.standin_cluster().put(object);
    };
    put("bad-labels", "/metadata/labels", json!({"app": 5}));
    put("bad-parallelism", "/spec/parallelism", json!("two"));
    put("bad-spec", "/spec", json!("none"));
    put("bad-stage", "/status/stage", json!(5));
    let database = Database::sqlite();
    let report = Program::sync_once(&cluster, &database, &[]).report().await;
    let expected = [
        (
            "bad-labels",
            "metadata.labels.app: invalid type: integer `5`, expected a string",
        ),
        (
            "bad-parallelism",
            "spec.parallelism: invalid type: string \"two\", expected i64",
        ),
        ("bad-spec", "spec: invalid type: string \"none\", expected "),
        (
            "bad-stage",
            "status.stage: invalid type: integer `5`, expected a string",
        ),
    ];
    let errors = errors(&report);
    assert_eq!(errors.len(), expected.len(), "{errors:?}");
    for ((name, error), (expected_name, problem)) in errors.into_iter().zip(expected) {
        assert_eq!(name, expected_name);
        let problem = format!("the TestRun {namespace}/{name} can't be read: {problem}");
        assert!(error.starts_with(&problem), "{error}");
    }
    assert_eq!(database.statuses().await, ["good running -"]);
    let written = String::from_utf8(cluster.log(&pod, "k6").written()).unwrap();
    assert_eq!(database.log(&pod, "k6", 0).await, written);

    // Once it makes sense, it is synced as any other.
    put("bad-stage", "/status/stage", json!("created"));
    Program::sync_once(&cluster, &database, &[]).report().await;
    assert_eq!(
        database.statuses().await,
        ["bad-stage initializing -", "good running -"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_run_that_makes_no_sense_any_more_stays_what_it_was() {
    let cluster = Cluster::standin(Options::default()).await;
    let pod = running(&cluster, "shop").await;
    let database = Database::sqlite();
    Program::sync_once(&cluster, &database, &[]).report().await;
    let standin = cluster.standin_cluster();
    let mut object = standin
        .get("testruns", cluster.namespace(), "shop")
        .unwrap();
    object["status"]["stage"] = json!({});
    standin.put(object);
    write_lines(&cluster.log(&pod, "k6"), 3..6);
    let report = Program::sync_once(&cluster, &database, &[]).report().await;
    assert_eq!(errors(&report).len(), 1);
    assert_eq!(report["failures"][0]["step"], "shop");
    assert_eq!(database.statuses().await, ["shop running -"]);
    let written = String::from_utf8(cluster.log(&pod, "k6").written()).unwrap();
    assert_eq!(
        database.log(&pod, "k6", 0).await,
        written,
        "its log goes on"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_makes_no_sense_is_told_by_its_field_and_the_others_are_synced() {
    let cluster = Cluster::standin(Options::default()).await;
    let namespace = cluster.namespace();
    let pods = [
        running(&cluster, "shop").await,
        cluster.pod("shop", "2", State::Running).await,
    ];
    write_lines(&cluster.log(&pods[1], "k6"), 0..5);
    let standin = cluster.standin_cluster();
    let good = standin.get("pods", namespace, &pods[0]).unwrap();
    let mut bad = good.clone();
    bad["status"]["containerStatuses"][0]["state"] = json!({"terminated": {"exitCode": "boom"}});
    standin.put(bad);
    let database = Database::sqlite();
    let report = Program::sync_once(&cluster, &database, &[]).report().await;
    let problem = format!(
        "the pod {namespace}/{} can't be read: status.containerStatuses[0].state.terminated.exitCode: \
         invalid type: string \"boom\", expected i64",
        pods[0]
    );
    assert_eq!(errors(&report), [("shop", problem.as_str())]);
    assert_eq!(database.statuses().await, ["shop running -"]);
    let written = |pod: &str| String::from_utf8(cluster.log(pod, "k6").written()).unwrap();
    assert_eq!(database.log(&pods[0], "k6", 0).await, "");
    assert_eq!(database.log(&pods[1], "k6", 0).await, written(&pods[1]));

    standin.put(good);
    let report = Program::sync_once(&cluster, &database, &[]).report().await;
    assert!(errors(&report).is_empty());
    assert_eq!(database.log(&pods[0], "k6", 0).await, written(&pods[0]));
    assert_eq!(database.number("SELECT count(*) FROM log_gaps").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_that_say_little_are_no_error() {
    let cluster = Cluster::standin(Options::default()).await;
    let namespace = cluster.namespace();
    let standin = cluster.standin_cluster();
    let test_run = |name: &str| json!({"apiVersion": "k6.io/v1alpha1", "kind": "TestRun", "metadata": {"name": name, "namespace": namespace}});
    standin.put(test_run("bare"));
    let mut nulls = test_run("nulls");
    nulls["metadata"]["labels"] = Value::Null;
    nulls["spec"] = json!({"parallelism": null});
    nulls["status"] = json!({"stage": null, "conditions": null});
    standin.put(nulls);
    running(&cluster, "shop").await;
    let metadata = |job: &str| {
        json!({
            "name": job, "namespace": namespace, "labels": {"k6_cr": "shop"}, "ownerReferences": [owner_job(job)],
        })
    };
    for (name, status) in [
        ("shop-2", json!({})),
        ("shop-3", json!({"phase": "Pending"})),
        (
            "shop-4",
            json!({"phase": "Running", "containerStatuses": []}),
        ),
        (
            "shop-5",
            json!({"phase": "Running", "containerStatuses": null, "conditions": null}),
        ),
        (
            "shop-6",
            json!({"phase": "Pending", "containerStatuses": [{"name": "k6"}]}),
        ),
    ] {
        standin.put(json!({
            "apiVersion": "v1", "kind": "Pod", "status": status,
            "metadata": metadata(name),
        }));
    }
    let mut no_status = json!({"apiVersion": "v1", "kind": "Pod"});
    no_status["metadata"] = metadata("shop-7");
    standin.put(no_status);
    let database = Database::sqlite();
    let report = Program::sync_once(&cluster, &database, &[]).report().await;
    assert!(errors(&report).is_empty(), "{report}");
    assert_eq!(
        database.statuses().await,
        [
            "bare initializing -",
            "nulls initializing -",
            "shop running -"
        ]
    );
}

// === being stopped ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_ends_it_at_once_even_while_the_cluster_does_not_answer() {
    let cluster = Cluster::standin(Options::default()).await;
    running(&cluster, "shop").await;
    let standin = cluster.standin_cluster();
    standin.reset_requests();
    let stall = FaultAction::Stall {
        after_bytes: 0,
        duration: Duration::from_secs(60),
    };
    standin.fault(Fault::always("list testruns", stall));
    let database = Database::sqlite();
    let mut program =
        Program::sync_once(&cluster, &database, &[]).config("kubernetes: {requestTimeout: 60s}");
    let child = program
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !standin.requests().contains_key("list testruns") {
        assert!(begun.elapsed() < 3 * AT_ONCE, "it never asked for TestRuns");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let pid = child.id().unwrap().to_string();
    let interrupted = Instant::now();
    let kill = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(kill.unwrap().success());
    let output = tokio::time::timeout(AT_ONCE, child.wait_with_output()).await;
    let output = output.expect("it goes on for all that").unwrap();
    assert!(!output.status.success());
    assert!(interrupted.elapsed() < Duration::from_secs(5));
    for table in ["test_run_steps", "log_streams"] {
        assert_eq!(
            database
                .number(&format!("SELECT count(*) FROM {table}"))
                .await,
            0
        );
    }

    // And the next sync is as if it had not been.
    standin.clear_faults();
    Program::sync_once(&cluster, &database, &[]).report().await;
    assert_eq!(database.statuses().await, ["shop running -"]);
}
