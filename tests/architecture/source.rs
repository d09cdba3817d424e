//! Reading Rust, as far as it takes to see what a file uses.

use std::collections::BTreeSet;

pub(super) type Path = Vec<String>;

/// `src/store/url.rs` → `[store, url]`, `src/store/mod.rs` → `[store]`
pub(super) fn module_of(path: &str) -> Path {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    let inner = inner.strip_suffix(".rs").unwrap_or(inner);
    let inner = inner.strip_suffix("/mod").unwrap_or(inner);
    match inner {
        "lib" => Vec::new(),
        inner => inner.split('/').map(str::to_owned).collect(),
    }
}

/// A `use`, or a path in code.
#[derive(Debug)]
pub(super) struct Import {
    /// The module that it stands in.
    pub(super) module: Path,
    pub(super) path: Path,
    pub(super) is_use: bool,
    /// Seen from outside of the module.
    pub(super) is_public: bool,
    /// What a `use` calls it; `None`: everything, or a path in code.
    pub(super) name: Option<String>,
}

impl Import {
    /// A child's item that this file shows under its own name, and does not use.
    pub(super) fn only_passes_on(&self, source: &Source) -> bool {
        let is_own = self.path.first().is_some_and(|first| first == "self");
        let is_used = |name: &String| source.words.contains(name);
        self.is_public && is_own && !self.name.as_ref().is_some_and(is_used)
    }
}

/// What is taken from a file.
pub(super) struct Source {
    pub(super) imports: Vec<Import>,
    /// Every word outside of `use`.
    pub(super) words: BTreeSet<String>,
    pub(super) imported_words: BTreeSet<String>,
}

impl Source {
    pub(super) fn read(path: &str, text: &str) -> Self {
        let tokens = without_tests(tokens(text));
        let mut source = Self {
            imports: Vec::new(),
            words: BTreeSet::new(),
            imported_words: BTreeSet::new(),
        };
        let mut module = module_of(path);
        // The depth of braces at which each module within the file began.
        let mut inner = Vec::new();
        let mut depth = 0;
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let next = tokens.get(at + 1).map_or("", String::as_str);
            match token.as_str() {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if inner.last() == Some(&depth) {
                        inner.pop();
                        module.pop();
                    }
                }
                "mod" if tokens.get(at + 2).is_some_and(|brace| brace == "{") => {
                    inner.push(depth);
                    module.push(next.to_owned());
                    depth += 1;
                    at += 2;
                }
                "pub" if next == "(" => {
                    let end = tokens[at..].iter().position(|token| token == ")");
                    at += end.unwrap_or(0);
                    let is_use = tokens.get(at + 1).is_some_and(|token| token == "use");
                    if is_use {
                        at = source.read_use(&tokens, at + 2, &module, true);
                    }
                }
                "pub" if next == "use" => at = source.read_use(&tokens, at + 2, &module, true),
                "use" if next != "<" => at = source.read_use(&tokens, at + 1, &module, false),
                word if is_word(word) => {
                    let is_field = at > 0 && matches!(tokens[at - 1].as_str(), "." | "::");
                    let mut path = vec![word.to_owned()];
                    while tokens.get(at + 1).is_some_and(|token| token == "::")
                        && tokens.get(at + 2).is_some_and(|token| is_word(token))
                    {
                        path.push(tokens[at + 2].clone());
                        at += 2;
                    }
                    source.words.extend(path.iter().cloned());
                    if path.len() > 1 && !is_field {
                        source.imports.push(Import {
                            module: module.clone(),
                            path,
                            is_use: false,
                            is_public: false,
                            name: None,
                        });
                    }
                }
                _ => {}
            }
            at += 1;
        }
        source
    }

    /// `Timestamp::now`; a field may have that name.
    pub(super) fn asks_a_clock(&self) -> bool {
        let last = |import: &Import| import.path.last().is_some_and(|last| last == "now");
        self.imports.iter().any(last)
    }

    /// Reads a `use` from behind the word to its semicolon, and says where that is.
    fn read_use(
        &mut self,
        tokens: &[String],
        begin: usize,
        module: &[String],
        is_public: bool,
    ) -> usize {
        let mut path: Path = Vec::new();
        // The lengths of the paths before open braces.
        let mut open = Vec::new();
        let mut alias = None;
        let mut is_open = true;
        for (at, token) in tokens.iter().enumerate().skip(begin) {
            match token.as_str() {
                "::" => {}
                "{" => open.push(path.len()),
                "as" => alias = tokens.get(at + 1).cloned(),
                "," | "}" | ";" => {
                    let base = open.last().copied().unwrap_or(0);
                    if is_open && path.len() > base {
                        self.bind(module, &path, alias.take(), is_public);
                    }
                    path.truncate(base);
                    is_open = token == ",";
                    if token == "}" {
                        open.pop();
                    } else if token == ";" {
                        return at;
                    }
                }
                word => {
                    is_open = true;
                    if tokens[at - 1] != "as" {
                        path.push(word.to_owned());
                    }
                }
            }
        }
        tokens.len()
    }

    fn bind(&mut self, module: &[String], path: &[String], alias: Option<String>, is_public: bool) {
        self.imported_words.extend(path.iter().cloned());
        let mut path = path.to_vec();
        let last = path.last().map_or("", String::as_str);
        let is_all = last == "*";
        if is_all || last == "self" && path.len() > 1 {
            path.pop();
        }
        let name = alias.or_else(|| path.last().cloned());
        self.imports.push(Import {
            module: module.to_vec(),
            name: name.filter(|_| !is_all),
            path,
            is_use: true,
            is_public,
        });
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Without the items under `#[cfg(test)]`.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_marked = tokens[at..].len() > MARK.len()
            && tokens[at..]
                .iter()
                .zip(MARK)
                .all(|(token, mark)| token == mark);
        if !is_marked {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let mut depth = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 && matches!(token.as_str(), "}" | ";") {
                break;
            }
        }
    }
    kept
}

