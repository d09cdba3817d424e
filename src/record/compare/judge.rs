//! Whether one value is certainly better or worse than another. Pure.
//!
//! Values are intervals. Only where they don't overlap is it certain that there is a difference; else none is shown.

use serde::Serialize;

use super::direction::Direction;
use crate::store::Interval;

/// What a comparison of two values says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Verdict {
    /// Certainly worse.
    Worse,
    /// Certainly better.
    Better,
    /// Certainly different, and no way is better.
    Changed,
    /// No difference is shown: the intervals overlap, or are within the tolerance of each other.
    Same,
    /// It can't be told, and the reason says why.
    NotComparable,
}

impl Verdict {
    /// There certainly is a difference.
    pub(crate) const fn is_change(self) -> bool {
        matches!(self, Self::Worse | Self::Better | Self::Changed)
    }

    /// The word in every form of an answer.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::Better => "better",
            Self::Changed => "changed",
            Self::Same => "same",
            Self::NotComparable => "notComparable",
        }
    }
}

/// The verdict on `other`. `tolerance` is the part of the base's value up to which a change is none.
pub(crate) fn judge(
    base: Interval,
    other: Interval,
    direction: Direction,
    tolerance: f64,
) -> Verdict {
    if !is_sound(base) || !is_sound(other) {
        return Verdict::NotComparable;
    }
    let is_above = other.low > base.high + tolerance * base.high.abs();
    let is_below = other.high < base.low - tolerance * base.low.abs();
    match (direction, is_above, is_below) {
        (_, false, false) => Verdict::Same,
        (Direction::None, ..) => Verdict::Changed,
        (Direction::LowerIsBetter, true, _) | (Direction::HigherIsBetter, false, _) => {
            Verdict::Worse
        }
        (Direction::LowerIsBetter, false, _) | (Direction::HigherIsBetter, true, _) => {
            Verdict::Better
        }
    }
}

/// The change in percent of the base's value, from the least to the greatest that it may be; `None`: the base may be zero.
pub(crate) fn change_percent(base: Interval, other: Interval) -> Option<Interval> {
    if !is_sound(base) || !is_sound(other) || (base.low <= 0.0 && base.high >= 0.0) {
        return None;
    }
    if base == other && base.low == base.high {
        return Some(Interval {
            low: 0.0,
            high: 0.0,
        });
    }
    let changes = [
        (base.low, other.low),
        (base.low, other.high),
        (base.high, other.low),
        (base.high, other.high),
    ]
    // Monotone in each of the two, so that the extremes are at the corners.
    .map(|(base, other)| 100.0 * (other - base) / base.abs());
    let least = changes.into_iter().fold(f64::INFINITY, f64::min);
    let most = changes.into_iter().fold(f64::NEG_INFINITY, f64::max);
    (least.is_finite() && most.is_finite()).then_some(Interval {
        low: least,
        high: most,
    })
}

