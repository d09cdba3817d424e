//! Every file and every arrow, held against the rules.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::Graph;
use super::modules::Modules;
use super::source::Source;
use super::{FLOORS, GROUND_OF_K6, IMPURE, ITEMS_FOR_THE_PURE, PURE, PURE_ENOUGH};

/// What is wrong, each with the file and what it names.
pub(super) type Problems = Vec<String>;

/// A use of something in another file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrow {
    from: String,
    to: String,
    /// What is used; `None`: the module as such.
    item: Option<String>,
}

pub(super) struct House {
    pub(super) files: BTreeMap<String, Source>,
    pub(super) arrows: BTreeSet<Arrow>,
}

impl House {
    /// Of files by their paths from the root, such as `src/store/mod.rs`.
    pub(super) fn of(files: &BTreeMap<String, String>) -> Self {
        let files: BTreeMap<String, Source> = files
            .iter()
            .filter(|(path, _)| !path.ends_with("/tests.rs") && !path.contains("/tests/"))
            .map(|(path, text)| (path.clone(), Source::read(path, text)))
            .collect();
        let modules = Modules::of(&files);
        let mut arrows = BTreeSet::new();
        for (path, source) in &files {
            for import in &source.imports {
                if import.only_passes_on(source) {
                    continue;
                }
                if let Some((to, item)) = modules.resolve(&import.module, &import.path, 0)
                    && to != *path
                {
                    let from = path.clone();
                    arrows.insert(Arrow { from, to, item });
                }
            }
        }
        Self { files, arrows }
    }

    fn room_arrows(&self) -> impl Iterator<Item = (&str, &str, &Arrow)> {
        self.arrows
            .iter()
            .map(|arrow| (room(&arrow.from), room(&arrow.to), arrow))
            .filter(|(from, to, _)| from != to && *from != "lib" && *to != "lib")
    }

    /// Every rule.
    pub(super) fn problems(&self) -> Problems {
        let mut problems = self.arrows_up();
        problems.extend(self.strangers());
        problems.extend(self.circles_of_rooms());
        problems.extend(self.circles_of_files());
        problems.extend(self.impurities());
        problems
    }

    fn arrows_up(&self) -> Problems {
        let floor = |room: &str| FLOORS.iter().position(|floor| floor.contains(&room));
        let mut problems: Problems = self
            .files
            .keys()
            .map(|path| room(path))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .filter(|room| *room != "lib" && floor(room).is_none())
            .map(|room| format!("the room `{room}` has no floor: give it one in FLOORS"))
            .collect();
        for (from, to, arrow) in self.room_arrows() {
            if let (Some(upper), Some(lower)) = (floor(from), floor(to))
                && upper >= lower
            {
                problems.push(format!("an arrow up: {arrow}"));
            }
        }
        problems
    }

    /// The floors say it already; this is the rule that must hold whatever becomes of them.
    fn strangers(&self) -> Problems {
        self.room_arrows()
            .filter(|(from, to, _)| {
                matches!((*from, *to), ("cluster", "store") | ("store", "cluster"))
            })
            .map(|(from, to, arrow)| format!("`{from}` must not know `{to}`: {arrow}"))
            .collect()
    }

    fn circles_of_rooms(&self) -> Problems {
        let mut graph = Graph::default();
        for (from, to, _) in self.room_arrows() {
            graph.add(from, to);
        }
        graph
            .circles()
            .into_iter()
            .map(|rooms| format!("a circle of rooms: {}", names(&rooms)))
            .collect()
    }

    fn circles_of_files(&self) -> Problems {
        let mut graph = Graph::default();
        for Arrow { from, to, .. } in &self.arrows {
            graph.add(from, to);
        }
        graph
            .circles()
            .into_iter()
            .map(|files| {
                let arrows = self
                    .arrows
                    .iter()
                    .filter(|arrow| files.contains(arrow.from.as_str()))
                    .filter(|arrow| files.contains(arrow.to.as_str()))
                    .map(|arrow| format!("\n    {arrow}"));
                format!("a circle of files:{}", arrows.collect::<String>())
            })
            .collect()
    }

    fn impurities(&self) -> Problems {
        let mut problems = Problems::new();
        let begins = |path: &str, beginnings: &[&str]| {
            beginnings
                .iter()
                .any(|beginning| path.starts_with(beginning))
        };
        for arrow in &self.arrows {
            let item = arrow.item.as_deref().unwrap_or("*");
            let is_allowed = if arrow.from.starts_with("src/k6/") {
                begins(&arrow.to, GROUND_OF_K6)
            } else if begins(&arrow.from, PURE) {
                begins(&arrow.to, PURE)
                    || begins(&arrow.to, PURE_ENOUGH)
                    || matches!(room(&arrow.to), "cluster" | "store")
                        && ITEMS_FOR_THE_PURE.contains(&item)
            } else {
                true
            };
            if !is_allowed {
                problems.push(format!("a pure file stands on what is not: {arrow}"));
            }
        }
        for (path, source) in &self.files {
            if begins(path, PURE) {
                let words = source.words.iter().chain(&source.imported_words);
                let impure: BTreeSet<&str> = words
                    .map(String::as_str)
                    .filter(|word| IMPURE.contains(word))
                    .chain(source.asks_a_clock().then_some("now"))
                    .collect();
                if !impure.is_empty() {
                    problems.push(format!("{path} is to be pure, and has {}", names(&impure)));
                }
            }
        }
        problems
    }
}

impl std::fmt::Display for Arrow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} → {}", self.from, self.to)?;
        match &self.item {
            Some(item) => write!(f, " (`{item}`)"),
            None => Ok(()),
        }
    }
}

/// `src/store/url.rs` → `store`, `src/retry.rs` → `retry`
fn room(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    let first = inner.split('/').next().unwrap_or_default();
    first.strip_suffix(".rs").unwrap_or(first)
}

fn names(of: &BTreeSet<&str>) -> String {
    of.iter().copied().collect::<Vec<_>>().join(", ")
}
