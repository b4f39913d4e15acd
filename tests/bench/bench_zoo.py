"""How fast the zoo's artifacts are, beside what one would use without plumbline: `make bench-zoo`.

Float32, two threads, batch 1, fixed sizes. Every figure is a ratio of things timed in turns in this run, with its
95 % interval; rounds are added until the reference timed against itself is within 1 %. A bound fails when the lower
end of the interval is above it.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from compiler.bench.subject import Asked  # noqa: E402
from compiler.contracts import Array, Arrays, Dim  # noqa: E402
from compiler.errors import CompileError, PlumblineError  # noqa: E402
from compiler.frontend.examples import draw  # noqa: E402
from compiler.frontend.program import InputRange, Request  # noqa: E402
from compiler.frontend.specs import parse  # noqa: E402
from compiler.measure.contender import Contender  # noqa: E402
from compiler.measure.paired import Ratio, Timings, measure  # noqa: E402
from models.table import factory, models  # noqa: E402

COMPILE = str(Path(sys.executable).with_name("compile"))
THREADS = 2
TARGETS = ("onnxruntime", "openvino", "tvm")
RUNNABLES = "compiler.bench.runnables:"
PLAIN = {"onnxruntime": ("onnx_file", "plain.onnx"), "openvino": ("openvino_file", "plain.xml")}

# What is held against what, and the bound. TVM is held against the best that ONNX Runtime does.
AGAINST = {
    "onnxruntime": ("plain onnxruntime", 1.02),
    "openvino": ("plain openvino", 1.02),
    "tvm": ("onnxruntime", 1.10),
}
GEOMEAN = ("bert", "minilm", "resnet50", "mobilenetv2", "convnext", "vit", "gpt2", "t5_encoder", "llama", "lstm")
GEOMEAN_BOUND = 0.90


@dataclass(frozen=True)
class Built:
    """A bundle, or why there is none."""

    folder: Path
    seconds: float
    failure: str
    used: str  # of the error budget

    @property
    def mebibytes(self) -> float:
        return sum(file.stat().st_size for file in self.folder.glob("*") if file.suffix != ".md") / 2**20


def sizes_of(specs: Sequence[str]) -> dict[str, int]:
    """One example at a usual length: the smallest batch, and half of what else may vary."""
    dims = {dim.name: dim for spec in parse(specs).tensors for dim in spec.dynamic}
    return {name: dim.lo if name == "batch" else _half(dim) for name, dim in dims.items()}


def _half(dim: Dim) -> int:
    return max(dim.lo, dim.hi // 2 // dim.step * dim.step)


def fixed(specs: Sequence[str], sizes: dict[str, int]) -> list[str]:
    """The same specs without ranges."""
    return [f"{spec.name}:{spec.dtype}[{','.join(map(str, spec.shape(sizes)))}]" for spec in parse(specs).tensors]


def inputs_for(bundle: Path, specs: Sequence[str]) -> dict[str, Array]:
    """Data that the model's own ranges allow, as the bundle remembers them."""
    ranges = json.loads((bundle / "manifest.json").read_text())["reference"]["ranges"]
    rng = np.random.default_rng(0)
    arrays = {}
    for spec in parse(specs).tensors:
        allowed = InputRange(**ranges[spec.name]) if spec.name in ranges else None
        arrays[spec.name] = draw(spec, {}, allowed, rng)
    return arrays


