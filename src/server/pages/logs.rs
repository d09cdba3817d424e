//! The log of a run, live or past: a window of it at a time, whichever way one goes.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::answer::html;
use super::choice::Choice;
use super::frame::Frame;
use super::log_lines::{LinePart, Lines, LinesAlone};
use super::problem::Problem;
use super::query::Query;
use super::run::seen;
use super::state::Pages;
use super::visitor::Visitor;
use crate::record::log::{
    Begin, Found, Grep, LineId, LogEnd, LogWanted, Mark, Part, Place, Sought, Window,
};
use crate::record::{Record, Run};
use crate::report::html::Badge;
use crate::report::{values, verdict};
use crate::store::{Role, StreamId};

/// Lines of a window, unless somebody wants another number.
const LINES: usize = 400;
/// And at most.
const MOST_LINES: usize = 2_000;
/// Lines before one that was jumped to.
const BEFORE: usize = 60;
/// Hits of one answer to a search,
const HITS: usize = 2_000;
/// and how long it may look for them. Whoever asks goes on from there.
const SEARCH_TIME: Duration = Duration::from_millis(1_500);
/// Longer expressions are none that a person looks for.
const SOUGHT_BYTES: usize = 1_000;

#[derive(Template)]
#[template(path = "logs.html", config = "src/server/askama.toml")]
struct Page {
    frame: Frame,
    name: String,
    badge: Badge,
    pages: String,
    containers: Vec<Choice>,
    sought: String,
    is_regex: bool,
    /// Where the search goes on.
    next_hit: Option<String>,
    /// Another query: with the same choice of containers.
    start: String,
    end: String,
    error: String,
    summary: String,
    older: Option<String>,
    newer: Option<String>,
    total: String,
    lines: Lines,
    /// Text to take away.
    text: String,
    /// Where it is told that there are new lines.
    follow: Option<String>,
}

/// Which containers' lines are wanted.
fn wanted(visitor: &Visitor, run: &Run, query: &Query) -> Result<LogWanted, Problem> {
    let may_read = |id: &StreamId| {
        run.containers()
            .any(|(step, container)| container.row.id == *id && visitor.sight.reads(step))
    };
    let mut wanted = LogWanted::default();
    match query.get("container") {
        Some("runners") => wanted.roles = vec![Role::Runner],
        Some("failed") => wanted.failed = true,
        Some(id) => {
            let id = id
                .parse()
                .map(StreamId)
                .ok()
                .filter(may_read)
                .ok_or_else(|| Problem::missing(format!("The container {}", values::name(id))))?;
            wanted.containers = vec![id];
        }
        None => {}
    }
    if run.steps.iter().any(|step| !visitor.sight.reads(step)) && wanted.containers.is_empty() {
        let those = run
            .containers()
            .filter(|(step, _)| visitor.sight.reads(step));
        wanted.containers = those.map(|(_, container)| container.row.id).collect();
        if wanted.containers.is_empty() {
            return Err(Problem::missing("This log"));
        }
    }
    Ok(wanted)
}

/// The run, if somebody may read a log of it.
async fn readable(record: &Record, visitor: &Visitor, id: &str) -> Result<Run, Problem> {
    let run = seen(record, visitor, id).await?;
    let may_read = run.steps.is_empty() || run.steps.iter().any(|step| visitor.sight.reads(step));
    match may_read {
        true => Ok(run),
        false => Err(Problem::missing("This log")),
    }
}

/// More may come.
fn is_live(run: &Run) -> bool {
    !run.outcome.ended || !run.complete
}

