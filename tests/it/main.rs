//! The integration tests: the real binary against a cluster and a database.
//!
//! The cluster is the stand-in, or, when `KUBEBUILDER_ASSETS` names a folder with `etcd` and `kube-apiserver`, a real API
//! server whose node's kubelet is the stand-in. The databases are SQLite and the PostgreSQL at `K6SYNC_TEST_POSTGRES_URL`;
//! `scripts/test.sh` sees to both. Tests that need what a real API server can't be made to do (refuse, fail, forget its
//! CRD) use the stand-in alone and say so by their `StandinCluster`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that fails should say where"
)]
#![allow(unreachable_pub, reason = "nothing is reachable from outside a test")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures are for whoever runs the tests"
)]

mod support;

mod bad_input;
mod browser;
mod clusters;
mod control;
mod database;
mod dead_connections;
mod doctor;
mod faults;
mod foreign;
mod fuzz;
mod harmless;
mod hold;
mod http_door;
mod job_api;
mod lease;
mod logs;
mod manifests;
mod manipulation;
mod plugin;
mod progress;
mod prune;
mod quiet;
mod rbac;
mod read_api;
mod readers;
mod reading;
mod reading_compare;
mod reading_logs;
mod reading_report;
mod record;
mod recording;
mod results;
mod short_tests;
mod signals;
mod steps;
mod supply_chain;
mod sync_loop;
mod together;
mod upgrade;
mod verify;
