//! What the record says of k6sync's work lately: cycles, gaps, logs and results that are late, and whose record it is.

use jiff::{SignedDuration, Timestamp};

use super::check::check;
use super::finding::Finding;
use super::kubernetes::Seen;
use super::patient::Patient;
use crate::store::{CycleRecord, Reader, StoreError};

/// Cycles looked at.
const CYCLES: i64 = 20;
/// A cycle that is so many intervals late is missing.
const LATE_INTERVALS: i64 = 3;
/// Gaps are told of this time.
const LATELY: SignedDuration = SignedDuration::from_hours(24);
/// What ended before this must be recorded by now.
const SETTLED: SignedDuration = SignedDuration::from_mins(10);
/// Clocks may differ by this much.
const SKEW: SignedDuration = SignedDuration::from_secs(5);

pub(super) async fn examine(reader: &Reader, patient: &Patient, seen: &Seen) -> Vec<Finding> {
    let mut findings = check("identity", identity(reader, seen)).await;
    findings.extend(check("last cycle", cycles(reader, patient, seen)).await);
    findings.extend(check("gaps", gaps(reader)).await);
    findings.extend(check("logs", late(reader)).await);
    findings
}

fn unreadable(check: &'static str) -> impl Fn(StoreError) -> Finding {
    move |error| {
        Finding::error(
            check,
            error.to_string(),
            "see whether the database is whole, with `k6sync verify --offline`",
        )
    }
}

async fn identity(reader: &Reader, seen: &Seen) -> Result<Vec<Finding>, Finding> {
    let id = reader.database_id().await.map_err(unreadable("identity"))?;
    let known = reader
        .known_namespaces()
        .await
        .map_err(unreadable("identity"))?;
    let mut clusters: Vec<&str> = known.iter().map(|known| known.cluster.as_str()).collect();
    clusters.sort_unstable();
    clusters.dedup();
    let is_known = (known.iter()).any(|known| seen.uids.contains(&known.uid));
    Ok(vec![match (seen.uids.is_empty(), clusters.len()) {
        (false, 1..) if !is_known => Finding::error(
            "identity",
            format!(
                "the database {id} has the record of {}, and not of this cluster: cycles stop, and write nothing",
                match clusters.len() {
                    1 => "another cluster".to_owned(),
                    several => format!("{several} other clusters"),
                }
            ),
            "check the database and the context; `k6sync migrate --new-cluster` makes it this cluster's too",
        ),
        (_, 0) => Finding::ok(
            "identity",
            format!("the database {id} knows no cluster yet"),
        ),
        (_, number) => Finding::ok(
            "identity",
            format!(
                "the database {id} has the record of {number} cluster{}",
                if number == 1 { "" } else { "s" }
            ),
        ),
    }])
}

async fn cycles(reader: &Reader, patient: &Patient, seen: &Seen) -> Result<Vec<Finding>, Finding> {
    let cycles = reader
        .last_cycles(CYCLES)
        .await
        .map_err(unreadable("last cycle"))?;
    let (enabled, interval) = seen.control.unwrap_or((
        patient.control_defaults.enabled,
        patient.control_defaults.interval,
    ));
    let interval = i64::try_from(interval.seconds()).unwrap_or(i64::MAX);
    let now = Timestamp::now();
    let mut findings = vec![last_cycle(&cycles, enabled, interval, now)];
    findings.extend(ahead(&cycles, seen.ahead.unwrap_or_default(), now));
    Ok(findings)
}

/// The newest cycle: when it was, and how it went.
fn last_cycle(cycles: &[CycleRecord], enabled: bool, interval: i64, now: Timestamp) -> Finding {
    const CHECK: &str = "last cycle";
    let Some(last) = cycles.first() else {
        return Finding::warning(
            CHECK,
            "there was none yet",
            "start `k6sync loop`, or run `k6sync sync-once`",
        );
    };
    let took = SignedDuration::from_millis(last.duration_ms.max(0));
    let age = now.duration_since(last.started_at) - took;
    let when = format!("it ended {} ago, by {}", words(age), last.instance);
    let late = SignedDuration::from_secs(interval.saturating_mul(LATE_INTERVALS));
    // The next may take as long as this one did.
    if enabled && age > late.saturating_add(took) {
        return Finding::error(
            CHECK,
            format!("{when}, which is longer than {LATE_INTERVALS} intervals of {interval} s"),
            "see whether the loop runs and what its log says, or run `k6sync sync-once`",
        );
    }
    if last.outcome != "completed" {
        let why = last
            .errors
            .first()
            .map(|error| format!(": {}", error.error));
        return Finding::error(
            CHECK,
            format!("{when}, and it {}{}", last.outcome, why.unwrap_or_default()),
            "mend what it says; `k6sync job status` shows the cycles before it",
        );
    }
    match last.errors.first() {
        Some(error) => Finding::warning(
            CHECK,
            format!(
                "{when}, with {} errors, such as: {}",
                last.errors.len(),
                error.error
            ),
            "mend what it says; the next cycle tries again",
        ),
        None => Finding::ok(CHECK, format!("{when}, without errors")),
    }
}

