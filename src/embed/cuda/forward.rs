//! The encoder, as the sequence of products and kernels that a batch goes through.
//!
//! The sequence knows nothing of CUDA: it is given to an [`Ops`], which is the card, or an emulation of it in tests.
//! BERT: Devlin et al., 2018; the pooling is that of sentence-transformers (Reimers and Gurevych, 2019).

use super::kernels::{Arg, Kernel, QUERIES, ROWS, Value};
use super::plan::{Linear, Norm, Plan, Span, WORD};
use crate::embed::device::{DeviceError, TokenBatch};
use crate::embed::weights::Pooling;

/// What a batch is, beside the input that lies in its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) slot: usize,
    pub(super) rows: usize,
    pub(super) tokens: usize,
    /// Tokens of the longest text.
    pub(super) longest: usize,
}

impl Batch {
    /// A batch of these texts in a slot.
    pub(super) fn of(slot: usize, texts: &TokenBatch) -> Batch {
        Batch { slot, rows: texts.rows(), tokens: texts.tokens().len(), longest: texts.longest() }
    }
}

/// A product in the terms of BLAS, columns first: `d = activation(transposed(a) * b + bias)`.
///
/// `a` has `k` rows and `m` columns, `b` has `k` rows and `n` columns, and `d` has `m` rows and `n` columns; a column
/// lies after the other without gaps. The bias has `m` numbers and is added to every column. All is half precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Product {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) a: usize,
    pub(super) b: usize,
    pub(super) bias: usize,
    pub(super) d: usize,
    /// Whether the activation is GELU, in its approximation by tanh; otherwise there is none.
    pub(super) gelu: bool,
}

/// What carries out the steps, in order.
pub(super) trait Ops {
    /// Begins a product.
    fn product(&mut self, product: &Product) -> Result<(), DeviceError>;

    /// Begins a kernel on a grid of blocks.
    fn launch(&mut self, kernel: Kernel, grid: [usize; 3], args: &[Arg]) -> Result<(), DeviceError>;
}

/// Begins all steps of a batch. Its vectors are in the slot's output when they have ended.
///
/// # Errors
/// Those of the steps.
pub(super) fn forward(ops: &mut impl Ops, plan: &Plan, batch: &Batch) -> Result<(), DeviceError> {
    let steps = Steps { plan, batch };
    steps.embed(ops)?;
    for layer in &plan.layers {
        steps.linear(ops, &layer.qkv, plan.state, plan.qkv, false)?;
        steps.attention(ops)?;
        steps.linear(ops, &layer.out, plan.context, plan.added, false)?;
        steps.add_norm(ops, &layer.attention_norm)?;
        steps.linear(ops, &layer.up, plan.state, plan.inner, true)?;
        steps.linear(ops, &layer.down, plan.inner, plan.added, false)?;
        steps.add_norm(ops, &layer.norm)?;
    }
    steps.pool(ops)
}

struct Steps<'a> {
    plan: &'a Plan,
    batch: &'a Batch,
}

fn at(span: Span) -> Value {
    Value::At(span.at)
}

/// Counts are bounded by the plan, far below 2^32.
fn count(number: usize) -> Value {
    Value::Count(u32::try_from(number).unwrap_or(u32::MAX))
}

impl Steps<'_> {
    fn starts(&self) -> Value {
        at(self.plan.slots[self.batch.slot].input)
    }

    fn embed(&self, ops: &mut impl Ops) -> Result<(), DeviceError> {
        let (plan, batch) = (self.plan, self.batch);
        let ids = plan.slots[batch.slot].input.at + plan.ids_at() * WORD;
        let args = [
            ("out", at(plan.state)),
            ("ids", Value::At(ids)),
            ("positions", Value::At(ids + batch.tokens * WORD)),
            ("words", at(plan.words)),
            ("places", at(plan.places)),
            ("scale", at(plan.embedding_norm.scale)),
            ("shift", at(plan.embedding_norm.shift)),
            ("tokens", count(batch.tokens)),
            ("hidden", count(plan.config.hidden)),
            ("epsilon", Value::Number(plan.config.layer_norm_eps)),
        ];
        ops.launch(Kernel::EmbedNorm, [batch.tokens.div_ceil(ROWS), 1, 1], &args)
    }

    /// `to[token] = weight * from[token] + bias`, for all tokens and those that round their number up.
    ///
    /// The weight's rows are the columns of `a`, and a token's numbers are a column of `b` and of `d`. What the
    /// rounding adds are rows of older batches, or zeros: their results are never read.
    fn linear(&self, ops: &mut impl Ops, linear: &Linear, from: Span, to: Span, gelu: bool) -> Result<(), DeviceError> {
        ops.product(&Product {
            m: linear.outputs,
            n: self.plan.padded(self.batch.tokens),
            k: linear.inputs,
            a: linear.weight.at,
            b: from.at,
            bias: linear.bias.at,
            d: to.at,
            gelu,
        })
    }

    fn attention(&self, ops: &mut impl Ops) -> Result<(), DeviceError> {
        let (plan, batch) = (self.plan, self.batch);
        let head = plan.head();
        let kernel = if head == 32 { Kernel::Attention32 } else { Kernel::Attention64 };
        let args = [
            ("context", at(plan.context)),
            ("qkv", at(plan.qkv)),
            ("starts", self.starts()),
            ("hidden", count(plan.config.hidden)),
            ("scale_log2", Value::Number(std::f32::consts::LOG2_E / (head as f32).sqrt())),
        ];
        ops.launch(kernel, [batch.rows, plan.config.heads, batch.longest.div_ceil(QUERIES)], &args)
    }

    fn add_norm(&self, ops: &mut impl Ops, norm: &Norm) -> Result<(), DeviceError> {
        let (plan, batch) = (self.plan, self.batch);
        let args = [
            ("state", at(plan.state)),
            ("added", at(plan.added)),
            ("scale", at(norm.scale)),
            ("shift", at(norm.shift)),
            ("tokens", count(batch.tokens)),
            ("hidden", count(plan.config.hidden)),
            ("epsilon", Value::Number(plan.config.layer_norm_eps)),
        ];
        ops.launch(Kernel::AddNorm, [batch.tokens.div_ceil(ROWS), 1, 1], &args)
    }

    fn pool(&self, ops: &mut impl Ops) -> Result<(), DeviceError> {
        let (plan, batch) = (self.plan, self.batch);
        let args = [
            ("out", at(plan.slots[batch.slot].output)),
            ("state", at(plan.state)),
            ("starts", self.starts()),
            ("hidden", count(plan.config.hidden)),
            ("first_only", count(usize::from(plan.config.pooling == Pooling::First))),
        ];
        ops.launch(Kernel::Pool, [batch.rows, 1, 1], &args)
    }
}
