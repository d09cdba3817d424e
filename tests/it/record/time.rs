//! Clocks that are wrong: the node's steps back and forth, and ours is an hour off.

use jiff::SignedDuration;
use k6sync_standin::Options;

use super::seed;
use super::world::{Rules, World};
use crate::on_both_databases;
use crate::support::{Cluster, Database};

on_both_databases!(
    the_nodes_clock_steps_back_and_forth,
    our_clock_is_an_hour_off
);

async fn the_nodes_clock_steps_back_and_forth(database: Database) {
    let cluster = Cluster::start().await;
    let rules = Rules {
        clock_steps: true,
        ..Rules::default()
    };
    let mut world = World::new("time", seed(20), cluster, database, rules).await;
    for _ in 0..40 {
        world.live().await;
        world.sync().await;
    }
    world.finish().await;
}

/// All clocks of the cluster are an hour ahead of ours, or behind.
async fn our_clock_is_an_hour_off(database: Database) {
    for hours in [1, -1] {
        let cluster = Cluster::standin(Options::default()).await;
        let standin = cluster.standin_cluster();
        standin.set_clock_offset(SignedDuration::from_hours(hours));
        let database = match database.is_postgres() {
            true => Database::postgres().await,
            false => Database::sqlite(),
        };
        let rules = Rules {
            restarts: true,
            ..Rules::default()
        };
        let mut world = World::new("our_clock", seed(21), cluster, database, rules).await;
        world.shift_clock(hours * 3600);
        for _ in 0..8 {
            world.live().await;
            world.sync().await;
        }
        world.finish().await;
    }
}
