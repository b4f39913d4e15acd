"""Operators that move elements about without computing on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from backends.tvm.emit import runtime_sizes
from backends.tvm.emit.extents import Extent, equal, expression, product, quotient
from backends.tvm.emit.op import Emit, Op, Result
from backends.tvm.emit.runtime_windows import pads_at_runtime, slice_at_runtime, split_at_runtime


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
        if any(isinstance(extent, int) and extent == 0 for extent in others):
            target[open_place] = 0
        else:
            target[open_place] = quotient(source, others, op.analyzer)
    return op.reshape(op.x(), target)


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
        return _spread(op, runtime_sizes.expanded(op))
    shape = broadcast_shape(op, op.shape(), list(wanted))
    return broadcast_to(op, op.x(), shape)


def _spread(op: Op, shape: Sequence[Extent]) -> relax.Expr:
    """Also where it takes the model to run to know which axes are of length 1."""

    def compute(data: te.Tensor, sizes: list[Any]) -> te.Tensor:
        def element(*index: Any) -> Any:
            own = index[len(index) - len(data.shape) :]
            return data(
                *(tirx.Select(equal(n, 1), runtime_sizes.whole(0), i) for i, n in zip(own, data.shape, strict=True))
            )

        return te.compute(sizes, element, name="T_broadcast")

    return op.te(compute, op.x(), [expression(extent) for extent in shape])


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


def _split(op: Op) -> Result:
    axis, count = op.axis(), len(op.node.outputs)
    if op.has(1) and op.known(1) is None:
        return split_at_runtime(op, axis)
    sizes = op.attr("split", None) or op.known(1)
    extent = op.shape()[axis]
    if sizes is None:
        if not isinstance(extent, int):
            op.refuse("it splits a dynamic dim into equal parts")
        part = -(-extent // count)
        sizes = [part] * (count - 1) + [extent - part * (count - 1)]
    starts: list[Extent] = [0]
    for size in list(sizes)[:-1]:
        starts.append(op.settled(starts[-1] + size))
    return [
        slice_axis(op, op.x(), axis, start, size) if op.wants(place) else None
        for place, (start, size) in enumerate(zip(starts, sizes, strict=True))
    ]


def slice_axis(op: Op, x: relax.Expr, axis: int, start: Extent, size: Extent) -> relax.Expr:
    begin, count = expression(start), expression(size)

    def compute(data: te.Tensor, first: Any, length: Any) -> te.Tensor:
        shape = [length if place == axis else extent for place, extent in enumerate(data.shape)]
        return te.compute(
            shape,
            lambda *index: data(*(i + first if place == axis else i for place, i in enumerate(index))),
            name="T_slice",
        )

    return op.te(compute, x, begin, count, name="slice")


def _slice(op: Op) -> Result:
    borders = range(1, len(op.node.inputs))
    if any(op.has(place) and (op.known(place) if place < 3 else op.constant(place)) is None for place in borders):
        return slice_at_runtime(op)
    starts, ends = _elements(op, "starts", 1), _elements(op, "ends", 2)
    axes, steps = op.integers("axes", 3), op.integers("steps", 4)
    shape = op.shape()
    axes = [axis % len(shape) for axis in (axes if axes is not None else range(len(starts)))]
    steps = steps if steps is not None else [1] * len(axes)
    begins: list[Extent] = [0] * len(shape)
    strides = [1] * len(shape)
    target = list(shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        begins[axis], target[axis] = _span(op, shape[axis], start, end, step)
        strides[axis] = step
    if (
        all(isinstance(begin, int) and begin == 0 for begin in begins)
        and all(op.same(a, b) for a, b in zip(shape, target, strict=True))
        and all(step == 1 for step in strides)
    ):
        return op.x()

    def compute(data: te.Tensor, first: list[Any], lengths: list[Any]) -> te.Tensor:
        return te.compute(
            lengths,
            lambda *index: data(*(i * step + begin for i, step, begin in zip(index, strides, first, strict=True))),
            name="T_slice",
        )

    return op.te(compute, op.x(), [expression(each) for each in begins], [expression(each) for each in target])


def _elements(op: Op, name: str, place: int) -> list[Extent]:
    if name in op.node.attributes:
        return [int(value) for value in op.attr(name)]
    found = op.known(place)
    if found is None:
        op.refuse(f"its {name} are only known at run time")
    return list(found)


def _span(op: Op, extent: Extent, start: Extent, end: Extent, step: int) -> tuple[Extent, Extent]:
    """The first index and the number of elements, after ONNX's clamping."""
    if step > 0:
        low = _clamped(op, _from_front(op, start, extent), 0, extent)
        high = _clamped(op, _from_front(op, end, extent), 0, extent)
        return low, _at_least_zero(op, _ceil_divide(op, high - low, step))
    last = op.settled(extent - 1)
    low = _clamped(op, _from_front(op, start, extent), 0, last)
    high = _clamped(op, _from_front(op, end, extent), -1, last)
    return low, _at_least_zero(op, _ceil_divide(op, low - high, -step))


def _from_front(op: Op, place: Extent, extent: Extent) -> Extent:
    if isinstance(place, int):
        return op.settled(place + extent) if place < 0 else place
    if op.analyzer.can_prove(place >= 0):
        return place
    if op.analyzer.can_prove(place < 0):
        return op.settled(place + extent)
    return op.settled(tirx.if_then_else(place < 0, place + extent, place))


