"""A bundle beside itself, in another process: how often would a bench claim a difference? `make bench-same`.

    python tests/bench/bench_same.py build/minilm.onnxruntime [--runs 40]

Each run starts both processes anew, since where their memory lies is part of what differs from run to run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from compiler.bench.subject import read  # noqa: E402
from compiler.measure.contender import Contender  # noqa: E402
from compiler.measure.paired import measure, ratio  # noqa: E402

CONFIDENCE = 0.99
ENOUGH = 0.95  # of the runs have to find no difference


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each burst")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    subject = read([options.bundle], None)
    inputs = subject.plan.inputs(subject.usual(None), 0)
    same = 0
    for number in range(options.runs):
        words = ("compiler.bench.runnables:bundle", str(options.bundle), inputs, {"threads": options.threads})
        with Contender("one", *words) as one, Contender("other", *words) as other:
            timings = measure([one, other], rounds=options.rounds, seconds=options.seconds)
        found = ratio(timings.rounds["one"], timings.rounds["other"], CONFIDENCE)
        same += not found.decided
        print(f"run {number + 1}: {found}  {'DIFFERENT' if found.decided else 'no difference'}", flush=True)
    print(f"no difference in {same} of {options.runs} runs, with intervals of {CONFIDENCE:.0%}")
    return 0 if same >= ENOUGH * options.runs else 1


if __name__ == "__main__":
    sys.exit(main())
