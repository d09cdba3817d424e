//! A cluster whose story follows from a seed, and what really happened in it.

use std::time::Duration;

use k6sync_standin::Log;
use serde_json::{Value, json};

use super::figures::Figures;
use super::oracle;
use crate::support::cluster::State;
use crate::support::program::Run;
use crate::support::{Cluster, Database, Program};

/// 2026-11-23T04:39:50Z
const BASE: i64 = 1_795_408_790_000_000_000;
const SECOND: i64 = 1_000_000_000;
/// Short, so that what stalls is given up soon.
const CONFIG: &str = "{kubernetes: {requestTimeout: 2s, cycleDeadline: 30s}}";

/// What may happen in a world, beside containers that write, TestRuns that end and others that begin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Kubelets rotate logs.
    pub rotations: bool,
    /// Containers are restarted.
    pub restarts: bool,
    /// Pods, and TestRuns with their pods, are deleted at any moment.
    pub deletions: bool,
    /// The node's clock steps back and forth.
    pub clock_steps: bool,
    /// TestRuns are held, and deleted as soon as they have ended (`cleanup: post`).
    pub hold: bool,
}

/// Something that may have cost lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Of which life of the container.
    pub life: usize,
    /// As in `log_gaps.cause`.
    pub cause: &'static str,
}

/// A container, and all that befell it.
pub struct Witness {
    pub pod: String,
    pub uid: String,
    pub log: Log,
    pub events: Vec<Event>,
    restarts: usize,
    /// Seconds since 1970, by the node's clock.
    restarted_at: i64,
    restartable: bool,
    /// Its pod is no longer there.
    pub gone: bool,
    /// Lines of its present life are recorded.
    recorded: bool,
    serial: u32,
}

struct TestRun {
    name: String,
    witnesses: Vec<usize>,
}

pub struct World {
    pub seed: u64,
    pub scenario: &'static str,
    pub cluster: Cluster,
    pub database: Database,
    pub random: Random,
    pub rules: Rules,
    pub kills: u64,
    /// What else went wrong on purpose, beside what the stand-in counts.
    pub faults: u64,
    pub witnesses: Vec<Witness>,
    running: Vec<TestRun>,
    /// Deleted, and perhaps held: (name, witnesses).
    deleted: Vec<TestRun>,
    clock: i64,
    pods: u32,
}

impl World {
    pub async fn new(
        scenario: &'static str,
        seed: u64,
        cluster: Cluster,
        database: Database,
        rules: Rules,
    ) -> Self {
        let mut world = Self {
            seed,
            scenario,
            cluster,
            database,
            random: Random::new(seed),
            rules,
            kills: 0,
            faults: 0,
            witnesses: Vec::new(),
            running: Vec::new(),
            deleted: Vec::new(),
            clock: BASE,
            pods: 0,
        };
        world.begin_test_run().await;
        world
    }

    /// For assertions.
    pub fn about(&self) -> String {
        format!(
            "scenario {}; again: K6SYNC_TEST_SEED={} scripts/test.sh --test it record::{}",
            self.scenario, self.seed, self.scenario
        )
    }

    /// Puts the node's clock so far ahead.
    pub fn shift_clock(&mut self, seconds: i64) {
        self.clock += seconds * SECOND;
    }

    /// `sync-once` of this world.
    pub fn program(&self) -> Program {
        let args: &[&str] = if self.rules.hold { &["--hold"] } else { &[] };
        Program::sync_once(&self.cluster, &self.database, args).config(CONFIG)
    }

    /// Runs it; under faults it may fail, but neither break a rule of the program nor hang.
    pub async fn sync_once(&self) -> Run {
        let run = self.program().run().await;
        self.check_exit(&run);
        run
    }

    /// The same, and notes what is recorded then.
    pub async fn sync(&mut self) -> Run {
        let run = self.sync_once().await;
        if run.code == 0 {
            for witness in &mut self.witnesses {
                let lives = witness.log.lives_written();
                witness.recorded = lives.last().is_some_and(|life| !life.is_empty());
            }
        }
        run
    }

    pub fn check_exit(&self, run: &Run) {
        assert!(
            matches!(run.code, 0 | 1) && !run.stderr.contains("panicked"),
            "{}: {run:?}",
            self.about()
        );
    }

