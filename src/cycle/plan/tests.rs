//! Tables and properties for the plan.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::store::{RunId, StreamId, StreamPosition};

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

// === what there is ===

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

// === what is planned, in words ===

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

// === which TestRun is whose ===

#[test]
fn a_step_is_pinned_to_the_test_run_of_its_name() {
    let world = World::of(
        vec![
            test_run("cart", "uid-cart", "started"),
            test_run("shop", "uid-shop", "created"),
        ],
        vec![],
    );
    let plan = world.plan_one(step(1, "shop"));
    assert_eq!(
        plan.record,
        StepRecord {
            k6_uid: Some("uid-shop".to_owned()),
            parallelism: Some(1),
            stage: Some("created".to_owned()),
            status: Status::Initializing,
            ..StepRecord::default()
        }
    );
    assert_errors(&plan, &[]);
    assert_eq!(plan.clue, None);
}

#[test]
fn a_test_run_of_another_namespace_is_another() {
    let mut elsewhere = test_run("shop", "uid", "started");
    elsewhere.namespace = "other".to_owned();
    let mut pod = runner("shop", "a", vec![k6(0, running(), None)]);
    pod.namespace = "other".to_owned();
    let plan = World::of(vec![elsewhere], vec![pod]).plan_one(step(1, "shop"));
    assert_eq!(plan.record, StepRecord::default());
    assert_errors(&plan, &[NOT_FOUND]);
    assert!(plan.streams.is_empty());
}

#[test]
fn a_pinned_step_follows_the_uid_and_not_the_name() {
    let world = World::of(
        vec![test_run("shop", "new", "started")],
        vec![runner("shop", "a", vec![k6(0, running(), None)])],
    );
    let plan = world.plan_one(pinned(1, "shop", "old"));
    assert_eq!(status(&plan), "lost TestRunVanished");
    assert_eq!(plan.record.k6_uid.as_deref(), Some("old"));
    assert_errors(
        &plan,
        &[&format!(
            "{NOT_FOUND} with the uid that this step had; it was made anew"
        )],
    );
    assert!(plan.streams.is_empty(), "the pod is the new TestRun's");

    let plan = world.plan_one(pinned(1, "shop", "new"));
    assert_eq!(status(&plan), "running -");
    assert_errors(&plan, &[]);
    assert_eq!(streams(&plan), ["*a/k6#0 running: read"]);
}

#[test]
fn of_two_steps_of_one_name_the_oldest_gets_the_test_run() {
    let mut world = World::of(vec![test_run("shop", "uid", "started")], vec![]);
    let mut steps = [step(1, "shop"), step(2, "shop")];
    let plans = world.plan(&steps);
    assert_eq!(plans[0].record.k6_uid.as_deref(), Some("uid"));
    assert_errors(&plans[0], &[]);
    assert_eq!(plans[1].record, StepRecord::default());
    assert_errors(&plans[1], &[NOT_FOUND]);

    // From then on it is known whose it is.
    world.carry_out(&mut steps, &plans);
    let plans = world.plan(&steps);
    assert_errors(&plans[0], &[]);
    assert_eq!(plans[1].record, StepRecord::default());
    let claimed = format!("{NOT_FOUND} for this step: the one of that name belongs to step 1");
    assert_errors(&plans[1], &[&claimed]);
}

#[test]
fn the_test_run_of_a_step_at_its_end_is_nobody_elses() {
    let world = World {
        claimed: vec![("uid".to_owned(), StepId(7))],
        ..World::of(vec![test_run("shop", "uid", "finished")], vec![])
    };
    let plan = world.plan_one(step(8, "shop"));
    assert_eq!(plan.record, StepRecord::default());
    let claimed = format!("{NOT_FOUND} for this step: the one of that name belongs to step 7");
    assert_errors(&plan, &[&claimed]);
}

// === which cluster a step belongs to ===

#[test]
fn a_step_belongs_to_the_cluster_that_shows_its_test_run_or_a_pod_of_it() {
    let seen = || test_run("shop", "uid", "started");
    let pods = || vec![runner("shop", "a", vec![k6(0, running(), None)])];
    let known = || vec![stream(1, "a", 0, None)];
    let mut owned = pinned(1, "shop", "uid");
    owned.record.cluster = Some("first".to_owned());
    let unclaimed = || pinned(1, "shop", "uid");
    for (case, cluster, step, world, owner) in [
        (
            "adopted before",
            Some("here"),
            unclaimed(),
            World::of(vec![seen()], vec![]),
            Some("here"),
        ),
        (
            "asked for",
            Some("here"),
            step(1, "shop"),
            World::of(vec![seen()], vec![]),
            Some("here"),
        ),
        (
            "not known",
            None,
            unclaimed(),
            World::of(vec![seen()], vec![]),
            None,
        ),
        (
            "another's",
            Some("here"),
            owned.clone(),
            World::of(vec![seen()], vec![]),
            Some("first"),
        ),
        (
            "a pod",
            Some("here"),
            unclaimed(),
            World::of(vec![], pods()).knowing(known()),
            Some("here"),
        ),
        (
            "nothing",
            Some("here"),
            unclaimed(),
            World::of(vec![], vec![]).knowing(known()),
            None,
        ),
        (
            "not yet there",
            Some("here"),
            step(1, "shop"),
            World::of(vec![], vec![]),
            None,
        ),
    ] {
        let plan = World { cluster, ..world }.plan_one(step);
        assert_eq!(plan.record.cluster.as_deref(), owner, "{case}");
    }
}