def _clamped(op: Op, place: Extent, low: Extent, high: Extent) -> Extent:
    if all(isinstance(each, int) for each in (place, low, high)):
        return max(low, min(place, high))
    below = op.settled(tirx.min(expression(place), expression(high)))
    return op.settled(tirx.max(expression(below), expression(low)))


def _ceil_divide(op: Op, amount: Extent, step: int) -> Extent:
    if isinstance(amount, int):
        return -(-amount // step)
    return op.settled(amount if step == 1 else tirx.floordiv(amount + (step - 1), step))


def _at_least_zero(op: Op, amount: Extent) -> Extent:
    if isinstance(amount, int):
        return max(amount, 0)
    return op.settled(tirx.max(amount, tirx.IntImm("int64", 0)))


def _tile(op: Op) -> Result:
    repeats = op.known(1)
    target = (
        runtime_sizes.tiled(op)
        if repeats is None
        else [op.settled(extent * times) for extent, times in zip(op.shape(), repeats, strict=True)]
    )

    def compute(data: te.Tensor, lengths: list[Any]) -> te.Tensor:
        return te.compute(
            lengths,
            lambda *index: data(*(tirx.indexmod(i, extent) for i, extent in zip(index, data.shape, strict=True))),
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
    count = _at_least_zero(op, _ceil_divide(op, amount, abs(stride)))

    def compute(length: Any, begin: Any) -> te.Tensor:
        return te.compute((length,), lambda i: (begin + i * stride).astype(dtype), name="T_range")

    return op.te(compute, expression(count), expression(first))


def _range_at_runtime(op: Op) -> relax.Expr:
    count, dtype = runtime_sizes.range_count(op), op.output_dtype()

    def compute(length: Any, start: te.Tensor, step: te.Tensor) -> te.Tensor:
        return te.compute((length,), lambda i: start() + i.astype(dtype) * step(), name="T_range")

    return op.te(compute, expression(count), op.reshape(op.x(0), []), op.reshape(op.x(2), []))


_PADDING = ("constant", "edge", "reflect", "wrap")


def _pad(op: Op) -> Result:
    mode, shape = op.attr("mode", "constant"), op.shape()
    if mode not in _PADDING:
        op.refuse(f"there is no padding mode '{mode}'")
    if op.has(1) and (op.known(1) is None or (op.has(3) and op.constant(3) is None)):
        return _pad_at_runtime(op, mode)
    pads = _elements(op, "pads", 1)
    axes = [axis % len(shape) for axis in (op.integers("axes", 3) or range(len(shape)))]
    before: list[Extent] = [0] * len(shape)
    after: list[Extent] = [0] * len(shape)
    for place, axis in enumerate(axes):
        before[axis], after[axis] = pads[place], pads[place + len(axes)]
    target = [op.settled(a + extent + b) for a, extent, b in zip(before, shape, after, strict=True)]
    fill = _fill_value(op)

    def compute(data: te.Tensor, first: list[Any], lengths: list[Any], *filling: te.Tensor) -> te.Tensor:
        def element(*index: Any) -> Any:
            own = [i - begin for i, begin in zip(index, first, strict=True)]
            if mode != "constant":
                return data(*(_folded(mode, i, n) for i, n in zip(own, data.shape, strict=True)))
            inside = [
                condition
                for i, n, a, b in zip(own, data.shape, before, after, strict=True)
                for condition, needed in ((i >= 0, a), (i < n, b))
                if not (isinstance(needed, int) and needed == 0)
            ]
            return tirx.if_then_else(tirx.all(*inside), data(*own), filling[0]()) if inside else data(*own)

        return te.compute(lengths, element, name="T_pad")

    filling = [fill] if mode == "constant" else []
    begins, lengths = [expression(each) for each in before], [expression(each) for each in target]
    return op.te(compute, op.x(), begins, lengths, *filling)


def _pad_at_runtime(op: Op, mode: str) -> relax.Expr:
    lengths, begins = pads_at_runtime(op)
    filling = [_fill_value(op)] if mode == "constant" else []

    def compute(data: te.Tensor, sizes: list[Any], before: te.Tensor, *fill: te.Tensor) -> te.Tensor:
        def element(*index: Any) -> Any:
            own = [i - before(axis) for axis, i in enumerate(index)]
            if mode != "constant":
                return data(*(_folded(mode, i, n) for i, n in zip(own, data.shape, strict=True)))
            inside = tirx.all(*[tirx.all(i >= 0, i < n) for i, n in zip(own, data.shape, strict=True)])
            return tirx.if_then_else(inside, data(*own), fill[0]())

        return te.compute(sizes, element, name="T_pad")

    return op.te(compute, op.x(), lengths, begins, *filling)


def _fill_value(op: Op) -> relax.Expr:
    if "value" in op.node.attributes:
        return op.const(op.attr("value"), op.dtype())
    return op.reshape(op.x(2), []) if op.has(2) else op.const(0, op.dtype())


def _folded(mode: str, i: Any, n: Any) -> Any:
    """The index within the data that an index outside of it stands for."""
    if mode == "edge":
        return tirx.max(tirx.min(i, n - 1), 0)
    if mode == "wrap":
        return tirx.floormod(i, n)
    period = tirx.max(2 * (n - 1), 1)
    place = tirx.floormod(i, period)
    return tirx.min(place, period - place) if not (isinstance(n, tirx.IntImm) and int(n) == 1) else n - 1


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
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _of_unknown_rank,
    "Size": _of_unknown_rank,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _trilu,
    "Unsqueeze": _unsqueeze,
}
