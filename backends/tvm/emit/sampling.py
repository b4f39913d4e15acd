"""Reading a tensor between its places: AffineGrid, GridSample, DeformConv and RoiAlign.

A coordinate may be anything, also NaN or infinite. What is read is always within the tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product as combinations
from typing import Any

from tvm import relax, te, tirx

from backends.tvm.emit.elementwise import number
from backends.tvm.emit.extents import Extent, expression, product
from backends.tvm.emit.indexing import unravelled
from backends.tvm.emit.linear import matmul
from backends.tvm.emit.op import Emit, Op, Result
from backends.tvm.emit.reductions import narrowed, widened
from backends.tvm.emit.resize import cubic_weight
from backends.tvm.emit.runtime_sizes import integers, named, whole
from backends.tvm.emit.statements import Buffers, filling

_CUBIC = -0.75
_BEYOND = 1 << 24  # places outside of the tensor: no coordinate is further away, so that each fits into a whole number

Tap = Callable[[Sequence[Any]], Any]  # the value at whole places, one for each axis


def _near(spot: Any, extent: Any) -> Any:
    """The coordinate, held at what is far outside; NaN is far outside, too."""
    low, high = number(-_BEYOND, spot), (extent + _BEYOND).astype(spot.ty.dtype)
    return tirx.Select(spot >= low, tirx.Select(spot <= high, spot, high), low)


def _within(place: Any, extent: Any) -> Any:
    return tirx.max(tirx.min(place, extent - 1), whole(0))


def _weighted(tap: Tap, spots: Sequence[Any], offsets: Sequence[int], weight: Callable[[int, Any], Any]) -> Any:
    """The sum of the places around the spots, with the product of the weights along each axis."""
    below = [tirx.floor(spot) for spot in spots]
    total: Any = None
    for steps in combinations(offsets, repeat=len(spots)):
        value = tap([low.astype("int64") + step for low, step in zip(below, steps, strict=True)])
        for spot, low, step in zip(spots, below, steps, strict=True):
            value = value * weight(step, spot - low)
        total = value if total is None else total + value
    return total


def linear(tap: Tap, spots: Sequence[Any]) -> Any:
    return _weighted(tap, spots, (0, 1), lambda step, part: part if step else number(1, part) - part)


def _cubic(tap: Tap, spots: Sequence[Any]) -> Any:
    def weight(step: int, part: Any) -> Any:
        return cubic_weight(tirx.abs(part - number(step, part)), _CUBIC)

    return _weighted(tap, spots, (-1, 0, 1, 2), weight)


def _nearest(tap: Tap, spots: Sequence[Any]) -> Any:
    return tap([tirx.nearbyint(spot).astype("int64") for spot in spots])  # ties go to the even number


_MODES = {"linear": linear, "bilinear": linear, "nearest": _nearest, "cubic": _cubic, "bicubic": _cubic}


def _zero_outside(data: te.Tensor, lead: Sequence[Any]) -> Tap:
    extents = data.shape[len(lead) :]

    def tap(places: Sequence[Any]) -> Any:
        inside = tirx.all(*[tirx.all(i >= 0, i < n) for i, n in zip(places, extents, strict=True)])
        held = [_within(i, n) for i, n in zip(places, extents, strict=True)]
        return tirx.if_then_else(inside, data(*lead, *held), tirx.const(0, data.dtype))

    return tap


# -- GridSample -------------------------------------------------------------------------------------------------


def _grid_sample(op: Op) -> Result:
    mode, padding = op.attr("mode", "linear"), op.attr("padding_mode", "zeros")
    aligned = bool(op.attr("align_corners", 0))
    if mode not in _MODES or padding not in ("zeros", "border", "reflection"):
        op.refuse(f"there is no mode '{mode}' with padding '{padding}'")

    def compute(data: te.Tensor, grid: te.Tensor) -> te.Tensor:
        extents = data.shape[2:]
        axes = range(len(extents))

        def moved(spot: Any, extent: Any) -> Any:
            """A coordinate outside of the tensor, brought to where it is read instead."""
            if padding == "zeros":
                return spot
            last = (extent - 1).astype(spot.ty.dtype)
            folded = _reflected(spot, last, aligned) if padding == "reflection" else spot
            return tirx.max(tirx.min(folded, last), number(0, spot))

        def element(*index: Any) -> Any:
            lead, place = index[:2], index[2:]

            def tap(places: Sequence[Any]) -> Any:
                if padding == "zeros":
                    return _zero_outside(data, lead)(places)
                real = [moved(i.astype(data.dtype), n) for i, n in zip(places, extents, strict=True)]
                return data(*lead, *(_within(i.astype("int64"), n) for i, n in zip(real, extents, strict=True)))

            spots = []
            for axis in axes:  # the grid names the last axis first
                given, extent = grid(index[0], *place, len(extents) - 1 - axis).astype(data.dtype), extents[axis]
                spot = _near(_unscaled(given, extent, aligned), extent)
                spots.append(spot if "cubic" in mode else moved(spot, extent))
            return _MODES[mode](tap, spots)

        return te.compute((*data.shape[:2], *grid.shape[1:-1]), element, name="T_grid_sample")

    return narrowed(op, op.te(compute, widened(op, op.x(0)), op.x(1)))


def _unscaled(given: Any, extent: Any, aligned: bool) -> Any:
    """From -1..1 to places: the corners are the middles of the first and last place, or their outer edges."""
    one, half, size = number(1, given), number(0.5, given), extent.astype(given.ty.dtype)
    return (given + one) * half * (size - one) if aligned else ((given + one) * size - one) * half


def _reflected(spot: Any, last: Any, aligned: bool) -> Any:
    edge = number(0 if aligned else 0.5, spot)
    low, span = number(0, spot) - edge, last + edge + edge
    safe = tirx.Select(span > number(0, span), span, number(1, span))
    away = tirx.abs(spot - low)
    turns = tirx.floor(away / safe)
    rest = away - turns * safe
    even = tirx.EQ(turns - number(2, turns) * tirx.floor(turns * number(0.5, turns)), number(0, turns))
    return tirx.Select(even, low + rest, low + span - rest)


# -- AffineGrid -------------------------------------------------------------------------------------------------


def _affine_grid(op: Op) -> Result:
    """Each place of the grid, as coordinates in -1..1 with a 1 behind them, times the matrix of its image."""
    aligned, theta = bool(op.attr("align_corners", 0)), widened(op, op.x(0))
    known = op.known(1)
    places = (list(known) if known is not None else named(op, integers(op, 1)))[2:]
    axes = len(places)
    if axes not in (2, 3):
        op.refuse(f"over {axes} dims")

    def compute(matrix: te.Tensor, sizes: list[Any]) -> te.Tensor:
        def element(n: Any, *index: Any) -> Any:
            *place, row = index
            total = matrix(n, row, axes)
            for axis, at in enumerate(reversed(place)):  # the matrix names the last axis first
                total = total + matrix(n, row, axis) * _scaled(at, sizes[axes - 1 - axis], aligned, matrix.dtype)
            return total

        return te.compute((matrix.shape[0], *sizes, axes), element, name="T_affine_grid")

    return narrowed(op, op.te(compute, theta, [expression(place) for place in places]))


def _scaled(place: Any, extent: Any, aligned: bool, dtype: str) -> Any:
    """From places to -1..1; a single place is the middle."""
    at, size, one = place.astype(dtype), extent.astype(dtype), tirx.const(1, dtype)
    if not aligned:
        return (at + at + one) / size - one
    return tirx.Select(extent > 1, (at + at) / tirx.max(size - one, one) - one, tirx.const(0, dtype))


# -- DeformConv -------------------------------------------------------------------------------------------------


def _deform_conv(op: Op) -> Result:
    """What each window reads is laid out first; the rest is a matrix product."""
    if op.rank() != 4:
        op.refuse("over other than two dims")
    height, width = op.attr("kernel_shape", None) or op.shape(1)[2:]
    x, weight, offset = (widened(op, op.x(place)) for place in range(3))
    mask = [widened(op, op.x(4))] if op.has(4) else []
    strides, dilations = op.attr("strides", None) or [1, 1], op.attr("dilations", None) or [1, 1]
    pads, groups, sharing = op.attr("pads", None) or [0] * 4, op.attr("group", 1), op.attr("offset_group", 1)

    def windows(data: te.Tensor, moves: te.Tensor, *shares: te.Tensor) -> te.Tensor:
        def element(n: Any, c: Any, k: Any, row: Any, column: Any) -> Any:
            part = tirx.floordiv(c, tirx.floordiv(data.shape[1], sharing)) * (height * width) + k
            step = tirx.floordiv(k, width), tirx.floormod(k, width)
            spots = []
            for axis, out in enumerate((row, column)):
                start = out * strides[axis] + step[axis] * dilations[axis] - pads[axis]
                spot = start.astype(data.dtype) + moves(n, part * 2 + axis, row, column)
                spots.append(_near(spot, data.shape[2 + axis]))
            value = linear(_zero_outside(data, (n, c)), spots)
            return value * shares[0](n, part, row, column) if shares else value

        shape = (*data.shape[:2], height * width, *moves.shape[2:])
        return te.compute(shape, element, name="T_windows")

    read = op.te(windows, x, offset, *mask, name="deformed")
    batch, channels = op.shape()[:2]
    made, inside = op.shape(1)[0], op.shape(2)[2:]
    depth, area = op.settled(channels // groups * height * width), op.settled(product(inside))
    columns = op.reshape(read, [batch, groups, depth, area])
    rows = op.reshape(weight, [1, groups, made // groups, depth])
    result = op.reshape(matmul(op, rows, columns), [batch, made, *inside])
    if op.has(3):
        result = op.emit(relax.op.add(result, op.reshape(widened(op, op.x(3)), [1, made, 1, 1])))
    return narrowed(op, result)


# -- RoiAlign ---------------------------------------------------------------------------------------------------


def _roi_align(op: Op) -> Result:
    if op.attr("mode", "avg") != "avg":
        op.refuse(f"there is no kernel for its mode '{op.attr('mode')}'")
    size = [op.attr("output_height", 1), op.attr("output_width", 1)]
    ratio, scale = op.attr("sampling_ratio", 0), op.attr("spatial_scale", 1.0)
    half = op.attr("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    regions, channels = op.shape(1)[0], op.shape()[1]
    shape: list[Extent] = [regions, channels, *size]

    def body(ins: Buffers, outs: Buffers) -> None:
        from tvm.script.ir_builder import tirx as T

        (data, corners, images), (result,) = ins, outs
        real = data.dtype

        def const(value: float) -> Any:
            return tirx.const(value, real)

        with T.parallel(0, math.prod(result.shape)) as flat:
            r, c, *place = index = unravelled(flat, result.shape)
            starts, steps, counts = [], [], []
            for axis in range(2):  # a region is given as left, top, right, bottom
                low, high = (corners[r, 1 - axis + far] * const(scale) - const(0.5 if half else 0) for far in (0, 2))
                length = high - low if half else tirx.max(high - low, const(1))
                cell = length / const(size[axis])
                count = whole(ratio) if ratio > 0 else tirx.max(tirx.ceil(cell), const(0)).astype("int64")
                starts.append(low + place[axis].astype(real) * cell)
                steps.append(cell / tirx.max(count, whole(1)).astype(real))
                counts.append(count)
            T.buffer_store(result, const(0), index)
            with T.serial(0, counts[0]) as i, T.serial(0, counts[1]) as j:
                spots = [
                    start + (at.astype(real) + const(0.5)) * step
                    for start, step, at in zip(starts, steps, (i, j), strict=True)
                ]
                image = _within(images[r].astype("int64"), data.shape[0])
                T.buffer_store(result, result[tuple(index)] + _at_edge(data, (image, c), spots), index)
            total = tirx.max(counts[0] * counts[1], whole(1)).astype(real)
            T.buffer_store(result, result[tuple(index)] / total, index)

    x = widened(op, op.x(0))
    (made,) = filling(op, body, [(shape, str(x.ty.dtype))], x, widened(op, op.x(1)), op.x(2))
    return narrowed(op, made)


def _at_edge(data: Any, lead: tuple[Any, ...], spots: Sequence[Any]) -> Any:
    """Up to one place outside of the tensor its edge is read, and 0 beyond."""
    extents = data.shape[2:]
    beyond = tirx.const(False, "bool")
    held = []
    for spot, extent in zip(spots, extents, strict=True):
        size = extent.astype(spot.ty.dtype)
        beyond = tirx.any(beyond, spot < number(-1, spot), spot > size)
        held.append(tirx.max(tirx.min(_near(spot, extent), size - number(1, spot)), number(0, spot)))

    def tap(places: Sequence[Any]) -> Any:
        return data[(*lead, *(_within(i, n) for i, n in zip(places, extents, strict=True)))]

    return tirx.Select(beyond, number(0, spots[0]), linear(tap, held))


EMIT: dict[str, Emit] = {
    "AffineGrid": _affine_grid,
    "DeformConv": _deform_conv,
    "GridSample": _grid_sample,
    "RoiAlign": _roi_align,
}
