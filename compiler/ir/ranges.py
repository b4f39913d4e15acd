"""What numbers can be in a graph: an interval for every value, from those of its inputs.

The intervals are of the mathematical results, as if no type had an end; a user sees from them where a type would
overflow. Floats are taken at their finite values: what a NaN or an infinity becomes as an integer, ONNX leaves open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array, Dim
from compiler.ir.extents import UNKNOWN, Extents
from compiler.ir.subgraphs import subgraphs_of

SMALL = 256  # elements; of tensors up to here each element has an interval of its own
LARGEST_FLOAT = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Range:
    """Bounds that broadcast to the shape of the tensor; without axes, they hold for every element."""

    low: Array
    high: Array

    @staticmethod
    def of(low: float, high: float) -> Range:
        return Range(np.array(low, np.float64), np.array(high, np.float64))

    @staticmethod
    def constant(array: Array) -> Range:
        """The finite numbers of a tensor, one by one when there are few."""
        if array.size == 0:
            return Range.of(0, 0)
        if array.size <= SMALL:
            exact = np.nan_to_num(array.astype(np.float64), nan=0, posinf=LARGEST_FLOAT, neginf=-LARGEST_FLOAT)
            return Range(exact, exact)
        numbers = array[np.isfinite(array)] if array.dtype.kind == "f" else array
        return Range.of(float(numbers.min()), float(numbers.max())) if numbers.size else Range.of(0, 0)

    @property
    def least(self) -> float:
        return float(np.min(self.low))

    @property
    def most(self) -> float:
        return float(np.max(self.high))

    @property
    def known(self) -> Array | None:
        """The numbers themselves, where the bounds leave only one."""
        return self.low if np.array_equal(self.low, self.high) else None

    def is_each_of(self, value: ir.Value | None) -> bool:
        """Whether there is one interval for each element, in the tensor's own shape."""
        return value is not None and value.shape is not None and self.low.shape == tuple(value.shape)

    def whole(self) -> Range:
        return Range.of(self.least, self.most)

    def within(self, low: float, high: float) -> bool:
        return low <= self.least and self.most <= high

    def __str__(self) -> str:
        return f"{_number(self.least)} to {_number(self.most)}"


def _number(value: float) -> str:
    return str(int(value)) if abs(value) < 1e6 else f"{value:.3g}"


def bounded(low: Array, high: Array) -> Range:
    """Finite bounds, and of one interval only where there would be many."""
    low, high = (np.clip(np.nan_to_num(side, nan=0.0), -LARGEST_FLOAT, LARGEST_FLOAT) for side in (low, high))
    made = Range(np.asarray(low, np.float64), np.asarray(high, np.float64))
    return made.whole() if made.low.size > SMALL else made


def hull(ranges: Sequence[Range]) -> Range:
    return Range.of(min(one.least for one in ranges), max(one.most for one in ranges))


def summed(count: float, each: Range) -> Range:
    """A sum of up to so many numbers, which may be of none."""
    return Range.of(min(0.0, each.least, count * each.least), max(0.0, each.most, count * each.most))


