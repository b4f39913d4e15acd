"""Whole numbers, as OpenVINO's CPU computes them: int64 in int32, most operators in float32, small types without
wrapping around. A graph is taken where the ranges of its values show that nobody can tell the difference.

How large the integers of a caller may be for that is found here and remembered in the artifact; the session holds
callers to it. A float that becomes an integer and may be anything is watched by an output of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from compiler.contracts import Dim
from compiler.errors import CompileError
from compiler.ir.extents import Extents
from compiler.ir.provenance import describe
from compiler.ir.ranges import Range, Ranges, type_range

INT32 = 2**31 - 1
_FLOAT32 = 2**24  # up to here float32 has every integer

# Tried one by one: these are right over all of int32, and wrap around like it. All others compute in float32.
_WHOLE = frozenset({
    "Abs", "Add", "ArgMax", "ArgMin", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast", "CastLike",
    "Concat", "Constant", "ConstantOfShape", "CumSum", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather",
    "GatherElements", "GatherND", "Identity", "If", "Loop", "Max", "Min", "Mul", "Neg", "NonZero", "OneHot", "Pad",
    "Range", "Reshape", "Scan", "ScatterElements", "ScatterND", "Shape", "Sign", "Size", "Slice", "SpaceToDepth",
    "Split", "Squeeze", "Sub", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Where",
})  # fmt: skip
_WIDE = frozenset({ir.DataType.INT64, ir.DataType.UINT64, ir.DataType.UINT32})
_NARROW = frozenset({ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16})
_ENDS = {"Slice": (1, 2)}  # inputs where anything beyond the size means the same

_SMALLEST, _LARGEST = 7, 31  # powers of two between which the bound is looked for


@dataclass(frozen=True)
class Integers:
    """Up to which magnitude a caller's integers are computed right, and the floats that must not be larger either."""

    largest: int
    watched: tuple[ir.Value, ...] = ()


def bound(model: ir.Model, dims: Mapping[str, Dim], target: str) -> Integers | None:
    """None where there is nothing to hold anybody to. Raises CompileError where no bound would do."""
    search = _Search(model, dims)
    smallest = 2**_SMALLEST
    guarded = bool(search.problems(smallest, guarded=False))
    if guarded and (problems := search.problems(smallest, guarded=True)):
        raise _error(problems, target)
    right, wrong = _SMALLEST, _LARGEST + 1
    while wrong - right > 1:
        middle = (right + wrong) // 2
        fits = not search.problems(min(2**middle, INT32), guarded)
        right, wrong = (middle, wrong) if fits else (right, middle)
    largest = min(2**right, INT32)
    watched = search.watched(largest) if guarded else {}
    if not watched and not any(is_held(value.dtype, largest) for value in model.graph.inputs):
        return None
    return Integers(largest, tuple(dict.fromkeys(watched.values())))


def is_held(dtype: ir.DataType | None, largest: int) -> bool:
    """Whether a type can hold more than the bound."""
    return dtype is not None and dtype.is_integer() and not type_range(dtype).within(-largest - 1, largest)


@dataclass(frozen=True)
class _Problem:
    node: ir.Node | None
    value: ir.Value
    found: Range
    why: str


class _Search:
    def __init__(self, model: ir.Model, dims: Mapping[str, Dim]) -> None:
        self._model = model
        self._dims = dims
        self._extents = Extents(model, dims)
        self._nodes = list(ir.traversal.RecursiveGraphIterator(model.graph))

    def problems(self, largest: int, guarded: bool) -> list[_Problem]:
        limit = Range.of(-largest, largest)
        assumed = dict.fromkeys(self.watched(largest), limit) if guarded else {}
        ranges = self._ranges(largest, assumed)
        return [problem for node in self._nodes for problem in _problems(node, ranges)] + _outputs(self._model, ranges)

    def watched(self, largest: int) -> dict[ir.Value, ir.Value]:
        """Integers of the main graph that come from floats which nothing bounds, and those floats."""
        ranges = self._ranges(largest, {})
        found = {}
        for node in self._model.graph:
            source = node.inputs[0] if node.op_type in ("Cast", "CastLike") and node.domain == "" else None
            if source is None or source.dtype is None or not source.dtype.is_floating_point():
                continue
            value = node.outputs[0]
            if is_held(value.dtype, largest) and not ranges.of(value).within(-largest, largest):
                found[value] = source
        return found

    def _ranges(self, largest: int, assumed: Mapping[ir.Value, Range]) -> Ranges:
        inputs = {value.name or "": _input(value, largest) for value in self._model.graph.inputs}
        return Ranges(self._model, self._dims, inputs, assumed, self._extents)


def _input(value: ir.Value, largest: int) -> Range:
    limits = type_range(value.dtype)
    if not is_held(value.dtype, largest):
        return limits
    return Range.of(max(-largest, limits.least), min(largest, limits.most))


def _problems(node: ir.Node, ranges: Ranges) -> Iterator[_Problem]:
    if node.op_type == "Constant":
        return  # what counts is who takes it
    whole = node.domain == "" and node.op_type in _WHOLE
    for place, value in enumerate(node.inputs):
        if value is not None and _is_integer(value) and place not in _ENDS.get(node.op_type, ()):
            found = ranges.held(value)
            if value.dtype in _WIDE and not found.within(-INT32 - 1, INT32):
                yield _Problem(node, value, found, f"OpenVINO's CPU holds {_word(value)} in int32")
            elif not whole and not found.within(-_FLOAT32, _FLOAT32):
                yield _Problem(node, value, found, f"OpenVINO's CPU computes {node.op_type} in float32")
    for value in node.outputs:
        if _is_integer(value):
            found = ranges.of(value)
            if value.dtype in _WIDE and not found.within(-INT32 - 1 if value.dtype.is_signed() else 0, INT32):
                yield _Problem(node, value, found, f"OpenVINO's CPU holds {_word(value)} in int32")
            elif not whole and not ranges.held(value).within(-_FLOAT32, _FLOAT32):
                yield _Problem(node, value, found, f"OpenVINO's CPU computes {node.op_type} in float32")
            elif value.dtype in _NARROW and node.op_type not in ("Cast", "CastLike") and _overflows(value, found):
                yield _Problem(node, value, found, f"OpenVINO's CPU does not let {_word(value)} wrap around")


def _outputs(model: ir.Model, ranges: Ranges) -> list[_Problem]:
    """Numbers that no operator touches are stored in int32 all the same."""
    kept = [value for value in model.graph.outputs if value.dtype in _WIDE and value.producer() is None]
    return [
        _Problem(None, value, ranges.held(value), f"OpenVINO's CPU holds {_word(value)} in int32")
        for value in kept
        if not ranges.held(value).within(-INT32 - 1, INT32)
    ]


def _overflows(value: ir.Value, found: Range) -> bool:
    limits = type_range(value.dtype)
    return not found.within(limits.least, limits.most)


def _is_integer(value: ir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_integer() and value.dtype is not ir.DataType.BOOL


def _word(value: ir.Value) -> str:
    assert value.dtype is not None
    return value.dtype.name.lower()


def _error(problems: list[_Problem], target: str) -> CompileError:
    """The first is where it begins; the others mostly follow from it."""
    first = problems[0]
    return CompileError(
        "unsupported-op",
        f"{target} cannot build this model",
        where=describe(first.node) if first.node is not None else f"'{first.value.name}'",
        why=f"'{first.value.name}' may be {first.found}, and {first.why}",
        hint="keep these numbers smaller, or compute them in float32; another --target has all of int64",
    )
