//! The rights in `manifests/` are enough, and none is idle.

use serde::Deserialize;
use serde_json::Value;

use crate::support::{Cluster, Database, Program, unique};

fn role() -> Vec<Value> {
    let text = include_str!("../../manifests/rbac.yaml");
    let role = serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .find(|object| object["kind"] == "Role")
        .unwrap();
    role["rules"].as_array().unwrap().clone()
}

async fn sync_with(rules: &[Value]) -> (i32, String) {
    let cluster = Cluster::start().await;
    cluster.moment("t1").await;
    let user = unique("user");
    cluster.allow(&user, rules.into()).await;
    let database = Database::sqlite();
    let run = Program::sync_once(&cluster, &database, &[])
        .kubeconfig(&cluster.kubeconfig_as(&user))
        .run()
        .await;
    (run.code, run.stdout + &run.stderr)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_role_in_manifests_is_what_a_sync_needs() {
    let rules = role();
    let (code, output) = sync_with(&rules).await;
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("\"errors\":0"), "{output}");
    for idle in 0..rules.len() {
        let mut fewer = rules.clone();
        let removed = fewer.remove(idle);
        let (code, output) = sync_with(&fewer).await;
        assert!(
            code == 1 || output.contains("not allowed to get pods/log"),
            "not needed: {removed}"
        );
    }
}