#[test]
fn a_step_of_an_unknown_cluster_is_neither_lost_nor_cut_off_while_others_may_show_it() {
    // A pod of the same name is not enough: TestRuns of other clusters may have that too.
    let foreign = vec![runner("shop", "b", vec![k6(0, running(), None)])];
    let world = |cluster, pods: Vec<Pod>| World {
        cluster,
        ..World::of(vec![], pods).knowing(vec![stream(1, "a", 0, None)])
    };
    let waiting = world(Some("here"), foreign).plan_one(pinned(1, "shop", "uid"));
    assert_eq!(
        (status(&waiting), waiting.streams.len()),
        ("running -".to_owned(), 0)
    );
    assert!(
        waiting.errors[0].contains("nobody knows in which cluster"),
        "{:?}",
        waiting.errors
    );
    // Where clusters can't be told apart, all is as it was.
    let lost = world(None, vec![]).plan_one(pinned(1, "shop", "uid"));
    assert_eq!(status(&lost), "lost TestRunVanished");
    assert_eq!(streams(&lost), ["a/k6#0 running: close, deleted"]);
    // And not for ever.
    let step = pinned(1, "shop", "uid");
    let world = world(Some("here"), vec![]);
    let claimed = HashMap::new();
    let sight = Sight {
        test_runs: &[],
        bad_test_runs: &[],
        pods: &[],
        bad_pods: &[],
        claimed: &claimed,
        streams: &world.streams,
        now: now(),
        cluster: Some("here"),
        unclaimed_until: now(),
        missing_after: SignedDuration::from_mins(10),
        may_rest: false,
    };
    let late = plan(vec![step], &sight);
    assert_eq!(status(&late[0]), "lost TestRunVanished");
}

// === which pods are whose ===

#[test]
fn pods_of_an_earlier_test_run_of_the_name_do_not_count() {
    let mut old = runner("shop", "old", vec![k6(0, ended(99), None)]);
    old.created_at = ago(30);
    let young = runner("shop", "young", vec![k6(0, running(), None)]);
    // By an API server's clock that is a little slow.
    let mut same = runner("shop", "same", vec![k6(0, running(), None)]);
    same.created_at = ago(5) - CLOCK_SKEW;
    let world = World::of(
        vec![test_run("shop", "new", "started")],
        vec![old.clone(), young, same],
    );
    let mine = ["*young/k6#0 running: read", "*same/k6#0 running: read"];
    let plan = world.plan_one(step(1, "shop"));
    assert_eq!(streams(&plan), mine);
    assert_eq!(status(&plan), "running -");

    // They are the step's of the earlier one, if there is such a step.
    let plans = world.plan(&[pinned(1, "shop", "old"), pinned(2, "shop", "new")]);
    assert_eq!(
        streams(&plans[0]),
        ["*old/k6#0 terminated 99: read to its end"]
    );
    assert_eq!(status(&plans[0]), "failed ThresholdsHaveFailed");
    assert_eq!(streams(&plans[1]), mine);
}

#[test]
fn pods_that_are_known_keep_their_step() {
    // By their times both pods would be the other step's.
    let mut first = runner("shop", "first", vec![k6(0, running(), None)]);
    first.created_at = ago(1);
    let mut second = runner("shop", "second", vec![k6(0, running(), None)]);
    second.created_at = ago(30);
    let world = World::of(
        vec![test_run("shop", "new", "started")],
        vec![first, second],
    )
    .knowing(vec![
        stream(1, "first", 0, None),
        stream(2, "second", 0, None),
    ]);
    let plans = world.plan(&[pinned(1, "shop", "old"), pinned(2, "shop", "new")]);
    assert_eq!(streams(&plans[0]), ["first/k6#0 running: read"]);
    assert_eq!(streams(&plans[1]), ["second/k6#0 running: read"]);
}

#[test]
fn pods_without_a_test_run_are_nobodys_who_has_not_seen_it() {
    let pods = vec![runner("shop", "a", vec![k6(0, running(), None)])];
    let world = World::of(vec![], pods);
    assert!(world.plan_one(step(1, "shop")).streams.is_empty());
    let plan = world.plan_one(pinned(1, "shop", "gone"));
    assert_eq!(streams(&plan), ["*a/k6#0 running: read"]);
}

#[test]
fn of_two_steps_whose_test_runs_are_gone_the_last_gets_the_pods_that_are_left() {
    let pods = vec![runner("shop", "a", vec![k6(0, running(), None)])];
    let steps = [pinned(1, "shop", "gone"), pinned(2, "shop", "gone too")];
    for test_runs in [vec![], vec![test_run("shop", "new", "created")]] {
        let mut world = World::of(test_runs, pods.clone());
        world.pods[0].created_at = ago(6);
        let plans = world.plan(&steps);
        assert!(plans[0].streams.is_empty(), "a stream is of one step");
        assert_eq!(streams(&plans[1]), ["*a/k6#0 running: read"]);
    }
}

// === the lives of containers ===

/// What is planned for a pod with one container, the TestRun being `started`.
fn streams_of(
    container: Container,
    change: impl FnOnce(&mut Pod),
    known: Vec<Stream>,
) -> Vec<String> {
    let mut pod = runner("shop", "a", vec![container]);
    change(&mut pod);
    let world = World::of(vec![test_run("shop", "uid", "started")], vec![pod]).knowing(known);
    streams(&world.plan_one(pinned(1, "shop", "uid")))
}

#[test]
fn each_life_of_a_container_is_read_where_its_log_is() {
    for (container, expected) in [
        (
            k6(0, waiting("ContainerCreating"), None),
            &["*a/k6#0 waiting: nothing"][..],
        ),
        (k6(0, running(), None), &["*a/k6#0 running: read"]),
        (
            k6(0, ended(107), None),
            &["*a/k6#0 terminated 107: read to its end"],
        ),
        (
            k6(2, running(), Some(end(99))),
            &[
                "*a/k6#1 terminated 99: read previous to its end",
                "*a/k6#2 running: read",
            ],
        ),
        (
            k6(1, ended(0), Some(end(99))),
            &[
                "*a/k6#0 terminated 99: read previous to its end",
                "*a/k6#1 terminated 0: read to its end",
            ],
        ),
        // Restarted, but nothing is told of the life before.
        (k6(2, running(), None), &["*a/k6#2 running: read"]),
        // Between two lives the log is still that of the one that ended.
        (
            k6(0, waiting("CrashLoopBackOff"), Some(end(1))),
            &["*a/k6#0 terminated 1: read to its end"],
        ),
        (
            k6(3, waiting("CrashLoopBackOff"), Some(end(1))),
            &["*a/k6#3 terminated 1: read to its end"],
        ),
    ] {
        let state = format!("{container:?}");
        assert_eq!(streams_of(container, |_| {}, vec![]), expected, "{state}");
    }
}

