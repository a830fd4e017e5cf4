//! The sequence of steps on an emulated card, against a BERT in plain loops; and the card itself, where there is one.
//!
//! The emulation takes what the card is given: addresses, sizes and the arguments of each kernel by name. Products
//! follow the definition of BLAS, columns first, and kernels do what `kernels.cu` says above each of them. That the
//! kernels do that is shown elsewhere: `scripts/kernels --host-test` runs their code.

use super::device::{check, fill};
use super::forward::{Batch, Ops, Product, forward};
use super::kernels::{Arg, Kernel, PTX, Value, signature};
use super::pack::pack;
use super::plan::{HALF, Plan, Span, WORD};
use super::{CudaDevice, CudaOptions, probe};
use crate::embed::device::{DeviceError, EmbedDevice, TokenBatch};
use crate::embed::weights::{BertConfig, BertWeights, Number, Pooling, Tensor};
use half::f16;
use std::collections::HashMap;
use std::time::Duration;

// A model of random numbers.

struct Model {
    config: BertConfig,
    tensors: HashMap<String, (Vec<usize>, Vec<u8>)>,
}

/// Numbers of mean 0 and spread 1, the same in every run: sums of three uniform ones, from xorshift.
fn numbers(seed: u64) -> impl Iterator<Item = f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        let mut uniform = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        (uniform() + uniform() + uniform()) * 2.0
    })
}

impl Model {
    fn random(config: BertConfig) -> Model {
        let mut model = Model { config, tensors: HashMap::new() };
        let (hidden, inner) = (config.hidden, config.intermediate);
        let mut add = |name: String, shape: &[usize], middle: f32, spread: f32| {
            let seed = model.tensors.len() as u64 + 1;
            let values = numbers(seed).map(|value| middle + spread * value).take(shape.iter().product());
            model.tensors.insert(name, (shape.to_vec(), values.flat_map(f32::to_le_bytes).collect()));
        };
        for (name, rows) in [("word", config.vocab), ("position", config.positions), ("token_type", 2)] {
            add(format!("embeddings.{name}_embeddings.weight"), &[rows, hidden], 0.0, 0.5);
        }
        let mut norms = vec!["embeddings.LayerNorm".to_owned()];
        for layer in 0..config.layers {
            let name = |part: &str| format!("encoder.layer.{layer}.{part}");
            for (part, inputs, outputs) in [
                ("attention.self.query", hidden, hidden),
                ("attention.self.key", hidden, hidden),
                ("attention.self.value", hidden, hidden),
                ("attention.output.dense", hidden, hidden),
                ("intermediate.dense", hidden, inner),
                ("output.dense", inner, hidden),
            ] {
                // Results of spread 1 or so, so that softmax and GELU are used in all their range.
                add(name(part) + ".weight", &[outputs, inputs], 0.0, 1.2 / (inputs as f32).sqrt());
                add(name(part) + ".bias", &[outputs], 0.0, 0.3);
            }
            norms.extend([name("attention.output.LayerNorm"), name("output.LayerNorm")]);
        }
        for norm in norms {
            add(norm.clone() + ".weight", &[hidden], 1.0, 0.2);
            add(norm + ".bias", &[hidden], 0.0, 0.2);
        }
        model
    }

    fn weights(&self) -> BertWeights<'_> {
        let tensors = self
            .tensors
            .iter()
            .map(|(name, (shape, bytes))| (name.clone(), Tensor::new(Number::F32, shape, bytes).unwrap()));
        BertWeights { config: self.config, tensors: tensors.collect() }
    }

    fn plan(&self, options: &CudaOptions) -> Plan {
        Plan::new(&self.config, options).unwrap()
    }
}

fn config(hidden: usize, heads: usize, pooling: Pooling) -> BertConfig {
    BertConfig {
        hidden,
        layers: 2,
        heads,
        intermediate: 3 * hidden,
        vocab: 50,
        positions: 100,
        layer_norm_eps: 1e-12,
        pooling,
    }
}

