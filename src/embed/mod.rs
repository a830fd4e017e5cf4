//! Vectors for what a text means: chunks, what makes vectors of them, and the stored vectors with their scan.
//!
//! * `chunk`: a text to the pieces that get a vector each.
//! * `words`: a text to a vector by a table of word vectors, with the word pieces of `wordpiece`.
//! * `model`: a folder of sentence-transformers, with the encoder `bert` on the CPU; `cuda` is the same on a card, `weights` what
//!   both are given.
//! * `device`: what runs a model. `queue`: texts as batches to a device, and back. `runner`: a model at work.
//! * `embedder`: what is chosen of the ways to make vectors.
//! * `quantise`, `segment`, `map`: vectors in eight bits and four more, and the files that hold them.
//! * `scan`: the exact search over them.
//!
//! Pure like its siblings: text in, vectors out. Which files are embedded, when, and what is published, is decided above.

#[cfg(feature = "models")]
mod bert;
mod chunk;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(any(feature = "models", feature = "parts"))]
#[cfg_attr(not(feature = "models"), allow(dead_code, reason = "benches use a part of it"))]
mod device;
mod embedder;
#[cfg(all(test, feature = "models"))]
mod faulty;
mod map;
#[cfg(feature = "models")]
mod model;
#[cfg(feature = "parts")]
pub mod parts;
mod quantise;
#[cfg(any(feature = "models", feature = "parts"))]
#[cfg_attr(not(feature = "models"), allow(dead_code, reason = "benches use a part of it"))]
mod queue;
#[cfg(feature = "models")]
mod runner;
mod scan;
mod segment;
#[cfg(feature = "models")]
mod weights;
mod wordpiece;
mod words;

pub(crate) use chunk::{Chunk, chunks, content_hash};
#[cfg(feature = "cuda")]
pub(crate) use cuda::probe;
pub(crate) use embedder::{Embedder, Session};
#[cfg(all(test, feature = "models"))]
pub(crate) use model::tests::made_up as made_up_model;
pub(crate) use quantise::{Quantised, Row};
#[cfg(feature = "models")]
pub(crate) use runner::{DeviceChoice, ModelEmbedder};
pub(crate) use scan::{NEAREST, Question};
pub(crate) use segment::{
    Owner, PART_EXTENSION, SEGMENT_ROWS_MAX, SegmentRows, VectorSegment, part_name, part_names, part_path,
};
