//! `k6sync ui`: the pages, from a database alone, for whoever may read it.

use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use anyhow::Context;
use tokio::net::TcpListener;

use super::reading::Asked;
use super::{exit, output};
use crate::cli::reading::Ui;
use crate::config::process_environment;
use crate::server::local::LocalPages;
use crate::server::pages::{Pages, Source};
use crate::signals::Signals;

pub(super) async fn run(args: &Ui, mut signals: Signals) -> anyhow::Result<u8> {
    let asked = Asked::open(&args.common).await?;
    // On this machine alone.
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port.unwrap_or(0)));
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another port by --port"))?;
    let pages = LocalPages::new(
        listener,
        Pages {
            source: Source::open(asked.record.clone()),
            job: None,
            follow: false,
        },
    )?;
    let address = pages.address();
    output::write(&format!("{address}\n"))?;
    tracing::info!("the pages are at this address, for one browser; Ctrl-C ends them");
    if !args.no_open && io::stdout().is_terminal() {
        open(&address);
    }
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(pages.serve(async {
        // Sent or dropped, it means the same.
        let _ = stopped.await;
    }));
    let end = tokio::select! {
        signal = signals.next() => Ok(exit::stopped(signal)),
        ended = served => {
            ended?.context("the pages can't be served any more")?;
            Ok(exit::FAILED)
        }
    };
    drop(stop);
    asked.record.close().await;
    end
}

/// In the browser of whoever has a screen. Whether it works shows there; the address is printed in any case.
fn open(address: &str) {
    let has_screen = cfg!(target_os = "macos")
        || ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .any(|name| process_environment(name).is_some_and(|value| !value.is_empty()));
    if !has_screen {
        return;
    }
    let program = match cfg!(target_os = "macos") {
        true => "open",
        false => "xdg-open",
    };
    let _ = Command::new(program)
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}
