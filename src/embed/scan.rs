//! The scan: the question against every row that is wanted.
//!
//! No graph of neighbours: one takes minutes to build and loses recall, and a row that goes has to be taken out of it. Over
//! 250,000 rows, the exact scan reads 64 MB in order, which takes as long as memory does. Where only the nearest rows are
//! wanted, their signs tell which may be: 8 MB are read first, and of the numbers those of some thousand rows. The numbers of
//! the table of words are about equally large, so that a sign says much of one; what that costs in recall is measured by a test.

use super::quantise::{WEIGHT_BITS, WeightedSigns, dots, exact_dot, quantise, sign_distances, weighted_signs};
use super::segment::VectorSegment;

/// Rows that are scored at once: one word of the set of wanted rows.
const BLOCK: usize = 64;
/// Rows that the signs let through where some tens are wanted.
pub(crate) const NEAREST: usize = 8192;

/// The vector of what somebody looks for, exact and quantised.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    exact: Vec<f32>,
    levels: Vec<i16>,
    signs: Vec<WeightedSigns>,
    scale: f32,
}

impl Question {
    /// A question with this vector.
    pub(crate) fn new(exact: Vec<f32>) -> Question {
        let mut levels = vec![0; exact.len()];
        let scale = quantise(&exact, &mut levels);
        let signs = weighted_signs(&exact);
        Question { exact, levels: levels.into_iter().map(i16::from).collect(), signs, scale }
    }

