//! A made-up model of two layers against a forward pass in plain loops, and every way in which a folder is no model. With
//! `LEINDEX_MODEL` (a folder) and `LEINDEX_MODEL_VECTORS` (a file of `scripts/model-vectors`), a real model against the
//! vectors that sentence-transformers makes with it.

use std::collections::BTreeMap;

use safetensors::tensor::TensorView;
use serde_json::json;
use tempfile::TempDir;

use super::*;

const HIDDEN: usize = 32;
const LAYERS: usize = 2;
const HEADS: usize = 2;
const WIDE: usize = 48;
const POSITIONS: usize = 24;
const EPSILON: f64 = 1e-5;
const WORDS: [&str; 12] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##b", "##a", "fn", "(", ")"];

/// The numbers of a tensor by its name: some that look random, and are the same in every run.
fn values(name: &str, count: usize) -> Vec<f32> {
    let mut state = xxhash_rust::xxh3::xxh3_64(name.as_bytes()) | 1;
    let centre = if name.ends_with("LayerNorm.weight") { 1.0 } else { 0.0 };
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        centre + (state >> 40) as f32 / (1 << 24) as f32 * 0.6 - 0.3
    };
    std::iter::repeat_with(step).take(count).collect()
}

/// The folder of a model of two layers that knows a few words.
pub(crate) fn made_up() -> TempDir {
    Folder::default().write()
}

/// The names and shapes of the made-up model.
fn shapes() -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    let mut add = |name: String, shape: &[usize]| shapes.insert(name, shape.to_vec());
    add("embeddings.word_embeddings.weight".into(), &[WORDS.len(), HIDDEN]);
    add("embeddings.position_embeddings.weight".into(), &[POSITIONS, HIDDEN]);
    add("embeddings.token_type_embeddings.weight".into(), &[2, HIDDEN]);
    let mut norms = vec!["embeddings".to_owned()];
    for layer in (0..LAYERS).map(|layer| format!("encoder.layer.{layer}")) {
        for (part, from, to) in [
            ("attention.self.query", HIDDEN, HIDDEN),
            ("attention.self.key", HIDDEN, HIDDEN),
            ("attention.self.value", HIDDEN, HIDDEN),
            ("attention.output.dense", HIDDEN, HIDDEN),
            ("intermediate.dense", HIDDEN, WIDE),
            ("output.dense", WIDE, HIDDEN),
        ] {
            add(format!("{layer}.{part}.weight"), &[to, from]);
            add(format!("{layer}.{part}.bias"), &[to]);
        }
        norms.extend([format!("{layer}.attention.output"), format!("{layer}.output")]);
    }
    for norm in norms {
        add(format!("{norm}.LayerNorm.weight"), &[HIDDEN]);
        add(format!("{norm}.LayerNorm.bias"), &[HIDDEN]);
    }
    shapes
}

/// A folder of a model, as it is before it is written.
struct Folder {
    json: BTreeMap<&'static str, Value>,
    shapes: BTreeMap<String, Vec<usize>>,
    prefix: &'static str,
    dtype: Dtype,
}