#[test]
fn a_container_that_runs_in_a_pod_that_is_over_is_read_until_its_end_is_told() {
    let mut pod = runner("shop", "a", vec![k6(0, running(), None)]);
    pod.ended = true;
    pod.reason = Some("NodeLost".to_owned());
    let world = World::of(vec![test_run("shop", "uid", "finished")], vec![pod]);
    let plan = world.plan_one(step(1, "shop"));
    assert_eq!(streams(&plan), ["*a/k6#0 running: read"]);
    assert_eq!(status(&plan), "errored NodeLost");
}

#[test]
fn a_pod_that_is_over_without_a_word_on_its_containers_counts_all_the_same() {
    let mut pod = runner("shop", "a", vec![]);
    pod.ended = true;
    pod.reason = Some("Evicted".to_owned());
    let world = World::of(vec![test_run("shop", "uid", "finished")], vec![pod]);
    let plan = world.plan_one(step(1, "shop"));
    assert_eq!(status(&plan), "errored Evicted");
    assert!(plan.streams.is_empty(), "there is no log to read");
}

#[test]
fn a_container_that_never_started_in_a_pod_that_is_over_has_no_log_and_no_gap() {
    let over = |pod: &mut Pod| pod.ended = true;
    let container = || k6(0, waiting("PodInitializing"), None);
    assert_eq!(
        streams_of(container(), over, vec![]),
        ["*a/k6#0 waiting: close"]
    );
    let mut known = stream(1, "a", 0, None);
    known.facts.state = StreamState::Waiting;
    known.facts.reason = Some("PodInitializing".to_owned());
    known.facts.started_at = None;
    assert_eq!(
        streams_of(container(), over, vec![known.clone()]),
        ["a/k6#0 waiting: close"]
    );
    assert_eq!(
        streams_of(container(), over, vec![complete(known)]),
        ["a/k6#0 waiting: nothing"]
    );
}

#[test]
fn a_container_that_ended_is_told_with_all_that_is_known_of_its_end() {
    let mut pod = runner("shop", "a", vec![k6(0, ended(137), None)]);
    let plan = |pod: &Pod| {
        let world = World::of(vec![test_run("shop", "uid", "started")], vec![pod.clone()]);
        world.plan_one(step(1, "shop")).streams.remove(0).facts
    };
    assert_eq!(plan(&pod), stream(1, "a", 0, Some(137)).facts);

    // Why the pod was ended says more than how the container took it.
    pod.reason = Some("Evicted".to_owned());
    assert_eq!(plan(&pod).reason.as_deref(), Some("Evicted"));
}

#[test]
fn a_step_whose_plan_panics_stays_as_it_is_and_the_others_are_planned() {
    let steps = vec![
        pinned(1, "a", "a"),
        pinned(2, "b", "b"),
        pinned(3, "c", "c"),
    ];
    let planned = |step: &Step| StepPlan {
        step: step.clone(),
        record: StepRecord::default(),
        clue: None,
        errors: Vec::new(),
        streams: Vec::new(),
        awaits_cluster: false,
    };
    let plans = plan_each(steps.clone(), |step| {
        assert_ne!(step.id, StepId(2), "step {} is odd", step.id);
        planned(step)
    });
    assert_eq!(
        (&plans[0], &plans[2]),
        (&planned(&steps[0]), &planned(&steps[2]))
    );
    assert_eq!(
        (&plans[1].step, &plans[1].record),
        (&steps[1], &steps[1].record)
    );
    let error = &plans[1].errors[0];
    assert!(
        error.contains("a bug in k6sync") && error.contains("step 2 is odd"),
        "{error}"
    );
}

#[test]
fn a_containers_part_follows_from_its_job() {
    for (job, kind, role) in [
        (Job::Initializer, ContainerKind::Main, Role::Initializer),
        (Job::Starter, ContainerKind::Main, Role::Starter),
        (Job::Runner, ContainerKind::Main, Role::Runner),
        (Job::Runner, ContainerKind::Other, Role::Other),
        (Job::Initializer, ContainerKind::Other, Role::Other),
    ] {
        let mut pod = runner("shop", "a", vec![k6(0, running(), None)]);
        pod.job = job;
        pod.containers[0].kind = kind;
        let world = World::of(vec![test_run("shop", "uid", "started")], vec![pod]);
        let plan = world.plan_one(step(1, "shop"));
        assert_eq!(plan.streams[0].facts.role, role, "{job:?} {kind:?}");
    }
}

#[test]
fn nothing_is_news_if_the_facts_are_the_same() {
    let known = || vec![stream(1, "a", 0, None)];
    assert_eq!(
        streams_of(k6(0, running(), None), |_| {}, known()),
        ["a/k6#0 running: read"]
    );
    assert_eq!(
        streams_of(k6(0, ended(0), None), |_| {}, known()),
        ["*a/k6#0 terminated 0: read to its end"]
    );
    // How it ended stays as first told.
    assert_eq!(
        streams_of(
            k6(0, ended(0), None),
            |_| {},
            vec![stream(1, "a", 0, Some(99))]
        ),
        ["a/k6#0 terminated 0: read to its end"]
    );
}

#[test]
fn a_complete_log_is_never_read_again() {
    for (container, known) in [
        (k6(0, running(), None), stream(1, "a", 0, None)),
        (k6(0, ended(0), None), stream(1, "a", 0, Some(0))),
        (
            k6(0, waiting("CrashLoopBackOff"), Some(end(0))),
            stream(1, "a", 0, Some(0)),
        ),
    ] {
        let todos = streams_of(container, |_| {}, vec![complete(known)]);
        assert_eq!(todos.len(), 1);
        assert!(todos[0].ends_with(": nothing"), "{todos:?}");
    }
    assert_eq!(
        streams_of(
            k6(1, running(), Some(end(0))),
            |_| {},
            vec![complete(stream(1, "a", 0, Some(0)))]
        ),
        ["a/k6#0 terminated 0: nothing", "*a/k6#1 running: read"]
    );
}

