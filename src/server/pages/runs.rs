//! The list of runs, newest first.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::{Span, SpanRelativeTo, Timestamp};

use super::answer::{html, unless_known};
use super::choice::Choice;
use super::frame::Frame;
use super::problem::Problem;
use super::query::Query;
use super::state::Pages;
use super::visitor::Visitor;
use crate::record::{RunRow, Runs, RunsWanted};
use crate::report::html::{Badge, Time};
use crate::report::verdict::{self, Tone};
use crate::report::{values, words};
use crate::store::{RunId, Status};

/// Runs of a page.
const RUNS: u32 = 50;

#[derive(Template)]
#[template(path = "runs.html", config = "src/server/askama.toml")]
struct Page {
    frame: Frame,
    name: String,
    namespace: String,
    statuses: Vec<Choice>,
    ages: Vec<Choice>,
    /// It is not the first page.
    is_later: bool,
    is_filtered: bool,
    rows: Rows,
}

/// The rows alone: what is asked for again while the page is open.
#[derive(Template)]
#[template(path = "runs_rows.html", config = "src/server/askama.toml")]
struct RowsAlone<'a> {
    rows: &'a Rows,
}

struct Rows {
    rows: Vec<Row>,
    /// The next page.
    older: Option<String>,
    /// What the page's title and icon tell.
    title: String,
    icon: String,
}

struct Row {
    id: String,
    href: String,
    badge: Badge,
    name: String,
    namespace: String,
    started: Option<Time>,
    took: String,
    runners: String,
    thresholds: Option<Badge>,
    error_rate: String,
    p95: String,
}

/// `GET /`
pub(super) async fn page(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let record = &pages.source.record().await?;
    let now = Timestamp::now();
    let wanted = RunsWanted {
        visible: visitor.sight.visible(),
        ..wanted(&query, now)?
    };
    let runs = record.runs(&wanted).await?;
    let rows = Rows::of(&runs, &query, now);
    if query.get("part").is_some() {
        return unless_known(&RowsAlone { rows: &rows }, &headers);
    }
    let tone = runs.runs.first().map(|run| verdict::tone(run.status));
    let frame = Frame::of(rows.title.clone(), "runs", &visitor)
        .over(record)
        .await?;
    let chosen = |field: &str| query.get(field).unwrap_or_default().to_owned();
    html(&Page {
        frame: match tone {
            Some(tone) => frame.with_icon(tone),
            None => frame,
        },
        name: chosen("name"),
        namespace: chosen("namespace"),
        statuses: statuses(&chosen("status")),
        ages: ages(&chosen("since")),
        is_later: query.get("before").is_some(),
        is_filtered: ["name", "namespace", "status", "since"]
            .iter()
            .any(|field| query.get(field).is_some()),
        rows,
    })
}

fn wanted(query: &Query, now: Timestamp) -> Result<RunsWanted, Problem> {
    let mut statuses = Vec::new();
    for word in query.all("status") {
        statuses.extend(match word {
            "open" => all_of(Tone::Open),
            "bad" => all_of(Tone::Bad),
            word => vec![Status::parse(word).ok_or_else(|| {
                Problem::wrong(format!("{} is no status of a run.", values::name(word)))
            })?],
        });
    }
    Ok(RunsWanted {
        namespaces: query.get("namespace").map(|name| vec![name.to_owned()]),
        statuses: Some(statuses).filter(|statuses| !statuses.is_empty()),
        since: query.get("since").map(|age| since(age, now)).transpose()?,
        name: query.get("name").map(str::to_owned),
        before: query
            .get("before")
            .map(|id| id.parse().map(RunId))
            .transpose()
            .map_err(|_| Problem::wrong("`before` is the id of a run."))?,
        limit: RUNS,
        ..RunsWanted::default()
    })
}

fn all_of(tone: Tone) -> Vec<Status> {
    let all = Status::ALL.iter().copied();
    all.filter(|status| verdict::tone(*status) == tone)
        .collect()
}

