//! PostgreSQL servers of a test's own, to be restarted, or with TLS.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

/// A PostgreSQL of our own.
#[derive(Clone)]
pub struct Server {
    bin: PathBuf,
    /// Where its data is.
    pub folder: PathBuf,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    settings: String,
}

impl Server {
    /// Starts it with these settings. None: there are no programs here to start it with.
    pub fn start(settings: &[&str]) -> Option<Self> {
        Self::start_with_files(settings, &[])
    }

    /// Starts it with these settings, `FOLDER` meaning its folder, and these files (name, text) in it.
    pub fn start_with_files(settings: &[&str], files: &[(&str, &str)]) -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let bin = versions
            .filter_map(|version| Some(version.ok()?.path().join("bin")))
            .filter(|bin| bin.join("initdb").exists())
            .max()?;
        let folder = tempfile::tempdir().unwrap().keep();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let settings: String = settings
            .iter()
            .map(|setting| {
                format!(
                    " -c {}",
                    setting.replace("FOLDER", &folder.display().to_string())
                )
            })
            .collect();
        for (name, text) in files {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let server = Self {
            bin,
            folder,
            port,
            settings,
        };
        let data = server.folder.join("data").display().to_string();
        if is_root() {
            let owner = Command::new("chown")
                .args(["-R", "postgres"])
                .arg(&server.folder)
                .status();
            assert!(owner.unwrap().success());
        }
        server.run("initdb", &["-D", &data, "-U", "postgres", "-A", "trust"]);
        server.control(&["start"]);
        Some(server)
    }

    /// The URL of its database, without TLS.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// `pg_ctl`
    pub fn control(&self, action: &[&str]) {
        let data = self.folder.join("data").display().to_string();
        let log = self.folder.join("log").display().to_string();
        let options = format!(
            "-p {} -k {} -c listen_addresses=127.0.0.1{}",
            self.port,
            self.folder.display(),
            self.settings
        );
        let args = ["-D", &data, "-l", &log, "-w", "-o", &options];
        self.run("pg_ctl", &[&args[..], action].concat());
    }

    /// Ends it, and removes its folder.
    pub fn stop(&self) {
        self.control(&["-m", "immediate", "stop"]);
        let _ = std::fs::remove_dir_all(&self.folder);
    }

    /// PostgreSQL refuses to run as root.
    fn run(&self, program: &str, args: &[&str]) {
        let program = self.bin.join(program);
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("setpriv");
                command
                    .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
                    .arg(program);
                command
            }
            false => Command::new(program),
        };
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(std::env::temp_dir().join(format!("k6sync-test-pg-{}.log", self.port)))
            .unwrap();
        let status = command
            .args(args)
            .current_dir("/")
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
        let path = std::env::temp_dir().join(format!("k6sync-test-pg-{}.log", self.port));
        let said = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(&path);
        assert!(status.success(), "{args:?}: {said}");
    }
}

/// Whether we are root, whom PostgreSQL refuses.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}