// === logs that have long been quiet ===

/// Seconds ago: the last line, and when the log was last read and had nothing new.
fn quiet(last_line: i64, read: Option<i64>) -> Stream {
    let mut stream = stream(1, "a", 0, None);
    let ts = seconds_ago(last_line).as_nanosecond();
    stream.position.cursor_ts = Some(i64::try_from(ts).unwrap());
    stream.quiet_read_at = read.map(seconds_ago);
    stream
}

#[test]
fn a_log_that_has_long_been_quiet_is_read_once_a_minute() {
    let long = QUIET_AFTER.as_secs();
    let pause = QUIET_PAUSE.as_secs();
    let without_lines = |started: i64, read: i64| Stream {
        position: StreamPosition::default(),
        facts: StreamFacts {
            started_at: Some(seconds_ago(started)),
            ..quiet(0, None).facts
        },
        ..quiet(0, Some(read))
    };
    for (case, container, known, may_rest, expected) in [
        (
            "quiet, just read",
            running(),
            quiet(long, Some(20)),
            true,
            "nothing",
        ),
        (
            "quiet, never read so",
            running(),
            quiet(long, None),
            true,
            "read",
        ),
        (
            "a minute is over",
            running(),
            quiet(long, Some(pause)),
            true,
            "read",
        ),
        (
            "not quiet for long",
            running(),
            quiet(long - 1, Some(20)),
            true,
            "read",
        ),
        (
            "no cycle follows",
            running(),
            quiet(long, Some(20)),
            false,
            "read",
        ),
        (
            "read in the future",
            running(),
            quiet(long, Some(-1)),
            true,
            "read",
        ),
        (
            "never a line",
            running(),
            without_lines(long, 20),
            true,
            "nothing",
        ),
        (
            "just started",
            running(),
            without_lines(long - 1, 20),
            true,
            "read",
        ),
        (
            "it has ended",
            ended(0),
            quiet(long, Some(20)),
            true,
            "read to its end",
        ),
    ] {
        let pod = runner("shop", "a", vec![k6(0, container, None)]);
        let world = World {
            may_rest,
            ..World::of(vec![test_run("shop", "uid", "started")], vec![pod]).knowing(vec![known])
        };
        let streams = streams(&world.plan_one(pinned(1, "shop", "uid")));
        let [stream] = &streams[..] else {
            panic!("{case}: {streams:?}");
        };
        assert!(
            stream.ends_with(&format!(": {expected}")),
            "{case}: {stream}"
        );
    }
}

#[test]
fn what_may_be_gone_by_the_next_cycle_does_not_rest() {
    type Change = fn(&mut World);
    let changes: [(Change, &str); 4] = [
        (|_| {}, "nothing"),
        (|world| world.pods[0].deleting = true, "read"),
        (|world| world.pods[0].ended = true, "read"),
        (
            |world| world.test_runs[0].deletion_timestamp = Some(now()),
            "read",
        ),
    ];
    for (change, expected) in changes {
        let pod = runner("shop", "a", vec![k6(0, running(), None)]);
        let mut world = World {
            may_rest: true,
            ..World::of(vec![test_run("shop", "uid", "started")], vec![pod])
                .knowing(vec![quiet(QUIET_AFTER.as_secs(), Some(20))])
        };
        change(&mut world);
        let streams = streams(&world.plan_one(pinned(1, "shop", "uid")));
        assert!(
            streams[0].ends_with(&format!(": {expected}")),
            "{streams:?}"
        );
    }
}

#[test]
fn the_end_of_a_quiet_container_is_read_at_once_behind_a_restart_too() {
    let world = World {
        may_rest: true,
        ..World::of(
            vec![test_run("shop", "uid", "started")],
            vec![runner("shop", "a", vec![k6(1, running(), Some(end(1)))])],
        )
        .knowing(vec![quiet(QUIET_AFTER.as_secs(), Some(20))])
    };
    assert_eq!(
        streams(&world.plan_one(pinned(1, "shop", "uid"))),
        [
            "*a/k6#0 terminated 1: read previous to its end",
            "*a/k6#1 running: read"
        ]
    );
}

// === streams whose container is gone ===

#[test]
fn what_is_gone_unread_is_closed_with_a_gap_that_says_why() {
    let present = || runner("shop", "a", vec![k6(3, running(), Some(end(0)))]);
    let visible = [
        "*a/k6#2 terminated 0: read previous to its end",
        "*a/k6#3 running: read",
    ];
    for (known, expected) in [
        (stream(1, "b", 0, None), "b/k6#0 running: close, deleted"),
        (
            stream(1, "b", 0, Some(0)),
            "b/k6#0 terminated 0: close, deleted",
        ),
        (
            complete(stream(1, "b", 0, Some(0))),
            "b/k6#0 terminated 0: nothing",
        ),
        (stream(1, "a", 1, None), "a/k6#1 running: close, restarted"),
        (complete(stream(1, "a", 1, None)), "a/k6#1 running: nothing"),
    ] {
        let world = World::of(vec![test_run("shop", "uid", "started")], vec![present()])
            .knowing(vec![known]);
        let plan = world.plan_one(pinned(1, "shop", "uid"));
        assert_eq!(streams(&plan), [visible[0], visible[1], expected]);
        assert_errors(&plan, &[]);
    }
}

#[test]
fn a_pod_that_cannot_be_read_is_not_gone() {
    let world = World {
        bad_pods: vec![malformed("b", "shop"), malformed("c", "cart")],
        ..World::of(vec![test_run("shop", "uid", "started")], vec![])
    }
    .knowing(vec![stream(1, "b", 0, None), stream(1, "c", 0, None)]);
    let plan = world.plan_one(pinned(1, "shop", "uid"));
    assert_eq!(
        streams(&plan),
        ["b/k6#0 running: nothing", "c/k6#0 running: close, deleted"]
    );
    assert_errors(
        &plan,
        &["the pod k6/b can't be read: status: it is nonsense"],
    );
}

