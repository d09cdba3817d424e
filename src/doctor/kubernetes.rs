//! The cluster: is it there, with k6-operator, our rights, and a control ConfigMap that makes sense?

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::check::{PATIENCE, check};
use super::finding::{Finding, Health};
use super::patient::Patient;
use super::rights::{Needed, needed};
use crate::cluster::{Cluster, ClusterError, ConfigMap, Lease, Listed, Namespaces, Right, TestRun};
use crate::sync_loop::control::{Control, Interval};

/// Clocks further apart make times in logs and record hard to compare.
const SKEW: SignedDuration = SignedDuration::from_secs(5);
/// A lease that was not renewed for this long is nobody's.
const STALE: SignedDuration = SignedDuration::from_secs(15);

/// What was found, and what was seen of the cluster for checks that need the database too.
pub(super) struct Examined {
    pub(super) findings: Vec<Finding>,
    pub(super) seen: Seen,
}

/// What was seen of the cluster.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Whether sync is on, and how often; `None`: not known.
    pub(super) control: Option<(bool, Interval)>,
    /// The API server's time, less ours.
    pub(super) ahead: Option<SignedDuration>,
    /// The uids of the namespaces that are synced.
    pub(super) uids: Vec<String>,
}

pub(super) async fn examine(patient: &Patient) -> Examined {
    let mut examined = Examined {
        findings: Vec::new(),
        seen: Seen::default(),
    };
    let mut cluster = None;
    let connected = check("cluster", async {
        let (found, connected) = connect(patient).await?;
        cluster = Some(connected);
        Ok(vec![found])
    });
    examined.findings.extend(connected.await);
    let Some(cluster) = cluster else {
        return examined;
    };
    let own = cluster.default_namespace().to_owned();
    let namespaces = patient
        .namespaces
        .clone()
        .unwrap_or_else(|| Namespaces::Only(vec![own.clone()]));
    let control_namespace = patient.control_namespace.clone().unwrap_or(own);
    let Examined { findings, seen } = &mut examined;
    let fresh = || cluster.until(Instant::now() + PATIENCE);
    findings.extend(check("namespaces", uids(&fresh(), &namespaces, &mut seen.uids)).await);
    let now = fresh();
    let test_runs = test_runs(&now, &namespaces, patient.hold_timeout);
    findings.extend(check("TestRuns", test_runs).await);
    let rights = needed(
        &namespaces,
        &control_namespace,
        &patient.control_config_map,
        patient.lease.as_deref(),
        patient.holds,
    );
    findings.extend(check("rights", check_rights(&fresh(), &rights, &mut seen.ahead)).await);
    if let Some(ahead) = seen.ahead {
        findings.push(clock(ahead));
    }
    let now = fresh();
    let control = control(&now, &control_namespace, patient, &mut seen.control);
    findings.extend(check("control", control).await);
    if let Some(lease) = &patient.lease {
        findings.extend(check("lease", held_lease(&fresh(), &control_namespace, lease)).await);
    }
    examined
}

async fn connect(patient: &Patient) -> Result<(Finding, Cluster), Finding> {
    let cluster = Cluster::connect(patient.context.as_deref(), patient.request_timeout)
        .await
        .map_err(|error| {
            Finding::error(
                "cluster",
                error.to_string(),
                "set KUBECONFIG or --context; without a cluster only the record can be read",
            )
        })?
        .until(Instant::now() + PATIENCE);
    // A question that everybody may ask who is logged in.
    let right = Right {
        group: "k6.io",
        resource: "testruns",
        verb: "list",
        namespace: Some(cluster.default_namespace().to_owned()),
        name: None,
    };
    match cluster.has_right(&right).await {
        // Whoever is refused is known: the check of rights goes on from there.
        Ok(_) | Err(ClusterError::Forbidden { .. }) => {}
        Err(error) => {
            return Err(Finding::error(
                "cluster",
                error.to_string(),
                "see whether `kubectl version` works from here with the same kubeconfig",
            ));
        }
    }
    let version = match cluster.server_version().await {
        Ok(version) => format!(", {version}"),
        Err(_) => String::new(),
    };
    let url = cluster.url();
    Ok((
        Finding::ok("cluster", format!("{url} is reachable{version}")),
        cluster,
    ))
}

