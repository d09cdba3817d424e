//! A record against itself: rows against their seals, chunks against counters and running hash. Needs no cluster.

use crate::store::proof::Digest;
use crate::store::{GapCause, GapRow, Recorded};
use crate::store::{Overview, Reader, StoreError};

/// Chunks read at a time; of at most 256 KiB each, but for longer lines.
const CHUNKS: i64 = 8;
/// A sync or a prune may change what is being read: then it is read again.
const ATTEMPTS: usize = 5;

/// What a log's rows came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    pub(super) lines: u64,
    pub(super) bytes: u64,
    /// Lines in chunks that are older than hashes.
    pub(super) unproven: u64,
    pub(super) problems: Vec<String>,
}

/// What is wrong with the row itself.
pub(super) fn row_problems(recorded: &Recorded, overview: &Overview) -> Vec<String> {
    let stream = &recorded.stream;
    let proof = &stream.position.proof;
    let may_be_unsealed = stream.id <= overview.unsealed_streams;
    let mut problems = Vec::new();
    let is_as_sealed = match proof.seal {
        Digest::Unsealed => {
            may_be_unsealed
                && proof.hash_from.is_none()
                && [proof.hash, proof.hash_base, proof.gaps_hash] == [Digest::Unsealed; 3]
        }
        seal => seal == stream.position.seal(stream.id, stream.complete),
    };
    if !is_as_sealed {
        problems.push("its row in log_streams was changed: counters, cursor or hashes".to_owned());
    }
    let is_as_sealed = match recorded.facts_seal {
        Digest::Unsealed => may_be_unsealed,
        seal => seal == stream.facts.seal(),
    };
    if !is_as_sealed {
        problems.push(
            "its row in log_streams was changed: what Kubernetes said of the container".to_owned(),
        );
    }
    problems
}

/// Reads a whole log and checks it.
pub(super) async fn check(
    store: &Reader,
    recorded: &Recorded,
    overview: &Overview,
) -> Result<Sums, StoreError> {
    let mut recorded = recorded.clone();
    for _ in 1..ATTEMPTS {
        let sums = check_once(store, &recorded, overview).await?;
        if sums.problems.is_empty() {
            return Ok(sums);
        }
        match store.recorded_again(&recorded).await? {
            Some(now) if now != recorded => recorded = now,
            _ => return Ok(sums),
        }
    }
    check_once(store, &recorded, overview).await
}

async fn check_once(
    store: &Reader,
    recorded: &Recorded,
    overview: &Overview,
) -> Result<Sums, StoreError> {
    let stream = &recorded.stream;
    let mut sums = Sums {
        problems: row_problems(recorded, overview),
        ..Sums::default()
    };
    let is_pruned = check_gaps(store, recorded, &mut sums).await?;
    let proof = &stream.position.proof;
    let mut chunks = Chunks {
        hash: proof.hash_base,
        ..Chunks::default()
    };
    let mut from = Some(i64::MIN);
    while let Some(seq) = from {
        let rows = match store.chunk_rows(stream.id, seq, CHUNKS).await {
            Ok(rows) => rows,
            // A number that is none, in SQLite. Whatever else fails tells nothing of the row.
            Err(error) if error.is_of_a_value() => {
                sums.problems.push(error.to_string());
                return Ok(sums);
            }
            Err(error) => return Err(error),
        };
        from = rows.last().and_then(|last| last.seq.checked_add(1));
        for row in &rows {
            let lines = row.chunk.body.split_inclusive('\n').count();
            if i64::try_from(lines) != Ok(row.chunk.lines) {
                sums.problems.push(format!(
                    "chunk {} has {lines} lines, and says {}",
                    row.seq, row.chunk.lines
                ));
            }
            if let Err(problem) = row.chunk.times() {
                sums.problems.push(format!(
                    "the times of the lines of chunk {} were changed: {problem}",
                    row.seq
                ));
            }
            if chunks.first.is_none() {
                chunks.first = Some(row.seq);
            } else if chunks.next != row.seq {
                chunks.is_torn = true;
                sums.problems
                    .push(match row.seq.saturating_sub(chunks.next) {
                        1 => format!("chunk {} is missing", chunks.next),
                        _ => format!(
                            "chunks {} to {} are missing",
                            chunks.next,
                            row.seq.saturating_sub(1)
                        ),
                    });
            }
            chunks.next = row.seq.saturating_add(1);
            sums.lines += lines as u64;
            sums.bytes += row.chunk.body.len() as u64;
            if proof.hash_from.is_some_and(|from| row.seq >= from) {
                chunks.hash = chunks.hash.with_chunk(stream.id, row.seq, &row.chunk);
            } else {
                sums.unproven += lines as u64;
            }
        }
    }
    chunks.judge(recorded, is_pruned, &mut sums);
    Ok(sums)
}

/// What the chunks of a log came to.
#[derive(Default)]
struct Chunks {
    first: Option<i64>,
    next: i64,
    hash: Digest,
    is_torn: bool,
}

impl Chunks {
    fn judge(&self, recorded: &Recorded, is_pruned: bool, sums: &mut Sums) {
        let position = &recorded.stream.position;
        let proof = &position.proof;
        let mut problems = Vec::new();
        if !is_pruned {
            if let Some(first) = self.first.filter(|first| *first != 0) {
                problems.push(format!("the chunks before {first} are missing"));
            }
            for (what, is, says) in [
                ("lines", sums.lines, position.lines),
                ("bytes", sums.bytes, proof.bytes),
            ] {
                if i64::try_from(is) != Ok(says) {
                    problems.push(format!("{says} {what} were stored, {is} are there"));
                }
            }
        }
        if proof.seal != Digest::Unsealed {
            let next = self
                .first
                .map_or(proof.hash_from.unwrap_or(0), |_| self.next);
            if next < proof.next_seq {
                problems.push(format!(
                    "the chunks from {next} to {} are missing",
                    proof.next_seq.saturating_sub(1)
                ));
            } else if next > proof.next_seq {
                problems.push(format!(
                    "there are chunks from {} on, which k6sync did not store",
                    proof.next_seq
                ));
            }
            if self.hash != proof.hash && !self.is_torn {
                problems.push(
                    "the running hash is not that of the chunks: a chunk was changed, or the hash"
                        .to_owned(),
                );
            }
        }
        sums.problems.extend(problems);
    }
}

/// Whether the log was pruned.
async fn check_gaps(
    store: &Reader,
    recorded: &Recorded,
    sums: &mut Sums,
) -> Result<bool, StoreError> {
    let position = &recorded.stream.position;
    let mut gaps: Vec<GapRow> = Vec::new();
    let rows = store.gap_rows(recorded.stream.id).await?;
    let count = rows.len();
    for row in rows {
        match row {
            Ok(gap) => gaps.push(gap),
            Err(bad) => sums
                .problems
                .push(format!("a row of log_gaps can't be read: {}", bad.problem)),
        }
    }
    if i64::try_from(count) != Ok(position.gaps) {
        sums.problems.push(format!(
            "{} gaps were noted, {count} are there",
            position.gaps
        ));
    }
    let gaps_hash = position.proof.gaps_hash;
    let sum = gaps
        .iter()
        .fold(Digest::New, |sum: Digest, gap| sum.with_gap(gap));
    if gaps_hash != Digest::Unsealed && gaps_hash != sum {
        sums.problems
            .push("its rows in log_gaps were changed".to_owned());
    }
    Ok(gaps.iter().any(|gap| gap.gap.cause == GapCause::Pruned))
}
