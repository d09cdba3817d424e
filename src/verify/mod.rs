//! Is the record what it should be? It is compared with the containers and logs of the cluster, and with its own hashes.
//!
//! `k6sync verify` calls [`run`]. It writes nothing, and holds neither a log nor a record in memory.

mod report;
mod results;
mod rows;
mod sight;

use std::collections::HashMap;

use futures_util::{StreamExt, stream};

pub(crate) use self::report::{Problem, Verdict, Verification, Verified};
pub(crate) use self::sight::Scope;
use self::sight::Sight;
use crate::cluster::{Cluster, ClusterError, LogOptions, Pod, Reach};
use crate::cycle::audit::{Audited, audit};
use crate::cycle::compare::Counts;
use crate::discreet;
use crate::progress::Progress;
use crate::store::{
    Overview, Read, Reader, Recorded, RunId, StepId, StepRow, StoreError, StreamFacts, StreamState,
    Unreadable,
};

/// Logs checked at a time; two windows of lines are held for each.
const MOST_AT_A_TIME: usize = 8;
/// Steps read at a time.
const STEPS: i64 = 100;
/// A sync may change a step while it is being read: then it is read again.
const ATTEMPTS: usize = 5;

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    /// Kubernetes.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database is another cluster's.
    #[error("nothing was verified: {0}")]
    OtherCluster(String),
    /// There is no such run.
    #[error("no test run has the id, the external_id or the name `{}`", discreet::name(.0))]
    NoSuchRun(String),
}

/// The cluster to compare with.
#[derive(Debug)]
pub(crate) struct Live<'a> {
    /// Where the logs are.
    pub cluster: &'a Cluster,
    /// What of it is synced.
    pub scope: Scope,
    /// `clusters.id`, if it is known which cluster it is.
    pub id: Option<String>,
}

/// Compares the record with itself, and with the cluster if it is given: all of it, or one run (an id, external_id or
/// name). Without a cluster each log is read whole; with it those of pods that are there, or of the run. `progress` counts
/// container logs.
///
/// # Errors
/// [`VerifyError`]; what is wrong with one container is reported with it.
pub(crate) async fn run(
    store: &Reader,
    live: Option<Live<'_>>,
    run: Option<&str>,
    concurrency: usize,
    progress: &impl Progress,
) -> Result<Verification, VerifyError> {
    let runs = match run {
        Some(run) => {
            let runs = store.find_runs(run).await?;
            if runs.is_empty() {
                return Err(VerifyError::NoSuchRun(run.to_owned()));
            }
            Some(runs)
        }
        None => None,
    };
    let mut verification = Verification::default();
    let cluster_id = live.as_ref().and_then(|live| live.id.clone());
    let (cluster, mut sight) = match live {
        Some(Live { cluster, scope, .. }) => {
            let mut reach = Reach::of(&scope.namespaces);
            let mut test_runs = reach.test_runs(cluster).await?;
            let pods = reach.pods(cluster).await?;
            test_runs.items.retain(|run| reach.has(&run.namespace));
            let scope = Scope {
                namespaces: reach.namespaces().clone(),
                ..scope
            };
            for (namespace, error) in reach.out_of_reach() {
                verification.problems.push(Problem::general(format!(
                    "the namespace {namespace} was not verified, the others were: {error}"
                )));
            }
            for bad in test_runs.malformed.iter().chain(&pods.malformed) {
                verification.problems.push(Problem::general(format!(
                    "{}/{} can't be read: {}",
                    bad.namespace, bad.name, bad.problem
                )));
            }
            let sight = Sight::new(scope, pods.items, test_runs.items, runs.is_some());
            (Some(cluster), Some(sight))
        }
        None => (None, None),
    };
    // Before the steps: what a cycle that ends meanwhile has seen is in them.
    let overview = store.overview(cluster_id.as_deref()).await?;
    progress.begin(u64::try_from(overview.streams).unwrap_or(0));
    let mut verifier = Verifier {
        store,
        cluster,
        concurrency: concurrency.clamp(1, MOST_AT_A_TIME),
        reads_all: cluster.is_none() || runs.is_some(),
        overview: &overview,
        progress,
    };
    let mut after = StepId(i64::MIN);
    loop {
        let steps = store.steps_after(after, runs.as_deref(), STEPS).await?;
        let Some(last) = steps.iter().filter_map(id_of).max() else {
            break;
        };
        after = last;
        verifier
            .steps(steps, sight.as_mut(), &mut verification)
            .await?;
    }
    if let Some(sight) = &sight {
        verifier.add_unseen(sight, &mut verification).await?;
    }
    if runs.is_none() {
        let orphans = store.orphans().await?;
        verification
            .problems
            .extend(orphans.into_iter().map(Problem::general));
    }
    verification.conclude();
    Ok(verification)
}

