//! The weights of a BERT encoder as a device takes them: tensors by name, in the bytes of their file.

use std::collections::HashMap;
use std::fmt;

/// How the rows of a text's tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// The mean of all rows.
    Mean,
    /// The row of the first token, which is `[CLS]`.
    First,
}

/// The shape of a BERT encoder. The names are those of `config.json`, in short.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BertConfig {
    /// Numbers a token (`hidden_size`), and so numbers a vector.
    pub(crate) hidden: usize,
    /// Layers (`num_hidden_layers`).
    pub(crate) layers: usize,
    /// Heads of attention (`num_attention_heads`); they share the hidden numbers evenly.
    pub(crate) heads: usize,
    /// Numbers between the two products of a layer's second half (`intermediate_size`).
    pub(crate) intermediate: usize,
    /// Tokens that there are (`vocab_size`).
    pub(crate) vocab: usize,
    /// Tokens a text may have (`max_position_embeddings`).
    pub(crate) positions: usize,
    /// What is added to a variance (`layer_norm_eps`).
    pub(crate) layer_norm_eps: f32,
    /// How a text becomes one vector; sentence-transformers has it in `1_Pooling/config.json`.
    pub(crate) pooling: Pooling,
}

/// How a number of a tensor is stored, little end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    /// Four bytes.
    F32,
    /// Two bytes, IEEE 754.
    F16,
    /// The upper two bytes of an [`F32`](Self::F32).
    Bf16,
}

impl Number {
    fn bytes(self) -> usize {
        match self {
            Number::F32 => 4,
            Number::F16 | Number::Bf16 => 2,
        }
    }
}

/// A tensor as it lies in its file, row after row. The bytes need not be aligned.
#[derive(Clone, Debug)]
pub(crate) struct Tensor<'a> {
    number: Number,
    shape: Vec<usize>,
    bytes: &'a [u8],
}

impl<'a> Tensor<'a> {
    /// A view; `None` when the bytes are not as many as the shape says.
    pub(crate) fn new(number: Number, shape: &[usize], bytes: &'a [u8]) -> Option<Tensor<'a>> {
        let size = shape.iter().try_fold(number.bytes(), |size, side| size.checked_mul(*side))?;
        (size == bytes.len()).then(|| Tensor { number, shape: shape.to_vec(), bytes })
    }

    /// The numbers, row after row.
    pub(crate) fn values(&self) -> impl ExactSizeIterator<Item = f32> + 'a {
        let number = self.number;
        self.bytes.chunks_exact(number.bytes()).map(move |bytes| match (number, bytes) {
            (Number::F16, [low, high]) => half::f16::from_le_bytes([*low, *high]).to_f32(),
            (Number::Bf16, [low, high]) => half::bf16::from_le_bytes([*low, *high]).to_f32(),
            (_, bytes) => bytes.try_into().map_or(f32::NAN, f32::from_le_bytes),
        })
    }
}

/// A model's shape and its tensors. Their names are those of `BertModel` in the library transformers, for example
/// `encoder.layer.0.attention.self.query.weight`, with or without `bert.` before them.
#[derive(Clone, Debug)]
pub(crate) struct BertWeights<'a> {
    /// The shape of the model.
    pub(crate) config: BertConfig,
    /// The tensors by name.
    pub(crate) tensors: HashMap<String, Tensor<'a>>,
}

impl<'a> BertWeights<'a> {
    /// The tensor of a name and a shape.
    ///
    /// # Errors
    /// When there is none, or it has another shape.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<&Tensor<'a>, WeightsError> {
        let tensor = self.tensors.get(name).or_else(|| self.tensors.get(&format!("bert.{name}")));
        let tensor = tensor.ok_or_else(|| WeightsError(format!("the model has no tensor {name}")))?;
        if tensor.shape != shape {
            return Err(WeightsError(format!("the tensor {name} is {:?}, and should be {shape:?}", tensor.shape)));
        }
        Ok(tensor)
    }
}

/// What is wrong with a model's tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WeightsError(pub String);

impl fmt::Display for WeightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WeightsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_stored() {
        let f32s: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        // Not aligned.
        let shifted: Vec<u8> = [&[0u8][..], &f32s].concat();
        let read = |number, bytes| Tensor::new(number, &[2], bytes).unwrap().values().collect::<Vec<_>>();
        assert_eq!(read(Number::F32, &shifted[1..]), [1.5, -2.0]);
        assert_eq!(read(Number::F16, &[0x00, 0x3e, 0x00, 0xc0]), [1.5, -2.0]);
        assert_eq!(read(Number::Bf16, &[0xc0, 0x3f, 0x00, 0xc0]), [1.5, -2.0]);
        assert!(Tensor::new(Number::F32, &[3], &f32s).is_none());
        assert!(Tensor::new(Number::F32, &[usize::MAX, 2], &f32s).is_none());
    }

    #[test]
    fn tensors_are_found_by_name_and_shape() {
        let bytes = [0u8; 8];
        let config = BertConfig {
            hidden: 2,
            layers: 0,
            heads: 1,
            intermediate: 2,
            vocab: 1,
            positions: 1,
            layer_norm_eps: 1e-12,
            pooling: Pooling::Mean,
        };
        let tensor = Tensor::new(Number::F32, &[2], &bytes).unwrap();
        let tensors = HashMap::from([("bert.a".to_owned(), tensor.clone()), ("b".to_owned(), tensor)]);
        let weights = BertWeights { config, tensors };
        assert!(weights.tensor("a", &[2]).is_ok() && weights.tensor("b", &[2]).is_ok());
        assert_eq!(weights.tensor("c", &[2]).unwrap_err().to_string(), "the model has no tensor c");
        assert_eq!(weights.tensor("b", &[1, 2]).unwrap_err().to_string(), "the tensor b is [2], and should be [1, 2]");
    }
}
