"""plumbline's artifact beside OpenVINO's own conversion of the exported program, on the small zoo.

    python tests/bench/openvino_direct.py [MODEL ...]

Both answer the same reference case. What is printed is how far an answer is from the float64 run, in units of
PyTorch's own distance from it, and how far the two are from each other.
"""

from __future__ import annotations

import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch

import backends
import compiler
from compiler.cases import Case
from compiler.contracts import Array, Arrays
from compiler.frontend.naming import nest
from compiler.validate import stored

ROOT = Path(__file__).resolve().parents[2]
TABLE: dict[str, Any] = runpy.run_path(str(ROOT / "models" / "table.py"))
F32 = {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}


def main(names: Sequence[str]) -> None:
    print("| model | plumbline | direct | apart |\n|---|---|---|---|")
    for name in names or TABLE["models"]():
        print(f"| {name} | {' | '.join(row(name))} |", flush=True)


def row(name: str) -> tuple[str, str, str]:
    reference = str(ROOT / TABLE["factory"](name, "small"))
    with tempfile.TemporaryDirectory(prefix="direct-") as place:
        result = compiler.compile(reference, target="openvino", output=place)
        read = stored.read(result.folder / "reference", _never)[0]
        with backends.load(result.folder) as session:
            ours = read.thin(session(read.case.inputs))
    try:
        answers = direct(reference, read.case.inputs)
    # TypeError: what it takes is no tensor, or goes by other names
    except (RuntimeError, TypeError, openvino.frontend.OpConversionFailure) as error:
        return distance(ours, read.case), f"not converted: {str(error).strip().splitlines()[-1][:90]}", ""
    theirs = read.thin(dict(zip(ours, answers, strict=True)))
    return distance(ours, read.case), distance(theirs, read.case), apart(ours, theirs)


def direct(reference: str, inputs: Arrays) -> list[Array]:
    """What one would write by hand, at the sizes of these inputs."""
    file, _, factory = reference.rpartition(":")
    model = runpy.run_path(file)[factory]()[0].eval()
    tensors = {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
    with torch.no_grad():
        nested = torch.utils._pytree.tree_map(tensors.__getitem__, nest(list(tensors)))
        exported = torch.export.export(model, (), kwargs=nested)
    compiled = openvino.Core().compile_model(openvino.convert_model(exported), "CPU", F32)
    return list(compiled(list(inputs.values())).values())


def distance(answers: Arrays, case: Case) -> str:
    """From the float64 run, for the worst output."""
    worst = 0.0
    for name, want in case.oracle.items():
        if answers[name].shape != want.shape:
            return f"{name} has the shape {answers[name].shape}"
        unit = _furthest(case.outputs[name], want) or float(np.spacing(np.float32(np.abs(want).max(initial=0))))
        worst = max(worst, _furthest(answers[name], want) / unit)
    return f"{worst:.2f}"


def apart(ours: Arrays, theirs: Arrays) -> str:
    if any(ours[name].shape != theirs[name].shape for name in ours):
        return "other shapes"
    return f"{max(_furthest(ours[name], theirs[name]) for name in ours):.1e}"


def _furthest(one: Array, other: Array) -> float:
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0))


def _never(sizes: Mapping[str, int], draw: int, kind: str) -> Arrays:
    raise AssertionError("the inputs of small models are stored")


if __name__ == "__main__":
    main(sys.argv[1:])
