//! What the documentation points at exists: headings that comments cite, files and anchors that pages link to, evidence
//! and tests that `docs/facts.md` names. And what there is can be found: keys, columns, pages and scripts.
//!
//! No dependency but std, so that `rustc --test tests/docs.rs` is enough to run it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that fails should say where"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

// === Files ===

fn root() -> PathBuf {
    PathBuf::from(option_env!("CARGO_MANIFEST_DIR").unwrap_or("."))
}

/// Every text file that we write ourselves, with its path from the root. Recordings and what tools leave are left out.
fn files() -> Vec<(String, String)> {
    const LEFT_OUT: [&str; 4] = [
        "target",
        "tests/data/recorded",
        "tests/fuzz/corpus",
        "tests/fuzz/target",
    ];
    const TEXT: [&str; 8] = ["c", "json", "md", "rs", "sh", "sql", "toml", "yaml"];
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = match folder.as_str() {
                "" => name.clone(),
                folder => format!("{folder}/{name}"),
            };
            if entry.file_type().unwrap().is_dir() {
                if name != ".git" && !LEFT_OUT.contains(&path.as_str()) {
                    folders.push(path);
                }
            } else if Path::new(&name)
                .extension()
                .is_some_and(|extension| TEXT.contains(&extension.to_str().unwrap_or("")))
            {
                let bytes = fs::read(root().join(&path)).unwrap();
                found.push((path, String::from_utf8_lossy(&bytes).into_owned()));
            }
        }
    }
    found.sort();
    assert!(found.len() > 100, "only {} files found", found.len());
    found
}

fn pages() -> Vec<(String, String)> {
    files()
        .into_iter()
        .filter(|(path, _)| path.ends_with(".md") && !path.starts_with("tests/"))
        .collect()
}

// === Markdown ===

/// The lines that are not within a fenced block.
fn prose(text: &str) -> Vec<&str> {
    let mut fenced = false;
    text.lines()
        .filter(|line| {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            !fenced && !fence
        })
        .collect()
}

/// The headings as a reader sees them: without the marks of code.
fn headings(text: &str) -> Vec<String> {
    prose(text)
        .into_iter()
        .filter_map(|line| {
            let title = line.trim_start_matches('#');
            (title.len() < line.len() && title.starts_with(' '))
                .then(|| title.trim().replace('`', ""))
        })
        .collect()
}

/// The anchors that GitHub makes of the headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for heading in headings(text) {
        let slug: String = heading
            .to_lowercase()
            .chars()
            .filter(|&c| c.is_alphanumeric() || " -_".contains(c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let mut anchor = slug.clone();
        let mut times = 0;
        while anchors.contains(&anchor) {
            times += 1;
            anchor = format!("{slug}-{times}");
        }
        anchors.insert(anchor);
    }
    anchors
}

/// A line without its code spans.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// The targets of links and pictures, in Markdown and in HTML.
fn targets(text: &str) -> Vec<String> {
    let mut targets = Vec::new();
    for line in prose(text) {
        // A code span may be the link's text, so that the target is looked for in the whole line.
        let code_free = without_code(line);
        for (start, end) in [("](", ')'), ("src=\"", '"'), ("srcset=\"", '"')] {
            let line = if start == "](" { line } else { &code_free };
            for part in line.split(start).skip(1) {
                let target = part.split(end).next().unwrap();
                targets.push(target.to_owned());
            }
        }
    }
    targets
}

// === What is cited in comments ===

