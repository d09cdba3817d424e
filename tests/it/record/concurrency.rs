//! Eight `sync-once` and two loops at once on one database.

use std::time::Duration;

use futures_util::future::join_all;

use super::seed;
use super::world::{Rules, World};
use crate::on_both_databases;
use crate::support::{Cluster, Database, RunningLoop};

on_both_databases!(eight_syncs_and_two_loops_at_once);

const ROUNDS: usize = 15;

async fn eight_syncs_and_two_loops_at_once(database: Database) {
    let cluster = Cluster::start().await;
    let mut world = World::new("concurrency", seed(40), cluster, database, Rules::default()).await;
    world.sync().await;
    let mut loops = Vec::new();
    for _ in 0..2 {
        // Without an election both sync.
        let config = "{intervalSeconds: 5, leaderElection: {enabled: false}}";
        let program = RunningLoop::program(&world.cluster, &world.database).config(config);
        loops.push(RunningLoop::spawn(program).await);
    }
    for _ in 0..ROUNDS {
        world.live().await;
        let runs = join_all((0..8).map(|_| world.sync_once())).await;
        for run in runs {
            assert_eq!(run.code, 0, "{}: {run:?}", world.about());
        }
    }
    for running in &loops {
        let cycles = "k6sync_cycles_total{outcome=\"completed\"}";
        running
            .wait_for_at_least(cycles, 2.0, Duration::from_secs(60))
            .await;
    }
    drop(loops);
    let figures = world.finish().await;
    assert_eq!(figures.gap_rows, 0);
}