fn since(age: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    let wrong = || Problem::wrong("An age is written as 7d or 12h.");
    let span: Span = age.parse().map_err(|_| wrong())?;
    let age = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| wrong())?;
    now.checked_sub(age).map_err(|_| wrong())
}

fn statuses(chosen: &str) -> Vec<Choice> {
    let choice = |value: &str, name: &str| Choice {
        value: value.to_owned(),
        name: name.to_owned(),
        is_chosen: value == chosen,
    };
    let mut choices = vec![
        choice("", "Any"),
        choice("open", "Not over"),
        choice("bad", "Failed in any way"),
    ];
    let words = Status::ALL.iter().map(|status| status.as_str());
    choices.extend(words.map(|word| choice(word, word)));
    choices
}

fn ages(chosen: &str) -> Vec<Choice> {
    let mut choices: Vec<Choice> = [
        ("", "Ever"),
        ("1h", "The last hour"),
        ("24h", "The last 24 hours"),
        ("7d", "The last 7 days"),
        ("30d", "The last 30 days"),
    ]
    .into_iter()
    .map(|(value, name)| Choice {
        value: value.to_owned(),
        name: name.to_owned(),
        is_chosen: value == chosen,
    })
    .collect();
    if !choices.iter().any(|choice| choice.is_chosen) {
        choices.push(Choice {
            value: chosen.to_owned(),
            name: format!("The last {chosen}"),
            is_chosen: true,
        });
    }
    choices
}

impl Rows {
    fn of(runs: &Runs, query: &Query, now: Timestamp) -> Self {
        let open = runs
            .runs
            .iter()
            .filter(|run| verdict::tone(run.status) == Tone::Open)
            .count();
        let newest = runs.runs.first();
        Self {
            rows: runs.runs.iter().map(|run| Row::of(run, now)).collect(),
            older: runs
                .next
                .map(|next| query.with(&[("before", Some(&next.to_string())), ("part", None)])),
            title: match (open, newest) {
                (0, Some(run)) => format!("{} Test runs", words::symbol(run.status)),
                (0, None) => "Test runs".to_owned(),
                (open, _) => format!("({open}) Test runs"),
            },
            icon: super::assets::icon(newest.map(|run| verdict::tone(run.status))),
        }
    }
}

impl Row {
    fn of(run: &RunRow, now: Timestamp) -> Self {
        let or_nothing = |text: Option<String>| text.unwrap_or_else(|| words::NOTHING.to_owned());
        let so_far = || {
            let started = run.started_at.filter(|_| !run.status.is_final())?;
            // By ten seconds, so that it is not another page each time.
            let seconds = now.duration_since(started).as_secs() / 10 * 10;
            Some(format!("{} so far", words::duration(seconds as f64)))
        };
        Self {
            id: run.id.to_string(),
            href: format!("/runs/{}", run.id),
            badge: Badge {
                class: verdict::tone(run.status).class(),
                symbol: words::symbol(run.status),
                word: run.status.as_str().to_owned(),
            },
            name: values::name(&run.name),
            namespace: or_nothing(run.namespace.as_deref().map(values::name)),
            started: run.started_at.map(Time::of),
            took: or_nothing(run.duration_seconds.map(words::duration).or_else(so_far)),
            runners: match run.status.is_final() && run.runners_reported < run.runners {
                true => format!(
                    "{} of {}",
                    words::count(run.runners_reported),
                    words::count(run.runners)
                ),
                false => words::count(run.runners),
            },
            thresholds: match (run.thresholds, run.thresholds_failed) {
                (0, _) => None,
                (all, 0) => Some(Badge::of(Tone::Good, format!("{} held", words::count(all)))),
                (all, failed) => Some(Badge::of(
                    Tone::Bad,
                    format!("{} of {} failed", words::count(failed), words::count(all)),
                )),
            },
            error_rate: or_nothing(run.error_rate.map(words::percent)),
            p95: or_nothing(run.p95.map(values::milliseconds)),
        }
    }
}
