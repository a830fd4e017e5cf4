//! Where everything lies in the device's memory. One block holds it all; nothing is added later.

use super::CudaOptions;
use crate::embed::device::{DeviceError, DeviceShape};
use crate::embed::weights::BertConfig;

/// Every span begins at a multiple of this: what cuBLASLt's fastest kernels and 16-byte loads want.
const ALIGN: usize = 256;
/// Bytes of a number of half precision.
pub(super) const HALF: usize = 2;
/// Bytes of an index, and of a number of single precision.
pub(super) const WORD: usize = 4;
/// What cuBLASLt may use beside its operands: as much as cuBLAS itself takes on cards of capability 9.0.
const WORKSPACE: usize = 32 << 20;
/// Products are prepared for at most so many numbers of tokens.
const SIZES: usize = 64;

/// A piece of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Bytes from the beginning of the block.
    pub(super) at: usize,
    /// Its length.
    pub(super) bytes: usize,
}

impl Span {
    /// Part `index` of `parts` equal ones.
    pub(super) fn part(self, index: usize, parts: usize) -> Span {
        let bytes = self.bytes / parts;
        Span { at: self.at + index * bytes, bytes }
    }
}

/// A matrix of `outputs` rows and `inputs` columns, and a bias. Half precision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linear {
    pub(super) weight: Span,
    pub(super) bias: Span,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

/// Scale and shift of a layer normalisation. Single precision: they are few.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norm {
    pub(super) scale: Span,
    pub(super) shift: Span,
}

/// A layer of the encoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer {
    /// Queries, keys and values in one product.
    pub(super) qkv: Linear,
    pub(super) out: Linear,
    pub(super) attention_norm: Norm,
    pub(super) up: Linear,
    pub(super) down: Linear,
    pub(super) norm: Norm,
}

/// What a slot has on the device.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotSpans {
    /// Where each text begins and the last one ends (`batch_rows` + 1 words), the tokens' ids, and their positions.
    pub(super) input: Span,
    /// `batch_rows` vectors of single precision.
    pub(super) output: Span,
}

/// The layout of the block.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) config: BertConfig,
    pub(super) shape: DeviceShape,
    /// Products are made for multiples of so many tokens.
    pub(super) step: usize,
    pub(super) words: Span,
    /// Positions, with what all tokens of type 0 add.
    pub(super) places: Span,
    pub(super) embedding_norm: Norm,
    pub(super) layers: Vec<Layer>,
    /// A row of `hidden` numbers a token: what goes from layer to layer.
    pub(super) state: Span,
    /// `3 * hidden` a token.
    pub(super) qkv: Span,
    /// `hidden` a token.
    pub(super) context: Span,
    /// `hidden` a token: what is added to the state.
    pub(super) added: Span,
    /// `intermediate` a token.
    pub(super) inner: Span,
    pub(super) workspace: Span,
    pub(super) slots: Vec<SlotSpans>,
    /// Length of the block.
    pub(super) bytes: usize,
}

/// Hands out spans, one after the other.
struct Cursor(usize);

impl Cursor {
    fn take(&mut self, bytes: usize) -> Span {
        let span = Span { at: self.0, bytes };
        self.0 = (self.0 + bytes).next_multiple_of(ALIGN);
        span
    }

    fn linear(&mut self, inputs: usize, outputs: usize) -> Linear {
        let weight = self.take(inputs * outputs * HALF);
        Linear { weight, bias: self.take(outputs * HALF), inputs, outputs }
    }

    fn norm(&mut self, hidden: usize) -> Norm {
        Norm { scale: self.take(hidden * WORD), shift: self.take(hidden * WORD) }
    }

    fn layer(&mut self, config: &BertConfig) -> Layer {
        let (hidden, inner) = (config.hidden, config.intermediate);
        Layer {
            qkv: self.linear(hidden, 3 * hidden),
            out: self.linear(hidden, hidden),
            attention_norm: self.norm(hidden),
            up: self.linear(hidden, inner),
            down: self.linear(inner, hidden),
            norm: self.norm(hidden),
        }
    }
}

