//! Clusters made up from a seed: TestRuns with the pods and logs that k6-operator would have given them.
//!
//! For benchmarks and load tests. The same [`Spec`] always makes the same objects, but for their resourceVersions.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::generated::{Generated, write_line_at};
use crate::logs::Clock;
use crate::random::{Random, mix};
use crate::resources::Resource;
use crate::state::{State, in_namespace};

/// 2026-01-05T08:00:00Z: when the first run was created. Fixed, so that the clusters are the same each time.
const EPOCH: i64 = 1_767_600_000;
/// Seconds from one run's creation to the next one's, and from a run's creation to its runners' start.
const BETWEEN_RUNS: i64 = 1;
const UNTIL_RUNNERS: i64 = 5;

const NANOSECONDS: i64 = 1_000_000_000;

/// How far the generated runs have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// `started`: the runners are running and their logs can grow.
    #[default]
    Started,
    /// `finished`: all runners have ended with exit code 0.
    Finished,
}

/// What cluster to make up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Uids, pod names and logs follow from it.
    pub seed: u64,
    /// Where the TestRuns are.
    pub namespace: String,
    /// How many TestRuns: `run-0001` and on.
    pub runs: usize,
    /// How many runner pods each TestRun has, beside its initializer and starter.
    pub runners: usize,
    /// How many lines each runner has logged.
    pub lines: usize,
    /// How far the runs have come.
    pub stage: Stage,
    /// The time from one line to the next.
    pub line_step: Duration,
}

impl Default for Spec {
    /// Ten started runs of two runners, a hundred lines each, half a second apart.
    fn default() -> Self {
        Self {
            seed: 1,
            namespace: "k6-runs".to_owned(),
            runs: 10,
            runners: 2,
            lines: 100,
            stage: Stage::Started,
            line_step: Duration::from_millis(500),
        }
    }
}

/// What one pod is in its run.
enum Role {
    Initializer,
    Starter,
    Runner(usize),
}

/// Adds the runs to the state.
pub(crate) fn fill(state: &mut State, spec: &Spec) {
    let (Some(test_runs), Some(pods)) = (Resource::named("testruns"), Resource::named("pods"))
    else {
        return;
    };
    let mut random = Random::seeded(spec.seed);
    for index in 1..=spec.runs {
        let run = Run {
            spec,
            name: format!("run-{index:04}"),
            uid: random.uid(),
            created: EPOCH + i64::try_from(index).unwrap_or(0) * BETWEEN_RUNS,
        };
        state.put(test_runs, run.test_run());
        let runners = (1..=spec.runners).map(Role::Runner);
        for role in [Role::Initializer, Role::Starter]
            .into_iter()
            .chain(runners)
        {
            let pod = run.pod(&role, &mut random);
            let name = pod["metadata"]["name"].as_str().unwrap_or("").to_owned();
            state.put(pods, pod);
            run.write_log(state, &role, &name, random.next());
        }
    }
}

struct Run<'a> {
    spec: &'a Spec,
    name: String,
    uid: String,
    /// Seconds since 1970 UTC.
    created: i64,
}