fn id_of(step: &Read<StepRow>) -> Option<StepId> {
    match step {
        Ok(step) => Some(step.id),
        Err(bad) => bad.row["id"].as_i64().map(StepId),
    }
}

struct Verifier<'a, P> {
    store: &'a Reader,
    cluster: Option<&'a Cluster>,
    concurrency: usize,
    /// Logs whose pods are not there are read too.
    reads_all: bool,
    overview: &'a Overview,
    progress: &'a P,
}

/// A stream to be checked.
struct Item {
    run: RunId,
    step: String,
    /// What is wrong with its step.
    step_problems: Vec<String>,
    stream: Read<Recorded>,
}

impl<P: Progress> Verifier<'_, P> {
    /// Verifies some steps with their streams.
    async fn steps(
        &mut self,
        steps: Vec<Read<StepRow>>,
        mut sight: Option<&mut Sight>,
        verification: &mut Verification,
    ) -> Result<(), VerifyError> {
        let ids: Vec<StepId> = steps.iter().filter_map(id_of).collect();
        let mut by_step: HashMap<StepId, Vec<Read<Recorded>>> = HashMap::new();
        for stream in self.store.recorded(&ids).await? {
            by_step.entry(step_of(&stream)).or_default().push(stream);
        }
        let mut items = Vec::new();
        for step in steps {
            let id = id_of(&step).unwrap_or_default();
            let mut streams = by_step.remove(&id).unwrap_or_default();
            let mut step = step;
            let mut problems = step_problems(&step, streams.len(), self.overview);
            for _ in 0..ATTEMPTS {
                if problems.is_empty() {
                    break;
                }
                let again = self
                    .store
                    .steps_after(StepId(id.0.saturating_sub(1)), None, 1)
                    .await?;
                let Some(again) = again.into_iter().find(|step| id_of(step) == Some(id)) else {
                    break;
                };
                step = again;
                streams = self.store.recorded(&[id]).await?;
                problems = step_problems(&step, streams.len(), self.overview);
            }
            let readable: Vec<&Recorded> = streams.iter().flatten().collect();
            let reads_logs = self.reads_all;
            problems.extend(
                results::problems(self.store, id, &readable, self.overview, reads_logs).await?,
            );
            let (run, name) = match &step {
                Ok(step) => (step.test_run_id, step.name.clone()),
                Err(bad) => (
                    RunId(bad.row["test_run_id"].as_i64().unwrap_or_default()),
                    bad.row["name"].as_str().unwrap_or("?").to_owned(),
                ),
            };
            if let (Ok(step), Some(sight)) = (&step, &mut sight) {
                let there = i64::try_from(streams.len()).unwrap_or(i64::MAX);
                sight.note_step(step, there < step.streams);
                if sight.is_held_unsaid(step, self.overview.database_id.as_deref())
                    && self.is_held_unsaid(step, sight).await?
                {
                    problems.push(
                        "its TestRun has k6sync's finalizer, and its row does not say so (held)"
                            .to_owned(),
                    );
                }
                for stream in streams.iter().flatten() {
                    sight.note_stream(&stream.stream.facts.key);
                }
            }
            if !problems.is_empty() && streams.is_empty() {
                let containers = match (&step, &sight) {
                    (Ok(step), Some(sight)) => sight.containers_of(step),
                    _ => Vec::new(),
                };
                verification
                    .problems
                    .push(Problem::of_step(run, &name, id, &problems, containers));
            }
            items.extend(streams.into_iter().map(|stream| {
                Item {
                    run,
                    step: name.clone(),
                    step_problems: problems
                        .iter()
                        .map(|problem| format!("its step {id}: {problem}"))
                        .collect(),
                    stream,
                }
            }));
        }
        let (sight, items, this) = (sight.as_deref(), &items, &*self);
        let verified: Vec<Result<Option<Verified>, VerifyError>> = stream::iter(0..items.len())
            .map(|number| this.item(&items[number], sight))
            .buffer_unordered(self.concurrency)
            .collect()
            .await;
        for verified in verified {
            if let Some(verified) = verified? {
                verification.containers.push(verified);
            }
        }
        Ok(())
    }

    /// It may have been released since it was listed.
    async fn is_held_unsaid(&self, step: &StepRow, sight: &Sight) -> Result<bool, VerifyError> {
        let Some(cluster) = self.cluster else {
            return Ok(false);
        };
        let now = cluster.test_runs(sight.namespaces()).await?.items;
        let steps = self
            .store
            .steps_after(StepId(step.id.0.saturating_sub(1)), None, 1)
            .await?;
        let is_still =
            |step: &StepRow| Sight::bears_unsaid(&now, step, self.overview.database_id.as_deref());
        Ok(steps
            .iter()
            .flatten()
            .any(|now| now.id == step.id && is_still(now)))
    }

    /// `None`: its pod is not there, nothing is wrong with its row, and its log was not asked for.
    async fn item(
        &self,
        item: &Item,
        sight: Option<&Sight>,
    ) -> Result<Option<Verified>, VerifyError> {
        let recorded = match &item.stream {
            Ok(recorded) => recorded,
            Err(bad) => return Ok(Some(unreadable(item, bad))),
        };
        let pod = sight.and_then(|sight| sight.pod(&recorded.stream.facts.key.pod_uid));
        let mut verified = Verified::new(item.run, &item.step, &recorded.stream.facts);
        if pod.is_none() && !self.reads_all {
            verified.problems.clone_from(&item.step_problems);
            verified
                .problems
                .extend(rows::row_problems(recorded, self.overview));
            verified.verdict = Verdict::Altered;
            return Ok((!verified.problems.is_empty()).then_some(verified));
        }
        let sums = match rows::check(self.store, recorded, self.overview).await {
            Ok(sums) => sums,
            // A damaged page, or one table that may not be read: it tells nothing of the others.
            Err(error) if self.store.check_schema().await.is_ok() => {
                verified.verdict = Verdict::Error;
                verified.error = Some(error.to_string());
                self.progress.advance(1);
                return Ok(Some(verified));
            }
            Err(error) => return Err(error.into()),
        };
        verified.problems.clone_from(&item.step_problems);
        verified.problems.extend(sums.problems);
        verified.unproven = sums.unproven;
        verified.counts.lines = sums.lines;
        verified.counts.bytes = sums.bytes;
        verified.verdict = Verdict::Intact;
        if let (Some(cluster), Some(pod)) = (self.cluster, pod)
            && let Some(previous) = previous(recorded, pod)
        {
            match compare(cluster, self.store, recorded, pod, previous).await {
                Ok(counts) => {
                    verified.verdict = Verdict::of(&counts);
                    verified.counts = counts;
                }
                Err(error) => {
                    verified.verdict = Verdict::Error;
                    verified.error = Some(error.to_string());
                }
            }
        }
        if !verified.problems.is_empty() && verified.verdict != Verdict::Differs {
            verified.verdict = Verdict::Altered;
        }
        self.progress.advance(1);
        Ok(Some(verified))
    }

    /// Containers of the cluster that have no stream.
    async fn add_unseen(
        &self,
        sight: &Sight,
        verification: &mut Verification,
    ) -> Result<(), VerifyError> {
        for unseen in sight.unseen(self.overview) {
            let (run, step) = match unseen.step {
                Some(claim) => (claim.run, claim.step.as_str()),
                None => (RunId::default(), unseen.pod.test_run.as_str()),
            };
            let mut verified = Verified::new(run, step, &unseen.facts);
            verified.verdict = match unseen.is_overdue {
                true => Verdict::Unrecorded,
                false => Verdict::NotYet,
            };
            verification.containers.push(verified);
        }
        Ok(())
    }
}

