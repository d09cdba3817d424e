//! `k6sync completions` and `k6sync man`: what shells and `man` know of the command line.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;

use super::output;
use crate::cli::Cli;
use crate::cli::reading::{Completions, Man};
use crate::discreet;

pub(super) fn completions(args: &Completions) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "k6sync", &mut text);
    output::write(&String::from_utf8_lossy(&text))
}

pub(super) fn man(args: &Man) -> anyhow::Result<()> {
    match &args.folder {
        Some(folder) => pages(folder),
        None => {
            let mut page = Vec::new();
            let man = clap_mangen::Man::new(Cli::command());
            man.render(&mut page).context("cannot write the man page")?;
            output::write(&String::from_utf8_lossy(&page))
        }
    }
}

/// A page for k6sync and one for each subcommand.
fn pages(folder: &Path) -> anyhow::Result<()> {
    let shown = discreet::path(folder);
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {shown}"))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("cannot write the man pages into {shown}"))
}