impl Plan {
    /// The layout for a model and what is asked for.
    ///
    /// In bytes, but for the rounding of each span to 256: the weights take two for each number of the model. A token
    /// of a batch takes `2 * (6 * hidden + intermediate)`, once for all slots, since one batch is computed at a time. A
    /// slot takes `8 * batch_tokens + 4 * (batch_rows + 1)` for its input, and `4 * hidden * batch_rows` for its
    /// output; both again in pinned memory of the host. cuBLASLt's workspace is 32 MiB.
    ///
    /// # Errors
    /// [`DeviceError::Failed`] for a shape that the kernels do not know.
    pub(super) fn new(config: &BertConfig, options: &CudaOptions) -> Result<Plan, DeviceError> {
        check(config, options).map_err(DeviceError::Failed)?;
        let step = options.batch_tokens.div_ceil(SIZES).next_multiple_of(64);
        let tokens = options.batch_tokens.next_multiple_of(step);
        let hidden = config.hidden;
        let mut cursor = Cursor(0);
        let words = cursor.take(config.vocab * hidden * HALF);
        let places = cursor.take(config.positions * hidden * HALF);
        let embedding_norm = cursor.norm(hidden);
        let layers = (0..config.layers).map(|_| cursor.layer(config)).collect();
        let state = cursor.take(tokens * hidden * HALF);
        let qkv = cursor.take(tokens * 3 * hidden * HALF);
        let context = cursor.take(tokens * hidden * HALF);
        let added = cursor.take(tokens * hidden * HALF);
        let inner = cursor.take(tokens * config.intermediate * HALF);
        let workspace = cursor.take(WORKSPACE);
        let slots = (0..options.slots)
            .map(|_| SlotSpans {
                input: cursor.take((options.batch_rows + 1 + 2 * options.batch_tokens) * WORD),
                output: cursor.take(options.batch_rows * hidden * WORD),
            })
            .collect();
        let shape = DeviceShape {
            dims: hidden,
            slots: options.slots,
            batch_tokens: options.batch_tokens,
            batch_rows: options.batch_rows,
            text_tokens: config.positions.min(options.batch_tokens),
        };
        Ok(Plan {
            config: *config,
            shape,
            step,
            words,
            places,
            embedding_norm,
            layers,
            state,
            qkv,
            context,
            added,
            inner,
            workspace,
            slots,
            bytes: cursor.0,
        })
    }

    /// Tokens that the products are made for when there are `tokens`.
    pub(super) fn padded(&self, tokens: usize) -> usize {
        tokens.next_multiple_of(self.step)
    }

    /// The largest number of tokens that products are made for.
    pub(super) fn most(&self) -> usize {
        self.padded(self.shape.batch_tokens)
    }

    /// Where in a slot's input the ids begin, in words. The positions follow them.
    pub(super) fn ids_at(&self) -> usize {
        self.shape.batch_rows + 1
    }

    /// Numbers a head.
    pub(super) fn head(&self) -> usize {
        self.config.hidden / self.config.heads
    }

    /// All spans.
    #[cfg(test)]
    pub(super) fn spans(&self) -> Vec<Span> {
        let norm = |norm: &Norm| [norm.scale, norm.shift];
        let linear = |linear: &Linear| [linear.weight, linear.bias];
        let mut spans = vec![self.words, self.places];
        spans.extend(norm(&self.embedding_norm));
        for layer in &self.layers {
            spans.extend([layer.qkv, layer.out, layer.up, layer.down].iter().flat_map(linear));
            spans.extend([layer.attention_norm, layer.norm].iter().flat_map(norm));
        }
        spans.extend([self.state, self.qkv, self.context, self.added, self.inner, self.workspace]);
        spans.extend(self.slots.iter().flat_map(|slot| [slot.input, slot.output]));
        spans
    }
}

