"""Small integer tensors whose elements are known while compiling, as numpy arrays of extents.

Exporters compute shapes with ordinary nodes: Shape, Gather, Concat, Mul. Their values are followed here symbolically,
so that a Reshape sees [batch, seq, 64] and not a tensor that only exists at run time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import tirx

from backends.tvm.emit.extents import Extent, expression, product, same, settled

if TYPE_CHECKING:
    from backends.tvm.emit.op import Op

Known = np.ndarray[Any, np.dtype[Any]]  # of dtype object: each element is an Extent

LARGEST = 128  # elements; longer tensors are data, not shapes


def known(values: Any) -> Known:
    """An object array, also of a single expression (which numpy would take apart)."""
    if isinstance(values, list | tuple):
        array = np.empty(len(values), object)
        for place, value in enumerate(values):
            array[place] = value
        return array
    array = np.empty((), object)
    array[()] = values
    return array


def evaluate(op: Op) -> Known | None:
    """The output of a node as extents, where its inputs are known and it is one of the operators of shape
    arithmetic."""
    rule = _RULES.get(op.type)
    if rule is None or len(op.node.outputs) != 1:
        return None
    result = rule(op)
    if result is None or result.size > LARGEST:
        return None
    analyzer = op.analyzer
    settle = np.frompyfunc(lambda extent: extent if isinstance(extent, bool) else settled(extent, analyzer), 1, 1)
    return np.asarray(settle(result), object).reshape(result.shape) if result.size else result


def _shape(op: Op) -> Known | None:
    shape = op.extents(0)
    if shape is None:
        return None
    return known(shape[slice(op.attr("start", 0), op.attr("end", None))])


def _size(op: Op) -> Known | None:
    shape = op.extents(0)
    return None if shape is None else known(product(shape))


def _same(op: Op) -> Known | None:
    return op.known(0)


def _cast(op: Op) -> Known | None:
    return op.known(0) if op.output_dtype().startswith(("int", "uint")) else None


def _gather(op: Op) -> Known | None:
    data, indices = op.known(0), op.constant(1)
    if data is None or indices is None or data.ndim == 0:
        return None
    axis = op.attr("axis", 0)
    if not np.all((indices >= -data.shape[axis]) & (indices < data.shape[axis])):
        return None
    return _array(np.take(data, indices, axis=axis))


def _concat(op: Op) -> Known | None:
    parts = [op.known(place) for place in range(len(op.node.inputs))]
    if any(part is None for part in parts):
        return None
    return np.concatenate([part for part in parts if part is not None], axis=op.attr("axis", 0))


def _unsqueeze(op: Op) -> Known | None:
    data = op.known(0)
    return None if data is None else np.expand_dims(data, tuple(op.integers("axes", 1) or ()))


def _squeeze(op: Op) -> Known | None:
    data = op.known(0)
    if data is None:
        return None
    axes = op.integers("axes", 1)
    return _array(np.squeeze(data, None if axes is None else tuple(axes)))


def _reshape(op: Op) -> Known | None:
    data, shape = op.known(0), op.constant(1)
    if data is None or shape is None or 0 in shape:
        return None
    return data.reshape(tuple(int(size) for size in shape))


def _slice(op: Op) -> Known | None:
    data = op.known(0)
    if data is None or any(op.has(place) and op.constant(place) is None for place in range(1, 5)):
        return None
    starts, ends = op.integers("starts", 1) or [], op.integers("ends", 2) or []
    axes, steps = op.integers("axes", 3), op.integers("steps", 4)
    where = [slice(None)] * data.ndim
    for axis, start, end, step in zip(
        axes if axes is not None else range(len(starts)),
        starts,
        ends,
        steps if steps is not None else [1] * len(starts),
        strict=False,
    ):
        # An end of -2**63 with a negative step means "to the very first"; slice() says that with None.
        size = data.shape[axis]
        stop = None if step < 0 and end < -size else end
        where[axis] = slice(start, stop, step)
    return data[tuple(where)]


def _range(op: Op) -> Known | None:
    bounds = [op.constant(place) for place in range(3)]
    if any(bound is None for bound in bounds):
        return None
    values = np.arange(*(bound.item() for bound in bounds if bound is not None))
    return known([int(value) for value in values]) if values.dtype.kind in "iu" else None


def _filled(op: Op) -> Known | None:
    shape, value = op.constant(0), op.attr("value", None)
    if shape is None or value is None or value.dtype.kind not in "iu" or np.prod(shape) > LARGEST:
        return None
    return np.full(tuple(int(size) for size in shape), int(value.item()), object)


def _expand(op: Op) -> Known | None:
    data, shape = op.known(0), op.constant(1)
    if data is None or shape is None:
        return None
    wanted = np.broadcast_shapes(data.shape, tuple(int(size) for size in shape))
    return np.array(np.broadcast_to(data, wanted), object) if np.prod(wanted) <= LARGEST else None


def _reduce(step: Callable[[Extent, Extent], Extent], empty: int) -> Callable[[Op], Known | None]:
    def rule(op: Op) -> Known | None:
        data = op.known(0)
        if data is None or data.ndim != 1:
            return None
        axes = op.integers("axes", 1)
        if axes is not None and axes not in ([0], [-1]):
            return None
        total: Extent = empty
        for value in data:
            total = step(total, value)
        return known([total]) if op.attr("keepdims", 1) else known(total)

    return rule


def _binary(compute: Callable[[Extent, Extent], Extent]) -> Callable[[Op], Known | None]:
    element = np.frompyfunc(compute, 2, 1)

    def rule(op: Op) -> Known | None:
        one, other = op.known(0), op.known(1)
        if one is None or other is None or not op.output_dtype().startswith(("int", "uint")):
            return None
        return _array(element(one, other))

    return rule


def _array(value: Any) -> Known:
    return value if isinstance(value, np.ndarray) and value.dtype == object else known(value)


def _divide(one: Extent, other: Extent) -> Extent:
    if isinstance(one, int) and isinstance(other, int):
        magnitude = abs(one) // abs(other) if other else 0
        return magnitude if (one < 0) == (other < 0) else -magnitude
    return tirx.truncdiv(expression(one), expression(other))


def _modulo(one: Extent, other: Extent) -> Extent:
    if isinstance(one, int) and isinstance(other, int):
        return one % other if other else 0
    return tirx.floormod(expression(one), expression(other))


def _least(one: Extent, other: Extent) -> Extent:
    if isinstance(one, int) and isinstance(other, int):
        return min(one, other)
    return tirx.min(expression(one), expression(other))


def _greatest(one: Extent, other: Extent) -> Extent:
    if isinstance(one, int) and isinstance(other, int):
        return max(one, other)
    return tirx.max(expression(one), expression(other))


def _equal(op: Op) -> Known | None:
    one, other = op.known(0), op.known(1)
    if one is None or other is None:
        return None
    verdicts = np.frompyfunc(lambda a, b: _is_equal(a, b, op), 2, 1)(one, other)
    answers = _array(verdicts)
    return None if any(answer is None for answer in answers.flat) else answers


def _is_equal(one: Extent, other: Extent, op: Op) -> bool | None:
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    if same(one, other, op.analyzer):
        return True
    return False if op.analyzer.can_prove(tirx.NE(expression(one), expression(other))) else None


def _where(op: Op) -> Known | None:
    chosen, one, other = op.constant(0), op.known(1), op.known(2)
    if chosen is None or one is None or other is None:
        return None
    return _array(np.where(chosen, one, other))


def _negative(op: Op) -> Known | None:
    data = op.known(0)
    return None if data is None else _array(np.negative(data))


_RULES: dict[str, Callable[[Op], Known | None]] = {
    "Shape": _shape,
    "Size": _size,
    "Identity": _same,
    "Cast": _cast,
    "Gather": _gather,
    "Concat": _concat,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Slice": _slice,
    "Range": _range,
    "ConstantOfShape": _filled,
    "Expand": _expand,
    "ReduceProd": _reduce(lambda one, other: one * other, 1),
    "ReduceSum": _reduce(lambda one, other: one + other, 0),
    "Add": _binary(lambda one, other: one + other),
    "Sub": _binary(lambda one, other: one - other),
    "Mul": _binary(lambda one, other: one * other),
    "Div": _binary(_divide),
    "Mod": _binary(_modulo),
    "Min": _binary(_least),
    "Max": _binary(_greatest),
    "Neg": _negative,
    "Equal": _equal,
    "Where": _where,
}
