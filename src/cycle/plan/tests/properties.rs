//! Whatever the cluster shows: properties of every plan.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

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
