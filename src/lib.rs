//! k6sync keeps a load-testing dashboard's database true: it copies the status of every active test step and the logs of
//! all its containers from Kubernetes into SQL.
//!
//! A binary; the library exists for it, for the tests and for the benchmarks. See the README.

pub mod cli;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod cycle;
pub mod discreet;
mod doctor;
pub mod files;
pub mod harmless;
pub mod isolate;
pub mod k6;
pub mod progress;
mod record;
pub mod remote;
mod report;
pub mod retry;
pub mod server;
mod signals;
pub mod store;
mod supervisor;
pub mod sync_loop;
pub mod telemetry;
pub mod verify;
mod yaml;
