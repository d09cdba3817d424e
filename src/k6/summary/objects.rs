//! Where in a log JSON objects are that may be summaries. Pure bytes; what the objects mean is `json`'s.
//!
//! k6 writes an object in one piece, pretty or on one line, but the log has it among other things: lines of the other stream
//! between its lines (docs/facts.md, "How to read the JSON summary"), a log line glued to its last brace, because it ends without a newline, and, where the runtime
//! has cut a line of more than 16 KiB in parts, even a log line in the middle of one of its own (docs/facts.md, "Long lines come in parts").

use memchr::{memchr, memmem, memrchr};

/// An object that may be a summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    /// Where its first byte is.
    pub(super) begin: usize,
    /// The object without what was among it; it need not be valid JSON.
    pub(super) text: Vec<u8>,
    /// Whether it is on several lines.
    pub(super) pretty: bool,
    /// Whether its end was found.
    pub(super) whole: bool,
}

/// Keys of a summary's own members; something that has none of them is not one.
const MARKS: [&[u8]; 3] = [b"\"root_group\"", b"\"metrics\"", b"\"results\""];

/// Members by which a summary may begin: where one does, another object has not ended.
const FIRST_KEYS: [&[u8]; 10] = [
    b"\"root_group\"",
    b"\"metrics\"",
    b"\"options\"",
    b"\"state\"",
    b"\"setup_data\"",
    b"\"config\"",
    b"\"metadata\"",
    b"\"results\"",
    b"\"version\"",
    b"\"kind\"",
];

/// All of them, by where they begin.
pub(super) fn find(log: &[u8]) -> Vec<Object> {
    let mut objects = pretty(log);
    objects.extend(single(log));
    objects.sort_by_key(|object| object.begin);
    objects
}

// === Objects on several lines ===

fn pretty(log: &[u8]) -> Vec<Object> {
    let mut objects = Vec::new();
    let mut from = 0;
    while let Some(found) = memmem::find(&log[from..], b"{\n") {
        let begin = from + found;
        let line = memrchr(b'\n', &log[..begin]).map_or(0, |newline| newline + 1);
        // A member's brace, of an object that began before.
        if log.get(line).is_some_and(|first| is_space(*first))
            && is_line(log[line..=begin].trim_ascii_start())
        {
            from = begin + 1;
            continue;
        }
        let (object, end) = collect(log, begin);
        objects.extend(object);
        from = end;
    }
    objects
}

/// The object whose brace ends the line at `begin`, if it may be a summary, and where to go on.
fn collect(log: &[u8], begin: usize) -> (Option<Object>, usize) {
    let mut text = b"{\n".to_vec();
    let mut depth = 1_usize;
    let mut marked = false;
    // The script may be cut, and is not needed: it goes, and the comma before it.
    let mut script_gone = false;
    let mut ends_member = false;
    let mut from = begin + 2;
    while from < log.len() {
        let end = memchr(b'\n', &log[from..]).map_or(log.len(), |length| from + length);
        let line = &log[from..end];
        let next = (end + 1).min(log.len());
        if line == b"{" && begins_summary(log, next) {
            break;
        }
        if line.first() == Some(&b'}') && depth == 1 {
            text.push(b'}');
            let object = marked.then_some(Object {
                begin,
                text,
                pretty: true,
                whole: true,
            });
            // What is glued to the brace is a line of its own.
            return (object, from + 1);
        }
        let indent = line.iter().take_while(|byte| is_space(**byte)).count();
        let content = line[indent..].trim_ascii_end();
        from = next;
        if indent == 0 {
            continue;
        }
        if depth == 2 && content.starts_with(b"\"script\": \"") {
            script_gone |= text.ends_with(b",\n");
            continue;
        }
        // Nothing else that is printed begins with a quote: what is no line of JSON then breaks the object.
        let Some(step) = step(content).or_else(|| content.starts_with(b"\"").then_some(Step::Stay))
        else {
            continue;
        };
        if text.len() == 2 && !content.starts_with(b"\"") {
            // k6's objects begin with a member.
            return (None, from);
        }
        if step == Step::Out {
            if std::mem::take(&mut script_gone) && text.ends_with(b",\n") {
                text.truncate(text.len() - 2);
                text.push(b'\n');
            }
            if depth == 1 {
                break;
            }
            depth -= 1;
        } else {
            marked |= depth == 1 && MARKS.iter().any(|mark| content.starts_with(mark));
            depth += usize::from(step == Step::In);
        }
        // Only a newline says that no comma was to follow.
        let is_member = step == Step::Out || memmem::find(content, b"\": ").is_some();
        ends_member = is_member && end < log.len();
        text.extend_from_slice(content);
        text.push(b'\n');
    }
    // No comma after the last member says that there is none after it, though the last brace is gone, or glued to other words.
    let whole = depth == 1 && ends_member && !text.ends_with(b",\n");
    if whole {
        text.push(b'}');
    }
    let object = marked.then_some(Object {
        begin,
        text,
        pretty: true,
        whole,
    });
    (object, from)
}

fn begins_summary(log: &[u8], from: usize) -> bool {
    if !log.get(from).is_some_and(|first| is_space(*first)) {
        return false;
    }
    let end = memchr(b'\n', &log[from..]).map_or(log.len(), |length| from + length);
    let line = log[from..end].trim_ascii_start();
    FIRST_KEYS.iter().any(|key| line.starts_with(key))
}

fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    In,
    Out,
    Stay,
}

