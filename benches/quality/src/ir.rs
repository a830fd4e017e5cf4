//! The plain rival, BM25 over split identifiers, and the figures that systems are compared by.

use std::collections::{BTreeMap, HashMap, HashSet};

const K1: f64 = 1.2;
const B: f64 = 0.75;
/// Hits that count.
pub(crate) const TOP: usize = 10;
const RESAMPLES: usize = 2_000;

/// An index that knows words only: no stemming, no stop words, no fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bm25 {
    /// The documents of each word, and how often it is there.
    postings: HashMap<String, Vec<(usize, f64)>>,
    /// Words of each document.
    lengths: Vec<f64>,
}

impl Bm25 {
    /// Documents are numbered from 0 as they come.
    pub(crate) fn new<'a>(bodies: impl IntoIterator<Item = &'a str>) -> Bm25 {
        let mut index = Bm25::default();
        for body in bodies {
            let mut counts: HashMap<String, f64> = HashMap::new();
            let words = split(body);
            index.lengths.push(words.len() as f64);
            for word in words {
                *counts.entry(word).or_default() += 1.0;
            }
            for (word, count) in counts {
                index.postings.entry(word).or_default().push((index.lengths.len() - 1, count));
            }
        }
        index
    }

    /// All documents with a word of the query, the best first; of equal ones, that with the lower number.
    pub(crate) fn search(&self, query: &str) -> Vec<(usize, f64)> {
        let count = self.lengths.len() as f64;
        let mean = self.lengths.iter().sum::<f64>() / count.max(1.0);
        let mut scores = vec![0.0; self.lengths.len()];
        let mut asked = HashSet::new();
        for word in split(query) {
            let Some(postings) = self.postings.get(&word).filter(|_| asked.insert(word.clone())) else { continue };
            let with = postings.len() as f64;
            let idf = (1.0 + (count - with + 0.5) / (with + 0.5)).ln();
            for &(document, often) in postings {
                let norm = K1 * (1.0 - B + B * self.lengths[document] / mean);
                scores[document] += idf * often * (K1 + 1.0) / (often + norm);
            }
        }
        let mut hits: Vec<(usize, f64)> = scores.into_iter().enumerate().filter(|(_, score)| *score > 0.0).collect();
        hits.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        hits
    }

    /// The rank of a document for a query, from 1, if it is one of the first [`TOP`].
    pub(crate) fn rank(&self, query: &str, wanted: usize) -> Option<usize> {
        self.search(query).iter().take(TOP).position(|&(document, _)| document == wanted).map(|index| index + 1)
    }
}

/// The words of a text, in small letters: `parseHTTPHeader_v2` is `parse`, `http`, `header` and `v2`.
pub(crate) fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for token in text.split(|c: char| !c.is_alphanumeric()) {
        let chars: Vec<char> = token.chars().collect();
        let mut word = String::new();
        for (index, &c) in chars.iter().enumerate() {
            let small = |index: usize| chars.get(index).is_some_and(|c| !c.is_uppercase() && !c.is_numeric());
            let begins = index > 0 && c.is_uppercase() && (!chars[index - 1].is_uppercase() || small(index + 1));
            if begins {
                words.push(std::mem::take(&mut word));
            }
            word.extend(c.to_lowercase());
        }
        words.push(word);
    }
    words.retain(|word| !word.is_empty());
    words
}

/// How well a system did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) queries: usize,
    /// MRR@10.
    pub(crate) mrr: f64,
    /// The share of queries whose document is among the first ten.
    pub(crate) recall: f64,
}

/// Of the rank of the wanted document of each query, from 1; `None` if it was not found.
pub(crate) fn figures(ranks: &[Option<usize>]) -> Figures {
    let count = ranks.len().max(1) as f64;
    let found = ranks.iter().filter(|rank| reciprocal(**rank) > 0.0).count() as f64;
    Figures {
        queries: ranks.len(),
        mrr: ranks.iter().map(|&rank| reciprocal(rank)).sum::<f64>() / count,
        recall: found / count,
    }
}

/// The figures of each group of queries, such as a language; `groups` has one for each rank.
pub(crate) fn by_group<'a>(groups: &[&'a str], ranks: &[Option<usize>]) -> BTreeMap<&'a str, Figures> {
    let mut of: BTreeMap<&str, Vec<Option<usize>>> = BTreeMap::new();
    for (group, rank) in groups.iter().zip(ranks) {
        of.entry(group).or_default().push(*rank);
    }
    of.into_iter().map(|(group, ranks)| (group, figures(&ranks))).collect()
}

