//! What people and shells can find out about the command line.

use crate::support::Program;

const READING: [&str; 9] = [
    "runs",
    "show",
    "logs",
    "wait",
    "compare",
    "report",
    "doctor",
    "completions",
    "man",
];

#[tokio::test]
async fn each_command_has_two_examples() {
    for command in READING {
        let run = Program::new(&[command, "--help"]).run().await;
        assert_eq!(run.code, 0, "{run:?}");
        let (_, examples) = run.stdout.split_once("Examples:\n").unwrap();
        let examples = examples
            .lines()
            .filter(|line| line.starts_with(&format!("  k6sync {command}")));
        assert!(examples.count() >= 2, "{}", run.stdout);
        // What is not for people is not shown.
        assert!(!run.stdout.contains("--remote"), "{}", run.stdout);
    }
}

#[tokio::test]
async fn shells_and_man_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = Program::new(&["completions", shell]).run().await;
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{shell}");
        for command in READING {
            assert!(run.stdout.contains(command), "{shell}: {command}");
        }
    }
    let bash = Program::new(&["completions", "bash"]).run().await.stdout;
    let completed = std::process::Command::new("bash")
        .args(["-c", &format!("{bash}\nCOMP_WORDS=(k6sync sh); COMP_CWORD=1; _k6sync k6sync sh k6sync; echo \"${{COMPREPLY[@]}}\"")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), "show");

    let page = Program::new(&["man"]).run().await;
    assert!(page.stdout.contains(".TH k6sync 1"), "{}", page.stdout);
    let pages = Program::new(&["man", "pages"]).run().await;
    assert_eq!(pages.code, 0, "{pages:?}");
    assert_eq!(pages.files, ["pages"]);
    let run = Program::new(&["completions", "tcsh"]).run().await;
    assert_eq!(run.code, 2, "{run:?}");
}
