//! The job: is sync on, how often, who does it, and how the last cycles went.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::answer::{html, unless_known};
use super::frame::Frame;
use super::notice::Notice;
use super::problem::Problem;
use super::query::Query;
use super::state::{JobPart, Pages};
use super::visitor::Visitor;
use crate::record::CycleRecord;
use crate::report::html::{Badge, Time};
use crate::report::verdict::Tone;
use crate::report::{values, words};
use crate::sync_loop::control::{Action, Control, Interval};
use crate::sync_loop::election::Leadership;

/// Cycles of the chart and of the table of errors.
const CYCLES: i64 = 60;
/// Errors that are shown.
const ERRORS: usize = 20;
/// Nobody who looks waits longer for the cluster.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Template)]
#[template(path = "job.html", config = "src/server/askama.toml")]
struct Page {
    frame: Frame,
    part: Part,
    /// What can be changed by whoever looks.
    form: Option<Form>,
    /// Why nothing can.
    readonly: &'static str,
}

struct Form {
    csrf: String,
    interval: u64,
    least: u64,
    most: u64,
    is_on: bool,
}

/// What changes by itself, alone.
#[derive(Template)]
#[template(path = "job_part.html", config = "src/server/askama.toml")]
struct PartAlone<'a> {
    part: &'a Part,
}