/// The window that an address asks for.
async fn window_of(
    record: &Record,
    run: &Run,
    wanted: &LogWanted,
    query: &Query,
) -> Result<Lines, Problem> {
    let pages = format!("/runs/{}", run.row.id);
    let count = query.get("lines").and_then(|count| count.parse().ok());
    let count = count.unwrap_or(LINES).clamp(1, MOST_LINES);
    let of = |window: &Window| Lines::of(window, &pages, is_live(run));
    let id = run.row.id;
    let target = match target(record, run, wanted, query).await? {
        Aim::Place(place) => {
            let window = record.log_window(id, wanted.clone(), place, count).await?;
            return Ok(of(&window));
        }
        Aim::Nothing(said) => {
            let window = record
                .log_window(id, wanted.clone(), Place::End, count)
                .await?;
            let mut lines = of(&window);
            lines.said = Some(said.to_owned());
            return Ok(lines);
        }
        Aim::Line(mark) => mark,
    };
    let before = Place::Before(target);
    let before = record
        .log_window(id, wanted.clone(), before, BEFORE)
        .await?;
    let mut window = record
        .log_window(id, wanted.clone(), Place::At(target), count)
        .await?;
    window.has_before = before.has_before;
    let mut parts: Vec<Part> = before.parts;
    parts.append(&mut window.parts);
    window.parts = parts;
    let mut lines = of(&window);
    lines.target = Some(target.id.to_string());
    Ok(lines)
}