#[test]
fn a_pod_that_cannot_be_read_may_be_the_runner_that_is_missing() {
    let mut world = World {
        bad_pods: vec![malformed("b", "shop")],
        ..World::of(
            vec![test_run("shop", "uid", "finished")],
            vec![runner("shop", "a", vec![k6(0, ended(0), None)])],
        )
    };
    world.test_runs[0].parallelism = Some(2);
    let step = pinned(1, "shop", "uid");
    assert_eq!(status(&world.plan_one(step.clone())), "running -");
    world.bad_pods.clear();
    assert_eq!(status(&world.plan_one(step)), "finished RunnersUnseen");
}

// === the record ===

/// A pinned step that has this status, for this reason.
fn judged(status: Status, reason: Option<&str>) -> Step {
    let mut step = pinned(1, "shop", "uid");
    step.record.status = status;
    step.record.reason = reason.map(str::to_owned);
    step.record.message = reason.map(|reason| format!("because of {reason}"));
    step
}

#[test]
fn a_status_that_is_final_stays_whatever_is_seen_later() {
    for (exit_code, stage) in [
        (0, "finished"),
        (107, "finished"),
        (0, "started"),
        (0, "error"),
    ] {
        let world = World::of(
            vec![test_run("shop", "uid", stage)],
            vec![runner("shop", "a", vec![k6(0, ended(exit_code), None)])],
        );
        let plan = world.plan_one(judged(Status::Failed, Some("ThresholdsHaveFailed")));
        assert_eq!(
            status(&plan),
            "failed ThresholdsHaveFailed",
            "{stage} {exit_code}"
        );
        let message = plan.record.message.as_deref();
        assert_eq!(message, Some("because of ThresholdsHaveFailed"));
        assert_eq!(
            plan.record.stage.as_deref(),
            Some(stage),
            "k6-operator's word is told"
        );
    }
}

#[test]
fn the_explanation_of_a_final_status_may_improve() {
    let world = World::of(
        vec![test_run("shop", "uid", "finished")],
        vec![runner("shop", "a", vec![k6(0, ended(107), None)])],
    );
    let plan = world.plan_one(judged(Status::Errored, Some("InvalidTestRun")));
    assert_eq!(status(&plan), "errored ScriptException");
    let message = plan.record.message.unwrap();
    assert!(message.contains("threw an exception"), "{message}");
    assert!(matches!(plan.clue, Some(Clue::LastError(key)) if key.pod_uid == "a"));
}

#[test]
fn a_final_step_whose_test_run_is_gone_is_left_as_it_is() {
    let world = World::of(vec![], vec![]).knowing(vec![stream(1, "a", 0, None)]);
    let mut step = judged(Status::Passed, None);
    step.record.finished_at = Some(ago(1));
    step.record.started_at = Some(ago(3));
    let plan = world.plan_one(step.clone());
    assert_eq!(plan.record, step.record);
    assert_errors(&plan, &[]);
    assert_eq!(streams(&plan), ["a/k6#0 running: close, deleted"]);
}

#[test]
fn a_test_run_that_has_not_appeared_is_awaited_for_a_while() {
    let world = World::default();
    for (age, expected) in [
        (0, "pending -"),
        (9, "pending -"),
        (10, "lost TestRunNotFound"),
        (60, "lost TestRunNotFound"),
    ] {
        let mut step = step(1, "shop");
        step.created_at = ago(age);
        let plan = world.plan_one(step);
        assert_eq!(status(&plan), expected, "after {age} minutes");
        assert_errors(&plan, &[NOT_FOUND]);
        let is_lost = plan.record.status == Status::Lost;
        assert_eq!(plan.record.finished_at, is_lost.then(now));
        assert_eq!(
            plan.record.message.as_deref(),
            is_lost.then_some("no TestRun k6/shop has appeared within 10m")
        );
    }
    // The clock of the database's host may be ahead of ours.
    let mut step = step(1, "shop");
    step.created_at = ago(-60);
    assert_eq!(status(&world.plan_one(step)), "pending -");
}

#[test]
fn a_test_run_that_has_vanished_is_judged_by_the_runners_that_were_seen_to_end() {
    let gone = format!("{NOT_FOUND} any more");
    let lost = &[gone.as_str()][..];
    for (known, expected, errors) in [
        (vec![], "lost TestRunVanished", lost),
        (vec![stream(1, "a", 0, None)], "lost TestRunVanished", lost),
        (vec![stream(1, "a", 0, Some(0))], "passed -", &[]),
        (
            vec![stream(1, "a", 0, Some(99))],
            "failed ThresholdsHaveFailed",
            &[],
        ),
        (
            vec![stream(1, "a", 0, Some(0)), stream(1, "b", 0, None)],
            "lost TestRunVanished",
            lost,
        ),
        // Only its last life says how a container ended.
        (
            vec![stream(1, "a", 0, Some(107)), stream(1, "a", 1, Some(0))],
            "passed -",
            &[],
        ),
        (
            vec![stream(1, "a", 1, None), stream(1, "a", 0, Some(0))],
            "lost TestRunVanished",
            lost,
        ),
    ] {
        let world = World::default().knowing(known);
        let plan = world.plan_one(pinned(1, "shop", "uid"));
        assert_eq!(status(&plan), expected, "{:?}", world.streams);
        assert_errors(&plan, errors);
    }
}