/// The text with its comment marks and line breaks gone, so that a citation may go over two lines.
fn joined(text: &str) -> String {
    text.lines()
        .map(|line| {
            let line = line.trim();
            ["///", "//!", "//", "--", "#"]
                .into_iter()
                .find_map(|mark| line.strip_prefix(mark))
                .unwrap_or(line)
                .trim()
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// `docs/facts.md, "One heading", "another"`: the page and each of the headings.
fn citations(text: &str) -> Vec<(String, String)> {
    let text = joined(text);
    let mut found = Vec::new();
    for (end, mark) in text.match_indices(".md, \"") {
        let start = text[..end]
            .rfind(|c: char| !(c.is_ascii_alphanumeric() || "/_.-".contains(c)))
            .map_or(0, |at| at + 1);
        let page = format!("{}.md", &text[start..end]);
        let mut rest = &text[end + mark.len() - 1..];
        while let Some((heading, after)) = rest.strip_prefix('"').and_then(|r| r.split_once('"')) {
            found.push((page.clone(), heading.to_owned()));
            rest = after
                .strip_prefix(", ")
                .or_else(|| after.strip_prefix(" and "))
                .unwrap_or("");
        }
    }
    found
}

// === Tests ===

#[test]
fn cited_headings_exist() {
    let mut cited = 0;
    for (path, text) in files() {
        if path == "tests/docs.rs" {
            continue;
        }
        for (page, heading) in citations(&text) {
            let there = fs::read_to_string(root().join(&page))
                .unwrap_or_else(|error| panic!("{path} cites {page}: {error}"));
            assert!(
                headings(&there).contains(&heading),
                "{path} cites {page}, {heading:?}: there is no such heading"
            );
            cited += 1;
        }
    }
    assert!(cited > 50, "only {cited} citations found");
}

#[test]
fn a_citation_may_go_over_lines() {
    let text = "/// Why (docs/a-b.md, \"One\",\n    /// \"Two of\n    /// them\"). \"No\"";
    let page = || "docs/a-b.md".to_owned();
    assert_eq!(
        citations(text),
        [
            (page(), "One".to_owned()),
            (page(), "Two of them".to_owned())
        ]
    );
}

#[test]
fn pages_that_are_named_exist() {
    for (path, text) in files() {
        if path == "tests/docs.rs" {
            continue;
        }
        for (at, _) in text.match_indices("docs/") {
            // A web address may look like a page of ours.
            if text[..at].ends_with('/') {
                continue;
            }
            let name: String = text[at..]
                .chars()
                .take_while(|&c| c.is_ascii_alphanumeric() || "-_./".contains(c))
                .collect();
            if let Some((page, _)) = name.split_once(".md") {
                assert!(
                    root().join(format!("{page}.md")).is_file(),
                    "{path} names {page}.md, which is not there"
                );
            }
        }
    }
}

#[test]
fn links_lead_somewhere() {
    let mut links = 0;
    for (path, text) in pages() {
        let folder = Path::new(&path).parent().unwrap().to_owned();
        for target in targets(&text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let file = match file {
                "" => root().join(&path),
                file => root().join(&folder).join(file),
            };
            assert!(file.exists(), "{path} links to {target}: no such file");
            if !anchor.is_empty() {
                let there = fs::read_to_string(&file).unwrap();
                assert!(
                    anchors(&there).contains(anchor),
                    "{path} links to {target}: no such heading"
                );
            }
        }
    }
    assert!(links > 10, "only {links} links found");
}

#[test]
fn every_key_of_the_configuration_is_explained() {
    let example = fs::read_to_string(root().join("config.example.yaml")).unwrap();
    let page = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    // The sections that a line is in, each with the dot after it.
    let mut sections: Vec<String> = Vec::new();
    let mut keys = 0;
    for line in example.lines().filter(|line| !line.contains('#')) {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let name = key.trim_start();
        sections.truncate((key.len() - name.len()) / 2);
        if value.is_empty() {
            sections.push(format!("{name}."));
            continue;
        }
        let name = format!("`{}{name}`", sections.concat());
        assert!(
            page.contains(&name),
            "docs/configuration.md does not have {name}"
        );
        keys += 1;
    }
    assert!(keys > 15, "only {keys} keys found");
}

#[test]
fn every_column_is_explained() {
    let pages: String = ["docs/database.md", "docs/guarantees.md"]
        .iter()
        .map(|page| fs::read_to_string(root().join(page)).unwrap())
        .collect();
    let mut columns = 0;
    let mut check = |path: &str, name: &str| {
        let name = name.trim_matches('"');
        let is_there = [format!("`{name}`"), format!(".{name}`")]
            .iter()
            .any(|name| pages.contains(name.as_str()));
        assert!(is_there, "{path}: docs/database.md does not have {name}");
        columns += 1;
    };
    for (path, sql) in files() {
        if !path.starts_with("src/store/migrations/") {
            continue;
        }
        let mut in_table = false;
        for line in sql.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["CREATE", "TABLE", name, ..] => {
                    check(&path, name);
                    in_table = true;
                }
                ["ALTER", "TABLE", _, "ADD", "COLUMN", name, ..] => check(&path, name),
                [first, ..] if first.starts_with(')') => in_table = false,
                [name, _, ..]
                    if in_table && name.starts_with(|c: char| c.is_lowercase() || c == '"') =>
                {
                    check(&path, name);
                }
                _ => {}
            }
        }
    }
    assert!(columns > 80, "only {columns} columns found");
}

#[test]
fn the_readme_is_short() {
    let lines = fs::read_to_string(root().join("README.md"))
        .unwrap()
        .lines()
        .count();
    assert!(
        lines <= 200,
        "README.md has {lines} lines; move what is for one kind of reader to docs/"
    );
}

#[test]
fn every_page_and_script_is_in_an_index() {
    for (index, folder, ending) in [
        ("README.md", "docs", ".md"),
        ("scripts/README.md", "scripts", ".sh"),
    ] {
        let text = fs::read_to_string(root().join(index)).unwrap();
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_linked = targets(&text).iter().any(|target| target.ends_with(&name));
            assert!(
                !name.ends_with(ending) || is_linked,
                "{index} does not link to {folder}/{name}"
            );
        }
    }
}