impl Default for Folder {
    fn default() -> Folder {
        let vocabulary: serde_json::Map<String, Value> =
            WORDS.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
        let added: Vec<Value> = (WORDS[..5].iter().enumerate())
            .map(|(id, word)| json!({"id": id, "content": word, "special": true, "normalized": false}))
            .collect();
        let json = BTreeMap::from([
            (
                "config.json",
                json!({"model_type": "bert", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "hidden_act": "gelu",
                    "num_attention_heads": HEADS, "intermediate_size": WIDE, "vocab_size": WORDS.len(),
                    "max_position_embeddings": POSITIONS, "layer_norm_eps": EPSILON, "torch_dtype": "float32"}),
            ),
            (
                "tokenizer.json",
                json!({"added_tokens": added,
                    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                        "strip_accents": null, "lowercase": true},
                    "pre_tokenizer": {"type": "BertPreTokenizer"},
                    "post_processor": {"type": "TemplateProcessing", "single": [
                        {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                        {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
                        "special_tokens": {"[CLS]": {"ids": [2]}, "[SEP]": {"ids": [3]}}},
                    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                        "max_input_chars_per_word": 100, "vocab": vocabulary}}),
            ),
            ("sentence_bert_config.json", json!({"max_seq_length": 10, "do_lower_case": false})),
            (
                "modules.json",
                json!([{"path": "", "type": "sentence_transformers.models.Transformer"},
                    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
                    {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]),
            ),
            (
                "1_Pooling/config.json",
                json!({"word_embedding_dimension": HIDDEN, "pooling_mode_cls_token": false,
                    "pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": false}),
            ),
        ]);
        Folder { json, shapes: shapes(), prefix: "", dtype: Dtype::F32 }
    }
}

impl Folder {
    fn set(mut self, file: &str, place: &str, value: Value) -> Folder {
        *self.json.get_mut(file).unwrap().pointer_mut(place).unwrap() = value;
        self
    }

    fn without(mut self, file: &str) -> Folder {
        self.json.remove(file).unwrap();
        self
    }

    fn shape(mut self, tensor: &str, shape: &[usize]) -> Folder {
        self.shapes.insert(tensor.into(), shape.to_vec());
        self
    }

    fn write(&self) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, value) in &self.json {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, serde_json::to_vec(value).unwrap()).unwrap();
        }
        let bytes: Vec<(String, &Vec<usize>, Vec<u8>)> = (self.shapes.iter())
            .map(|(name, shape)| {
                let values = values(name, shape.iter().product());
                let bytes = values.into_iter().flat_map(|value| match self.dtype {
                    Dtype::F16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
                    Dtype::BF16 => half::bf16::from_f32(value).to_le_bytes().to_vec(),
                    Dtype::I8 => vec![1],
                    _ => value.to_le_bytes().to_vec(),
                });
                (format!("{}{name}", self.prefix), shape, bytes.collect())
            })
            .collect();
        let views = bytes
            .iter()
            .map(|(name, shape, bytes)| (name, TensorView::new(self.dtype, shape.to_vec(), bytes).unwrap()));
        let ids = [0; 8 * POSITIONS];
        let ids = TensorView::new(Dtype::I64, vec![1, POSITIONS], &ids).unwrap();
        let ids_name = format!("{}embeddings.position_ids", self.prefix);
        let views = views.chain([(&ids_name, ids)]);
        std::fs::write(dir.path().join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
        dir
    }

    fn open(&self) -> Model {
        Model::open(self.write().path()).unwrap()
    }

    /// What opening it fails with; the folder's own path is left out.
    #[track_caller]
    fn fails(&self, expect: &str) {
        let dir = self.write();
        let message = match Model::open(dir.path()) {
            Ok(_) => panic!("the model opens, and should fail with: {expect}"),
            Err(error) => error.to_string().replace(&format!("{}/", dir.path().display()), ""),
        };
        assert!(message.starts_with(expect), "{message}\nshould be: {expect}");
        assert!(message.contains("; "), "it has no next step: {message}");
    }
}

