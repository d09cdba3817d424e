//! What was written against what is stored, line by line.

use k6sync_standin::WrittenLine;

use super::figures::Figures;
use super::world::{Witness, World};
use crate::support::Database;

/// A row of `log_gaps`.
#[derive(Debug)]
struct Gap {
    after: Option<i64>,
    before: Option<i64>,
    cause: String,
}

/// Compares every life of every container that a sync saw.
pub async fn compare(world: &World) -> Figures {
    let mut sum = Figures::default();
    let database = &world.database;
    for witness in &world.witnesses {
        for (life, written) in witness.log.lives_written().iter().enumerate() {
            let of_life = format!(
                "pod_uid = '{}' AND container = 'k6' AND restart_count = {life}",
                witness.uid
            );
            if database
                .number(&format!("SELECT count(*) FROM log_streams WHERE {of_life}"))
                .await
                == 0
            {
                // It came and went between two syncs.
                assert!(
                    witness.gone || life + 1 < witness.log.lives_written().len(),
                    "{}: {} was never seen",
                    world.about(),
                    witness.pod
                );
                continue;
            }
            let stored = stored(database, &of_life).await;
            let gaps = gaps(database, &of_life).await;
            check_counters(world, &of_life, &stored, &gaps).await;
            let figures = compare_life(world, witness, life, written, &stored, &gaps);
            sum.lines += figures.lines;
            sum.lost += figures.lost;
            sum.doubled += figures.doubled;
            sum.gaps_expected += figures.gaps_expected;
            sum.gaps_found += figures.gaps_found;
            sum.gap_rows += figures.gap_rows;
        }
    }
    assert!(sum.lines > 0, "{}: nothing was written", world.about());
    assert_eq!((sum.lost, sum.doubled), (0, 0), "{}", world.about());
    assert_eq!(sum.gaps_expected, sum.gaps_found, "{}", world.about());
    sum
}

fn compare_life(
    world: &World,
    witness: &Witness,
    life: usize,
    written: &[WrittenLine],
    stored: &str,
    gaps: &[Gap],
) -> Figures {
    let about = || format!("{}: {} life {life}", world.about(), witness.pod);
    let mut figures = Figures {
        lines: written.len() as u64,
        gap_rows: gaps.len() as u64,
        ..Figures::default()
    };
    let mut next = 0;
    let mut missing: Vec<usize> = Vec::new();
    for line in stored.split_inclusive('\n') {
        let found = written[next..]
            .iter()
            .position(|written| as_stored(&written.text) == line);
        match found {
            Some(skipped) => {
                missing.extend(next..next + skipped);
                next += skipped + 1;
            }
            None => {
                eprintln!("{}: doubled or never written: {line:?}", about());
                figures.doubled += 1;
            }
        }
    }
    missing.extend(next..written.len());
    for (number, index) in missing.iter().enumerate() {
        let begins = number == 0 || missing[number - 1] + 1 != *index;
        let is_told = gaps.iter().any(|gap| gap.covers(*index, written));
        figures.gaps_expected += u64::from(begins);
        figures.gaps_found += u64::from(begins && is_told);
        if !is_told && begins {
            let end = missing[number..]
                .iter()
                .zip(*index..)
                .take_while(|(missing, index)| **missing == *index)
                .count()
                + index;
            eprintln!(
                "{}: lines {index} to {end} of {} (at {} to {}) are lost; gaps: {gaps:?}; events: {:?}",
                about(),
                written.len(),
                written[*index].at,
                written[end - 1].at,
                witness.events
            );
        }
        figures.lost += u64::from(!is_told);
    }
    // A gap where nothing happened is a false alarm.
    for cause in ["rotated", "restarted", "deleted", "clock"] {
        let told = gaps.iter().filter(|gap| gap.cause == cause).count();
        let happened = witness
            .events
            .iter()
            .filter(|event| event.life == life && event.cause == cause)
            .count();
        assert!(
            told <= happened,
            "{}: {gaps:?}, {:?}",
            about(),
            witness.events
        );
    }
    let known = ["rotated", "restarted", "deleted", "clock"];
    assert!(
        gaps.iter().all(|gap| known.contains(&gap.cause.as_str())),
        "{}: {gaps:?}",
        about()
    );
    figures
}

impl Gap {
    /// Whether the line with this index is in the gap.
    fn covers(&self, index: usize, written: &[WrittenLine]) -> bool {
        if self.cause == "clock" {
            // Between two lines, whose times say nothing of those between.
            let place = |ts: i64| written.iter().position(|line| line.at == ts);
            let last = |ts: i64| written.iter().rposition(|line| line.at == ts);
            return self.after.and_then(place).is_none_or(|after| after < index)
                && self
                    .before
                    .and_then(last)
                    .is_none_or(|before| index < before);
        }
        let at = written[index].at;
        self.after.is_none_or(|after| after <= at) && self.before.is_none_or(|before| at <= before)
    }
}

/// As SQL text can hold it: one U+FFFD for each run of NUL and of bytes of broken sequences, as docs/database.md says.
fn as_stored(line: &[u8]) -> String {
    let mut text = String::new();
    let mut put = |char: char| {
        if char != '\u{fffd}' || !text.ends_with(char) {
            text.push(char);
        }
    };
    for chunk in line.utf8_chunks() {
        chunk
            .valid()
            .replace('\0', "\u{fffd}")
            .chars()
            .for_each(&mut put);
        if !chunk.invalid().is_empty() {
            put('\u{fffd}');
        }
    }
    text
}

async fn stored(database: &Database, of_life: &str) -> String {
    database
        .texts(&format!(
            "SELECT body FROM log_chunks JOIN log_streams ON id = stream_id WHERE {of_life} ORDER BY seq"
        ))
        .await
        .concat()
}

async fn gaps(database: &Database, of_life: &str) -> Vec<Gap> {
    let rows = database
        .texts(&format!(
            "SELECT coalesce(CAST(after_ts AS TEXT), '') || ' ' || coalesce(CAST(before_ts AS TEXT), '') || ' ' || cause
             FROM log_gaps JOIN log_streams ON id = stream_id WHERE {of_life}"
        ))
        .await;
    rows.iter()
        .map(|row| {
            let mut words = row.split(' ');
            let mut next = || words.next().unwrap();
            Gap {
                after: next().parse().ok(),
                before: next().parse().ok(),
                cause: next().to_owned(),
            }
        })
        .collect()
}

/// The stream's row says what its chunks and gaps are, and that nothing more will come.
async fn check_counters(world: &World, of_life: &str, stored: &str, gaps: &[Gap]) {
    let row = world
        .database
        .texts(&format!(
            "SELECT CAST(lines AS TEXT) || ' ' || CAST(bytes AS TEXT) || ' ' || CAST(gaps AS TEXT) || ' ' ||
                    CASE WHEN complete THEN 'complete' ELSE 'incomplete' END
             FROM log_streams WHERE {of_life}"
        ))
        .await;
    let lines = stored.split_inclusive('\n').count();
    let expected = format!("{lines} {} {} complete", stored.len(), gaps.len());
    assert_eq!(row, [expected], "{}: {of_life}", world.about());
}
