//! SIGTERM and SIGINT, waited for from the first moment of every command: as process 1 of a container, and where whoever
//! started us had them ignored, they would do nothing otherwise.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// Which of them came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    Terminate,
    Interrupt,
}

impl Stop {
    /// What a shell says of a process that the signal ended.
    pub(crate) const fn exit_code(self) -> i32 {
        match self {
            Self::Interrupt => 128 + 2,
            Self::Terminate => 128 + 15,
        }
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

impl Signals {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?,
        })
    }

    pub(crate) async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
        }
    }

    /// Ends the process at the first signal, without a word: of what only reads. On a task of its own, so that a terminal or a pipe
    /// that takes nothing is not in its way.
    pub(crate) fn end_the_process_quietly(mut self) {
        tokio::spawn(async move {
            let stop = self.next().await;
            std::process::exit(stop.exit_code());
        });
    }

    /// Ends the process at the first signal, whatever it is waiting for: each thing that is stored is one transaction, and
    /// what is not committed is undone. On a task of its own, so that nothing that blocks is in its way.
    pub(crate) fn end_the_process(mut self) {
        // It has no end but the process's: nothing in it can panic, and a stream of signals that ends is one of them.
        tokio::spawn(async move {
            let stop = self.next().await;
            tracing::warn!(
                "{stop}: stopped; what was stored is right, nothing is half-written, and the next run goes on from there"
            );
            std::process::exit(stop.exit_code());
        });
    }
}