    /// Something happens.
    pub async fn live(&mut self) {
        for number in 0..self.running.len() {
            for witness in self.running[number].witnesses.clone() {
                if !self.witnesses[witness].gone {
                    self.write(witness);
                }
            }
        }
        if self.rules.clock_steps && self.random.one_in(3) {
            // Whole seconds, so that times come again exactly.
            self.clock += (self.random.below(40) as i64 - 20) * SECOND;
            for witness in &mut self.witnesses {
                let life = witness.restarts;
                witness.events.push(Event {
                    life,
                    cause: "clock",
                });
            }
        }
        for witness in 0..self.witnesses.len() {
            if !self.witnesses[witness].gone {
                self.befall(witness).await;
            }
        }
        if self.running.len() < 3 && self.random.one_in(3) {
            self.begin_test_run().await;
        }
        if self.running.len() > 1 && self.random.one_in(4) {
            let number = self.random.below(self.running.len() as u64) as usize;
            self.end_test_run(number).await;
        }
        self.collect_garbage().await;
    }

    async fn befall(&mut self, witness: usize) {
        let is_running = self
            .running
            .iter()
            .any(|run| run.witnesses.contains(&witness));
        if !is_running {
            return;
        }
        // Nobody can tell that a log was rotated before its first line was read, nor that a line is another one when it
        // bears the very nanosecond of the last one before the rotation: docs/guarantees.md says so.
        if self.rules.rotations && self.witnesses[witness].recorded && self.random.one_in(5) {
            self.clock += 1;
            let it = &mut self.witnesses[witness];
            it.log.rotate();
            it.events.push(Event {
                life: it.restarts,
                cause: "rotated",
            });
            if self.random.one_in(2) {
                self.write(witness);
            }
        }
        if self.rules.restarts && self.witnesses[witness].restartable && self.random.one_in(5) {
            self.restart(witness).await;
        }
        if self.rules.deletions && self.random.one_in(15) {
            let pod = self.witnesses[witness].pod.clone();
            self.cluster.delete_pod(&pod).await;
            self.witnesses[witness].forget();
        }
    }

    async fn restart(&mut self, witness: usize) {
        let it = &mut self.witnesses[witness];
        // The life before is no longer `previous`.
        if let Some(life) = it.restarts.checked_sub(1) {
            it.events.push(Event {
                life,
                cause: "restarted",
            });
        }
        it.log.restart();
        it.restarts += 1;
        it.restarted_at = self.clock / SECOND;
        it.recorded = false;
        let status = it.status(State::Running);
        let pod = it.pod.clone();
        self.cluster.pod_status(&pod, status).await;
        self.write(witness);
    }

    async fn begin_test_run(&mut self) {
        // Few names, so that they come again.
        let name = format!("run-{}", self.random.below(4));
        let is_taken = |run: &TestRun| run.name == name;
        if self.running.iter().any(is_taken)
            || self.deleted.iter().any(is_taken)
            || self.cluster.find_test_run(&name).await.is_some()
        {
            return;
        }
        self.cluster.test_run(&name, 2, "started").await;
        let mut witnesses = Vec::new();
        for job in ["1", "2"] {
            self.pods += 1;
            let pod = format!("{name}-{job}-{:05}", self.pods);
            let restartable = self.rules.restarts && job == "2";
            self.cluster.runner(&pod, &name, job, restartable).await;
            witnesses.push(self.witnesses.len());
            self.witnesses.push(Witness {
                uid: self.cluster.pod_uid(&pod).await,
                log: self.cluster.log(&pod, "k6"),
                pod,
                events: Vec::new(),
                restarts: 0,
                restarted_at: 0,
                restartable,
                gone: false,
                recorded: false,
                serial: 0,
            });
        }
        self.running.push(TestRun { name, witnesses });
    }

    /// Its containers end; then it stays, or is deleted with or without its pods.
    async fn end_test_run(&mut self, number: usize) {
        let run = self.running.remove(number);
        for &witness in &run.witnesses {
            if self.witnesses[witness].gone {
                continue;
            }
            self.write(witness);
            if self.random.one_in(4) {
                let text = format!("{} unterminated", self.witnesses[witness].serial);
                let at = self.clock;
                self.witnesses[witness]
                    .log
                    .write_unterminated(at, text.as_bytes());
            }
            let it = &self.witnesses[witness];
            let mut status = it.status(State::Terminated(0, "Completed"));
            status["phase"] = "Succeeded".into();
            self.cluster.pod_status(&it.pod, status).await;
        }
        self.cluster.stage(&run.name, "finished").await;
        if self.rules.hold || (self.rules.deletions && self.random.one_in(2)) {
            self.cluster.delete_test_run(&run.name).await;
            self.deleted.push(run);
        }
    }