impl Run<'_> {
    fn test_run(&self) -> Value {
        let stage = match self.spec.stage {
            Stage::Started => "started",
            Stage::Finished => "finished",
        };
        json!({
            "apiVersion": "k6.io/v1alpha1",
            "kind": "TestRun",
            "metadata": {
                "name": self.name, "namespace": self.spec.namespace, "uid": self.uid,
                "creationTimestamp": time(self.created), "generation": 1,
            },
            "spec": {
                "parallelism": self.spec.runners, "paused": "true", "quiet": "true",
                "script": { "configMap": { "name": "scripts", "file": "test.js" } },
            },
            "status": { "stage": stage },
        })
    }

    fn runners_ran(&self) -> i64 {
        let nanoseconds = self
            .step()
            .saturating_mul(i64::try_from(self.spec.lines).unwrap_or(0));
        nanoseconds / NANOSECONDS + 1
    }

    fn step(&self) -> i64 {
        i64::try_from(self.spec.line_step.as_nanos()).unwrap_or(i64::MAX)
    }

    fn pod(&self, role: &Role, random: &mut Random) -> Value {
        let Self { spec, name, .. } = self;
        let runners_start = self.created + UNTIL_RUNNERS;
        let (suffix, container, start, ended) = match role {
            Role::Initializer => ("initializer".to_owned(), "k6", self.created, Some(2)),
            Role::Starter => ("starter".to_owned(), "k6-curl", runners_start, Some(1)),
            Role::Runner(number) => {
                let ended = (spec.stage == Stage::Finished).then(|| self.runners_ran());
                (number.to_string(), "k6", runners_start, ended)
            }
        };
        let job = format!("{name}-{suffix}");
        let (job_uid, pod_uid) = (random.uid(), random.uid());
        let id = format!("containerd://{:016x}{:016x}", random.next(), random.next());
        let mut labels = json!({
            "app": "k6", "k6_cr": name, "job-name": job, "controller-uid": job_uid,
            "batch.kubernetes.io/job-name": job, "batch.kubernetes.io/controller-uid": job_uid,
        });
        if matches!(role, Role::Runner(_)) {
            labels["runner"] = "true".into();
        }
        let (image, command) = self.image_and_command(role);
        let state = match ended {
            None => json!({ "running": { "startedAt": time(start) } }),
            Some(after) => json!({ "terminated": {
                "exitCode": 0, "reason": "Completed", "startedAt": time(start), "finishedAt": time(start + after),
                "containerID": id,
            } }),
        };
        let running = ended.is_none();
        let condition = |kind: &str, status: bool| {
            let status = if status { "True" } else { "False" };
            json!({ "type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": time(start) })
        };
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": format!("{job}-{}", random.suffix(5)), "generateName": format!("{job}-"),
                "namespace": spec.namespace, "uid": pod_uid, "creationTimestamp": time(start), "labels": labels,
                "ownerReferences": [{
                    "apiVersion": "batch/v1", "kind": "Job", "name": job, "uid": job_uid,
                    "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "spec": {
                "volumes": [{ "name": "k6-test-volume", "configMap": { "name": "scripts", "defaultMode": 420 } }],
                "containers": [{
                    "name": container, "image": image, "command": command, "resources": {},
                    "volumeMounts": [{ "name": "k6-test-volume", "mountPath": "/test" }],
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    "imagePullPolicy": "IfNotPresent",
                }],
                "restartPolicy": "Never", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
                "serviceAccountName": "default", "serviceAccount": "default", "nodeName": "node1",
                "securityContext": {}, "schedulerName": "default-scheduler", "priority": 0,
                "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
            },
            "status": {
                "phase": if running { "Running" } else { "Succeeded" },
                "conditions": [
                    condition("Initialized", true), condition("Ready", running),
                    condition("ContainersReady", running), condition("PodScheduled", true),
                ],
                "hostIP": "10.200.0.1", "podIP": "10.201.0.1", "podIPs": [{ "ip": "10.201.0.1" }],
                "startTime": time(start),
                "containerStatuses": [{
                    "name": container, "state": state, "lastState": {}, "ready": running, "restartCount": 0,
                    "image": image, "imageID": "sha256:0", "containerID": id, "started": running,
                }],
                "qosClass": "BestEffort",
            },
        })
    }

    fn image_and_command(&self, role: &Role) -> (&'static str, Value) {
        match role {
            Role::Initializer => (
                "docker.io/grafana/k6:latest",
                json!([
                    "sh",
                    "-c",
                    "k6 archive /test/test.js -O /tmp/a.tar && k6 inspect --execution-requirements /tmp/a.tar"
                ]),
            ),
            Role::Starter => (
                "ghcr.io/grafana/k6-operator:latest-starter",
                json!(["sh", "-c", "curl --retry 3 -X PATCH …/v1/status"]),
            ),
            Role::Runner(number) => (
                "docker.io/grafana/k6:latest",
                json!([
                    "k6",
                    "run",
                    "--quiet",
                    "/test/test.js",
                    "--address=0.0.0.0:6565",
                    "--paused",
                    "--tag",
                    format!("instance_id={number}"),
                    "--tag",
                    format!("testrun_name={}", self.name),
                ]),
            ),
        }
    }

    fn write_log(&self, state: &mut State, role: &Role, pod: &str, seed: u64) {
        let namespace = &self.spec.namespace;
        let at = (self.created + UNTIL_RUNNERS) * NANOSECONDS;
        match role {
            Role::Runner(_) => {
                let lines = self.spec.lines as u64;
                let log = state.logs.open(namespace, pod, "k6");
                log.begin_with(Generated::of_lines(seed, lines, at, self.step()));
            }
            Role::Starter => {
                let log = state.logs.open(namespace, pod, "k6-curl");
                log.write_line(at, b"{data:{attributes:{status:1,paused:false}}}");
            }
            Role::Initializer => {
                let log = state.logs.open(namespace, pod, "k6");
                let at = self.created * NANOSECONDS;
                for (index, line) in [
                    "{",
                    "  \"maxVUs\": 10,",
                    "  \"totalDuration\": \"60s\"",
                    "}",
                ]
                .iter()
                .enumerate()
                {
                    let later = i64::try_from(index).unwrap_or(0) * 2000;
                    log.write_line(at + later, line.as_bytes());
                }
            }
        }
    }
}

