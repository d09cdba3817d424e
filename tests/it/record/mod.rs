//! The record is complete: each line of every container is in the database once and in order, or a gap says so.
//!
//! A [`world`] tells a random story that follows from a seed: TestRuns come and go, containers write, logs rotate, clocks
//! step. The real binary syncs it while it is killed, refused, cut off and locked out. In the end [`oracle`] compares
//! every stored byte with what was written. `K6SYNC_TEST_SEED` makes it another story.

mod api_faults;
mod concurrency;
mod crash;
mod database_faults;
mod figures;
mod life;
mod oracle;
mod proxy;
mod soak;
mod time;
mod world;

/// The seed of a scenario: its own, unless another is asked for.
fn seed(own: u64) -> u64 {
    match std::env::var("K6SYNC_TEST_SEED") {
        Ok(seed) => seed.parse().expect("K6SYNC_TEST_SEED is no number"),
        Err(_) => own,
    }
}
