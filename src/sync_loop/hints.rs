//! What the watch of TestRuns tells the loop: that one is new, that one is being deleted, that one has ended.
//!
//! Hints only: they make things happen earlier that the next cycle does anyway. So a watch that fails, or that is not
//! allowed, is logged once and tried again; and nothing here decides what is to be held or recorded.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::cluster::{Change, Cluster, ClusterError, Namespaces, TestRun, TestRunWatch};
use crate::retry::Pauses;
use crate::supervisor::{Supervisor, TaskEnded};

/// An API server that has not begun to answer by then may be behind a dead connection.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts at a watch that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Hints that wait for the loop; while there are more, the watch waits.
const WAITING: usize = 1_000;
/// One that had ended before it was first seen is news only if it is young: others were there before the watch.
const YOUNG: SignedDuration = SignedDuration::from_mins(2);

/// What the loop had better do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Hold it, if it is to be held: it is new.
    Hold(TestRun),
    /// Release it: its deletion was asked for while it still ran. And look at it.
    Release(TestRun),
    /// Look at it: it has ended, or it is being deleted, or is gone.
    Look,
}

/// The hints of the TestRuns in these namespaces. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Hints {
    receiver: mpsc::Receiver<Hint>,
    watches: Supervisor,
}

impl Hints {
    /// Begins to watch, with a connection for each namespace.
    pub(crate) fn begin(cluster: &Cluster, namespaces: &Namespaces) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let mut watches = Supervisor::default();
        let names: Vec<Option<&str>> = match namespaces {
            Namespaces::All => vec![None],
            Namespaces::Only(names) => names.iter().map(|name| Some(name.as_str())).collect(),
        };
        for name in names {
            let watch = cluster.with_own_connections(PATIENCE).watch_test_runs(name);
            watches.spawn("the watch of TestRuns", pass_on(watch, sender.clone()));
        }
        Self { receiver, watches }
    }

    /// The next hints, at least one.
    ///
    /// # Errors
    /// A watch has ended, which it never should: nobody would see what it does not tell.
    pub(crate) async fn next(&mut self) -> Result<Vec<Hint>, TaskEnded> {
        let mut hints = Vec::new();
        tokio::select! {
            ended = self.watches.unexpected_end() => return Err(ended),
            // None: they all end just now, and the other branch tells how.
            1.. = self.receiver.recv_many(&mut hints, WAITING) => {}
        }
        Ok(hints)
    }
}

async fn pass_on(mut watch: TestRunWatch, hints: mpsc::Sender<Hint>) {
    let mut seen = Seen::default();
    let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut is_told = false;
    loop {
        match watch.next().await {
            Ok(change) => {
                pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
                is_told = false;
                for hint in seen.hints(change, Timestamp::now()) {
                    if hints.send(hint).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                // A version that is too old is nothing to tell of.
                let is_ordinary = matches!(
                    error,
                    ClusterError::Malformed { .. }
                        | ClusterError::BrokenOff { .. }
                        | ClusterError::Rejected { code: 410, .. }
                );
                if !is_told && !is_ordinary {
                    tracing::warn!(
                        "TestRuns can't be watched, so that new ones are held, and ended ones recorded, by the regular cycles only: {error}"
                    );
                    is_told = true;
                }
                tracing::debug!(%error, "the watch of TestRuns begins anew");
                sleep(pauses.next_pause()).await;
            }
        }
    }
}

/// The TestRuns that were seen, by uid.
#[derive(Debug, Default)]
struct Seen(HashMap<String, Phase>);

/// How far a TestRun was when it was last seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Phase {
    has_ended: bool,
    is_deleting: bool,
}

