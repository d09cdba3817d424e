//! Which TestRuns become steps although no dashboard asked for them. Pure.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use crate::cluster::TestRun;
use crate::store::{NewStep, Step, StepId};

/// Names the run that a TestRun is a step of.
pub(crate) const RUN_LABEL: &str = "k6sync.dev/run";
/// Names the step that a TestRun is.
pub(crate) const STEP_LABEL: &str = "k6sync.dev/step";

/// Which TestRuns are adopted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Discovery {
    /// Each that no step claims.
    #[default]
    All,
    /// Of those, the ones with both labels.
    Labelled,
    /// None.
    Off,
}

/// The TestRuns that no step claims, neither by uid nor by name, as far as `discovery` wants them.
pub(crate) fn unclaimed(
    test_runs: &[TestRun],
    claimed: &HashMap<String, StepId>,
    active: &[Step],
    discovery: Discovery,
    cluster: Option<&str>,
) -> Vec<NewStep> {
    let awaited: HashSet<(&str, &str)> = active
        .iter()
        .filter(|step| step.record.k6_uid.is_none())
        .map(|step| (step.namespace.as_str(), step.k6_test_name.as_str()))
        .collect();
    test_runs
        .iter()
        .filter(|run| !claimed.contains_key(&run.uid))
        .filter(|run| !awaited.contains(&(run.namespace.as_str(), run.name.as_str())))
        .filter_map(|run| new_step(run, discovery, cluster))
        .collect()
}

fn new_step(run: &TestRun, discovery: Discovery, cluster: Option<&str>) -> Option<NewStep> {
    let label = |name: &str| run.labels.get(name).filter(|value| !value.is_empty());
    let labels = label(RUN_LABEL).zip(label(STEP_LABEL));
    let (run_name, name) = match (discovery, labels) {
        (Discovery::Off, _) | (Discovery::Labelled, None) => return None,
        (_, Some((run_name, name))) => (run_name, name),
        (Discovery::All, None) => (&run.name, &run.name),
    };
    Some(NewStep {
        run_name: run_name.clone(),
        grouped: labels.is_some(),
        name: name.clone(),
        namespace: run.namespace.clone(),
        k6_test_name: run.name.clone(),
        cluster: cluster.map(str::to_owned),
        k6_uid: run.uid.clone(),
        created_at: run.created_at,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cluster::Stage;
    use crate::store::{RunId, StepRecord};

    fn test_run(name: &str, labels: &[(&str, &str)]) -> TestRun {
        TestRun {
            namespace: "ns".to_owned(),
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            created_at: "2026-11-23T04:39:43Z".parse().unwrap(),
            labels: labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
            parallelism: None,
            cleans_up: false,
            stage: Stage::New,
            cloud_aborted: false,
            resource_version: String::new(),
            finalizers: Vec::new(),
            deletion_timestamp: None,
        }
    }

    #[test]
    fn takes_what_is_wanted_and_not_claimed() {
        let labels = [(RUN_LABEL, "nightly"), (STEP_LABEL, "browse")];
        let runs = [
            test_run("plain", &[]),
            test_run("labelled", &labels),
            test_run("half", &labels[..1]),
            test_run("claimed", &labels),
            test_run("awaited", &labels),
        ];
        let claimed = HashMap::from([("uid-claimed".to_owned(), StepId(7))]);
        let awaiting = Step {
            id: StepId(1),
            test_run_id: RunId(1),
            name: "a dashboard's".to_owned(),
            namespace: "ns".to_owned(),
            k6_test_name: "awaited".to_owned(),
            created_at: "2026-11-23T04:39:43Z".parse().unwrap(),
            version: 0,
            held: false,
            record: StepRecord::default(),
        };
        for (discovery, expected) in [
            (
                Discovery::All,
                vec![
                    ("plain", "plain", false),
                    ("nightly", "browse", true),
                    ("half", "half", false),
                ],
            ),
            (Discovery::Labelled, vec![("nightly", "browse", true)]),
            (Discovery::Off, vec![]),
        ] {
            let adopted = unclaimed(
                &runs,
                &claimed,
                std::slice::from_ref(&awaiting),
                discovery,
                None,
            );
            let names: Vec<_> = adopted
                .iter()
                .map(|step| (step.run_name.as_str(), step.name.as_str(), step.grouped))
                .collect();
            assert_eq!(names, expected, "{discovery:?}");
        }
    }
}
