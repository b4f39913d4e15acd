"""How near large products come to the best that this machine does: `make bench-roofline`.

BERT-base (sequence 128, batch 8) and ResNet-50 (batch 8) on every target that runs here, in turns with plain matrix
products of every library installed. A rate is what the products of the model's graph amount to, by the time of a call;
the share is that of the best library's rate in the same rounds. The best target of each model has to reach SHARE.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from compiler import api  # noqa: E402
from compiler.bench import peaks, work  # noqa: E402
from compiler.bench.subject import read  # noqa: E402
from compiler.measure.contender import Contender  # noqa: E402
from compiler.measure.paired import Ratio, measure  # noqa: E402

SHARE = 0.92
MODELS = {
    "bert": ("models/bert.py:build", ["input_ids:int64[8,128]", "attention_mask:int64[8,128]"]),
    "resnet50": ("models/resnet50.py:build", ["x:float32[8,3,224,224]"]),
}
_FEWEST_ROUNDS = 5
_MAKE = "compiler.bench."


def shares(model: str, arguments: argparse.Namespace) -> dict[str, Ratio]:
    """Of each target, of the best rate of a product; larger is better."""
    reference, specs = MODELS[model]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        targets = arguments.targets.split(",")
        built = api.compile_all(reference, specs, targets=targets, output=folder, name=model, verify=False)
        good = {name: one for name, one in built.items() if isinstance(one, api.Result)}
        for name in set(built) - set(good):
            print(f"{model:<10} {name:<12} could not be built: {built[name]}")
        subject = read([one.folder for one in good.values()], None)
        inputs = subject.plan.inputs({}, 0)
        environment = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(arguments.threads))

        def enter(name: str, make: str, *words: object) -> Contender:
            return stack.enter_context(Contender(name, _MAKE + make, *words, environment=environment))

        products = [
            enter(f"{name} product", "peaks:product", name, "float32", arguments.threads)
            for name in peaks.PRODUCTS
            if importlib.util.find_spec(name) is not None
        ]
        options = {"threads": arguments.threads}
        ours = [enter(name, "runnables:bundle", str(one.folder), inputs, options) for name, one in good.items()]
        end = time.perf_counter() + arguments.budget
        timings = measure(
            [*products, *ours],
            rounds=_FEWEST_ROUNDS,
            seconds=arguments.seconds,
            enough=lambda _: time.perf_counter() > end,
            most_rounds=max(arguments.rounds, _FEWEST_ROUNDS),
        )
        fastest = min((one.name for one in products), key=timings.median)
        rate = peaks.FLOPS / timings.median(fastest)
        print(f"{model:<10} best product: {rate / 1e9:.0f} GFLOP/s, {fastest}")
        found = {}
        for name, one in good.items():
            graph = work.read(one.folder, {})
            assert graph is not None, "a bundle of this version tells its nodes"
            flops = sum(graph.flops(node) or 0 for node in graph.nodes)
            # Seconds for each operation of a product, by seconds for each operation of the model.
            ratio, scale = timings.ratio(fastest, name), flops / peaks.FLOPS
            found[name] = Ratio(*(scale * value for value in (ratio.value, ratio.low, ratio.high)))
            seconds = statistics.median(timings.rounds[name])
            print(f"{model:<10} {name:<12} {1000 * seconds:8.1f} ms, {flops / 1e9:.1f} GFLOP: {found[name]} of it")
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--targets", default="onnxruntime,openvino,tvm")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15, help="at most")
    parser.add_argument("--budget", type=float, default=120, help="seconds of each model, once it is compiled")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each burst")
    arguments = parser.parse_args()
    kept = True
    for model in arguments.models:
        best = max(shares(model, arguments).values(), key=lambda share: share.value)
        reached = best.high >= SHARE
        kept &= reached
        print(f"{model:<10} {'ok' if reached else f'BELOW {SHARE}'}: {best} of the best product")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