fn texts(lengths: &[usize], vocab: usize) -> TokenBatch {
    let mut batch = TokenBatch::default();
    for (text, length) in lengths.iter().enumerate() {
        batch.push(&(0..*length).map(|token| ((token * 7 + text * 13 + 3) % vocab) as u32).collect::<Vec<_>>());
    }
    batch
}

// A BERT in plain loops and double precision, from the tensors and nothing else.

type Matrix = Vec<Vec<f64>>;

struct Plain<'a>(BertWeights<'a>);

impl Plain<'_> {
    fn values(&self, name: &str) -> Vec<f64> {
        self.0.tensors[name].values().map(f64::from).collect()
    }

    fn linear(&self, name: &str, x: &Matrix) -> Matrix {
        let (weight, bias) = (self.values(&format!("{name}.weight")), self.values(&format!("{name}.bias")));
        let row = |x: &Vec<f64>| {
            let columns = weight.chunks(x.len()).zip(&bias);
            columns.map(|(weight, bias)| bias + weight.iter().zip(x).map(|(a, b)| a * b).sum::<f64>()).collect()
        };
        x.iter().map(row).collect()
    }

    fn add_norm(&self, name: &str, x: &Matrix, more: &Matrix) -> Matrix {
        let (scale, shift) = (self.values(&format!("{name}.weight")), self.values(&format!("{name}.bias")));
        let row = |(x, more): (&Vec<f64>, &Vec<f64>)| {
            let x: Vec<f64> = x.iter().zip(more).map(|(a, b)| a + b).collect();
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
            let factor = 1.0 / (variance + f64::from(self.0.config.layer_norm_eps)).sqrt();
            x.iter()
                .zip(scale.iter().zip(&shift))
                .map(|(x, (scale, shift))| (x - mean) * factor * scale + shift)
                .collect()
        };
        x.iter().zip(more).map(row).collect()
    }

    fn attention(&self, layer: &str, x: &Matrix) -> Matrix {
        let part = |part: &str| self.linear(&format!("{layer}.attention.self.{part}"), x);
        let (q, k, v) = (part("query"), part("key"), part("value"));
        let head = self.0.config.hidden / self.0.config.heads;
        let mut out = vec![vec![0.0; self.0.config.hidden]; x.len()];
        for first in (0..self.0.config.hidden).step_by(head) {
            for (q, out) in q.iter().zip(&mut out) {
                let score =
                    |k: &Vec<f64>| (first..first + head).map(|i| q[i] * k[i]).sum::<f64>() / (head as f64).sqrt();
                let weights: Vec<f64> = k.iter().map(|k| score(k).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for i in first..first + head {
                    out[i] = weights.iter().zip(&v).map(|(weight, v)| weight / sum * v[i]).sum();
                }
            }
        }
        out
    }

    /// The vector of one text.
    fn vector(&self, text: &[u32]) -> Vec<f64> {
        let hidden = self.0.config.hidden;
        let row = |name: &str, row: usize| self.values(name)[row * hidden..][..hidden].to_vec();
        let words: Matrix = text.iter().map(|id| row("embeddings.word_embeddings.weight", *id as usize)).collect();
        let places = (0..text.len()).map(|place| {
            let place = row("embeddings.position_embeddings.weight", place);
            place.iter().zip(row("embeddings.token_type_embeddings.weight", 0)).map(|(a, b)| a + b).collect()
        });
        let mut x = self.add_norm("embeddings.LayerNorm", &words, &places.collect());
        for layer in 0..self.0.config.layers {
            let layer = format!("encoder.layer.{layer}");
            let attended = self.linear(&format!("{layer}.attention.output.dense"), &self.attention(&layer, &x));
            let y = self.add_norm(&format!("{layer}.attention.output.LayerNorm"), &x, &attended);
            let mut inner = self.linear(&format!("{layer}.intermediate.dense"), &y);
            inner.iter_mut().flatten().for_each(|x| *x *= normal(*x));
            x = self.add_norm(
                &format!("{layer}.output.LayerNorm"),
                &y,
                &self.linear(&format!("{layer}.output.dense"), &inner),
            );
        }
        let used = if self.0.config.pooling == Pooling::First { 1 } else { x.len() };
        let sum: Vec<f64> = (0..hidden).map(|i| x[..used].iter().map(|row| row[i]).sum()).collect();
        let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        sum.iter().map(|x| x / length).collect()
    }
}

