"""Results that are as long as the data says.

A kernel fills a buffer that is long enough for everything, in order, and says how many places it filled. From then on
that number has a name, and so many places from the front are the result.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from backends.tvm.emit.elementwise import number
from backends.tvm.emit.extents import Extent, equal, expression, product
from backends.tvm.emit.indexing import sortable, unravelled
from backends.tvm.emit.op import Emit, Op, Result
from backends.tvm.emit.runtime_sizes import extents_of, named, whole
from backends.tvm.emit.slicing import slice_axis
from backends.tvm.emit.statements import Buffers, filling


def _true_places(op: Op, flags: relax.Expr) -> tuple[relax.Expr, Extent]:
    """Where a vector of truth values is true, and how often."""

    def body(ins: Buffers, outs: Buffers) -> None:
        from tvm.script.ir_builder import tirx as T

        (flag,), (places, count) = ins, outs
        T.buffer_store(count, whole(0), [0])
        with T.serial(0, flag.shape[0]) as i, T.If(flag[i]), T.Then():
            T.buffer_store(places, i.astype("int64"), [count[0]])
            T.buffer_store(count, count[0] + 1, [0])

    places, count = filling(op, body, [(list(flags.ty.shape.values), "int64"), ([1], "int64")], flags)
    size = named(op, count)[0]
    return slice_axis(op, places, 0, 0, size), size


def _flat(op: Op, place: int = 0) -> relax.Expr:
    return op.reshape(op.x(place), [op.settled(product(op.shape(place)))])


def _non_zero(op: Op) -> Result:
    rank = op.rank()
    flags = op.te(_are_set, op.reshape(op.x(), [1]) if not rank else _flat(op))
    places, count = _true_places(op, flags)
    if not rank:  # a number has no place, so that only how many there are is told
        return op.emit(relax.op.zeros(relax.ShapeExpr([whole(0), expression(count)]), "int64"))

    def compute(flat: te.Tensor, length: Any, extents: list[Any]) -> te.Tensor:
        def element(axis: Any, i: Any) -> Any:
            result, index = whole(0), unravelled(flat(i), extents)
            for place in range(rank):
                result = tirx.Select(equal(axis, place), index[place], result)
            return result

        return te.compute((rank, length), element, name="T_non_zero")

    return op.te(compute, places, expression(count), extents_of(op, 0))


def _are_set(data: te.Tensor) -> te.Tensor:
    return te.compute(data.shape, lambda i: tirx.NE(_plain(data(i)), number(0, _plain(data(i)))), name="T_are_set")


def _plain(x: Any) -> Any:
    """LLVM's code generator in TVM compares truth values as if they were floats."""
    return x.astype("int8") if str(x.ty.dtype) == "bool" else x


def _compress(op: Op) -> Result:
    whole_tensor = "axis" not in op.node.attributes
    x, axis = (_flat(op), 0) if whole_tensor else (op.x(), op.axis())
    chosen = op.constant(1)
    if chosen is not None:
        return relax.op.take(x, relax.const(np.flatnonzero(chosen).astype(np.int64), "int64"), axis, mode="clip")

    def within(data: te.Tensor, condition: te.Tensor) -> te.Tensor:
        extent = data.shape[axis]
        return te.compute(condition.shape, lambda i: tirx.all(condition(i), i < extent), name="T_within")

    places, _ = _true_places(op, op.te(within, x, op.x(1)))
    return _taken(op, x, places, axis)


def _taken(op: Op, x: relax.Expr, places: relax.Expr, axis: int = 0) -> relax.Var:
    """Like relax.op.take, which reads where it is told: these places are known to be right."""

    def compute(data: te.Tensor, indices: te.Tensor) -> te.Tensor:
        shape = [*data.shape[:axis], indices.shape[0], *data.shape[axis + 1 :]]
        return te.compute(shape, lambda *i: data(*i[:axis], indices(i[axis]), *i[axis + 1 :]), name="T_taken")

    return op.te(compute, x, places)


def _unique(op: Op) -> Result:
    """Equal numbers lie side by side once they are sorted; each first one of its kind is kept."""
    if "axis" in op.node.attributes:
        op.refuse("of slices along an axis")
    x = _flat(op)
    order = op.emit(relax.op.argsort(sortable(op, x), 0, False, "int64"))
    ranked = _taken(op, x, order)

    def differs(data: te.Tensor) -> te.Tensor:
        def element(i: Any) -> Any:
            before = data(tirx.max(i - 1, whole(0)))
            return tirx.any(equal(i, 0), tirx.NE(_plain(data(i)), _plain(before)))

        return te.compute(data.shape, element, name="T_differs")

    fresh = op.te(differs, ranked)
    starts, _ = _true_places(op, fresh)
    first = _taken(op, order, starts)
    group = op.emit(relax.op.cumsum(op.emit(relax.op.astype(fresh, "int64")), 0, "int64"))
    counts = op.te(_distances, starts, expression(op.settled(product(op.shape()))))
    inverse = _taken(op, op.te(_one_less, group), op.emit(relax.op.argsort(order, 0, False, "int64")))
    if not op.attr("sorted", 1):
        by_place = op.emit(relax.op.argsort(first, 0, False, "int64"))
        inverse = _taken(op, op.emit(relax.op.argsort(by_place, 0, False, "int64")), inverse)
        first, counts = _taken(op, first, by_place), _taken(op, counts, by_place)
    return [_taken(op, x, first), first, inverse, counts]