/// Whether `content`, without its indentation, looks like a line of pretty JSON.
pub(super) fn is_line(content: &[u8]) -> bool {
    step(content).is_some()
}

/// What a line of pretty JSON does to the depth; `None`: it is none.
fn step(content: &[u8]) -> Option<Step> {
    let (&first, _) = content.split_first()?;
    match first {
        b'}' | b']' => matches!(content, [_] | [_, b',']).then_some(Step::Out),
        b'{' | b'[' if content.len() == 1 => Some(Step::In),
        b'{' | b'[' => is_scalar(content).then_some(Step::Stay),
        b'"' => {
            let end = string_end(content)?;
            let rest = &content[end..];
            match rest.strip_prefix(b": ") {
                Some(b"{" | b"[") => Some(Step::In),
                Some(value) => is_scalar(value).then_some(Step::Stay),
                None => matches!(rest, b"" | b",").then_some(Step::Stay),
            }
        }
        _ => is_scalar(content).then_some(Step::Stay),
    }
}

/// Past the quote that closes the string at the beginning.
fn string_end(content: &[u8]) -> Option<usize> {
    let mut from = 1;
    loop {
        let found = from + memchr::memchr2(b'"', b'\\', content.get(from..)?)?;
        if content[found] == b'"' {
            return Some(found + 1);
        }
        from = found + 2;
    }
}

/// Whether a value begins and ends on this line. Of lists and objects only the ends are looked at.
fn is_scalar(value: &[u8]) -> bool {
    let value = value.strip_suffix(b",").unwrap_or(value);
    match value {
        b"true" | b"false" | b"null" | b"{}" => true,
        [b'[', .., b']'] | [b'{', b'"', .., b'}'] | [b'{', b' ', b'"', .., b'}'] => true,
        [b'"', ..] => string_end(value) == Some(value.len()),
        [b'-' | b'0'..=b'9', ..] => value
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E')),
        _ => false,
    }
}

// === Objects on one line ===

fn single(log: &[u8]) -> Vec<Object> {
    let mut objects: Vec<Object> = Vec::new();
    let mut from = 0;
    for begin in memmem::find_iter(log, b"{\"") {
        // What quotes a summary escapes its quotes, and does not come here.
        if begin < from
            || !FIRST_KEYS
                .iter()
                .any(|key| log[begin + 1..].starts_with(key))
        {
            continue;
        }
        let line_end = memchr(b'\n', &log[begin..]).map_or(log.len(), |length| begin + length);
        let (object, end) = unbroken(log, begin, line_end);
        from = end;
        let is_own = |mark: &[u8]| memmem::find(&object.text, mark).is_some();
        if is_own(b"\"root_group\":{") || is_own(b"\"results\":{") {
            objects.push(object);
        }
    }
    objects
}

/// The object from `begin` to its closing brace, without the log lines in the middle of it, and where to go on.
fn unbroken(log: &[u8], begin: usize, line_end: usize) -> (Object, usize) {
    let mut object = Object {
        begin,
        text: Vec::new(),
        pretty: false,
        whole: false,
    };
    let mut scan = Scan::default();
    let (mut from, mut end) = (begin, line_end);
    loop {
        let piece = &log[from..end];
        let before = scan;
        if let Some(length) = scan.close(piece) {
            object.text.extend_from_slice(&piece[..length]);
            object.whole = true;
            return (object, from + length);
        }
        // A log line has come between the parts that the runtime made of this one.
        let cut = foreign(piece).filter(|_| end < log.len());
        object
            .text
            .extend_from_slice(&piece[..cut.unwrap_or(piece.len())]);
        let Some(cut) = cut else {
            return (object, end);
        };
        scan = before;
        scan.close(&piece[..cut]);
        from = end + 1;
        end = memchr(b'\n', &log[from..]).map_or(log.len(), |length| from + length);
    }
}

/// Where a line of k6's log begins in the middle of a line: a quote that would be escaped within JSON.
fn foreign(piece: &[u8]) -> Option<usize> {
    let logfmt = memmem::rfind(piece, b"time=\"");
    let json =
        memmem::rfind(piece, b"{\"level\":\"").or_else(|| memmem::rfind(piece, b"{\"error\":\""));
    logfmt.max(json)
}

/// Looks for an object's closing brace.
#[derive(Clone, Copy, Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Past the brace that closes the object, if it is in `piece`.
    fn close(&mut self, piece: &[u8]) -> Option<usize> {
        for (index, &byte) in piece.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(index + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// Whether the log may begin within an object.
pub(super) fn begins_within(log: &[u8]) -> bool {
    let Some(first_end) = memchr(b'\n', log) else {
        return !log.is_empty();
    };
    // The end of an object on one line.
    if memmem::find(&log[..first_end], b"}}").is_some() {
        return true;
    }
    let mut inner = false;
    for line in log[first_end + 1..].split(|byte| *byte == b'\n') {
        let indent = line.iter().take_while(|byte| is_space(**byte)).count();
        let content = line[indent..].trim_ascii_end();
        match indent {
            0 if line.first() == Some(&b'}') => return inner || is_end(line),
            0 if line == b"{" => return false,
            0 => {}
            _ => inner |= step(content).is_some(),
        }
    }
    false
}

/// The last brace, alone or with a log line glued to it.
fn is_end(line: &[u8]) -> bool {
    line == b"}" || line.starts_with(b"}time=") || line.starts_with(b"}{")
}

#[cfg(test)]
mod tests;
