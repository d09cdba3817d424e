//! TestRuns come, end, are deleted and come again under the same name; pods vanish, logs rotate, containers restart.

use super::seed;
use super::world::{Rules, World};
use crate::on_both_databases;
use crate::support::{Cluster, Database};

on_both_databases!(
    whatever_happens_to_pods_is_recorded_or_told,
    what_is_held_loses_nothing_to_cleanup,
);

async fn whatever_happens_to_pods_is_recorded_or_told(database: Database) {
    let cluster = Cluster::start().await;
    let rules = Rules {
        rotations: true,
        restarts: true,
        deletions: true,
        ..Rules::default()
    };
    let mut world = World::new("life", seed(30), cluster, database, rules).await;
    for _ in 0..40 {
        world.live().await;
        if !world.random.one_in(3) {
            world.sync().await;
        }
    }
    let figures = world.finish().await;
    assert!(figures.gaps_expected > 0, "{figures:?}");
}

async fn what_is_held_loses_nothing_to_cleanup(database: Database) {
    let cluster = Cluster::start().await;
    let rules = Rules {
        hold: true,
        ..Rules::default()
    };
    let mut world = World::new("life_held", seed(31), cluster, database, rules).await;
    let duration = world.duration_of_a_sync().await;
    for _ in 0..25 {
        world.live().await;
        // Some are killed, and some do not come in time.
        match world.random.below(4) {
            0 => world.kill_at_random(duration).await,
            1 => {}
            _ => drop(world.sync().await),
        }
    }
    let figures = world.finish().await;
    assert_eq!(figures.gap_rows, 0, "nothing outran the record");
}
