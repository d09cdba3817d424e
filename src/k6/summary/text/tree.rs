//! The layout before k6 0.58, and of jslib's `textSummary`.
//!
//! ```text
//!      ✓ is 200
//!
//!      █ cart
//!
//!        ✗ paid
//!         ↳  66% — ✓ 78 / ✗ 40
//!
//!      checks.........: 80.00% ✓ 160 ✗ 40
//!    ✗ http_reqs......: 205    67.6/s
//!        { name:x }...: 12     4.1/s
//! ```
//!
//! A metric's mark says whether its thresholds held, not which it has. Nothing ends this layout but an empty line, which a script
//! may leave out: then what k6 always prints must be there.

use memchr::memmem;

use super::super::document::{Check, Mark, Summary};
use super::super::printed::Times;
use super::super::reading::{Problem, Reading, malformed};
use super::line::{self, DOTS, has_dots, is_blank, is_foreign};
use super::lines::{Lines, line_begin};
use super::metrics::{self, Raw};

/// k6's own metrics; without any of them it is no summary.
const BUILTIN: [&str; 6] = [
    "data_received",
    "data_sent",
    "iteration_duration",
    "iterations",
    "vus",
    "vus_max",
];

/// Of a longer test k6 samples the number of VUs.
const SAMPLED_SECONDS: f64 = 2.0;

/// This many log lines in a row are not among the checks but before them.
const LOG_LINES: usize = 32;

/// More lines than so are no summary's.
const ROWS: usize = 20_000;

/// How many dots the longest name has.
const LEAST_DOTS: usize = 3;

/// The last summary of this layout that begins at `from` or later.
pub(super) fn read(log: &[u8], from: usize, whole: bool) -> Reading {
    let Some((begin, prefix)) = last_row(log, from) else {
        return Reading::Absent;
    };
    let cut_off = !whole && from == 0;
    let block = match block(log, from, begin, &prefix) {
        Ok(block) => block,
        Err(Problem::Incomplete) if cut_off => return Reading::CutOff,
        Err(problem) => return Reading::Broken(problem),
    };
    let has = |name: &str| block.raws.iter().any(|(raw, _)| raw.name == name);
    if !BUILTIN.into_iter().any(has) {
        return Reading::Absent;
    }
    if block.open && cut_off {
        return Reading::CutOff;
    }
    let checks = match checks(log, from, block.begin, &prefix, !cut_off) {
        Tree::Open => return Reading::CutOff,
        Tree::Odd => Vec::new(),
        Tree::Found(checks) => checks,
    };
    if !block.is_complete() {
        return Reading::Broken(Problem::Incomplete);
    }
    match summary(block, checks) {
        Ok(summary) => Reading::Summary(summary),
        Err(problem) => Reading::Broken(problem),
    }
}

/// The last line that can only be a metric's, and what stands before the two spaces of its indentation: jslib takes any `indent`.
fn last_row(log: &[u8], from: usize) -> Option<(usize, String)> {
    let mut to = log.len();
    while let Some(found) = memmem::rfind(&log[from..to], DOTS) {
        let begin = line_begin(log, from + found).max(from);
        let (_, line) = Lines::new(log, begin, log.len()).next()?;
        to = begin;
        // k6's log lines may quote one.
        if line.starts_with(b"time=") || line.starts_with(b"{") {
            continue;
        }
        let text = line::plain(line);
        let begins = |char: char| char.is_alphanumeric() || "_{✓✗".contains(char);
        let Some(margin) = text.find(begins) else {
            continue;
        };
        // Two spaces a step and a name's mark are k6's: an odd one is the indent's.
        let deep = text[..margin].trim_end_matches(' ').len();
        let prefix = &text[..deep + (margin - deep) % 2];
        // The other layout has even numbers only.
        if from > 0 && prefix.is_empty() {
            continue;
        }
        let Some(rest) = text.strip_prefix(prefix) else {
            continue;
        };
        if parse(rest).is_some_and(|row| row.raw(None).is_ok()) {
            return Some((begin, prefix.to_owned()));
        }
    }
    None
}

struct Row<'a> {
    mark: Option<bool>,
    row: line::Row<'a>,
}

