//! The long version: everything at random, for as long as `scripts/soak.sh` says, on a loop whose use of the machine is
//! watched.

use std::time::{Duration, Instant};

use super::world::{Rules, World};
use super::{api_faults, seed};
use crate::support::{Cluster, Database, RunningLoop};

/// Memory may settle this much above what it is after the first rounds.
const MOST_GROWTH_KB: u64 = 24 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "as long as K6SYNC_SOAK_MINUTES says: scripts/soak.sh"]
async fn soak() {
    let minutes: u64 = std::env::var("K6SYNC_SOAK_MINUTES")
        .ok()
        .and_then(|minutes| minutes.parse().ok())
        .expect("K6SYNC_SOAK_MINUTES is to be a number");
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    let mut number = seed(u64::from(std::process::id()));
    while Instant::now() < end {
        for database in [Database::sqlite(), Database::postgres().await] {
            story(number, database, end).await;
            number += 1;
        }
    }
}

/// One world, synced by one loop throughout and by others that are killed, for at most a quarter of an hour.
async fn story(seed: u64, database: Database, end: Instant) {
    let rules = match seed % 3 {
        0 => Rules {
            clock_steps: true,
            ..Rules::default()
        },
        1 => Rules {
            rotations: true,
            restarts: true,
            deletions: true,
            ..Rules::default()
        },
        _ => Rules {
            hold: true,
            ..Rules::default()
        },
    };
    let mut world = World::new("soak", seed, Cluster::start().await, database, rules).await;
    println!("{}: {rules:?}", world.about());
    world.sync().await;
    api_faults::faults(&world);
    let mut program = RunningLoop::program(&world.cluster, &world.database)
        .config("{intervalSeconds: 5, kubernetes: {requestTimeout: 2s, cycleDeadline: 30s}}")
        // Its own folder, so that whatever is left there is its own.
        .env("TMPDIR", ".");
    if rules.hold {
        program = program.args(&["--hold"]);
    }
    let watched = RunningLoop::spawn(program).await;
    let end = end.min(Instant::now() + Duration::from_secs(15 * 60));
    let mut first = None;
    let mut rounds = 0;
    let mut most = Usage::default();
    while Instant::now() < end {
        rounds += 1;
        world.live().await;
        match world.random.below(4) {
            0 => world.kill_at_random(Duration::from_millis(300)).await,
            1 => drop(world.sync().await),
            _ => tokio::time::sleep(Duration::from_millis(500)).await,
        }
        let usage = Usage::of(watched.id());
        if rounds == 30 {
            first = Some(usage);
        }
        most = most.max(usage);
    }
    if let Some(first) = first {
        println!("{rounds} rounds; after 30: {first:?}; most: {most:?}");
        assert!(
            most.memory_kb < first.memory_kb + MOST_GROWTH_KB,
            "{}",
            world.about()
        );
        assert!(most.files < first.files + 60, "{}: {most:?}", world.about());
        assert_eq!(
            most.left_in_folder,
            first.left_in_folder,
            "{}",
            world.about()
        );
    }
    drop(watched);
    let figures = world.finish().await;
    println!("{figures:?}");
}

/// What a process takes of the machine. Its connections are among its files.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    memory_kb: u64,
    files: usize,
    left_in_folder: usize,
}

impl Usage {
    fn of(id: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let memory = status.lines().find(|line| line.starts_with("VmRSS:"));
        let memory = memory.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        let files = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap();
        let folder = std::fs::read_dir(format!("/proc/{id}/cwd")).unwrap();
        Self {
            memory_kb: memory.unwrap(),
            files: files.count(),
            left_in_folder: folder.count(),
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            memory_kb: self.memory_kb.max(other.memory_kb),
            files: self.files.max(other.files),
            left_in_folder: self.left_in_folder.max(other.left_in_folder),
        }
    }
}
