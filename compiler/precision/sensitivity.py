"""What the lowering of one layer alone costs the model's outputs.

With the graph in lower precision beside the one it was made from: each layer is given what it gets in float32, and
what it then gives is put into the float32 graph, one layer at a time. That is one run for each layer and sample.
Errors of several layers are taken to be independent: their squares add up.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array, Arrays
from compiler.ir.evaluate import Evaluator
from compiler.ir.provenance import provenance
from compiler.precision.apply import Lowered
from compiler.precision.candidates import candidates
from compiler.precision.recipe import Name, Samples

FEW = 4  # rows of samples: the order of the layers hardly depends on more
MOST = 64  # runs for each sample; more layers than that are measured in groups of neighbours


@dataclass(frozen=True)
class Unit:
    """A layer, or neighbours that were measured together."""

    layers: tuple[str, ...]  # names of nodes
    modules: tuple[str, ...]  # of the user's model, that they come from, as far as it is known
    error: float  # of the outputs, squared, relative to their squares
    work: int  # multiplications in a call
    weights: int
    measured: bool = True  # or told from what the lowering changes in the layer itself


def sensitivities(
    before: ir.Model,
    lowered: Lowered,
    samples: Samples,
    *,
    high: Name = "float32",
    enough: Callable[[], bool] = lambda: False,
) -> list[Unit]:
    """Of every layer below `high`, in the order of the graph. `enough` says when no more may be measured."""
    results = {node.name: str(node.outputs[0].name) for node in before.graph}
    names = [
        layer.name
        for layer in lowered.layers
        if not layer.precision.startswith(("float32", high)) and layer.name in results
    ]
    runs = [_Run(before, lowered.graph, [results[name] for name in names], one) for one in _few(samples)]
    if not names or not runs:
        return []
    size = math.ceil(len(names) / MOST)
    units = [_unit(names[start : start + size], before, lowered, runs[0]) for start in range(0, len(names), size)]
    places = [[results[name] for name in unit.layers] for unit in units]
    own = [_mean(run.own(place) for run in runs) for place in places]
    errors: dict[int, float] = {}
    for at in sorted(range(len(units)), key=lambda at: -own[at]):
        if enough():
            break
        errors[at] = _mean(run.error(places[at]) for run in runs)
    known = [errors[at] / own[at] for at in errors if own[at] > 0 and math.isfinite(errors[at])]
    gain = statistics.median(known) if known else 1.0
    return [
        replace(unit, error=errors[at]) if at in errors else replace(unit, error=gain * own[at], measured=False)
        for at, unit in enumerate(units)
    ]


def _few(samples: Samples) -> Iterator[Arrays]:
    rows = 0
    for sample in samples:
        yield sample
        rows += max((len(array) for array in sample.values() if array.ndim), default=1)
        if rows >= FEW:
            return


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def _unit(names: Sequence[str], before: ir.Model, lowered: Lowered, run: _Run) -> Unit:
    counts = {layer.name: layer.weights for layer in lowered.layers}
    sums = {
        str(one.node.name): one.array.size // one.array.shape[one.channel]
        for one in candidates(before)
        if one.node.name in names
    }
    nodes = {str(node.name): node for node in before.graph}
    work = sum(run.sizes[str(nodes[name].outputs[0].name)] * sums.get(name, 1) for name in names)
    origins = [provenance(nodes[name]) for name in names]
    modules = tuple(dict.fromkeys(origin.module for origin in origins if origin is not None and origin.module))
    return Unit(tuple(names), modules, 0.0, work, sum(counts[name] for name in names))


class _Run:
    """One sample: what it gives in float32, and what each layer's lowering changes in its own result."""

    def __init__(self, before: ir.Model, after: ir.Model, places: Sequence[str], inputs: Arrays) -> None:
        self._inputs = inputs
        self._off = _Off()
        self._evaluator = Evaluator(before, precise=False, look=self._off)
        exact = _Exact(places)
        self._wanted = Evaluator(before, precise=False, look=exact)(inputs)
        self.sizes = {name: array.size for name, array in exact.found.items()}
        self._squares = {name: _square(array) for name, array in exact.found.items()}
        apart = _Apart(exact.found)
        Evaluator(after, precise=False, look=apart)(inputs)
        self._changes = apart.changes

    def own(self, places: Iterable[str]) -> float:
        """The largest change of these, relative to the result itself."""
        return max(_part(_square(self._changes[name]), self._squares[name]) for name in places)

    def error(self, places: Iterable[str]) -> float:
        """Of the outputs, when these are changed and nothing else."""
        self._off.changes = {name: self._changes[name] for name in places}
        return relative_error(self._evaluator(self._inputs), self._wanted)


def relative_error(got: Arrays, wanted: Arrays) -> float:
    """Of the float outputs on average: the square of the difference, relative to the square of what it should be."""
    floats = [name for name, array in wanted.items() if array.dtype.kind == "f"]
    with np.errstate(over="ignore", invalid="ignore"):
        parts = [
            _part(_square(got[name].astype(np.float64) - wanted[name].astype(np.float64)), _square(wanted[name]))
            for name in floats
        ]
    found = statistics.fmean(parts) if parts else 0.0
    return found if not math.isnan(found) else math.inf


def _square(array: Array) -> float:
    return float(np.sum(np.square(array, dtype=np.float64)))


def _part(square: float, whole: float) -> float:
    return square / whole if whole else 0.0 if not square else math.inf


class _Look:
    """Sees every operator."""

    class _All:
        def __contains__(self, name: object) -> bool:
            return True

    operators = _All()

    def __call__(self, node: ir.Node, inputs: Sequence[Any], results: Sequence[Any]) -> Sequence[Any]:
        return [self.seen(str(node.outputs[0].name), results[0]), *results[1:]]

    def seen(self, name: str, result: Any) -> Any:
        raise NotImplementedError


class _Exact(_Look):
    def __init__(self, places: Iterable[str]) -> None:
        self._places = frozenset(places)
        self.found: dict[str, Array] = {}

    def seen(self, name: str, result: Any) -> Any:
        if name in self._places:
            self.found[name] = np.array(result)
        return result


class _Apart(_Look):
    """Hands on what each layer gives in float32, so that no layer knows of the others' errors."""

    def __init__(self, exact: Mapping[str, Array]) -> None:
        self._exact = exact
        self.changes: dict[str, Array] = {}

    def seen(self, name: str, result: Any) -> Any:
        exact = self._exact.get(name)
        if exact is None:
            return result
        self.changes[name] = np.asarray(result, np.float32) - exact
        return exact.astype(result.dtype)


class _Off(_Look):
    def __init__(self) -> None:
        self.changes: Mapping[str, Array] = {}

    def seen(self, name: str, result: Any) -> Any:
        change = self.changes.get(name)
        return result if change is None else result + change