impl Row<'_> {
    fn raw(&self, parent: Option<&Raw>) -> Result<Option<Raw>, Problem> {
        match metrics::raw(self.row, parent) {
            Ok(raw) => Ok(raw),
            // jslib's text ends without a newline: what comes next is glued to it.
            Err(problem) => {
                let values = self.row.values;
                let glued = [
                    values.find("time=\""),
                    values.find("{\""),
                    values.rfind('{'),
                ];
                let Some(cut) = glued.into_iter().flatten().min() else {
                    return Err(problem);
                };
                let values = &values[..cut];
                metrics::raw(line::Row { values, ..self.row }, parent)
            }
        }
    }
}

/// A line without its prefix: `  ✓ checks...: …`.
fn parse(rest: &str) -> Option<Row<'_>> {
    let rest = rest.strip_prefix("  ")?;
    let rest = rest
        .strip_prefix("  ")
        .filter(|sub| is_sub(sub))
        .unwrap_or(rest);
    let (mark, content) = match line::mark(rest) {
        Some((good, content)) => (Some(good), content),
        None => (None, rest.strip_prefix("  ")?),
    };
    let row = line::row(content)?;
    Some(Row { mark, row })
}

fn is_sub(rest: &str) -> bool {
    let content = line::mark(rest).map(|(_, content)| content);
    content
        .or_else(|| rest.strip_prefix("  "))
        .is_some_and(|content| content.starts_with("{ "))
}

/// The lines of the metrics.
struct Block {
    begin: usize,
    raws: Vec<(Raw, Option<bool>)>,
    least_dots: usize,
    /// More lines may be before the log's beginning.
    open: bool,
    /// An empty line follows.
    ended: bool,
    /// A newline follows.
    terminated: bool,
    /// The log ends in a part of what may be one more line.
    halved: bool,
}

fn block(log: &[u8], from: usize, last: usize, prefix: &str) -> Result<Block, Problem> {
    let mut block = Block {
        begin: last,
        raws: Vec::new(),
        least_dots: usize::MAX,
        open: true,
        ended: false,
        terminated: false,
        halved: false,
    };
    let mut log_lines = 0;
    let mut rows = 0;
    for (at, bytes) in Lines::new(log, from, last).rev() {
        let text = line::plain(bytes);
        if is_blank(&text) {
            block.open = at == from;
            break;
        }
        let Some(rest) = text.strip_prefix(prefix).filter(|rest| !is_foreign(rest)) else {
            log_lines += usize::from(!text.starts_with(' '));
            continue;
        };
        match parse(rest) {
            Some(_) if rows == ROWS => return malformed(),
            Some(_) => {
                block.begin = at;
                log_lines = 0;
                rows += 1;
            }
            // A section of the other layout, whose title is not there.
            None if line::is_header(line::indent(rest).1) => return Err(Problem::Incomplete),
            None if has_dots(rest) => return malformed(),
            None => {}
        }
    }
    block.open &= log_lines <= LOG_LINES;
    let tail = line_begin(log, log.len());
    let indents = [b' ', prefix.bytes().next().unwrap_or(b' ')];
    block.halved = last < tail && log.get(tail).is_some_and(|first| indents.contains(first));
    let mut parent: Option<Raw> = None;
    for (at, bytes) in Lines::new(log, block.begin, log.len()) {
        let text = line::plain(bytes);
        if is_blank(&text) {
            block.ended = true;
            break;
        }
        let rest = text.strip_prefix(prefix).filter(|rest| !is_foreign(rest));
        let Some(row) = rest.and_then(parse) else {
            continue;
        };
        block.least_dots = block.least_dots.min(row.row.dots);
        block.terminated = at + bytes.len() < log.len();
        let raw = row.raw(parent.as_ref())?;
        if !row.row.is_sub {
            parent.clone_from(&raw);
        }
        block.raws.extend(raw.map(|raw| (raw, row.mark)));
    }
    Ok(block)
}

impl Block {
    /// Whether nothing is missing: by the empty line after it, or by what k6 always prints at the end of the alphabet.
    fn is_complete(&self) -> bool {
        let find = |name: &str| {
            let found = self.raws.iter().find(|(raw, _)| raw.name == name);
            found.map(|(raw, _)| raw)
        };
        let aligned = self.least_dots == LEAST_DOTS;
        let raws: Vec<&Raw> = self.raws.iter().map(|(raw, _)| raw).collect();
        let last_is_whole = match raws.split_last() {
            Some((last, others)) => self.terminated || last.is_as_wide(others),
            None => false,
        };
        let sampled = || {
            let iterations = find("iterations");
            iterations.is_some_and(|iterations| {
                let short = iterations
                    .seconds()
                    .is_some_and(|seconds| seconds < SAMPLED_SECONDS);
                short || find("vus_max").is_some()
            })
        };
        aligned && (self.ended || !self.halved && last_is_whole && sampled())
    }
}

