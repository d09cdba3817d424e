//! Every fifth request goes wrong, in every way there is.

use std::time::Duration;

use k6sync_standin::{Fault, FaultAction};

use super::seed;
use super::world::{Rules, World};
use crate::on_both_databases;
use crate::support::{Cluster, Database};

on_both_databases!(every_fifth_request_goes_wrong);

const ROUNDS: usize = 30;

/// Together 20 % of the requests.
pub fn faults(world: &World) {
    let status = |code, retry_after_seconds| FaultAction::Status {
        code,
        retry_after_seconds,
    };
    let actions = [
        status(429, None),
        status(429, Some(1)),
        status(500, None),
        status(503, None),
        FaultAction::ResetBeforeBody,
        FaultAction::ResetMidBody { after_bytes: 700 },
        FaultAction::ResetMidBody {
            after_bytes: 300_000,
        },
        FaultAction::CleanCut { after_bytes: 137 },
        FaultAction::CleanCut { after_bytes: 5_000 },
        FaultAction::Stall {
            after_bytes: 400,
            duration: Duration::from_secs(3),
        },
        FaultAction::ShortBody,
        FaultAction::Garbage,
        FaultAction::NotFound,
    ];
    let standin = world.cluster.standin_cluster();
    standin.seed_faults(world.seed);
    let each = 0.2 / actions.len() as f64;
    for action in actions {
        let is_of_logs = matches!(action, FaultAction::NotFound | FaultAction::CleanCut { .. });
        let mut kinds = vec!["get pods/log".to_owned()];
        if !is_of_logs {
            kinds.extend(["list testruns", "list pods", "get configmaps"].map(str::to_owned));
        }
        // Any bytes are a log, so that garbage in one can't be told from it.
        if action == FaultAction::Garbage {
            kinds.remove(0);
        }
        standin.fault(Fault {
            kinds,
            probability: each,
            times: None,
            action,
        });
    }
}

async fn every_fifth_request_goes_wrong(database: Database) {
    let cluster = Cluster::start().await;
    let mut world = World::new("api_faults", seed(10), cluster, database, Rules::default()).await;
    faults(&world);
    for _ in 0..ROUNDS {
        world.live().await;
        world.sync().await;
    }
    let figures = world.finish().await;
    assert!(figures.faults > 20, "{figures:?}");
    assert_eq!(figures.gap_rows, 0, "no fault costs a line");
}
