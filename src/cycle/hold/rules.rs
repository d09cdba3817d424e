//! Which TestRuns are held and released, and by which finalizer. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::cluster::{Finalizer, Release, TestRun};

/// Which TestRuns are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    /// All active ones are, until their logs are recorded.
    All,
    /// Those are that k6-operator deletes when they have ended (`spec.cleanup: post`).
    Cleanup,
    /// The same, since nobody said anything; where the right is missing, one warning says so and that is all.
    CleanupIfAllowed,
    /// None is, and those that this database holds are released.
    Nothing,
    /// None is put on hold; what this database holds stays held until its logs are recorded or its time is over.
    Unsaid,
}

/// Whether, and for how long, TestRuns are held, and by which finalizer.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) holding: Holding,
    /// Counted from when the deletion was asked for.
    pub(super) timeout: SignedDuration,
    pub(super) own: Finalizer,
}

impl Rules {
    /// Whether our database holds it; 0.1.0's finalizer does not say whose it is, but the step does.
    pub(super) fn is_ours(&self, test_run: &TestRun, is_on_record: bool) -> bool {
        test_run.has_finalizer(&self.own) || (is_on_record && test_run.has_old_finalizer())
    }

    /// Whether to put the finalizer on the TestRun of a step that `is_over` or not.
    pub(super) fn wants_hold(&self, test_run: &TestRun, is_on_record: bool, is_over: bool) -> bool {
        let is_meant = match self.holding {
            Holding::All => true,
            Holding::Cleanup | Holding::CleanupIfAllowed => test_run.cleans_up,
            Holding::Nothing | Holding::Unsaid => false,
        };
        is_meant
            && !is_over
            && !self.is_ours(test_run, is_on_record)
            && test_run.deletion_timestamp.is_none()
    }

    /// Whether to take it off. `is_done`: the step is over and its logs are complete, or its runners are to stop.
    pub(super) fn frees(&self, test_run: &TestRun, is_done: bool, now: Timestamp) -> bool {
        self.holding == Holding::Nothing || is_done || self.is_overdue(test_run, now)
    }

    /// Nobody holds a TestRun longer, nor lets anybody else.
    pub(super) fn is_overdue(&self, test_run: &TestRun, now: Timestamp) -> bool {
        test_run
            .deletion_timestamp
            .is_some_and(|asked| now.duration_since(asked) >= self.timeout)
    }

    /// Which finalizers to take off a TestRun that is to be free.
    pub(super) fn release(&self, is_on_record: bool, is_overdue: bool) -> Release<'_> {
        match (is_overdue, is_on_record) {
            (true, _) => Release::All,
            (false, true) => Release::OwnAndOld(&self.own),
            (false, false) => Release::Own(&self.own),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{OLD_FINALIZER, Stage};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_408_790 + second).unwrap()
    }

    fn shop(finalizer: Option<&str>, deleted: Option<i64>, cleans_up: bool) -> TestRun {
        TestRun {
            namespace: "k6".to_owned(),
            name: "shop".to_owned(),
            uid: "1".to_owned(),
            created_at: at(-100),
            labels: Default::default(),
            parallelism: None,
            cleans_up,
            stage: Stage::Started,
            cloud_aborted: false,
            resource_version: "7".to_owned(),
            finalizers: finalizer.map(str::to_owned).into_iter().collect(),
            deletion_timestamp: deleted.map(at),
        }
    }

    fn rules(holding: Holding) -> Rules {
        Rules {
            holding,
            timeout: SignedDuration::from_secs(60),
            own: Finalizer::of_database("1f"),
        }
    }

    const OWN: Option<&str> = Some("k6sync.dev/capture-1f");
    const OTHERS: Option<&str> = Some("k6sync.dev/capture-2e");
    const OLD: Option<&str> = Some(OLD_FINALIZER);

    #[test]
    fn a_test_run_is_held_while_its_step_is_not_over() {
        use Holding::{All, Cleanup, CleanupIfAllowed, Nothing, Unsaid};
        for (holding, finalizer, is_on_record, cleans_up, deleted, is_over, wanted) in [
            (All, None, false, false, None, false, true),
            (All, OWN, false, false, None, false, false),
            (All, OTHERS, false, false, None, false, true),
            (All, OTHERS, true, false, None, false, true),
            (All, OLD, false, false, None, false, true),
            (All, OLD, true, false, None, false, false),
            (All, None, true, false, None, false, true),
            (All, None, false, false, Some(0), false, false),
            (All, None, false, false, None, true, false),
            (Cleanup, None, false, false, None, false, false),
            (Cleanup, None, false, true, None, false, true),
            (CleanupIfAllowed, None, false, false, None, false, false),
            (CleanupIfAllowed, None, false, true, None, false, true),
            (CleanupIfAllowed, None, false, true, Some(0), false, false),
            (Nothing, None, false, true, None, false, false),
            (Unsaid, None, false, true, None, false, false),
        ] {
            let test_run = shop(finalizer, deleted, cleans_up);
            assert_eq!(
                rules(holding).wants_hold(&test_run, is_on_record, is_over),
                wanted,
                "{holding:?} {finalizer:?} {is_on_record} {cleans_up} {deleted:?} {is_over}"
            );
        }
    }

    #[test]
    fn it_is_freed_when_done_or_when_its_time_is_over_or_nothing_is_held() {
        for (holding, deleted, is_done, now, frees) in [
            (Holding::All, None, false, 1_000_000, false),
            (Holding::All, None, true, 0, true),
            (Holding::Cleanup, Some(0), false, 59, false),
            (Holding::Cleanup, Some(0), false, 60, true),
            (Holding::All, Some(0), true, 1, true),
            (Holding::Unsaid, None, false, 0, false),
            (Holding::Unsaid, Some(0), false, 60, true),
            (Holding::Unsaid, None, true, 0, true),
            (Holding::Nothing, None, false, 0, true),
        ] {
            assert_eq!(
                rules(holding).frees(&shop(OWN, deleted, false), is_done, at(now)),
                frees,
                "{holding:?} {deleted:?} {is_done} {now}"
            );
        }
    }
}
