//! `scripts/supply-chain.sh` lets in what `.cargo/deny.toml` allows, and nothing else.
//!
//! Where there is no cargo-deny, what needs it says on standard error that it was skipped.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn script(args: &[&str]) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/supply-chain.sh");
    let mut command = Command::new(path);
    command.args(args);
    command
}

fn told(output: &Output) -> String {
    let streams = [&output.stdout, &output.stderr];
    streams.map(|text| String::from_utf8_lossy(text)).concat()
}

/// All crates that we build with, as cargo knows them.
fn crates() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn checked(crates: &Value) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&file, crates).unwrap();
    let metadata = ["--metadata", file.path().to_str().unwrap()];
    script(&metadata).output().unwrap()
}

fn package<'a>(crates: &'a mut Value, name: &str) -> &'a mut Value {
    let packages = crates["packages"].as_array_mut().unwrap();
    let package = packages.iter_mut().find(|package| package["name"] == name);
    package.unwrap_or_else(|| panic!("there is no crate {name}"))
}

/// Gives those crates a name that there are two versions of.
fn double(crates: &mut Value, name: &str) {
    let packages = crates["packages"].as_array_mut().unwrap();
    let names: Vec<Value> = packages.iter().map(|p| p["name"].clone()).collect();
    let of = |name: &Value| names.iter().filter(|other| *other == name).count();
    let double = names.iter().find(|name| of(name) > 1).unwrap();
    for package in packages.iter_mut().filter(|p| p["name"] == *double) {
        package["name"] = name.into();
    }
}

#[test]
fn what_is_not_let_in_is_refused() {
    let crates = crates();
    let output = checked(&crates);
    let text = told(&output);
    assert!(output.status.success(), "{text}");
    if text.contains("NOT CHECKED") {
        eprintln!("cargo-deny is missing: what it would refuse is not tried");
        return;
    }
    assert!(text.contains("bans ok, licenses ok, sources ok"), "{text}");

    type Change = fn(&mut Value);
    let cases: [(&str, Change); 6] = [
        ("error[rejected]", |crates| {
            package(crates, "strsim")["license"] = "GPL-3.0-only".into();
        }),
        ("error[banned]", |crates| {
            package(crates, "strsim")["name"] = "openssl-sys".into();
        }),
        ("error[duplicate]", |crates| double(crates, "tokio")),
        ("error[wildcard]", |crates| {
            package(crates, "k6sync")["dependencies"][0]["req"] = "*".into();
        }),
        ("error[source-not-allowed]", |crates| {
            let commit = "0".repeat(40);
            let source = format!("git+https://git.example.com/strsim#{commit}");
            package(crates, "strsim")["source"] = source.into();
        }),
        ("error[source-not-allowed]", |crates| {
            let source = "registry+https://registry.example.com/index";
            package(crates, "strsim")["source"] = source.into();
        }),
    ];
    for (problem, change) in cases {
        let mut changed = crates.clone();
        change(&mut changed);
        let output = checked(&changed);
        let text = told(&output);
        assert!(!output.status.success(), "{problem}: {text}");
        assert!(text.contains(problem), "{problem}: {text}");
    }
}

#[test]
fn what_is_not_checked_is_said_and_an_error_if_it_must_be() {
    let nowhere = tempfile::tempdir().unwrap();
    // A copy, since this folder may have a cargo-deny in target/tools.
    let scripts = nowhere.path().join("scripts");
    std::fs::create_dir(&scripts).unwrap();
    let copy = scripts.join("supply-chain.sh");
    let original = script(&[]).get_program().to_owned();
    let copied = Command::new("cp").arg(original).arg(&copy).status();
    assert!(copied.unwrap().success());
    for (args, code) in [(&[][..], 0), (&["--require"], 1), (&["--requires"], 2)] {
        let output = Command::new("bash")
            .arg(&copy)
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", nowhere.path())
            .output()
            .unwrap();
        let text = told(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        let expected = match code {
            2 => "usage: scripts/supply-chain.sh",
            _ => "licences, bans, sources, advisories: NOT CHECKED, because there is no cargo-deny",
        };
        assert!(text.contains(expected), "{args:?}: {text}");
    }
}

/// Who lets something in says why.
#[test]
fn every_exception_has_its_reason() {
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cargo/deny.toml");
    let policy = std::fs::read_to_string(policy).unwrap();
    let is_entry = |line: &&str| line.trim_start().starts_with('{');
    let entries: Vec<&str> = policy.lines().filter(is_entry).collect();
    assert!(entries.iter().any(|entry| entry.contains("RUSTSEC-")));
    for entry in entries {
        assert!(entry.contains("reason = \""), "{entry}");
    }
    assert!(
        !policy.contains("\n    \"RUSTSEC-"),
        "an advisory is ignored without a reason"
    );
}
