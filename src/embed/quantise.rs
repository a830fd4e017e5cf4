//! Vectors in eight bits: a number from -127 to 127 a dimension, and a scale for each vector. Four bits more say what these leave
//! over, for the few rows whose order counts.

use multiversion::multiversion;

/// The largest value of a dimension. -128 is left out, so that products are symmetric.
const LEVELS: f32 = 127.0;

/// Quantises `vector` into `to`, of the same length, and returns the scale: `vector ≈ to * scale`.
///
/// Rounding is a call a number where the processor's own is not known to be there.
#[multiversion(targets("x86_64+avx2", "x86_64+sse4.1", "aarch64+neon"))]
pub(crate) fn quantise(vector: &[f32], to: &mut [i8]) -> f32 {
    let largest = vector.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    if largest == 0.0 || !largest.is_finite() {
        to.fill(0);
        return 0.0;
    }
    let per_level = LEVELS / largest;
    for (to, value) in to.iter_mut().zip(vector) {
        *to = (value * per_level).round() as i8;
    }
    largest / LEVELS
}

/// A quantised vector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Quantised {
    scale: f32,
    levels: Vec<i8>,
    rests: Vec<u8>,
}

/// A quantised vector that lies elsewhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row<'r> {
    /// The vector is about `levels * scale`.
    pub(crate) scale: f32,
    /// Its numbers.
    pub(crate) levels: &'r [i8],
    /// What they leave over, in sixteenths of a level: from -8 to 7, two in a byte, the first one in its lower half.
    pub(crate) rests: &'r [u8],
}

/// Parts of a level that are told apart by what it leaves over.
const RESTS: f32 = 16.0;

/// Writes what the levels of a vector leave over to `to`: as [`Row::rests`], one in a byte.
#[multiversion(targets("x86_64+avx2", "x86_64+sse4.1", "aarch64+neon"))]
fn quantise_rests(vector: &[f32], levels: &[i8], scale: f32, to: &mut [i8]) {
    let per_level = if scale > 0.0 { scale.recip() } else { 0.0 };
    for ((to, value), level) in to.iter_mut().zip(vector).zip(levels) {
        *to = ((value * per_level - f32::from(*level)) * RESTS).floor().clamp(-8.0, 7.0) as i8;
    }
}

/// Bytes that the rests of `dims` numbers take.
pub(crate) fn rest_bytes(dims: usize) -> usize {
    dims.div_ceil(2)
}

impl Quantised {
    /// Quantises a vector.
    pub(crate) fn new(vector: &[f32]) -> Quantised {
        let mut levels = vec![0; vector.len()];
        let scale = quantise(vector, &mut levels);
        let mut rests = vec![0; vector.len()];
        quantise_rests(vector, &levels, scale, &mut rests);
        let byte = |pair: &[i8]| pair[0] as u8 & 0xf | (pair.get(1).copied().unwrap_or_default() as u8) << 4;
        Quantised { scale, rests: rests.chunks(2).map(byte).collect(), levels }
    }

    /// The same, to be copied.
    pub(crate) fn row(&self) -> Row<'_> {
        Row { scale: self.scale, levels: &self.levels, rests: &self.rests }
    }
}

impl Row<'_> {
    /// A copy.
    pub(crate) fn to_quantised(self) -> Quantised {
        Quantised { scale: self.scale, levels: self.levels.to_vec(), rests: self.rests.to_vec() }
    }

    /// The dot product with a vector that is not quantised, as exactly as this one is kept.
    pub(crate) fn dot(self, query: &[f32]) -> f32 {
        let rest = |byte: u8, half: u8| (f32::from((byte << (4 * (1 - half))) as i8 >> 4) + 0.5) / RESTS;
        let of_pair = |(pair, byte): (&[f32], &u8)| -> f32 {
            pair.iter().zip(0..).map(|(value, half)| value * rest(*byte, half)).sum()
        };
        let rests: f32 = query.chunks(2).zip(self.rests).map(of_pair).sum();
        (exact_dot(query, self.levels) + rests) * self.scale
    }
}

/// Makes the length of `vector` one. Returns false, and leaves it alone, when it has none.
pub(crate) fn normalise(vector: &mut [f32]) -> bool {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length <= f32::MIN_POSITIVE || !length.is_finite() {
        return false;
    }
    vector.iter_mut().for_each(|value| *value /= length);
    true
}

