//! Which way is better, metric by metric. Pure.
//!
//! k6's own metrics are in a table. Of a script's own metrics its thresholds tell (`p(95)<500`: lower is better), then the name,
//! then the unit. Where nothing tells, no way is better: more requests are not worse, and less data is not better.

use serde::Serialize;

use crate::k6::summary::{Kind, Unit};

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Direction {
    /// Times, errors.
    LowerIsBetter,
    /// The part of the checks that passed.
    HigherIsBetter,
    /// Neither: requests, bytes, virtual users.
    None,
}

/// The direction of one stat of a metric; `expressions` are those of the thresholds on the metric, or on the metric that it is a
/// submetric of, in any of the runs.
pub(crate) fn direction(
    metric: &str,
    kind: Kind,
    unit: Unit,
    stat: &str,
    expressions: &[&str],
) -> Direction {
    // How many there are grows with the load, which is no quality.
    if is_number_of_samples(kind, stat) {
        return match kind {
            // But a threshold may want many.
            Kind::Trend => of_thresholds(kind, stat, expressions).unwrap_or(Direction::None),
            _ => Direction::None,
        };
    }
    let base = base_metric(metric);
    if let Some(known) = of_k6(base) {
        return known;
    }
    if let Some(told) = of_thresholds(kind, stat, expressions) {
        return told;
    }
    let name = base.to_ascii_lowercase();
    if name.contains("error") || name.contains("fail") {
        return Direction::LowerIsBetter;
    }
    match (kind, unit) {
        (Kind::Trend, Unit::Ms) => Direction::LowerIsBetter,
        _ => Direction::None,
    }
}

/// `http_req_duration{scenario:buy}` → `http_req_duration`
pub(crate) fn base_metric(metric: &str) -> &str {
    metric.split('{').next().unwrap_or(metric)
}

/// A stat that only says how many samples there were.
fn is_number_of_samples(kind: Kind, stat: &str) -> bool {
    match kind {
        Kind::Trend => stat == "count",
        Kind::Rate => stat != "rate",
        Kind::Counter | Kind::Gauge => false,
    }
}

/// k6's own metrics (<https://grafana.com/docs/k6/latest/using-k6/metrics/reference/>).
fn of_k6(base: &str) -> Option<Direction> {
    use Direction::{HigherIsBetter, LowerIsBetter, None as Neither};
    let known = match base {
        "checks" => HigherIsBetter,
        "dropped_iterations" => LowerIsBetter,
        "http_reqs" | "iterations" | "vus" | "vus_max" | "data_sent" | "data_received" => Neither,
        // The script decides how long a session lasts.
        "ws_session_duration" => Neither,
        "ws_sessions" | "ws_msgs_sent" | "ws_msgs_received" => Neither,
        "grpc_streams" | "grpc_streams_msgs_sent" | "grpc_streams_msgs_received" => Neither,
        "browser_data_sent" | "browser_data_received" => Neither,
        "iteration_duration" | "group_duration" => LowerIsBetter,
        "ws_connecting" | "ws_ping" | "grpc_req_duration" => LowerIsBetter,
        _ if base.starts_with("http_req_") || base.starts_with("browser_http_req_") => {
            LowerIsBetter
        }
        _ if base.starts_with("browser_web_vital_") => LowerIsBetter,
        _ => return None,
    };
    Some(known)
}

