//! What `k6sync --remote`, in a pod, tells `kubectl k6sync`, which runs it there by `kubectl exec`.
//!
//! Standard output is the answer, byte for byte. Standard error has lines for people, and messages for the plugin among them: a
//! record separator (U+001E), then one line of JSON. No text of others can be such a line, since what is logged has no control
//! characters (`harmless`). Without the last message, the exit code, the connection broke: what kubectl says then is not a verdict.

use serde::{Deserialize, Serialize};

/// Begins a message.
pub const MARK: char = '\u{1e}';

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Message {
    /// It is still at work: connections that nothing passes through are closed by those in between.
    Alive,
    /// A file that the command line names, to be written where the plugin runs.
    File {
        /// As the command line names it.
        path: String,
        /// The text. Whether it replaces what the file has, or is added to it, the command line says.
        text: String,
    },
    /// How it ended.
    Exit(u8),
}

impl Message {
    /// The line, with its end.
    pub fn to_line(&self) -> String {
        let json = serde_json::to_string(self)
            .unwrap_or_else(|error| unreachable!("a message is JSON: {error}"));
        format!("{MARK}{json}\n")
    }

    /// The message that a line is; `None`: it is for people.
    pub fn of_line(line: &str) -> Option<Self> {
        let json = line.strip_prefix(MARK)?;
        serde_json::from_str(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_read_back_as_they_were(path: String, text: String) {
            let message = Message::File { path, text };
            let line = message.to_line();
            prop_assert_eq!(line.lines().count(), 1);
            prop_assert_eq!(Message::of_line(line.trim_end_matches('\n')), Some(message));
        }

        #[test]
        fn what_is_logged_is_no_message(text: String) {
            let logged = crate::harmless::line(&text);
            prop_assert_eq!(Message::of_line(&logged), None);
        }
    }

    #[test]
    fn what_cannot_be_read_is_for_people() {
        assert_eq!(Message::of_line("{\"exit\":0}"), None);
        assert_eq!(Message::of_line("\u{1e}nonsense"), None);
        assert_eq!(
            Message::of_line("\u{1e}{\"exit\":99}"),
            Some(Message::Exit(99))
        );
    }
}
