//! Tables and properties for the plan. Here is what they are made of: steps, TestRuns, pods and streams.

mod lives;
mod properties;
mod record;
mod whose;

use std::collections::{BTreeMap, HashSet};

use super::streams::{QUIET_AFTER, QUIET_PAUSE};
use super::*;
use crate::cluster::{Container, ContainerState, Job, Terminated};
use crate::store::{GapCause, RunId, StreamId, StreamKey, StreamPosition};

const NAMESPACE: &str = "k6";

fn now() -> Timestamp {
    "2026-11-23T05:00:00Z".parse().unwrap()
}

fn ago(minutes: i64) -> Timestamp {
    now() - SignedDuration::from_mins(minutes)
}

fn seconds_ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

/// A step that nothing is known of yet.
fn step(id: i64, k6_test_name: &str) -> Step {
    Step {
        id: StepId(id),
        test_run_id: RunId(100 + id),
        name: format!("step {id}"),
        namespace: NAMESPACE.to_owned(),
        k6_test_name: k6_test_name.to_owned(),
        created_at: ago(5),
        version: 0,
        held: false,
        record: StepRecord::default(),
    }
}

/// A step that has seen its TestRun.
fn pinned(id: i64, k6_test_name: &str, uid: &str) -> Step {
    let mut step = step(id, k6_test_name);
    step.record.k6_uid = Some(uid.to_owned());
    step.record.status = Status::Running;
    step
}

fn test_run(name: &str, uid: &str, stage: &str) -> TestRun {
    TestRun {
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        created_at: ago(5),
        labels: BTreeMap::new(),
        parallelism: Some(1),
        cleans_up: false,
        stage: Stage::from(stage.to_owned()),
        cloud_aborted: false,
        resource_version: String::new(),
        finalizers: Vec::new(),
        deletion_timestamp: None,
    }
}

/// A runner's pod; its uid is its name.
fn runner(test_run: &str, name: &str, containers: Vec<Container>) -> Pod {
    Pod {
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
        uid: name.to_owned(),
        created_at: ago(4),
        test_run: test_run.to_owned(),
        job: Job::Runner,
        ended: false,
        deleting: false,
        reason: None,
        message: None,
        unschedulable: None,
        containers,
    }
}

/// The container `k6` in this state, at this restart count, with this end of the life before.
fn k6(restart_count: i64, state: ContainerState, last: Option<Terminated>) -> Container {
    Container {
        name: "k6".to_owned(),
        kind: ContainerKind::Main,
        restart_count,
        restartable: false,
        state,
        last,
    }
}

fn running() -> ContainerState {
    ContainerState::Running {
        started_at: Some(ago(3)),
    }
}

fn waiting(reason: &str) -> ContainerState {
    ContainerState::Waiting {
        reason: Some(reason.to_owned()),
        message: None,
    }
}

fn end(exit_code: i64) -> Terminated {
    Terminated {
        exit_code,
        reason: Some(if exit_code == 0 { "Completed" } else { "Error" }.to_owned()),
        message: None,
        started_at: Some(ago(3)),
        finished_at: Some(ago(1)),
    }
}

fn ended(exit_code: i64) -> ContainerState {
    ContainerState::Terminated(end(exit_code))
}

/// A runner's stream of the container `k6` as the database knows it, of a pod whose uid is its name.
fn stream(step_id: i64, pod: &str, restart_count: i64, exit_code: Option<i64>) -> Stream {
    let end = exit_code.map(end);
    Stream {
        id: StreamId(1_000 + restart_count),
        facts: StreamFacts {
            key: StreamKey {
                pod_uid: pod.to_owned(),
                container: "k6".to_owned(),
                restart_count,
            },
            step_id: StepId(step_id),
            pod_name: pod.to_owned(),
            role: Role::Runner,
            state: match end {
                Some(_) => StreamState::Terminated,
                None => StreamState::Running,
            },
            exit_code,
            reason: end.as_ref().and_then(|end| end.reason.clone()),
            started_at: Some(ago(3)),
            finished_at: end.and_then(|end| end.finished_at),
        },
        position: StreamPosition::default(),
        complete: false,
        quiet_read_at: None,
    }
}

fn complete(stream: Stream) -> Stream {
    Stream {
        complete: true,
        ..stream
    }
}

fn malformed(name: &str, test_run: &str) -> Malformed {
    Malformed {
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
        test_run: test_run.to_owned(),
        problem: "status: it is nonsense".to_owned(),
    }
}

/// What a [`Sight`] borrows.
#[derive(Clone, Debug, Default)]
struct World {
    test_runs: Vec<TestRun>,
    bad_test_runs: Vec<Malformed>,
    pods: Vec<Pod>,
    bad_pods: Vec<Malformed>,
    /// By steps that are not active any more; the active ones claim what they are pinned to.
    claimed: Vec<(String, StepId)>,
    streams: Vec<Stream>,
    may_rest: bool,
    cluster: Option<&'static str>,
}

