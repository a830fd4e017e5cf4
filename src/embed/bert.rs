//! A BERT encoder on the CPU, in `f32`: token ids in, one vector of length one for each text out.
//!
//! Owns the arithmetic of the model (Devlin et al., "BERT", 2018; pooled as sentence-transformers does it: Reimers and
//! Gurevych, "Sentence-BERT", 2019). Knows nothing of files, of tokens' spelling, or of queues. Multiplications of matrices
//! are candle's, which knows the instructions of the processor; what lies between them is one pass over memory each.
//!
//! Nothing is padded: the texts of a batch lie one after the other, and only attention, a few per cent of the work, is done
//! for each text on its own. So batches of any mixture of lengths cost what their tokens cost, no mask is needed, and the
//! vector of a text does not depend on its batch.

use candle_core::{CpuStorage, Device, Error, InplaceOp1, InplaceOp2, Layout, Tensor};
use rayon::prelude::*;

use super::device::TokenBatch;
use super::weights::{BertConfig, BertWeights, Pooling, WeightsError};

/// Numbers that a thread works on before it asks for more: well above the cost of asking.
const GRAIN: usize = 1 << 14;
/// Sums are kept in as many parts, which the compiler puts into one or two registers.
const LANES: usize = 8;
/// What the kind of a token adds. There are two, for pairs of texts, or one; all of our tokens are of the first.
const KINDS: &str = "embeddings.token_type_embeddings.weight";

/// A model, ready to run. Shared by threads.
#[derive(Debug)]
pub(crate) struct Bert {
    config: BertConfig,
    /// `[vocabulary, hidden]`, row by row.
    words: Vec<f32>,
    /// `[positions, hidden]`, row by row; what the kind of the token adds is in it.
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    /// Query, key and value, one below the other: one multiplication for the three.
    qkv: Linear,
    attended: Linear,
    attended_norm: Norm,
    up: Linear,
    down: Linear,
    norm: Norm,
}

/// `x * weight^T + bias`. The bias is added in the pass that follows.
#[derive(Debug)]
struct Linear {
    /// `[out, in]`.
    weight: Tensor,
    /// `[out]`.
    bias: Vec<f32>,
}

impl Linear {
    fn new(weight: Vec<f32>, bias: Vec<f32>) -> Result<Linear, WeightsError> {
        let shape = (bias.len(), weight.len() / bias.len().max(1));
        let weight = Tensor::from_vec(weight, shape, &Device::Cpu).map_err(|error| WeightsError(error.to_string()))?;
        Ok(Linear { weight, bias })
    }

    /// `[tokens, in]` to `[tokens, out]`, without the bias.
    fn forward(&self, x: &Tensor) -> Result<Tensor, Error> {
        x.matmul(&self.weight.t()?)
    }
}

/// Layer normalisation (Ba et al., 2016).
#[derive(Debug)]
struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl Norm {
    /// Of one token's vector, in place.
    fn apply(&self, row: &mut [f32]) {
        let count = row.len() as f32;
        let mean = sum(row, |value| value) / count;
        let variance = sum(row, |value| (value - mean) * (value - mean)) / count;
        let scale = 1.0 / (variance + self.epsilon).sqrt();
        for ((value, weight), bias) in row.iter_mut().zip(&self.weight).zip(&self.bias) {
            *value = (*value - mean) * scale * weight + bias;
        }
    }
}

/// Puts the parts of a model together.
struct Loader<'a>(&'a BertWeights<'a>);