def _distances(starts: te.Tensor, total: Any) -> te.Tensor:
    count = starts.shape[0]

    def element(i: Any) -> Any:
        return tirx.if_then_else(i + 1 < count, starts(tirx.min(i + 1, count - 1)), total) - starts(i)

    return te.compute((count,), element, name="T_distances")


def _one_less(data: te.Tensor) -> te.Tensor:
    return te.compute(data.shape, lambda i: data(i) - 1, name="T_one_less")


def _non_max_suppression(op: Op) -> Result:
    """Of each batch and class the best box is taken, those that lie over it are dropped, and so on."""
    limits = [_scalar(op, place, dtype) for place, dtype in ((2, "int64"), (3, "float32"), (4, "float32"))]
    centred, thresholded = bool(op.attr("center_point_box", 0)), op.has(4)

    def body(ins: Buffers, outs: Buffers) -> None:
        from tvm.script.ir_builder import tirx as T

        (corner, score, most, share, least), (found, count, alive, state) = ins, outs
        batches, classes, boxes = score.shape
        taken, best = 0, 1
        T.buffer_store(count, whole(0), [0])
        with T.serial(0, batches) as b, T.serial(0, classes) as c:
            with T.serial(0, boxes) as i:
                T.buffer_store(alive, score[b, c, i] > least[()] if thresholded else tirx.const(True, "bool"), [i])
            T.buffer_store(state, whole(0), [taken])
            T.buffer_store(state, whole(0), [best])
            with T.While(tirx.all(state[best] >= 0, state[taken] < most[()])):
                T.buffer_store(state, whole(-1), [best])
                with T.serial(0, boxes) as i, T.If(alive[i]), T.Then():
                    ahead = score[b, c, tirx.max(state[best], whole(0))]
                    with T.If(tirx.any(state[best] < 0, score[b, c, i] > ahead)), T.Then():
                        T.buffer_store(state, i.astype("int64"), [best])
                with T.If(state[best] >= 0), T.Then():
                    for column, value in enumerate((b, c, state[best])):
                        T.buffer_store(found, value.astype("int64"), [count[0], column])
                    T.buffer_store(count, count[0] + 1, [0])
                    T.buffer_store(state, state[taken] + 1, [taken])
                    T.buffer_store(alive, tirx.const(False, "bool"), [state[best]])
                    with T.serial(0, boxes) as i, T.If(alive[i]), T.Then():
                        kept, other = ([corner[b, at, k] for k in range(4)] for at in (state[best], i))
                        with T.If(_overlap(kept, other, centred) > share[()]), T.Then():
                            T.buffer_store(alive, tirx.const(False, "bool"), [i])

    outputs = [([op.settled(product(op.shape(1))), 3], "int64"), ([1], "int64")]
    outputs += [(op.shape(1)[2:], "bool"), ([2], "int64")]
    found, count, *_ = filling(op, body, outputs, op.x(0), op.x(1), *limits)
    return slice_axis(op, found, 0, 0, named(op, count)[0])


def _scalar(op: Op, place: int, dtype: str) -> relax.Expr:
    return op.reshape(op.x(place), []) if op.has(place) else op.const(0, dtype)


def _overlap(one: list[Any], other: list[Any], centred: bool) -> Any:
    """The area that two boxes share, as a part of what they cover together."""
    spans = [_spans(box, centred) for box in (one, other)]
    both = tirx.const(1.0, "float32")
    for (low, high), (other_low, other_high) in zip(*spans, strict=True):
        both = both * tirx.max(tirx.min(high, other_high) - tirx.max(low, other_low), number(0, high))
    areas = [math.prod(high - low for low, high in box) for box in spans]
    return tirx.Select(both > number(0, both), both / (areas[0] + areas[1] - both), number(0, both))


def _spans(box: list[Any], centred: bool) -> list[tuple[Any, Any]]:
    """From where to where a box goes, in each direction; its corners may be given in any order."""
    if centred:
        half = number(0.5, box[0])
        return [(middle - half * size, middle + half * size) for middle, size in ((box[0], box[2]), (box[1], box[3]))]
    return [(tirx.min(box[axis], box[axis + 2]), tirx.max(box[axis], box[axis + 2])) for axis in range(2)]


EMIT: dict[str, Emit] = {
    "Compress": _compress,
    "NonMaxSuppression": _non_max_suppression,
    "NonZero": _non_zero,
    "Unique": _unique,
}
