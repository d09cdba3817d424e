//! How far each container's log was read, as a short text: whoever keeps it goes on later, from wherever. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::line::Position;
use crate::store::StreamId;

/// How far a container's log was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The line that comes next.
    pub at: Position,
    /// How many gaps were told.
    pub gaps: usize,
}

/// How far each container's log was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places(pub BTreeMap<StreamId, Place>);

/// More containers than a run can have; whoever sends more did not get it from us.
const MOST: usize = 20_000;

const NO_PLACES: &str = "it is no position that a log ended with";

/// Numbers in seven bits a byte, four for each container in the order of ids, of which each is told from the one before. A
/// container takes about five bytes, since a thousand must fit into a header.
impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(self.0.len() * 5);
        let mut last = 0_i64;
        for (stream, place) in &self.0 {
            push(&mut bytes, stream.0.wrapping_sub(last) as u64);
            push(&mut bytes, place.at.seq as u64);
            push(&mut bytes, place.at.line as u64);
            push(&mut bytes, place.gaps as u64);
            last = stream.0;
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

fn push(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn pull(bytes: &mut std::slice::Iter<'_, u8>) -> Result<u64, &'static str> {
    let mut number = 0_u64;
    for shift in (0..63).step_by(7) {
        let byte = *bytes.next().ok_or(NO_PLACES)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(NO_PLACES)
}

impl FromStr for Places {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NO_PLACES)?;
        let mut bytes = bytes.iter();
        let mut places = BTreeMap::new();
        let mut last = 0_i64;
        while bytes.len() > 0 {
            let id = last
                .checked_add_unsigned(pull(&mut bytes)?)
                .ok_or(NO_PLACES)?;
            let seq = i64::try_from(pull(&mut bytes)?).map_err(|_| NO_PLACES)?;
            let line = usize::try_from(pull(&mut bytes)?).map_err(|_| NO_PLACES)?;
            let gaps = usize::try_from(pull(&mut bytes)?).map_err(|_| NO_PLACES)?;
            let at = Position { seq, line };
            if places.insert(StreamId(id), Place { at, gaps }).is_some() || places.len() > MOST {
                return Err(NO_PLACES);
            }
            last = id;
        }
        Ok(Self(places))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn places_read_back_as_they_are(
            places in prop::collection::btree_map(1..i64::MAX, (0..i64::MAX, 0..1_usize << 40, 0..9_usize), 0..40),
        ) {
            let places = Places(places.into_iter().map(|(id, (seq, line, gaps))| {
                (StreamId(id), Place { at: Position { seq, line }, gaps })
            }).collect());
            prop_assert_eq!(places.to_string().parse(), Ok(places));
        }

        #[test]
        fn no_text_is_a_trap(text in ".{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = text.parse::<Places>();
            let _ = URL_SAFE_NO_PAD.encode(bytes).parse::<Places>();
        }
    }

    #[test]
    fn those_of_a_thousand_runners_fit_into_a_header() {
        let at = Position {
            seq: 300,
            line: 900,
        };
        let places = (5_000_000..5_001_000).map(|id| (StreamId(id), Place { at, gaps: 0 }));
        let text = Places(places.collect()).to_string();
        assert!(text.len() < 9_000, "{}", text.len());
    }
}
