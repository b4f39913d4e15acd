"""Random graphs through the whole pipeline: `make fuzz N=20000 SEED=0`.

What fails is printed with its seed, and again by `python tests/fuzz/fuzz_passes.py --seed SEED -n 1`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "passes"))

import onnx_ir as ir
from random_graphs import random_graph

from compiler.errors import PlumblineError
from compiler.passes import pipeline
from compiler.passes.agreement import Judge


def failure(seed: int, changes: Counter[str] | None = None, *, motifs: bool = True) -> str | None:
    """What goes wrong with one graph; None where nothing does."""
    proto, draws = random_graph(seed, motifs=motifs)
    before, after = ir.from_proto(proto), ir.from_proto(proto)
    try:
        records = pipeline.run(after)
        if changes is not None:
            changes.update({record.name for record in records if record.modified})
        if again := {record.name for record in pipeline.run(after) if record.modified}:
            return f"did not settle: {', '.join(sorted(again))}"
        if found := Judge(before, draws).difference(after):
            return f"at point {found[0]}, {found[1]}"
    except (PlumblineError, AssertionError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        return f"{type(error).__name__}: {error} {getattr(error, 'why', '') or ''} {getattr(error, 'where', '') or ''}"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    changes: Counter[str] = Counter()
    failed = 0
    started = time.perf_counter()
    for seed in range(options.seed, options.seed + options.n):
        found = failure(seed, changes)
        if found is not None:
            failed += 1
            print(f"seed {seed}: {found}", flush=True)
    print(f"{options.n} graphs from seed {options.seed} in {time.perf_counter() - started:.0f} s: {failed} failed")
    for name, count in sorted(changes.items()):
        print(f"  {name:<32} changed {count}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
