//! `k6sync ui`, running.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::{Database, Program};

/// The pages of a database. Dropped, they end.
pub struct Ui {
    /// `http://127.0.0.1:PORT`
    pub origin: String,
    /// With the token.
    pub address: String,
    pub child: Child,
    _program: Program,
}

/// An answer over HTTP.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Ui {
    pub async fn start(database: &Database) -> Self {
        let mut program = Program::new(&["ui", "--no-open", "--database-url", database.url()]);
        let command: &mut Command = program.command();
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(Duration::from_secs(60), lines.next_line()).await;
        let address = line.expect("no address").unwrap().expect("it ended");
        let (origin, _) = address.split_once("/?token=").unwrap();
        Self {
            origin: origin.to_owned(),
            address: address.clone(),
            child,
            _program: program,
        }
    }

    /// A request with these lines in its head.
    pub async fn request(&self, method: &str, path: &str, head: &[&str]) -> Answer {
        let host = self.origin.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).await.unwrap();
        let has_host = head.iter().any(|line| line.starts_with("Host:"));
        let own = if has_host {
            String::new()
        } else {
            format!("Host: {host}\r\n")
        };
        let lines: String = head.iter().map(|line| format!("{line}\r\n")).collect();
        let request = format!("{method} {path} HTTP/1.1\r\n{own}{lines}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// Exchanges the token for a cookie: a line of a head.
    pub async fn sign_in(&self) -> String {
        let path = self.address.strip_prefix(&self.origin).unwrap();
        let answer = self.request("GET", path, &[]).await;
        assert_eq!(answer.status, 303, "{}", answer.head);
        let set = answer
            .head
            .lines()
            .find_map(|line| line.strip_prefix("set-cookie: "))
            .unwrap();
        assert!(
            set.ends_with("; HttpOnly; SameSite=Strict; Path=/"),
            "{set}"
        );
        format!("Cookie: {}", set.split(';').next().unwrap())
    }
}