/// A deleted TestRun whose runners still run: they are to stop, and are looked after until they have.
#[test]
fn deleted_while_it_runs_it_is_aborted_when_its_runners_are_gone() {
    let deleted = |stage: &str| TestRun {
        deletion_timestamp: Some(ago(0)),
        ..test_run("shop", "uid", stage)
    };
    let over = |code| vec![runner("shop", "a", vec![k6(0, ended(code), None)])];
    let runs = || vec![runner("shop", "a", vec![k6(0, running(), None)])];
    for (stage, pods, expected, is_to_stop) in [
        ("started", runs(), "finishing TestRunDeleted", true),
        ("", vec![], "finishing TestRunDeleted", true),
        // With all runners ended it is as ever, though k6-operator may not say so any more.
        ("started", over(0), "passed -", false),
        ("stopped", over(99), "failed ThresholdsHaveFailed", false),
        ("finished", over(0), "passed -", false),
        ("error", vec![], "errored InvalidTestRun", false),
    ] {
        let plan = World::of(vec![deleted(stage)], pods).plan_one(pinned(1, "shop", "uid"));
        assert_eq!(status(&plan), expected, "{stage}");
        assert_eq!(plan.is_to_stop(), is_to_stop, "{stage}");
    }
    let mut step = pinned(1, "shop", "uid");
    step.record.status = Status::Finishing;
    step.record.reason = Some("TestRunDeleted".to_owned());
    for (pods, known, expected) in [
        (runs(), vec![], "finishing TestRunDeleted"),
        (over(105), vec![], "aborted TestRunDeleted"),
        (
            vec![],
            vec![stream(1, "a", 0, None)],
            "aborted TestRunDeleted",
        ),
    ] {
        let plan = World::of(vec![], pods)
            .knowing(known)
            .plan_one(step.clone());
        assert_eq!(status(&plan), expected);
        assert_errors(&plan, &[]);
    }
}

#[test]
fn all_runners_must_have_been_seen_to_end() {
    let mut step = pinned(1, "shop", "uid");
    step.record.parallelism = Some(2);
    let mut known = vec![stream(1, "a", 0, Some(0))];
    let plan = World::default()
        .knowing(known.clone())
        .plan_one(step.clone());
    assert_eq!(status(&plan), "lost TestRunVanished");
    known.push(stream(1, "b", 0, Some(0)));
    let plan = World::default().knowing(known).plan_one(step);
    assert_eq!(status(&plan), "passed -");
}

#[test]
fn a_test_run_that_cannot_be_read_leaves_the_record_and_its_logs_are_read_all_the_same() {
    let world = World {
        bad_test_runs: vec![malformed("shop", "shop")],
        ..World::of(
            vec![],
            vec![runner("shop", "a", vec![k6(0, running(), None)])],
        )
    }
    .knowing(vec![stream(1, "a", 0, None)]);
    let mut step = pinned(1, "shop", "uid");
    step.record.started_at = Some(ago(3));
    let plan = world.plan_one(step.clone());
    assert_eq!(plan.record, step.record);
    assert_errors(
        &plan,
        &["the TestRun k6/shop can't be read: status: it is nonsense"],
    );
    assert_eq!(streams(&plan), ["a/k6#0 running: read"]);

    // One that awaits it does not time out: it is there.
    let mut awaiting = self::step(2, "shop");
    awaiting.created_at = ago(60);
    let plan = world.plan_one(awaiting.clone());
    assert_eq!(plan.record, awaiting.record);
    assert_errors(
        &plan,
        &["the TestRun k6/shop can't be read: status: it is nonsense"],
    );
}

#[test]
fn a_step_begins_with_its_first_runner_and_ends_with_its_last() {
    let ended_at = |name: &str, started: i64, finished: i64| {
        let mut end = end(0);
        end.started_at = Some(ago(started));
        end.finished_at = Some(ago(finished));
        runner(
            "shop",
            name,
            vec![k6(0, ContainerState::Terminated(end), None)],
        )
    };
    let mut starter = ended_at("starter", 60, 0);
    starter.job = Job::Starter;
    let mut run = test_run("shop", "uid", "finished");
    run.parallelism = Some(2);
    let pods = vec![starter.clone(), ended_at("a", 4, 2), ended_at("b", 3, 1)];
    let plan = World::of(vec![run.clone()], pods).plan_one(step(1, "shop"));
    assert_eq!(status(&plan), "passed -");
    assert_eq!(plan.record.started_at, Some(ago(4)));
    assert_eq!(plan.record.finished_at, Some(ago(1)));

    // While it runs it has no end.
    run.stage = Stage::Started;
    let still = runner("shop", "b", vec![k6(0, running(), None)]);
    let plan =
        World::of(vec![run.clone()], vec![ended_at("a", 4, 2), still]).plan_one(step(1, "shop"));
    assert_eq!(plan.record.started_at, Some(ago(4)));
    assert_eq!(plan.record.finished_at, None);

    // Before there is a runner it has not begun; one that never got to runners began with its first container.
    run.stage = Stage::Created;
    let plan = World::of(vec![run.clone()], vec![starter.clone()]).plan_one(step(1, "shop"));
    assert_eq!(plan.record.started_at, None);
    run.stage = Stage::Error;
    let plan = World::of(vec![run], vec![starter]).plan_one(step(1, "shop"));
    assert_eq!(plan.record.started_at, Some(ago(60)));
    assert_eq!(plan.record.finished_at, Some(ago(0)));
}

// === properties ===

const NAMES: [&str; 2] = ["shop", "cart"];
const UIDS: [&str; 4] = ["u1", "u2", "u3", "u4"];

fn any_terminated() -> impl Strategy<Value = Terminated> {
    let time = || prop::option::of((0..20_i64).prop_map(ago));
    let reason = prop::option::of(select(vec!["Error", "Completed", "OOMKilled"]));
    (select(vec![0, 99, 107, 137]), reason, time(), time()).prop_map(
        |(exit_code, reason, started_at, finished_at)| Terminated {
            exit_code,
            reason: reason.map(str::to_owned),
            message: None,
            started_at,
            finished_at,
        },
    )
}

fn any_container() -> impl Strategy<Value = Container> {
    let state = prop_oneof![
        select(vec![
            "ContainerCreating",
            "CrashLoopBackOff",
            "ImagePullBackOff"
        ])
        .prop_map(waiting),
        Just(running()),
        any_terminated().prop_map(ContainerState::Terminated),
    ];
    let kind = select(vec![ContainerKind::Main, ContainerKind::Other]);
    (state, kind, 0..3_i64, prop::option::of(any_terminated())).prop_map(
        |(state, kind, restart_count, last)| Container {
            name: String::new(),
            kind,
            restart_count,
            restartable: false,
            state,
            last,
        },
    )
}

