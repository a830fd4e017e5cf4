//! What benches of the parts run: see `benches/parts`. Behind the feature `parts`, and no part of the API.

use super::device::{Completion, DeviceError, DeviceShape, EmbedDevice, TokenBatch};
use super::quantise::{Quantised, normalise};
use super::queue::{Item, QueueConfig, start};
use super::scan::{NEAREST, Question};
use super::segment::{Owner, SegmentRows, VectorSegment};
use super::words::{Kind, WordScratch, WordTable};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Vectors of a segment on disk, and a question.
#[derive(Debug)]
pub struct VectorScan {
    segment: VectorSegment,
    wanted: Vec<u64>,
    question: Question,
    /// Goes last: the segment is mapped.
    _dir: tempfile::TempDir,
}

impl VectorScan {
    /// `rows` vectors of `dims` numbers, from a fixed seed.
    ///
    /// # Panics
    /// When they cannot be written to the directory for temporary files.
    pub fn new(rows: usize, dims: usize) -> VectorScan {
        let mut state = 7u64;
        let mut vector = || {
            let mut numbers: Vec<f32> = (0..dims)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
                })
                .collect();
            normalise(&mut numbers);
            numbers
        };
        let mut written = SegmentRows::new(dims);
        for row in 0..rows {
            let owner = Owner { file: row as u32, dir: 0, line: 0, lines: 1, language: 0 };
            written.push(owner, row as u64, Quantised::new(&vector()).row());
        }
        let dir = tempfile::tempdir().expect("a directory for temporary files");
        let path = dir.path().join("1.vec");
        std::fs::write(&path, written.to_bytes(1).expect("rows of one segment")).expect("space for vectors");
        let segment = VectorSegment::open(&path, 1, dims).expect("what was just written");
        VectorScan { segment, wanted: vec![u64::MAX; rows.div_ceil(64)], question: Question::new(vector()), _dir: dir }
    }

    /// The nearest by signs first, as a search without filters has it.
    pub fn nearest(&self) -> u64 {
        let wanted = std::slice::from_ref(&self.wanted);
        let near = self.question.nearest(std::slice::from_ref(&self.segment), wanted, NEAREST / 10);
        near.into_iter().filter(|(_, row)| self.question.score(&self.segment, *row as usize) > 0.0).count() as u64
    }

    /// Every row, as a hybrid search has it.
    pub fn all(&self) -> u64 {
        let mut near = 0;
        self.question.scan(&self.segment, &self.wanted, |_, score| near += u64::from(score > 0.0));
        near
    }
}

/// Texts to vectors by the table of words.
#[derive(Debug)]
pub struct WordVectors {
    table: WordTable,
    scratch: WordScratch,
    vector: Vec<f32>,
}

impl Default for WordVectors {
    fn default() -> WordVectors {
        WordVectors::new()
    }
}

impl WordVectors {
    /// With the table of the program.
    ///
    /// # Panics
    /// When the table is damaged.
    pub fn new() -> WordVectors {
        let table = WordTable::built_in().expect("the table of the program");
        WordVectors { vector: vec![0.0; table.dims()], table, scratch: WordScratch::default() }
    }

    /// Embeds a text; a number that depends on its vector.
    pub fn embed(&mut self, text: &str) -> u64 {
        let has_words = self.table.embed(text, Kind::Code, &mut self.scratch, &mut self.vector);
        u64::from(has_words) + self.vector.iter().filter(|number| **number > 0.0).count() as u64
    }
}

/// The queue before a device that is done at once.
#[derive(Debug)]
pub struct Queue;

impl Queue {
    /// Sends this many texts through; how many came back.
    ///
    /// # Panics
    /// When no thread can be started.
    pub fn round(texts: u64) -> u64 {
        let fallback = Box::new(|| Err(DeviceError::Failed("there is none".into())));
        let cancelled = Arc::new(AtomicBool::new(false));
        let (pusher, answers) =
            start(Box::<Instant>::default(), fallback, QueueConfig::default(), cancelled).expect("a thread");
        let push = move || {
            for key in 0..texts {
                let tokens = vec![key as u32; 1 + key as usize % 200];
                if pusher.push(Item { key, tokens }).is_err() {
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(push);
            answers.receiver().iter().filter(|answer| answer.vector.is_ok()).count() as u64
        })
    }
}

/// A device whose batches are done when they are submitted.
#[derive(Default)]
struct Instant {
    rows: [usize; Instant::SLOTS],
    done: Vec<usize>,
}

impl Instant {
    const SLOTS: usize = 3;
    const DIMS: usize = 8;
}

impl EmbedDevice for Instant {
    fn name(&self) -> String {
        "a device that is done at once".into()
    }

    fn shape(&self) -> DeviceShape {
        DeviceShape {
            dims: Instant::DIMS,
            slots: Instant::SLOTS,
            batch_tokens: 16 << 10,
            batch_rows: 512,
            text_tokens: 256,
        }
    }

    fn submit(&mut self, slot: usize, batch: &TokenBatch) -> Result<(), DeviceError> {
        self.rows[slot] = batch.rows();
        self.done.push(slot);
        Ok(())
    }

    fn wait(&mut self, _: Duration) -> Result<Option<Completion>, DeviceError> {
        Ok(self.done.pop().map(|slot| Completion { slot, result: Ok(()) }))
    }

    fn take(&mut self, slot: usize, into: &mut Vec<f32>) -> Result<(), DeviceError> {
        let unit = (Instant::DIMS as f32).sqrt().recip();
        into.resize(into.len() + self.rows[slot] * Instant::DIMS, unit);
        Ok(())
    }
}
