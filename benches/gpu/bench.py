"""What a card does with a model: leindex-engine beside sentence-transformers, in turns. Started by scripts/gpu-bench.

Generated files hold chunks of 128 tokens, which both embed: for the engine as an index of them, reading, cutting and
writing included; for sentence-transformers as a list in memory, in half precision, with the best of several batch sizes.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# As the engine cuts: windows of 40 lines.
LINES, TOKENS, CHUNKS_A_FILE = 40, 128, 20
ROUNDS = 3
RIVAL_CHUNKS = 25_000
RIVAL_BATCHES = (64, 128, 256, 512, 1024, 2048)
MUST_RATIO, AIM_SECONDS, AIM_BUSY = 3.0, 10.0, 0.9
# Dense products of half precision in TFLOP/s, from NVIDIA's data sheets, by words of a whole card's name. Others are unknown.
PEAKS = {r"H100 (80GB )?HBM3": 989.4, r"H100 PCIe": 756.0, r"H200": 989.4, r"GH200": 989.4, r"A100": 311.9, r"L40S": 362.0, r"L4": 121.0, r"A10": 125.0, r"T4": 65.0}


def run(*command):
    """Runs the engine, and returns the lines of its JSON."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"gpu-bench: {' '.join(map(str, command))}: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def finding(engine, subject):
    """What `doctor` says of a subject: whether it is well, and the words."""
    report = run(engine, "doctor", "--json", tempfile.gettempdir())[0]
    found = next(found for found in report["findings"] if found["subject"] == subject)
    return found["level"] == "ok", found["value"]


