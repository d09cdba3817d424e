//! The results as text, and what was promised beside what was measured.

use crate::case::{Case, Phase};
use crate::measure::Row;

pub(crate) fn head() {
    println!(
        "{:32} {:10} {:6} {:>8} {:>7} {:>7} {:>7} {:>8} {:>9} {:>6} {:>10} {:>6}",
        "case",
        "database",
        "",
        "wall s",
        "x first",
        "cpu s",
        "rss MB",
        "requests",
        "read KB",
        "stmts",
        "written KB",
        "noise"
    );
}

/// Rows that were measured beside each other; each as a multiple of the first.
pub(crate) fn print(rows: &[Row]) {
    for row in rows {
        println!(
            "{:32} {:10} {:6} {:8.3} {:7.2} {:7.3} {:7.1} {:8} {:9} {:6} {:10} {:6.2}",
            row.case,
            row.database,
            row.subject,
            row.wall_s,
            row.wall_s / rows[0].wall_s,
            row.cpu_s,
            row.peak_rss_mb,
            row.requests,
            row.bytes_read / 1_000,
            row.statements,
            row.bytes_written / 1_000,
            row.noise
        );
    }
}

/// What a cycle is to cost at most, where it was measured.
pub(crate) fn promises(rows: &[Row]) {
    let mut is_headed = false;
    for database in ["SQLite", "PostgreSQL"] {
        let find = |case: Case, subject: &str| {
            let name = case.name();
            rows.iter()
                .find(|row| row.case == name && row.subject == subject && row.database == database)
        };
        let mut say = |what: &str, measured: Option<f64>, limit: &str| {
            if let Some(measured) = measured {
                if !is_headed {
                    println!(
                        "\n{:58} {:10} {:>9}  limit",
                        "What is wanted", "database", "measured"
                    );
                    is_headed = true;
                }
                println!("{what:58} {database:10} {measured:9.2}  {limit}");
            }
        };
        let wall = |case, subject| find(case, subject).map(|row| row.wall_s);
        let times = |case, subject| Some(wall(case, "ours")? / wall(case, subject)?);
        let steady = Case::USUAL;
        let first = steady.with_log(100_000);
        let finished = Case {
            phase: Phase::Finished,
            ..steady
        };
        let large = Case {
            runners: 1_000,
            ..steady
        };
        let old = Case {
            history: 1_000_000,
            ..steady
        };
        let giant = Case {
            runs: 1,
            runners: 1,
            ..steady
        }
        .with_log(1_000_000_000);
        say(
            "steady, 1,000 pods, 5 ms: x floor",
            times(steady, "floor"),
            "at most 1.3",
        );
        say(
            "steady, 1,000 pods, 5 ms: naive by ours",
            times(steady, "naive").map(f64::recip),
            "at least 20",
        );
        say(
            "first sync, 1,000 pods with 100 KB each: x floor",
            times(first, "floor"),
            "at most 1.5",
        );
        say(
            "all finished: CPU of a whole process, ms",
            find(finished, "ours").map(|row| row.cpu_s * 1_000.0),
            "under 10",
        );
        say(
            "all finished: requests (ConfigMap, namespace, page of TestRuns)",
            find(finished, "ours").map(|row| row.requests as f64),
            "3",
        );
        say(
            "steady, 10,000 pods, 5 ms: s",
            wall(large, "ours"),
            "within 20",
        );
        say(
            "steady, 10,000 pods, 5 ms: peak memory, MB",
            find(large, "ours").map(|row| row.peak_rss_mb),
            "under 64",
        );
        say(
            "first sync, 10,000 pods with 100 KB each: peak memory, MB",
            find(large.with_log(100_000), "ours").map(|row| row.peak_rss_mb),
            "under 64",
        );
        let reported = Case::REPORTED;
        let ended = Case {
            phase: Phase::Ended,
            ..reported
        };
        say(
            "results of 1,000 runners that end in one cycle: s",
            wall(reported, "ours")
                .zip(wall(ended, "ours"))
                .map(|(with, without)| with - without),
            "under 2",
        );
        say(
            "results of 1,000 runners: peak memory, MB",
            find(reported, "ours").map(|row| row.peak_rss_mb),
            "under 64",
        );
        say(
            "1,000,000 finished steps: x empty history",
            // Measured beside each other: the last rows of their kind.
            rows.iter()
                .zip(rows.iter().skip(1))
                .find(|(_, with)| with.case == old.name() && with.database == database)
                .map(|(without, with)| with.wall_s / without.wall_s),
            "at most 1.05",
        );
        say(
            "a log of 1 GB: peak memory, MB",
            find(giant, "ours").map(|row| row.peak_rss_mb),
            "under 64",
        );
    }
}
