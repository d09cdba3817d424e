//! `--remote`: k6sync in a pod, run by `kubectl k6sync` from somewhere else. See `crate::remote`.

use std::io::{Read, Write};
use std::sync::OnceLock;
use std::time::Duration;

use super::exit;
use crate::cli::Remote;
use crate::remote::Message;

/// Load balancers close connections that are silent for a minute.
const ALIVE: Duration = Duration::from_secs(10);

static REMOTE: OnceLock<Remote> = OnceLock::new();

/// For whom this process runs, if it is somebody elsewhere.
pub(super) fn remote() -> Option<Remote> {
    REMOTE.get().copied()
}

/// From now on this process runs for somebody elsewhere, and ends when they do.
pub(super) fn begin(remote: Remote) {
    if REMOTE.set(remote).is_err() {
        return;
    }
    std::thread::spawn(|| {
        let mut ignored = [0; 1024];
        // Whatever is written there is not for us. The end of it is: whoever waited has gone.
        while std::io::stdin()
            .read(&mut ignored)
            .is_ok_and(|read| read > 0)
        {}
        std::process::exit(i32::from(exit::INTERRUPTED));
    });
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(ALIVE);
            tell(&Message::Alive);
        }
    });
}

/// The last thing that it says.
pub(super) fn end(code: u8) {
    if remote().is_some() {
        tell(&Message::Exit(code));
    }
}

/// As one write, so that it is one line among others.
pub(super) fn tell(message: &Message) {
    let _ = std::io::stderr()
        .lock()
        .write_all(message.to_line().as_bytes());
}
