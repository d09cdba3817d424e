//! `k6sync report`: files about runs of a recording of the real k6-operator, and of hostile names.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::on_both_databases;
use crate::support::program::Run;
use crate::support::{Cluster, Database, Program, not_shown};

on_both_databases!(
    the_files_are_as_they_were,
    hostile_names_and_logs_are_only_text,
    a_run_that_is_not_over_is_no_success,
    what_cannot_be_written_or_found_is_said,
    the_timeline_tells_when_k6sync_read,
);

/// The recorded runs that are different in what there is to see.
const RUNS: &[&str] = &[
    "nightly-7",
    "slo",
    "no-login",
    "no-initializer",
    "too-many-runners",
];

async fn sync(cluster: &Cluster, database: &Database) {
    let report = Program::sync_once(cluster, database, &[]).report().await;
    assert_eq!(report["errors"], 0, "{report}");
}

async fn recorded(database: &Database, moment: &str) -> Cluster {
    let cluster = Cluster::start().await;
    cluster.moment_of("operator", moment).await;
    sync(&cluster, database).await;
    cluster
}

async fn report(database: &Database, run: &str, args: &[&str]) -> Run {
    Program::new(&["report", run, "--database-url", database.url()])
        .args(args)
        .run()
        .await
}

/// The three files of a run.
struct Files {
    html: String,
    junit: String,
    markdown: String,
}

async fn files(database: &Database, run: &str, folder: &Path) -> Files {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (html, junit, markdown) = (path("run.html"), path("run.xml"), path("run.md"));
    let args = ["--html", &html, "--junit", &junit, "--markdown", &markdown];
    let written = report(database, run, &args).await;
    assert_eq!(written.code, 0, "{written:?}");
    assert_eq!(written.stdout, "");
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    let files = Files {
        html: read(&html),
        junit: read(&junit),
        markdown: read(&markdown),
    };
    valid(Path::new(&html), Path::new(&junit));
    // Nothing is left beside them.
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 3);
    files
}

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(path)
}

/// Debian's checkers find nothing wrong: `tidy` with the page, `xmllint` with the XML by our schema.
fn valid(html: &Path, junit: &Path) {
    let tidy = Command::new("tidy")
        .args(["-quiet", "-errors", "--drop-empty-elements", "no"])
        .arg(html)
        .output();
    match tidy {
        Ok(found) => assert!(
            found.status.success(),
            "{}",
            String::from_utf8_lossy(&found.stderr)
        ),
        Err(_) => not_shown("there is no tidy here (apt-get install tidy)"),
    }
    let xmllint = Command::new("xmllint")
        .args(["--noout", "--nonet", "--schema"])
        .arg(data("junit/junit.xsd"))
        .arg(junit)
        .output();
    match xmllint {
        Ok(found) => assert!(
            found.status.success(),
            "{}",
            String::from_utf8_lossy(&found.stderr)
        ),
        Err(_) => not_shown("there is no xmllint here (apt-get install libxml2-utils)"),
    }
}

/// The page without what is different each time: when, and by which version it was made.
fn without_making(html: &str) -> String {
    let html = html.replace(
        concat!("k6sync ", env!("CARGO_PKG_VERSION")),
        "k6sync VERSION",
    );
    let (before, footer) = html.split_once("<footer>").unwrap();
    let (made, after) = footer.split_once("<time").unwrap();
    let (_, end) = after.split_once("</time>").unwrap();
    format!("{before}<footer>{made}<time>TIME</time>{end}")
}

/// Compares with what is in the repository, or, with `UPDATE_GOLDEN=1`, writes it there.
fn golden(name: &str, found: &str) {
    let path = data("golden/report").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        found,
        expected,
        "{} is not as it was; look at it, and set UPDATE_GOLDEN=1 if it is right",
        path.display()
    );
}

async fn the_files_are_as_they_were(database: Database) {
    let cluster = recorded(&database, "t3").await;
    // It has another name in each test.
    let in_k6_runs = |text: &str| text.replace(cluster.namespace(), "k6-runs");
    for run in RUNS {
        let folder = tempfile::tempdir().unwrap();
        let files = files(&database, run, folder.path()).await;
        golden(
            &format!("{run}.html"),
            &in_k6_runs(&without_making(&files.html)),
        );
        golden(&format!("{run}.xml"), &in_k6_runs(&files.junit));
        golden(&format!("{run}.md"), &in_k6_runs(&files.markdown));
    }
    let html = report(&database, "slo", &["--html", "-"]).await;
    assert_eq!(html.code, 0, "{html:?}");
    assert!(html.stdout.starts_with("<!DOCTYPE html>"));
    assert!(html.stdout.ends_with("</html>\n"), "{}", html.stdout);
    // It refers to nothing outside: what the log says is only text.
    let (before, said) = html.stdout.split_once("<pre").unwrap();
    let (_, after) = said.split_once("</pre>").unwrap();
    let outside = format!("{before}{after}").replace("http://www.w3.org/2000/svg", "");
    for reference in [
        "://", "src=", "href=", "url(h", "@import", "<script", "<link", "unsafe",
    ] {
        assert!(!outside.contains(reference), "{reference}: {outside}");
    }
}

