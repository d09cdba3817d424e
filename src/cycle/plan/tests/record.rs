//! What the record says of a step, and what it goes on saying.

use super::*;

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
