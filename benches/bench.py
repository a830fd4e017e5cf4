"""The engine beside others, whole commands in turns: started by scripts/bench, which says what the options are.

Every sample is a line of samples.csv; the summary has medians with the least and the most, and counts beside times. Times are
compared only within one run of this program. What loses stays in the tables.
"""

import argparse
import csv
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SECTIONS = ("size", "changes", "shards", "backends", "rivals", "leindex", "search", "e2e", "parts")
# Literals, as developers search for them: rare, frequent, in the middle of words.
LITERALS = ("schedule_timeout", "mutex_lock(", "EXPORT_SYMBOL_GPL", "copy_from_user", "napi_schedule", "FIXME", "_irqsave(", "kmalloc_array")
REGEXES = (r"spin_(un)?lock_irq\w*\(", r"static const struct \w+_ops", r"#define\s+MAX_\w+", r"return -E(INVAL|NOMEM);")
# LeIndex may take so long for 10,000 files.
LEINDEX_SECONDS = 1200
MILLION, MILLION_DIRS = 1_000_000, 10_000


# A small process starts what is measured: the peak memory of a process begins with that of the one which has started it.
LAUNCHER = """
import json, os, subprocess, sys, time
started = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
output = child.stdout.read()
_, status, usage = os.wait4(child.pid, 0)
seconds = time.perf_counter() - started
sys.stdout.write(json.dumps([seconds, usage.ru_maxrss, os.waitstatus_to_exitcode(status)]) + chr(10))
sys.stdout.flush()
sys.stdout.buffer.write(output)
"""


class Bench:
    def __init__(self, options):
        self.options, self.samples, self.text, self.skipped = options, [], [], []
        self.scratch = Path(tempfile.mkdtemp(prefix="leindex-bench.", dir=options.corpora))
        self.can_drop = os.geteuid() == 0 and options.cold > 0

    # Samples and tables.

    def add(self, section, tree, what, cache, seconds, **counts):
        self.samples.append({"section": section, "tree": tree, "what": what, "cache": cache, "seconds": round(seconds, 6), **counts})

    def of(self, section, tree, what, cache, key="seconds"):
        wanted = (section, tree, what, cache)
        return [row[key] for row in self.samples if (row["section"], row["tree"], row["what"], row["cache"]) == wanted and row.get(key) is not None]

    def say(self, line=""):
        print(line, flush=True)
        self.text.append(line)

    def table(self, heads, rows):
        self.say(f"| {' | '.join(heads)} |")
        self.say("|" + "---|" * len(heads))
        for row in rows:
            self.say(f"| {' | '.join(map(str, row))} |")
        self.say()

    def skip(self, what, why):
        self.say(f"**SKIPPED** {what}: {why}\n")
        self.skipped.append(what)

    # Running things.

    def drop(self):
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")

    def rounds(self, once=False):
        """The cache of each round: as many as there are to be, or one of each, of what takes minutes."""
        runs, cold = (1, min(1, self.options.cold)) if once else (self.options.runs, self.options.cold)
        yield from ["warm"] * runs
        if self.can_drop:
            yield from ["cold"] * cold

    def timed(self, command, env=None, ok=(0,)):
        """Seconds, peak memory in MB and output of a command. What was written before it is not waited for by its own syncs."""
        os.sync()
        done = subprocess.run([sys.executable, "-S", "-c", LAUNCHER, *map(str, command)], capture_output=True, env=env, check=True)
        told, output = done.stdout.split(b"\n", 1)
        seconds, rss_kb, code = json.loads(told)
        if code not in ok:
            said = " / ".join(done.stderr.decode(errors="replace").strip().splitlines()[-3:])
            raise RuntimeError(f"{command[0]} has failed with {code}: {' '.join(map(str, command))}: {said}")
        return seconds, rss_kb / 1000, output.decode(errors="replace")

    def engine(self, tree, index, *args):
        """A run of the engine: wall seconds, and its report."""
        # 3: some files could not be read; their number is in the report.
        command = [self.options.engine, "index", "--json", "--embed", "off", "--index-dir", index, *args, tree]
        seconds, rss, output = self.timed(command, ok=(0, 3))
        report = json.loads(output.splitlines()[-1])
        report["wall"], report["rss"] = seconds, rss
        return report

    def warm(self, tree):
        """Reads every file, so that the first warm round is one."""
        subprocess.run(["find", tree, "-type", "f", "-exec", "cat", "{}", "+"], stdout=subprocess.DEVNULL, check=True)

    def fresh(self, name="index"):
        path = self.scratch / name
        shutil.rmtree(path, ignore_errors=True)
        return path

    def prepare(self, cache):
        """Before each run of a round."""
        if cache == "cold":
            self.drop()

    def index_all(self, section, tree, settings, once=False):
        """Indexes a tree from nothing with each of the settings, in turns."""
        self.warm(tree)
        for cache in self.rounds(once):
            for what, args in settings:
                index = self.fresh()
                self.prepare(cache)
                report = self.engine(tree, index, *args)
                files = report["files"]
                self.add(section, tree.name, what, cache, report["wall"], files=files["indexed"], bytes=report["bytes_read"],
                         rss_mb=round(report["rss"], 1), index_mb=round(report["index_bytes"] / 1e6, 1), backend=report["backend"])

    def caches(self):
        return ["warm", "cold"] if self.can_drop else ["warm"]