/// Whether the namespaces are there.
async fn uids(
    cluster: &Cluster,
    namespaces: &Namespaces,
    uids: &mut Vec<String>,
) -> Result<Vec<Finding>, Finding> {
    let names = match namespaces {
        Namespaces::All => vec!["kube-system".to_owned()],
        Namespaces::Only(names) => names.clone(),
    };
    let mut findings = Vec::new();
    for name in &names {
        match cluster.namespace_uid(name).await {
            Ok(uid) => uids.push(uid),
            Err(ClusterError::NotFound { .. }) => findings.push(Finding::error(
                "namespaces",
                format!("there is no namespace {name}"),
                "check --namespace, or namespaces in the configuration",
            )),
            // The check of rights says it.
            Err(ClusterError::Forbidden { .. }) => {}
            Err(error) => findings.push(Finding::warning(
                "namespaces",
                error.to_string(),
                "see whether the API server is overloaded",
            )),
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "namespaces",
            match namespaces {
                Namespaces::All => "all are synced".to_owned(),
                Namespaces::Only(names) => format!("synced: {}", names.join(", ")),
            },
        ));
    }
    Ok(findings)
}

/// Whether k6-operator's resource is there, its objects can be understood, and none is held for too long.
async fn test_runs(
    cluster: &Cluster,
    namespaces: &Namespaces,
    hold_timeout: std::time::Duration,
) -> Result<Vec<Finding>, Finding> {
    let parts = match namespaces {
        Namespaces::All => vec![Namespaces::All],
        Namespaces::Only(names) => names
            .iter()
            .map(|name| Namespaces::Only(vec![name.clone()]))
            .collect(),
    };
    let mut all: Listed<TestRun> = Listed::default();
    let mut is_listed = false;
    for part in &parts {
        match cluster.test_runs(part).await {
            Ok(listed) => {
                is_listed = true;
                all.extend(listed);
            }
            Err(error @ ClusterError::NotInstalled { .. }) => {
                return Err(Finding::error(
                    "k6-operator",
                    error.to_string(),
                    "install k6-operator, or check the kubeconfig's context",
                ));
            }
            Err(ClusterError::Forbidden { .. }) => {}
            Err(error) => {
                return Err(Finding::error(
                    "TestRuns",
                    error.to_string(),
                    "see whether the API server is overloaded",
                ));
            }
        }
    }
    if !is_listed {
        return Ok(Vec::new());
    }
    let mut findings = vec![Finding::ok(
        "k6-operator",
        "its CRD testruns.k6.io is installed",
    )];
    findings.push(match all.malformed.first() {
        None => Finding::ok("TestRuns", format!("{} can be read", all.items.len())),
        Some(bad) => Finding::warning(
            "TestRuns",
            format!(
                "{} can't be understood, such as {}/{}: {}",
                all.malformed.len(),
                bad.namespace,
                bad.name,
                bad.problem
            ),
            "mend these objects; they are not synced",
        ),
    });
    findings.push(holds(&all.items, hold_timeout, Timestamp::now()));
    Ok(findings)
}

fn holds(test_runs: &[TestRun], timeout: std::time::Duration, now: Timestamp) -> Finding {
    let timeout = SignedDuration::try_from(timeout).unwrap_or(SignedDuration::MAX);
    let held: Vec<&TestRun> = test_runs.iter().filter(|run| run.is_held()).collect();
    let mut overdue = held.iter().filter(|run| {
        run.deletion_timestamp
            .is_some_and(|asked| now.duration_since(asked) >= timeout)
    });
    match overdue.next() {
        Some(run) => Finding::error(
            "holds",
            format!(
                "{} TestRuns are to be deleted and held for longer than capture.holdTimeout, such as {}/{}",
                overdue.count() + 1,
                run.namespace,
                run.name
            ),
            "see why no cycle lets them go (last cycle, control), or run `k6sync release`",
        ),
        None => Finding::ok("holds", format!("{} TestRuns are held", held.len())),
    }
}