/// Bounds of what the kernels take. With them no size overflows 64 bits, and no count 32.
fn check(config: &BertConfig, options: &CudaOptions) -> Result<(), String> {
    let within = |what: &str, is: usize, most: usize| match is {
        0 => Err(format!("{what} must not be zero")),
        is if is > most => Err(format!("{what} is {is}, and at most {most} are possible on CUDA")),
        _ => Ok(()),
    };
    within("the hidden size", config.hidden, 1024)?;
    within("the number of layers", config.layers, 64)?;
    within("the number of heads", config.heads, 32)?;
    within("the intermediate size", config.intermediate, 16 << 10)?;
    within("the vocabulary", config.vocab, 1 << 20)?;
    within("the number of positions", config.positions, 8 << 10)?;
    within("the number of slots", options.slots, 16)?;
    within("the number of tokens a batch", options.batch_tokens, 1 << 18)?;
    within("the number of texts a batch", options.batch_rows, 1 << 16)?;
    let head = config.hidden / config.heads;
    if !matches!(head, 32 | 64) || head * config.heads != config.hidden {
        return Err(format!(
            "{} numbers in {} heads: only heads of 32 or 64 are possible on CUDA",
            config.hidden, config.heads
        ));
    }
    if !config.intermediate.is_multiple_of(8) {
        return Err(format!("the intermediate size {} is no multiple of 8", config.intermediate));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embed::weights::Pooling;

    const MINILM: BertConfig = BertConfig {
        hidden: 384,
        layers: 6,
        heads: 12,
        intermediate: 1536,
        vocab: 30_522,
        positions: 512,
        layer_norm_eps: 1e-12,
        pooling: Pooling::Mean,
    };

    #[test]
    fn spans_are_aligned_and_apart() {
        let plan = Plan::new(&MINILM, &CudaOptions::default()).unwrap();
        let mut spans = plan.spans();
        spans.sort_by_key(|span| span.at);
        assert!(spans.iter().all(|span| span.at.is_multiple_of(ALIGN) && span.bytes > 0));
        assert!(spans.windows(2).all(|pair| pair[0].at + pair[0].bytes <= pair[1].at));
        let last = spans.last().unwrap();
        assert_eq!(plan.bytes, (last.at + last.bytes).next_multiple_of(ALIGN));
    }

    #[test]
    fn the_block_is_as_large_as_its_arithmetic_says() {
        let options = CudaOptions::default();
        let plan = Plan::new(&MINILM, &options).unwrap();
        let weights = 2 * (384 * (30_522 + 512) + 6 * (4 * 384 * 384 + 2 * 384 * 1536));
        let tokens = plan.most() * 2 * (6 * 384 + 1536);
        let slots =
            options.slots * (8 * options.batch_tokens + 4 * (options.batch_rows + 1) + 4 * 384 * options.batch_rows);
        let said = weights + tokens + slots + (32 << 20);
        // Biases, norms and rounding are what is left.
        assert!((said..said + (1 << 20)).contains(&plan.bytes), "{} of {said}", plan.bytes);
    }

    #[test]
    fn products_are_made_for_few_sizes() {
        for batch_tokens in [1, 63, 64, 1000, 16_384, 20_000, 1 << 18] {
            let options = CudaOptions { batch_tokens, ..CudaOptions::default() };
            let plan = Plan::new(&MINILM, &options).unwrap();
            assert!(plan.most() / plan.step <= SIZES && plan.most() >= batch_tokens, "{batch_tokens}");
            assert_eq!(plan.state.bytes, plan.most() * 384 * HALF);
            assert_eq!(plan.padded(1), plan.step);
        }
    }

    #[test]
    fn what_the_kernels_do_not_know_is_refused() {
        let refused = |config: BertConfig, options: CudaOptions| Plan::new(&config, &options).unwrap_err().to_string();
        let options = CudaOptions::default;
        assert!(refused(BertConfig { heads: 4, ..MINILM }, options()).contains("only heads of 32 or 64"));
        assert!(refused(BertConfig { hidden: 2048, ..MINILM }, options()).contains("at most 1024"));
        assert!(refused(BertConfig { heads: 0, ..MINILM }, options()).contains("must not be zero"));
        assert!(refused(BertConfig { intermediate: 1537, ..MINILM }, options()).contains("no multiple of 8"));
        assert!(refused(MINILM, CudaOptions { slots: 0, ..options() }).contains("must not be zero"));
        assert!(refused(MINILM, CudaOptions { batch_tokens: usize::MAX, ..options() }).contains("at most"));
    }
}
