//! Where reading begins in each container's log.

use std::collections::HashMap;

use super::error::LogError;
use super::head::{Start, times_of};
use super::line::{Begin, LineId, Mark, Position};
use super::selection::{LogContainer, LogWanted, NoSuchPart};
use crate::k6;
use crate::record::Record;
use crate::store::{StoreError, StreamId};

/// Of a container that failed without an error line.
const LAST_LINES: i64 = 20;

/// Where reading of these containers begins, in their order. A few queries, however many they are; but to find the first error
/// of each, the logs of those that failed are read.
pub(super) async fn starts(
    record: &Record,
    containers: &[LogContainer],
    wanted: &LogWanted,
) -> Result<Vec<Start>, LogError> {
    let mut starts = vec![Start::default(); containers.len()];
    let ids: Vec<StreamId> = containers.iter().map(|container| container.id).collect();
    let known_ends = match (wanted.since, wanted.tail) {
        (None, None | Some(1..)) => HashMap::new(),
        _ => ends(record, &ids).await?,
    };
    match &wanted.begin {
        Begin::Beginning => {}
        Begin::At(mark) => from(record, &ids, *mark, &mut starts).await?,
        Begin::After(mark) => {
            let mut after = *mark;
            after.id.at.line = after.id.at.line.saturating_add(1);
            from(record, &ids, after, &mut starts).await?;
        }
        Begin::Before(mark, count) => {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            skip(
                &mut starts,
                &ids,
                &before(record, &ids, *mark, count).await?,
            );
        }
        Begin::Ends(ends) => {
            let places = ends.iter().map(|(id, end)| (*id, end.at.at)).collect();
            skip(&mut starts, &ids, &places);
        }
    }
    if let Some(since) = wanted.since {
        let found = places(record.reader.chunks_since(&ids, since).await?);
        for (start, id) in starts.iter_mut().zip(&ids) {
            start.since = Some(since);
            start.at = found
                .get(id)
                .or(known_ends.get(id))
                .copied()
                .unwrap_or_default();
        }
    }
    match wanted.tail {
        None => {}
        Some(0) => skip(&mut starts, &ids, &known_ends),
        Some(count) => {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            skip(&mut starts, &ids, &last_lines(record, &ids, count).await?);
        }
    }
    if wanted.failed {
        let mut without_error = Vec::new();
        let mut errors = HashMap::new();
        for container in containers {
            match first_error(record, container).await? {
                Some(at) => drop(errors.insert(container.id, at)),
                None => without_error.push(container.id),
            }
        }
        skip(&mut starts, &ids, &errors);
        if !without_error.is_empty() {
            let last = last_lines(record, &without_error, LAST_LINES).await?;
            skip(&mut starts, &ids, &last);
        }
    }
    if let Some(line) = wanted.from_line {
        let container = containers
            .iter()
            .find(|container| container.id == line.stream);
        let time = match container {
            Some(container) => time_of(record, container, line.at).await?,
            None => return Err(NoSuchPart(format!("from: there is no line {line}")).into()),
        };
        let found = places(record.reader.chunks_since(&ids, time).await?);
        let ends = ends(record, &ids).await?;
        for (start, id) in starts.iter_mut().zip(&ids) {
            let at = found.get(id).or(ends.get(id)).copied().unwrap_or_default();
            *start = match *id == line.stream {
                true => Start {
                    at: line.at,
                    ..Start::default()
                },
                false => Start {
                    at,
                    since: Some(time),
                    ..Start::default()
                },
            };
        }
    }
    if let Some(places) = &wanted.from {
        for (start, id) in starts.iter_mut().zip(&ids) {
            if let Some(place) = places.0.get(id) {
                *start = Start {
                    at: place.at,
                    told: Some(place.gaps),
                    ..Start::default()
                };
            }
        }
    }
    for start in &mut starts {
        start.in_the_middle = start.at != Position::default() || start.since.is_some();
    }
    Ok(starts)
}

