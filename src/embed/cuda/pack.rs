//! A model's tensors in the form that the kernels and products take.

use super::plan::{Linear, Norm, Plan, Span};
use crate::embed::device::DeviceError;
use crate::embed::weights::{BertWeights, WeightsError};
use half::f16;

/// What takes a span of the block and its bytes.
type Write<'a> = dyn FnMut(Span, &[u8]) -> Result<(), DeviceError> + 'a;

/// Writes the weights, span by span: matrices and biases in half precision, scales and shifts of norms in single
/// precision.
///
/// # Errors
/// When a tensor is missing, has another shape, or holds a number that half precision cannot; and those of `write`.
pub(super) fn pack(weights: &BertWeights<'_>, plan: &Plan, write: &mut Write<'_>) -> Result<(), DeviceError> {
    let hidden = plan.config.hidden;
    let mut packer = Packer { weights, write, bytes: Vec::new() };
    packer.halves("embeddings.word_embeddings.weight", &[plan.config.vocab, hidden], plan.words)?;
    packer.places(plan)?;
    packer.norm("embeddings.LayerNorm", &plan.embedding_norm, hidden)?;
    for (number, layer) in plan.layers.iter().enumerate() {
        let name = |part: &str| format!("encoder.layer.{number}.{part}");
        for (index, part) in ["query", "key", "value"].into_iter().enumerate() {
            let third = Linear {
                weight: layer.qkv.weight.part(index, 3),
                bias: layer.qkv.bias.part(index, 3),
                inputs: hidden,
                outputs: hidden,
            };
            packer.linear(&name(&format!("attention.self.{part}")), &third)?;
        }
        packer.linear(&name("attention.output.dense"), &layer.out)?;
        packer.norm(&name("attention.output.LayerNorm"), &layer.attention_norm, hidden)?;
        packer.linear(&name("intermediate.dense"), &layer.up)?;
        packer.linear(&name("output.dense"), &layer.down)?;
        packer.norm(&name("output.LayerNorm"), &layer.norm, hidden)?;
    }
    Ok(())
}

struct Packer<'a> {
    weights: &'a BertWeights<'a>,
    write: &'a mut Write<'a>,
    bytes: Vec<u8>,
}

fn failed(error: WeightsError) -> DeviceError {
    DeviceError::Failed(error.0)
}

impl Packer<'_> {
    fn linear(&mut self, name: &str, linear: &Linear) -> Result<(), DeviceError> {
        self.halves(&format!("{name}.weight"), &[linear.outputs, linear.inputs], linear.weight)?;
        self.halves(&format!("{name}.bias"), &[linear.outputs], linear.bias)
    }

    fn norm(&mut self, name: &str, norm: &Norm, hidden: usize) -> Result<(), DeviceError> {
        for (part, span) in [("weight", norm.scale), ("bias", norm.shift)] {
            let tensor = self.weights.tensor(&format!("{name}.{part}"), &[hidden]).map_err(failed)?;
            self.bytes.clear();
            self.bytes.extend(tensor.values().flat_map(f32::to_le_bytes));
            (self.write)(span, &self.bytes)?;
        }
        Ok(())
    }

    fn halves(&mut self, name: &str, shape: &[usize], span: Span) -> Result<(), DeviceError> {
        let tensor = self.weights.tensor(name, shape).map_err(failed)?;
        self.write_halves(name, tensor.values(), span)
    }

    /// The table of positions, with the row of token type 0 added to each: a text has no other type, and the sum is
    /// then rounded once.
    fn places(&mut self, plan: &Plan) -> Result<(), DeviceError> {
        let hidden = plan.config.hidden;
        let name = "embeddings.position_embeddings.weight";
        let places = self.weights.tensor(name, &[plan.config.positions, hidden]).map_err(failed)?;
        let types = "embeddings.token_type_embeddings.weight";
        let kind = self.weights.tensor(types, &[2, hidden]).or_else(|_| self.weights.tensor(types, &[1, hidden]));
        let kind: Vec<f32> = kind.map_err(failed)?.values().take(hidden).collect();
        let sums = places.values().zip(kind.iter().cycle()).map(|(place, kind)| place + kind);
        self.write_halves(name, sums, plan.places)
    }

    fn write_halves(&mut self, name: &str, values: impl Iterator<Item = f32>, span: Span) -> Result<(), DeviceError> {
        self.bytes.clear();
        for value in values {
            let half = f16::from_f32(value);
            if !half.is_finite() {
                return Err(DeviceError::Failed(format!("{name} holds {value}, which half precision cannot")));
            }
            self.bytes.extend(half.to_le_bytes());
        }
        (self.write)(span, &self.bytes)
    }
}