/// What the thresholds of this stat's kind agree on.
fn of_thresholds(kind: Kind, stat: &str, expressions: &[&str]) -> Option<Direction> {
    let is_count = |stat: &str| kind == Kind::Trend && stat == "count";
    let mut told = expressions.iter().filter_map(|expression| {
        let operator = expression.find(['<', '>', '=', '!'])?;
        let about = expression[..operator].trim();
        if is_count(about) != is_count(stat) {
            return None;
        }
        match expression.as_bytes()[operator] {
            b'<' => Some(Direction::LowerIsBetter),
            b'>' => Some(Direction::HigherIsBetter),
            _ => None,
        }
    });
    let first = told.next()?;
    told.all(|next| next == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::Direction::{HigherIsBetter, LowerIsBetter, None as Neither};
    use super::*;

    #[test]
    fn the_table_of_k6s_own_metrics() {
        use {Kind::Counter, Kind::Gauge, Kind::Rate, Kind::Trend};
        for (metric, kind, unit, stat, expected) in [
            ("http_req_failed", Rate, Unit::None, "rate", LowerIsBetter),
            ("http_req_failed", Rate, Unit::None, "passes", Neither),
            ("http_req_duration", Trend, Unit::Ms, "p(95)", LowerIsBetter),
            ("http_req_duration", Trend, Unit::Ms, "count", Neither),
            (
                "http_req_duration{expected_response:true}",
                Trend,
                Unit::Ms,
                "min",
                LowerIsBetter,
            ),
            ("http_req_waiting", Trend, Unit::Ms, "avg", LowerIsBetter),
            ("iteration_duration", Trend, Unit::Ms, "max", LowerIsBetter),
            ("group_duration", Trend, Unit::Ms, "med", LowerIsBetter),
            ("ws_connecting", Trend, Unit::Ms, "avg", LowerIsBetter),
            ("ws_session_duration", Trend, Unit::Ms, "avg", Neither),
            ("grpc_req_duration", Trend, Unit::Ms, "avg", LowerIsBetter),
            (
                "browser_web_vital_cls",
                Trend,
                Unit::None,
                "avg",
                LowerIsBetter,
            ),
            ("checks", Rate, Unit::None, "rate", HigherIsBetter),
            ("checks", Rate, Unit::None, "fails", Neither),
            ("checks{scenario:a}", Rate, Unit::None, "passes", Neither),
            (
                "dropped_iterations",
                Counter,
                Unit::None,
                "count",
                LowerIsBetter,
            ),
            ("http_reqs", Counter, Unit::None, "count", Neither),
            (
                "http_reqs{status:500}",
                Counter,
                Unit::None,
                "rate",
                Neither,
            ),
            ("iterations", Counter, Unit::None, "rate", Neither),
            ("data_sent", Counter, Unit::Bytes, "count", Neither),
            ("vus_max", Gauge, Unit::None, "value", Neither),
        ] {
            // Thresholds say nothing of what is known.
            for expressions in [&[][..], &["rate>5", "p(95)>5"][..]] {
                assert_eq!(
                    direction(metric, kind, unit, stat, expressions),
                    expected,
                    "{metric} {stat}"
                );
            }
        }
    }

    #[test]
    fn of_a_scripts_own_metrics_thresholds_names_and_units_tell() {
        use {Kind::Counter, Kind::Gauge, Kind::Rate, Kind::Trend};
        for (metric, kind, unit, stat, expressions, expected) in [
            ("basket", Trend, Unit::None, "avg", &[][..], Neither),
            (
                "basket",
                Trend,
                Unit::None,
                "avg",
                &["p(95)<500"][..],
                LowerIsBetter,
            ),
            (
                "basket",
                Trend,
                Unit::None,
                "max",
                &[" avg >= 3 "][..],
                HigherIsBetter,
            ),
            // How many there are is another matter than how large they are.
            (
                "basket",
                Trend,
                Unit::None,
                "avg",
                &["count>10"][..],
                Neither,
            ),
            (
                "basket",
                Trend,
                Unit::None,
                "count",
                &["count>10"][..],
                HigherIsBetter,
            ),
            (
                "basket",
                Trend,
                Unit::None,
                "count",
                &["p(95)<500"][..],
                Neither,
            ),
            (
                "basket",
                Trend,
                Unit::None,
                "avg",
                &["avg>1", "max<9"][..],
                Neither,
            ),
            (
                "basket",
                Trend,
                Unit::None,
                "avg",
                &["avg==1", "avg!=2"][..],
                Neither,
            ),
            ("took", Trend, Unit::Ms, "avg", &[][..], LowerIsBetter),
            (
                "took",
                Trend,
                Unit::Ms,
                "avg",
                &["avg>5"][..],
                HigherIsBetter,
            ),
            (
                "logins",
                Rate,
                Unit::None,
                "rate",
                &["rate>0.9"][..],
                HigherIsBetter,
            ),
            (
                "logins",
                Rate,
                Unit::None,
                "passes",
                &["rate>0.9"][..],
                Neither,
            ),
            ("logins", Rate, Unit::None, "rate", &[][..], Neither),
            (
                "my_Errors",
                Counter,
                Unit::None,
                "count",
                &[][..],
                LowerIsBetter,
            ),
            (
                "logins_failed",
                Rate,
                Unit::None,
                "rate",
                &[][..],
                LowerIsBetter,
            ),
            (
                "failing_is_fine",
                Rate,
                Unit::None,
                "rate",
                &["rate>0.5"][..],
                HigherIsBetter,
            ),
            (
                "orders",
                Counter,
                Unit::None,
                "rate",
                &["count>15"][..],
                HigherIsBetter,
            ),
            (
                "queue",
                Gauge,
                Unit::None,
                "value",
                &["value<100"][..],
                LowerIsBetter,
            ),
            (
                "queue",
                Gauge,
                Unit::None,
                "value",
                &["nonsense", ""][..],
                Neither,
            ),
        ] {
            assert_eq!(
                direction(metric, kind, unit, stat, expressions),
                expected,
                "{metric} {stat} {expressions:?}"
            );
        }
    }
}