impl Loader<'_> {
    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        Ok(self.0.tensor(name, shape)?.values().collect())
    }

    fn linear(&self, name: &str, shape: &[usize; 2]) -> Result<Linear, WeightsError> {
        let weight = self.numbers(&format!("{name}.weight"), shape)?;
        Linear::new(weight, self.numbers(&format!("{name}.bias"), &shape[..1])?)
    }

    fn norm(&self, name: &str) -> Result<Norm, WeightsError> {
        let numbers = |part: &str| self.numbers(&format!("{name}.{part}"), &[self.0.config.hidden]);
        Ok(Norm { weight: numbers("weight")?, bias: numbers("bias")?, epsilon: self.0.config.layer_norm_eps })
    }

    /// The three in one, and the scale of the scores already in the queries.
    fn qkv(&self, name: &str) -> Result<Linear, WeightsError> {
        let BertConfig { hidden, heads, .. } = self.0.config;
        let scale = 1.0 / ((hidden / heads) as f32).sqrt();
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for (part, scale) in [("query", scale), ("key", 1.0), ("value", 1.0)] {
            let numbers = |kind: &str, shape: &[usize]| self.numbers(&format!("{name}.{part}.{kind}"), shape);
            weight.extend(numbers("weight", &[hidden, hidden])?.iter().map(|value| value * scale));
            bias.extend(numbers("bias", &[hidden])?.iter().map(|value| value * scale));
        }
        Linear::new(weight, bias)
    }

    fn layer(&self, index: usize) -> Result<Layer, WeightsError> {
        let BertConfig { hidden, intermediate, .. } = self.0.config;
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        Ok(Layer {
            qkv: self.qkv(&name("attention.self"))?,
            attended: self.linear(&name("attention.output.dense"), &[hidden, hidden])?,
            attended_norm: self.norm(&name("attention.output.LayerNorm"))?,
            up: self.linear(&name("intermediate.dense"), &[intermediate, hidden])?,
            down: self.linear(&name("output.dense"), &[hidden, intermediate])?,
            norm: self.norm(&name("output.LayerNorm"))?,
        })
    }
}

impl Bert {
    /// Whether all tensors are there and have the shapes that the sizes say. Much cheaper than [`load`](Self::load).
    ///
    /// # Errors
    /// What is wrong with the first that is not so.
    pub(crate) fn check(weights: &BertWeights<'_>) -> Result<(), WeightsError> {
        let BertConfig { hidden, layers, heads, intermediate, vocab, positions, .. } = weights.config;
        if hidden == 0 || heads == 0 || hidden % heads != 0 {
            return Err(WeightsError(format!("{heads} heads cannot share {hidden} numbers evenly")));
        }
        let matrix = |name: String, shape: [usize; 2]| weights.tensor(&name, &shape).map(drop);
        let vector = |name: String, len: usize| weights.tensor(&name, &[len]).map(drop);
        matrix("embeddings.word_embeddings.weight".into(), [vocab, hidden])?;
        matrix("embeddings.position_embeddings.weight".into(), [positions, hidden])?;
        weights.tensor(KINDS, &[2, hidden]).or_else(|_| weights.tensor(KINDS, &[1, hidden]))?;
        let norm = |name: String| vector(format!("{name}.weight"), hidden).and(vector(format!("{name}.bias"), hidden));
        norm("embeddings.LayerNorm".into())?;
        for layer in 0..layers {
            for (part, from, to) in [
                ("attention.self.query", hidden, hidden),
                ("attention.self.key", hidden, hidden),
                ("attention.self.value", hidden, hidden),
                ("attention.output.dense", hidden, hidden),
                ("intermediate.dense", hidden, intermediate),
                ("output.dense", intermediate, hidden),
            ] {
                matrix(format!("encoder.layer.{layer}.{part}.weight"), [to, from])?;
                vector(format!("encoder.layer.{layer}.{part}.bias"), to)?;
            }
            norm(format!("encoder.layer.{layer}.attention.output.LayerNorm"))?;
            norm(format!("encoder.layer.{layer}.output.LayerNorm"))?;
        }
        Ok(())
    }