def words_of(model):
    """Words that are one token each."""
    vocabulary = (model / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return [word for word in vocabulary if word.isascii() and word.isalpha() and word.islower() and 3 <= len(word) <= 8]


def chunk(words, number):
    """The chunk with this number: no other is the same. Two tokens of the 128 are the model's own."""
    state, drawn = number * 0x9E3779B97F4A7C15 & (1 << 64) - 1, []
    for _ in range(TOKENS - 2):
        state = (state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
        drawn.append(words[(state >> 33) % len(words)])
    each, more = divmod(len(drawn), LINES)
    lines, at = [], 0
    for line in range(LINES):
        size = each + (line < more)
        lines.append(" ".join(drawn[at:at + size]))
        at += size
    return "\n".join(lines) + "\n"


def write_tree(tree, words, chunks):
    for file in range(0, chunks, CHUNKS_A_FILE):
        folder = tree / f"d{file // CHUNKS_A_FILE // 100}"
        folder.mkdir(parents=True, exist_ok=True)
        text = "".join(chunk(words, number) for number in range(file, min(file + CHUNKS_A_FILE, chunks)))
        (folder / f"f{file // CHUNKS_A_FILE}.txt").write_text(text)


def embed(engine, model, tree, index):
    """Embeds an index on the card, from nothing."""
    shutil.rmtree(index, ignore_errors=True)
    indexed = run(engine, "index", "--json", "--embed", "off", "--index-dir", index, tree)[-1]
    report = run(engine, "embed", "--json", "--embed", "cuda", "--model", model, "--index-dir", index, tree)[-1]
    if not report["device"].endswith("(CUDA, half precision)"):
        sys.exit(f"gpu-bench: the card was left: {report['device']}")
    report["index_seconds"] = indexed["seconds"]["total"]
    return report


class Rival:
    """sentence-transformers on the card, in half precision."""

    def __init__(self, model):
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
        import sentence_transformers
        import torch

        self.torch, self.version = torch, sentence_transformers.__version__
        self.model = sentence_transformers.SentenceTransformer(str(model), device="cuda", model_kwargs={"torch_dtype": torch.float16})
        self.batch = None

    def rate(self, texts, batch):
        """Chunks a second."""
        self.torch.cuda.synchronize()
        started = time.perf_counter()
        self.model.encode(texts, batch_size=batch, show_progress_bar=False)
        self.torch.cuda.synchronize()
        return len(texts) / (time.perf_counter() - started)

    def choose(self, texts):
        """Finds its best batch size; returns all rates."""
        self.rate(texts[:512], 64)
        rates = {batch: self.rate(texts, batch) for batch in RIVAL_BATCHES}
        self.batch = max(rates, key=rates.get)
        return rates

    def copies(self, size=256 << 20, times=10):
        """GB/s from host to device, from pinned and from pageable memory."""
        torch, rates = self.torch, {}
        on_card = torch.empty(size, dtype=torch.uint8, device="cuda")
        for name, pin in (("pinned", True), ("pageable", False)):
            host = torch.ones(size, dtype=torch.uint8)
            host = host.pin_memory() if pin else host
            on_card.copy_(host, non_blocking=pin)
            torch.cuda.synchronize()
            started = time.perf_counter()
            for _ in range(times):
                on_card.copy_(host, non_blocking=pin)
            torch.cuda.synchronize()
            rates[name] = size * times / (time.perf_counter() - started) / 1e9
        return rates


def rival_of(model):
    """The rival, or why there is none."""
    try:
        return Rival(model), None
    except Exception as error:  # Whatever keeps torch from the card.
        return None, f"{type(error).__name__}: {error}"


def flops(config, tokens, chunks):
    """Products of an encoder of the BERT family: projections and both halves of attention, two operations each."""
    layers, hidden, inner = config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"]
    return layers * tokens * (2 * (4 * hidden * hidden + 2 * hidden * inner) + 4 * hidden * tokens / chunks)


def figures(report, config, peak):
    """Rates of one embedding."""
    # What was known by its content was not embedded again.
    chunks = report["chunks"] - report["reused"]
    tokens, seconds, busy = (report[key] for key in ("tokens", "seconds", "card_busy_seconds"))
    found = {"index_seconds": report["index_seconds"], "chunks": chunks, "tokens": tokens, "seconds": seconds, "chunks_s": chunks / seconds, "tokens_s": tokens / seconds}
    work = flops(config, tokens, chunks) / 1e12
    if busy:
        found |= {"busy": busy / seconds, "tflops_busy": work / busy}
    if peak:
        found["mfu"] = work / seconds / peak
    return found


def median(rows, key):
    values = [row[key] for row in rows if key in row]
    return statistics.median(values) if values else None


def main():
    engine, model = Path(sys.argv[1]), Path(sys.argv[2])
    tree = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    usable, card = finding(engine, "gpu")
    if not usable:
        print("no GPU")
        return
    chunks = int(os.environ.get("GPU_BENCH_CHUNKS", 250_000))
    config = json.loads((model / "config.json").read_text())
    peak = None if "MIG" in card else next((peak for name, peak in PEAKS.items() if re.search(rf"\b{name}\b", card)), None)
    words = words_of(model)
    rival, lack = rival_of(model)
    result = {"card": card, "peak_tflops": peak, "ours": [], "rival": []}
    with tempfile.TemporaryDirectory() as scratch:
        generated = Path(scratch, "tree")
        write_tree(generated, words, chunks)
        texts = [chunk(words, number) for number in range(min(chunks, RIVAL_CHUNKS))]
        if rival:
            result |= {"rival_version": rival.version, "rival_batches": rival.choose(texts), "copies": rival.copies()}
        for _ in range(ROUNDS):
            result["ours"].append(figures(embed(engine, model, generated, Path(scratch, "index")), config, peak))
            if rival:
                result["rival"].append(rival.rate(texts, rival.batch))
        if tree:
            result["tree"] = figures(embed(engine, model, tree, Path(scratch, "tree-index")), config, peak)
    report(result, rival, lack)


def report(result, rival, lack):
    ours, rows = result["ours"], []
    tokens_a_chunk = ours[0]["tokens"] / ours[0]["chunks"]
    chunks_s, seconds = median(ours, "chunks_s"), median(ours, "seconds")
    rows.append(("card", result["card"], ""))
    rows.append(("chunks, tokens a chunk", f"{ours[0]['chunks']}, {tokens_a_chunk:.1f}", f"{TOKENS} tokens a chunk"))
    rows.append(("leindex-engine, chunks/s", f"{chunks_s:.0f}", ""))
    rows.append(("leindex-engine, tokens/s", f"{median(ours, 'tokens_s'):.0f}", ""))
    rows.append(("250,000 chunks, at this rate", f"{250_000 / chunks_s:.2f} s; measured: {seconds:.2f} s for {ours[0]['chunks']}", f"aim: < {AIM_SECONDS} s on an H100"))
    rows.append(("the text index before that", f"{median(ours, 'index_seconds'):.2f} s", ""))
    for key, name, aim in (("busy", "card at work (first to last event of each batch, gaps between its kernels included)", f"aim: > {AIM_BUSY}"), ("tflops_busy", "TFLOP/s while at work", ""), ("mfu", "model FLOP utilisation", "")):
        value = median(ours, key)
        rows.append((name, "not told by this driver or card" if value is None else f"{value:.3f}", aim))
    if rival:
        rate = statistics.median(result["rival"])
        rows.append((f"sentence-transformers {result['rival_version']}, half precision, batches of {rival.batch}, chunks/s", f"{rate:.0f}", ""))
        rows.append(("leindex-engine / sentence-transformers", f"{chunks_s / rate:.2f}", f"must: >= {MUST_RATIO}"))
        rows += [(f"host to device, {name}, GB/s (torch)", f"{rate:.1f}", "") for name, rate in result["copies"].items()]
    else:
        rows.append(("sentence-transformers", f"SKIPPED: {lack}", f"must: >= {MUST_RATIO} times"))
    if "tree" in result:
        of = result["tree"]
        rows.append(("the tree: chunks, chunks/s, tokens/s", f"{of['chunks']}, {of['chunks_s']:.0f}, {of['tokens_s']:.0f}", ""))
        rows.append(("the tree: card at work", f"{of['busy']:.3f}" if "busy" in of else "not told", f"aim: > {AIM_BUSY}"))
    text = "| figure | measured | asked |\n|---|---|---|\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)
    print(text, end="")
    if out := os.environ.get("GPU_BENCH_OUT"):
        Path(out).mkdir(parents=True, exist_ok=True)
        Path(out, "gpu.md").write_text(text)
        Path(out, "gpu.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
