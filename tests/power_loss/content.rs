//! The tree that is indexed, on an ordinary disk.

use crate::support::{self, Place, Random, Vocabulary};
use leindex_engine::Query;
use std::fs;

const WORDS_PER_FILE: usize = 40;
const QUERIES: usize = 12;

/// A tree, and everything that is drawn at random.
pub(super) struct Content {
    pub(super) place: Place,
    pub(super) random: Random,
    pub(super) queries: Vec<Query>,
    vocabulary: Vocabulary,
    /// Names that were never used are numbered.
    made: usize,
}

impl Content {
    /// A tree of directories `d0`, `d1`, ... with so many files each.
    pub(super) fn new(seed: u64, dirs: usize, files: usize) -> Content {
        let mut random = Random(seed);
        let vocabulary = Vocabulary::new(3000);
        let queries = vocabulary.queries(&mut random, QUERIES);
        let mut content = Content { place: Place::new(), random, queries, vocabulary, made: 0 };
        for dir in 0..dirs {
            (0..files).for_each(|_| content.make_file(&format!("d{dir}")));
        }
        support::settle(&content.place.root());
        content
    }

    fn text(&mut self) -> String {
        let words = 1 + self.random.below(2 * WORDS_PER_FILE);
        self.vocabulary.text(&mut self.random, words)
    }

    fn make_file(&mut self, dir: &str) {
        let text = self.text();
        self.place.write(format!("{dir}/file{}.c", self.made), text);
        self.made += 1;
    }

    /// Changes a quarter of the files: their contents, their names, or whether they are there.
    pub(super) fn edit(&mut self) {
        let root = self.place.root();
        for file in support::walk(&root).into_iter().filter(|path| path.is_file()) {
            match self.random.below(20) {
                0 | 1 => fs::write(&file, self.text()).unwrap(),
                2 => {
                    fs::remove_file(&file).unwrap();
                    let dir = file.parent().unwrap().strip_prefix(&root).unwrap().display().to_string();
                    self.make_file(&dir);
                }
                3 => {
                    fs::rename(&file, file.with_file_name(format!("renamed{}.c", self.made))).unwrap();
                    self.made += 1;
                }
                4 => drop(fs::remove_file(&file)),
                _ => {}
            }
        }
        let new = format!("new{}", self.made);
        (0..5).for_each(|_| self.make_file(&new));
        support::settle(&root);
    }
}