#[test]
fn anchors_are_those_of_github() {
    let text = "# `sync-once`: what it does\n```sh\n# no heading\n```\n## A & B\n## A & B\n";
    let anchors: Vec<_> = anchors(text).into_iter().collect();
    assert_eq!(anchors, ["a--b", "a--b-1", "sync-once-what-it-does"]);
}

#[test]
fn the_evidence_for_facts_is_there() {
    let facts = fs::read_to_string(root().join("docs/facts.md")).unwrap();
    let mut seen = 0;
    for line in prose(&facts) {
        let spans: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        for (at, path) in spans.iter().enumerate() {
            if !path.starts_with("tests/") {
                continue;
            }
            assert!(root().join(path).exists(), "docs/facts.md names {path}");
            seen += 1;
            // `the_test` in `tests/…/file.rs`
            if path.ends_with(".rs") && at > 0 && line.contains(&format!("` in `{path}`")) {
                let code = fs::read_to_string(root().join(path)).unwrap();
                let name = spans[at - 1];
                assert!(
                    code.contains(&format!("fn {name}(")),
                    "docs/facts.md names the test {name} in {path}"
                );
            }
        }
    }
    assert!(seen > 20, "only {seen} pieces of evidence found");
}

#[test]
fn nothing_cites_what_is_not_here() {
    // Parted, so that this file does not break its own rule.
    let [numbered, plan] = [concat!("FA", "CT"), concat!("DES", "IGN")];
    for (path, text) in files() {
        for (number, line) in text.lines().enumerate() {
            let place = format!("{path}:{}", number + 1);
            let cites_number = [format!("{numbered} "), format!("{numbered}S ")]
                .iter()
                .any(|word| {
                    line.split(word.as_str())
                        .skip(1)
                        .any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
                });
            assert!(
                !cites_number,
                "{place} cites a fact by number; cite its heading in docs/facts.md"
            );
            assert!(
                !line.contains(plan),
                "{place} cites a plan that is not in the repository"
            );
        }
    }
}