    /// Copies the model's tensors.
    ///
    /// # Errors
    /// A tensor is missing or has another shape than the sizes say.
    pub(crate) fn load(weights: &BertWeights<'_>) -> Result<Bert, WeightsError> {
        Bert::check(weights)?;
        let (loader, config) = (Loader(weights), weights.config);
        let hidden = config.hidden;
        let words = loader.numbers("embeddings.word_embeddings.weight", &[config.vocab, hidden])?;
        let mut positions = loader.numbers("embeddings.position_embeddings.weight", &[config.positions, hidden])?;
        let kinds = loader.numbers(KINDS, &[2, hidden]).or_else(|_| loader.numbers(KINDS, &[1, hidden]))?;
        for position in positions.chunks_exact_mut(hidden) {
            add(position, &kinds[..hidden]);
        }
        let norm = loader.norm("embeddings.LayerNorm")?;
        let layers = (0..config.layers).map(|index| loader.layer(index)).collect::<Result<_, _>>()?;
        Ok(Bert { words, positions, norm, layers, config })
    }

    /// Sizes of the model.
    pub(crate) fn config(&self) -> &BertConfig {
        &self.config
    }

    /// The vectors of the texts, row by row: `[rows, hidden]`, each of length one. A text without tokens has zeros.
    ///
    /// Uses the threads of the rayon pool that it is called in.
    ///
    /// # Errors
    /// A token is not in the vocabulary, or a text has more tokens than the model has positions.
    pub(crate) fn encode(&self, batch: &TokenBatch) -> Result<Vec<f32>, Error> {
        let hidden = self.config.hidden;
        if batch.tokens().is_empty() {
            return Ok(vec![0.0; batch.rows() * hidden]);
        }
        let mut x = self.embed(batch)?;
        for layer in &self.layers {
            x = self.layer(layer, batch, &x)?;
        }
        let x: Vec<f32> = x.flatten_all()?.to_vec1()?;
        let mut vectors = Vec::with_capacity(batch.rows() * hidden);
        let mut start = 0;
        for &end in batch.ends() {
            self.pool(&x[start * hidden..end * hidden], &mut vectors);
            start = end;
        }
        Ok(vectors)
    }

    /// What the layers begin with: `[tokens, hidden]`.
    fn embed(&self, batch: &TokenBatch) -> Result<Tensor, Error> {
        let hidden = self.config.hidden;
        let mut x = Vec::with_capacity(batch.tokens().len() * hidden);
        for text in batch.iter() {
            if text.len() > self.config.positions {
                let most = self.config.positions;
                return Err(Error::Msg(format!("a text has {} tokens, and the model takes {most}", text.len())));
            }
            for (position, &token) in text.iter().enumerate() {
                if token as usize >= self.config.vocab {
                    return Err(Error::Msg(format!("the model has no token {token}")));
                }
                let from = x.len();
                x.extend_from_slice(&self.words[token as usize * hidden..][..hidden]);
                add(&mut x[from..], &self.positions[position * hidden..][..hidden]);
                self.norm.apply(&mut x[from..]);
            }
        }
        Tensor::from_vec(x, (batch.tokens().len(), hidden), &Device::Cpu)
    }

    fn layer(&self, layer: &Layer, batch: &TokenBatch, x: &Tensor) -> Result<Tensor, Error> {
        let qkv = layer.qkv.forward(x)?;
        qkv.inplace_op1(&AddBias(&layer.qkv.bias))?;
        let attended = layer.attended.forward(&self.attend(batch, &qkv)?)?;
        attended.inplace_op2(x, &AddAndNorm { bias: &layer.attended.bias, norm: &layer.attended_norm })?;
        let wide = layer.up.forward(&attended)?;
        wide.inplace_op1(&Gelu(&layer.up.bias))?;
        let out = layer.down.forward(&wide)?;
        out.inplace_op2(&attended, &AddAndNorm { bias: &layer.down.bias, norm: &layer.norm })?;
        Ok(out)
    }