/// Two numbers in their order.
pub(crate) fn is_sound(value: Interval) -> bool {
    value.low.is_finite() && value.high.is_finite() && value.low <= value.high
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIRECTIONS: [Direction; 3] = [
        Direction::LowerIsBetter,
        Direction::HigherIsBetter,
        Direction::None,
    ];

    fn between(low: f64, high: f64) -> Interval {
        Interval { low, high }
    }

    #[test]
    fn only_what_does_not_overlap_is_a_difference() {
        use Verdict::{Better, Changed, NotComparable, Same, Worse};
        for (base, other, tolerance, lower, higher, neither) in [
            ((1.0, 1.0), (1.0, 1.0), 0.0, Same, Same, Same),
            ((1.0, 2.0), (2.0, 3.0), 0.0, Same, Same, Same),
            ((1.0, 2.0), (2.1, 3.0), 0.0, Worse, Better, Changed),
            ((1.0, 2.0), (0.5, 0.9), 0.0, Better, Worse, Changed),
            ((100.0, 100.0), (109.0, 109.0), 0.1, Same, Same, Same),
            ((100.0, 100.0), (111.0, 111.0), 0.1, Worse, Better, Changed),
            ((100.0, 100.0), (91.0, 91.0), 0.1, Same, Same, Same),
            ((100.0, 100.0), (89.0, 89.0), 0.1, Better, Worse, Changed),
            // Of nothing no part is anything: the first error is one too many.
            ((0.0, 0.0), (0.01, 0.01), 0.5, Worse, Better, Changed),
            ((0.0, 0.0), (0.0, 0.0), 0.5, Same, Same, Same),
            ((-10.0, -10.0), (-9.5, -9.5), 0.1, Same, Same, Same),
            ((-10.0, -10.0), (-8.0, -8.0), 0.1, Worse, Better, Changed),
            ((-10.0, -10.0), (-12.0, -12.0), 0.1, Better, Worse, Changed),
            (
                (f64::NAN, 1.0),
                (2.0, 2.0),
                0.0,
                NotComparable,
                NotComparable,
                NotComparable,
            ),
            (
                (1.0, 1.0),
                (2.0, f64::INFINITY),
                0.0,
                NotComparable,
                NotComparable,
                NotComparable,
            ),
            (
                (2.0, 1.0),
                (2.0, 3.0),
                0.0,
                NotComparable,
                NotComparable,
                NotComparable,
            ),
        ] {
            let verdicts = DIRECTIONS.map(|direction| {
                judge(
                    between(base.0, base.1),
                    between(other.0, other.1),
                    direction,
                    tolerance,
                )
            });
            assert_eq!(
                verdicts,
                [lower, higher, neither],
                "{base:?} {other:?} {tolerance}"
            );
        }
    }

    #[test]
    fn a_change_is_from_the_least_to_the_greatest_possible() {
        let change = |base, other| {
            let change = change_percent(base, other)?;
            Some((change.low.round(), change.high.round()))
        };
        for (base, other, expected) in [
            (
                between(100.0, 100.0),
                between(110.0, 110.0),
                Some((10.0, 10.0)),
            ),
            (
                between(612.0, 840.0),
                between(900.0, 950.0),
                Some((7.0, 55.0)),
            ),
            (
                between(100.0, 200.0),
                between(0.0, 0.0),
                Some((-100.0, -100.0)),
            ),
            (
                between(-10.0, -10.0),
                between(-5.0, -5.0),
                Some((50.0, 50.0)),
            ),
            (
                between(10.0, 20.0),
                between(-10.0, 10.0),
                Some((-200.0, 0.0)),
            ),
            (between(0.0, 0.0), between(1.0, 1.0), None),
            (between(0.0, 5.0), between(1.0, 1.0), None),
            (between(-1.0, 5.0), between(1.0, 1.0), None),
            (between(f64::NAN, 5.0), between(1.0, 1.0), None),
            (between(1e-300, 1e-300), between(1e300, 1e300), None),
        ] {
            assert_eq!(change(base, other), expected, "{base:?} {other:?}");
        }
    }

    fn interval() -> impl Strategy<Value = Interval> {
        let number = prop_oneof![
            3 => -1e6..1e6f64,
            1 => Just(0.0),
            1 => -1.0..1.0f64,
            1 => prop::num::f64::NORMAL,
        ];
        (number.clone(), number, any::<bool>()).prop_map(|(a, b, exact)| match exact {
            true => between(a, a),
            false => between(a.min(b), a.max(b)),
        })
    }

    proptest! {
        #[test]
        fn swapped_better_is_worse(base in interval(), other in interval(), way in 0..3usize) {
            let there = judge(base, other, DIRECTIONS[way], 0.0);
            let back = judge(other, base, DIRECTIONS[way], 0.0);
            let expected = match there {
                Verdict::Better => Verdict::Worse,
                Verdict::Worse => Verdict::Better,
                verdict => verdict,
            };
            prop_assert_eq!(back, expected);
        }

        #[test]
        fn nothing_differs_from_itself(value in interval(), way in 0..3usize, tolerance in 0.0..10.0f64) {
            prop_assert_eq!(judge(value, value, DIRECTIONS[way], tolerance), Verdict::Same);
        }

        #[test]
        fn more_tolerance_never_shows_more(
            base in interval(), other in interval(), way in 0..3usize, less in 0.0..10.0f64, more in 0.0..10.0f64,
        ) {
            let (less, more) = (less.min(more), less.max(more));
            let strict = judge(base, other, DIRECTIONS[way], less);
            let mild = judge(base, other, DIRECTIONS[way], more);
            prop_assert!(mild == strict || mild == Verdict::Same, "{:?} {:?}", strict, mild);
        }

        #[test]
        fn a_certain_change_has_one_sign(base in interval(), other in interval()) {
            let Some(change) = change_percent(base, other) else { return Ok(()) };
            prop_assert!(change.low <= change.high);
            if judge(base, other, Direction::LowerIsBetter, 0.0) == Verdict::Worse {
                prop_assert!(change.low >= 0.0, "{:?}", change);
            }
            if judge(base, other, Direction::LowerIsBetter, 0.0) == Verdict::Better {
                prop_assert!(change.high <= 0.0, "{:?}", change);
            }
        }
    }
}