enum Tree {
    /// The log begins in it.
    Open,
    /// A name in it has several lines.
    Odd,
    Found(Vec<Check>),
}

/// The groups and checks above the metrics.
fn checks(log: &[u8], from: usize, to: usize, prefix: &str, whole: bool) -> Tree {
    let mut begin = to;
    let mut blanks = 0;
    let mut log_lines = 0;
    let mut open = true;
    for (at, bytes) in Lines::new(log, from, to).rev() {
        let text = line::plain(bytes);
        if is_blank(&text) {
            blanks += 1;
            if blanks > 1 {
                open = at == from;
                break;
            }
            continue;
        }
        // Half a line may be anything.
        if at == from && !whole {
            return Tree::Open;
        }
        let Some(rest) = text.strip_prefix(prefix).filter(|rest| !is_foreign(rest)) else {
            log_lines += usize::from(!text.starts_with(' '));
            if log_lines > LOG_LINES {
                open = false;
                break;
            }
            continue;
        };
        let (_, content) = line::indent(rest);
        if !is_tree(content) {
            match blanks {
                0 => return Tree::Odd,
                _ => {
                    open = false;
                    break;
                }
            }
        }
        begin = at;
        blanks = 0;
        log_lines = 0;
    }
    if open && !whole {
        return Tree::Open;
    }
    tree(Lines::new(log, begin, to), prefix)
}

fn is_tree(content: &str) -> bool {
    line::mark(content).is_some()
        || line::title(content).is_some()
        || line::detail(content).is_some()
}

fn tree(lines: Lines<'_>, prefix: &str) -> Tree {
    const ROOT: usize = 4;
    let mut checks: Vec<Check> = Vec::new();
    let mut groups: Vec<String> = Vec::new();
    let mut failed = None;
    for (_, bytes) in lines {
        let text = line::plain(bytes);
        if is_blank(&text) {
            continue;
        }
        let Some(rest) = text.strip_prefix(prefix).filter(|rest| !is_foreign(rest)) else {
            continue;
        };
        let (indent, content) = line::indent(rest);
        let depth = indent.checked_sub(ROOT).map(|deeper| deeper / 2);
        let Some(depth) = depth.filter(|depth| *depth <= groups.len()) else {
            return Tree::Odd;
        };
        if let Some((passes, fails)) = line::detail(content) {
            let Some(check) = failed.take().and_then(|_: ()| checks.last_mut()) else {
                return Tree::Odd;
            };
            (check.passes, check.fails) = (Some(passes), fails);
            continue;
        }
        if failed.is_some() || indent % 2 == 1 {
            return Tree::Odd;
        }
        groups.truncate(depth);
        if let Some((good, name)) = line::mark(content) {
            let path = groups.iter().map(String::as_str).chain([name]);
            checks.push(Check {
                path: Some(path.fold(String::new(), |path, part| path + "::" + part)),
                name: name.to_owned(),
                passes: None,
                fails: 0,
            });
            failed = (!good).then_some(());
        } else if let Some(name) = line::title(content) {
            groups.push(name.to_owned());
        }
    }
    match failed {
        Some(()) => Tree::Odd,
        None => Tree::Found(checks),
    }
}

fn summary(block: Block, checks: Vec<Check>) -> Result<Summary, Problem> {
    let raws: Vec<Raw> = block.raws.iter().map(|(raw, _)| raw.clone()).collect();
    let times = Times::of(raws.iter().flat_map(Raw::printed));
    let mut summary = metrics::summary(&raws, times)?;
    let total = raws
        .iter()
        .find(|raw| raw.name == "checks" && raw.is_rate());
    let mut fails = checks.iter().map(|check| check.fails);
    let fails = fails.try_fold(0_u64, u64::checked_add);
    // Fewer than the metric's: some are missing.
    if fails.is_some_and(|fails| {
        total
            .and_then(Raw::counts)
            .is_some_and(|total| fails >= total.1)
    }) {
        summary.checks = checks;
    }
    for (raw, mark) in block.raws {
        summary.marks.extend(mark.map(|good| Mark {
            metric: raw.name,
            failed: !good,
        }));
    }
    summary.sorted().ok_or(Problem::Malformed)
}
