//! `k6sync doctor`: is everything as it should be, and what is to be done?

use super::{exit, look, output, setup};
use crate::cli::reading::Doctor;
use crate::cli::{HoldMode, OutputFormat};
use crate::config::Config;
use crate::doctor::{self, Finding, Health, Patient};
use crate::report;

pub(super) async fn run(args: &Doctor) -> anyhow::Result<u8> {
    let findings = match setup::load(&args.common) {
        Ok(config) => {
            let mut findings = vec![Finding::ok("configuration", "it can be read")];
            findings.extend(doctor::examine(&patient(config)).await);
            findings
        }
        Err(error) => vec![Finding::error(
            "configuration",
            error.to_string(),
            "mend it; nothing else was looked at",
        )],
    };
    match args.output {
        OutputFormat::Text => {
            output::write_beside(&report::doctor::text(&findings, &look::view(args.color)))?;
        }
        OutputFormat::Json => output::print_json(&findings)?,
    }
    let is_ill = (findings.iter()).any(|finding| finding.status == Health::Error);
    Ok(if is_ill { exit::FAILED } else { exit::DONE })
}

fn patient(config: Config) -> Patient {
    Patient {
        database_url: config.database_url,
        context: config.context,
        request_timeout: config.request_timeout,
        namespaces: config.namespaces,
        control_namespace: config.control_namespace,
        control_config_map: config.control_config_map,
        control_defaults: config.control_defaults,
        lease: config.lease,
        holds: config.capture_hold != Some(HoldMode::None),
        hold_timeout: config.capture_hold_timeout,
    }
}
