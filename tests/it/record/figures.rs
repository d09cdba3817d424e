//! What a scenario came to; `scripts/test.sh` prints the sum.

use std::io::Write;

use super::world::World;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub kills: u64,
    pub faults: u64,
    /// Lines written by containers that a sync saw.
    pub lines: u64,
    /// Missing, and no gap says so.
    pub lost: u64,
    pub doubled: u64,
    /// Runs of missing lines.
    pub gaps_expected: u64,
    /// Of these, told by gaps.
    pub gaps_found: u64,
    /// Gap rows, with those where nothing is missing after all.
    pub gap_rows: u64,
}

impl Figures {
    /// Appends them to the file that `K6SYNC_TEST_FIGURES` names: a line of fields with tabs between them.
    pub fn tell(&self, world: &World) {
        let Some(path) = std::env::var_os("K6SYNC_TEST_FIGURES") else {
            return;
        };
        let database = match world.database.is_postgres() {
            true => "PostgreSQL",
            false => "SQLite",
        };
        let Self {
            kills,
            faults,
            lines,
            lost,
            doubled,
            gaps_expected,
            gaps_found,
            ..
        } = self;
        let scenario = world.scenario;
        let line = format!(
            "{scenario}\t{database}\t{kills}\t{faults}\t{lines}\t{lost}\t{doubled}\t{gaps_expected}\t{gaps_found}\n"
        );
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path);
        // One write, so that tests that end at the same moment do not mix their lines.
        file.unwrap().write_all(line.as_bytes()).unwrap();
    }
}