def spread(values, places=3):
    if not values:
        return "-"
    return f"{statistics.median(values):.{places}f} ({min(values):.{places}f}–{max(values):.{places}f})"


def percentile(values, percent):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


def hundred_thousand(bench):
    """Linux and as much of GCC as makes 100,000 files, by hard links."""
    corpora, target = bench.options.corpora, bench.options.corpora / "linux-gcc-100k"
    if target.exists():
        return target
    made = target.with_name(target.name + ".new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    subprocess.run(["cp", "-al", corpora / "linux", made / "linux"], check=True)
    have = sum(len(files) for _, _, files in os.walk(made))
    for folder, folders, files in os.walk(corpora / "gcc"):
        folders.sort()
        for name in sorted(files)[: max(0, 100_000 - have)]:
            source = Path(folder, name)
            to = made / "gcc" / source.relative_to(corpora / "gcc")
            to.parent.mkdir(parents=True, exist_ok=True)
            os.link(source, to, follow_symlinks=False)
            have += 1
    made.rename(target)
    return target


def million(bench):
    """A million small files of words from a fixed seed."""
    target = bench.options.corpora / "generated-1m"
    if target.exists():
        return target
    made, draw = target.with_name(target.name + ".new"), random.Random(7)
    shutil.rmtree(made, ignore_errors=True)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(3, 9))) for _ in range(20_000)]
    for number in range(MILLION_DIRS):
        folder = made / f"a{number // 100}" / f"b{number % 100}"
        folder.mkdir(parents=True)
        for file in range(MILLION // MILLION_DIRS):
            lines = [" ".join(draw.choices(words, k=7)) for _ in range(12)]
            (folder / f"f{file}.txt").write_text("\n".join(lines) + "\n")
    made.rename(target)
    return target


def size(bench):
    corpora = bench.options.corpora
    trees = [corpora / "linux-10k"]
    if not bench.options.quick:
        trees += [corpora / "linux-50k", hundred_thousand(bench)]
    if bench.options.million:
        trees.append(million(bench))
    for tree in trees:
        bench.index_all("size", tree, [("engine", [])], once=tree.name == "generated-1m")
        index = bench.fresh()
        bench.engine(tree, index)
        for cache in bench.rounds():
            bench.prepare(cache)
            report = bench.engine(tree, index)
            bench.add("unchanged", tree.name, "engine", cache, report["wall"], files=report["files"]["unchanged"], rss_mb=round(report["rss"], 1))
    rows = []
    for tree in trees:
        for cache in bench.caches():
            files = bench.of("size", tree.name, "engine", cache, "files")
            if not files:
                continue
            seconds = bench.of("size", tree.name, "engine", cache)
            rows.append([tree.name, f"{files[0]:,}", cache, spread(seconds), f"{statistics.median(seconds) / files[0] * 1e6:.1f}",
                         spread(bench.of("size", tree.name, "engine", cache, "rss_mb"), 0), bench.of("size", tree.name, "engine", cache, "index_mb")[-1],
                         spread(bench.of("unchanged", tree.name, "engine", cache))])
    bench.table(["tree", "files", "cache", "from nothing, s", "us a file", "peak MB", "index MB", "nothing changed, s"], rows)


def changes(bench):
    source = bench.options.corpora / ("linux-10k" if bench.options.quick else "linux-50k")
    tree, draw = bench.scratch / "changing", random.Random(3)
    subprocess.run(["cp", "-a", source, tree], check=True)
    files = [Path(folder, name) for folder, _, names in os.walk(tree) for name in names if name.endswith((".c", ".h"))]
    index = bench.fresh("changing-index")
    bench.engine(tree, index)
    amounts = [("100 files", 100), ("10 % of files", len(files) // 10)]
    for number in range(bench.options.runs):
        for what, count in amounts:
            for path in draw.sample(files, count):
                with open(path, "a") as file:
                    file.write(f"/* changed_{number}_{count} */\n")
            report = bench.engine(tree, index)
            bench.add("changes", source.name, what, "warm", report["wall"], files=report["files"]["indexed"], unchanged=report["files"]["unchanged"])
    rows = [[what, f"{bench.of('changes', source.name, what, 'warm', 'files')[-1]:,}", spread(bench.of("changes", source.name, what, "warm"))] for what, _ in amounts]
    bench.table([f"changed of {source.name}", "read again", "s"], rows)
    shutil.rmtree(tree)


def shards(bench):
    tree = bench.options.corpora / ("linux-10k" if bench.options.quick else "linux-50k")
    counts = (1, 2, 4, 8, 16)
    bench.index_all("shards", tree, [(str(count), ["--shards", str(count)]) for count in counts])
    rows = []
    for count in counts:
        for cache in bench.caches():
            rows.append([count, cache, spread(bench.of("shards", tree.name, str(count), cache)), spread(bench.of("shards", tree.name, str(count), cache, "rss_mb"), 0)])
    bench.say(f"{tree.name} on {os.cpu_count()} cores: workers beyond that are readers.\n")
    bench.table(["--shards", "cache", "s", "peak MB"], rows)


def backends(bench):
    tree = bench.options.corpora / ("linux-10k" if bench.options.quick else "linux-50k")
    names = ("uring", "threads")
    bench.index_all("backends", tree, [(name, ["--backend", name]) for name in names])
    rows = []
    for cache in bench.caches():
        for name in names:
            rows.append([name, cache, spread(bench.of("backends", tree.name, name, cache)), f"{bench.of('backends', tree.name, name, cache, 'files')[0]:,}"])
    bench.table([f"--backend, {tree.name}", "cache", "s", "files"], rows)


def disk_mb(path):
    return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file()) / 1e6 if Path(path).is_dir() else Path(path).stat().st_size / 1e6


def rivals(bench):
    tree = bench.options.corpora / ("linux-10k" if bench.options.quick else "linux-50k")
    index = {name: bench.scratch / f"rival-{name}" for name in ("engine", "cindex", "plain", "plocate")}

    def csearch_env():
        return {**os.environ, "CSEARCHINDEX": str(index["cindex"])}

    ways = {
        "engine": lambda: bench.timed([bench.options.engine, "index", "--json", "--embed", "off", "--index-dir", index["engine"], tree]),
        "engine, vectors too": lambda: bench.timed([bench.options.engine, "index", "--json", "--index-dir", index["engine"], tree]),
        "cindex": lambda: bench.timed(["cindex", tree], env=csearch_env()),
        "ignore + tantivy": lambda: bench.timed([bench.options.plain, tree, index["plain"]]),
        "plocate's updatedb (names only)": lambda: bench.timed(["updatedb", "-l", "no", "-U", tree, "-o", index["plocate"], "--prunepaths", "", "--prunefs", "", "--prune-bind-mounts", "no"]),
    }
    stores = dict(zip(ways, ("engine", "engine", "cindex", "plain", "plocate")))
    bench.warm(tree)
    for cache in bench.rounds():
        for what, way in ways.items():
            path = index[stores[what]]
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            bench.prepare(cache)
            try:
                seconds, rss, output = way()
            except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
                bench.skip(f"{what}, {cache}", error)
                continue
            files = re.search(r'"files": ?(?:\{[^}]*"indexed":)?(\d+)', output)
            bench.add("rivals", tree.name, what, cache, seconds, files=int(files[1]) if files else None, rss_mb=round(rss, 1), index_mb=round(disk_mb(path), 1))
    rows = []
    for cache in bench.caches():
        ours = bench.of("rivals", tree.name, "engine", cache)
        for what in ways:
            seconds = bench.of("rivals", tree.name, what, cache)
            if seconds and ours:
                times = statistics.median(seconds) / statistics.median(ours)
                rows.append([what, cache, spread(seconds), f"{times:.2f}", (bench.of("rivals", tree.name, what, cache, "files") or ["-"])[0], spread(bench.of("rivals", tree.name, what, cache, "rss_mb"), 0), spread(bench.of("rivals", tree.name, what, cache, "index_mb"), 1)])
    bench.say(f"{tree.name}, an index from nothing. The engine's is durable when it ends, and knows every byte: it answers substrings and regular expressions. Others do not wait for the disk, and `ignore` + tantivy leaves out files that are not UTF-8. Files are those that a program tells of.\n")
    bench.table(["what", "cache", "s", "of the engine's", "files", "peak MB", "on disk, MB"], rows)


def leindex(bench):
    """Once, and of 10,000 files: it takes minutes."""
    if not shutil.which("leindex"):
        return bench.skip("LeIndex", "`leindex` is not installed: cargo install --locked leindex")
    source = bench.options.corpora / "linux-10k"
    # It writes into the tree.
    tree, index = bench.scratch / "leindex-tree", bench.fresh("leindex-engine")
    subprocess.run(["cp", "-a", source, tree], check=True)
    version = bench.timed(["leindex", "--version"])[2].strip()
    ways = {
        "engine, text, vectors and definitions": ([bench.options.engine, "index", "--json", "--symbols", "--index-dir", index, tree], index),
        version: (["timeout", "-k", "5", str(LEINDEX_SECONDS), "leindex", "index", "--force", tree], tree / ".leindex"),
    }
    rows = []
    for what, (command, store) in ways.items():
        try:
            seconds, rss, output = bench.timed(command, env={**os.environ, "HOME": str(bench.scratch)})
        except RuntimeError as error:
            bench.skip(f"{what}, which has {LEINDEX_SECONDS} s", error)
            continue
        files = re.search(r'"indexed": ?(\d+)|Files parsed: (\d+)', output)
        core = re.search(r"core pipeline: (\d+)ms", output)
        count = next(filter(None, files.groups())) if files else None
        bench.add("leindex", source.name, what, "warm", seconds, files=count, rss_mb=round(rss, 1), index_mb=round(disk_mb(store), 1), core=int(core[1]) / 1e3 if core else None)
        rows.append([what, f"{seconds:.1f}", f"{int(core[1]) / 1e3:.1f}" if core else "-", count or "-", f"{rss:.0f}", f"{disk_mb(store):.1f}"])
    bench.say(f"{source.name}, once, warm, from nothing. LeIndex counts only the files that it parses; where it finds no ONNX runtime, its embedding fails, so the time of its core pipeline, which it tells, stands beside.\n")
    bench.table(["what", "s", "core pipeline, s", "files", "peak MB", "on disk, MB"], rows)


def search(bench):
    tree = bench.options.corpora / ("linux-10k" if bench.options.quick else "linux-50k")
    index, cindex = bench.fresh(), bench.scratch / "search-cindex"
    bench.engine(tree, index)
    env = {**os.environ, "CSEARCHINDEX": str(cindex)}
    bench.timed(["cindex", tree], env=env)
    ways = {
        "engine": lambda flag, pattern: [bench.options.engine, "search", "-c", flag, pattern, "--index-dir", index, "--limit", "0", tree],
        "rg": lambda flag, pattern: ["rg", "--hidden", "--no-messages", "-c", *([flag] if flag == "-F" else []), "-e", pattern, tree],
        "csearch": lambda flag, pattern: ["csearch", "-c", re.escape(pattern) if flag == "-F" else pattern],
    }
    queries = [("-F", pattern) for pattern in LITERALS] + [("-E", pattern) for pattern in REGEXES]
    lines = {}
    for _ in range(bench.options.runs):
        for flag, pattern in queries:
            for what, command in ways.items():
                seconds, _, output = bench.timed(command(flag, pattern), env=env, ok=(0, 1))
                numbers = [line.rsplit(":", 1)[-1].strip() for line in output.splitlines()]
                found = sum(int(number) for number in numbers if number.isdigit())
                lines[what, pattern] = found
                bench.add("search", tree.name, what, "warm", seconds, pattern=pattern, lines=found)
    differ = {what: [pattern for _, pattern in queries if lines[what, pattern] != lines["rg", pattern]] for what in ("engine", "csearch")}
    rows = []
    for what in ways:
        seconds = bench.of("search", tree.name, what, "warm")
        total = sum(found for (of, _), found in lines.items() if of == what)
        rows.append([what, f"{percentile(seconds, 50) * 1e3:.1f}", f"{percentile(seconds, 99) * 1e3:.1f}", f"{total:,}"])
    bench.say(f"{len(queries)} patterns over {tree.name}, every line counted, as processes. Lines differ from ripgrep's: engine {', '.join(differ['engine']) or 'never'}; csearch {', '.join(differ['csearch']) or 'never'}.\n")
    bench.table(["what", "P50 ms", "P99 ms", "lines"], rows)


def e2e(bench):
    """All of benches/e2e on the whole tree: what was to be reached, and what happens inside."""
    tree, out = bench.options.corpora / ("linux-10k" if bench.options.quick else "linux"), bench.options.out / "e2e"
    ranking = Path(__file__).parent / "ranking" / "linux-6.1.tsv"
    command = [bench.options.e2e, "--tree", tree, "--runs", str(bench.options.runs), "--cold", str(bench.options.cold if bench.can_drop else 0), "--rg", "--out", out, "--scratch", bench.scratch]
    if not bench.options.quick:
        command += ["--ranking", ranking]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        failed = [line for line in (done.stdout + done.stderr).splitlines() if "FAILED" in line or "DIFFER" in line or line.startswith("leindex-bench:")]
        bench.skip("parts of e2e", "; ".join(failed) or f"it has failed with {done.returncode}")
    if not (out / "figures.csv").exists():
        return
    bench.say("[e2e/summary.md](e2e/summary.md) has the tables; this is what they were to reach.\n")
    with open(out / "figures.csv", newline="") as file:
        rows = list(csv.reader(file))
    bench.table(rows[0], rows[1:])


def parts(bench):
    command = ["cargo", "bench", "--locked", "-p", "leindex-parts", "--bench", "parts", "--", "--output-format", "bencher"]
    if bench.options.quick:
        command = ["cargo", "test", "--locked", "-p", "leindex-parts", "--bench", "parts"]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    if done.returncode:
        bench.skip("parts", done.stderr.strip().splitlines()[-1])
        return
    rows = re.findall(r"^test (\S+) +\.\.\. bench: +([\d,]+) ns/iter \(\+/- ([\d,]+)\)", done.stdout, re.M)
    for name, nanoseconds, _ in rows:
        bench.add("parts", "", name, "warm", int(nanoseconds.replace(",", "")) / 1e9)
    bench.table(["part", "us a round", "+/-"], [[name, f"{int(ns.replace(',', '')) / 1e3:.1f}", f"{int(more.replace(',', '')) / 1e3:.1f}"] for name, ns, more in rows])


TITLES = {
    "size": "By size: an index from nothing, and a run with nothing changed",
    "changes": "After changes",
    "shards": "By --shards",
    "backends": "io_uring against threads",
    "rivals": "Beside others",
    "leindex": "Beside LeIndex",
    "search": "Searches as processes",
    "e2e": "Inside",
    "parts": "The parts",
}


def main():
    parser = argparse.ArgumentParser()
    for name in ("engine", "e2e", "plain", "corpora", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cold", type=int, default=3)
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    wanted = options.only.split(",")
    if unknown := [name for name in wanted if name not in SECTIONS]:
        parser.error(f"--only: no section {unknown[0]}: there are {', '.join(SECTIONS)}")
    if options.quick:
        options.runs, options.cold = 1, 0
    options.corpora = options.corpora.resolve()
    bench = Bench(options)
    try:
        version = bench.timed([options.engine, "--version"])[2].strip()
        bench.say(f"# {version}, measured {time.strftime('%Y-%m-%d', time.gmtime())}\n")
        bench.say(f"`scripts/bench` with {options.runs} warm and {options.cold if bench.can_drop else 0} cold rounds, everything in turns. Medians, with the least and the most. The machine is described in [machine.txt](machine.txt), every sample is in [samples.csv](samples.csv).\n")
        if options.cold and not bench.can_drop and not options.quick:
            bench.skip("cold caches", "dropping them takes root")
        for name in wanted:
            bench.say(f"## {TITLES[name]}\n")
            globals()[name](bench)
    finally:
        shutil.rmtree(bench.scratch, ignore_errors=True)
        write(bench)
    if bench.skipped:
        print(f"skipped: {', '.join(bench.skipped)}", file=sys.stderr)


def write(bench):
    out = bench.options.out
    out.mkdir(parents=True, exist_ok=True)
    (out / "summary.md").write_text("\n".join(bench.text).rstrip() + "\n")
    keys = list(dict.fromkeys(key for row in bench.samples for key in row))
    with open(out / "samples.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows(bench.samples)


if __name__ == "__main__":
    main()
