//! Which TestRun is whose, which cluster a step belongs to, and which pods are whose.

use super::*;

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