/// Words, `::` and single signs; no comments, no text but paths in it, as `#[serde(with = "super::time")]` has one.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let is = |at: usize, expected: &str| {
        expected
            .chars()
            .enumerate()
            .all(|(offset, c)| chars.get(at + offset) == Some(&c))
    };
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if c.is_whitespace() {
            at += 1;
        } else if is(at, "//") {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if is(at, "/*") {
            let mut depth = 0;
            loop {
                if is(at, "/*") {
                    depth += 1;
                    at += 2;
                } else if is(at, "*/") {
                    depth -= 1;
                    at += 2;
                } else {
                    at += 1;
                }
                if depth == 0 || at >= chars.len() {
                    break;
                }
            }
        } else if let Some((begin, end_mark)) = raw_text(&chars, at) {
            at = begin;
            while at < chars.len() && !is(at, &end_mark) {
                at += 1;
            }
            at += end_mark.len();
        } else if c == '"' {
            let begin = at + 1;
            at = begin;
            while at < chars.len() && chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            let end = at.min(chars.len());
            let within: String = chars[begin..end].iter().collect();
            let is_path = within.contains("::")
                && within
                    .chars()
                    .all(|c| c.is_alphanumeric() || "_:".contains(c));
            if is_path {
                tokens.extend(self::tokens(&within));
            }
            tokens.push("\"".to_owned());
            at += 1;
        } else if c == '\'' && (is(at + 1, "\\") || is(at + 2, "'")) {
            at += if is(at + 1, "\\") { 3 } else { 2 };
            while at < chars.len() && chars[at] != '\'' {
                at += 1;
            }
            at += 1;
        } else if c.is_alphanumeric() || c == '_' {
            let begin = at;
            while at < chars.len() && (chars[at].is_alphanumeric() || chars[at] == '_') {
                at += 1;
            }
            tokens.push(chars[begin..at].iter().collect());
        } else if is(at, "::") {
            tokens.push("::".to_owned());
            at += 2;
        } else {
            tokens.push(c.to_string());
            at += 1;
        }
    }
    tokens
}

/// Where `r#"…"#` begins, and what ends it, if there is one.
fn raw_text(chars: &[char], at: usize) -> Option<(usize, String)> {
    let is_within_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    let mut begin = at;
    if chars[begin] == 'b' {
        begin += 1;
    }
    if is_within_word || chars.get(begin) != Some(&'r') {
        return None;
    }
    begin += 1;
    let hashes = chars[begin..].iter().take_while(|c| **c == '#').count();
    begin += hashes;
    (chars.get(begin) == Some(&'"')).then(|| (begin + 1, format!("\"{}", "#".repeat(hashes))))
}