/// Adds a line of each of these times to the log of each runner that runs.
pub(crate) fn append_lines(
    state: &State,
    namespace: &str,
    times: impl Iterator<Item = i64> + Clone,
) {
    let Some(pods) = Resource::named("pods") else {
        return;
    };
    let objects = state.objects(pods);
    for (key, stored) in in_namespace(&objects, pods, Some(namespace), "") {
        let is_runner = stored.labels.get("runner").is_some_and(|v| v == "true");
        if !is_runner || stored.value(pods)["status"]["phase"] != "Running" {
            continue;
        }
        let pod = key.split_once('/').map_or(&**key, |(_, name)| name);
        let Some(log) = state.logs.find(namespace, pod, "k6") else {
            continue;
        };
        let seed = pod
            .bytes()
            .fold(0, |seed, byte| mix(seed ^ u64::from(byte)));
        let (mut clock, mut line, first) = (Clock::new(), Vec::new(), log.parts());
        for (index, ts) in (0..).zip(times.clone()) {
            line.clear();
            write_line_at(seed, first + index, ts, &mut clock, &mut line);
            log.write_line(ts, line.strip_suffix(b"\n").unwrap_or(&line));
        }
    }
}

fn time(seconds: i64) -> String {
    // All times here are near EPOCH, or as far from it as a log is long.
    Timestamp::from_second(seconds)
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::{Spec, Stage, append_lines, fill};
    use crate::logs::{ReadOptions, Which};
    use crate::random::Random;
    use crate::resources::Resource;
    use crate::state::State;

    fn made(spec: &Spec) -> State {
        let mut state = State::new(Random::seeded(9));
        fill(&mut state, spec);
        state
    }

    #[test]
    fn a_seed_always_makes_the_same_cluster() {
        let spec = Spec::default();
        let (one, two) = (made(&spec), made(&spec));
        for plural in ["testruns", "pods"] {
            let resource = Resource::named(plural).expect("served");
            assert_eq!(one.list(resource, None), two.list(resource, None));
        }
        let pods = Resource::named("pods").expect("served");
        assert_eq!(one.list(pods, Some("k6-runs")).len(), 10 * 4);
    }

    #[test]
    fn running_logs_grow_and_finished_ones_do_not() {
        let lines = |spec: &Spec| {
            let state = made(spec);
            append_lines(
                &state,
                "k6-runs",
                [1_767_700_000_000_000_000; 3].into_iter(),
            );
            let pods = Resource::named("pods").expect("served");
            let runner = state
                .list(pods, None)
                .into_iter()
                .find(|pod| pod["metadata"]["labels"]["runner"] == "true")
                .expect("a runner");
            let name = runner["metadata"]["name"]
                .as_str()
                .expect("a name")
                .to_owned();
            let log = state.logs.find("k6-runs", &name, "k6").expect("a log");
            let answer = log.read(Which::Current, &ReadOptions::default());
            let text: Vec<u8> = answer.expect("a life").flatten().collect();
            text.iter().filter(|byte| **byte == b'\n').count()
        };
        let started = Spec::default();
        let finished = Spec {
            stage: Stage::Finished,
            ..Spec::default()
        };
        assert_eq!((lines(&started), lines(&finished)), (103, 100));
    }
}