/// Writes the dot products of `query`, numbers of eight bits, and of each row of `rows`, which has whole rows of the query's length, to `products`.
///
/// Compiled once for each set of vector instructions, and chosen when it runs: the loop is one that compilers turn into
/// 16-bit multiplications with pairwise addition.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub(crate) fn dots(query: &[i16], rows: &[i8], products: &mut [i32]) {
    for (row, product) in rows.chunks_exact(query.len().max(1)).zip(products) {
        *product = query.iter().zip(row).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
    }
}

/// Words of signs that a vector of `dims` numbers has.
pub(crate) fn sign_words(dims: usize) -> usize {
    dims.div_ceil(64)
}

/// One bit a number: whether it is greater than zero.
pub(crate) fn signs(levels: &[i8]) -> impl Iterator<Item = u64> {
    let word = |levels: &[i8]| levels.iter().enumerate().map(|(bit, level)| u64::from(*level > 0) << bit).sum();
    levels.chunks(64).map(word)
}

/// Bits of a weight of a sign.
pub(crate) const WEIGHT_BITS: usize = 3;

/// A word of the signs of a query, and the bits of the weights of these signs, the lowest first.
pub(crate) type WeightedSigns = (u64, [u64; WEIGHT_BITS]);

/// The signs of a query with their weights: how large its numbers are, relative to the largest one.
pub(crate) fn weighted_signs(query: &[f32]) -> Vec<WeightedSigns> {
    let largest = query.iter().fold(f32::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
    let most = ((1 << WEIGHT_BITS) - 1) as f32;
    let word = |values: &[f32]| {
        let mut word: WeightedSigns = Default::default();
        for (bit, value) in values.iter().enumerate() {
            word.0 |= u64::from(*value > 0.0) << bit;
            let weight = (value.abs() / largest * most).round() as u64;
            for (plane, of_words) in word.1.iter_mut().enumerate() {
                *of_words |= (weight >> plane & 1) << bit;
            }
        }
        word
    };
    query.chunks(64).map(word).collect()
}

/// Writes to `distances` the sum of the weights of the signs in which each of the rows, which have as many words as the query,
/// differs from it. Weights of one side only, and bits for the other: Gao and Long, "RaBitQ", 2024.
#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512vpopcntdq",
    "x86_64+avx2+popcnt",
    "x86_64+popcnt",
    "aarch64+neon"
))]
pub(crate) fn sign_distances(query: &[WeightedSigns], rows: &[[u8; 8]], distances: &mut [u16]) {
    for (row, distance) in rows.chunks_exact(query.len().max(1)).zip(distances) {
        let mut sum = 0;
        for ((signs, weights), row) in query.iter().zip(row) {
            let differing = signs ^ u64::from_le_bytes(*row);
            for (plane, weights) in weights.iter().enumerate() {
                sum += (differing & weights).count_ones() << plane;
            }
        }
        *distance = sum as u16;
    }
}

/// Adds rows of `levels`, each of the length of `sums`, times their weights to `sums`.
///
/// In strips that stay in registers: a strip of a row of bytes is one cache line.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
pub(crate) fn add_scaled(levels: &[i8], rows: &[(u32, f32)], sums: &mut [f32]) {
    const STRIP: usize = 64;
    let dims = sums.len();
    for (number, sums) in sums.chunks_mut(STRIP).enumerate() {
        let mut strip = [0.0f32; STRIP];
        for &(row, weight) in rows {
            let start = row as usize * dims + number * STRIP;
            let Some(levels) = levels.get(start..start + sums.len()) else { continue };
            for (sum, &level) in strip.iter_mut().zip(levels) {
                *sum += weight * f32::from(level);
            }
        }
        sums.iter_mut().zip(strip).for_each(|(sum, added)| *sum += added);
    }
}

