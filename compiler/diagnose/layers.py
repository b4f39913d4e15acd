"""Where precision is lost: how far off the values in the midst of a graph are, from the first layer to the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from compiler.cases import Case
from compiler.contracts import Array, Arrays
from compiler.diagnose.cut import piece
from compiler.diagnose.runtime import Runtime
from compiler.diagnose.values import made
from compiler.ir.evaluate import Evaluator
from compiler.ir.provenance import provenance

MOST = 48  # places: what a picture can show, and few enough for a runtime to fuse between them
THE_GRAPH = "the graph itself"
_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


@dataclass(frozen=True)
class Place:
    """What a layer gives: the value's name in the graph, and where it comes from."""

    value: str
    module: str
    operator: str
    line: str


def layers(model: ir.Model, case: Case, target: str, runtime: Runtime) -> dict[str, Any]:
    """The relative error at each place, of the graph in its own precision and of the target."""
    found = places(model)
    names = [place.value for place in found]
    wanted = piece(model, model.graph, names, case.inputs)
    inputs = {value.name: case.inputs[value.name] for value in wanted.graph.inputs if value.name}
    precise, plain = (Evaluator(wanted, precise=raised)(inputs) for raised in (True, False))
    errors = {THE_GRAPH: _errors(names, plain, precise)}
    told = f"At {len(found)} places of {len(made(model.graph))}, on {case.name}. "
    outputs = [value.name for value in model.graph.outputs if value.name]
    answer = runtime(piece(model, model.graph, {*names, *outputs}, {**inputs, **plain}), inputs)
    if answer is None:
        told += f"{target} does not take the graph with these values as outputs."
    else:
        errors[target] = _errors(names, answer, precise)
        told += f"{target} built the graph once more, with these values as outputs: it could fuse nothing across them."
    return {"told": told, "case": case.name, "places": [asdict(place) for place in found], "errors": errors}


def places(model: ir.Model, most: int = MOST) -> list[Place]:
    """What each module gives last, as far down into the modules as there is room; without modules at even distances."""
    values = [value for value in made(model.graph) if value.dtype in _FLOATS]
    paths = [_path(value) for value in values]
    chosen = list(range(len(values)))
    for depth in range(max(map(len, paths), default=0), 0, -1):
        last = {path[:depth]: place for place, path in enumerate(paths)}
        if len(last) <= most:
            chosen = sorted(last.values())
            break
    else:
        if len(chosen) > most:
            chosen = np.linspace(0, len(values) - 1, most).round().astype(int).tolist()
    return [_place(values[place]) for place in chosen]


def _path(value: ir.Value) -> tuple[str, ...]:
    node = value.producer()
    origin = provenance(node) if node is not None else None
    return tuple(origin.module.split(".")) if origin is not None and origin.module else ()


def _place(value: ir.Value) -> Place:
    node = value.producer()
    assert node is not None
    origin = provenance(node)
    line = f"{origin.file}:{origin.line}" if origin is not None and origin.path else ""
    return Place(value.name or "", origin.module if origin is not None else "", node.op_type, line)


def _errors(names: Sequence[str], have: Arrays, want: Arrays) -> list[float]:
    return [_error(have[name], want[name]) for name in names]


def _error(have: Array, want: Array) -> float:
    """Of all elements together, as a share of their size; those without a number on either side are left out."""
    here, there = have.astype(np.float64), want.astype(np.float64)
    finite = np.isfinite(here) & np.isfinite(there)
    off = np.square(here[finite] - there[finite]).sum()
    size = np.square(there[finite]).sum()
    return float(np.sqrt(off / size)) if size else float(np.sqrt(off))
