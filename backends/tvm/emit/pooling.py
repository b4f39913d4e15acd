"""Pooling over windows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm import relax, te, tirx

from backends.tvm.emit.convolution import window_pads
from backends.tvm.emit.elementwise import is_float, is_nan, maximum
from backends.tvm.emit.extents import Extent, expression
from backends.tvm.emit.op import Emit, Op, Result
from backends.tvm.emit.reductions import narrowed, widened

_MAX: dict[int, Callable[..., relax.Expr]] = {
    1: relax.op.nn.max_pool1d,
    2: relax.op.nn.max_pool2d,
    3: relax.op.nn.max_pool3d,
}
_AVERAGE: dict[int, Callable[..., relax.Expr]] = {
    1: relax.op.nn.avg_pool1d,
    2: relax.op.nn.avg_pool2d,
    3: relax.op.nn.avg_pool3d,
}


class _Window:
    """Where the windows of a pooling lie."""

    def __init__(self, op: Op) -> None:
        self.kernel: list[int] = op.attr("kernel_shape")
        count = len(self.kernel)
        self.spatial: list[Extent] = op.shape()[2:]
        self.strides: list[int] = op.attr("strides", None) or [1] * count
        self.dilations: list[int] = op.attr("dilations", None) or [1] * count
        pads = window_pads(op, self.spatial, self.kernel, self.strides, self.dilations)
        self.before, self.after = pads[:count], pads[count:]
        self.ceil = bool(op.attr("ceil_mode", 0)) and op.attr("auto_pad", "NOTSET") == "NOTSET"
        self.sizes = [self._size(op, axis) for axis in range(count)]

    def _size(self, op: Op, axis: int) -> Extent:
        reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1
        room = self.spatial[axis] + self.before[axis] + self.after[axis] - reach
        stride = self.strides[axis]
        if not self.ceil:
            return op.settled(_floor_divide(room, stride) + 1)
        size = _floor_divide(room + stride - 1, stride) + 1
        # A window that would start in the padding behind the data does not count.
        limit = _floor_divide(self.spatial[axis] + self.before[axis] - 1, stride) + 1
        if isinstance(size, int) and isinstance(limit, int):
            return min(size, limit)
        return op.settled(tirx.min(expression(size), expression(limit)))


def _floor_divide(extent: Extent, by: int) -> Extent:
    return extent // by if isinstance(extent, int) else tirx.floordiv(extent, by)


def _max_pool(op: Op) -> Result:
    window = _Window(op)
    if not op.wants(1) and not window.ceil and is_float(op.dtype()) and len(window.kernel) in _MAX:
        x = widened(op, op.x())
        pads = [*window.before, *window.after]
        pooled = _MAX[len(window.kernel)](x, window.kernel, window.strides, pads, window.dilations)
        return narrowed(op, op.emit(pooled))
    values = op.te(_windows(window, _largest), op.x(), [expression(size) for size in window.sizes])
    return [values, _places(op, window) if op.wants(1) else None]


def _windows(window: _Window, reduce: Callable[..., Any]) -> Callable[..., te.Tensor]:
    """A kernel over windows; `reduce(element, inside, axes)` combines one window."""

    def compute(data: te.Tensor, sizes: list[Any]) -> te.Tensor:
        over = [te.reduce_axis((0, size), name=f"k{place}") for place, size in enumerate(window.kernel)]

        def element(*index: Any) -> Any:
            places = [
                i * stride + k * dilation - before
                for i, k, stride, dilation, before in zip(
                    index[2:], over, window.strides, window.dilations, window.before, strict=True
                )
            ]
            extents = data.shape[2:]
            inside = tirx.all(*[tirx.all(p >= 0, p < n) for p, n in zip(places, extents, strict=True)])
            held = [tirx.max(tirx.min(p, n - 1), 0) for p, n in zip(places, extents, strict=True)]
            return reduce(data, index[:2], held, inside, over)

        return te.compute((*data.shape[:2], *sizes), element, name="T_pool")

    return compute


def _largest(data: te.Tensor, lead: Any, held: list[Any], inside: Any, over: list[Any]) -> Any:
    lowest = _lowest(data.dtype)
    reducer = te.comm_reducer(maximum, lambda _: lowest, name="largest")
    return reducer(tirx.if_then_else(inside, data(*lead, *held), lowest), axis=over)


def _lowest(dtype: Any) -> Any:
    return tirx.const(-math.inf, dtype) if is_float(str(dtype)) else tirx.min_value(str(dtype))


def _places(op: Op, window: _Window) -> relax.Expr:
    """Where in the whole tensor each maximum was found; the first one of several."""
    by_column = bool(op.attr("storage_order", 0))

    def compute(data: te.Tensor, sizes: list[Any]) -> te.Tensor:
        over = [te.reduce_axis((0, size), name=f"k{place}") for place, size in enumerate(window.kernel)]
        extents = data.shape[2:]
        lowest = _lowest(data.dtype)

        def better(a: Any, b: Any) -> Any:
            nan = tirx.all(is_nan(a[1]), tirx.Not(is_nan(b[1])))
            tie = tirx.all(tirx.EQ(a[1], b[1]), a[0] < b[0])
            return tirx.all(a[0] >= 0, tirx.any(b[0] < 0, a[1] > b[1], nan, tie))

        def combine(a: Any, b: Any) -> Any:
            wins = better(a, b)
            return tirx.Select(wins, a[0], b[0]), tirx.Select(wins, a[1], b[1])

        reducer = te.comm_reducer(combine, lambda *_: (tirx.const(-1, "int64"), lowest), name="place_of_largest")

        def element(*index: Any) -> Any:
            places = [
                i * stride + k * dilation - before
                for i, k, stride, dilation, before in zip(
                    index[2:], over, window.strides, window.dilations, window.before, strict=True
                )
            ]
            inside = tirx.all(*[tirx.all(p >= 0, p < n) for p, n in zip(places, extents, strict=True)])
            held = [tirx.max(tirx.min(p, n - 1), 0) for p, n in zip(places, extents, strict=True)]
            flat: Any = 0
            order = list(zip(held, extents, strict=True))
            for place, extent in reversed(order) if by_column else order:
                flat = flat * extent + place
            channel = index[0] * data.shape[1] + index[1]
            for extent in extents:
                channel = channel * extent
            number = tirx.if_then_else(inside, (channel + flat).astype("int64"), tirx.const(-1, "int64"))
            value = tirx.if_then_else(inside, data(*index[:2], *held), lowest)
            return reducer((number, value), axis=over)

        places, _ = te.compute((*data.shape[:2], *sizes), element, name="T_pool_places")
        return te.compute(places.shape, lambda *i: places(*i), name="T_places")

    return op.te(compute, op.x(), [expression(size) for size in window.sizes], name="pool_places")


def _average_pool(op: Op) -> Result:
    window = _Window(op)
    padded = bool(op.attr("count_include_pad", 0))
    x = widened(op, op.x())
    if not window.ceil and len(window.kernel) in _AVERAGE and all(step == 1 for step in window.dilations):
        pads = [*window.before, *window.after]
        make = _AVERAGE[len(window.kernel)]
        pooled = make(x, window.kernel, window.strides, pads, count_include_pad=padded)
        return narrowed(op, op.emit(pooled))

    def total(data: te.Tensor, lead: Any, held: list[Any], inside: Any, over: list[Any]) -> Any:
        return te.sum(tirx.if_then_else(inside, data(*lead, *held), tirx.const(0, data.dtype)), axis=over)

    sums = op.te(_windows(window, total), x, [expression(size) for size in window.sizes], name="pool_sum")
    extents = window.spatial

    def divide(data: te.Tensor, lengths: list[Any]) -> te.Tensor:
        def element(*index: Any) -> Any:
            count: Any = tirx.IntImm("int64", 1)
            for axis, i in enumerate(index[2:]):
                count = count * _counted(window, axis, i, lengths[axis], padded)
            return data(*index) / count.astype(data.dtype)

        return te.compute(data.shape, element, name="T_average")

    return narrowed(op, op.te(divide, sums, [expression(extent) for extent in extents], name="pool_average"))


def _counted(window: _Window, axis: int, i: Any, extent: Any, padded: bool) -> Any:
    """How many places of a window count along one axis."""
    step, size = window.dilations[axis], window.kernel[axis]
    start = i * window.strides[axis] - window.before[axis]
    low = tirx.const(-window.before[axis] if padded else 0, "int64")
    high = extent + (window.after[axis] if padded else 0)
    skipped = tirx.max(tirx.floordiv(low - start + step - 1, step), 0)
    reached = tirx.min(tirx.floordiv(high - start + step - 1, step), size)
    return tirx.max(reached - skipped, 1)


def _global(reduce: Callable[[relax.Expr, list[int], bool], relax.Expr]) -> Emit:
    def emit(op: Op) -> Result:
        return narrowed(op, op.emit(reduce(widened(op, op.x()), list(range(2, op.rank())), True)))

    return emit


EMIT: dict[str, Emit] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global(relax.op.mean),
    "GlobalMaxPool": _global(relax.op.max),
    "MaxPool": _max_pool,
}
