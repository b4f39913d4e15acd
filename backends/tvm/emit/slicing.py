"""Slice, Split and Pad: part of a tensor, or a tensor with a border."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx

from backends.tvm.emit.extents import Extent, expression, step_count
from backends.tvm.emit.op import Emit, Op, Result
from backends.tvm.emit.runtime_windows import pads_at_runtime, slice_at_runtime, split_at_runtime


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
    if isinstance(extent, int) and extent == 0:
        return 0, 0
    if step > 0:
        low = _clamped(op, _from_front(op, start, extent), 0, extent)
        high = _clamped(op, _from_front(op, end, extent), 0, extent)
        return low, step_count(high - low, step, op.analyzer)
    last = op.settled(extent - 1)
    low = _clamped(op, _from_front(op, start, extent), 0, last)
    high = _clamped(op, _from_front(op, end, extent), -1, last)
    return low, step_count(low - high, -step, op.analyzer)


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


EMIT: dict[str, Emit] = {
    "Pad": _pad,
    "Slice": _slice,
    "Split": _split,
}