    /// What the garbage collector does once a TestRun is gone.
    pub async fn collect_garbage(&mut self) {
        let mut held = Vec::new();
        for run in std::mem::take(&mut self.deleted) {
            if self.cluster.find_test_run(&run.name).await.is_some() {
                held.push(run);
                continue;
            }
            let pods: Vec<String> = run
                .witnesses
                .iter()
                .map(|witness| self.witnesses[*witness].pod.clone())
                .collect();
            self.cluster.collect_garbage(&pods).await;
            for witness in run.witnesses {
                self.witnesses[witness].forget();
            }
        }
        self.deleted = held;
    }

    fn write(&mut self, witness: usize) {
        let lines = match self.random.below(12) {
            0 => 0,
            // More than a chunk.
            1 => 2_500,
            _ => self.random.below(25),
        };
        for _ in 0..lines {
            self.clock += match self.random.below(10) {
                0..=2 => 0,
                3..=7 => self.random.below(1_000_000) as i64,
                _ => self.random.below(400_000_000) as i64,
            };
            let it = &mut self.witnesses[witness];
            it.serial += 1;
            let number = it.serial;
            let mut text = format!("{number} of {} ", it.pod).into_bytes();
            match self.random.below(60) {
                0 => text.extend_from_slice(b"nul \0 and \xff\xfe\xc3"),
                1 => text.extend(std::iter::repeat_n(b'x', 40_000)),
                2 => text.extend_from_slice("caf\u{e9} \u{2713}".as_bytes()),
                3 => text.push(b'\r'),
                4 if self.random.one_in(20) => text.extend(std::iter::repeat_n(b'y', 1_000_000)),
                _ => text.extend(std::iter::repeat_n(b'.', self.random.below(150) as usize)),
            }
            it.log.write_line(self.clock, &text);
        }
    }

    /// Everything ends, nothing goes wrong any more, and two syncs later the record is compared.
    pub async fn finish(mut self) -> Figures {
        self.faults += self.cluster.standin_cluster().faults_injected();
        self.cluster.standin_cluster().clear_faults();
        while !self.running.is_empty() {
            self.end_test_run(0).await;
        }
        for _ in 0..3 {
            let run = self.sync().await;
            assert_eq!(run.code, 0, "{}: {run:?}", self.about());
            self.collect_garbage().await;
        }
        let report: Value = serde_json::from_str(&self.sync().await.stdout).unwrap();
        assert_eq!(
            (&report["errors"], &report["total"]),
            (&0.into(), &0.into()),
            "{}: {report}",
            self.about()
        );
        assert!(self.deleted.is_empty(), "left behind: {}", self.about());
        let mut figures = oracle::compare(&self).await;
        figures.faults = self.faults;
        figures.kills = self.kills;
        figures.tell(&self);
        figures
    }

    /// The delay after which an undisturbed sync has ended, now.
    pub async fn duration_of_a_sync(&self) -> Duration {
        let begun = std::time::Instant::now();
        self.sync_once().await;
        begun.elapsed()
    }

    /// Starts a sync and kills it after a part of the time that one takes.
    pub async fn kill_at_random(&mut self, duration: Duration) {
        let (mut child, _folder) = self.program().spawn();
        let part = self.random.below(1_200) as f64 / 1_000.0;
        tokio::time::sleep(duration.mul_f64(part)).await;
        child.kill().await.unwrap();
        self.kills += 1;
    }
}

impl Witness {
    fn forget(&mut self) {
        if !self.gone {
            self.gone = true;
            // A life before the last may still be open: a sync that comes later is told of the deletion alone.
            self.events.extend((0..=self.restarts).map(|life| Event {
                life,
                cause: "deleted",
            }));
        }
    }

    fn status(&self, state: State) -> Value {
        let mut last = json!({});
        if self.restarts > 0 {
            last = State::Terminated(1, "Error").json();
            let ended = jiff::Timestamp::from_second(self.restarted_at).unwrap();
            last["terminated"]["finishedAt"] = ended.to_string().into();
        }
        json!({"containerStatuses": [{
            "name": "k6", "image": "k6", "imageID": "", "ready": false, "restartCount": self.restarts,
            "state": state.json(), "lastState": last,
        }]})
    }
}

/// Numbers that follow from a seed (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to `limit` - 1.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }
}
