//! Every fifth request goes wrong, in every way there is.

use std::time::Duration;

use k6sync_standin::{Fault, FaultAction};

use super::seed;
use super::world::{Rules, World};
use crate::on_both_databases;
use crate::support::{Cluster, Database};

on_both_databases!(every_fifth_request_goes_wrong);

const ROUNDS: usize = 60;
/// Of the requests.
const SHARE: f64 = 0.2;

/// Every action as often as any other, and together [`SHARE`] of the requests.
pub fn faults(world: &World) {
    let standin = world.cluster.standin_cluster();
    standin.seed_faults(world.seed);
    let everywhere = actions();
    let of_logs = [
        FaultAction::Silence {
            duration: Duration::from_secs(3),
        },
        FaultAction::Header {
            name: "content-type",
            value: "text/html".to_owned(),
        },
        FaultAction::RetryAfter {
            code: 429,
            value: "18446744073709551615".to_owned(),
        },
        FaultAction::NotFound,
        FaultAction::CleanCut { after_bytes: 137 },
        FaultAction::CleanCut { after_bytes: 5_000 },
    ];
    let logs: Vec<&FaultAction> = everywhere.iter().chain(&of_logs).collect();
    let objects: Vec<&FaultAction> = everywhere.iter().collect();
    for (kinds, actions) in [
        (&["get pods/log"][..], logs),
        (&["list testruns", "list pods", "get configmaps"], objects),
    ] {
        let each = SHARE / actions.len() as f64;
        for (number, action) in actions.into_iter().enumerate() {
            standin.fault(Fault {
                kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
                // A rule is asked only when those before it have let the request pass.
                probability: each / (1.0 - each * number as f64),
                times: None,
                action: action.clone(),
            });
        }
    }
}

fn actions() -> Vec<FaultAction> {
    let status = |code, retry_after_seconds| FaultAction::Status {
        code,
        retry_after_seconds,
    };
    vec![
        status(429, None),
        status(429, Some(1)),
        status(500, None),
        status(503, None),
        FaultAction::ResetBeforeBody,
        FaultAction::ResetMidBody { after_bytes: 700 },
        FaultAction::ResetMidBody {
            after_bytes: 300_000,
        },
        FaultAction::Stall {
            after_bytes: 400,
            duration: Duration::from_secs(3),
        },
        FaultAction::ShortBody,
        FaultAction::Garbage,
        FaultAction::Header {
            name: "date",
            value: "Thu, 30 Dec 9999 22:00:00 GMT".to_owned(),
        },
        FaultAction::RetryAfter {
            code: 503,
            value: "0".to_owned(),
        },
    ]
}

async fn every_fifth_request_goes_wrong(database: Database) {
    let cluster = Cluster::start().await;
    let mut world = World::new("api_faults", seed(10), cluster, database, Rules::default()).await;
    faults(&world);
    for _ in 0..ROUNDS {
        world.live().await;
        world.sync().await;
    }
    let requests: u64 = world.cluster.standin_cluster().requests().values().sum();
    let faults = world.cluster.standin_cluster().faults_injected();
    let figures = world.finish().await;
    let share = faults as f64 / requests as f64;
    assert!(
        faults > 30 && share > 0.15,
        "{faults} of {requests} requests went wrong: {figures:?}"
    );
    assert_eq!(figures.gap_rows, 0, "no fault costs a line");
}
