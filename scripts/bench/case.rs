//! What is measured: how large a cluster, how much of it new, how far away, beside how much history.

/// What a container writes between two cycles.
pub(crate) const NEW_LINES: usize = 20;
/// Of a made-up log, with its newline and without its time.
const LINE_BYTES: usize = 155;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Everything is new.
    First,
    /// Each container has written some lines since the last cycle.
    Steady,
    /// Nothing is new.
    Quiet,
    /// All runs are over and recorded.
    Finished,
    /// Everything is new, and all runs are over.
    Ended,
    /// The same, and each runner's log ends with a summary.
    Reported,
}

impl Phase {
    /// The database is empty before each round.
    pub(crate) fn is_first(self) -> bool {
        matches!(self, Self::First | Self::Ended | Self::Reported)
    }

    /// The runs are over.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Ended | Self::Reported)
    }

    pub(crate) const ALL: [Self; 4] = [Self::First, Self::Steady, Self::Quiet, Self::Finished];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Steady => "steady",
            Self::Quiet => "quiet",
            Self::Finished => "finished",
            Self::Ended => "ended",
            Self::Reported => "reported",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) runs: usize,
    /// Of each run.
    pub(crate) runners: usize,
    pub(crate) phase: Phase,
    /// Of a request to Kubernetes.
    pub(crate) latency_ms: u64,
    /// Of each runner, before the first cycle.
    pub(crate) lines: usize,
    /// Finished steps in the database.
    pub(crate) history: usize,
    /// The runs are spread over so many namespaces.
    pub(crate) namespaces: usize,
    /// And so many syncs at once share them.
    pub(crate) syncs: usize,
}

impl Case {
    /// 1,000 runners of 10 runs, 5 ms away.
    pub(crate) const USUAL: Self = Self {
        runs: 10,
        runners: 100,
        phase: Phase::Steady,
        latency_ms: 5,
        lines: 100,
        history: 0,
        namespaces: 1,
        syncs: 1,
    };

    /// A thousand runners of one run that end in one cycle.
    pub(crate) const REPORTED: Self = Self {
        runs: 1,
        runners: 1_000,
        phase: Phase::Reported,
        ..Self::USUAL
    };

    pub(crate) fn pods(self) -> usize {
        self.runs * self.runners
    }

    /// The same with logs of so many bytes.
    pub(crate) fn with_log(self, bytes: usize) -> Self {
        Self {
            lines: bytes / LINE_BYTES,
            phase: Phase::First,
            ..self
        }
    }

    pub(crate) fn name(self) -> String {
        let Self {
            runs,
            runners,
            phase,
            latency_ms,
            lines,
            history,
            namespaces,
            syncs,
        } = self;
        let mut name = format!("{runs}x{runners} {} {latency_ms} ms", phase.name());
        if lines != Self::USUAL.lines {
            let bytes = lines * LINE_BYTES;
            name += &match bytes < 10_000_000 {
                true => format!(", {} KB", (bytes + 500) / 1_000),
                false => format!(", {} MB", (bytes + 500_000) / 1_000_000),
            };
        }
        if history > 0 {
            name += &format!(", history {history}");
        }
        if namespaces > 1 {
            name += &format!(", {namespaces} namespaces, {syncs} syncs");
        }
        name
    }
}

/// What is measured beside each other, round by round.
pub(crate) struct Group {
    pub(crate) members: Vec<(Case, &'static str)>,
    /// Of each; the median counts.
    pub(crate) rounds: usize,
}

impl Group {
    /// Ours beside the floor and, where it takes no minutes, the obvious way.
    fn of(case: Case) -> Self {
        let takes_minutes = case.pods() > 1_000
            || case.lines > Case::USUAL.lines
            || (case.latency_ms > Case::USUAL.latency_ms && case.phase != Phase::Steady);
        let subjects = match takes_minutes {
            true => &["floor", "ours"][..],
            false => &["floor", "naive", "ours"],
        };
        Self {
            members: subjects.iter().map(|subject| (case, *subject)).collect(),
            rounds: 5,
        }
    }

    /// Ours beside itself. What can't be told from noise is measured more often.
    fn with_and_without_history(history: usize) -> Self {
        let with = Case {
            history,
            ..Case::USUAL
        };
        Self {
            members: vec![(Case::USUAL, "ours"), (with, "ours")],
            rounds: 15,
        }
    }

    /// One sync of several namespaces beside one sync for each.
    fn of_one_sync_and_many(namespaces: usize) -> Self {
        let one = Case {
            runs: 100,
            latency_ms: 50,
            namespaces,
            ..Case::USUAL
        };
        let many = Case {
            syncs: namespaces,
            ..one
        };
        Self {
            members: vec![(one, "ours"), (many, "ours")],
            rounds: 5,
        }
    }
}

/// Those with this text in their names.
pub(crate) fn groups(quick: bool, only: &str) -> Vec<Group> {
    let mut groups = all_groups(quick);
    groups.retain(|group| {
        group
            .members
            .iter()
            .any(|(case, _)| case.name().contains(only))
    });
    groups
}

fn all_groups(quick: bool) -> Vec<Group> {
    let phases = |case: Case| Phase::ALL.map(|phase| Case { phase, ..case });
    let usual = Case::USUAL;
    let mut cases = phases(usual).to_vec();
    cases.push(usual.with_log(100_000));
    if quick {
        return cases.into_iter().map(Group::of).collect();
    }
    for (runs, runners) in [(1, 10), (1, 100), (10, 1_000), (1, 1_000), (1_000, 1)] {
        cases.extend(phases(Case {
            runs,
            runners,
            ..usual
        }));
    }
    for latency_ms in [0, 50] {
        cases.extend(phases(Case {
            latency_ms,
            ..usual
        }));
    }
    let mut groups: Vec<Group> = cases.into_iter().map(Group::of).collect();
    groups.push(Group::with_and_without_history(1_000_000));
    groups.push(Group::of_one_sync_and_many(4));
    let ended = Case {
        phase: Phase::Ended,
        ..Case::REPORTED
    };
    groups.push(Group {
        members: vec![(ended, "ours"), (Case::REPORTED, "ours")],
        rounds: 5,
    });
    // Its memory is what is wanted to know.
    let many_large = Case {
        runners: 1_000,
        ..usual
    };
    groups.push(Group {
        members: vec![(many_large.with_log(100_000), "ours")],
        rounds: 1,
    });
    let giant = Case {
        runs: 1,
        runners: 1,
        ..usual
    };
    groups.push(Group {
        members: vec![(giant.with_log(1_000_000_000), "ours")],
        rounds: 1,
    });
    groups
}