/// The normal distribution's share below `x`, which makes the exact GELU: a sum of its density from far below, by
/// Simpson.
fn normal(x: f64) -> f64 {
    const STEPS: usize = 400;
    let (from, to) = (-9.0, x.clamp(-9.0, 9.0));
    let step = (to - from) / STEPS as f64;
    let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let factor = |i: usize| {
        if i == 0 || i == STEPS {
            1.0
        } else if i % 2 == 1 {
            4.0
        } else {
            2.0
        }
    };
    (0..=STEPS).map(|i| factor(i) * density(from + i as f64 * step)).sum::<f64>() * step / 3.0
}

// The emulated card.

struct Emulated {
    block: Vec<u8>,
    spans: Vec<Span>,
    steps: Vec<String>,
    /// Every launch is compared with the parameters in here.
    cuda: &'static str,
}

impl Emulated {
    fn new(plan: &Plan, weights: &BertWeights<'_>) -> Emulated {
        let mut card = Emulated {
            block: vec![0; plan.bytes],
            spans: plan.spans(),
            steps: Vec::new(),
            cuda: include_str!("kernels.cu"),
        };
        let mut written = Vec::new();
        pack(weights, plan, &mut |span, bytes| {
            assert_eq!(span.bytes, bytes.len());
            card.block[span.at..][..span.bytes].copy_from_slice(bytes);
            written.push(span);
            Ok(())
        })
        .unwrap();
        // The weights are what comes before the state, and all of it was written.
        let holes: usize = written.iter().map(|span| span.bytes.next_multiple_of(256)).sum();
        assert!(holes >= plan.state.at, "{holes} of {}", plan.state.at);
        card
    }

    /// The place of an array: it must lie in one span, and be aligned.
    fn place(&self, at: usize, bytes: usize) -> std::ops::Range<usize> {
        let span = self.spans.iter().find(|span| (span.at..span.at + span.bytes).contains(&at));
        let span = span.unwrap_or_else(|| panic!("{at} is in no span"));
        assert!(at + bytes <= span.at + span.bytes, "{bytes} bytes from {at} leave {span:?}");
        at..at + bytes
    }

    fn halves(&self, at: usize, count: usize) -> Vec<f32> {
        let bytes = &self.block[self.place(at, count * HALF)];
        bytes.chunks(HALF).map(|bytes| f16::from_le_bytes(bytes.try_into().unwrap()).to_f32()).collect()
    }

    fn set_halves(&mut self, at: usize, values: &[f32]) {
        let place = self.place(at, values.len() * HALF);
        let bytes = values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes());
        self.block[place].iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    }

    fn words(&self, at: usize, count: usize) -> Vec<u32> {
        let bytes = &self.block[self.place(at, count * WORD)];
        bytes.chunks(WORD).map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap())).collect()
    }

    fn set_words(&mut self, at: usize, values: &[u32]) {
        let place = self.place(at, values.len() * WORD);
        self.block[place].copy_from_slice(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
    }

    fn floats(&self, at: usize, count: usize) -> Vec<f32> {
        self.words(at, count).into_iter().map(f32::from_bits).collect()
    }

    /// What a device does with a batch, but for the copies.
    fn vectors(&mut self, plan: &Plan, slot: usize, texts: &TokenBatch) -> Vec<Vec<f32>> {
        check(plan, texts).unwrap();
        let mut input = vec![0; plan.slots[slot].input.bytes / WORD];
        fill(&mut input, plan.ids_at(), texts);
        self.set_words(plan.slots[slot].input.at, &input[..plan.ids_at() + 2 * texts.tokens().len()]);
        forward(self, plan, &Batch::of(slot, texts)).unwrap();
        let out = self.floats(plan.slots[slot].output.at, texts.rows() * plan.shape.dims);
        out.chunks(plan.shape.dims).map(<[f32]>::to_vec).collect()
    }
}

