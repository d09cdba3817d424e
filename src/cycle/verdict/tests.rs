//! Tables and properties for the verdict.

use proptest::prelude::*;

use super::*;
use crate::store::RunId;

fn now() -> Timestamp {
    "2026-11-23T05:00:00Z".parse().unwrap()
}

fn container(role: Role, number: i64, state: ObservedState) -> Observed {
    Observed {
        key: StreamKey {
            pod_uid: format!("uid-{role}-{number}"),
            container: "k6".to_owned(),
            restart_count: 0,
        },
        pod_name: format!("shop-{role}-{number}"),
        role,
        state,
    }
}

fn ended(exit_code: i64) -> ObservedState {
    ended_for(exit_code, "Error")
}

fn ended_for(exit_code: i64, reason: &str) -> ObservedState {
    ObservedState::Terminated {
        exit_code: Some(exit_code),
        reason: Some(reason.to_owned()),
        message: None,
    }
}

fn waiting(reason: &str, age_minutes: i64) -> ObservedState {
    ObservedState::Waiting {
        reason: Some(reason.to_owned()),
        message: Some("the kubelet's words".to_owned()),
        since: now() - SignedDuration::from_mins(age_minutes),
    }
}

fn evidence(stage: &str, runners: Vec<ObservedState>) -> Evidence {
    Evidence {
        present: Status::Pending,
        stage: Stage::from(stage.to_owned()),
        cloud_aborted: false,
        parallelism: Some(runners.len() as i64),
        containers: runners
            .into_iter()
            .zip(1..)
            .map(|(state, number)| container(Role::Runner, number, state))
            .collect(),
        unschedulable: Vec::new(),
    }
}

#[track_caller]
fn assert_verdict(evidence: &Evidence, status: Status, reason: Option<&str>) {
    let verdict = verdict(evidence, now());
    assert_eq!(
        (verdict.status, verdict.reason.as_deref()),
        (status, reason),
        "{evidence:?}"
    );
    assert_eq!(
        verdict.reason.is_some(),
        verdict.message.is_some(),
        "a reason has a sentence, and the other way round"
    );
}

#[test]
fn the_stage_says_how_far_it_is() {
    for (stage, status) in [
        ("", Status::Initializing),
        ("initialization", Status::Initializing),
        ("initialized", Status::Initializing),
        ("created", Status::Initializing),
        ("started", Status::Running),
        ("stopped", Status::Finishing),
    ] {
        assert_verdict(&evidence(stage, vec![ObservedState::Running]), status, None);
    }
    assert_verdict(
        &evidence("paused", vec![]),
        Status::Initializing,
        Some("UnknownStage"),
    );
}

#[test]
fn every_exit_code_of_k6_has_its_word() {
    for (code, status, reason) in [
        (97, Status::Failed, "CloudTestRunFailed"),
        (98, Status::Errored, "CloudFailedToGetProgress"),
        (99, Status::Failed, "ThresholdsHaveFailed"),
        (100, Status::Errored, "SetupTimeout"),
        (101, Status::Errored, "TeardownTimeout"),
        (102, Status::Errored, "GenericTimeout"),
        (103, Status::Aborted, "ScriptStoppedFromRESTAPI"),
        (104, Status::Errored, "InvalidConfig"),
        (105, Status::Aborted, "ExternalAbort"),
        (106, Status::Errored, "CannotStartRESTAPI"),
        (107, Status::Errored, "ScriptException"),
        (108, Status::Aborted, "ScriptAborted"),
        (109, Status::Errored, "GoPanic"),
        (110, Status::Failed, "MarkedAsFailed"),
        (1, Status::Errored, "NonZeroExitCode"),
        (137, Status::Errored, "NonZeroExitCode"),
    ] {
        let evidence = evidence("finished", vec![ended(code)]);
        assert_verdict(&evidence, status, Some(reason));
        let clue = verdict(&evidence, now()).clue;
        let key = evidence.containers[0].key.clone();
        assert_eq!(clue, Some(Clue::LastError(key)));
    }
    assert_verdict(
        &evidence("finished", vec![ended_for(0, "Completed")]),
        Status::Passed,
        None,
    );
    assert_verdict(
        &evidence("finished", vec![ended_for(137, "OOMKilled")]),
        Status::Errored,
        Some("OOMKilled"),
    );
    assert_verdict(
        &evidence("finished", vec![ended_for(105, "Evicted")]),
        Status::Errored,
        Some("Evicted"),
    );
}

