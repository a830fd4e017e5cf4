"""Distils a sentence-transformers model of the BERT family into a table of word vectors: scripts/word-table runs this.

Every token of the vocabulary goes through the model by itself ("[CLS] token [SEP]"), as in model2vec and WordLlama. What
comes out is made smaller by a principal component analysis that weighs tokens by how often code has them, its components are
made less unequal (divided by the square root of their share), and each token's vector is multiplied by its inverse document
frequency in code. The vector of a text is then the sum of the vectors of its words, each times the square root of its number,
less a mean: one for code, one for questions. The file is described in docs/format.md.
"""

import argparse
import json
import math
import os
import pathlib
import random
import re
import struct
import zlib

import numpy as np

MAGIC = b"LEIWRD01"
DIMS = 256
# Chunks a language that document frequencies are counted in, and chunks a language for the mean.
CHUNKS = 15_000
MEAN_CHUNKS = 2_000
CHUNKS_OF_FILE = 6
CHUNK_LINES, CHUNK_BYTES = 40, 1500
# How much less unequal the components are made: 0 not at all, 1 quite.
WHITEN = 0.75
# A token that is in more chunks than this counts no more for the principal components.
COMMON = 2_000
EXTENSIONS = {
    "c": {".c", ".h"},
    "cpp": {".cc", ".cpp", ".hpp"},
    "go": {".go"},
    "java": {".java"},
    "javascript": {".js", ".mjs", ".ts", ".tsx"},
    "python": {".py"},
    "rust": {".rs"},
}
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def words_of(text):
    return [word.lower() for word in WORD.findall(text)]


