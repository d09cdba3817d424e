//! What SQL text can hold. PostgreSQL refuses NUL and invalid UTF-8, and SQLite stops at NUL; a log may have both (FACT 7).

const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// `bytes` as text, with NUL and invalid UTF-8 replaced by U+FFFD, and how many replacements were made.
///
/// The same for any way to cut the bytes at line ends.
pub fn sql_text(bytes: Vec<u8>) -> (String, i64) {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) if memchr::memchr(0, text.as_bytes()).is_none() => return (text, 0),
        Ok(text) => text.into_bytes(),
        Err(error) => error.into_bytes(),
    };
    let mut text = String::with_capacity(bytes.len() + 64);
    let mut replaced = 0;
    for chunk in bytes.utf8_chunks() {
        for (index, piece) in chunk.valid().split('\0').enumerate() {
            if index > 0 {
                text.push(REPLACEMENT);
                replaced += 1;
            }
            text.push_str(piece);
        }
        if !chunk.invalid().is_empty() {
            text.push(REPLACEMENT);
            replaced += 1;
        }
    }
    (text, replaced)
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
            (b"bad \xff\xfe utf8", "bad \u{fffd}\u{fffd} utf8", 2),
            (b"cut \xe2\x82\nnext\0", "cut \u{fffd}\nnext\u{fffd}", 2),
            (b"", "", 0),
        ] {
            assert_eq!(sql_text(bytes.to_vec()), (text.to_owned(), replaced));
        }
    }
}