async fn check_rights(
    cluster: &Cluster,
    rights: &[Needed],
    ahead: &mut Option<SignedDuration>,
) -> Result<Vec<Finding>, Finding> {
    let mut findings = Vec::new();
    for needed in rights {
        let right = &needed.right;
        let (is_ours, time) = cluster.has_right(right).await.map_err(|error| {
            Finding::warning(
                "rights",
                error.to_string(),
                "see whether the API server is overloaded",
            )
        })?;
        if let Some(time) = time {
            *ahead = Some(time.duration_since(Timestamp::now()));
        }
        if is_ours {
            continue;
        }
        let (place, role) = match &right.namespace {
            Some(namespace) => (format!("in namespace {namespace}"), "Role"),
            None => ("in all namespaces".to_owned(), "ClusterRole"),
        };
        let name = right.name.as_ref().map(|name| format!(" {name}"));
        let name = name.unwrap_or_default();
        let message = format!(
            "whoever runs this may not {} {}{name} {place}: {}",
            right.verb, right.resource, needed.without
        );
        let todo = format!("add the rule {} to a {role} of k6sync's user", right.rule());
        findings.push(match needed.missing {
            Health::Error => Finding::error("rights", message, todo),
            _ => Finding::warning("rights", message, todo),
        });
    }
    if findings.is_empty() {
        let all = format!("all {} that a loop needs are there", rights.len());
        findings.push(Finding::ok("rights", all));
    }
    Ok(findings)
}

/// The API server tells whole seconds, and some time has passed since.
fn clock(ahead: SignedDuration) -> Finding {
    let seconds = ahead.as_secs_f64();
    match ahead.abs() > SKEW {
        true => Finding::warning(
            "clocks",
            format!(
                "the API server's clock is {:.0} s {} of ours",
                seconds.abs(),
                if seconds > 0.0 { "ahead" } else { "behind" }
            ),
            "set the clocks by NTP: times in the record are the cluster's",
        ),
        false => Finding::ok("clocks", "the API server's clock is ours"),
    }
}

async fn control(
    cluster: &Cluster,
    namespace: &str,
    patient: &Patient,
    seen: &mut Option<(bool, Interval)>,
) -> Result<Vec<Finding>, Finding> {
    let name = &patient.control_config_map;
    let map = match cluster.find::<ConfigMap>(namespace, name).await {
        Ok(map) => map,
        // The check of rights says it.
        Err(ClusterError::Forbidden { .. }) => return Ok(Vec::new()),
        Err(error) => {
            return Err(Finding::error(
                "control",
                error.to_string(),
                "see whether the ConfigMap is whole",
            ));
        }
    };
    let (control, warnings) = Control::resolve(map.as_ref(), patient.control_defaults);
    *seen = Some((control.enabled, control.interval));
    let mut findings: Vec<Finding> = warnings
        .into_iter()
        .map(|warning| {
            Finding::warning(
                "control",
                format!("ConfigMap {namespace}/{name}: {warning}"),
                format!("mend it: kubectl edit configmap {name} -n {namespace}"),
            )
        })
        .collect();
    findings.push(match control.enabled {
        true => Finding::ok(
            "control",
            format!(
                "sync is on, every {}, by {}",
                control.interval,
                control.configured_via()
            ),
        ),
        false => Finding::warning(
            "control",
            "sync is off: nothing new is recorded",
            "switch it on with `k6sync job start`, if that is not what you want",
        ),
    });
    Ok(findings)
}

async fn held_lease(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<Vec<Finding>, Finding> {
    let lease = match cluster.find::<Lease>(namespace, name).await {
        Ok(lease) => lease,
        Err(ClusterError::Forbidden { .. }) => return Ok(Vec::new()),
        Err(error) => {
            return Err(Finding::warning(
                "lease",
                error.to_string(),
                "see whether the API server is overloaded",
            ));
        }
    };
    let nobody = |message: String| {
        Finding::warning(
            "lease",
            message,
            "start a loop, unless a CronJob or you run `k6sync sync-once`",
        )
    };
    let spec = lease.map(|lease| lease.spec).unwrap_or_default();
    let Some(holder) = spec.holder() else {
        return Ok(vec![nobody(format!(
            "nobody holds the lease {namespace}/{name}: no loop syncs"
        ))]);
    };
    let now = Timestamp::now();
    Ok(vec![match spec.renew_time {
        Some(renewed) if now.duration_since(renewed) <= STALE => {
            Finding::ok("lease", format!("{holder} holds {namespace}/{name}"))
        }
        Some(renewed) => nobody(format!(
            "{holder} holds {namespace}/{name}, and has not renewed it for {} s",
            now.duration_since(renewed).as_secs()
        )),
        None => nobody(format!("{holder} has never renewed {namespace}/{name}")),
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_a_little() {
        for (seconds, expected) in [
            (0, Health::Ok),
            (5, Health::Ok),
            (-5, Health::Ok),
            (6, Health::Warning),
            (-3600, Health::Warning),
        ] {
            let finding = clock(SignedDuration::from_secs(seconds));
            assert_eq!(finding.status, expected, "{finding:?}");
        }
    }
}