struct Part {
    badge: Badge,
    facts: Vec<(&'static str, String)>,
    problem: Option<String>,
    last: Option<Time>,
    chart: Option<String>,
    errors: Vec<ErrorRow>,
    cycles: usize,
}

struct ErrorRow {
    at: Time,
    what: String,
    error: String,
}

/// `GET /job`
pub(super) async fn page(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let record = &pages.source.record().await?;
    let mut cycles = record.last_cycles(CYCLES).await?;
    // Errors name steps of any namespace.
    if visitor.sight.runs != crate::server::sight::Seen::All && !visitor.sight.organizes {
        for cycle in &mut cycles {
            cycle.errors.clear();
        }
    }
    let control = match &pages.job {
        Some(job) => Some(
            job.control
                .until(Instant::now() + PATIENCE)
                .read()
                .await
                .map_err(|error| error.to_string()),
        ),
        None => None,
    };
    let part = Part::of(&cycles, control.as_ref(), pages.job.as_ref());
    if query.get("part").is_some() {
        return unless_known(&PartAlone { part: &part }, &headers);
    }
    let form = match (&control, &visitor.csrf) {
        (Some(Ok(control)), Some(csrf)) if visitor.sight.organizes => Some(Form {
            csrf: csrf.clone(),
            interval: control.interval.seconds(),
            least: Interval::MIN,
            most: Interval::MAX,
            is_on: control.enabled,
        }),
        _ => None,
    };
    html(&Page {
        frame: Frame::of("Job", "job", &visitor).over(record).await?,
        readonly: match (&pages.job, visitor.sight.organizes) {
            (None, _) => {
                "This page is made from the database alone: whether sync is on, k6sync job status asks the cluster, and k6sync job start and stop change it."
            }
            (Some(_), false) => {
                "Organizers can start and stop it here: those who may update its ConfigMap."
            }
            (Some(_), true) => "It can't be changed now.",
        },
        part,
        form,
    })
}

/// `GET /notice`: whether what is shown may be old.
pub(super) async fn notice(
    State(pages): State<Arc<Pages>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let record = &pages.source.record().await?;
    unless_known(&Notice::of(record).await?, &headers)
}

/// `POST /job`: start, stop or restart, for organizers.
pub(super) async fn act(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    body: Bytes,
) -> Result<Response, Problem> {
    let forbidden = |problem: &str| Problem::Forbidden {
        problem: problem.to_owned(),
    };
    let fields = Query::parse(&body);
    let Some(job) = pages.job.as_ref().filter(|_| visitor.sight.organizes) else {
        return Err(forbidden("You may not start or stop it."));
    };
    // Only a page of ours knows it.
    let csrf = visitor.csrf.as_deref().filter(|csrf| !csrf.is_empty());
    let given = fields.get("csrf").unwrap_or_default();
    let is_ours = csrf.is_some_and(|csrf| csrf.as_bytes().ct_eq(given.as_bytes()).into());
    if !is_ours {
        return Err(forbidden(
            "The form is not of this page, or too old. Load the page again.",
        ));
    }
    let interval = fields
        .get("interval")
        .map(str::parse::<Interval>)
        .transpose()
        .map_err(|problem| Problem::wrong(format!("The interval {problem}.")))?;
    let action = match fields.get("action") {
        Some("start") => Action::Start(interval),
        Some("stop") => Action::Stop,
        Some("restart") => Action::Restart(interval),
        _ => return Err(Problem::wrong("The action is start, stop or restart.")),
    };
    let control = job.control.until(Instant::now() + PATIENCE);
    control
        .apply(action)
        .await
        .map_err(|error| Problem::Unavailable {
            problem: error.to_string(),
        })?;
    Ok(Redirect::to("/job").into_response())
}

impl Part {
    fn of(
        cycles: &[CycleRecord],
        control: Option<&Result<Control, String>>,
        job: Option<&JobPart>,
    ) -> Self {
        let mut facts = Vec::new();
        let badge = match control {
            Some(Ok(control)) => {
                facts.push(("Every", format!("{} s", control.interval.seconds())));
                facts.push(("Configured", values::message(&control.configured_via())));
                match control.enabled {
                    true => Badge::of(Tone::Good, "sync is on"),
                    false => Badge::of(Tone::Unknown, "sync is off"),
                }
            }
            Some(Err(_)) => Badge::of(Tone::Unknown, "not known"),
            None => match cycles.first() {
                Some(cycle) if cycle.outcome == "completed" => {
                    Badge::of(Tone::Good, "the last cycle was completed")
                }
                Some(_) => Badge::of(Tone::Bad, "the last cycle failed"),
                None => Badge::of(Tone::Unknown, "no cycle is on record"),
            },
        };
        if let Some(job) = job {
            let holder = match &*job.leadership.borrow() {
                Leadership::Leader => Some(job.instance.clone()),
                Leadership::Standby { holder } => holder.clone(),
            };
            let holder =
                holder.map_or_else(|| "nobody known".to_owned(), |name| values::name(&name));
            facts.push(("Synced by", holder));
        } else if let Some(cycle) = cycles.first() {
            facts.push(("Synced by", values::name(&cycle.instance)));
        }
        if let Some(cycle) = cycles.first() {
            facts.push((
                "The last cycle took",
                words::duration(cycle.duration_ms as f64 / 1_000.0),
            ));
            facts.push(("Active steps", values::number(cycle.total.unsigned_abs())));
        }
        let errors = cycles.iter().flat_map(|cycle| {
            cycle.errors.iter().map(|error| ErrorRow {
                at: Time::of(cycle.started_at),
                what: match (&error.step_name, &error.k6_test_name) {
                    (Some(step), _) => values::name(step),
                    (None, Some(test)) => values::name(test),
                    (None, None) => "the cycle".to_owned(),
                },
                error: values::message(&error.error),
            })
        });
        Self {
            badge,
            facts,
            problem: match control {
                Some(Err(problem)) => Some(values::message(problem)),
                _ => None,
            },
            last: cycles.first().map(|cycle| Time::of(cycle.started_at)),
            chart: chart(cycles),
            errors: errors.take(ERRORS).collect(),
            cycles: cycles.len(),
        }
    }
}

/// How long each of the last cycles took, the newest at the right; those with errors are hatched. No style, no script.
fn chart(cycles: &[CycleRecord]) -> Option<String> {
    const WIDTH: f64 = 1_100.0;
    const HEIGHT: f64 = 120.0;
    const LEFT: f64 = 70.0;
    const FOOT: f64 = 20.0;
    let longest = cycles.iter().map(|cycle| cycle.duration_ms).max()?;
    let longest = longest.max(1) as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"How long the last {} cycles took\">\
         <defs><pattern id=\"bad\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
         <rect width=\"6\" height=\"6\" fill=\"#d64545\"/><rect width=\"2\" height=\"6\" fill=\"#ffffff\" fill-opacity=\"0.55\"/></pattern></defs>\
         <g font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"currentColor\">\
         <text x=\"{:.0}\" y=\"14\" text-anchor=\"end\">{}</text><text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">0 s</text>\
         <line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{:.0}\" y2=\"{:.0}\" stroke=\"currentColor\" stroke-opacity=\"0.4\"/>",
        cycles.len(),
        LEFT - 8.0,
        words::duration(longest / 1_000.0),
        LEFT - 8.0,
        HEIGHT - FOOT,
        HEIGHT - FOOT,
        HEIGHT - FOOT,
    );
    let step = (WIDTH - LEFT) / CYCLES as f64;
    for (at, cycle) in cycles.iter().enumerate() {
        let height = (cycle.duration_ms as f64 / longest * (HEIGHT - FOOT - 4.0)).max(2.0);
        let x = WIDTH - step * (at as f64 + 1.0);
        let is_bad = cycle.outcome != "completed" || !cycle.errors.is_empty();
        let fill = if is_bad { "url(#bad)" } else { "#2f9e6e" };
        let errors = match cycle.errors.len() {
            0 => String::new(),
            count => format!(", {}", values::things(count as u64, "error", "errors")),
        };
        let outcome = match cycle.outcome.as_str() {
            "completed" => "completed",
            _ => "failed",
        };
        let _ = write!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{fill}\"><title>{}: {}, {outcome}{errors}</title></rect>",
            HEIGHT - FOOT - height,
            step - 2.0,
            words::moment(cycle.started_at),
            words::duration(cycle.duration_ms as f64 / 1_000.0),
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{WIDTH}\" y=\"{:.0}\" text-anchor=\"end\">newest</text></g></svg>",
        HEIGHT - 4.0
    );
    Some(svg)
}
