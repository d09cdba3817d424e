//! Times that others tell: whatever they are, nothing that is reckoned with them overflows. Pure.
//!
//! `a + b` on a [`Timestamp`] panics at the end of the year 9999, and a cluster may show any time. Whoever compares two
//! times takes their difference, which always has room; who needs a third one asks [`shifted`].

use jiff::{SignedDuration, Timestamp};

/// API servers' clocks and ours differ by minutes or, where nobody looks after them, hours. What differs by more is told by
/// no clock, and judging by it would make every step lost and every log overdue.
const FARTHEST: SignedDuration = SignedDuration::from_hours(366 * 24);

/// `time` later by `by`, or the latest or the earliest time that there is.
pub(super) fn shifted(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(match by.is_negative() {
        true => Timestamp::MIN,
        false => Timestamp::MAX,
    })
}

/// Nanoseconds since 1970, as the lines of logs are stamped; the nearest that can be told (the years 1677 to 2262).
pub(super) fn nanoseconds(time: Timestamp) -> i64 {
    let nanoseconds = time.as_nanosecond();
    i64::try_from(nanoseconds).unwrap_or(match nanoseconds < 0 {
        true => i64::MIN,
        false => i64::MAX,
    })
}

/// The time by the API server's clock, which stamps the objects; `ours`, which may be wrong, only fills in the part of a
/// second that answers do not tell, and stands in where they tell nothing that can be true.
pub(super) fn cluster_time(told: Option<Timestamp>, ours: Timestamp) -> Timestamp {
    let Some(told) = told else { return ours };
    if is_absurd(told, ours) {
        tracing::warn!(
            date = told.to_string(),
            "the API server's Date can't be true; this machine's time is taken"
        );
        return ours;
    }
    ours.clamp(told, shifted(told, SignedDuration::from_secs(1)))
}

/// The same for a list that was asked for at `asked`, by our clock: what the cluster stamped before is in it. Rather a second
/// too early than too late.
pub(super) fn listed_at(told: Option<Timestamp>, asked: Timestamp) -> Timestamp {
    told.filter(|told| !is_absurd(*told, asked))
        .unwrap_or(asked)
}

fn is_absurd(told: Timestamp, ours: Timestamp) -> bool {
    told.duration_since(ours).abs() > FARTHEST
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_clusters_time_is_the_date_unless_that_can_not_be_true() {
        let ours = at("2026-11-23T04:39:43.5Z");
        for (told, time) in [
            (None, "2026-11-23T04:39:43.5Z"),
            (Some("2026-11-23T04:39:43Z"), "2026-11-23T04:39:43.5Z"),
            (Some("2026-11-23T05:39:43Z"), "2026-11-23T05:39:43Z"),
            (Some("2026-11-23T03:39:43Z"), "2026-11-23T03:39:44Z"),
            (Some("9999-12-30T22:00:00Z"), "2026-11-23T04:39:43.5Z"),
            (Some("1970-01-01T00:00:00Z"), "2026-11-23T04:39:43.5Z"),
        ] {
            assert_eq!(cluster_time(told.map(at), ours), at(time), "{told:?}");
        }
    }

    /// Any time that there is, its ends and near them as often as all others.
    pub(in crate::cycle) fn any_time() -> impl Strategy<Value = Timestamp> {
        let (first, last) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        prop_oneof![
            (first..=last).prop_map(|second| Timestamp::from_second(second).unwrap()),
            (0_i64..20).prop_map(move |back| Timestamp::from_second(last - back).unwrap()),
            (0_i64..20).prop_map(move |on| Timestamp::from_second(first + on).unwrap()),
            Just(Timestamp::MAX),
            Just(Timestamp::MIN),
            (-2_000_i64..2_000)
                .prop_map(|near| Timestamp::from_second(1_795_408_790 + near).unwrap()),
        ]
    }

    proptest! {
        #[test]
        fn no_time_is_too_much(a in any_time(), b in any_time(), seconds: i64) {
            cluster_time(Some(a), b);
            prop_assert!(listed_at(Some(a), b) <= cluster_time(Some(a), b).max(b));
            nanoseconds(a);
            shifted(a, SignedDuration::from_secs(seconds));
        }
    }
}
