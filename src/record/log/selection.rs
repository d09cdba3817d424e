//! Whose log is wanted. Pure.

use serde::Serialize;

use super::super::outcome::has_failed;
use super::super::run::Container;
use super::line::{Begin, LineId};
use super::places::Places;
use crate::store::{Role, RunStep, StreamId};

/// The run has no such step or runner; and which it has.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoSuchPart(pub(crate) String);

/// Which lines of a run's log are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogWanted {
    /// Of these steps, by name, TestRun name or position; empty: of all.
    pub steps: Vec<String>,
    /// Of the runners with these numbers; empty: of all containers.
    pub runners: Vec<u32>,
    /// Of containers with these roles; empty: of all.
    pub roles: Vec<Role>,
    /// Of these lives of containers (`log_streams.id`); empty: of all.
    pub containers: Vec<StreamId>,
    /// Where in the merged log it begins.
    pub begin: Begin,
    /// Of containers that failed, each from its first error on, or its last lines where it has none.
    pub failed: bool,
    /// Of each container from the first line on that was written at this time (nanoseconds since 1970) or later.
    pub since: Option<i64>,
    /// Of each container so many lines, the last.
    pub tail: Option<u64>,
    /// Some containers began with their last lines. Set when they are opened.
    pub is_tail: bool,
    /// The time of each line is wanted.
    pub timed: bool,
    /// More may come: the ends of logs are not their last ends.
    pub follow: bool,
    /// Of containers in these namespaces only; `None`: in all.
    pub namespaces: Option<Vec<String>>,
    /// Goes on from there. `since`, `tail` and `failed` do not count for containers that have a place.
    pub from: Option<Places>,
    /// Begins with this line, and in other containers with what was written then or later.
    pub from_line: Option<LineId>,
    /// What the beginnings of all logs together may take in memory, bytes; `None`: 16 MiB.
    pub budget: Option<usize>,
}

/// What a line's container is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Labels {
    pub namespace: Option<String>,
    /// The run's name.
    pub run: String,
    /// The step's name.
    pub step: String,
    pub test_run: String,
    pub pod: String,
    pub container: String,
    pub role: Role,
    /// Of a runner: its number, from 1 on.
    pub runner: Option<u32>,
}

/// One life of a container whose log is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogContainer {
    /// `log_streams.id`
    pub id: StreamId,
    pub labels: Labels,
    /// How often it had been restarted before this life.
    pub restart_count: i64,
    /// Lines that were stored of it.
    pub lines: i64,
    /// Gaps, those of `prune` too.
    pub gaps: i64,
    /// Its log is recorded to its end.
    pub complete: bool,
    pub(super) has_failed: bool,
    pub(super) step_position: i64,
}

impl LogContainer {
    pub(super) fn of(run: &str, step: &RunStep, container: &Container) -> Self {
        let row = &container.row;
        Self {
            id: row.id,
            labels: Labels {
                namespace: step.namespace.clone(),
                run: run.to_owned(),
                step: step.name.clone(),
                test_run: step.k6_test_name.clone(),
                pod: row.pod_name.clone(),
                container: row.container.clone(),
                role: row.role,
                runner: container.runner,
            },
            restart_count: row.restart_count,
            lines: row.lines,
            gaps: row.gaps + i64::from(row.pruned),
            complete: row.complete,
            has_failed: has_failed(container),
            step_position: step.position,
        }
    }

    /// Any, for tests.
    #[cfg(test)]
    pub(crate) fn sample(
        id: StreamId,
        pod: &str,
        container: &str,
        role: Role,
        runner: Option<u32>,
    ) -> Self {
        Self {
            id,
            labels: Labels {
                namespace: Some("k6-runs".to_owned()),
                run: "nightly".to_owned(),
                step: "buy".to_owned(),
                test_run: "shop-buy".to_owned(),
                pod: pod.to_owned(),
                container: container.to_owned(),
                role,
                runner,
            },
            restart_count: 0,
            lines: 1,
            gaps: 0,
            complete: true,
            has_failed: false,
            step_position: 1,
        }
    }

    /// As a message names it.
    pub(crate) fn name(&self) -> String {
        let Labels { pod, container, .. } = &self.labels;
        match self.restart_count {
            0 => format!("{pod}/{container}"),
            restarts => format!("{pod}/{container} (restart {restarts})"),
        }
    }
}