def build(reference: str, name: str, target: str, specs: Sequence[str], folder: Path) -> Built:
    place = folder / f"{name}.{target}"
    command = [COMPILE, reference, "-t", target, "-o", str(folder), "--name", name, "--json"]
    command += [word for spec in specs for word in ("-i", spec)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    seconds = time.perf_counter() - started
    told: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
    if done.returncode:
        error = told.get("error", {"code": told.get("verdict", {}).get("status", f"exit {done.returncode}")})
        return Built(place, seconds, str(error["code"]), "")
    worst = max((float(output["used"]) for output in told["verdict"]["outputs"]), default=math.nan)
    return Built(place, seconds, "", f"{worst:.0%}")


def plain(asked: Asked, specs: Sequence[str], inputs: Arrays, route: str, folder: Path) -> Path | None:
    """What one would export by hand; None where that fails."""
    function, file = PLAIN[route]
    try:
        with Contender(f"plain {route}", RUNNABLES + function, asked, tuple(specs), inputs, folder / file):
            return folder / file
    except PlumblineError:
        return None


def steady(reference: str) -> Any:
    """Whether the machine is quiet enough: the same thing twice is the same, within a hundredth."""

    def enough(timings: Timings) -> bool:
        again = timings.ratio(f"{reference} again", reference)
        return again.low >= 0.99 and again.high <= 1.01

    return enough


@dataclass(frozen=True)
class Row:
    model: str
    target: str
    built: Built
    milliseconds: float | None
    ratio: Ratio | None
    control: Ratio | None
    against: str
    bound: float

    @property
    def kept(self) -> bool:
        return self.ratio is not None and self.ratio.low <= self.bound

    def __str__(self) -> str:
        if self.built.failure:
            return f"{self.model:<12} {self.target:<12} not built: {self.built.failure}"
        if self.ratio is None or self.milliseconds is None:
            return f"{self.model:<12} {self.target:<12} {self.against} could not be made"
        verdict = "ok" if self.kept else f"ABOVE {self.bound}"
        return (
            f"{self.model:<12} {self.target:<12} {self.milliseconds:8.2f} ms {self.ratio!s:>22} of {self.against:<18}"
            f" A/A {self.control!s:<22} {self.built.used:>5} of budget {self.built.mebibytes:8.1f} MiB"
            f" compiled in {self.built.seconds:5.1f} s  {verdict}"
        )


def rows(name: str, targets: Sequence[str], size: str, arguments: argparse.Namespace) -> Iterator[Row]:
    entry = models()[name]
    specs = entry.get("small_inputs", entry["inputs"]) if size == "small" else entry["inputs"]
    specs = fixed(specs, sizes_of(specs))
    reference = factory(name, size)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        work, asked = Path(folder), Asked(Request(reference))
        wanted = ["onnxruntime", *(target for target in targets if target != "onnxruntime")]
        built = {target: build(reference, name, target, specs, work) for target in wanted}
        inputs = inputs_for(next(one.folder for one in built.values() if not one.failure), specs)
        contenders: dict[str, Contender] = {}

        def enter(label: str, make: str, place: Path, threads: Any = THREADS) -> None:
            contender = Contender(label, RUNNABLES + make, str(place), inputs, threads)
            contenders[label] = stack.enter_context(contender)

        for target, one in built.items():
            if not one.failure and (target in targets or "tvm" in targets):
                enter(target, "bundle", one.folder, {"threads": THREADS})
        for route in PLAIN:
            if route in targets and (place := plain(asked, specs, inputs, route, work)) is not None:
                enter(f"plain {route}", f"plain_{route}", place)
        for target in targets:
            yield _compared(name, target, built[target], contenders, arguments)


def _compared(
    name: str,
    target: str,
    built: Built,
    contenders: dict[str, Contender],
    arguments: argparse.Namespace,
) -> Row:
    against, bound = AGAINST[target]
    if built.failure or against not in contenders:
        return Row(name, target, built, None, None, None, against, bound)
    # The control is the very process that is held against, timed at two places of each round.
    again = _Again(contenders[against])
    timings = measure(
        [contenders[target], contenders[against], again],  # type: ignore[list-item]
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        enough=steady(against),
        most_rounds=arguments.most_rounds,
    )
    return Row(
        name,
        target,
        built,
        1000 * timings.median(target),
        timings.ratio(target, against),
        timings.ratio(again.name, against),
        against,
        bound,
    )


class _Again:
    """The same contender under a second name."""

    def __init__(self, contender: Contender) -> None:
        self.name = f"{contender.name} again"
        self.burst = contender.burst


def geomean(found: Sequence[Row]) -> str:
    ratios = [row.ratio.value for row in found if row.target == "tvm" and row.model in GEOMEAN and row.ratio]
    if not ratios:
        return ""
    value = statistics.geometric_mean(ratios)
    verdict = "ok" if value <= GEOMEAN_BOUND else f"ABOVE {GEOMEAN_BOUND}"
    return f"TVM / ONNX Runtime, geometric mean of {len(ratios)} of {len(GEOMEAN)} models: {value:.3f}  {verdict}"


def versions() -> str:
    from importlib.metadata import version

    names = ("torch", "onnxruntime", "openvino", "apache-tvm")
    return ", ".join(f"{name} {version(name)}" for name in names) + "; torch.onnx.export's default opset"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(models()))
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--size", choices=["full", "small"], default="full")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--most-rounds", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each burst")
    arguments = parser.parse_args()
    print(versions(), flush=True)
    found: list[Row] = []
    failed = False
    for name in arguments.models:
        try:
            for row in rows(name, arguments.targets.split(","), arguments.size, arguments):
                found.append(row)
                print(row, flush=True)
        except CompileError as error:  # one model's trouble does not take the other models' figures away
            failed = True
            print(f"{name:<12} not measured: {error} {error.why}", flush=True)
    if mean := geomean(found):
        print(mean)
    return 0 if all(row.kept for row in found) and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