#[test]
fn finished_is_not_passed() {
    let passed = || ended_for(0, "Completed");
    for (runners, parallelism, status, reason) in [
        (vec![passed(), passed()], 2, Status::Passed, None),
        (
            vec![passed(), ended(99)],
            2,
            Status::Failed,
            Some("ThresholdsHaveFailed"),
        ),
        (
            vec![ended(99), ended(107), ended(105)],
            3,
            Status::Errored,
            Some("ScriptException"),
        ),
        (
            vec![ended(99), ended(108)],
            2,
            Status::Aborted,
            Some("ScriptAborted"),
        ),
        (vec![passed()], 2, Status::Finished, Some("RunnersUnseen")),
        (vec![], 1, Status::Finished, Some("RunnersUnseen")),
        (
            vec![passed(), ObservedState::Vanished],
            2,
            Status::Finished,
            Some("RunnersUnseen"),
        ),
        (
            vec![ended(99), ObservedState::Vanished],
            2,
            Status::Failed,
            Some("ThresholdsHaveFailed"),
        ),
        (
            vec![passed(), ObservedState::Running],
            2,
            Status::Finishing,
            None,
        ),
        (
            vec![ObservedState::Terminated {
                exit_code: None,
                reason: None,
                message: None,
            }],
            1,
            Status::Finished,
            Some("RunnersUnseen"),
        ),
    ] {
        let mut evidence = evidence("finished", runners);
        evidence.parallelism = Some(parallelism);
        assert_verdict(&evidence, status, reason);
    }
}

#[test]
fn side_containers_never_decide() {
    let mut evidence = evidence("finished", vec![ended_for(0, "Completed")]);
    evidence
        .containers
        .push(container(Role::Other, 9, ended(137)));
    assert_verdict(&evidence, Status::Passed, None);
}

#[test]
fn a_stuck_pod_is_told_while_the_stage_stands_still() {
    for (state, reason) in [
        (waiting("ImagePullBackOff", 0), Some("ImagePullBackOff")),
        (waiting("ErrImageNeverPull", 0), Some("ErrImageNeverPull")),
        (
            waiting("CreateContainerConfigError", 0),
            Some("CreateContainerConfigError"),
        ),
        (waiting("ContainerCreating", 1), None),
        (waiting("ContainerCreating", 3), Some("ContainerCreating")),
        (waiting("PodInitializing", 60), None),
    ] {
        assert_verdict(
            &evidence("created", vec![state]),
            Status::Initializing,
            reason,
        );
    }
    let mut evidence = evidence("created", vec![]);
    evidence
        .unschedulable
        .push(("shop-1".to_owned(), "0/3 nodes are available".to_owned()));
    assert_verdict(&evidence, Status::Initializing, Some("Unschedulable"));
    let message = verdict(&evidence, now()).message.unwrap();
    assert!(
        message.contains("shop-1") && message.contains("0/3 nodes"),
        "{message}"
    );
}

#[test]
fn an_early_end_of_a_runner_is_told_while_others_run() {
    assert_verdict(
        &evidence(
            "started",
            vec![ObservedState::Running, ended_for(137, "OOMKilled")],
        ),
        Status::Running,
        Some("OOMKilled"),
    );
}

#[test]
fn stage_error_is_the_initializers_or_the_specs() {
    let mut failed = evidence("error", vec![]);
    failed
        .containers
        .push(container(Role::Initializer, 1, ended(107)));
    assert_verdict(&failed, Status::Errored, Some("ScriptException"));
    let mut marked = evidence("error", vec![]);
    marked
        .containers
        .push(container(Role::Initializer, 1, ended(110)));
    assert_verdict(&marked, Status::Errored, Some("MarkedAsFailed"));
    assert_verdict(
        &evidence("error", vec![]),
        Status::Errored,
        Some("InvalidTestRun"),
    );
}

#[test]
fn a_cloud_abort_is_an_abort() {
    for stage in ["finished", "error"] {
        let mut evidence = evidence(stage, vec![ended(99)]);
        evidence.cloud_aborted = true;
        assert_verdict(&evidence, Status::Aborted, Some("CloudTestRunAborted"));
    }
}

#[test]
fn a_vanished_test_run_is_lost_unless_its_end_was_seen() {
    let judge = |runners, parallelism| {
        let mut evidence = evidence("", runners);
        evidence.parallelism = Some(parallelism);
        vanished(&evidence, "ns", "shop").status
    };
    assert_eq!(judge(vec![], 1), Status::Lost);
    assert_eq!(judge(vec![ObservedState::Vanished], 1), Status::Lost);
    assert_eq!(judge(vec![ObservedState::Running], 1), Status::Lost);
    assert_eq!(
        judge(vec![ended(0), ObservedState::Vanished], 2),
        Status::Lost
    );
    assert_eq!(judge(vec![ended(0)], 2), Status::Lost);
    assert_eq!(judge(vec![ended(0), ended(0)], 2), Status::Passed);
    assert_eq!(judge(vec![ended(0), ended(99)], 2), Status::Failed);

    let mut refused = evidence("", vec![]);
    refused
        .containers
        .push(container(Role::Initializer, 1, ended(107)));
    assert_eq!(vanished(&refused, "ns", "shop").status, Status::Errored);
}