/// Runs texts as one batch.
fn run(model: &Model, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>, DeviceError> {
    let mut device = model.cpu(Some(2)).unwrap();
    let mut batch = TokenBatch::default();
    texts.iter().for_each(|text| batch.push(text));
    device.submit(0, &batch)?;
    wait(&mut device)?;
    let mut vectors = Vec::new();
    device.take(0, &mut vectors)?;
    Ok(vectors.chunks(model.dims()).map(<[f32]>::to_vec).collect())
}

fn wait(device: &mut CpuDevice) -> Result<usize, DeviceError> {
    loop {
        if let Some(completion) = device.wait(Duration::from_secs(1))? {
            return completion.result.map(|()| completion.slot);
        }
    }
}

type Matrix = Vec<Vec<f64>>;

/// The forward pass, number by number.
struct Reference;

impl Reference {
    fn tensor(name: &str) -> Vec<f64> {
        let shape = &shapes()[name];
        values(name, shape.iter().product()).into_iter().map(f64::from).collect()
    }

    fn row(name: &str, row: usize) -> Vec<f64> {
        Self::tensor(name)[row * HIDDEN..][..HIDDEN].to_vec()
    }

    fn linear(name: &str, x: &Matrix) -> Matrix {
        let (weight, bias) = (Self::tensor(&format!("{name}.weight")), Self::tensor(&format!("{name}.bias")));
        let dot = |row: &[f64], to: usize| {
            row.iter().zip(&weight[to * row.len()..]).map(|(x, w)| x * w).sum::<f64>() + bias[to]
        };
        x.iter().map(|row| (0..bias.len()).map(|to| dot(row, to)).collect()).collect()
    }

    fn norm(name: &str, x: &Matrix) -> Matrix {
        let weight = Self::tensor(&format!("{name}.LayerNorm.weight"));
        let bias = Self::tensor(&format!("{name}.LayerNorm.bias"));
        let norm = |row: &Vec<f64>| {
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
            (0..row.len()).map(|i| (row[i] - mean) / (variance + EPSILON).sqrt() * weight[i] + bias[i]).collect()
        };
        x.iter().map(norm).collect()
    }

    fn attention(layer: &str, x: &Matrix) -> Matrix {
        let [q, k, v] = ["query", "key", "value"].map(|n| Self::linear(&format!("{layer}.attention.self.{n}"), x));
        let width = HIDDEN / HEADS;
        let mut out = vec![vec![0.0; HIDDEN]; x.len()];
        for head in (0..HIDDEN).step_by(width) {
            for (at, out) in out.iter_mut().enumerate() {
                let score =
                    |to: usize| (head..head + width).map(|i| q[at][i] * k[to][i]).sum::<f64>() / (width as f64).sqrt();
                let weights: Vec<f64> = (0..x.len()).map(|to| score(to).exp()).collect();
                let total: f64 = weights.iter().sum();
                for i in head..head + width {
                    out[i] = (0..x.len()).map(|to| weights[to] / total * v[to][i]).sum();
                }
            }
        }
        out
    }

    fn gelu(x: f64) -> f64 {
        // The error function by its series; the numbers here are small.
        let z = x * std::f64::consts::FRAC_1_SQRT_2;
        let (mut term, mut total) = (z, z);
        for n in 1..100 {
            term *= -z * z / f64::from(n);
            total += term / f64::from(2 * n + 1);
        }
        x * 0.5 * (1.0 + total * std::f64::consts::FRAC_2_SQRT_PI)
    }

    fn vector(tokens: &[u32], pooling: Pooling) -> Vec<f64> {
        let sum = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
        let add = |a: &Matrix, b: &Matrix| -> Matrix { a.iter().zip(b).map(|(a, b)| sum(a, b)).collect() };
        let kind = Self::row("embeddings.token_type_embeddings.weight", 0);
        let embed = |(at, token): (usize, &u32)| {
            let word = Self::row("embeddings.word_embeddings.weight", *token as usize);
            sum(&sum(&word, &Self::row("embeddings.position_embeddings.weight", at)), &kind)
        };
        let mut x = Self::norm("embeddings", &tokens.iter().enumerate().map(embed).collect());
        for layer in (0..LAYERS).map(|layer| format!("encoder.layer.{layer}")) {
            let attended = Self::linear(&format!("{layer}.attention.output.dense"), &Self::attention(&layer, &x));
            let y = Self::norm(&format!("{layer}.attention.output"), &add(&x, &attended));
            let mut wide = Self::linear(&format!("{layer}.intermediate.dense"), &y);
            wide.iter_mut().flatten().for_each(|value| *value = Self::gelu(*value));
            x = Self::norm(
                &format!("{layer}.output"),
                &add(&y, &Self::linear(&format!("{layer}.output.dense"), &wide)),
            );
        }
        let rows = if pooling == Pooling::Mean { &x[..] } else { &x[..1] };
        let vector: Vec<f64> = (0..HIDDEN).map(|i| rows.iter().map(|row| row[i]).sum()).collect();
        let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
        vector.iter().map(|value| value / length).collect()
    }
}

const TEXTS: [&[u32]; 5] = [&[2, 5, 9, 3], &[2, 3], &[2, 10, 7, 8, 11, 5, 6, 6, 9, 3], &[0], &[2, 9, 10, 5, 11, 1, 3]];

#[track_caller]
fn close(found: &[f32], expect: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expect.len());
    let most = found.iter().zip(expect).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    assert!(most < tolerance, "off by {most}");
}

