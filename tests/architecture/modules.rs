//! What a path names: the file that defines it, looked for through re-exports.

use std::collections::BTreeMap;

use super::source::{Import, Path, Source, module_of};

/// Where modules are, and what they pass on.
pub(super) struct Modules<'a> {
    /// The file of each module, `[]` being the crate.
    files: BTreeMap<Path, &'a str>,
    /// What a `use` in a module binds: name → the module in which its path is to be read, and the path.
    bound: BTreeMap<(Path, &'a str), &'a Import>,
}

impl<'a> Modules<'a> {
    pub(super) fn of(files: &'a BTreeMap<String, Source>) -> Self {
        let mut modules = Self {
            files: BTreeMap::new(),
            bound: BTreeMap::new(),
        };
        for (path, source) in files {
            modules.files.insert(module_of(path), path);
            for import in source.imports.iter().filter(|import| import.is_use) {
                if let Some(name) = import.name.as_deref() {
                    let at = (import.module.clone(), name);
                    modules.bound.insert(at, import);
                }
            }
        }
        modules
    }

    /// The file that defines what `path` names in `module`, and the item; `None`: another crate does.
    pub(super) fn resolve(
        &self,
        module: &[String],
        path: &[String],
        depth: usize,
    ) -> Option<(String, Option<String>)> {
        let mut at: Path = Vec::new();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" | "k6sync" => rest = &rest[1..],
            "self" => {
                at = module.to_vec();
                rest = &rest[1..];
            }
            "super" => at = module.to_vec(),
            child => {
                at = module.to_vec();
                at.push(child.to_owned());
                if !self.files.contains_key(&at) {
                    return None;
                }
                rest = &rest[1..];
            }
        }
        while rest.first().is_some_and(|name| name == "super") {
            at.pop();
            rest = &rest[1..];
        }
        while let Some((name, beyond)) = rest.split_first() {
            let inner: Path = at.iter().chain([name]).cloned().collect();
            if self.files.contains_key(&inner) {
                (at, rest) = (inner, beyond);
                continue;
            }
            // Two modules may pass on each other's names.
            if let Some(import) = self.bound.get(&(at.clone(), name.as_str()))
                && depth < 10
            {
                let mut path = import.path.clone();
                path.extend(beyond.iter().cloned());
                return self.resolve(&import.module, &path, depth + 1);
            }
            return Some((self.file(&at), Some(name.clone())));
        }
        Some((self.file(&at), None))
    }

    /// A module that is no file is within one.
    fn file(&self, module: &[String]) -> String {
        let known = (0..=module.len())
            .rev()
            .find_map(|length| self.files.get(&module[..length]));
        known.map_or_else(|| "src/lib.rs".to_owned(), |file| (*file).to_owned())
    }
}
