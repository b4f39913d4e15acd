"""Which masks leave every row a key: those whose elements are all above -inf, as windows and relative positions are.

What is known of a mask comes from the constants that it is made of; they need not have been folded into one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import onnx_ir as ir

from compiler.passes.rewriting import constant, is_op

# Whose elements are all elements of the first input.
_MOVING = frozenset({
    "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Reshape", "Slice", "Squeeze", "Tile",
    "Transpose", "Unsqueeze",
})  # fmt: skip
_DEEPEST = 64


Interval = tuple[float, float]
_ANYTHING = (-math.inf, math.inf)
_ARITHMETIC: dict[str, Callable[[Interval, Interval], Iterable[float]]] = {
    "Add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "Sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "Mul": lambda a, b: [one * other for one in a for other in b],
}


def leaves_keys_everywhere(mask: ir.Value) -> bool:
    if mask.dtype is ir.DataType.BOOL:
        held = constant(mask)
        return held is not None and bool(held.any(axis=-1).all())
    return _bounds(mask, {}, 0)[0] > -math.inf


def _bounds(value: ir.Value | None, known: dict[ir.Value, Interval], depth: int) -> Interval:
    """What all elements lie between; infinite where that is not known."""
    if value is None or depth > _DEEPEST:
        return _ANYTHING
    if value not in known:
        known[value] = _found(value, known, depth + 1)
    return known[value]


def _found(value: ir.Value, known: dict[ir.Value, Interval], depth: int) -> Interval:
    held, node = constant(value), value.producer()
    if held is not None:
        return _hull([held.min(), held.max()] if held.size else [0])
    if node is None or value.dtype is None:
        return _ANYTHING
    if is_op(node, *_MOVING):
        return _bounds(node.inputs[0], known, depth)
    parts = [_bounds(part, known, depth) for part in node.inputs[1 if is_op(node, "Where") else 0 :]]
    if is_op(node, "Where", "Concat"):
        return _hull([end for part in parts for end in part])
    if is_op(node, *_ARITHMETIC):
        with np.errstate(over="ignore"):  # rounded as the result itself will be
            return _hull([value.dtype.numpy().type(end) for end in _ARITHMETIC[node.op_type](*parts)])
    return _ANYTHING


def _hull(numbers: Iterable[float]) -> Interval:
    ends = [float(number) for number in numbers]
    return _ANYTHING if any(map(math.isnan, ends)) else (min(ends), max(ends))