fn any_pod() -> impl Strategy<Value = Pod> {
    (
        select(NAMES.to_vec()),
        0..20_i64,
        select(vec![
            Job::Runner,
            Job::Runner,
            Job::Starter,
            Job::Initializer,
        ]),
        any::<bool>(),
        prop::option::of(Just("Evicted".to_owned())),
        prop::option::of(Just("0/1 nodes are available".to_owned())),
        prop::collection::vec(any_container(), 0..3),
    )
        .prop_map(
            |(test_run, age, job, ended, reason, unschedulable, containers)| Pod {
                created_at: seconds_ago(age),
                job,
                ended,
                reason,
                unschedulable,
                containers: containers
                    .into_iter()
                    .zip(["k6", "sidecar"])
                    .map(|(container, name)| Container {
                        name: name.to_owned(),
                        ..container
                    })
                    .collect(),
                ..runner(test_run, "", vec![])
            },
        )
}

fn any_test_run() -> impl Strategy<Value = TestRun> {
    let stage = select(vec![
        "", "created", "started", "stopped", "finished", "error", "paused",
    ]);
    let parallelism = prop::option::of(1..3_i64);
    (stage, 0..20_i64, parallelism, any::<bool>()).prop_map(
        |(stage, age, parallelism, cloud_aborted)| TestRun {
            created_at: seconds_ago(age),
            parallelism,
            cloud_aborted,
            ..test_run("", "", stage)
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    (
        select(NAMES.to_vec()),
        0..20_i64,
        select(Status::ALL.to_vec()),
    )
        .prop_map(|(name, age, status)| {
            let mut step = step(0, name);
            step.created_at = ago(age);
            step.record.status = status;
            step
        })
}

fn any_stream() -> impl Strategy<Value = Stream> {
    (
        1..5_i64,
        0..6_usize,
        0..3_i64,
        prop::option::of(select(vec![0, 99])),
        select(Role::ALL.to_vec()),
        any::<bool>(),
    )
        .prop_map(|(step_id, pod, restart_count, exit_code, role, complete)| {
            let mut stream = stream(step_id, &format!("pod-{pod}"), restart_count, exit_code);
            stream.facts.role = role;
            stream.complete = complete;
            stream
        })
}

/// Numbers the steps from 1; no two have the same uid, and one that has seen nothing is pending.
fn numbered(steps: Vec<(Step, Option<&str>)>) -> Vec<Step> {
    let mut taken = HashSet::new();
    let number = |((mut step, uid), id): ((Step, Option<&str>), i64)| {
        step.id = StepId(id);
        step.record.k6_uid = uid
            .map(str::to_owned)
            .filter(|uid| taken.insert(uid.clone()));
        if step.record.k6_uid.is_none() {
            step.record.status = Status::Pending;
        }
        step
    };
    steps.into_iter().zip(1..).map(number).collect()
}

/// At most one TestRun of each name; a uid that a step knows belongs to its name.
fn with_names(test_runs: Vec<(TestRun, &str)>, steps: &[Step]) -> Vec<TestRun> {
    let name = |((run, uid), name): ((TestRun, &str), &str)| {
        let is_known = steps
            .iter()
            .any(|step| step.record.k6_uid.as_deref() == Some(uid) && step.k6_test_name == name);
        TestRun {
            name: name.to_owned(),
            uid: match is_known {
                true => uid.to_owned(),
                false => format!("{name}-new"),
            },
            ..run
        }
    };
    test_runs.into_iter().zip(NAMES).map(name).collect()
}

/// A pod is one step's, of the TestRun that the step has seen; and each life is there once.
fn of_steps(streams: Vec<Stream>, steps: &[Step], pods: &[Pod]) -> Vec<Stream> {
    let mut keys = HashSet::new();
    let mut owners: HashMap<String, StepId> = HashMap::new();
    let fit = |mut stream: Stream| {
        let StreamFacts { key, step_id, .. } = &mut stream.facts;
        *step_id = *owners.entry(key.pod_uid.clone()).or_insert(*step_id);
        let step = steps.iter().find(|step| step.id == *step_id)?;
        let pod = pods.iter().find(|pod| pod.uid == key.pod_uid);
        let fits = step.record.k6_uid.is_some()
            && pod.is_none_or(|pod| pod.test_run == step.k6_test_name)
            && keys.insert(key.clone());
        fits.then_some(stream)
    };
    streams.into_iter().filter_map(fit).collect()
}

/// Steps and a world that the database and Kubernetes allow: what is unique there is unique here.
fn any_world() -> impl Strategy<Value = (Vec<Step>, World)> {
    let uid = || select(UIDS.to_vec());
    (
        prop::collection::vec((any_step(), prop::option::of(uid())), 1..5),
        prop::collection::vec((any_test_run(), uid()), 0..=2),
        prop::collection::vec(any_pod(), 0..5),
        prop::collection::vec(any_stream(), 0..6),
        (0..8_usize, 0..8_usize),
    )
        .prop_map(
            |(steps, test_runs, pods, streams, (bad_test_run, bad_pod))| {
                let steps = numbered(steps);
                let mut test_runs = with_names(test_runs, &steps);
                let mut pods: Vec<Pod> = pods
                    .into_iter()
                    .zip(0..)
                    .map(|(mut pod, number)| {
                        pod.name = format!("pod-{number}");
                        pod.uid.clone_from(&pod.name);
                        pod
                    })
                    .collect();
                let streams = of_steps(streams, &steps, &pods);
                let bad_test_run = (bad_test_run < test_runs.len())
                    .then(|| test_runs.remove(bad_test_run))
                    .map(|run| malformed(&run.name, &run.name));
                let bad_pod = (bad_pod < pods.len())
                    .then(|| pods.remove(bad_pod))
                    .map(|pod| malformed(&pod.name, &pod.test_run));
                let world = World {
                    cluster: None,
                    test_runs,
                    bad_test_runs: bad_test_run.into_iter().collect(),
                    pods,
                    bad_pods: bad_pod.into_iter().collect(),
                    claimed: Vec::new(),
                    streams,
                    may_rest: true,
                };
                (steps, world)
            },
        )
}

/// What a broken clock, or somebody who means harm, can put into an object.
fn any_time() -> impl Strategy<Value = Timestamp> {
    select(vec![
        Timestamp::MIN,
        Timestamp::UNIX_EPOCH,
        ago(3),
        now(),
        "9999-12-30T00:00:00Z".parse().unwrap(),
        Timestamp::MAX,
    ])
}

/// Puts each time of the steps and the world to one of these, in turn.
fn with_times(
    (mut steps, mut world): (Vec<Step>, World),
    times: &[Timestamp],
) -> (Vec<Step>, World) {
    let mut times = times.iter().copied().cycle();
    let mut set = |time: &mut Timestamp| *time = times.next().unwrap_or(*time);
    for step in &mut steps {
        set(&mut step.created_at);
        step.record.started_at.iter_mut().for_each(&mut set);
        step.record.finished_at.iter_mut().for_each(&mut set);
    }
    for run in &mut world.test_runs {
        set(&mut run.created_at);
        let mut deleted_at = run.created_at;
        set(&mut deleted_at);
        run.deletion_timestamp = (deleted_at < now()).then_some(deleted_at);
    }
    for pod in &mut world.pods {
        set(&mut pod.created_at);
        for container in &mut pod.containers {
            let ends = match &mut container.state {
                ContainerState::Waiting { .. } => None,
                ContainerState::Running { started_at } => {
                    started_at.iter_mut().for_each(&mut set);
                    None
                }
                ContainerState::Terminated(end) => Some(end),
            };
            for end in ends.into_iter().chain(&mut container.last) {
                end.started_at.iter_mut().for_each(&mut set);
                end.finished_at.iter_mut().for_each(&mut set);
            }
        }
    }
    for stream in &mut world.streams {
        stream.facts.started_at.iter_mut().for_each(&mut set);
        stream.facts.finished_at.iter_mut().for_each(&mut set);
        stream.quiet_read_at.iter_mut().for_each(&mut set);
        let mut latest = Timestamp::UNIX_EPOCH;
        set(&mut latest);
        stream.position.cursor_ts = i64::try_from(latest.as_nanosecond()).ok();
    }
    (steps, world)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// No time that Kubernetes or the database can hold stops a sync, or takes a final status away.
    #[test]
    fn absurd_times_are_planned_with_like_others(
        world in any_world(),
        times in prop::collection::vec(any_time(), 1..12),
        now in any_time(),
    ) {
        let (steps, world) = with_times(world, &times);
        let plans = world.plan_at(now, &steps);
        prop_assert_eq!(plans.len(), steps.len());
        for plan in plans {
            let (before, after) = (&plan.step.record, &plan.record);
            prop_assert!(!before.status.is_final() || after.status == before.status);
        }
    }

    /// A second sync of the same sight finds nothing to write but logs that go on.
    #[test]
    fn planning_from_the_outcome_of_a_plan_changes_nothing((mut steps, mut world) in any_world()) {
        let plans = world.plan(&steps);
        world.carry_out(&mut steps, &plans);
        for plan in world.plan(&steps) {
            prop_assert_eq!(&plan.record, &plan.step.record);
            for stream in &plan.streams {
                prop_assert!(!stream.is_news, "{:?}", stream);
                let goes_on = Todo::Read { previous: false, ended: false, until: None };
                prop_assert!(matches!(stream.todo, Todo::Nothing) || stream.todo == goes_on, "{:?}", stream);
            }
        }
    }

    #[test]
    fn each_life_is_planned_once_and_for_one_step((steps, world) in any_world()) {
        let mut seen = HashSet::new();
        for plan in world.plan(&steps) {
            for stream in &plan.streams {
                prop_assert_eq!(stream.facts.step_id, plan.step.id);
                prop_assert!(seen.insert(stream.facts.key.clone()), "{:?}", stream);
            }
        }
        let known = world.streams.iter().map(|stream| &stream.facts.key);
        prop_assert!(known.into_iter().all(|key| seen.contains(key)), "none is forgotten");
    }

    #[test]
    fn a_complete_stream_never_has_a_todo((steps, world) in any_world()) {
        let complete: HashSet<&StreamKey> =
            world.streams.iter().filter(|stream| stream.complete).map(|stream| &stream.facts.key).collect();
        for stream in world.plan(&steps).iter().flat_map(|plan| &plan.streams) {
            if complete.contains(&stream.facts.key) {
                prop_assert_eq!(stream.todo, Todo::Nothing);
            }
        }
    }

    #[test]
    fn every_unfinished_stream_of_a_vanished_pod_is_closed_exactly_once((mut steps, mut world) in any_world()) {
        let is_there = |name: &str| {
            world.pods.iter().any(|pod| pod.name == name && !pod.containers.is_empty())
                || world.bad_pods.iter().any(|pod| pod.name == name)
        };
        let vanished: HashSet<StreamKey> = world
            .streams
            .iter()
            .filter(|stream| !stream.complete && !is_there(&stream.facts.pod_name))
            .map(|stream| stream.facts.key.clone())
            .collect();
        let closed = |plans: &[StepPlan]| -> Vec<StreamKey> {
            plans
                .iter()
                .flat_map(|plan| &plan.streams)
                .filter(|stream| stream.todo == Todo::Close(Some(GapCause::Deleted)))
                .map(|stream| stream.facts.key.clone())
                .collect()
        };
        let plans = world.plan(&steps);
        let first = closed(&plans);
        prop_assert_eq!(first.len(), vanished.len());
        prop_assert_eq!(first.into_iter().collect::<HashSet<_>>(), vanished);
        world.carry_out(&mut steps, &plans);
        prop_assert_eq!(closed(&world.plan(&steps)), Vec::new());
    }

    #[test]
    fn what_is_final_stays_and_what_was_pinned_stays_pinned((steps, world) in any_world()) {
        for plan in world.plan(&steps) {
            let (before, after) = (&plan.step.record, &plan.record);
            prop_assert!(!before.status.is_final() || after.status == before.status);
            prop_assert!(before.k6_uid.is_none() || after.k6_uid == before.k6_uid);
            prop_assert_eq!(after.status.is_final(), after.finished_at.is_some());
        }
    }
}
