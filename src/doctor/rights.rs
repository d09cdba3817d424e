//! The rights that k6sync needs, and what is lost without each. The rules are those of `manifests/base/role.yaml`.

use crate::cluster::{Namespaces, Right};

use super::finding::Health;

/// A right, and what is without it.
pub(super) struct Needed {
    pub(super) right: Right,
    pub(super) missing: Health,
    pub(super) without: &'static str,
}

/// What a loop needs in these namespaces, and in the one of the control ConfigMap and the lease.
pub(super) fn needed(
    namespaces: &Namespaces,
    control_namespace: &str,
    config_map: &str,
    lease: Option<&str>,
    holds: bool,
) -> Vec<Needed> {
    let everywhere: Vec<Option<String>> = match namespaces {
        Namespaces::All => vec![None],
        Namespaces::Only(names) => names.iter().cloned().map(Some).collect(),
    };
    let mut all = Vec::new();
    for namespace in everywhere {
        let mut need = |group, resource, verb, missing, without| {
            let name = None;
            let namespace = namespace.clone();
            all.push(Needed {
                right: Right {
                    group,
                    resource,
                    verb,
                    namespace,
                    name,
                },
                missing,
                without,
            });
        };
        need(
            "k6.io",
            "testruns",
            "list",
            Health::Error,
            "no cycle can be completed",
        );
        need(
            "",
            "pods",
            "list",
            Health::Error,
            "no cycle can be completed",
        );
        need("", "pods/log", "get", Health::Error, "no log is recorded");
        need(
            "k6.io",
            "testruns",
            "watch",
            Health::Warning,
            "an end is seen only by the next cycle",
        );
        if holds {
            let without = "no TestRun is held until its logs are recorded";
            need("k6.io", "testruns", "get", Health::Warning, without);
            need("k6.io", "testruns", "patch", Health::Warning, without);
        }
        // Which cluster it is: a namespace is in itself, and kube-system is the same for all.
        let name = namespace
            .clone()
            .unwrap_or_else(|| "kube-system".to_owned());
        all.push(Needed {
            right: Right {
                group: "",
                resource: "namespaces",
                verb: "get",
                namespace: Some(name.clone()),
                name: Some(name),
            },
            missing: Health::Warning,
            without: "it can't be told which cluster this is",
        });
    }
    let mut own = |group, resource, verb, name: Option<&str>, missing, without| {
        all.push(Needed {
            right: Right {
                group,
                resource,
                verb,
                namespace: Some(control_namespace.to_owned()),
                name: name.map(str::to_owned),
            },
            missing,
            without,
        });
    };
    let map = Some(config_map);
    own(
        "",
        "configmaps",
        "get",
        map,
        Health::Error,
        "no cycle is run",
    );
    own(
        "",
        "configmaps",
        "patch",
        map,
        Health::Warning,
        "`k6sync job` and the job API can change nothing",
    );
    if let Some(lease) = lease {
        let without = "no loop can sync; or switch leaderElection off";
        let leases = "coordination.k8s.io";
        own(leases, "leases", "get", Some(lease), Health::Error, without);
        own(
            leases,
            "leases",
            "update",
            Some(lease),
            Health::Error,
            without,
        );
        // It can't be tied to a name.
        own(
            leases,
            "leases",
            "create",
            None,
            Health::Error,
            "the first loop can't make the lease",
        );
    }
    all
}
