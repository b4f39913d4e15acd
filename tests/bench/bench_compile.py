"""What compiling costs beside a plain export script: `make bench-compile`.

Every figure is a ratio of two things measured in this run, in turns (A B A B ...), each in a process of its own.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
COMPILE = str(Path(sys.executable).with_name("compile"))
GIB = 2**30

LOAD_OURS = """
import numpy as np, backends
session = backends.load({bundle!r})
session({{name: np.ones((2, 32), dtype=np.int64) for name in ("input_ids", "attention_mask")}})
import sys; assert "torch" not in sys.modules
"""
LOAD_BARE = """
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession({bundle!r} + "/model.onnx")
session.run(None, {{name: np.ones((2, 32), dtype=np.int64) for name in ("input_ids", "attention_mask")}})
"""


@dataclass(frozen=True)
class Row:
    what: str
    figure: str
    ratio: float
    bound: float

    def __str__(self) -> str:
        verdict = "ok" if self.ratio <= self.bound else "ABOVE"
        return f"{self.what:<58} {self.figure:>26} {self.ratio:6.2f} {self.bound:6.2f}  {verdict}"


def seconds(command: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def side_by_side(what: str, ours: Sequence[str], other: Sequence[str], bound: float, rounds: int) -> Row:
    """The median of the ratios pair by pair, so that a machine that changes its speed hurts both alike."""
    for command in (other, ours):
        seconds(command)
    pairs = [(seconds(ours), seconds(other)) for _ in range(rounds)]
    mine, theirs = (statistics.median(values) for values in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    return Row(what, f"{mine:.2f} s / {theirs:.2f} s", ratio, bound)


def timings(rounds: int, folder: str) -> Iterator[Row]:
    for model in ("minilm", "resnet50"):
        reference = f"models/{model}.py:build"
        plain = [sys.executable, "-W", "ignore", str(HERE / "plain_export.py"), reference]
        ours = [COMPILE, reference, "--target", "onnxruntime", "--output", folder, "--quiet"]
        yield side_by_side(f"compile {model}, verified / plain script", ours, plain, 1.6, rounds)
        yield side_by_side(f"compile {model} --no-verify / plain script", [*ours, "--no-verify"], plain, 1.15, rounds)
    seconds([COMPILE, "models/minilm.py:build", "--target", "onnxruntime", "--output", folder, "--quiet"])
    bundle = str(Path(folder) / "minilm.onnxruntime")
    mine = [sys.executable, "-c", LOAD_OURS.format(bundle=bundle)]
    bare = [sys.executable, "-c", LOAD_BARE.format(bundle=bundle)]
    yield side_by_side("load and first run of MiniLM / bare onnxruntime", mine, bare, 1.2, 3 * rounds)
    help_time = statistics.median(seconds([COMPILE, "--help"]) for _ in range(2 * rounds))
    yield Row("compile --help, in units of 0.3 s", f"{help_time:.2f} s", help_time / 0.3, 1.0)


# -- memory -----------------------------------------------------------------------------------------------------


@dataclass
class Peak:
    """The highest proportional set size seen, of the whole tree and of one process."""

    tree: int = 0
    single: int = 0


def watch(pid: int, peak: Peak, done: threading.Event) -> None:
    while not done.wait(0.1):
        sizes = [pss(member) for member in tree(pid)]
        peak.tree = max(peak.tree, sum(sizes))
        peak.single = max(peak.single, *sizes, 0)


def tree(pid: int) -> list[int]:
    found = [pid]
    for member in found:
        try:
            for task in Path(f"/proc/{member}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def memory(folder: str) -> list[Row]:
    command = [COMPILE, str(HERE / "large_model.py:build"), "--target", "onnxruntime", "--output", folder, "--quiet"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    peak, done = Peak(), threading.Event()
    watcher = threading.Thread(target=watch, args=(process.pid, peak, done))
    watcher.start()
    code = process.wait()
    done.set()
    watcher.join()
    if code:
        raise SystemExit(f"compiling the large model ended with exit code {code}")
    weights = unique_bytes()
    written = sum(path.stat().st_size for path in (Path(folder) / "large_model.onnxruntime").glob("model.onnx*"))
    gib = f"{weights / GIB:.2f} GiB"
    return [
        Row(
            "1.5 B parameters: (tree's memory - 1 GiB) / weights",
            f"{peak.tree / GIB:.2f} GiB / {gib}",
            (peak.tree - GIB) / weights,
            2.0,
        ),
        Row(
            "1.5 B parameters: (one process - 1 GiB) / weights",
            f"{peak.single / GIB:.2f} GiB / {gib}",
            (peak.single - GIB) / weights,
            1.3,
        ),
        Row("1.5 B parameters: file / unique weights", f"{written / GIB:.2f} GiB / {gib}", written / weights, 1.01),
    ]


def unique_bytes() -> int:
    code = (
        f"import sys; sys.path.insert(0, {str(HERE)!r}); import torch, large_model\n"
        "with torch.device('meta'): model = large_model.Decoder()\n"
        "print(sum(p.numel() * 4 for p in model.parameters()))"
    )
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("time", "memory"))
    options = parser.parse_args()
    parts: dict[str, Callable[[str], Iterable[Row]]] = {
        "time": lambda folder: timings(options.rounds, folder),
        "memory": memory,
    }
    print(f"{'':<58} {'measured':>26} {'ratio':>6} {'bound':>6}")
    above = False
    with tempfile.TemporaryDirectory() as folder:
        for name, part in parts.items():
            if options.only in (None, name):
                for row in part(folder):
                    print(row, flush=True)
                    above = above or row.ratio > row.bound
    sys.exit(1 if above else 0)


if __name__ == "__main__":
    main()
