"""How long the axes of the tensors in a graph can be.

Every named dim is put at its lower end and at its upper end, and the sizes inside follow: sizes grow with those that
they are made of. Where shape inference does not get through with numbers, the expressions in named dims that stand on
the values do: a size that is known under the name "64*s - 1" says what s is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx_ir as ir

from compiler.contracts import Dim
from compiler.quiet import quiet

UNKNOWN = 2**31 - 1  # a size that nothing is known of: no runtime has longer axes

Sizes = dict[str, list[int | None]]  # of each value's axes


class Extents:
    def __init__(self, model: ir.Model, dims: Mapping[str, Dim]) -> None:
        self._model = model
        self._dims = dims
        self._ends: list[_End] | None = None

    def of(self, value: ir.Value, axis: int) -> tuple[int, int]:
        """The smallest and the largest size of an axis."""
        sizes = self.all_of(value)
        return sizes[axis] if sizes is not None and -len(sizes) <= axis < len(sizes) else (0, UNKNOWN)

    def all_of(self, value: ir.Value) -> list[tuple[int, int]] | None:
        if value.shape is None:
            return None
        return [self._extent(value, axis, dim) for axis, dim in enumerate(value.shape)]

    def _extent(self, value: ir.Value, axis: int, dim: int | ir.SymbolicDim) -> tuple[int, int]:
        if isinstance(dim, int):
            return dim, dim
        if dim.value is not None and dim.value in self._dims:
            return self._dims[dim.value].lo, self._dims[dim.value].hi
        found = [end.size(value, axis, dim) for end in self._at_both_ends()]
        known = [size for size in found if size is not None]
        return (min(known), max(known)) if len(known) == len(found) else (0, UNKNOWN)

    def _at_both_ends(self) -> list[_End]:
        """Only when it is asked for: few models need to know sizes that no name says."""
        if self._ends is None:
            lower = {name: dim.lo for name, dim in self._dims.items()}
            upper = {name: dim.hi for name, dim in self._dims.items()}
            self._ends = [_End(self._model, sizes) for sizes in (lower, upper)]
        return self._ends


class _End:
    """The model with a number for each named dim."""

    def __init__(self, model: ir.Model, sizes: Mapping[str, int]) -> None:
        self._inferred = _inferred(model, sizes)
        self._symbols = dict(sizes)
        for value in _values(model):
            for size, dim in zip(self._inferred.get(value.name or "", ()), value.shape or (), strict=False):
                if size is not None and not isinstance(dim, int):
                    self._learn(dim, size)

    def _learn(self, dim: ir.SymbolicDim, size: int) -> None:
        """What the one unknown symbol of a linear expression is, by the expression's value."""
        unknown = [name for name in dim.free_symbols() if name not in self._symbols]
        if len(unknown) != 1:
            return
        (name,) = unknown
        base, next_one = (_value(dim, {**self._symbols, name: number}) for number in (0, 1))
        if base is None or next_one is None or base == next_one or (size - base) % (next_one - base):
            return
        number = (size - base) // (next_one - base)
        if _value(dim, {**self._symbols, name: number}) == size:
            self._symbols[name] = number

    def size(self, value: ir.Value, axis: int, dim: ir.SymbolicDim) -> int | None:
        sizes = self._inferred.get(value.name or "", [])
        if axis < len(sizes) and sizes[axis] is not None:
            return sizes[axis]
        return _value(dim, self._symbols)


def _value(dim: ir.SymbolicDim, symbols: Mapping[str, int]) -> int | None:
    names = dim.free_symbols()
    if dim.value is None or not all(name in symbols for name in names):
        return None
    found = dim.evaluate({name: symbols[name] for name in names})
    return found if isinstance(found, int) else None


def _inferred(model: ir.Model, sizes: Mapping[str, int]) -> Sizes:
    from onnx_ir.passes.common import ShapeInferencePass

    copy = model.clone()
    for value in _values(copy):
        if not value.is_graph_input():
            value.shape = None  # or the inference would keep to the names that stand there
        elif value.shape is not None:
            dims = [dim if isinstance(dim, int) else sizes.get(dim.value or "") for dim in value.shape]
            value.shape = ir.Shape(dims)
    with quiet():
        ShapeInferencePass()(copy)
    return {value.name: _known(value.shape) for value in _values(copy) if value.name and value.shape is not None}


def _known(shape: ir.Shape) -> list[int | None]:
    return [dim if isinstance(dim, int) else None for dim in shape]


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for graph in model.graphs():
        yield from graph.inputs
        for node in graph:
            yield from node.outputs
