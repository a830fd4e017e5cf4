//! The part of a tree that a run is held to, as a tree of names: asking about a name costs a look-up, however many paths
//! were named.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Some entries of a directory.
#[derive(Debug, Default)]
pub(crate) struct Only(BTreeMap<Vec<u8>, Part>);

/// What of a directory is to be looked at: `None` for all of it.
pub(crate) type Part = Option<Arc<Only>>;

impl Only {
    /// The entries at `paths`, which are relative and have a slash between names. A directory stands for all below it.
    pub(crate) fn of<'p>(paths: impl IntoIterator<Item = &'p [u8]>) -> Only {
        let mut only = Only::default();
        for path in paths {
            only.add(path);
        }
        only
    }

    fn add(&mut self, path: &[u8]) {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let (name, rest) = match path.iter().position(|&byte| byte == b'/') {
            Some(slash) => (&path[..slash], Some(&path[slash + 1..])),
            None => (path, None),
        };
        match rest {
            None => {
                self.0.insert(name.to_vec(), None);
            }
            Some(rest) => {
                let part = self.0.entry(name.to_vec()).or_insert_with(|| Some(Arc::default()));
                // All of it is wanted already, or nobody else holds a tree that is still being made.
                if let Some(only) = part.as_mut().and_then(Arc::get_mut) {
                    only.add(rest);
                }
            }
        }
    }

    /// Whether the entry is to be looked at, and what of it.
    pub(super) fn wanted(&self, name: &[u8]) -> Option<Part> {
        self.0.get(name).cloned()
    }
}

/// As [`Only::wanted`] for a directory of which `part` is to be looked at.
pub(super) fn wanted(part: &Part, name: &[u8]) -> Option<Part> {
    match part {
        None => Some(None),
        Some(only) => only.wanted(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whether `path` is to be looked at, walking from the root as a run does.
    fn is_reached(only: Only, path: &str) -> bool {
        let mut part = Some(Arc::new(only));
        path.split('/').all(|name| match wanted(&part, name.as_bytes()) {
            Some(next) => {
                part = next;
                true
            }
            None => false,
        })
    }

    proptest! {
        /// A path is reached when one that was named is it, lies above it, or lies below it.
        #[test]
        fn reaches_what_was_named(paths in prop::collection::vec("[ab](/[ab]){0,3}", 0..6), asked in "[ab](/[ab]){0,3}") {
            let below = |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
            let expected = paths.iter().any(|path| below(path, &asked) || below(&asked, path));
            let only = Only::of(paths.iter().map(|path| path.as_bytes()));
            prop_assert_eq!(is_reached(only, &asked), expected, "{:?} in {:?}", asked, paths);
        }
    }
}