fn step_of(stream: &Read<Recorded>) -> StepId {
    match stream {
        Ok(recorded) => recorded.stream.facts.step_id,
        Err(bad) => StepId(bad.row["step_id"].as_i64().unwrap_or_default()),
    }
}

/// What is wrong with a step's row.
fn step_problems(step: &Read<StepRow>, streams: usize, overview: &Overview) -> Vec<String> {
    let step = match step {
        Ok(step) => step,
        Err(bad) => return vec![format!("its row can't be read: {}", bad.problem)],
    };
    let mut problems = Vec::new();
    if !step.is_as_sealed(overview.unsealed_steps) {
        problems.push("its row in test_run_steps was changed".to_owned());
    }
    if i64::try_from(streams) != Ok(step.streams) {
        problems.push(format!(
            "{} log streams were made for it, {streams} are there",
            step.streams
        ));
    }
    problems
}

fn unreadable(item: &Item, bad: &Unreadable) -> Verified {
    let text = |key: &str| bad.row[key].as_str().unwrap_or("?").to_owned();
    let mut problems = item.step_problems.clone();
    problems.push(format!(
        "its row in log_streams can't be read: {}",
        bad.problem
    ));
    Verified {
        run: item.run,
        step: item.step.clone(),
        pod: text("pod_name"),
        container: text("container"),
        restart_count: bad.row["restart_count"].as_i64().unwrap_or_default(),
        verdict: Verdict::Altered,
        counts: Counts::default(),
        unproven: 0,
        problems,
        error: None,
    }
}