    /// The rows whose signs are nearest to those of the question, weighted by its numbers, as segment and row: `most`, and those that are as near as
    /// the last of these. `wanted` is that of [`scan`](Question::scan), for each segment.
    pub(crate) fn nearest(&self, segments: &[VectorSegment], wanted: &[Vec<u64>], most: usize) -> Vec<(u32, u32)> {
        let mut counts = vec![0usize; (self.exact.len() << WEIGHT_BITS) + 1];
        let mut distances = Vec::with_capacity(segments.len());
        let is_wanted = |set: &[u64], row: usize| set.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 != 0);
        for (segment, wanted) in segments.iter().zip(wanted) {
            let mut of_rows = vec![0u16; segment.rows()];
            sign_distances(&self.signs, segment.signs(0..segment.rows()), &mut of_rows);
            for (row, distance) in of_rows.iter().enumerate() {
                counts[usize::from(*distance)] += usize::from(is_wanted(wanted, row));
            }
            distances.push(of_rows);
        }
        let mut within = 0;
        let enough = counts.iter().position(|count| {
            within += count;
            within >= most
        });
        let farthest = enough.unwrap_or(counts.len()) as u16;
        let mut found = Vec::with_capacity(within);
        for (number, (of_rows, wanted)) in (0u32..).zip(distances.iter().zip(wanted)) {
            let near = |(row, distance): (usize, &u16)| {
                (*distance <= farthest && is_wanted(wanted, row)).then_some((number, row as u32))
            };
            found.extend(of_rows.iter().enumerate().filter_map(near));
        }
        found
    }

    /// How near a row is: the cosine, by its eight bits a number.
    pub(crate) fn score(&self, segment: &VectorSegment, row: usize) -> f32 {
        let vector = segment.vector(row);
        exact_dot(&self.exact, vector.levels) * vector.scale
    }

    /// How near a row is, as exactly as rows are kept: for those that are ordered by it.
    pub(crate) fn exact_score(&self, segment: &VectorSegment, row: usize) -> f32 {
        segment.vector(row).dot(&self.exact)
    }

    /// Calls `each` with every wanted row and how near it is, by quantised numbers on both sides. Bit `row % 64` of
    /// `wanted[row / 64]` says whether a row is wanted; rows beyond are not.
    pub(crate) fn scan(&self, segment: &VectorSegment, wanted: &[u64], mut each: impl FnMut(usize, f32)) {
        let mut products = [0i32; BLOCK];
        for (block, &set) in wanted.iter().enumerate().filter(|(_, set)| **set != 0) {
            let rows = block * BLOCK..((block + 1) * BLOCK).min(segment.rows());
            if rows.is_empty() {
                break;
            }
            let products = &mut products[..rows.len()];
            dots(&self.levels, segment.levels(rows.clone()), products);
            for ((bit, &product), scale) in products.iter().enumerate().zip(segment.scales(rows.clone())) {
                if set >> bit & 1 != 0 {
                    each(rows.start + bit, product as f32 * scale * self.scale);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::quantise::{Quantised, normalise};
    use super::super::segment::{Owner, SegmentRows};
    use super::*;
    use proptest::prelude::*;

    fn vectors(count: usize, dims: usize, seed: u64) -> Vec<Vec<f32>> {
        let mut state = seed | 1;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
        };
        let mut vector = || {
            let mut vector: Vec<f32> = (0..dims).map(|_| random()).collect();
            assert!(normalise(&mut vector));
            vector
        };
        (0..count).map(|_| vector()).collect()
    }

    fn segment(vectors: &[Vec<f32>]) -> (tempfile::TempDir, VectorSegment) {
        let dims = vectors[0].len();
        let mut rows = SegmentRows::new(dims);
        for vector in vectors {
            let owner = Owner { file: 0, dir: 0, line: 0, lines: 1, language: 0 };
            rows.push(owner, 0, Quantised::new(vector).row());
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.vec");
        std::fs::write(&path, rows.to_bytes(1).unwrap()).unwrap();
        let segment = VectorSegment::open(&path, 1, dims).unwrap();
        (dir, segment)
    }

    /// Chunks of a tree, and questions that are lines of it.
    fn chunks_of(tree: &std::path::Path, most: usize) -> (Vec<String>, Vec<String>) {
        let (mut chunks, mut questions, mut dirs) = (Vec::new(), Vec::new(), vec![tree.to_path_buf()]);
        while let Some(dir) = dirs.pop().filter(|_| chunks.len() < most) {
            let mut entries: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()).collect();
            entries.sort_by_key(std::fs::DirEntry::file_name);
            for entry in entries {
                match entry.file_type().unwrap() {
                    kind if kind.is_dir() => dirs.push(entry.path()),
                    kind if kind.is_file() => {
                        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
                        let found = super::super::chunk::chunks(&text, &[]).0;
                        chunks.extend(found.into_iter().map(|chunk| text[chunk.bytes].to_owned()));
                        questions.extend(text.lines().filter(|line| line.len() > 30).nth(7).map(str::to_owned));
                    }
                    _ => {}
                }
            }
        }
        chunks.truncate(most);
        (chunks, questions)
    }

    /// How many of the ten nearest by exact vectors are among the ten nearest as a search finds them, and how long a scan takes.
    #[test]
    fn recall_on_a_tree() {
        const QUESTIONS: usize = 200;
        let Some(tree) = std::env::var_os("LEINDEX_RECALL_TREE") else {
            println!("skipped: LEINDEX_RECALL_TREE=DIR names a tree of source, best in a release build");
            return;
        };
        let table = super::super::words::WordTable::built_in().unwrap();
        let embed = |text: &str, kind| {
            let mut vector = vec![0.0; table.dims()];
            let mut scratch = super::super::words::WordScratch::default();
            table.embed(text, kind, &mut scratch, &mut vector).then_some(vector)
        };
        let (chunks, questions) = chunks_of(tree.as_ref(), 250_000);
        let rows: Vec<Vec<f32>> =
            chunks.iter().filter_map(|text| embed(text, super::super::words::Kind::Code)).collect();
        let step = (questions.len() / QUESTIONS).max(1);
        let asked: Vec<Vec<f32>> = questions
            .iter()
            .step_by(step)
            .filter_map(|text| embed(text, super::super::words::Kind::Question))
            .take(QUESTIONS)
            .collect();
        let (_dir, segment) = segment(&rows);
        let wanted = vec![vec![u64::MAX; rows.len().div_ceil(64)]];
        let (mut found, mut ms) = (0, Vec::new());
        for vector in &asked {
            let mut exact: Vec<(f32, usize)> = rows
                .iter()
                .enumerate()
                .map(|(row, values)| (values.iter().zip(vector).map(|(a, b)| a * b).sum(), row))
                .collect();
            exact.sort_by(|a, b| b.0.total_cmp(&a.0));
            // Of equal rows, any will do.
            let least = exact[9.min(exact.len() - 1)].0 - 1e-6;
            let question = Question::new(vector.clone());
            let started = std::time::Instant::now();
            let near = question.nearest(std::slice::from_ref(&segment), &wanted, NEAREST);
            let score = |(_, row): (u32, u32)| (question.score(&segment, row as usize), row as usize);
            let mut near: Vec<(f32, usize)> = near.into_iter().map(score).collect();
            near.sort_by(|a, b| b.0.total_cmp(&a.0));
            near.truncate(50);
            near.iter_mut().for_each(|(score, row)| *score = question.exact_score(&segment, *row));
            near.sort_by(|a, b| b.0.total_cmp(&a.0));
            ms.push(started.elapsed().as_secs_f64() * 1e3);
            let is_near = |row: usize| rows[row].iter().zip(vector).map(|(a, b)| a * b).sum::<f32>() >= least;
            found += near.iter().take(10).filter(|(_, row)| is_near(*row)).count();
        }
        ms.sort_by(f64::total_cmp);
        let recall = found as f64 / (10 * asked.len()) as f64;
        println!(
            "{} chunks, {} questions: recall@10 {recall:.4}, P50 {:.2} ms",
            rows.len(),
            asked.len(),
            ms[ms.len() / 2]
        );
        assert!(recall >= 0.99, "{recall}");
    }

    proptest! {
        #[test]
        fn the_nearest_are_nearest_by_signs(
            count in 1usize..300, seed in any::<u64>(), wanted in prop::collection::vec(any::<u64>(), 5), most in 1usize..50,
        ) {
            let (dims, half) = (90, count / 2);
            let rows = vectors(count, dims, seed);
            let asked = Question::new(vectors(1, dims, seed ^ 99).remove(0));
            let parts: Vec<_> = [&rows[..half], &rows[half..]].into_iter().filter(|rows| !rows.is_empty()).map(segment).collect();
            let (_dirs, segments): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
            let sets = vec![wanted.clone(); segments.len()];
            let found = asked.nearest(&segments, &sets, most);
            let distance = |&(segment, row): &(u32, u32)| {
                let levels = segments[segment as usize].vector(row as usize).levels;
                let words: Vec<_> = super::super::quantise::signs(levels).map(u64::to_le_bytes).collect();
                let mut distance = [0];
                sign_distances(&asked.signs, &words, &mut distance);
                distance[0]
            };
            let all = (0u32..).zip(&segments).flat_map(|(number, part)| (0..part.rows() as u32).map(move |row| (number, row)));
            let all: Vec<_> = all.filter(|(_, row)| wanted[*row as usize / 64] >> (row % 64) & 1 != 0).collect();
            prop_assert!(found.len() >= most.min(all.len()));
            let farthest = found.iter().map(distance).max().unwrap_or(0);
            for row in &all {
                prop_assert_eq!(found.contains(row), distance(row) <= farthest && !found.is_empty(), "{:?}", row);
            }
            let nearer = found.iter().filter(|row| distance(row) < farthest).count();
            prop_assert!(nearer < most, "no more than are asked for, but for those at the same distance");
        }

        #[test]
        fn scores_are_cosines_of_the_wanted_rows(
            count in 1usize..200, dims in 1usize..300, seed in any::<u64>(), wanted in prop::collection::vec(any::<u64>(), 4),
        ) {
            let rows = vectors(count, dims, seed);
            let question = vectors(1, dims, seed ^ 77).remove(0);
            let (_dir, segment) = segment(&rows);
            let asked = Question::new(question.clone());
            let mut seen = vec![false; count];
            asked.scan(&segment, &wanted, |row, score| {
                let cosine: f32 = rows[row].iter().zip(&question).map(|(a, b)| a * b).sum();
                let kept = asked.exact_score(&segment, row);
                assert!((kept - cosine).abs() < 0.002, "{kept} {cosine}: that of the search's order");
                assert!((score - cosine).abs() < 0.03, "{score} {cosine}");
                let exact = asked.score(&segment, row);
                assert!((exact - cosine).abs() < 0.02, "{exact} {cosine}");
                assert!(!std::mem::replace(&mut seen[row], true), "row {row} twice");
            });
            for (row, seen) in seen.into_iter().enumerate() {
                prop_assert_eq!(seen, wanted[row / 64] >> (row % 64) & 1 != 0);
            }
        }
    }
}
