//! The lives of containers: where each is read, when not, and what becomes of those that are gone.

use super::*;

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