#[test]
fn vectors_are_those_of_plain_loops() {
    let first = || {
        let on = Folder::default().set("1_Pooling/config.json", "/pooling_mode_cls_token", json!(true));
        on.set("1_Pooling/config.json", "/pooling_mode_mean_tokens", json!(false))
    };
    let named = |folder: Folder, mode: &str| {
        let mut folder = folder;
        folder.json.insert("1_Pooling/config.json", json!({"pooling_mode": mode}));
        folder
    };
    for (folder, pooling) in [
        (Folder::default(), Pooling::Mean),
        (first(), Pooling::First),
        (named(Folder::default(), "mean"), Pooling::Mean),
        (named(Folder::default(), "cls"), Pooling::First),
        (Folder::default().without("modules.json"), Pooling::Mean),
        (Folder { prefix: "bert.", ..Folder::default() }, Pooling::Mean),
        (Folder::default().shape("embeddings.token_type_embeddings.weight", &[1, HIDDEN]), Pooling::Mean),
    ] {
        let model = folder.open();
        for (found, tokens) in run(&model, &TEXTS).unwrap().iter().zip(TEXTS) {
            close(found, &Reference::vector(tokens, pooling), 1e-4);
        }
    }
    // With fewer digits in the weights, the vectors are nearly the same.
    for (dtype, tolerance) in [(Dtype::F16, 2e-3), (Dtype::BF16, 2e-2)] {
        let model = Folder { dtype, ..Folder::default() }.open();
        close(&run(&model, &TEXTS).unwrap()[2], &Reference::vector(TEXTS[2], Pooling::Mean), tolerance);
    }
}