def is_whole(value: ir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_integer()


def type_range(dtype: ir.DataType | None) -> Range:
    """Everything that an element type holds, of the finite."""
    if dtype is ir.DataType.BOOL:
        return Range.of(0, 1)
    if dtype is None or not dtype.is_integer():
        return Range.of(-LARGEST_FLOAT, LARGEST_FLOAT)
    if dtype.is_signed():
        return Range.of(-(2.0 ** (dtype.bitwidth - 1)), 2.0 ** (dtype.bitwidth - 1) - 1)
    return Range.of(0, 2.0**dtype.bitwidth - 1)


Rule = Callable[["Ranges", ir.Node, list[Range]], Range | Sequence[Range]]


class Ranges:
    """An analysed model.

    `inputs` narrows what inputs hold, `assumed` what single values hold whatever their producers say; all else may be
    anything that its type holds.
    """

    def __init__(
        self,
        model: ir.Model,
        dims: Mapping[str, Dim],
        inputs: Mapping[str, Range] | None = None,
        assumed: Mapping[ir.Value, Range] | None = None,
        extents: Extents | None = None,
    ) -> None:
        self._found: dict[ir.Value, Range] = {}
        self._assumed = assumed or {}
        self._extents = extents or Extents(model, dims)
        for value in model.graph.inputs:
            self._found[value] = (inputs or {}).get(value.name or "", type_range(value.dtype))
        self._learn_graph(model.graph)

    def of(self, value: ir.Value) -> Range:
        """The bounds of what a value would be without an end to its type."""
        found = self._found.get(value)
        return found if found is not None else type_range(value.dtype)

    def held(self, value: ir.Value) -> Range:
        """The bounds of what it is: what does not fit wraps around, and may be anything."""
        exact, limits = self.of(value), type_range(value.dtype)
        return exact if exact.within(limits.least, limits.most) else limits

    def extent(self, value: ir.Value, axis: int) -> tuple[int, int]:
        """The smallest and the largest size of an axis."""
        return self._extents.of(value, axis)

    def extents(self, value: ir.Value) -> list[tuple[int, int]] | None:
        return self._extents.all_of(value)

    def count(self, value: ir.Value, axes: Sequence[int] | None = None) -> float:
        """How many elements there are at most, along these axes."""
        sizes = self._extents.all_of(value)
        if sizes is None:
            return UNKNOWN
        return float(np.prod([size[1] for place, size in enumerate(sizes) if axes is None or place in axes]))

    # -- graphs -------------------------------------------------------------------------------------------------

    def _learn_graph(self, graph: ir.Graph) -> list[Range]:
        for value in graph.initializers.values():
            if value not in self._found or not value.is_graph_input():
                self._found[value] = _constant(value)
        for node in graph:
            self._learn(node)
        return [self.held(value) for value in graph.outputs]

    def _learn(self, node: ir.Node) -> None:
        for value, found in zip(node.outputs, self._results(node), strict=False):
            self._found[value] = self._assumed.get(value, found)

    def _results(self, node: ir.Node) -> Sequence[Range]:
        # Here, because the rules are written in terms of this module.
        from compiler.ir import range_arithmetic, range_places

        if node.domain != "":
            return []
        if node.op_type == "If":
            return self._branches(node)
        if node.op_type in ("Loop", "Scan"):
            return self._repeated(node)
        rule: Rule | None = range_arithmetic.RULES.get(node.op_type) or range_places.RULES.get(node.op_type)
        if rule is None or any(subgraphs_of(node)):
            return []
        given = [self.held(value) if value is not None else _ABSENT for value in node.inputs]
        result = rule(self, node, given)
        return [result] if isinstance(result, Range) else result

    def _branches(self, node: ir.Node) -> list[Range]:
        branches = [self._learn_graph(graph) for graph in subgraphs_of(node)]
        return [hull(results) for results in zip(*branches, strict=True)]

    def _repeated(self, node: ir.Node) -> list[Range]:
        """A loop's state settles at once, after one step, or may be anything; rows are what any iteration makes."""
        (body,) = subgraphs_of(node)
        given = [self.held(value).whole() if value is not None else _ABSENT for value in node.inputs]
        if node.op_type == "Loop":
            steps = Range.of(0, max(given[0].most - 1, 0) if node.inputs[0] is not None else UNKNOWN)
            lead, state, rows = [steps, Range.of(0, 1)], given[2:], []
        else:
            scanned = node.attributes["num_scan_inputs"].as_int()
            lead, state, rows = [], given[: len(given) - scanned], given[len(given) - scanned :]
        inner = body.inputs[len(lead) : len(lead) + len(state)]
        anything = [type_range(value.dtype) for value in inner]
        for attempt in range(3):
            self._found.update(zip(body.inputs, [*lead, *state, *rows], strict=False))
            results = self._learn_graph(body)[1 if node.op_type == "Loop" else 0 :]
            grown = [hull(pair) for pair in zip(state, results, strict=False)]
            if all(new.within(old.least, old.most) for new, old in zip(grown, state, strict=True)):
                break
            state = grown if attempt == 0 else anything
        return [*state, *results[len(state) :]]


_ABSENT = Range.of(0, 0)


def _constant(value: ir.Value) -> Range:
    tensor = value.const_value
    # Large weights are not read for this: they lie in a mapped file.
    if tensor is None or (tensor.dtype.is_floating_point() and tensor.size > SMALL):
        return type_range(value.dtype)
    if tensor.dtype is ir.DataType.STRING:
        return type_range(None)
    return Range.constant(tensor.numpy())
