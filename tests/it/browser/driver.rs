//! A real Chromium, driven by chromedriver over WebDriver: JSON over HTTP, which is all that the tests need of it. (`fantoccini` brings
//! a second `http` and a licence that we refuse, `thirtyfour` changes how the product's own JSON is ordered in tests.)

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::not_shown;
use crate::support::running_loop::wait_for;

/// A page, or what a script waits for, is there within this on a busy machine.
pub const WITHIN: Duration = Duration::from_secs(40);

/// A browser of its own: profile, port, session. Dropped, both programs are killed.
pub struct Browser {
    port: u16,
    session: String,
    driver: Child,
    /// Where it leaves what it leaves.
    _folder: tempfile::TempDir,
}

/// Themes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file())
}

/// All bytes that an answer's head promises have come.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map(|length| length.trim().parse::<usize>().unwrap());
    answer.len() - end - 4 >= length.expect("an answer without a length")
}

impl Browser {
    /// Starts one; `None`: there is none here, which is said.
    pub async fn start() -> Option<Self> {
        let (Some(driver), Some(chromium)) = (
            program(&["chromedriver"]),
            program(&["chromium", "google-chrome"]),
        ) else {
            not_shown(
                "there is no chromedriver or no Chromium here (apt-get install chromium chromium-driver)",
            );
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .env("HOME", folder.path())
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = timeout(WITHIN, async {
            loop {
                let line = lines
                    .next_line()
                    .await
                    .unwrap()
                    .expect("chromedriver ended");
                if let Some((_, port)) = line.split_once("on port ")
                    && line.contains("successfully")
                {
                    break port.trim_end_matches('.').parse().unwrap();
                }
            }
        })
        .await
        .expect("chromedriver did not start");
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let profile = folder.path().join("profile");
        let mut browser = Self {
            port,
            session: String::new(),
            driver,
            _folder: folder,
        };
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
            &format!("--user-data-dir={}", profile.display()),
        ];
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments, "binary": chromium},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let session = browser.ask("POST", "/session", &capabilities).await;
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        browser.size(1280, 900).await;
        Some(browser)
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = match method {
            "GET" | "DELETE" => String::new(),
            _ => body.to_string(),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        );
        let answer = timeout(Duration::from_secs(90), async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            // It leaves the connection open, whatever it is told.
            let mut answer = Vec::new();
            while !is_whole(&answer) {
                assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
            }
            String::from_utf8(answer).unwrap()
        })
        .await
        .expect("chromedriver does not answer");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {body}");
        body["value"].clone()
    }

    async fn command(&self, name: &str, body: &Value) -> Value {
        let path = format!("/session/{}/{name}", self.session);
        self.ask("POST", &path, body).await
    }

    async fn devtools(&self, command: &str, params: Value) {
        let body = json!({"cmd": command, "params": params});
        self.command("goog/cdp/execute", &body).await;
    }

    /// Goes to an address.
    pub async fn go(&self, address: &str) {
        self.command("url", &json!({"url": address})).await;
    }

    /// How large the window is.
    pub async fn size(&self, width: u32, height: u32) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        )
        .await;
    }

    /// Which theme the person has.
    pub async fn theme(&self, theme: Theme) {
        let value = match theme {
            Theme::Light => "light",
            Theme::Dark => "dark",
        };
        let features = json!([{"name": "prefers-color-scheme", "value": value}, {"name": "prefers-reduced-motion", "value": "reduce"}]);
        self.devtools("Emulation.setEmulatedMedia", json!({"features": features}))
            .await;
    }

    /// What a script returns.
    pub async fn run(&self, script: &str) -> Value {
        let body = json!({"script": script, "args": []});
        self.command("execute/sync", &body).await
    }

    /// What an expression is.
    pub async fn eval(&self, expression: &str) -> Value {
        self.run(&format!("return {expression};")).await
    }

    /// The text of the first element like that.
    pub async fn text(&self, selector: &str) -> String {
        let text = self
            .eval(&format!(
                "document.querySelector({selector:?})?.innerText ?? null"
            ))
            .await;
        text.as_str()
            .unwrap_or_else(|| panic!("there is no {selector}"))
            .to_owned()
    }

    /// Waits until an expression is true.
    pub async fn until(&self, expression: &str) {
        wait_for(expression, WITHIN, async || {
            self.eval(&format!("!!({expression})")).await == true
        })
        .await;
    }

    /// Clicks on the first element like that.
    pub async fn click(&self, selector: &str) {
        self.run(&format!("document.querySelector({selector:?}).click()"))
            .await;
    }

    /// Presses keys, one after another.
    pub async fn keys(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key})))
            .collect();
        let body = json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]});
        self.command("actions", &body).await;
    }

    /// What the browser complained of since it was asked last, and where it has asked for things: nothing, and nowhere but here.
    pub async fn assert_quiet(&self, origin: &str) {
        let log = self.command("se/log", &json!({"type": "browser"})).await;
        assert_eq!(log, json!([]), "the console");
        let asked = self
            .eval("performance.getEntriesByType('resource').map((entry) => entry.name)")
            .await;
        for address in asked.as_array().unwrap() {
            let address = address.as_str().unwrap();
            assert!(address.starts_with(origin), "{address}");
        }
    }

    /// What it complained of so far was to be expected.
    pub async fn forget(&self) {
        self.command("se/log", &json!({"type": "browser"})).await;
    }

    /// Looks for what keeps people out; `where_` names the page.
    pub async fn assert_accessible(&self, where_: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/axe.min.js");
        let Ok(axe) = std::fs::read_to_string(path) else {
            not_shown("there is no axe-core in target/tools (scripts/test.sh fetches it)");
            return;
        };
        self.run(&axe).await;
        let script = "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(
            (found) => done(found.violations.map((rule) => [rule.id, rule.nodes.map((node) => node.html.slice(0, 200) + ' ' + node.failureSummary)])),
            (error) => done(String(error)))";
        let found = self
            .command("execute/async", &json!({"script": script, "args": []}))
            .await;
        assert_eq!(found, json!([]), "{where_}");
    }

    /// A picture of the whole page, where `K6SYNC_SCREENSHOTS` names a folder for it.
    pub async fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("K6SYNC_SCREENSHOTS") else {
            return;
        };
        let path = format!("/session/{}/screenshot", self.session);
        let picture = self.ask("GET", &path, &Value::Null).await;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(picture.as_str().unwrap())
            .unwrap();
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), bytes).unwrap();
    }

    /// Ends it in good order.
    pub async fn end(mut self) {
        let path = format!("/session/{}", self.session);
        self.ask("DELETE", &path, &Value::Null).await;
        let _ = self.driver.kill().await;
    }
}
