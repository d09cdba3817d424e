//! Style, script and icons. Their addresses have a hash of what they are, so that a browser keeps them for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::report::verdict::Tone;

const STYLE: &str = include_str!("../templates/pages.css");
const SCRIPT: &str = include_str!("../templates/pages.js");

static STYLE_PATH: LazyLock<String> = LazyLock::new(|| path("style", STYLE, "css"));
static SCRIPT_PATH: LazyLock<String> = LazyLock::new(|| path("script", SCRIPT, "js"));

fn path(name: &str, text: &str, end: &str) -> String {
    let hash = Sha256::digest(text);
    let hash: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("/assets/{name}-{hash}.{end}")
}

pub(super) fn style() -> &'static str {
    &STYLE_PATH
}

pub(super) fn script() -> &'static str {
    &SCRIPT_PATH
}

/// The icon that tells how something is; `None`: of nothing.
pub(super) fn icon(tone: Option<Tone>) -> String {
    let name = tone.map_or("k6sync", Tone::class);
    path(&format!("icon-{name}"), &drawn(tone), "svg")
}

/// A disc in the colour of the tone, with its sign.
fn drawn(tone: Option<Tone>) -> String {
    let (color, sign) = match tone {
        None => ("#1f5fb4", "M9 11h14M9 16h14M9 21h8"),
        Some(Tone::Good) => ("#1a7350", "M9 17l5 5L23 11"),
        Some(Tone::Bad) => ("#b3261e", "M10 10l12 12M22 10L10 22"),
        Some(Tone::Unknown) => ("#59626d", "M12 12a4 4 0 1 1 4 5v2M16 23v.1"),
        Some(Tone::Open) => ("#1f5fb4", "M9 16v.1M16 16v.1M23 16v.1"),
    };
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 32 32\"><circle cx=\"16\" cy=\"16\" r=\"15\" fill=\"{color}\"/>\
         <path d=\"{sign}\" fill=\"none\" stroke=\"#ffffff\" stroke-width=\"3\" stroke-linecap=\"round\" stroke-linejoin=\"round\"/></svg>\n"
    )
}

/// One of them, by its name with the hash.
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    const FOR_GOOD: &str = "public, max-age=31536000, immutable";
    let wanted = format!("/assets/{name}");
    let tones = [Tone::Good, Tone::Bad, Tone::Unknown, Tone::Open];
    let icons = std::iter::once(None).chain(tones.map(Some));
    let (kind, text) = if wanted == *STYLE_PATH {
        ("text/css; charset=utf-8", STYLE.to_owned())
    } else if wanted == *SCRIPT_PATH {
        ("text/javascript; charset=utf-8", SCRIPT.to_owned())
    } else {
        match icons.into_iter().find(|tone| icon(*tone) == wanted) {
            Some(tone) => ("image/svg+xml", drawn(tone)),
            None => return StatusCode::NOT_FOUND.into_response(),
        }
    };
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, FOR_GOOD)], text).into_response()
}

/// What browsers ask for where a page names no icon.
pub(super) async fn no_icon() -> StatusCode {
    StatusCode::NO_CONTENT
}