#[test]
fn a_vector_does_not_depend_on_its_batch() {
    let model = Folder::default().open();
    let together = run(&model, &TEXTS).unwrap();
    for (found, tokens) in together.iter().zip(TEXTS) {
        let alone: Vec<f64> = run(&model, &[tokens]).unwrap()[0].iter().copied().map(f64::from).collect();
        close(found, &alone, 1e-6);
        let length: f32 = found.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
}

#[test]
fn odd_batches() {
    let model = Folder::default().open();
    assert_eq!(run(&model, &[]).unwrap(), Vec::<Vec<f32>>::new());
    assert_eq!(run(&model, &[&[], &[]]).unwrap(), [vec![0.0; HIDDEN], vec![0.0; HIDDEN]]);
    let found = run(&model, &[&[], TEXTS[0], &[]]).unwrap();
    assert_eq!((found.len(), &found[0]), (3, &vec![0.0; HIDDEN]));
    close(&found[1], &Reference::vector(TEXTS[0], Pooling::Mean), 1e-4);
    assert_eq!(run(&model, &[&[5; POSITIONS]]).unwrap().len(), 1);
    let failed = |text: &[u32]| run(&model, &[TEXTS[0], text]).unwrap_err().to_string();
    assert_eq!(failed(&[12]), "the device failed: the model has no token 12");
    assert_eq!(failed(&[5; POSITIONS + 1]), "the device failed: a text has 25 tokens, and the model takes 24");
}

#[test]
fn slots_go_round() {
    let model = Folder::default().open();
    let mut device = model.cpu(Some(1)).unwrap();
    let shape = device.shape();
    assert_eq!((shape.dims, shape.text_tokens, model.dims(), model.text_tokens()), (HIDDEN, 10, HIDDEN, 10));
    assert!(shape.batch_tokens >= shape.text_tokens && shape.batch_rows > 0 && shape.slots > 0);
    assert_eq!(device.name(), format!("{} on the CPU, 1 threads", model.name()));
    let (mut batch, mut bad) = (TokenBatch::default(), TokenBatch::default());
    batch.push(TEXTS[0]);
    bad.push(&[99]);
    let mut vectors = Vec::new();
    assert_eq!(device.wait(Duration::ZERO), Ok(None));
    for round in 0..20 {
        for slot in 0..shape.slots {
            device.submit(slot, if (round + slot) % 3 == 0 { &bad } else { &batch }).unwrap();
            assert!(matches!(device.submit(slot, &batch), Err(DeviceError::Failed(_))));
        }
        for _ in 0..shape.slots {
            if let Ok(slot) = wait(&mut device) {
                device.take(slot, &mut vectors).unwrap();
                assert!(matches!(device.take(slot, &mut vectors), Err(DeviceError::Failed(_))));
            }
        }
    }
    assert!(vectors.chunks(HIDDEN).all(|vector| *vector == vectors[..HIDDEN]));
    assert!(device.submit(shape.slots, &batch).is_err() && device.take(shape.slots, &mut vectors).is_err());
    // What runs when the device is dropped ends by itself.
    device.submit(0, &batch).unwrap();
}

#[test]
fn tokens_have_the_special_ones_around_them() {
    let mut cache = WordCache::default();
    let model = Folder::default().open();
    let mut tokens = |text: &str| model.tokens(text, &mut cache);
    assert_eq!(tokens(""), [2, 3]);
    assert_eq!(tokens("fn AB (x)"), [2, 9, 5, 7, 10, 1, 11, 3]);
    assert_eq!(tokens("a [MASK]"), [2, 5, 4, 3]);
    assert_eq!(tokens(&"a".repeat(9)), [2, 5, 8, 8, 8, 8, 8, 8, 8, 3]);
    assert_eq!(tokens(&"a ".repeat(100)).len(), model.text_tokens());
    // Lowered first, a text spells no special token.
    let lowered = Folder::default().set("sentence_bert_config.json", "/do_lower_case", json!(true)).open();
    assert_eq!(lowered.tokens("[MASK]", &mut cache), [2, 1, 1, 1, 3]);
    let bert = json!({"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]});
    let model = Folder::default().set("tokenizer.json", "/post_processor", bert).open();
    assert_eq!(model.tokens("a", &mut cache), [2, 5, 3]);
    let model = Folder::default().without("sentence_bert_config.json").open();
    assert_eq!(model.text_tokens(), POSITIONS);
}

#[test]
fn every_file_is_part_of_the_id() {
    let id = |folder: Folder| folder.open().id();
    let same = id(Folder::default());
    assert_eq!(id(Folder::default()), same);
    for other in [
        Folder::default().set("config.json", "/layer_norm_eps", json!(1e-6)),
        Folder::default().set("tokenizer.json", "/normalizer/lowercase", json!(false)),
        Folder::default().set("sentence_bert_config.json", "/max_seq_length", json!(9)),
        Folder::default().set("1_Pooling/config.json", "/pooling_mode_max_tokens", json!(null)),
        Folder::default().without("sentence_bert_config.json"),
        Folder::default().without("modules.json"),
        Folder { prefix: "bert.", ..Folder::default() },
        Folder { dtype: Dtype::F16, ..Folder::default() },
    ] {
        assert_ne!(id(other), same);
    }
}

#[test]
fn missing_and_damaged_files() {
    for file in ["config.json", "tokenizer.json", "1_Pooling/config.json"] {
        Folder::default().without(file).fails(&format!("cannot read {file}: "));
        let dir = Folder::default().write();
        std::fs::write(dir.path().join(file), "{").unwrap();
        assert!(matches!(Model::open(dir.path()), Err(ModelError::Malformed { path, .. }) if path.ends_with(file)));
    }
    let dir = Folder::default().write();
    let weights = dir.path().join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    for len in [1, 8, 100, bytes.len() - 1] {
        std::fs::write(&weights, &bytes[..len]).unwrap();
        assert!(matches!(Model::open(dir.path()), Err(ModelError::Malformed { path, .. }) if path == weights));
    }
    std::fs::remove_file(&weights).unwrap();
    assert!(matches!(Model::open(dir.path()), Err(ModelError::Read { path, .. }) if path == weights));
    assert!(matches!(Model::open(&dir.path().join("absent")), Err(ModelError::Read { .. })));
}

/// A change of a file, and what opening the model says of it then.
fn changes() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    let tokenizer = "tokenizer.json";
    vec![
        (
            "config.json",
            "/model_type",
            json!("mpnet"),
            "config.json: there is no support for models of type mpnet; use",
        ),
        ("config.json", "/hidden_act", json!("relu"), "config.json: there is no support for the activation relu; use"),
        ("config.json", "/hidden_size", json!(33), "config.json is damaged: "),
        ("config.json", "/num_attention_heads", json!(0), "config.json is damaged: "),
        ("config.json", "/vocab_size", json!(11), "tokenizer.json is damaged: 12 tokens, and 11 in config.json"),
        (
            "config.json",
            "/num_hidden_layers",
            json!(u64::MAX),
            "model.safetensors: the model has no tensor encoder.layer.2.",
        ),
        (
            tokenizer,
            "/model/type",
            json!("BPE"),
            "tokenizer.json: there is no support for \"BPE\" in place of WordPiece; use",
        ),
        (
            tokenizer,
            "/normalizer",
            json!(null),
            "tokenizer.json: there is no support for null in place of BertNormalizer",
        ),
        (tokenizer, "/pre_tokenizer/type", json!("Metaspace"), "tokenizer.json: there is no support for \"Metaspace\""),
        (tokenizer, "/post_processor", json!(null), "tokenizer.json: it does not put one token before"),
        (tokenizer, "/post_processor/special_tokens/[CLS]/ids", json!([2, 2]), "tokenizer.json: it does not put one"),
        (
            tokenizer,
            "/post_processor/special_tokens/[CLS]/ids",
            json!([12]),
            "tokenizer.json is damaged: the tokens around",
        ),
        (tokenizer, "/added_tokens/4/normalized", json!(true), "tokenizer.json: there is no support for how [MASK] is"),
        (tokenizer, "/added_tokens/4/id", json!(12), "tokenizer.json: the token [MASK] is not in the vocabulary"),
        (tokenizer, "/added_tokens/4/id", json!(3), "tokenizer.json: the token [MASK] is not in the vocabulary"),
        (tokenizer, "/model/vocab/a", json!(4), "tokenizer.json is damaged: the id "),
        (tokenizer, "/model/vocab/a", json!(99), "tokenizer.json is damaged: the id 99 of a is"),
        (tokenizer, "/model/unk_token", json!("<unk>"), "tokenizer.json: the vocabulary has no token `<unk>`"),
        ("sentence_bert_config.json", "/max_seq_length", json!(2), "sentence_bert_config.json is damaged: texts of 2"),
        ("modules.json", "/2/type", json!("a.Dense"), "modules.json: there is no support for the module a.Dense; use"),
        ("modules.json", "/1/path", json!("../x"), "modules.json is damaged: `../x` is no folder of the model"),
        ("modules.json", "/1/path", json!("/x"), "modules.json is damaged: `/x` is no folder of the model"),
        (
            "1_Pooling/config.json",
            "/pooling_mode_max_tokens",
            json!(true),
            "1_Pooling/config.json: there is no support for pooling by max_tokens and mean_tokens",
        ),
        (
            "1_Pooling/config.json",
            "/pooling_mode_mean_tokens",
            json!(false),
            "1_Pooling/config.json: there is no support",
        ),
    ]
}

#[test]
fn unsupported_models() {
    for (file, place, value, expect) in changes() {
        Folder::default().set(file, place, value).fails(expect);
    }
    let tokenizer = "tokenizer.json";
    let quantised = Folder { dtype: Dtype::I8, ..Folder::default() };
    assert!(matches!(Model::open(quantised.write().path()), Err(ModelError::Unsupported { detail, .. }) if
        detail.ends_with("holds I8 in place of F32, F16 or BF16")));
    let minds_case = Folder::default().set(tokenizer, "/normalizer/lowercase", json!(false));
    minds_case
        .set("sentence_bert_config.json", "/do_lower_case", json!(true))
        .fails("tokenizer.json: there is no support for texts in lower case");
    let mut relative = Folder::default();
    relative.json.get_mut("config.json").unwrap()["position_embedding_type"] = json!("relative_key");
    relative.fails("config.json: there is no support for relative_key positions");
}

#[test]
fn tensors_that_are_missing_or_of_another_shape() {
    for name in shapes().keys() {
        let mut folder = Folder::default();
        folder.shapes.remove(name);
        folder.fails(&format!("model.safetensors: the model has no tensor {name}; config.json is of"));
        folder.shape(name, &[7, 3]).fails(&format!("model.safetensors: the tensor {name} is [7, 3], and should be ["));
    }
}

#[test]
fn the_vectors_of_sentence_transformers() {
    let variables = ["LEINDEX_MODEL", "LEINDEX_MODEL_VECTORS"].map(std::env::var_os);
    let [Some(folder), Some(file)] = variables else { return };
    let model = Model::open(Path::new(&folder)).unwrap();
    let chunks: Vec<Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert!(!chunks.is_empty());
    let mut cache = WordCache::default();
    let mut lowest = (1.0, "");
    for some in chunks.chunks(CPU_ROWS) {
        let tokens: Vec<Vec<u32>> =
            some.iter().map(|chunk| model.tokens(chunk["text"].as_str().unwrap(), &mut cache)).collect();
        let texts: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
        for (chunk, found) in some.iter().zip(run(&model, &texts).unwrap()) {
            let expect: Vec<f64> = serde_json::from_value(chunk["vector"].clone()).unwrap();
            let cosine: f64 = found.iter().zip(&expect).map(|(a, b)| f64::from(*a) * b).sum();
            if cosine < lowest.0 {
                lowest = (cosine, chunk["text"].as_str().unwrap());
            }
        }
    }
    #[allow(clippy::print_stderr, reason = "what the test is run for")]
    {
        eprintln!("{} chunks, the lowest cosine is {:.7}", chunks.len(), lowest.0);
    }
    assert!(lowest.0 >= 0.999, "{} for {:?}", lowest.0, lowest.1);
}