impl Seen {
    /// What a change means for the loop; nothing, if it was seen before.
    fn hints(&mut self, change: Change, now: Timestamp) -> Vec<Hint> {
        let test_run = match change {
            Change::There(test_run) => test_run,
            Change::Gone(test_run) => {
                let before = self.0.remove(&test_run.uid).unwrap_or_default();
                // Whatever it left is to be read before it goes, too.
                return match before.has_ended || before.is_deleting {
                    true => Vec::new(),
                    false => vec![Hint::Look],
                };
            }
        };
        let phase = Phase {
            has_ended: test_run.stage.has_ended(),
            is_deleting: test_run.deletion_timestamp.is_some(),
        };
        let before = self.0.insert(test_run.uid.clone(), phase);
        let was = before.unwrap_or_default();
        let is_old = before.is_none() && now.duration_since(test_run.created_at) > YOUNG;
        let mut hints = Vec::new();
        let ends = phase.has_ended && !was.has_ended && !is_old;
        let begins_to_go = phase.is_deleting && !was.is_deleting;
        if ends || begins_to_go {
            hints.push(Hint::Look);
        }
        if begins_to_go && !phase.has_ended {
            hints.push(Hint::Release(test_run));
        } else if before.is_none() && !phase.is_deleting {
            hints.push(Hint::Hold(test_run));
        }
        hints
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Stage;

    fn now() -> Timestamp {
        "2026-11-23T05:00:00Z".parse().unwrap()
    }

    fn shop(stage: &str, is_deleting: bool, age: i64) -> TestRun {
        TestRun {
            namespace: "k6".to_owned(),
            name: "shop".to_owned(),
            uid: "1".to_owned(),
            created_at: now() - SignedDuration::from_secs(age),
            labels: Default::default(),
            parallelism: None,
            cleans_up: true,
            stage: Stage::from(stage.to_owned()),
            cloud_aborted: false,
            resource_version: "7".to_owned(),
            finalizers: Vec::new(),
            deletion_timestamp: is_deleting.then(now),
        }
    }

    /// Hints of watches that do this.
    fn hints_of(watches: Supervisor) -> (mpsc::Sender<Hint>, Hints) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (sender, Hints { receiver, watches })
    }

    #[tokio::test]
    async fn a_watch_that_panics_is_told_though_others_go_on() {
        let mut watches = Supervisor::default();
        watches.spawn("a watch", std::future::pending());
        watches.spawn("another watch", async { panic!("out of range") });
        let (_sender, mut hints) = hints_of(watches);
        let told = hints.next().await.unwrap_err().to_string();
        assert!(
            told.contains("another watch") && told.contains("out of range"),
            "{told}"
        );
    }

    #[tokio::test]
    async fn a_panic_of_the_last_watch_is_told() {
        let mut watches = Supervisor::default();
        let (sender, receiver) = mpsc::channel(WAITING);
        watches.spawn("the watch", async move {
            sender.send(Hint::Look).await.unwrap();
            panic!("out of range")
        });
        let mut hints = Hints { receiver, watches };
        let mut told = hints.next().await;
        if told.is_ok() {
            told = hints.next().await;
        }
        let told = told.unwrap_err().to_string();
        assert!(told.contains("out of range"), "{told}");
    }

    #[tokio::test]
    async fn hints_come_while_watches_go_on() {
        let mut watches = Supervisor::default();
        watches.spawn("a watch", std::future::pending());
        let (sender, mut hints) = hints_of(watches);
        sender.send(Hint::Look).await.unwrap();
        assert_eq!(hints.next().await.unwrap(), [Hint::Look]);
    }

    /// Hints of a life: a letter each.
    fn hints(life: Vec<Change>) -> String {
        let mut seen = Seen::default();
        let mut words = Vec::new();
        for change in life {
            let hints = seen.hints(change, now());
            let letters = hints.iter().map(|hint| match hint {
                Hint::Hold(_) => 'h',
                Hint::Release(_) => 'l',
                Hint::Look => '!',
            });
            words.push(letters.collect::<String>());
        }
        words.join(" ")
    }

    #[test]
    fn a_life_gives_each_hint_once() {
        let there = |stage, is_deleting| Change::There(shop(stage, is_deleting, 1));
        let gone = |stage| Change::Gone(shop(stage, true, 1));
        for (life, expected) in [
            // Its end, then k6-operator's deletion, held or not.
            (
                vec![
                    there("", false),
                    there("started", false),
                    there("finished", false),
                    there("finished", false),
                    there("finished", true),
                    gone("finished"),
                ],
                "h  !  ! ",
            ),
            (
                vec![there("", false), there("finished", false), gone("finished")],
                "h ! ",
            ),
            // Somebody deletes it.
            (
                vec![
                    there("started", false),
                    there("started", true),
                    there("started", true),
                    gone("started"),
                ],
                "h !l  ",
            ),
            (vec![there("started", false), gone("started")], "h !"),
            // It was there before the watch.
            (vec![there("started", true)], "!l"),
            (vec![there("finished", false)], "!h"),
            (vec![Change::There(shop("finished", false, 3_600))], "h"),
            (vec![gone("started")], "!"),
        ] {
            assert_eq!(hints(life.clone()), expected, "{life:?}");
        }
    }
}
