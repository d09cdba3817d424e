//! Which nodes reach each other.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(super) struct Graph<'a>(BTreeMap<&'a str, BTreeSet<&'a str>>);

impl<'a> Graph<'a> {
    pub(super) fn add(&mut self, from: &'a str, to: &'a str) {
        self.0.entry(from).or_default().insert(to);
    }

    /// All that can be reached from here in one step or more.
    fn beyond(&self, from: &str) -> BTreeSet<&'a str> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = self.0.get(from).into_iter().flatten().copied().collect();
        while let Some(node) = open.pop() {
            if let Some(next) = self.0.get(node) {
                open.extend(next.iter().filter(|next| !seen.contains(*next)));
            }
            if let Some((node, _)) = self.0.get_key_value(node) {
                seen.insert(*node);
            }
        }
        seen
    }

    /// The sets of nodes that can reach each other.
    pub(super) fn circles(&self) -> Vec<BTreeSet<&'a str>> {
        let beyond: BTreeMap<&str, BTreeSet<&'a str>> = self
            .0
            .keys()
            .map(|node| (*node, self.beyond(node)))
            .collect();
        let reach_each_other = |a: &str, b: &str| beyond[a].contains(b) && beyond[b].contains(a);
        let mut circles: Vec<BTreeSet<&'a str>> = Vec::new();
        for node in self.0.keys().filter(|node| beyond[*node].contains(*node)) {
            match circles.iter_mut().find(|circle| {
                circle
                    .first()
                    .is_some_and(|one| reach_each_other(one, node))
            }) {
                Some(circle) => {
                    circle.insert(node);
                }
                None => circles.push(BTreeSet::from([*node])),
            }
        }
        circles
    }
}
