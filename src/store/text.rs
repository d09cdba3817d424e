//! What SQL text can hold. PostgreSQL refuses NUL and invalid UTF-8, and SQLite stops at NUL; a log may have both
//! (docs/facts.md, "Bytes come through unchanged").

use std::borrow::Cow;

const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// `bytes` as text, each run of NUL and invalid UTF-8 replaced by one U+FFFD, and how many runs there were.
///
/// The same for any way to cut the bytes at line ends: a newline ends a run. A byte each would make a log of garbage three times
/// as large.
pub(crate) fn sql_text(bytes: Vec<u8>) -> (String, i64) {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) if memchr::memchr(0, text.as_bytes()).is_none() => return (text, 0),
        Ok(text) => text.into_bytes(),
        Err(error) => error.into_bytes(),
    };
    // Counted first, so that a large body is not moved about while it grows.
    let (mut size, mut replaced) = (0, 0);
    each_piece(&bytes, |piece| match piece {
        Some(text) => size += text.len(),
        None => {
            size += REPLACEMENT.len_utf8();
            replaced += 1;
        }
    });
    let mut text = String::with_capacity(size);
    each_piece(&bytes, |piece| match piece {
        Some(piece) => text.push_str(piece),
        None => text.push(REPLACEMENT),
    });
    (text, replaced)
}

/// The text in `bytes`, in its order; `None` stands for a run of what SQL text can't hold.
fn each_piece<'a>(bytes: &'a [u8], mut take: impl FnMut(Option<&'a str>)) {
    let mut is_in_run = false;
    let mut put = |piece: Option<&'a str>| {
        let goes_on = piece.is_none() && is_in_run;
        if !goes_on && piece != Some("") {
            is_in_run = piece.is_none();
            take(piece);
        }
    };
    for chunk in bytes.utf8_chunks() {
        for (index, piece) in chunk.valid().split('\0').enumerate() {
            if index > 0 {
                put(None);
            }
            put(Some(piece));
        }
        if !chunk.invalid().is_empty() {
            put(None);
        }
    }
}

/// A line in which what was replaced is as [`sql_text`] replaces it today: earlier versions stored a U+FFFD for each byte or so.
pub(crate) fn with_runs_joined(line: &str) -> Cow<'_, str> {
    const TWO: &str = "\u{fffd}\u{fffd}";
    if !line.contains(TWO) {
        return Cow::Borrowed(line);
    }
    let mut joined = String::with_capacity(line.len());
    for char in line.chars() {
        if char != REPLACEMENT || !joined.ends_with(REPLACEMENT) {
            joined.push(char);
        }
    }
    Cow::Owned(joined)
}

/// JSON text with every escaped NUL replaced by an escaped U+FFFD: a message of k6 or of a kubelet may hold one.
pub(super) fn without_nul(json: String) -> String {
    const NUL: &str = "\\u0000";
    if !json.contains(NUL) {
        return json;
    }
    let mut text = String::with_capacity(json.len());
    let mut rest = json.as_str();
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        text.push_str(before);
        if let Some(after) = escape.strip_prefix(NUL) {
            text.push_str("\\ufffd");
            rest = after;
        } else {
            // The backslash and what it escapes go together, so that `\\\\u0000` stays what it is.
            let taken = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
            text.push_str(&escape[..taken]);
            rest = &escape[taken..];
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_freed_of_nul() {
        for text in [
            "plain",
            "a\0b",
            "\0",
            "back\\slash \\u0000 \0 \\",
            "\u{e9}\0\n",
        ] {
            let json = without_nul(serde_json::to_string(text).unwrap());
            let read: String = serde_json::from_str(&json).unwrap();
            assert_eq!(read, text.replace('\0', "\u{fffd}"));
        }
    }

    #[test]
    fn replaces_what_sql_cannot_hold() {
        for (bytes, text, replaced) in [
            (&b"plain \xc3\xa9\n"[..], "plain é\n", 0),
            (b"nul\0byte\n", "nul\u{fffd}byte\n", 1),
            (b"\0", "\u{fffd}", 1),
            (b"bad \xff\xfe utf8", "bad \u{fffd} utf8", 1),
            (b"\xff\0\xfe\0\0\xe2\x82", "\u{fffd}", 1),
            (b"\0\0\n\0\0\n", "\u{fffd}\n\u{fffd}\n", 2),
            (b"\xffa\xffb\0", "\u{fffd}a\u{fffd}b\u{fffd}", 3),
            // What was one in the log is none of ours.
            (
                b"\xef\xbf\xbd\xff\xef\xbf\xbd",
                "\u{fffd}\u{fffd}\u{fffd}",
                1,
            ),
            (b"cut \xe2\x82\nnext\0", "cut \u{fffd}\nnext\u{fffd}", 2),
            (b"", "", 0),
        ] {
            assert_eq!(sql_text(bytes.to_vec()), (text.to_owned(), replaced));
        }
    }

    #[test]
    fn garbage_grows_no_larger_than_what_holds_it() {
        let (text, replaced) = sql_text(vec![0xff; 2 << 20]);
        assert_eq!(
            (text.as_str(), replaced, text.capacity()),
            ("\u{fffd}", 1, 3)
        );
    }

    #[test]
    fn what_was_stored_before_runs_were_joined_reads_the_same() {
        for (stored, joined) in [
            ("plain\n", "plain\n"),
            ("one \u{fffd}\n", "one \u{fffd}\n"),
            (
                "\u{fffd}\u{fffd}\u{fffd} and \u{fffd}\u{fffd}\n",
                "\u{fffd} and \u{fffd}\n",
            ),
        ] {
            assert_eq!(with_runs_joined(stored), joined);
        }
    }

    proptest::proptest! {
        /// Also where a line was read in pieces: only line ends are places to cut at.
        #[test]
        fn the_same_for_any_way_to_cut_at_line_ends(
            bytes in proptest::collection::vec(proptest::sample::select(&b"a\0\n\xff\xe2\x82\xac\xc3\xa9"[..]), 0..60),
        ) {
            let whole = sql_text(bytes.clone());
            let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').map(|line| sql_text(line.to_vec())).collect();
            let text: String = lines.iter().map(|(text, _)| text.as_str()).collect();
            proptest::prop_assert_eq!((text, lines.iter().map(|(_, replaced)| replaced).sum()), whole.clone());
            proptest::prop_assert!(!whole.0.contains('\0'));
            let lossy = String::from_utf8_lossy(&bytes).replace('\0', "\u{fffd}");
            proptest::prop_assert_eq!(with_runs_joined(&whole.0), with_runs_joined(&lossy));
        }
    }
}