/// What an address aims at.
enum Aim {
    Place(Place),
    /// This line, with some before it.
    Line(Mark),
    /// What was looked for is not there.
    Nothing(&'static str),
}

async fn target(
    record: &Record,
    run: &Run,
    wanted: &LogWanted,
    query: &Query,
) -> Result<Aim, Problem> {
    let mark = |name| {
        let mark = query.get(name).map(str::parse::<Mark>);
        mark.transpose().map_err(Problem::wrong)
    };
    if let Some(ends) = query.get("ends") {
        let ends = ends.split(',').map(|end| {
            let end: LogEnd = end.parse().map_err(Problem::wrong)?;
            Ok((end.at.stream, end))
        });
        return Ok(Aim::Place(Place::New(
            ends.collect::<Result<_, Problem>>()?,
        )));
    }
    if let Some(line) = query.get("line") {
        let line = line.strip_prefix('L').unwrap_or(line);
        // With the time where it is known, as in a hit of a search.
        let mark = match line.parse::<Mark>() {
            Ok(mark) => Some(mark),
            Err(_) => {
                record
                    .log_mark(line.parse().map_err(Problem::wrong)?)
                    .await?
            }
        };
        let is_of_run = |mark: &Mark| {
            run.containers()
                .any(|(_, container)| container.row.id == mark.id.stream)
        };
        return match mark.filter(is_of_run) {
            Some(mark) => Ok(Aim::Line(mark)),
            None => Ok(Aim::Nothing("That line is not here.")),
        };
    }
    if let Some(since) = query.get("since") {
        return Ok(Aim::Place(Place::Since(time(since)?)));
    }
    let after = mark("after")?;
    let go = match query.get("go") {
        Some("start") => return Ok(Aim::Place(Place::Beginning)),
        Some("end") => return Ok(Aim::Place(Place::End)),
        Some("error") => Some((Sought::Errors, "No line says that it is an error.")),
        Some("summary") => Some((Sought::Summary, "There is no summary of k6 at the end.")),
        _ => sought(query)?.map(|sought| (sought, "Nothing was found.")),
    };
    if let Some((sought, nothing)) = go {
        let found = find_in(record, run, wanted, &sought, after, 1).await?;
        return Ok(match found.marks.first() {
            Some(mark) => Aim::Line(*mark),
            None => Aim::Nothing(nothing),
        });
    }
    if let Some(mark) = after {
        return Ok(Aim::Place(Place::After(mark)));
    }
    if let Some(mark) = mark("before")? {
        return Ok(Aim::Place(Place::Before(mark)));
    }
    // What is under way is of interest where it is now.
    Ok(Aim::Place(match is_live(run) {
        true => Place::End,
        false => Place::Beginning,
    }))
}

/// A time, as forms and people write it; in UTC where it does not say.
fn time(text: &str) -> Result<i64, Problem> {
    let time = text.parse::<Timestamp>().ok().or_else(|| {
        let time: DateTime = text.parse().ok()?;
        Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
    });
    time.and_then(|time| i64::try_from(time.as_nanosecond()).ok())
        .ok_or_else(|| Problem::wrong("A time is written as 2026-11-23T04:00:05Z."))
}

fn sought(query: &Query) -> Result<Option<Sought>, Problem> {
    let Some(text) = query.get("q") else {
        return Ok(None);
    };
    if text.len() > SOUGHT_BYTES {
        return Err(Problem::wrong("What is looked for is too long."));
    }
    let grep = match query.get("regex") {
        Some(_) => Grep::new(text, true, 0),
        None => Grep::new(&regex::escape(text), true, 0),
    };
    match grep {
        Ok(grep) => Ok(Some(Sought::Text(grep))),
        Err(error) => Err(Problem::wrong(error.to_string())),
    }
}

async fn find_in(
    record: &Record,
    run: &Run,
    wanted: &LogWanted,
    sought: &Sought,
    after: Option<Mark>,
    most: usize,
) -> Result<Found, Problem> {
    let mut wanted = wanted.clone();
    if let Some(after) = after {
        wanted.begin = Begin::After(after);
    }
    let id = run.row.id;
    Ok(record
        .log_find(id, wanted, sought, most, SEARCH_TIME)
        .await?)
}

/// `GET /runs/{id}/logs`
pub(super) async fn page(
    State(pages): State<Arc<Pages>>,
    Path(id): Path<String>,
    visitor: Visitor,
    query: Query,
) -> Result<Response, Problem> {
    let record = &pages.source.record().await?;
    let run = readable(record, &visitor, &id).await?;
    let wanted = wanted(&visitor, &run, &query)?;
    let lines = window_of(record, &run, &wanted, &query).await?;
    let badge = Badge::of(verdict::of_run(&run), verdict::status(&run));
    let name = values::name(&run.row.name);
    let places = [
        "go", "line", "since", "before", "after", "q", "regex", "lines", "ends",
    ];
    let here = |field: &str, value: &str| {
        let mut changes: Vec<(&str, Option<&str>)> =
            places.iter().map(|place| (*place, None)).collect();
        changes.retain(|(place, _)| *place != field);
        changes.push((field, Some(value)));
        query.with(&changes)
    };
    let chosen = query.get("container").unwrap_or_default().to_owned();
    let total = run
        .containers()
        .filter(|(_, container)| {
            wanted.containers.is_empty() || wanted.containers.contains(&container.row.id)
        })
        .map(|(_, container)| container.row.lines.unsigned_abs())
        .sum();
    let next_hit = sought(&query)?.is_some().then(|| {
        let target = lines.parts.iter().find_map(|part| match part {
            LinePart::Line(line) if Some(&line.id) == lines.target.as_ref() => Some(&line.mark),
            _ => None,
        });
        query.with(&[("after", target.map(String::as_str)), ("go", None)])
    });
    html(&Page {
        frame: Frame::of(format!("{} Log of {name}", badge.symbol), "runs", &visitor)
            .with_icon(verdict::of_run(&run))
            .over(record)
            .await?,
        containers: choices(&visitor, &run, &chosen),
        sought: query.get("q").unwrap_or_default().to_owned(),
        is_regex: query.get("regex").is_some(),
        next_hit,
        start: here("go", "start"),
        end: here("go", "end"),
        error: here("go", "error"),
        summary: here("go", "summary"),
        older: lines
            .first()
            .filter(|_| lines.has_before)
            .map(|mark| here("before", mark)),
        newer: lines
            .last()
            .filter(|_| lines.has_after)
            .map(|mark| here("after", mark)),
        total: values::things(total, "line", "lines"),
        text: format!(
            "/runs/{}/logs.txt{}",
            run.row.id,
            query.get("container").map_or_else(String::new, |chosen| {
                Query::default().with(&[("container", Some(chosen))])
            })
        ),
        follow: (pages.follow && lines.is_live)
            .then(|| format!("/api/v1/runs/{}/logs/follow?tail=0", run.row.id)),
        pages: format!("/runs/{}", run.row.id),
        name,
        badge,
        lines,
    })
}

fn choices(visitor: &Visitor, run: &Run, chosen: &str) -> Vec<Choice> {
    let choice = |value: &str, name: String| Choice {
        is_chosen: value == chosen,
        value: value.to_owned(),
        name,
    };
    let mut choices = vec![
        choice("", "All containers".to_owned()),
        choice("runners", "All runners".to_owned()),
        choice(
            "failed",
            "Those that failed, from their errors on".to_owned(),
        ),
    ];
    let are_several = run.steps.len() > 1;
    let containers = run.containers().filter(|(step, container)| {
        visitor.sight.reads(step) && (container.row.lines > 0 || container.row.gaps > 0)
    });
    choices.extend(containers.map(|(step, container)| {
        let who = verdict::who(container);
        let who = match container.row.restart_count {
            0 => who,
            count => format!("{who}, restart {count}"),
        };
        let name = match are_several {
            true => format!("{}: {who}", values::name(&step.row.name)),
            false => who,
        };
        choice(&container.row.id.to_string(), name)
    }));
    choices
}

/// `GET /runs/{id}/logs/window`: lines alone.
pub(super) async fn window(
    State(pages): State<Arc<Pages>>,
    Path(id): Path<String>,
    visitor: Visitor,
    query: Query,
) -> Result<Response, Problem> {
    let record = &pages.source.record().await?;
    let run = readable(record, &visitor, &id).await?;
    let wanted = wanted(&visitor, &run, &query)?;
    let lines = window_of(record, &run, &wanted, &query).await?;
    html(&LinesAlone { lines: &lines })
}

/// What a search has found.
#[derive(Serialize)]
struct Hits {
    /// Places of lines.
    marks: Vec<String>,
    /// Where to go on; null: all was searched.
    next: Option<String>,
}

/// `GET /runs/{id}/logs/find`
pub(super) async fn find(
    State(pages): State<Arc<Pages>>,
    Path(id): Path<String>,
    visitor: Visitor,
    query: Query,
) -> Result<Response, Problem> {
    let record = &pages.source.record().await?;
    let run = readable(record, &visitor, &id).await?;
    let wanted = wanted(&visitor, &run, &query)?;
    let sought = sought(&query)?.ok_or_else(|| Problem::wrong("Say what to look for: q."))?;
    let after = query.get("after").map(str::parse::<Mark>).transpose();
    let after = after.map_err(Problem::wrong)?;
    let found = find_in(record, &run, &wanted, &sought, after, HITS).await?;
    let hits = Hits {
        marks: found.marks.iter().map(ToString::to_string).collect(),
        next: found.searched_to.map(|mark| mark.to_string()),
    };
    Ok(([(CACHE_CONTROL, "no-store")], Json(hits)).into_response())
}

/// `GET /runs/{id}/logs/line`: the whole of a line, as text.
pub(super) async fn line(
    State(pages): State<Arc<Pages>>,
    Path(id): Path<String>,
    visitor: Visitor,
    query: Query,
) -> Result<Response, Problem> {
    let record = &pages.source.record().await?;
    let run = readable(record, &visitor, &id).await?;
    let id = query.get("id").unwrap_or_default();
    let id: LineId = id.parse().map_err(Problem::wrong)?;
    let may_read = run
        .containers()
        .any(|(step, container)| container.row.id == id.stream && visitor.sight.reads(step));
    let line = match may_read {
        true => record.log_line(id).await?,
        false => None,
    };
    const TEXT: &str = "text/plain; charset=utf-8";
    let headers = [(CONTENT_TYPE, TEXT), (CACHE_CONTROL, "no-store")];
    match line {
        Some(line) => Ok((headers, crate::harmless::escaped(&line) + "\n").into_response()),
        None => Err(Problem::missing("This line")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_unless_they_say() {
        let expected = 1_795_406_405_000_000_000;
        for text in [
            "2026-11-23T04:00:05Z",
            "2026-11-23T04:00:05",
            "2026-11-23T05:00:05+01:00",
        ] {
            assert_eq!(time(text).unwrap(), expected, "{text}");
        }
        assert_eq!(time("2026-11-23T04:00").unwrap(), expected - 5_000_000_000);
        for wrong in ["", "yesterday", "04:00"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
