//! The house keeps its floors: which room of `src/` may use which, no circles, and what is pure stays pure.
//!
//! It reads the source and takes every `use`, and every path in code that begins with `crate`, `super`, `self` or a child
//! module, as an arrow from the file that has it to the file that defines what it names. A re-export is looked through:
//! `super::ClusterError` is an arrow to `cluster/error.rs`, where it is defined, and not to `cluster/mod.rs`, which only
//! passes it on. A `mod x;` or `pub use self::x::Y` alone is no arrow. Test code (`#[cfg(test)]`, `tests.rs`) may use
//! anything. What it can't see are calls of methods: `impl Cluster` in one file, called in another.
//!
//! No dependency but std, so that `rustc --edition 2024 --test tests/architecture/main.rs` is enough to run it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that fails should say where"
)]

mod examples;
mod graph;
mod house;
mod modules;
mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use self::house::House;

// === The rules ===

/// The rooms from the top floor to the ground. A room may use those on lower floors only: none above it, none beside it.
/// A room is a folder of `src/` with all that is in it, or a file there.
const FLOORS: &[&[&str]] = &[
    &["main", "bin"],
    &["commands"],
    // Knows the settings of each room, and none of them knows it.
    &["config"],
    &["cli"],
    // Shows what the loop says of itself.
    &["server"],
    &["report"],
    // Its findings are drawn by `report`.
    &["doctor"],
    &["record", "verify"],
    &["sync_loop"],
    &["telemetry"],
    &["cycle"],
    // They never know each other: the cycle alone brings them together.
    &["cluster", "store"],
    &["k6"],
    // Shows no value of a file.
    &["yaml"],
    // What needs nothing of k6sync.
    &[
        "discreet",
        "files",
        "harmless",
        "isolate",
        "progress",
        "remote",
        "retry",
        "signals",
        "supervisor",
    ],
];

/// Files that neither wait nor ask a clock nor reach outside: values in, values out. They may use one another, what is
/// [`PURE_ENOUGH`], and [`ITEMS_FOR_THE_PURE`].
const PURE: &[&str] = &[
    "src/cycle/adopt.rs",
    "src/cycle/clock.rs",
    "src/cycle/compare.rs",
    "src/cycle/cursor.rs",
    "src/cycle/plan",
    "src/cycle/timestamp.rs",
    "src/cycle/verdict.rs",
    "src/k6/",
    "src/doctor/finding.rs",
    "src/record/compare/",
    "src/record/log/line.rs",
    "src/record/log/places.rs",
    "src/record/log/selection.rs",
    "src/record/outcome.rs",
    "src/record/results.rs",
    "src/record/run.rs",
    "src/report/",
];

/// Beginnings of paths whose items the pure files may use, whatever they are.
const PURE_ENOUGH: &[&str] = &[
    "src/harmless.rs",
    "src/isolate.rs",
    "src/store/ids",
    "src/store/text",
];

/// Objects of Kubernetes and rows of the database, as the rooms `cluster` and `store` understand them. Not `Cluster` and `Store`:
/// with those one could ask for more.
const ITEMS_FOR_THE_PURE: &[&str] = &[
    "Append",
    "Chunk",
    "Container",
    "ContainerKind",
    "ContainerState",
    "Gap",
    "GapCause",
    "Interval",
    "Job",
    "LineTimes",
    "Malformed",
    "NewStep",
    "Pod",
    "Reads",
    "Role",
    "RunContainer",
    "RunGap",
    "RunRecord",
    "RunRow",
    "RunStep",
    "Stage",
    "Status",
    "Step",
    "StepRecord",
    "StepSummary",
    "StepUpdate",
    "Stream",
    "StreamFacts",
    "StreamKey",
    "StreamPosition",
    "StreamState",
    "SummarySource",
    "Terminated",
    "TestRun",
];

/// Words that no pure file has, besides paths that end in `::now`: it has nothing to wait for, to read or to ask. It may warn
/// in the log.
const IMPURE: &[&str] = &[
    "async",
    "await",
    "tokio",
    "SystemTime",
    "Instant",
    "env",
    "fs",
    "net",
];

/// `k6` stands on nothing at all but this.
const GROUND_OF_K6: &[&str] = &["src/k6/", "src/harmless.rs"];

// === The house that there is ===

fn source_files() -> BTreeMap<String, String> {
    let root = PathBuf::from(option_env!("CARGO_MANIFEST_DIR").unwrap_or("."));
    let mut found = BTreeMap::new();
    let mut folders = vec!["src".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{folder}/{}", entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.ends_with(".rs") {
                found.insert(path.clone(), fs::read_to_string(root.join(path)).unwrap());
            }
        }
    }
    found
}

#[test]
fn the_house_keeps_its_floors() {
    let house = House::of(&source_files());
    assert!(house.files.len() > 80, "{} files", house.files.len());
    assert!(house.arrows.len() > 200, "{} arrows", house.arrows.len());
    let mut problems = house.problems();
    for pure in PURE {
        if !house.files.keys().any(|path| path.starts_with(pure)) {
            problems.push(format!(
                "{pure} is not there: PURE must name files that are"
            ));
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}
