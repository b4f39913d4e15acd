"""Captures torch's samples once for all targets: `python tests/operators/capture_samples.py`.

Below build/operators/samples/OPERATOR/NUMBER lies the graph as it comes out of the frontend, with PyTorch's answers
and those in float64; state.json beside the numbers tells of each sample what became of it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import warnings
from collections import Counter
from pathlib import Path

import outcome
from outcome import Outcome
from samples import Sample, Skipped, not_counted, operators, samples
from torch.onnx._internal.exporter._registration import ONNXRegistry
from workers import outcomes

from compiler import driver
from compiler.cases import Case
from compiler.contracts import Arrays
from compiler.errors import PlumblineError
from compiler.frontend.arrays import to_numpy
from compiler.frontend.open import open_program
from compiler.frontend.prepare import trace
from compiler.frontend.program import Request
from compiler.graph_files import GRAPH
from compiler.ir.store import save
from compiler.validate import stored

_BUILD = Path(__file__).resolve().parents[2] / "build" / "operators" / "samples"
HOME = Path(os.environ.get("OPERATOR_SAMPLES", _BUILD))
STATE = "state.json"
UNCAPTURED = Path(__file__).with_name("known") / "torch.uncaptured.json"
CAPTURED, SKIPPED, NOT_CAPTURED = "captured", "skipped", "not captured"


def capture(name: str, _: Path) -> Outcome:
    """All samples of one operator, onto the disk."""
    place = HOME / name
    shutil.rmtree(place, ignore_errors=True)
    states = []
    for number, sample in enumerate(samples(name)):
        states.append(_capture_one(sample, place / str(number)))
        _write(name, states)
    _write(name, states)
    return Outcome(outcome.PASSED)


def _capture_one(sample: Sample | Skipped, place: Path) -> tuple[str, str]:
    if isinstance(sample, Skipped):
        return SKIPPED, sample.why
    place.mkdir(parents=True)
    try:
        names = [f"tensors.{number}" for number in range(len(sample.tensors))]
        data: Arrays = dict(zip(names, map(to_numpy, sample.tensors), strict=True))
        program = open_program(Request(sample))
        plan = trace(program, (), data, seed=0, effort="quick")
        captured = driver.capture(program, plan)
        case = Case("", {}, data, program.run(data, precise=False), program.run(data, precise=True))
        save(captured.model, place / GRAPH, keep_provenance=False)
        stored.write([case], place)
    except PlumblineError as error:
        return NOT_CAPTURED, f"{error.code}: {' '.join((error.why or error.message).split())[:200]}"
    except Exception as error:  # noqa: BLE001 - one sample must not end the run
        return NOT_CAPTURED, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return CAPTURED, ""


def _write(name: str, states: list[tuple[str, str]]) -> None:
    (HOME / name).mkdir(parents=True, exist_ok=True)
    (HOME / name / STATE).write_text(json.dumps(states, indent=1) + "\n")


def _tell_uncaptured() -> None:
    """For the page of operator issues."""
    found = {
        f"{name}#{number}": " ".join(re.sub(r"\x1b\[\d*m", "", why).split())
        for name, entries in states().items()
        for number, (state, why) in enumerate(entries)
        if state == NOT_CAPTURED
    }
    UNCAPTURED.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def states() -> dict[str, list[tuple[str, str]]]:
    """What became of the samples of each operator that has been captured so far."""
    found = {file.parent.name: json.loads(file.read_text()) for file in sorted(HOME.glob(f"*/{STATE}"))}
    return {name: [(state, why) for state, why in entries] for name, entries in found.items()}


def read_translations_once() -> None:
    """torch's exporter reads all of its translations for every model, which takes longer than everything else."""
    read = ONNXRegistry.from_torchlib(opset_version=driver.HUB_OPSET)

    def copied(opset_version: int) -> ONNXRegistry:
        assert opset_version == read.opset_version
        registry = ONNXRegistry()
        registry._opset_version = opset_version
        registry.functions = {target: list(metas) for target, metas in read.functions.items()}
        return registry

    ONNXRegistry.from_torchlib = staticmethod(copied)  # type: ignore[method-assign, assignment]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--match", default="", help="only operators whose name holds this")
    parser.add_argument("--every", type=int, default=1, help="only each Nth operator")
    parser.add_argument("--only", help="only these operators, separated by commas")
    parser.add_argument("--again", action="store_true", help="also those that were captured before")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    read_translations_once()
    known = {} if arguments.again else states()
    counted = [name for name in operators() if not not_counted(name) and arguments.match in name]
    if arguments.only is not None:
        counted = arguments.only.split(",")
    names = [name for name in counted[:: arguments.every] if name not in known]
    for name, result in outcomes(names, capture, jobs=arguments.jobs, timeout=300):
        if not result.good:
            _write(name, [(NOT_CAPTURED, f"{result.kind}: {result.why}")])
    if HOME == _BUILD and {name for name in operators() if not not_counted(name)} <= states().keys():
        _tell_uncaptured()
    tally = Counter(state for entries in states().values() for state, _ in entries)
    reasons = Counter(not_counted(name) for name in operators() if not_counted(name))
    sys.stdout.write(f"{len(states())} operators, samples: {dict(tally)}; not counted: {dict(reasons)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