fn summary(status: Status) -> StepSummary {
    StepSummary {
        test_run_id: RunId(4),
        status,
        started_at: Some(now()),
        finished_at: status.is_final().then(now),
    }
}

#[test]
fn a_run_is_what_its_steps_are() {
    use Status::*;
    for (steps, expected) in [
        (vec![Pending, Pending], Pending),
        (vec![Pending, Initializing], Running),
        (vec![Passed, Pending], Running),
        (vec![Passed, Running], Running),
        (vec![Errored, Finishing], Running),
        (vec![Passed, Passed], Passed),
        (vec![Passed, Finished], Finished),
        (vec![Passed, Finished, Failed], Failed),
        (vec![Failed, Aborted], Aborted),
        (vec![Aborted, Lost], Lost),
        (vec![Lost, Errored, Passed], Errored),
    ] {
        let steps: Vec<_> = steps.into_iter().map(summary).collect();
        let run = roll_up(&steps).unwrap();
        assert_eq!((run.id, run.status), (RunId(4), expected), "{steps:?}");
        assert_eq!(run.finished_at.is_some(), expected.is_final());
    }
    assert_eq!(roll_up(&[]), None);
}

fn any_state() -> impl Strategy<Value = ObservedState> {
    prop_oneof![
        Just(ObservedState::Running),
        Just(ObservedState::Vanished),
        (0_i64..200).prop_map(ended),
        Just(waiting("ImagePullBackOff", 1)),
        Just(waiting("ContainerCreating", 1)),
    ]
}

proptest! {
    #[test]
    fn passed_means_that_every_runner_was_seen_to_pass(
        runners in proptest::collection::vec(any_state(), 0..5),
        parallelism in 1_i64..5,
        stage in proptest::sample::select(vec!["", "created", "started", "stopped", "finished", "error"]),
    ) {
        let mut evidence = evidence(stage, runners);
        evidence.parallelism = Some(parallelism);
        let all_passed = evidence.containers.len() as i64 >= parallelism
            && evidence.containers.iter().all(|runner| {
                matches!(runner.state, ObservedState::Terminated { exit_code: Some(0), .. })
            });
        let verdict = verdict(&evidence, now());
        prop_assert_eq!(verdict.status == Status::Passed, all_passed && stage == "finished");
        prop_assert_eq!(
            verdict.status.is_final(),
            stage == "error" || (stage == "finished" && verdict.status != Status::Finishing)
        );
    }

    #[test]
    fn no_time_and_no_number_stops_a_verdict(
        since in proptest::sample::select(vec![Timestamp::MIN, Timestamp::UNIX_EPOCH, now(), Timestamp::MAX]),
        now in proptest::sample::select(vec![Timestamp::MIN, Timestamp::UNIX_EPOCH, now(), Timestamp::MAX]),
        exit_code in proptest::sample::select(vec![i64::MIN, -1, 0, 99, 256, i64::MAX]),
        parallelism in proptest::option::of(proptest::sample::select(vec![i64::MIN, -1, 0, 1, i64::MAX])),
        stage in proptest::sample::select(vec!["", "created", "started", "stopped", "finished", "error", "?"]),
    ) {
        let waiting = ObservedState::Waiting {
            reason: Some("ContainerCreating".to_owned()),
            message: None,
            since,
        };
        let mut evidence = evidence(stage, vec![ended(exit_code), waiting]);
        evidence.parallelism = parallelism;
        prop_assert_ne!(verdict(&evidence, now).status, Status::Passed);
    }

    #[test]
    fn a_run_is_passed_only_if_all_steps_are(
        steps in proptest::collection::vec(proptest::sample::select(Status::ALL), 1..6)
    ) {
        let all = |wanted: fn(Status) -> bool| steps.iter().all(|status| wanted(*status));
        let summaries: Vec<_> = steps.iter().map(|status| summary(*status)).collect();
        let run = roll_up(&summaries).unwrap();
        prop_assert_eq!(run.status == Status::Passed, all(|s| s == Status::Passed));
        prop_assert_eq!(run.status.is_final(), all(Status::is_final));
    }
}
