//! The rules see what breaks them, in small houses.

use std::collections::BTreeMap;

use super::house::House;

/// A small house in which all is well, with these files in place of its own.
fn house_with(changes: &[(&str, &str)]) -> House {
    let mut files: BTreeMap<String, String> = [
        ("src/lib.rs", "pub mod cluster; pub mod commands; pub mod cycle; pub mod store;"),
        ("src/commands/mod.rs", "use crate::{cluster::Cluster, cycle::{self, run}, store::Store};"),
        ("src/cycle/mod.rs", "mod plan; use self::plan::plan; use crate::cluster::Cluster; pub fn run() { plan() }"),
        ("src/cycle/plan.rs", "use crate::cluster::TestRun; use crate::store::model::Step; pub fn plan() {}"),
        ("src/cluster/mod.rs", "mod connection; mod pods; pub use self::connection::Cluster; pub use self::pods::{Pod, TestRun};"),
        ("src/cluster/connection.rs", "pub struct Cluster;"),
        ("src/cluster/pods.rs", "use super::Cluster; pub struct Pod; pub struct TestRun;"),
        ("src/store/mod.rs", "pub mod model; pub struct Store;"),
        ("src/store/model.rs", "pub struct Step;"),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into();
    for (path, text) in changes {
        files.insert((*path).to_owned(), (*text).to_owned());
    }
    House::of(&files)
}

#[track_caller]
fn assert_problem(changes: &[(&str, &str)], expected: &str) {
    let problems = house_with(changes).problems();
    assert!(
        problems.iter().any(|problem| problem.contains(expected)),
        "expected `{expected}` in {problems:#?}"
    );
}

#[track_caller]
fn assert_well(changes: &[(&str, &str)]) {
    let problems = house_with(changes).problems();
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn a_house_in_order_is_well() {
    assert_well(&[]);
    let house = house_with(&[]);
    let arrows: Vec<String> = house.arrows.iter().map(ToString::to_string).collect();
    for expected in [
        "src/cluster/pods.rs → src/cluster/connection.rs (`Cluster`)",
        "src/commands/mod.rs → src/cluster/connection.rs (`Cluster`)",
        "src/commands/mod.rs → src/cycle/mod.rs",
        "src/commands/mod.rs → src/cycle/mod.rs (`run`)",
        "src/commands/mod.rs → src/store/mod.rs (`Store`)",
        "src/cycle/mod.rs → src/cycle/plan.rs (`plan`)",
        "src/cycle/plan.rs → src/store/model.rs (`Step`)",
    ] {
        assert!(
            arrows.iter().any(|arrow| arrow == expected),
            "{expected} in {arrows:#?}"
        );
    }
}

#[test]
fn an_arrow_up_is_seen_however_it_is_written() {
    for text in [
        "use crate::commands::start;",
        "use crate::{harmless, commands::{start as other}};",
        "fn f() { crate::commands::start() }",
        "fn f() -> impl Fn() + use<'_> { super::commands::start }",
        "mod inner { fn f() { super::super::commands::start() } }",
        "mod inner {} fn f() { super::commands::start() }",
        "macro_rules! m { () => { $crate::commands::start() } }",
        "#[serde(with = \"crate::commands\")] struct S { time: i64 }",
        "pub(crate) use crate::commands::start;",
        "const QUOTE: char = '\"'; use crate::commands::start; const OTHER: char = '\\'';",
        "const RAW: &str = r#\"\"\"#; use crate::commands::start;",
        "#[cfg(test)] mod tests; use crate::commands::start;",
    ] {
        assert_problem(
            &[("src/store/mod.rs", text)],
            "an arrow up: src/store/mod.rs → src/commands/mod.rs",
        );
    }
    assert_problem(
        &[
            ("src/cycle/report.rs", "use crate::server::x;"),
            ("src/server/mod.rs", ""),
        ],
        "an arrow up",
    );
    assert_problem(&[("src/attic.rs", "")], "`attic` has no floor");
}

#[test]
fn what_is_no_code_is_no_arrow() {
    for text in [
        "//! See [`crate::commands::run`].",
        "/* use crate::commands::run; /* nested */ use crate::commands::run; */",
        "const TEXT: &str = \"use crate::commands::run; \\\" \";",
        "const RAW: &str = r#\"use crate::commands::run; \"#;",
        "#[cfg(test)] mod tests { use crate::commands::run; fn f() { {} } }",
        "#[cfg(test)] use crate::commands::run;",
        "pub(in crate::store) struct S<'a>(&'a str);",
    ] {
        assert_well(&[("src/store/mod.rs", text)]);
    }
    assert_well(&[("src/store/tests.rs", "use crate::commands::run;")]);
}

#[test]
fn the_cluster_and_the_store_never_know_each_other() {
    let cluster = ("src/cluster/pods.rs", "use crate::store::model::Step;");
    assert_problem(&[cluster], "`cluster` must not know `store`");
    let store = ("src/store/mod.rs", "use crate::cluster::Pod;");
    assert_problem(&[store], "`store` must not know `cluster`");
}

#[test]
fn a_circle_of_rooms_is_seen() {
    assert_problem(
        &[
            ("src/cycle/mod.rs", "use crate::cluster::Cluster;"),
            ("src/cluster/connection.rs", "use crate::cycle::run;"),
        ],
        "a circle of rooms: cluster, cycle",
    );
    assert_problem(
        &[
            ("src/cluster/pods.rs", "use crate::retry::retry;"),
            ("src/retry.rs", "use crate::yaml::x;"),
            ("src/yaml.rs", "use crate::cluster::Pod;"),
        ],
        "a circle of rooms: cluster, retry, yaml",
    );
}

#[test]
fn a_circle_of_files_is_seen() {
    let pods = (
        "src/cluster/pods.rs",
        "use super::logs::Log; pub struct Pod; pub struct TestRun;",
    );
    let logs = ("src/cluster/logs.rs", "use super::Pod; pub struct Log;");
    assert_problem(
        &[pods, logs],
        "a circle of files:\n    src/cluster/logs.rs → src/cluster/pods.rs (`Pod`)",
    );
    // Of three.
    assert_problem(
        &[
            ("src/cluster/pods.rs", "use super::logs::Log;"),
            ("src/cluster/logs.rs", "use super::watch::Watch;"),
            ("src/cluster/watch.rs", "use super::pods::Pod;"),
        ],
        "a circle of files",
    );
    // A child that uses what its parent defines, while the parent uses the child.
    assert_problem(
        &[
            (
                "src/cycle/mod.rs",
                "mod capture; pub struct Settings; fn f() { capture::capture() }",
            ),
            (
                "src/cycle/capture.rs",
                "use super::Settings; pub fn capture() {}",
            ),
        ],
        "a circle of files:\n    src/cycle/capture.rs → src/cycle/mod.rs (`Settings`)",
    );
    // The parent passes on what it uses too.
    assert_problem(
        &[
            (
                "src/cycle/mod.rs",
                "pub use self::capture::Captured; pub struct Settings; fn f() -> Captured {}",
            ),
            (
                "src/cycle/capture.rs",
                "use super::Settings; pub struct Captured;",
            ),
        ],
        "a circle of files",
    );
    assert_well(&[
        (
            "src/cycle/mod.rs",
            "mod capture; pub use self::capture::Captured; pub struct Settings;",
        ),
        (
            "src/cycle/capture.rs",
            "use super::Settings; pub struct Captured;",
        ),
    ]);
}

#[test]
fn what_is_pure_stands_on_nothing_that_is_not() {
    for (path, text, expected) in [
        (
            "src/cycle/plan.rs",
            "use crate::cluster::Cluster;",
            "stands on what is not",
        ),
        (
            "src/cycle/plan.rs",
            "use crate::store::Store;",
            "stands on what is not",
        ),
        (
            "src/cycle/plan.rs",
            "use super::run;",
            "stands on what is not",
        ),
        ("src/cycle/plan.rs", "pub async fn plan() {}", "has async"),
        (
            "src/cycle/plan.rs",
            "fn plan() { Timestamp::now(); sight.now() }",
            "has now",
        ),
        (
            "src/k6/log.rs",
            "use crate::store::model::Step;",
            "stands on what is not",
        ),
        (
            "src/k6/log.rs",
            "use crate::cluster::TestRun;",
            "stands on what is not",
        ),
        ("src/k6/log.rs", "use std::fs;", "has fs"),
    ] {
        assert_problem(&[(path, text)], expected);
    }
    assert_well(&[
        ("src/k6/mod.rs", "pub mod log; pub mod exit_codes;"),
        (
            "src/k6/log.rs",
            "use crate::harmless; use super::exit_codes::NAMES;",
        ),
        ("src/k6/exit_codes.rs", ""),
        ("src/harmless.rs", ""),
        ("src/cycle/plan.rs", "use crate::k6::log::last_error;"),
    ]);
}
