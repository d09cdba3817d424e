//! How many bytes of a log go through the search for its summary a second, on one core. `cargo bench --bench summary`

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use k6sync::k6::summary::summarize;

const LOG_BYTES: usize = 4 * 1024 * 1024;

const LINES: [(&str, &str); 6] = [
    (
        "logfmt",
        "time=\"2026-11-25T07:36:12Z\" level=info msg=\"iteration vu=2 iter=0 status=200, in 12.5 ms\" source=console\n",
    ),
    (
        "json_log",
        "{\"level\":\"info\",\"msg\":\"iteration vu=2 iter=0 status=200, in 12.5 ms\",\"source\":\"console\",\"time\":\"2026-11-25T07:36:12Z\"}\n",
    ),
    (
        "quoted",
        "time=\"2026-11-25T07:36:12Z\" level=info msg=\"  █ TOTAL RESULTS \\n\\n    http_reqs...: 205 67.6/s {\\\"metrics\\\":{\\\"a\\\"\" source=console\n",
    ),
    // The worst: lines that look like parts.
    ("rows", "     my_metric...: 205    67.60824/s\n"),
    ("members", "        \"http_req_duration\": {\n"),
    ("braces", "{\n"),
];

const TEXT: &str =
    include_str!("../../tests/data/recorded/k6/summaries/scenarios-groups.full/log.txt");
const JSON: &str =
    include_str!("../../tests/data/recorded/k6/summaries/scenarios-groups.export-stderr/log.txt");

fn main() {
    divan::Divan::from_args().sample_count(20).main();
}

fn log(line: &str, end: &str) -> Vec<u8> {
    let mut log = line.repeat(LOG_BYTES / line.len());
    log.push_str(end);
    log.into_bytes()
}

fn measure(bencher: Bencher<'_, '_>, log: &[u8]) {
    bencher
        .counter(BytesCount::of_slice(log))
        .bench_local(|| summarize(black_box(log), true));
}

/// Lines of each sort, and the text at their end.
#[divan::bench(args = LINES.map(|(name, _)| name))]
fn before_text(bencher: Bencher<'_, '_>, name: &str) {
    let line = LINES.iter().find(|(known, _)| *known == name);
    measure(bencher, &log(line.map_or("", |(_, line)| line), TEXT));
}

/// Lines of each sort, and text and JSON at their end.
#[divan::bench(args = LINES.map(|(name, _)| name))]
fn before_json(bencher: Bencher<'_, '_>, name: &str) {
    let line = LINES.iter().find(|(known, _)| *known == name);
    measure(bencher, &log(line.map_or("", |(_, line)| line), JSON));
}

/// Lines of each sort, and no summary.
#[divan::bench(args = LINES.map(|(name, _)| name))]
fn before_nothing(bencher: Bencher<'_, '_>, name: &str) {
    let line = LINES.iter().find(|(known, _)| *known == name);
    measure(bencher, &log(line.map_or("", |(_, line)| line), ""));
}

/// Nothing but whole summaries, one after the other.
#[divan::bench(args = ["text", "json"])]
fn summaries(bencher: Bencher<'_, '_>, name: &str) {
    let summary = if name == "text" { TEXT } else { JSON };
    measure(bencher, &log(&format!("{summary}\n"), ""));
}