/// The parameters of a kernel in `kernels.cu`: names, and types as PTX has them.
fn parameters(cuda: &str, kernel: Kernel) -> Vec<(String, &'static str)> {
    let (_, rest) = cuda.split_once(&format!(" {}(", kernel.name())).unwrap();
    let (params, _) = rest.split_once(')').unwrap();
    let parameter = |text: &str| {
        let name = text.split_whitespace().last().unwrap().to_owned();
        let kind = if text.contains('*') {
            ".u64"
        } else if text.contains("unsigned") {
            ".u32"
        } else {
            ".f32"
        };
        (name, kind)
    };
    params.split(',').map(parameter).collect()
}

/// Arguments by name.
struct Args(HashMap<&'static str, Value>);

impl Args {
    fn at(&self, name: &str) -> usize {
        let Value::At(at) = self.0[name] else { panic!("{name} is no address") };
        at
    }

    fn count(&self, name: &str) -> usize {
        let Value::Count(count) = self.0[name] else { panic!("{name} is no count") };
        count as usize
    }

    fn number(&self, name: &str) -> f32 {
        let Value::Number(number) = self.0[name] else { panic!("{name} is no number") };
        number
    }
}

fn norm(x: &[f32], scale: &[f32], shift: &[f32], epsilon: f32) -> Vec<f32> {
    let mean = x.iter().sum::<f32>() / x.len() as f32;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / x.len() as f32;
    let factor = 1.0 / (variance + epsilon).sqrt();
    x.iter().zip(scale.iter().zip(shift)).map(|(x, (scale, shift))| (x - mean) * factor * scale + shift).collect()
}

impl Emulated {
    fn embed_norm(&mut self, grid: [usize; 3], args: &Args) {
        let (tokens, hidden) = (args.count("tokens"), args.count("hidden"));
        assert!(grid[0] * 4 >= tokens && grid[1..] == [1, 1]);
        let (ids, positions) = (self.words(args.at("ids"), tokens), self.words(args.at("positions"), tokens));
        let (scale, shift) = (self.floats(args.at("scale"), hidden), self.floats(args.at("shift"), hidden));
        for (token, (id, position)) in ids.iter().zip(positions).enumerate() {
            let word = self.halves(args.at("words") + *id as usize * hidden * HALF, hidden);
            let place = self.halves(args.at("places") + position as usize * hidden * HALF, hidden);
            let x: Vec<f32> = word.iter().zip(place).map(|(a, b)| a + b).collect();
            self.set_halves(args.at("out") + token * hidden * HALF, &norm(&x, &scale, &shift, args.number("epsilon")));
        }
    }

    fn add_norm(&mut self, grid: [usize; 3], args: &Args) {
        let (tokens, hidden) = (args.count("tokens"), args.count("hidden"));
        assert!(grid[0] * 4 >= tokens && grid[1..] == [1, 1]);
        let (scale, shift) = (self.floats(args.at("scale"), hidden), self.floats(args.at("shift"), hidden));
        for token in 0..tokens {
            let at = |name| args.at(name) + token * hidden * HALF;
            let (state, added) = (self.halves(at("state"), hidden), self.halves(at("added"), hidden));
            let x: Vec<f32> = state.iter().zip(added).map(|(a, b)| a + b).collect();
            self.set_halves(at("state"), &norm(&x, &scale, &shift, args.number("epsilon")));
        }
    }

    fn attention(&mut self, dims: usize, grid: [usize; 3], args: &Args) {
        let hidden = args.count("hidden");
        let starts = self.words(args.at("starts"), grid[0] + 1);
        assert_eq!(grid[1] * dims, hidden);
        for text in starts.windows(2) {
            let (start, length) = (text[0] as usize, (text[1] - text[0]) as usize);
            assert!(grid[2] * 64 >= length, "a grid too small for {length} tokens");
            let qkv = self.halves(args.at("qkv") + start * 3 * hidden * HALF, length * 3 * hidden);
            let at = |token: usize, part: usize, column: usize| qkv[token * 3 * hidden + part * hidden + column];
            let mut out = vec![0.0; length * hidden];
            for first in (0..hidden).step_by(dims) {
                for query in 0..length {
                    let score = |key| (first..first + dims).map(|i| at(query, 0, i) * at(key, 1, i)).sum::<f32>();
                    let weights: Vec<f32> =
                        (0..length).map(|key| (score(key) * args.number("scale_log2")).exp2()).collect();
                    let sum: f32 = weights.iter().sum();
                    for i in first..first + dims {
                        let value: f32 = weights.iter().enumerate().map(|(key, weight)| weight * at(key, 2, i)).sum();
                        out[query * hidden + i] = value / sum;
                    }
                }
            }
            self.set_halves(args.at("context") + start * hidden * HALF, &out);
        }
    }

    fn pool(&mut self, grid: [usize; 3], args: &Args) {
        let hidden = args.count("hidden");
        let starts = self.words(args.at("starts"), grid[0] + 1);
        assert_eq!(grid[1..], [1, 1]);
        for (row, text) in starts.windows(2).enumerate() {
            let used = if args.count("first_only") == 1 { 1 } else { (text[1] - text[0]) as usize };
            let state = self.halves(args.at("state") + text[0] as usize * hidden * HALF, used * hidden);
            let sum: Vec<f32> = (0..hidden).map(|i| state.iter().skip(i).step_by(hidden).sum()).collect();
            let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
            let words: Vec<u32> = sum.iter().map(|x| (x / length).to_bits()).collect();
            self.set_words(args.at("out") + row * hidden * WORD, &words);
        }
    }
}

impl Ops for Emulated {
    fn product(&mut self, product: &Product) -> Result<(), DeviceError> {
        let Product { m, n, k, a, b, bias, d, gelu } = *product;
        // Columns first: column j of a matrix of r rows begins at j * r.
        let (a, b, bias) = (self.halves(a, k * m), self.halves(b, k * n), self.halves(bias, m));
        let mut out = vec![0.0; m * n];
        for column in 0..n {
            for row in 0..m {
                // Element (row, i) of the transposed a is element (i, row) of a.
                let sum: f32 = (0..k).map(|i| a[row * k + i] * b[column * k + i]).sum::<f32>() + bias[row];
                let cubic = 0.797_884_6 * (sum + 0.044_715 * sum.powi(3));
                out[column * m + row] = if gelu { 0.5 * sum * (1.0 + cubic.tanh()) } else { sum };
            }
        }
        self.set_halves(d, &out);
        self.steps.push(format!("product {m} {n} {k}"));
        Ok(())
    }

    fn launch(&mut self, kernel: Kernel, grid: [usize; 3], args: &[Arg]) -> Result<(), DeviceError> {
        let given: Vec<_> = args.iter().map(|(name, value)| ((*name).to_owned(), value.ptx_type())).collect();
        assert_eq!(given, parameters(self.cuda, kernel), "{}", kernel.name());
        let types: Vec<_> = given.iter().map(|(_, kind)| *kind).collect();
        assert_eq!(signature(PTX, kernel).as_ref(), Some(&types), "{}", kernel.name());
        let args = Args(args.iter().copied().collect());
        match kernel {
            Kernel::EmbedNorm => self.embed_norm(grid, &args),
            Kernel::AddNorm => self.add_norm(grid, &args),
            Kernel::Attention32 => self.attention(32, grid, &args),
            Kernel::Attention64 => self.attention(64, grid, &args),
            Kernel::Pool => self.pool(grid, &args),
        }
        self.steps.push(kernel.name().to_owned());
        Ok(())
    }
}

/// The largest difference of a number, and of a direction: one minus the cosine.
fn difference(is: &[f32], should: &[f64]) -> (f64, f64) {
    let off = is.iter().zip(should).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    let cosine: f64 = is.iter().zip(should).map(|(a, b)| f64::from(*a) * b).sum();
    (off, 1.0 - cosine)
}

/// All vectors of a batch, against plain loops.
fn assert_close(is: &[Vec<f32>], model: &Model, batch: &TokenBatch) {
    let plain = Plain(model.weights());
    assert_eq!(is.len(), batch.rows());
    for (row, (is, text)) in is.iter().zip(batch.iter()).enumerate() {
        let (off, angle) = difference(is, &plain.vector(text));
        assert!(
            off < 2e-3 && angle < 2e-5,
            "row {row}, {} tokens: off by {off:.2e}, 1 - cosine {angle:.2e}",
            text.len()
        );
        let length: f32 = is.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5);
    }
}