async fn the_timeline_tells_when_k6sync_read(database: Database) {
    let cluster = Cluster::start().await;
    cluster.running("shop", 2).await;
    let told = async || {
        let run = report(&database, "shop", &["--html", "-"]).await;
        assert_eq!(run.code, 0, "{run:?}");
        let (_, row) = run.stdout.split_once(">k6sync read</text>").unwrap();
        let (_, end) = row.split_once("currentColor\">").unwrap();
        end.split_once('<').unwrap().0.to_owned()
    };
    for cycles in ["✓ 1 cycle", "✓ 2 cycles", "✓ 3 cycles"] {
        sync(&cluster, &database).await;
        assert_eq!(told().await, cycles);
    }
    // Those who looked at another cluster did not read it, and those before it began can't have.
    let now = "(SELECT max(started_at) FROM sync_cycles)";
    for (at, cluster) in [
        (now, "'elsewhere'"),
        ("'2020-01-01T00:00:00.000000Z'", "NULL"),
    ] {
        database
            .execute(&format!(
                "INSERT INTO sync_cycles (started_at, duration_ms, \"trigger\", instance, outcome, total, updated, errors,
                     logs_updated, log_bytes, cluster)
                 VALUES ({at}, 1, 'loop', 'x', 'completed', 0, 0, 0, 0, 0, {cluster})"
            ))
            .await;
    }
    assert_eq!(told().await, "✓ 3 cycles");
    // One that failed is told, too.
    database
        .execute("UPDATE sync_cycles SET outcome = 'failed' WHERE id = (SELECT max(id) - 2 FROM sync_cycles)")
        .await;
    assert_eq!(told().await, "✗ 1 of 3 failed");
}

async fn hostile_names_and_logs_are_only_text(database: Database) {
    let _cluster = recorded(&database, "t3").await;
    let hostile =
        "</title><script>alert(1)</script> ]]> |`@x`| ::error::x \u{1b}[31m \u{202e}x &lt; \"'";
    let name = hostile.replace('\'', "''");
    database
        .execute(&format!(
            "UPDATE test_runs SET name = '{name}', external_id = 'hostile' WHERE name = 'slo'"
        ))
        .await;
    database
        .execute(&format!("UPDATE test_run_steps SET name = '{name}', reason = '{name}', message = '{name}' WHERE k6_test_name = 'slo'"))
        .await;
    database
        .execute(&format!("UPDATE step_thresholds SET metric = '{name}', expression = '{name}' WHERE metric = 'checks'"))
        .await;
    let line = format!("level=error msg=\"{name}\" {}\n", "é".repeat(500_000));
    database
        .execute(&format!(
            "UPDATE log_chunks SET body = '{line}', lines = 1
             WHERE stream_id IN (SELECT id FROM log_streams WHERE pod_name LIKE 'slo-1-%')"
        ))
        .await;
    let folder = tempfile::tempdir().unwrap();
    let files = files(&database, "hostile", folder.path()).await;
    assert!(files.html.len() < 100_000, "{}", files.html.len());
    for harmful in ["<script", "\u{1b}", "\u{202e}"] {
        for file in [&files.html, &files.junit, &files.markdown] {
            assert!(!file.contains(harmful), "{harmful:?}: {file}");
        }
    }
    assert!(files.html.contains("&#60;script&#62;"), "{}", files.html);
    assert!(!files.markdown.contains("@x"), "{}", files.markdown);
}

async fn a_run_that_is_not_over_is_no_success(database: Database) {
    let _cluster = recorded(&database, "t1").await;
    let junit = report(&database, "nightly-7", &["--junit", "-"]).await;
    assert_eq!(junit.code, 0, "{junit:?}");
    assert!(junit.stdout.contains("the run has not ended"), "{junit:?}");
    assert!(!junit.stdout.contains("errors=\"0\""), "{junit:?}");
    assert!(junit.stderr.contains("is not over"), "{junit:?}");
    let folder = tempfile::tempdir().unwrap();
    let files = files(&database, "nightly-7", folder.path()).await;
    assert!(
        files.html.contains("This run is not over"),
        "{}",
        files.html
    );
    assert!(files.markdown.contains("not over"), "{}", files.markdown);
}

async fn what_cannot_be_written_or_found_is_said(database: Database) {
    let _cluster = recorded(&database, "t3").await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (run, args, code, message) in [
        ("no-such-run", vec!["--html", "-"], 3, "no run has the id"),
        ("slo", vec![], 2, "--html"),
        (
            "slo",
            vec!["--html", "-", "--junit", "-"],
            2,
            "standard output",
        ),
        (
            "slo",
            vec!["--html", &path("a"), "--junit", &path("a")],
            2,
            "in one file",
        ),
        (
            "slo",
            vec!["--html", &path("none/a.html")],
            2,
            "does not exist",
        ),
        (
            "slo",
            vec!["--html", folder.path().to_str().unwrap()],
            2,
            "is a folder",
        ),
    ] {
        let said = report(&database, run, &args).await;
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.stderr.contains(message), "{message}: {said:?}");
        assert_eq!(said.stdout, "");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    // What was there stays, if the new one can't be written whole.
    let file = path("run.html");
    std::fs::write(&file, "before").unwrap();
    if database.is_postgres() {
        // SQLite has files of its own that would be limited too.
        let limited = Program::new(&[
            "report",
            "slo",
            "--database-url",
            database.url(),
            "--html",
            &file,
        ])
        .limit_file_size(4_096)
        .run()
        .await;
        assert_ne!(limited.code, 0, "{limited:?}");
    }
    let full = report(&database, "slo", &["--html", "/dev/full"]).await;
    assert_eq!(full.code, 1, "{full:?}");
    assert!(full.stderr.contains("cannot write /dev/full"), "{full:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "before");
    let replaced = report(&database, "slo", &["--html", &file]).await;
    assert_eq!(replaced.code, 0, "{replaced:?}");
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .starts_with("<!DOCTYPE html>")
    );
    let unreadable = report(
        &Database::at("sqlite:///no/such/file.db"),
        "slo",
        &["--html", "-"],
    )
    .await;
    assert_eq!(unreadable.code, 5, "{unreadable:?}");
}