/// When this line was written.
async fn time_of(record: &Record, container: &LogContainer, at: Position) -> Result<i64, LogError> {
    let rows = record
        .reader
        .chunk_rows_of(record.schema, container.id, at.seq, 1)
        .await?;
    let Some(row) = rows.first().filter(|row| row.seq == at.seq) else {
        let line = LineId {
            stream: container.id,
            at,
        };
        return Err(NoSuchPart(format!("from: there is no line {line}")).into());
    };
    let lines = usize::try_from(row.chunk.lines).unwrap_or(usize::MAX);
    let times = times_of(row.seq, &row.chunk, lines).map_err(|damage| LogError::Damaged {
        container: container.name(),
        seq: damage.seq,
        problem: damage.problem,
    })?;
    Ok(times.get(at.line).copied().unwrap_or(row.chunk.last_ts))
}

/// Begins at this line, and with those of the other containers that come after it: lines of one time come in the order of their
/// containers.
async fn from(
    record: &Record,
    ids: &[StreamId],
    mark: Mark,
    starts: &mut [Start],
) -> Result<(), LogError> {
    let anchor = ids.iter().position(|id| *id == mark.id.stream);
    let (first, rest) = ids.split_at(anchor.unwrap_or(0));
    let later = mark.key.saturating_add(1);
    let mut found = places(record.reader.chunks_since(first, later).await?);
    found.extend(places(record.reader.chunks_since(rest, mark.key).await?));
    let ends = ends(record, ids).await?;
    for (index, (start, id)) in starts.iter_mut().zip(ids).enumerate() {
        if Some(index) == anchor {
            start.at = mark.id.at;
            continue;
        }
        let is_first = index < first.len();
        start.since = Some(if is_first { later } else { mark.key });
        start.at = found.get(id).or(ends.get(id)).copied().unwrap_or_default();
    }
    Ok(())
}

/// So many lines before the first chunk in which a line may come after the mark.
async fn before(
    record: &Record,
    ids: &[StreamId],
    mark: Mark,
    count: i64,
) -> Result<HashMap<StreamId, Position>, StoreError> {
    let bounds = places(record.reader.chunks_since(ids, mark.key).await?);
    let bounds: Vec<(StreamId, i64)> = ids
        .iter()
        .map(|id| {
            let bound = bounds.get(id).map_or(i64::MAX, |bound| bound.seq);
            (*id, bound)
        })
        .collect();
    Ok(places(record.reader.lines_before(&bounds, count).await?))
}

/// Begins no earlier than there.
fn skip(starts: &mut [Start], ids: &[StreamId], to: &HashMap<StreamId, Position>) {
    for (start, id) in starts.iter_mut().zip(ids) {
        start.at = start.at.max(to.get(id).copied().unwrap_or_default());
    }
}

fn places(found: Vec<crate::store::LinePlace>) -> HashMap<StreamId, Position> {
    found
        .into_iter()
        .map(|place| {
            let line = usize::try_from(place.line).unwrap_or(0);
            let seq = place.seq;
            (place.stream_id, Position { seq, line })
        })
        .collect()
}

async fn last_lines(
    record: &Record,
    ids: &[StreamId],
    count: i64,
) -> Result<HashMap<StreamId, Position>, StoreError> {
    Ok(places(record.reader.last_lines(ids, count).await?))
}

/// The place after the last line of each log that has lines.
async fn ends(
    record: &Record,
    ids: &[StreamId],
) -> Result<HashMap<StreamId, Position>, StoreError> {
    let mut last = last_lines(record, ids, 1).await?;
    for position in last.values_mut() {
        position.seq = position.seq.saturating_add(1);
        position.line = 0;
    }
    Ok(last)
}

/// The first line with an error in a container's log.
async fn first_error(
    record: &Record,
    container: &LogContainer,
) -> Result<Option<Position>, StoreError> {
    let mut next = 0;
    loop {
        let rows = record
            .reader
            .chunk_rows_of(record.schema, container.id, next, 1)
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let is_error = |text: &str| k6::level(text).is_some_and(k6::Level::is_error);
        if let Some(line) = row.chunk.body.lines().position(is_error) {
            return Ok(Some(Position { seq: row.seq, line }));
        }
        next = row.seq.saturating_add(1);
    }
}
