//! What may be a secret is shown by no error, wherever it was put.

use serde_json::{Value, json};

use super::{file, kubeconfig_of};
use crate::support::{Cluster, Program};

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