impl World {
    fn of(test_runs: Vec<TestRun>, pods: Vec<Pod>) -> Self {
        Self {
            test_runs,
            pods,
            ..Self::default()
        }
    }

    fn knowing(self, streams: Vec<Stream>) -> Self {
        Self { streams, ..self }
    }

    fn plan(&self, steps: &[Step]) -> Vec<StepPlan> {
        self.plan_at(now(), steps)
    }

    fn plan_at(&self, now: Timestamp, steps: &[Step]) -> Vec<StepPlan> {
        let pinned = steps
            .iter()
            .filter_map(|step| Some((step.record.k6_uid.clone()?, step.id)));
        let claimed = pinned.chain(self.claimed.iter().cloned()).collect();
        let sight = Sight {
            test_runs: &self.test_runs,
            bad_test_runs: &self.bad_test_runs,
            pods: &self.pods,
            bad_pods: &self.bad_pods,
            claimed: &claimed,
            streams: &self.streams,
            now,
            cluster: self.cluster,
            unclaimed_until: now
                .checked_add(SignedDuration::from_mins(1))
                .unwrap_or(Timestamp::MAX),
            missing_after: SignedDuration::from_mins(10),
            may_rest: self.may_rest,
        };
        plan(steps.to_vec(), &sight)
    }

    fn plan_one(&self, step: Step) -> StepPlan {
        let [plan] = <[StepPlan; 1]>::try_from(self.plan(&[step])).unwrap();
        plan
    }

    /// Does what the plans say, as the store would; every log that can be read is read to its end.
    fn carry_out(&mut self, steps: &mut [Step], plans: &[StepPlan]) {
        for (step, plan) in steps.iter_mut().zip(plans) {
            step.record = plan.record.clone();
            for stream in &plan.streams {
                self.carry_out_stream(stream);
            }
        }
    }

    fn carry_out_stream(&mut self, plan: &StreamPlan) {
        let next_id = self.streams.len() as i64;
        let known = self
            .streams
            .iter()
            .position(|stream| stream.facts.key == plan.facts.key);
        let stream = match known {
            Some(place) => &mut self.streams[place],
            None => {
                assert!(plan.is_news, "{plan:?}");
                self.streams.push(Stream {
                    id: StreamId(next_id),
                    facts: plan.facts.clone(),
                    position: StreamPosition::default(),
                    complete: false,
                    quiet_read_at: None,
                });
                self.streams.last_mut().unwrap()
            }
        };
        if plan.is_news && stream.facts.state != StreamState::Terminated {
            // The store never moves a stream to another step.
            let step_id = stream.facts.step_id;
            stream.facts = StreamFacts {
                step_id,
                ..plan.facts.clone()
            };
        }
        stream.complete |= matches!(plan.todo, Todo::Close(_) | Todo::Read { ended: true, .. });
    }
}

fn todo(todo: Todo) -> &'static str {
    match todo {
        Todo::Nothing => "nothing",
        Todo::Read {
            previous: false,
            ended: false,
            ..
        } => "read",
        Todo::Read {
            previous: false,
            ended: true,
            ..
        } => "read to its end",
        Todo::Read {
            previous: true,
            ended: true,
            ..
        } => "read previous to its end",
        Todo::Read {
            previous: true,
            ended: false,
            ..
        } => panic!("what was before has ended"),
        Todo::Close(None) => "close",
        Todo::Close(Some(
            GapCause::Rotated | GapCause::Clock | GapCause::Truncated | GapCause::Pruned,
        )) => {
            panic!("only a log tells that")
        }
        Todo::Close(Some(GapCause::Unavailable)) => "close as unavailable",
        Todo::Close(Some(GapCause::Restarted)) => "close, restarted",
        Todo::Close(Some(GapCause::Deleted)) => "close, deleted",
    }
}

/// `pod/container#restarts state: todo` of each stream; `*` at those that are news.
fn streams(plan: &StepPlan) -> Vec<String> {
    let line = |stream: &StreamPlan| {
        let StreamFacts {
            key,
            pod_name,
            state,
            exit_code,
            ..
        } = &stream.facts;
        let exit_code = exit_code.map(|code| format!(" {code}")).unwrap_or_default();
        let news = if stream.is_news { "*" } else { "" };
        format!(
            "{news}{pod_name}/{}#{} {state}{exit_code}: {}",
            key.container,
            key.restart_count,
            todo(stream.todo)
        )
    };
    plan.streams.iter().map(line).collect()
}

/// `status reason`
fn status(plan: &StepPlan) -> String {
    let StepRecord { status, reason, .. } = &plan.record;
    format!("{status} {}", reason.as_deref().unwrap_or("-"))
}

#[track_caller]
fn assert_errors(plan: &StepPlan, errors: &[&str]) {
    assert_eq!(plan.errors, errors);
}

const NOT_FOUND: &str = "Failed to get K6 test status - 404 not found: there is no TestRun k6/shop";
