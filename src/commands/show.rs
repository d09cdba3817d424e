//! `k6sync show`: one test run.

use super::reading::Asked;
use super::{exit, look, output};
use crate::cli::reading::{Format, Show};
use crate::record::Run;
use crate::report;

pub(super) async fn run(args: &Show) -> anyhow::Result<u8> {
    let asked = Asked::open(&args.common).await?;
    let run = asked.run(&args.run).await;
    asked.record.close().await;
    let run = run?;
    let text = answer(args, &run)?;
    match args.exit_status {
        true => output::write_beside(&text)?,
        false => output::write(&text)?,
    }
    Ok(match args.exit_status {
        // What is not over has not passed.
        true => run.outcome.exit_code.unwrap_or(exit::FAILED),
        false => exit::DONE,
    })
}

fn answer(args: &Show, run: &Run) -> anyhow::Result<String> {
    let view = look::view(args.look.color);
    Ok(match args.look.output {
        Format::Table => report::run::run(run, false, &view),
        Format::Wide => report::run::run(run, true, &view),
        Format::Json => output::json_line(run)?,
        Format::Yaml => output::yaml(run)?,
        Format::Csv => look::harmless(
            report::runs::as_csv(std::slice::from_ref(&run.row)),
            args.look.color,
        ),
        Format::Name => format!("{}\n", run.row.id),
    })
}
