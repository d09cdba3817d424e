//! What makes a changed row show: a running hash over a log's chunks, a sum over its gaps, and seals over the columns that
//! k6sync itself writes.
//!
//! The store writes them in the transactions that write what they cover; `verify` computes them again. They are no
//! signature: anybody who knows how they are made can make new ones.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::ids::StreamId;
use super::rows::json;
use super::{Chunk, GapRow};

/// A hash as a column holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Digest {
    /// The row is older than hashes, and was not written since.
    #[default]
    Unsealed,
    /// Nothing has been added yet.
    New,
    /// SHA-256, as 64 hexadecimal digits.
    Is([u8; 32]),
    /// The column holds something else.
    Invalid,
}

const UNSEALED: &str = "unsealed";
const NEW: &str = "new";

impl Digest {
    fn of(hasher: Sha256) -> Self {
        Self::Is(hasher.finalize().into())
    }

    const fn bytes(self) -> [u8; 32] {
        match self {
            Self::Is(bytes) => bytes,
            Self::Unsealed | Self::New | Self::Invalid => [0; 32],
        }
    }

    /// The running hash of a log after one more chunk.
    #[must_use]
    pub(crate) fn with_chunk(self, stream_id: StreamId, seq: i64, chunk: &Chunk) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.bytes());
        for number in [stream_id.0, seq, chunk.first_ts, chunk.last_ts, chunk.lines] {
            hasher.update(number.to_le_bytes());
        }
        hasher.update(chunk.body.as_bytes());
        // Chunks from before there were times of lines have the hash that they had.
        if let Some(times) = &chunk.line_times {
            // No text has this byte, so that no end of a body can pass for times.
            hasher.update([0xff]);
            hasher.update(times.as_bytes());
        }
        Self::of(hasher)
    }

    /// The sum of gap rows after one more: they have no order.
    #[must_use]
    pub(crate) fn with_gap(self, gap: &GapRow) -> Self {
        let added = seal("gap", gap).bytes();
        let mut sum = self.bytes();
        for (sum, added) in sum.chunks_exact_mut(8).zip(added.chunks_exact(8)) {
            let number = |bytes: &[u8]| bytes.iter().fold(0, |n: u64, b| n << 8 | u64::from(*b));
            let added = number(sum).wrapping_add(number(added));
            sum.copy_from_slice(&added.to_be_bytes());
        }
        Self::Is(sum)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unsealed => serializer.serialize_str(UNSEALED),
            Self::New => serializer.serialize_str(NEW),
            Self::Invalid => serializer.serialize_str("spoilt"),
            Self::Is(bytes) => {
                let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
                let hex: String = bytes
                    .iter()
                    .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
                    .collect();
                serializer.serialize_str(&hex)
            }
        }
    }
}

/// Any text can be read: an invalid column must not keep a log from being recorded.
impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        Ok(match text.as_str() {
            UNSEALED => Self::Unsealed,
            NEW => Self::New,
            hex => from_hex(hex).map_or(Self::Invalid, Self::Is),
        })
    }
}

fn from_hex(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let digits: Vec<u8> = hex
        .bytes()
        .map(|digit| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        })
        .collect::<Option<_>>()?;
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(bytes)
}

/// The hash of what a row says, as it is stored: times to the microsecond, no NUL in texts.
pub(super) fn seal(what: &str, row: &impl Serialize) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(what);
    hasher.update([0]);
    hasher.update(json(row));
    Digest::of(hasher)
}

/// The seal of a row that changes from `old` to `new`. One that was broken stays broken: what somebody else changed is to
/// be found, also after the next sync.
pub(super) fn resealed(stands: Digest, old: Digest, new: impl FnOnce() -> Digest) -> Digest {
    match stands == Digest::Unsealed || stands == old {
        true => new(),
        false => stands,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::LineTimes;

    fn chunk(body: &str) -> Chunk {
        Chunk {
            first_ts: 1,
            last_ts: 2,
            lines: 3,
            body: body.to_owned(),
            line_times: Some(vec![2, 0].into()),
        }
    }

    #[test]
    fn a_digest_reads_back_as_itself_and_anything_else_as_invalid() {
        let one = Digest::New.with_chunk(StreamId(1), 0, &chunk("a\n"));
        for digest in [Digest::Unsealed, Digest::New, one] {
            let json = serde_json::to_string(&digest).unwrap();
            assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        }
        for text in [
            "\"\"",
            "null",
            "\"NEW\"",
            "\"00\"",
            &format!("\"{}\"", "G".repeat(64)),
        ] {
            assert_eq!(
                serde_json::from_str::<Digest>(text).unwrap(),
                Digest::Invalid
            );
        }
    }

    #[test]
    fn each_part_of_a_chunk_and_its_place_changes_the_running_hash() {
        let base = Digest::New.with_chunk(StreamId(1), 0, &chunk("a\n"));
        let mut others = vec![
            base.with_chunk(StreamId(1), 0, &chunk("a\n")),
            Digest::New.with_chunk(StreamId(2), 0, &chunk("a\n")),
            Digest::New.with_chunk(StreamId(1), 1, &chunk("a\n")),
            Digest::New.with_chunk(StreamId(1), 0, &chunk("b\n")),
            Digest::New.with_chunk(StreamId(1), 0, &chunk("")),
        ];
        for change in [
            |chunk: &mut Chunk| chunk.line_times = None,
            |chunk: &mut Chunk| chunk.line_times = Some(LineTimes::default()),
            |chunk: &mut Chunk| chunk.line_times = Some(vec![2, 1].into()),
            |chunk: &mut Chunk| chunk.first_ts = 0,
            |chunk: &mut Chunk| chunk.last_ts = 0,
            |chunk: &mut Chunk| chunk.lines = 0,
        ] {
            let mut changed = chunk("a\n");
            change(&mut changed);
            others.push(Digest::New.with_chunk(StreamId(1), 0, &changed));
        }
        assert!(others.iter().all(|other| *other != base));
    }

    /// As databases have it that are older than times of lines.
    #[test]
    fn a_chunk_without_times_has_the_hash_that_it_always_had() {
        let untimed = Chunk {
            line_times: None,
            ..chunk("a\n")
        };
        let hash =
            serde_json::to_string(&Digest::New.with_chunk(StreamId(1), 0, &untimed)).unwrap();
        assert_eq!(
            hash,
            "\"02700cf8ed8f52ae419a14a7efba09905038d3454049ca54845afef67bc7f546\""
        );
    }

    #[test]
    fn a_broken_seal_stays_broken() {
        let [good, bad, new] =
            ["a", "b", "c"].map(|body| Digest::New.with_chunk(StreamId(1), 0, &chunk(body)));
        assert_eq!(resealed(good, good, || new), new);
        assert_eq!(resealed(Digest::Unsealed, good, || new), new);
        assert_eq!(resealed(bad, good, || new), bad);
        assert_eq!(resealed(Digest::Invalid, good, || new), Digest::Invalid);
    }
}