const SMALL: CudaOptions = CudaOptions { card: 0, slots: 2, batch_tokens: 200, batch_rows: 8 };

#[test]
fn the_sequence_is_that_of_a_bert() {
    for (hidden, heads, pooling) in [(64, 2, Pooling::Mean), (64, 1, Pooling::First), (128, 4, Pooling::Mean)] {
        let model = Model::random(config(hidden, heads, pooling));
        let plan = model.plan(&SMALL);
        let mut card = Emulated::new(&plan, &model.weights());
        let batch = texts(&[1, 7, 70, 3, 16], 50);
        assert_close(&card.vectors(&plan, 1, &batch), &model, &batch);
        // What the batch before left behind the last token changes nothing.
        let batch = texts(&[5, 65], 50);
        assert_close(&card.vectors(&plan, 0, &batch), &model, &batch);
    }
}

#[test]
fn a_layer_is_seven_steps() {
    let model = Model::random(config(64, 2, Pooling::Mean));
    let plan = model.plan(&SMALL);
    let mut card = Emulated::new(&plan, &model.weights());
    card.vectors(&plan, 0, &texts(&[9], 50));
    let layer = [
        "product 192 64 64",
        "attention_32",
        "product 64 64 64",
        "add_norm",
        "product 192 64 64",
        "product 64 64 192",
        "add_norm",
    ];
    assert_eq!(card.steps, [&["embed_norm"][..], &layer, &layer, &["pool"]].concat());
}