    /// Attention of each text to itself: `[tokens, 3 * hidden]` to `[tokens, hidden]`.
    fn attend(&self, batch: &TokenBatch, qkv: &Tensor) -> Result<Tensor, Error> {
        let (heads, hidden) = (self.config.heads, self.config.hidden);
        let one = |(start, end): (usize, usize)| -> Result<Tensor, Error> {
            let len = end - start;
            // Views all of them: the multiplication takes any stride.
            let qkv = qkv.narrow(0, start, len)?.reshape((len, 3, heads, hidden / heads))?.permute((1, 2, 0, 3))?;
            let scores = qkv.get(0)?.matmul(&qkv.get(1)?.t()?)?;
            scores.inplace_op1(&Softmax)?;
            scores.matmul(&qkv.get(2)?)?.transpose(0, 1)?.reshape((len, hidden))
        };
        let starts = std::iter::once(&0).chain(batch.ends()).copied();
        // No tensor may be empty.
        let texts: Vec<_> = starts.zip(batch.ends().iter().copied()).filter(|(start, end)| start < end).collect();
        let parts: Vec<Tensor> = texts.into_par_iter().map(one).collect::<Result<_, Error>>()?;
        Tensor::cat(&parts, 0)
    }

    /// Appends the vector of a text, whose tokens have the vectors `x`.
    fn pool(&self, x: &[f32], vectors: &mut Vec<f32>) {
        let hidden = self.config.hidden;
        let from = vectors.len();
        vectors.resize(from + hidden, 0.0);
        let vector = &mut vectors[from..];
        let tokens = match self.config.pooling {
            Pooling::Mean => x.len() / hidden,
            Pooling::First => 1,
        };
        // The length becomes one, so a sum is as good as a mean.
        x.chunks_exact(hidden).take(tokens).for_each(|token| add(vector, token));
        let length = sum(vector, |value| value * value).sqrt();
        if length > 0.0 {
            vector.iter_mut().for_each(|value| *value /= length);
        }
    }
}

fn add(to: &mut [f32], what: &[f32]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += what);
}

/// The sum of what `of` makes of the values, in an order that vector instructions can follow.
#[inline]
fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (blocks, tail) = values.as_chunks::<LANES>();
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, &value)| *lane += of(value));
    }
    lanes.iter().sum::<f32>() + tail.iter().map(|&value| of(value)).sum::<f32>()
}

/// The numbers of a tensor that begins where its memory does and has no gaps.
fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32], Error> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => Err(Error::Msg("a tensor of f32 without gaps was expected".into())),
    }
}

fn numbers_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32], Error> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => Err(Error::Msg("a tensor of f32 without gaps was expected".into())),
    }
}

/// Calls `each` with the index and the numbers of every row, on all threads.
fn for_each_row(values: &mut [f32], width: usize, each: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = GRAIN.div_ceil(width);
    values.par_chunks_mut(rows * width).enumerate().for_each(|(block, values)| {
        values.chunks_exact_mut(width).enumerate().for_each(|(row, values)| each(block * rows + row, values));
    });
}

/// Adds a bias to every row.
struct AddBias<'a>(&'a [f32]);

impl InplaceOp1 for AddBias<'_> {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<(), Error> {
        for_each_row(numbers_mut(storage, layout)?, self.0.len(), |_, row| add(row, self.0));
        Ok(())
    }
}

/// Adds a bias to every row, and then takes `x * P(X <= x)` for a normal `X` (Hendrycks and Gimpel, 2016).
struct Gelu<'a>(&'a [f32]);

impl InplaceOp1 for Gelu<'_> {
    fn name(&self) -> &'static str {
        "bias-gelu"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<(), Error> {
        for_each_row(numbers_mut(storage, layout)?, self.0.len(), |_, row| {
            row.iter_mut().zip(self.0).for_each(|(value, bias)| *value = gelu(*value + bias));
        });
        Ok(())
    }
}

/// Adds a bias and what went into the sublayer to every row, and normalises it.
struct AddAndNorm<'a> {
    bias: &'a [f32],
    norm: &'a Norm,
}

impl InplaceOp2 for AddAndNorm<'_> {
    fn name(&self) -> &'static str {
        "add-and-norm"
    }

    fn cpu_fwd(
        &self,
        to: &mut CpuStorage,
        to_layout: &Layout,
        from: &CpuStorage,
        from_layout: &Layout,
    ) -> Result<(), Error> {
        let (from, width) = (numbers(from, from_layout)?, self.bias.len());
        for_each_row(numbers_mut(to, to_layout)?, width, |index, row| {
            add(row, self.bias);
            add(row, &from[index * width..][..width]);
            self.norm.apply(row);
        });
        Ok(())
    }
}

