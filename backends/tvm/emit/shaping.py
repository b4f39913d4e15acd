"""Operators that move elements about without computing on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from backends.tvm.emit import runtime_sizes
from backends.tvm.emit.extents import Extent, divisor, equal, expression, product, quotient, step_count
from backends.tvm.emit.op import Emit, Op, Result


def _reshape(op: Op) -> Result:
    wanted = op.known(1)
    if wanted is None:
        return op.reshape(op.x(), runtime_sizes.reshaped(op))
    source = op.shape()
    target: list[Extent] = []
    for place, extent in enumerate(wanted):
        kept = isinstance(extent, int) and extent == 0 and not op.attr("allowzero", 0)
        target.append(source[place] if kept else extent)
    if -1 in [extent for extent in target if isinstance(extent, int)]:
        open_place = next(place for place, extent in enumerate(target) if isinstance(extent, int) and extent == -1)
        others = target[:open_place] + target[open_place + 1 :]
        # Without elements any size would do: what it would be if the empty axes were left out on both sides.
        whole, part = ([extent for extent in extents if not _is_zero(extent)] for extents in (source, others))
        target[open_place] = quotient(whole, part, op.analyzer)
    return op.reshape(op.x(), target)


def _is_zero(extent: Extent) -> bool:
    return isinstance(extent, int) and extent == 0


def _flatten(op: Op) -> Result:
    shape, axis = op.shape(), op.axis("axis", 1)
    return op.reshape(op.x(), [op.settled(product(shape[:axis])), op.settled(product(shape[axis:]))])


def _squeeze(op: Op) -> Result:
    if op.has(1) and op.constant(1) is None:
        return op.reshape(op.x(), runtime_sizes.without_axes(op, keep=False))
    shape, axes = op.shape(), op.integers("axes", 1)
    if axes is None:
        gone = {place for place, extent in enumerate(shape) if isinstance(extent, int) and extent == 1}
    else:
        gone = {axis % len(shape) for axis in axes}
    return op.reshape(op.x(), [extent for place, extent in enumerate(shape) if place not in gone])


def _unsqueeze(op: Op) -> Result:
    if op.has(1) and op.constant(1) is None:
        return op.reshape(op.x(), runtime_sizes.with_axes(op))
    axes = op.integers("axes", 1) or []
    shape = list(op.shape())
    rank = len(shape) + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        shape.insert(axis, 1)
    return op.reshape(op.x(), shape)


def _transpose(op: Op) -> Result:
    order = op.attr("perm", None) or list(range(op.rank()))[::-1]
    if order == list(range(len(order))):
        return op.x()
    return relax.op.permute_dims(op.x(), order)


def broadcast_shape(op: Op, one: Sequence[Extent], other: Sequence[Extent]) -> list[Extent]:
    longer, shorter = (list(one), list(other)) if len(one) >= len(other) else (list(other), list(one))
    shape = longer[: len(longer) - len(shorter)]
    for a, b in zip(longer[len(shape) :], shorter, strict=True):
        shape.append(b if isinstance(a, int) and a == 1 else a)
    return shape


def _expand(op: Op) -> Result:
    wanted = op.known(1)
    if wanted is None:
        return spread(op, op.x(), runtime_sizes.expanded(op))
    shape = broadcast_shape(op, op.shape(), list(wanted))
    return broadcast_to(op, op.x(), shape)


def spread(op: Op, x: relax.Expr, shape: Sequence[Extent]) -> relax.Expr:
    """Also where it takes the model to run to know which axes are of length 1."""

    def compute(data: te.Tensor, sizes: list[Any]) -> te.Tensor:
        def element(*index: Any) -> Any:
            own = index[len(index) - len(data.shape) :]
            return data(
                *(tirx.Select(equal(n, 1), runtime_sizes.whole(0), i) for i, n in zip(own, data.shape, strict=True))
            )

        return te.compute(sizes, element, name="T_broadcast")

    return op.te(compute, x, [expression(extent) for extent in shape])


def broadcast_to(op: Op, x: relax.Expr, shape: Sequence[Extent]) -> relax.Expr:
    own = x.ty.shape.values
    if len(own) == len(shape) and all(op.same(a, b) for a, b in zip(own, shape, strict=True)):
        return x
    return op.emit(relax.op.broadcast_to(x, relax.ShapeExpr([expression(extent) for extent in shape])))


def _concat(op: Op) -> Result:
    axis = op.axis()
    parts = [op.x(place) for place in range(len(op.node.inputs))]
    filled = [part for place, part in enumerate(parts) if op.shape(place)[axis] != 0]
    if len(filled) <= 1:
        return filled[0] if filled else parts[0]
    return concatenated(op, filled, axis)


def concatenated(op: Op, parts: Sequence[relax.Expr], axis: int) -> relax.Expr:
    """Relax's concat where the axis is of fixed length. Else a kernel of our own: of the two expressions for the length
    that Relax and its lowering come to, 1 + n and n + 1, fusion later says that they contradict each other."""
    lengths = [part.ty.shape.values[axis] for part in parts]
    if all(isinstance(length, tirx.IntImm) for length in lengths):
        return relax.op.concat(list(parts), axis)
    total = expression(op.settled(sum(lengths[1:], lengths[0])))

    def compute(length: Any, *tensors: te.Tensor) -> te.Tensor:
        def element(*index: Any) -> Any:
            starts = [tirx.IntImm("int64", 0)]
            for tensor in tensors[:-1]:
                starts.append(starts[-1] + tensor.shape[axis])
            chosen: Any = None
            for tensor, start in reversed(list(zip(tensors, starts, strict=True))):
                own = tensor(*index[:axis], index[axis] - start, *index[axis + 1 :])
                end = start + tensor.shape[axis]
                chosen = own if chosen is None else tirx.if_then_else(index[axis] < end, own, chosen)
            return chosen

        shape = [*tensors[0].shape[:axis], length, *tensors[0].shape[axis + 1 :]]
        return te.compute(shape, element, name="T_concat")

    return op.te(compute, total, *parts, name="concat")


def _tile(op: Op) -> Result:
    repeats = op.known(1)
    target = (
        runtime_sizes.tiled(op)
        if repeats is None
        else [op.settled(extent * times) for extent, times in zip(op.shape(), repeats, strict=True)]
    )

    def compute(data: te.Tensor, lengths: list[Any]) -> te.Tensor:
        periods = [divisor(extent) for extent in data.shape]
        return te.compute(
            lengths,
            lambda *index: data(*(tirx.indexmod(i, extent) for i, extent in zip(index, periods, strict=True))),
            name="T_tile",
        )

    return op.te(compute, op.x(), [expression(each) for each in target])


def _constant_of_shape(op: Op) -> Result:
    known = op.known(0)
    shape = runtime_sizes.filled(op) if known is None else list(known)
    value = op.attr("value", None)
    fill = op.const(0.0 if value is None else value.item(), op.output_dtype())
    return relax.op.full(relax.ShapeExpr([expression(extent) for extent in shape]), fill, op.output_dtype())


def _range(op: Op) -> Result:
    start, limit, step = (op.known(place) for place in range(3))
    dtype = op.output_dtype()
    if start is None or limit is None or step is None:
        values = [op.constant(place) for place in range(3)]
        if any(value is None for value in values):
            return _range_at_runtime(op)
        return op.const(np.arange(*(value.item() for value in values if value is not None), dtype=dtype), dtype)
    first, last, stride = start.item(), limit.item(), step.item()
    if not isinstance(stride, int):
        op.refuse("its step depends on a dynamic dim")
    amount = last - first if stride > 0 else first - last
    count = step_count(amount, abs(stride), op.analyzer)

    def compute(length: Any, begin: Any) -> te.Tensor:
        return te.compute((length,), lambda i: (begin + i * stride).astype(dtype), name="T_range")

    return op.te(compute, expression(count), expression(first))


def _range_at_runtime(op: Op) -> relax.Expr:
    count, dtype = runtime_sizes.range_count(op), op.output_dtype()

    def compute(length: Any, start: te.Tensor, step: te.Tensor) -> te.Tensor:
        return te.compute((length,), lambda i: start() + i.astype(dtype) * step(), name="T_range")

    return op.te(compute, expression(count), op.reshape(op.x(0), []), op.reshape(op.x(2), []))


def _depth_to_space(op: Op) -> Result:
    batch, channels, height, width = op.shape()
    block = op.attr("blocksize")
    fewer = channels // (block * block)
    if op.attr("mode", "DCR") == "DCR":
        split, order = [batch, block, block, fewer, height, width], [0, 3, 4, 1, 5, 2]
    else:
        split, order = [batch, fewer, block, block, height, width], [0, 1, 4, 2, 5, 3]
    moved = op.emit(relax.op.permute_dims(op.reshape(op.x(), split), order))
    return op.reshape(moved, [batch, fewer, op.settled(height * block), op.settled(width * block)])


def _space_to_depth(op: Op) -> Result:
    batch, channels, height, width = op.shape()
    block = op.attr("blocksize")
    rows, columns = quotient([height], [block], op.analyzer), quotient([width], [block], op.analyzer)
    split = op.reshape(op.x(), [batch, channels, rows, block, columns, block])
    moved = op.emit(relax.op.permute_dims(split, [0, 3, 5, 1, 2, 4]))
    return op.reshape(moved, [batch, channels * block * block, rows, columns])


def _trilu(op: Op) -> Result:
    upper = bool(op.attr("upper", 1))
    diagonal = op.reshape(op.x(1), []) if op.has(1) else op.const(0, "int64")

    def compute(data: te.Tensor, k: te.Tensor) -> te.Tensor:
        def element(*index: Any) -> Any:
            away = index[-1] - index[-2]
            kept = away >= k() if upper else away <= k()
            return tirx.Select(kept, data(*index), tirx.const(0, data.dtype))

        return te.compute(data.shape, element, name="T_trilu")

    return op.te(compute, op.x(), diagonal)


def _eye_like(op: Op) -> Result:
    rows, columns = op.shape()
    k, dtype = op.attr("k", 0), op.output_dtype()

    def compute(height: Any, width: Any) -> te.Tensor:
        return te.compute((height, width), lambda i, j: equal(j - i, k).astype(dtype), name="T_eye")

    return op.te(compute, expression(rows), expression(columns))


def _of_unknown_rank(op: Op) -> Result:
    """Everything else about sizes is known before anything is emitted, see known.py."""
    op.refuse("the rank of its input depends on data")


EMIT: dict[str, Emit] = {
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "EyeLike": _eye_like,
    "Flatten": _flatten,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _of_unknown_rank,
    "Size": _of_unknown_rank,
    "SpaceToDepth": _space_to_depth,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _trilu,
    "Unsqueeze": _unsqueeze,
}