#[test]
fn texts_do_not_see_each_other() {
    let model = Model::random(config(64, 2, Pooling::Mean));
    let plan = model.plan(&SMALL);
    let mut card = Emulated::new(&plan, &model.weights());
    let together = card.vectors(&plan, 0, &texts(&[20, 31, 2], 50));
    for (row, text) in texts(&[20, 31, 2], 50).iter().enumerate() {
        let mut alone = TokenBatch::default();
        alone.push(text);
        assert_eq!(card.vectors(&plan, 1, &alone), together[row..=row]);
    }
}

#[test]
fn batches_that_kernels_would_trip_over_are_refused() {
    let model = Model::random(config(64, 2, Pooling::Mean));
    let plan = model.plan(&SMALL);
    let refused = |lengths: &[usize], vocab| check(&plan, &texts(lengths, vocab)).unwrap_err();
    assert!(refused(&[], 50).contains("without texts"));
    assert!(refused(&[3, 0], 50).contains("without tokens"));
    assert!(refused(&[101], 50).contains("tokens in a text"));
    assert!(refused(&[100, 100, 1], 50).contains("tokens in a batch"));
    assert!(refused(&[1; 9], 50).contains("texts in a batch"));
    assert!(refused(&[60], 51).contains("token 50 is not in a vocabulary of 50"));
    assert_eq!(check(&plan, &texts(&[100, 100], 50)), Ok(()));
}