/// Makes the last dimension positive, with the sum one.
struct Softmax;

impl InplaceOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<(), Error> {
        let width = layout.dims().last().copied().unwrap_or(1);
        // Texts run on threads already.
        for row in numbers_mut(storage, layout)?.chunks_exact_mut(width) {
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|value| *value = exp(*value - most));
            let scale = 1.0 / sum(row, |value| value);
            row.iter_mut().for_each(|value| *value *= scale);
        }
        Ok(())
    }
}

/// `x * P(X <= x)` for a normal `X`, with the error function of Abramowitz and Stegun, 7.1.26, which is off by 1.5e-7 at
/// most. Without a branch or a call: the compiler makes vector instructions of it.
#[inline]
fn gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let series = ((((1.061_405_4 * t - 1.453_152_1) * t + 1.421_413_8) * t - 0.284_496_72) * t + 0.254_829_6) * t;
    // What the normal distribution has beyond |x|.
    let tail = 0.5 * series * exp(-z * z);
    x * if x < 0.0 { tail } else { 1.0 - tail }
}

/// `e^x` within 2e-7 of itself, for `x` from -87 to 88; what is beyond is taken for the border. As in the Cephes library
/// (Moshier, 1989), without a branch or a call.
#[inline]
fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: what is added to it loses its fraction.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let whole = rounded - ROUND;
    // ln 2 in two parts, the first of which has few digits: the product is exact.
    let rest = x - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let series = ((((1.987_569_1e-4 * rest + 1.398_2e-3) * rest + 8.333_452e-3) * rest + 4.166_579_6e-2) * rest
        + 1.666_666_5e-1)
        * rest
        + 0.5;
    let fraction = series * rest * rest + rest + 1.0;
    // The low bits of `rounded` are the exponent.
    fraction * f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error function by its series, which is good enough below four; beyond, it is one.
    fn erf(x: f64) -> f64 {
        if x.abs() > 4.0 {
            return x.signum();
        }
        let (mut term, mut total) = (x, x);
        for n in 1..120 {
            term *= -x * x / f64::from(n);
            total += term / f64::from(2 * n + 1);
        }
        total * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn exp_and_gelu_are_close() {
        for step in -90_000..=90_000 {
            let x = step as f32 / 1000.0;
            let (found, expect) = (f64::from(exp(x)), f64::from(x.clamp(-87.0, 88.0)).exp());
            assert!((found / expect - 1.0).abs() < 2e-7, "exp({x}) is {found}, not {expect}");
            let expect = f64::from(x) * 0.5 * (1.0 + erf(f64::from(x) * std::f64::consts::FRAC_1_SQRT_2));
            assert!((f64::from(gelu(x)) - expect).abs() < 4e-7 * (1.0 + expect.abs()), "gelu({x}) is {}", gelu(x));
        }
        assert_eq!((gelu(f32::INFINITY), gelu(-1e30), gelu(0.0)), (f32::INFINITY, 0.0, 0.0));
        assert!(gelu(f32::NAN).is_nan());
    }

    #[test]
    fn sums_of_every_length() {
        for len in 0..40 {
            let values: Vec<f32> = (0..len).map(|n| n as f32).collect();
            assert_eq!(sum(&values, |value| 2.0 * value), (len * (len - 1)) as f32);
        }
    }

    #[test]
    fn rows_of_every_width() {
        for width in [1, 7, GRAIN - 1, GRAIN, GRAIN + 1] {
            let mut values = vec![0.0; width * 5];
            for_each_row(&mut values, width, |index, row| row.fill(index as f32));
            let expect: Vec<f32> = (0..5).flat_map(|row| vec![row as f32; width]).collect();
            assert_eq!(values, expect);
        }
    }
}