/// The dot product of an exact query and a quantised row, before its scale.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
pub(crate) fn exact_dot(query: &[f32], row: &[i8]) -> f32 {
    // Several sums at once: the order of additions of one would be kept.
    let mut sums = [0.0f32; 16];
    let (query, query_rest) = query.as_chunks::<16>();
    let (row, row_rest) = row.as_chunks::<16>();
    for (query, row) in query.iter().zip(row) {
        for ((sum, a), &b) in sums.iter_mut().zip(query).zip(row) {
            *sum += a * f32::from(b);
        }
    }
    let rest: f32 = query_rest.iter().zip(row_rest).map(|(a, &b)| a * f32::from(b)).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back_within_half_a_level(vector in prop::collection::vec(-1e3f32..1e3, 0..300)) {
            let mut levels = vec![0; vector.len()];
            let scale = quantise(&vector, &mut levels);
            for (value, level) in vector.iter().zip(levels) {
                prop_assert!((value - f32::from(level) * scale).abs() <= scale * 0.501, "{value} {level} {scale}");
            }
        }

        #[test]
        fn rests_tell_sixteenths_of_a_level(vector in prop::collection::vec(-1e3f32..1e3, 0..300)) {
            let quantised = Quantised::new(&vector);
            let row = quantised.row();
            prop_assert_eq!(row.rests.len(), rest_bytes(vector.len()));
            prop_assert_eq!(&row.to_quantised(), &quantised);
            for (dim, value) in vector.iter().enumerate() {
                let mut axis = vec![0.0; vector.len()];
                axis[dim] = 1.0;
                // Half a sixteenth, and what single precision loses on the way to and from levels.
                prop_assert!((row.dot(&axis) - value).abs() <= row.scale * 0.04, "{value} {} {}", row.dot(&axis), row.scale);
            }
        }

        #[test]
        fn signs_differ_where_numbers_do(rows in prop::collection::vec(prop::collection::vec(-3i8..=3, 70), 1..9)) {
            let words: Vec<[u8; 8]> = rows.iter().flat_map(|row| signs(row)).map(u64::to_le_bytes).collect();
            let question: Vec<f32> = (0..70).map(|at| ((at * 37 % 29) as f32 - 14.0) / 14.0).collect();
            let query = weighted_signs(&question);
            prop_assert_eq!(query.len(), sign_words(70));
            let mut distances = vec![0; rows.len()];
            sign_distances(&query, &words, &mut distances);
            for (row, distance) in rows.iter().zip(distances) {
                let differs = |(a, b): &(&f32, &i8)| (**a > 0.0) != (**b > 0);
                let weights = question.iter().zip(row).filter(differs).map(|(value, _)| (value.abs() * 7.0).round());
                prop_assert_eq!(f32::from(distance), weights.sum::<f32>());
            }
        }

        #[test]
        fn every_way_of_multiplying_gives_the_same(
            query in prop::collection::vec(-127i16..=127, 1..300), count in 0usize..9, seed in any::<i8>(),
        ) {
            let dims = query.len();
            let rows: Vec<i8> = (0..count * dims).map(|at| (at as i8).wrapping_mul(31).wrapping_add(seed).max(-127)).collect();
            let mut products = vec![0; count];
            dots(&query, &rows, &mut products);
            let mut sums = vec![1.5f32; dims];
            let weighted: Vec<(u32, f32)> = (0..count as u32).map(|row| (row, row as f32 - 2.5)).collect();
            add_scaled(&rows, &weighted, &mut sums);
            for (row, product) in rows.chunks(dims).zip(products) {
                let one_by_one: i64 = query.iter().zip(row).map(|(&a, &b)| i64::from(a) * i64::from(b)).sum();
                prop_assert_eq!(i64::from(product), one_by_one);
            }
            for (dim, sum) in sums.into_iter().enumerate() {
                let exact: f32 = weighted.iter().map(|&(row, by)| by * f32::from(rows[row as usize * dims + dim])).sum();
                prop_assert!((sum - 1.5 - exact).abs() < 0.01, "{sum} {exact}");
            }
        }
    }

    #[test]
    fn what_has_no_length_has_no_direction() {
        let mut levels = [1; 3];
        assert_eq!((quantise(&[0.0; 3], &mut levels), levels), (0.0, [0; 3]));
        assert_eq!(quantise(&[f32::NAN, f32::INFINITY, 1.0], &mut levels), 0.0);
        assert!(!normalise(&mut [0.0; 3]) && !normalise(&mut [f32::NAN, 1.0]));
        let mut vector = [3.0, 4.0];
        assert!(normalise(&mut vector));
        assert_eq!(vector, [0.6, 0.8]);
    }
}