def load_tensors(path):
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    tensors = {}
    for name, entry in json.loads(raw[8 : 8 + length]).items():
        if entry.get("dtype") == "F32":
            start, end = entry["data_offsets"]
            flat = np.frombuffer(raw, "<f4", (end - start) // 4, 8 + length + start)
            tensors[name.removeprefix("bert.")] = flat.reshape(entry["shape"])
    return tensors


def erf(x):
    # Abramowitz and Stegun, 7.1.26: off by at most 1.5e-7.
    t = 1 / (1 + 0.3275911 * np.abs(x))
    series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    return np.sign(x) * (1 - series * np.exp(-x * x))


class Bert:
    """The encoder: token ids of one length in, means of the last hidden states out."""

    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        self.tensors = load_tensors(folder / "model.safetensors")

    def linear(self, x, name):
        return x @ self.tensors[name + ".weight"].T + self.tensors[name + ".bias"]

    def norm(self, x, name):
        centred = x - x.mean(-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(-1, keepdims=True) + self.config["layer_norm_eps"])
        return centred / spread * self.tensors[name + ".weight"] + self.tensors[name + ".bias"]

    def attention(self, x, layer):
        rows, length, width = x.shape
        heads = self.config["num_attention_heads"]
        split = lambda t: t.reshape(rows, length, heads, width // heads).transpose(0, 2, 1, 3)
        q, k, v = (split(self.linear(x, f"{layer}attention.self.{part}")) for part in ("query", "key", "value"))
        scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(width // heads)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        seen = (scores / scores.sum(-1, keepdims=True)) @ v
        return self.linear(seen.transpose(0, 2, 1, 3).reshape(rows, length, width), f"{layer}attention.output.dense")

    def forward(self, ids):
        table = lambda kind: self.tensors[f"embeddings.{kind}_embeddings.weight"]
        x = table("word")[ids] + table("position")[: ids.shape[1]] + table("token_type")[0]
        x = self.norm(x, "embeddings.LayerNorm")
        for number in range(self.config["num_hidden_layers"]):
            layer = f"encoder.layer.{number}."
            x = self.norm(x + self.attention(x, layer), layer + "attention.output.LayerNorm")
            inner = self.linear(x, layer + "intermediate.dense")
            inner = (0.5 * inner * (1 + erf(inner / math.sqrt(2)))).astype("f4")
            x = self.norm(x + self.linear(inner, layer + "output.dense"), layer + "output.LayerNorm").astype("f4")
        return x.mean(1)


def encode_vocabulary(bert, vocabulary):
    first, last = vocabulary.index("[CLS]"), vocabulary.index("[SEP]")
    rows = []
    for start in range(0, len(vocabulary), 256):
        ids = np.arange(start, min(start + 256, len(vocabulary)))
        rows.append(bert.forward(np.stack([np.full_like(ids, first), ids, np.full_like(ids, last)], 1)))
        if start % 2560 == 0:
            print(f"  {start} of {len(vocabulary)} tokens", flush=True)
    return unit(np.concatenate(rows))


def unit(rows):
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-9)


class Pieces:
    """WordPiece: the longest piece of the vocabulary first."""

    def __init__(self, vocabulary):
        self.ids = {token: number for number, token in enumerate(vocabulary)}
        self.known = {}

    def of(self, word):
        if word not in self.known:
            self.known[word] = self.cut(word)
        return self.known[word]

    def cut(self, word):
        found, at = [], 0
        while at < len(word):
            prefix = "##" if at else ""
            end = next((end for end in range(len(word), at, -1) if prefix + word[at:end] in self.ids), None)
            if end is None or len(word) > 100:
                return []
            found.append(self.ids[prefix + word[at:end]])
            at = end
        return found


def sample_chunks(trees, extensions, chance):
    """Chunks of the files with these extensions, at random, the same ones each time for the same trees."""
    files = sorted(
        os.path.join(folder, name)
        for tree in trees
        for folder, _, names in os.walk(tree)
        for name in names
        if os.path.splitext(name)[1] in extensions
    )
    chance.shuffle(files)
    chunks = []
    for path in files:
        try:
            lines = pathlib.Path(path).read_text(encoding="utf-8").split("\n")[:4000]
        except (OSError, UnicodeDecodeError):
            continue
        here = ["\n".join(lines[at : at + CHUNK_LINES])[:CHUNK_BYTES] for at in range(0, len(lines), CHUNK_LINES)]
        chance.shuffle(here)
        chunks += here[:CHUNKS_OF_FILE]
        if len(chunks) >= CHUNKS:
            break
    return chunks[:CHUNKS]


def document_frequencies(chunks, pieces, tokens):
    """In how many chunks there is a word with the token."""
    counts = np.zeros(tokens)
    for chunk in chunks:
        counts[list({piece for word in set(words_of(chunk)) for piece in pieces.of(word)})] += 1
    return counts


def principal_components(vectors, counts):
    weights = np.sqrt(np.minimum(counts, COMMON))
    centred = vectors - np.average(vectors, axis=0, weights=weights + 1)
    _, shares, components = np.linalg.svd(centred * np.sqrt(weights + 0.1)[:, None], full_matrices=False)
    # The sign of a component is arbitrary: the largest entry is made positive, so that each run gives the same table.
    components *= np.sign(components[np.arange(len(components)), np.abs(components).argmax(1)])[:, None]
    return centred @ components[:DIMS].T / (shares[:DIMS] / shares[0]) ** WHITEN


def quantise(table):
    scales = np.abs(table).max(1) / 127
    levels = np.rint(table / np.maximum(scales, 1e-12)[:, None]).astype("i1")
    return levels, scales.astype("<f4")


def mean_vector(texts, pieces, table):
    vectors = np.zeros((len(texts), DIMS), "f4")
    for vector, text in zip(vectors, texts):
        words = words_of(text)
        for word in sorted(set(words)):
            vector += table[pieces.of(word)].sum(0) * math.sqrt(words.count(word))
    return unit(vectors).mean(0).astype("<f4")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=pathlib.Path, help="a sentence-transformers folder")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("trees", nargs="+", help="source trees that words are counted in")
    parser.add_argument("--questions", type=pathlib.Path, required=True, help='JSON: [{"query": "..."}, ...]')
    options = parser.parse_args()

    vocabulary = (options.model / "vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    pieces, chance = Pieces(vocabulary), random.Random(7)
    sampled = {}
    for language, extensions in EXTENSIONS.items():
        sampled[language] = sample_chunks(options.trees, extensions, chance)
        print(f"{language}: {len(sampled[language])} chunks", flush=True)
    chunks = [chunk for some in sampled.values() for chunk in some]
    counts = document_frequencies(chunks, pieces, len(vocabulary))
    vectors = encode_vocabulary(Bert(options.model), vocabulary)
    rarity = np.log((len(chunks) + 1) / (counts + 1))
    table = principal_components(vectors, counts) * rarity[:, None]
    table[[number for number, token in enumerate(vocabulary) if re.fullmatch(r"\[.+\]", token)]] = 0
    levels, scales = quantise(table)
    table = levels * scales[:, None]
    code = [chunk for some in sampled.values() for chunk in some[:MEAN_CHUNKS]]
    questions = [pair["query"] for pair in json.loads(options.questions.read_text())]
    means = [mean_vector(code, pieces, table), mean_vector(questions, pieces, table)]
    names = "\n".join(vocabulary).encode()
    head = MAGIC + struct.pack("<III", DIMS, len(vocabulary), len(names))
    body = b"".join([head, *(mean.tobytes() for mean in means), scales.tobytes(), levels.tobytes(), names])
    options.out.write_bytes(body + struct.pack("<I", zlib.crc32(body)))
    print(f"{options.out}: {len(body) + 4} bytes")


if __name__ == "__main__":
    main()