/// A cycle can't have looked at the cluster in the future, by the API server's clock.
fn ahead(cycles: &[CycleRecord], ahead: SignedDuration, now: Timestamp) -> Option<Finding> {
    let looked_at = cycles.first()?.looked_at?;
    let server = now.saturating_add(ahead).unwrap_or(now);
    let beyond = looked_at.duration_since(server);
    (beyond > SKEW).then(|| {
        Finding::warning(
            "clocks",
            format!(
                "the last cycle's time in the cluster is {} in the future",
                words(beyond)
            ),
            "set the clocks of the API servers by NTP: a clock that stepped back hides lines of logs",
        )
    })
}

async fn gaps(reader: &Reader) -> Result<Vec<Finding>, Finding> {
    let since = Timestamp::now().saturating_sub(LATELY);
    let since = since.unwrap_or(Timestamp::MIN);
    let gaps = reader
        .recent_gaps(since)
        .await
        .map_err(unreadable("gaps"))?;
    if gaps.is_empty() {
        return Ok(vec![Finding::ok(
            "gaps",
            "none in logs in the last 24 hours",
        )]);
    }
    let all: i64 = gaps.iter().map(|gap| gap.gaps).sum();
    let told: Vec<String> = gaps
        .iter()
        .map(|gap| format!("{} {}", gap.gaps, gap.cause))
        .collect();
    Err(Finding::warning(
        "gaps",
        format!(
            "{all} places in logs where lines may be missing were noticed in the last 24 hours: {}",
            told.join(", ")
        ),
        "read docs/troubleshooting.md, \"Lines are missing\": a shorter interval or capture.hold may help",
    ))
}

async fn late(reader: &Reader) -> Result<Vec<Finding>, Finding> {
    let ended_by = Timestamp::now().saturating_sub(SETTLED);
    let ended_by = ended_by.unwrap_or(Timestamp::MIN);
    let late = reader.late(ended_by).await.map_err(unreadable("logs"))?;
    let logs = match late.incomplete {
        0 => Finding::ok("logs", "those of steps that have ended are complete"),
        number => Finding::warning(
            "logs",
            format!(
                "{number} of steps that ended more than 10 minutes ago are not recorded to their end"
            ),
            "see the errors of the last cycles with `k6sync job status`",
        ),
    };
    let results = match late.due {
        0 => Finding::ok(
            "results",
            "every complete log of a runner was read for them",
        ),
        number => Finding::warning(
            "results",
            format!("{number} complete logs of runners were not read for what k6 measured"),
            "the next cycle does that; if it does not, run `k6sync results rebuild`",
        ),
    };
    Ok(vec![logs, results])
}

fn words(time: SignedDuration) -> String {
    let seconds = time.as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Health;
    use super::*;
    use crate::store::CycleError;

    fn cycle(seconds_ago: i64, outcome: &str, errors: usize, now: Timestamp) -> CycleRecord {
        CycleRecord {
            started_at: now - SignedDuration::from_secs(seconds_ago),
            duration_ms: 1_000,
            trigger: "loop".to_owned(),
            instance: "k6sync-0/1".to_owned(),
            outcome: outcome.to_owned(),
            total: 0,
            updated: 0,
            logs_updated: 0,
            log_bytes: 0,
            looked_at: None,
            cluster: None,
            errors: (0..errors)
                .map(|_| CycleError {
                    step_id: None,
                    step_name: None,
                    k6_test_name: None,
                    error: "no log".to_owned(),
                })
                .collect(),
        }
    }

    #[test]
    fn a_late_cycle_is_an_error_while_sync_is_on() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        for (ago, outcome, errors, enabled, expected) in [
            (10, "completed", 0, true, Health::Ok),
            (60, "completed", 0, true, Health::Ok),
            (63, "completed", 0, true, Health::Error),
            (9_999, "completed", 0, false, Health::Ok),
            (10, "failed", 1, true, Health::Error),
            (10, "completed", 2, true, Health::Warning),
        ] {
            let cycles = [cycle(ago, outcome, errors, now)];
            let finding = last_cycle(&cycles, enabled, 20, now);
            assert_eq!(finding.status, expected, "{finding:?}");
        }
        assert_eq!(last_cycle(&[], true, 20, now).status, Health::Warning);
    }

    #[test]
    fn a_look_in_the_future_is_a_clock_that_is_wrong() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let look = |seconds: i64, ahead_by: i64| {
            let mut cycle = cycle(10, "completed", 0, now);
            cycle.looked_at = Some(now + SignedDuration::from_secs(seconds));
            ahead(&[cycle], SignedDuration::from_secs(ahead_by), now).is_some()
        };
        assert!(!look(-10, 0) && !look(5, 0) && look(6, 0) && !look(60, 60));
    }
}