impl LogWanted {
    pub(super) fn takes(&self, container: &LogContainer) -> bool {
        let labels = &container.labels;
        let is_of_step = |wanted: &String| {
            *wanted == labels.step
                || *wanted == labels.test_run
                || *wanted == container.step_position.to_string()
        };
        self.namespaces.as_ref().is_none_or(|names| {
            let namespace = labels.namespace.as_ref();
            namespace.is_some_and(|namespace| names.contains(namespace))
        }) && (self.steps.is_empty() || self.steps.iter().any(is_of_step))
            && (self.roles.is_empty() || self.roles.contains(&labels.role))
            && (self.containers.is_empty() || self.containers.contains(&container.id))
            && (self.runners.is_empty()
                || labels
                    .runner
                    .is_some_and(|runner| self.runners.contains(&runner)))
            && (!self.failed || container.has_failed)
    }

    /// Whether there is each step and each runner that was named.
    ///
    /// # Errors
    /// [`NoSuchPart`], which names those that there are.
    pub(super) fn check(
        &self,
        steps: &[RunStep],
        containers: &[LogContainer],
    ) -> Result<(), NoSuchPart> {
        for wanted in &self.steps {
            let is_there = steps.iter().any(|step| {
                *wanted == step.name
                    || *wanted == step.k6_test_name
                    || *wanted == step.position.to_string()
            });
            if !is_there {
                let names = steps
                    .iter()
                    .map(|step| match step.name == step.k6_test_name {
                        true => format!("{} ({})", step.position, step.name),
                        false => {
                            format!("{} ({}, {})", step.position, step.name, step.k6_test_name)
                        }
                    });
                return Err(NoSuchPart(format!(
                    "--step: the run has no step `{wanted}`; {}",
                    there_are(names.collect(), "steps")
                )));
            }
        }
        let of_steps = Self {
            steps: self.steps.clone(),
            ..Self::default()
        };
        let mut runners: Vec<u32> = containers
            .iter()
            .filter(|container| of_steps.takes(container))
            .filter_map(|container| container.labels.runner)
            .collect();
        runners.sort_unstable();
        runners.dedup();
        match self.runners.iter().find(|wanted| !runners.contains(wanted)) {
            None => Ok(()),
            Some(wanted) => Err(NoSuchPart(format!(
                "--runner: there is no runner {wanted}; {}",
                there_are(ranges(&runners), "runners")
            ))),
        }
    }
}

fn there_are(names: Vec<String>, what: &str) -> String {
    match names.is_empty() {
        true => format!("there are no {what} yet"),
        false => format!("there are {}", names.join(", ")),
    }
}

/// Numbers in their order: neighbours as `3 to 7`.
fn ranges(numbers: &[u32]) -> Vec<String> {
    numbers
        .chunk_by(|a, b| a + 1 == *b)
        .map(|range| match range {
            [one] => one.to_string(),
            [first, .., last] => format!("{first} to {last}"),
            [] => String::new(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(step: &str, position: i64, role: Role, runner: Option<u32>) -> LogContainer {
        let mut container = LogContainer::sample(StreamId(1), "pod", "k6", role, runner);
        container.labels.step = step.to_owned();
        container.labels.test_run = format!("shop-{step}");
        container.has_failed = runner == Some(2);
        container.step_position = position;
        container
    }

    #[test]
    fn each_option_narrows_the_selection() {
        let all = [
            container("browse", 1, Role::Initializer, None),
            container("browse", 1, Role::Runner, Some(1)),
            container("buy", 2, Role::Runner, Some(1)),
            container("buy", 2, Role::Runner, Some(2)),
        ];
        let wanted = LogWanted::default;
        for (wanted, expected) in [
            (wanted(), &[0, 1, 2, 3][..]),
            (
                LogWanted {
                    steps: vec!["browse".to_owned()],
                    ..wanted()
                },
                &[0, 1],
            ),
            (
                LogWanted {
                    steps: vec!["2".to_owned(), "shop-browse".to_owned()],
                    roles: vec![Role::Runner],
                    ..wanted()
                },
                &[1, 2, 3],
            ),
            (
                LogWanted {
                    runners: vec![1],
                    ..wanted()
                },
                &[1, 2],
            ),
            (
                LogWanted {
                    failed: true,
                    ..wanted()
                },
                &[3],
            ),
        ] {
            let taken: Vec<usize> = (0..all.len())
                .filter(|index| wanted.takes(&all[*index]))
                .collect();
            assert_eq!(taken, expected, "{wanted:?}");
        }
    }

    #[test]
    fn runners_are_named_in_ranges() {
        for (numbers, expected) in [
            (&[][..], "there are no runners yet"),
            (&[1], "there are 1"),
            (&[1, 2, 3, 7, 9, 10], "there are 1 to 3, 7, 9 to 10"),
        ] {
            assert_eq!(there_are(ranges(numbers), "runners"), expected);
        }
    }
}
