//! The list of runs, one run, what k6 measured in it, and runs held against each other.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use jiff::Timestamp;
use serde::Serialize;

use super::answer;
use super::parameters::{OTHERS, OfTheComparison, OfTheList, OneRun};
use super::query::Query;
use super::state::Api;
use crate::record::compare::{Comparison, tolerance};
use crate::record::{CheckResult, Metric, Run, Runs, RunsWanted, Threshold, When};
use crate::server::door::Asking;
use crate::server::refusal::{AsItWas, Refusal, Refusals, RunRefusals};
use crate::store::{RunId, Status, StepId};

/// Runs on a page, where nobody says how many.
const LIMIT: u32 = 20;
const MOST: u32 = 1_000;

/// What k6 measured in a run.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Results {
    pub(super) id: RunId,
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    pub(super) status: Status,
    /// Run and steps have ended.
    pub(super) ended: bool,
    /// In their order.
    pub(super) steps: Vec<StepResults>,
}

/// What k6 measured in a step, over all runners.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct StepResults {
    pub(super) id: StepId,
    pub(super) name: String,
    /// Runners asked for.
    pub(super) parallelism: Option<i64>,
    /// How many of them have a summary.
    pub(super) runners_reported: i64,
    pub(super) thresholds: Vec<Threshold>,
    pub(super) checks: Vec<CheckResult>,
    pub(super) metrics: Vec<Metric>,
}

/// The list of runs
///
/// Newest first: those that you may see. `next`, if there are more, is `before` of the next page.
#[utoipa::path(get, path = "/api/v1/runs", params(OfTheList), responses(
    (status = 200, description = "a page of the list", body = Runs), Refusals
))]
pub(super) async fn list(
    State(api): State<Api>,
    asking: Asking,
    RawQuery(query): RawQuery,
) -> Response {
    const KNOWN: &[&str] = &["status", "since", "name", "namespace", "before", "limit"];
    let answer = async {
        let look = api.house.look(&asking).await?;
        let query = Query::of(query.as_deref(), KNOWN).map_err(Refusal::bad)?;
        let runs = look.runs(wanted(&query).map_err(Refusal::bad)?).await?;
        answer::json(&asking.headers, &runs, false)
    };
    api.respond(answer.await)
}

fn wanted(query: &Query) -> Result<RunsWanted, String> {
    let statuses = query.all::<String>("status")?;
    let statuses = statuses.iter().map(|word| {
        Status::parse(word).ok_or_else(|| {
            let known: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
            format!("status: it must be one of {}", known.join(", "))
        })
    });
    let statuses = statuses.collect::<Result<Vec<_>, _>>()?;
    let namespaces = query.all::<String>("namespace")?;
    let limit = query.one("limit")?.unwrap_or(LIMIT);
    if !(1..=MOST).contains(&limit) {
        return Err(format!("limit: it must be from 1 to {MOST}"));
    }
    Ok(RunsWanted {
        namespaces: (!namespaces.is_empty()).then_some(namespaces),
        statuses: (!statuses.is_empty()).then_some(statuses),
        since: query
            .one::<When>("since")?
            .map(|when| when.from(Timestamp::now())),
        name: query.one("name")?,
        before: query.one("before")?.map(RunId),
        limit,
        ..RunsWanted::default()
    })
}

/// The run's name in the path.
pub(super) fn named(path: Result<Path<String>, PathRejection>) -> Result<String, Refusal> {
    let bad = |error: PathRejection| Refusal::bad(format!("the run's name can't be read: {error}"));
    Ok(path.map_err(bad)?.0)
}

/// A run
///
/// With its steps, their containers, and what k6 measured.
#[utoipa::path(get, path = "/api/v1/runs/{run}", params(OneRun), responses(
    (status = 200, description = "the run", body = Run), AsItWas, Refusals, RunRefusals
))]
pub(super) async fn one(
    State(api): State<Api>,
    asking: Asking,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Response {
    let answer = async {
        let look = api.house.look(&asking).await?;
        Query::of(query.as_deref(), &[]).map_err(Refusal::bad)?;
        let run = look.run(&named(path)?).await?;
        answer::json(&asking.headers, &run, is_over(&run))
    };
    api.respond(answer.await)
}

/// Nothing will come to it any more.
pub(super) fn is_over(run: &Run) -> bool {
    run.outcome.ended && run.complete
}

/// What k6 measured in a run
///
/// Over all runners of each step: thresholds, checks, metrics.
#[utoipa::path(get, path = "/api/v1/runs/{run}/results", params(OneRun), responses(
    (status = 200, description = "what k6 measured", body = Results), AsItWas, Refusals, RunRefusals
))]
pub(super) async fn results(
    State(api): State<Api>,
    asking: Asking,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Response {
    let answer = async {
        let look = api.house.look(&asking).await?;
        Query::of(query.as_deref(), &[]).map_err(Refusal::bad)?;
        let run = look.run(&named(path)?).await?;
        let over = is_over(&run);
        let steps = run.steps.into_iter().map(|step| StepResults {
            id: step.row.id,
            name: step.row.name,
            parallelism: step.row.parallelism,
            runners_reported: step.row.runners_reported,
            thresholds: step.measured.thresholds,
            checks: step.measured.checks,
            metrics: step.measured.metrics,
        });
        let results = Results {
            id: run.row.id,
            name: run.row.name,
            namespace: run.row.namespace,
            status: run.row.status,
            ended: run.outcome.ended,
            steps: steps.collect(),
        };
        answer::json(&asking.headers, &results, over)
    };
    api.respond(answer.await)
}

/// Runs held against a base
///
/// As `k6sync compare` says it.
#[utoipa::path(get, path = "/api/v1/compare", params(OfTheComparison), responses(
    (status = 200, description = "what is different", body = Comparison), AsItWas, Refusals, RunRefusals
))]
pub(super) async fn compare(
    State(api): State<Api>,
    asking: Asking,
    RawQuery(query): RawQuery,
) -> Response {
    const KNOWN: &[&str] = &["base", "other", "tolerance"];
    let answer = async {
        let look = api.house.look(&asking).await?;
        let query = Query::of(query.as_deref(), KNOWN).map_err(Refusal::bad)?;
        let missing = || Refusal::bad("base and other are needed: two runs or more");
        let base: String = query
            .one("base")
            .map_err(Refusal::bad)?
            .ok_or_else(missing)?;
        let others = query.each("other");
        if !(1..=OTHERS).contains(&others.len()) {
            let problem = format!(
                "other must be there once to {OTHERS} times: the runs to compare with base"
            );
            return Err(Refusal::bad(problem));
        }
        let accepted = match query.one::<String>("tolerance").map_err(Refusal::bad)? {
            Some(text) => {
                tolerance(&text).map_err(|problem| Refusal::bad(format!("tolerance: {problem}")))?
            }
            None => 0.0,
        };
        let comparison = look.comparison(&base, &others, accepted).await?;
        let is_over = comparison.base.ended && comparison.others.iter().all(|run| run.ended);
        answer::json(&asking.headers, &comparison, is_over)
    };
    api.respond(answer.await)
}
