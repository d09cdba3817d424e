//! A record against itself: rows against their seals, chunks against counters and running hash. Needs no cluster.

use super::VerifyError;
use crate::store::model::{GapCause, GapRow, Recorded};
use crate::store::proof::{Digest, facts_seal, stream_seal};
use crate::store::{Store, StoreError};

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
pub(super) fn row_problems(recorded: &Recorded) -> Vec<String> {
    let stream = &recorded.stream;
    let proof = &stream.position.proof;
    let mut problems = Vec::new();
    let is_as_sealed = match proof.seal {
        Digest::Unsealed => {
            proof.hash_from.is_none()
                && [proof.hash, proof.hash_base, proof.gaps_hash] == [Digest::Unsealed; 3]
        }
        seal => seal == stream_seal(stream.id, &stream.position, stream.complete),
    };
    if !is_as_sealed {
        problems.push("its row in log_streams was changed: counters, cursor or hashes".to_owned());
    }
    let is_sealed = recorded.facts_seal != Digest::Unsealed;
    if is_sealed && recorded.facts_seal != facts_seal(&stream.facts) {
        problems.push(
            "its row in log_streams was changed: what Kubernetes said of the container".to_owned(),
        );
    }
    problems
}

/// Reads a whole log and checks it.
pub(super) async fn check(store: &Store, recorded: &Recorded) -> Result<Sums, VerifyError> {
    let mut recorded = recorded.clone();
    for _ in 1..ATTEMPTS {
        let sums = check_once(store, &recorded).await?;
        if sums.problems.is_empty() {
            return Ok(sums);
        }
        match store.recorded_again(&recorded).await? {
            Some(now) if now != recorded => recorded = now,
            _ => return Ok(sums),
        }
    }
    check_once(store, &recorded).await
}

async fn check_once(store: &Store, recorded: &Recorded) -> Result<Sums, VerifyError> {
    let stream = &recorded.stream;
    let mut sums = Sums {
        problems: row_problems(recorded),
        ..Sums::default()
    };
    let is_pruned = check_gaps(store, recorded, &mut sums).await?;
    let proof = &stream.position.proof;
    let mut chunks = Chunks {
        hash: proof.hash_base,
        ..Chunks::default()
    };
    let mut seq = i64::MIN;
    loop {
        let rows = match store.chunk_rows(stream.id, seq, CHUNKS).await {
            Ok(rows) => rows,
            // A number that is none, in SQLite.
            Err(error @ StoreError::Statement { .. }) => {
                sums.problems.push(error.to_string());
                return Ok(sums);
            }
            Err(error) => return Err(error.into()),
        };
        let Some(last) = rows.last() else {
            break;
        };
        seq = last.seq.saturating_add(1);
        for row in &rows {
            let lines = row.chunk.body.split_inclusive('\n').count();
            if i64::try_from(lines) != Ok(row.chunk.lines) {
                sums.problems.push(format!(
                    "chunk {} has {lines} lines, and says {}",
                    row.seq, row.chunk.lines
                ));
            }
            if chunks.first.is_none() {
                chunks.first = Some(row.seq);
            } else if chunks.next != row.seq {
                chunks.is_torn = true;
                sums.problems.push(match row.seq - chunks.next {
                    1 => format!("chunk {} is missing", chunks.next),
                    _ => format!("chunks {} to {} are missing", chunks.next, row.seq - 1),
                });
            }
            chunks.next = row.seq.saturating_add(1);
            sums.lines += lines as u64;
            sums.bytes += row.chunk.body.len() as u64;
            if proof.hash_from.is_some_and(|from| row.seq >= from) {
                chunks.hash = chunks.hash.then(stream.id, row.seq, &row.chunk);
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
                    proof.next_seq - 1
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
    store: &Store,
    recorded: &Recorded,
    sums: &mut Sums,
) -> Result<bool, VerifyError> {
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
        .fold(Digest::New, |sum: Digest, gap| sum.plus(gap));
    if gaps_hash != Digest::Unsealed && gaps_hash != sum {
        sums.problems
            .push("its rows in log_gaps were changed".to_owned());
    }
    Ok(gaps.iter().any(|gap| gap.gap.cause == GapCause::Pruned))
}