#[test]
fn an_input_is_laid_out_as_kernels_read_it() {
    let mut input = [9; 12];
    let mut batch = TokenBatch::default();
    batch.push(&[7, 8]);
    batch.push(&[5]);
    fill(&mut input, 4, &batch);
    // Starts of at most three texts, ids, positions, and nothing else.
    assert_eq!(input, [0, 2, 3, 9, 7, 8, 5, 0, 1, 0, 9, 9]);
}

#[test]
fn weights_that_half_precision_cannot_hold_are_refused() {
    let mut model = Model::random(config(64, 2, Pooling::Mean));
    let bytes = &mut model.tensors.get_mut("encoder.layer.1.output.dense.bias").unwrap().1;
    bytes[..4].copy_from_slice(&1e6f32.to_le_bytes());
    let error = pack(&model.weights(), &model.plan(&SMALL), &mut |_, _| Ok(())).unwrap_err();
    let words = "encoder.layer.1.output.dense.bias holds 1000000, which half precision cannot";
    assert_eq!(error, DeviceError::Failed(words.to_owned()));
    model.tensors.remove("embeddings.LayerNorm.bias");
    let error = pack(&model.weights(), &model.plan(&SMALL), &mut |_, _| Ok(())).unwrap_err();
    assert_eq!(error, DeviceError::Failed("the model has no tensor embeddings.LayerNorm.bias".to_owned()));
}

#[test]
fn without_a_card_the_device_says_what_is_missing() {
    let model = Model::random(config(64, 2, Pooling::Mean));
    let probe = probe();
    if !probe.is_usable() {
        let Err(DeviceError::Failed(error)) = CudaDevice::open(&model.weights(), SMALL) else { panic!("opened") };
        assert!(probe.missing.iter().all(|missing| error.contains(missing)), "{error}");
    }
}

#[test]
fn vectors_agree_with_the_cpu() {
    let probe = probe();
    if !probe.is_usable() {
        return println!("SKIPPED: no card to compute vectors on, nothing of the card was tested.\n{probe}");
    }
    for (hidden, heads, pooling) in [(384, 12, Pooling::Mean), (128, 2, Pooling::First)] {
        let model = Model::random(config(hidden, heads, pooling));
        let mut device = CudaDevice::open(&model.weights(), SMALL).unwrap();
        let batches =
            [texts(&[1, 7, 70, 3, 16], 50), texts(&[100, 100], 50), texts(&[5], 50), texts(&[64, 65, 63], 50)];
        // Two in flight at a time, twice round.
        for pair in batches.chunks(2).chain(batches.chunks(2)) {
            for (slot, batch) in pair.iter().enumerate() {
                device.submit(slot, batch).unwrap();
                assert!(
                    matches!(device.submit(slot, batch), Err(DeviceError::Failed(_))),
                    "a slot in flight was taken"
                );
            }
            for batch in pair {
                let done = device.wait(Duration::from_secs(30)).unwrap().expect("a batch takes milliseconds");
                done.result.unwrap();
                let mut vectors = Vec::new();
                device.take(done.slot, &mut vectors).unwrap();
                assert_eq!(&pair[done.slot], batch, "batches end in order");
                assert_close(&vectors.chunks(hidden).map(<[f32]>::to_vec).collect::<Vec<_>>(), &model, batch);
            }
        }
        assert_eq!(device.wait(Duration::ZERO), Ok(None));
        println!("{}: {:?}", device.name(), device.times());
        // In flight when it is dropped: the arena waits.
        device.submit(0, &batches[0]).unwrap();
    }
}