fn reciprocal(rank: Option<usize>) -> f64 {
    rank.filter(|&rank| rank <= TOP).map_or(0.0, |rank| 1.0 / rank as f64)
}

/// A ratio with the interval that holds it in 95 of 100 samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) ratio: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The ratio of the MRR of two systems on the same queries, by a paired bootstrap: queries are drawn again, each with the
/// ranks that both gave it.
pub(crate) fn ratio(ours: &[Option<usize>], theirs: &[Option<usize>], seed: u64) -> Ratio {
    let pairs: Vec<(f64, f64)> =
        ours.iter().zip(theirs).map(|(&ours, &theirs)| (reciprocal(ours), reciprocal(theirs))).collect();
    let of = |pairs: &mut dyn Iterator<Item = (f64, f64)>| {
        let (ours, theirs) = pairs.fold((0.0, 0.0), |(a, b), (ours, theirs)| (a + ours, b + theirs));
        ours / theirs
    };
    let mut state = seed;
    let mut draw = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        pairs[(mix(state) % pairs.len() as u64) as usize]
    };
    let ratio = of(&mut pairs.iter().copied());
    if pairs.is_empty() {
        return Ratio { ratio, low: ratio, high: ratio };
    }
    let mut ratios: Vec<f64> = (0..RESAMPLES).map(|_| of(&mut (0..pairs.len()).map(|_| draw()))).collect();
    ratios.sort_by(f64::total_cmp);
    Ratio { ratio, low: ratios[RESAMPLES / 40], high: ratios[RESAMPLES - 1 - RESAMPLES / 40] }
}

/// Spreads the bits of a number, as SplitMix64 does.
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_split() {
        assert_eq!(split("parseHTTPHeader_v2(x)"), ["parse", "http", "header", "v2", "x"]);
        assert_eq!(split("UTF8 toUTF8 MAX_LEN aB ABc"), ["utf8", "to", "utf8", "max", "len", "a", "b", "a", "bc"]);
        assert_eq!(split("__ - "), Vec::<String>::new());
    }

    #[test]
    fn scores_are_exact() {
        let index = Bm25::new(["one two two", "two three", "four"]);
        let hits = index.search("two Two five");
        assert_eq!(hits.iter().map(|hit| hit.0).collect::<Vec<_>>(), [0, 1]);
        // By hand: three documents, two of them with the word; lengths of 3 and 2 with a mean of 2.
        let idf = (1.0f64 + 1.5 / 2.5).ln();
        assert!((hits[0].1 - idf * 2.0 * 2.2 / (2.0 + 1.2 * (0.25 + 0.75 * 1.5))).abs() < 1e-12);
        assert!((hits[1].1 - idf * 2.2 / (1.0 + 1.2)).abs() < 1e-12);
        assert_eq!((index.rank("two", 1), index.rank("two", 2)), (Some(2), None));
        assert!(index.search("nothing").is_empty() && Bm25::new([]).search("a").is_empty());
    }

    #[test]
    fn figures_of_ranks() {
        let ranks = [Some(1), Some(4), Some(11), None];
        assert_eq!(figures(&ranks), Figures { queries: 4, mrr: 1.25 / 4.0, recall: 0.5 });
        assert_eq!(figures(&[]), Figures::default());
        let groups = by_group(&["a", "b", "a", "b"], &ranks);
        assert_eq!((groups["a"].mrr, groups["b"].recall), (0.5, 0.5));
    }

    #[test]
    fn the_bootstrap_holds_the_ratio() {
        let ours: Vec<Option<usize>> = (0..200).map(|n| Some(1 + n % 3)).collect();
        let theirs: Vec<Option<usize>> = (0..200).map(|n| if n % 2 == 0 { Some(2) } else { None }).collect();
        let found = ratio(&ours, &theirs, 7);
        assert_eq!(found, ratio(&ours, &theirs, 7));
        assert!(found.low < found.ratio && found.ratio < found.high, "{found:?}");
        assert!(found.low > 2.0 && found.high < 3.0, "{found:?}");
        // A system beside itself: the pairs leave no doubt.
        assert_eq!(ratio(&ours, &ours, 7), Ratio { ratio: 1.0, low: 1.0, high: 1.0 });
        assert!(ratio(&[], &[], 7).ratio.is_nan());
    }
}