/// Compares a record with its log.
async fn compare(
    cluster: &Cluster,
    store: &Reader,
    recorded: &Recorded,
    pod: &Pod,
    previous: bool,
) -> Result<Counts, VerifyError> {
    let stream = &recorded.stream;
    let log = LogOptions {
        namespace: &pod.namespace,
        pod: &pod.name,
        container: &stream.facts.key.container,
        previous,
        since_second: None,
    };
    let audited = Audited {
        stream_id: stream.id,
        lines: stream.position.lines,
        complete: stream.complete,
        ended: stream.complete,
        by_time: true,
    };
    let (counts, _) = audit::<VerifyError>(cluster, store, &log, audited).await?;
    if !counts.differs() {
        return Ok(counts);
    }
    // A clock that stepped back may have misled it about where the log begins.
    let whole = Audited {
        by_time: false,
        ..audited
    };
    match audit::<VerifyError>(cluster, store, &log, whole).await? {
        (whole, _) if !whole.differs() => Ok(whole),
        _ => Ok(counts),
    }
}

/// Whether the life's log is the one before the present; `None`: it is no longer, or not yet, to be had (docs/facts.md,
/// "Only the life before is kept").
fn previous(recorded: &Recorded, pod: &Pod) -> Option<bool> {
    let StreamFacts { key, state, .. } = &recorded.stream.facts;
    let container = pod
        .containers
        .iter()
        .find(|container| container.name == key.container)?;
    match container.restart_count.saturating_sub(key.restart_count) {
        0 if *state == StreamState::Waiting => None,
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}
