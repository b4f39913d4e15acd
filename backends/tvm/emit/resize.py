"""Resize, one axis after the other: each element of the result is a weighted sum of a few places of the input.

Coordinates are computed in float32, as ONNX Runtime does it, except where whole numbers give them exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from backends.tvm.emit.elementwise import number
from backends.tvm.emit.extents import Extent, expression
from backends.tvm.emit.op import Emit, Op, Result
from backends.tvm.emit.reductions import narrowed, widened
from backends.tvm.emit.runtime_sizes import integers, named, vector

_ROUND: dict[str, Callable[[Any], Any]] = {
    "round_prefer_floor": lambda x: tirx.ceil(x - _real(0.5)),
    "round_prefer_ceil": lambda x: tirx.floor(x + _real(0.5)),
    "floor": tirx.floor,
    "ceil": tirx.ceil,
}


def _real(value: float) -> Any:
    return tirx.const(value, "float32")


@dataclass(frozen=True)
class _Axis:
    place: int
    before: Extent
    after: Extent
    scale: float | None  # after / before, where it was given and not the length
    region: tuple[float, float] | None
    told: tuple[relax.Expr, int] | None = None  # where an input tells the scale: the input, and which element


def _resize(op: Op) -> Result:
    x = op.x()
    exact = op.attr("mode", "nearest") == "nearest"
    moved = x if exact else widened(op, x)
    for axis in _axes(op):
        changed = axis.told is not None or (axis.scale != 1.0 and not op.same(axis.before, axis.after))
        if changed or axis.region is not None:
            moved = _along(op, moved, axis)
    return moved if exact else narrowed(op, moved)


def _axes(op: Op) -> list[_Axis]:
    shape = op.shape()
    chosen = [axis % len(shape) for axis in op.attr("axes", None) or range(len(shape))]
    place = 1 if op.type == "Upsample" or op.version < 11 else 2
    sized = op.type == "Resize" and op.has(3) and op.shape(3) != [0]
    if sized and op.known(3) is None:
        if op.attr("keep_aspect_ratio_policy", "stretch") != "stretch":
            op.refuse("it keeps an aspect ratio that is only known at run time")
        lengths = named(op, integers(op, 3))
        return [_Axis(axis, shape[axis], length, None, None) for axis, length in zip(chosen, lengths, strict=True)]
    if not sized and op.has(place) and op.constant(place) is None:
        return _scaled_at_runtime(op, chosen, place)
    scales, sizes = _scales(op, place), op.known(3) if sized else None
    if sizes is not None and sizes.size and op.attr("keep_aspect_ratio_policy", "stretch") != "stretch":
        return _same_aspect(op, chosen, [int(size) for size in sizes])
    if sizes is not None and sizes.size:
        lengths = list(sizes)
        factors: list[float | None] = [None] * len(chosen)
    elif scales is not None:
        lengths = [_scaled(op, shape[axis], scale) for axis, scale in zip(chosen, scales, strict=True)]
        factors = list(scales)
    else:
        op.refuse("its sizes are only known at run time")
    region = _region(op, len(chosen))
    return [
        _Axis(axis, shape[axis], length, factor, region[place] if region else None)
        for place, (axis, length, factor) in enumerate(zip(chosen, lengths, factors, strict=True))
    ]


def _scaled_at_runtime(op: Op, chosen: list[int], place: int) -> list[_Axis]:
    count, shape = len(chosen), op.shape()

    def sizes(source: list[Any], scales: te.Tensor) -> list[Any]:
        return [
            tirx.floor(source[axis].astype("float32") * scales(number)).astype("int64")
            for number, axis in enumerate(chosen)
        ]

    scales = op.x(place)
    lengths = named(op, vector(op, count, sizes, [expression(extent) for extent in shape], scales))
    return [
        _Axis(axis, shape[axis], length, None, None, (scales, number))
        for number, (axis, length) in enumerate(zip(chosen, lengths, strict=True))
    ]


def _scales(op: Op, place: int) -> list[float] | None:
    if "scales" in op.node.attributes:
        return [float(scale) for scale in op.attr("scales")]
    values = op.constant(place) if op.has(place) else None
    return [float(value) for value in values] if values is not None and values.size else None


def _scaled(op: Op, extent: Extent, scale: float) -> Extent:
    if isinstance(extent, int):
        return int(np.floor(extent * np.float32(scale)))
    ratio = Fraction(scale).limit_denominator(64)
    if float(ratio) != scale:
        op.refuse("it scales a dynamic dim by a crooked number")
    return op.settled(tirx.floordiv(extent * ratio.numerator, ratio.denominator))


def _same_aspect(op: Op, chosen: list[int], sizes: list[int]) -> list[_Axis]:
    shape = op.shape()
    if not all(isinstance(shape[axis], int) for axis in chosen):
        op.refuse("it keeps the aspect ratio of a dynamic dim")
    ratios = [size / shape[axis] for axis, size in zip(chosen, sizes, strict=True)]
    scale = min(ratios) if op.attr("keep_aspect_ratio_policy") == "not_larger" else max(ratios)
    return [_Axis(axis, shape[axis], int(np.floor(scale * shape[axis] + 0.5)), scale, None) for axis in chosen]


def _region(op: Op, count: int) -> list[tuple[float, float]] | None:
    if op.attr("coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize":
        return None
    values = op.constant(1)
    if values is None:
        op.refuse("its region is only known at run time")
    return [(float(values[place]), float(values[place + count])) for place in range(count)]


def _along(op: Op, x: relax.Expr, axis: _Axis) -> relax.Expr:
    mode = op.attr("mode", "nearest")
    if op.attr("antialias", 0) and mode != "nearest":
        return _by_table(op, x, axis, *_antialiased(op, axis))
    outside = op.attr("extrapolation_value", 0.0) if axis.region is not None else None

    def compute(data: te.Tensor, length: Any, *scales: te.Tensor) -> te.Tensor:
        before = data.shape[axis.place]
        told = scales[0](axis.told[1]) if axis.told is not None else None
        shape = [length if place == axis.place else extent for place, extent in enumerate(data.shape)]

        def element(*index: Any) -> Any:
            def at(place: Any) -> Any:
                held = tirx.max(tirx.min(place, before - 1), tirx.IntImm("int64", 0))
                return data(*index[: axis.place], held, *index[axis.place + 1 :])

            spot = _coordinate(op, index[axis.place], before, length, axis, told)
            value = _sampled(op, mode, at, spot, before)
            if outside is None:
                return value
            beyond = tirx.any(spot.real < _real(0), spot.real > (before - 1).astype("float32"))
            return tirx.Select(beyond, tirx.const(outside, data.dtype), value)

        return te.compute(shape, element, name="T_resize")

    return op.te(compute, x, expression(axis.after), *([axis.told[0]] if axis.told is not None else []))


@dataclass(frozen=True)
class _Spot:
    """Where an element of the result lies in the input; `whole` where whole numbers say it exactly."""

    real: Any
    whole: Any = None


def _coordinate(op: Op, i: Any, before: Any, after: Any, axis: _Axis, told: Any) -> _Spot:
    mode = op.attr("coordinate_transformation_mode", "asymmetric" if op.type == "Upsample" else "half_pixel")
    position = i.astype("float32")
    scale = after.astype("float32") / before.astype("float32") if axis.scale is None else _real(axis.scale)
    scale = scale if told is None else told
    half = _real(0.5)
    if mode == "asymmetric":
        times = axis.scale if axis.scale is not None else _whole_ratio(axis)
        whole = tirx.floordiv(i, int(times)) if times is not None and times == int(times) else None
        return _Spot(position / scale, whole)
    if mode in ("half_pixel", "pytorch_half_pixel"):
        middle = (position + half) / scale - half
        if mode == "half_pixel":
            return _Spot(middle)
        return _Spot(tirx.Select(after > 1, middle, _real(0)))
    if mode == "half_pixel_symmetric":
        # The length that was asked for and the one that the scale would give differ by rounding.
        adjusted = after.astype("float32") / (scale * before.astype("float32"))
        centre = before.astype("float32") * half
        return _Spot(centre * (_real(1) - adjusted) + (position + half) / scale - half)
    if mode == "align_corners":
        # TVM cannot tell the range of a product of floats where a dim is in it. No more than one of these is rounded.
        return _Spot((i * (before - 1)).astype("float32") / _steps(after))
    if mode == "tf_crop_and_resize" and axis.region is not None:
        first, last = axis.region
        reach = (before - 1).astype("float32")
        several = _real(first) * reach + position * _real(last - first) * reach / _steps(after)
        return _Spot(tirx.Select(after > 1, several, _real(0.5 * (first + last)) * reach))
    raise op.refusal(f"coordinate transformation '{mode}'")


def _steps(length: Any) -> Any:
    """From the first element to the last, at least 1."""
    return tirx.max(length - 1, tirx.IntImm("int64", 1)).astype("float32")


def _whole_ratio(axis: _Axis) -> float | None:
    if isinstance(axis.before, int) and isinstance(axis.after, int) and axis.before and axis.after % axis.before == 0:
        return axis.after // axis.before
    return None


def _sampled(op: Op, mode: str, at: Callable[[Any], Any], spot: _Spot, before: Any) -> Any:
    if mode == "nearest":
        rounding = op.attr("nearest_mode", "floor" if op.type == "Upsample" else "round_prefer_floor")
        if spot.whole is not None and rounding == "floor":
            return at(spot.whole)
        return at(_ROUND[rounding](spot.real).astype("int64"))
    below = tirx.floor(spot.real)
    first, part = below.astype("int64"), spot.real - below
    if mode == "linear":
        low, high = at(first), at(first + 1)
        share = part.astype(low.ty.dtype)
        return low * (tirx.const(1, low.ty.dtype) - share) + high * share
    if mode == "cubic":
        return _cubic(op, at, first, part, before)
    raise op.refusal(f"mode '{mode}'")


def _cubic(op: Op, at: Callable[[Any], Any], first: Any, part: Any, before: Any) -> Any:
    weights = [
        cubic_weight(distance, op.attr("cubic_coeff_a", -0.75))
        for distance in (part + _real(1), part, _real(1) - part, _real(2) - part)
    ]
    places = [first - 1, first, first + 1, first + 2]
    if op.attr("exclude_outside", 0):
        weights = [
            tirx.Select(tirx.all(place >= 0, place < before), weight, _real(0))
            for place, weight in zip(places, weights, strict=True)
        ]
        total = weights[0] + weights[1] + weights[2] + weights[3]
        weights = [weight / total for weight in weights]
    value: Any = None
    for place, weight in zip(places, weights, strict=True):
        tap = at(place)
        term = tap * weight.astype(tap.ty.dtype)
        value = term if value is None else value + term
    return value


def cubic_weight(distance: Any, a: float) -> Any:
    """Keys' kernel, at a distance of 0..1 or 1..2."""

    def real(value: float) -> Any:
        return number(value, distance)

    near = ((real(a + 2) * distance - real(a + 3)) * distance) * distance + real(1)
    far = ((real(a) * distance - real(5 * a)) * distance + real(8 * a)) * distance - real(4 * a)
    return tirx.Select(distance <= real(1), near, far)


def _antialiased(op: Op, axis: _Axis) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """For each element of the result the first place that it takes from, and the weights from there on. Where it
    shrinks, the filter is as much wider."""
    before, after = axis.before, axis.after
    if not isinstance(before, int) or not isinstance(after, int):
        op.refuse("antialiasing of a dynamic dim")
    scale = axis.scale if axis.scale is not None else after / before
    stretch = min(scale, 1.0)
    a = op.attr("cubic_coeff_a", -0.75)
    reach = (2.0 if op.attr("mode") == "cubic" else 1.0) / stretch
    taps = int(2 * np.ceil(reach)) + 1
    starts, weights = np.zeros(after, np.int64), np.zeros((after, taps), np.float32)
    for i in range(after):
        spot = _plain_coordinate(op, i, before, after, scale)
        first = int(np.floor(spot - reach)) + 1
        distances = np.abs((first + np.arange(taps)) - spot) * stretch
        row = _filter(op.attr("mode"), distances, a)
        if op.attr("exclude_outside", 0):
            inside = (first + np.arange(taps) >= 0) & (first + np.arange(taps) < before)
            row = np.where(inside, row, 0)
        starts[i], weights[i] = first, row / row.sum()
    return starts, weights


def _plain_coordinate(op: Op, i: int, before: int, after: int, scale: float) -> float:
    mode = op.attr("coordinate_transformation_mode", "half_pixel")
    if mode == "asymmetric":
        return i / scale
    if mode == "align_corners":
        return i * (before - 1) / (after - 1) if after > 1 else 0.0
    if mode == "pytorch_half_pixel" and after == 1:
        return 0.0
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (i + 0.5) / scale - 0.5
    raise op.refusal(f"antialiasing with '{mode}'")


def _filter(mode: str, distances: np.ndarray[Any, Any], a: float) -> np.ndarray[Any, Any]:
    if mode == "linear":
        return np.asarray(np.maximum(1 - distances, 0))
    near = ((a + 2) * distances - (a + 3)) * distances**2 + 1
    far = ((a * distances - 5 * a) * distances + 8 * a) * distances - 4 * a
    return np.where(distances <= 1, near, np.where(distances < 2, far, 0))


def _by_table(
    op: Op, x: relax.Expr, axis: _Axis, starts: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]
) -> relax.Expr:
    def compute(data: te.Tensor, first: te.Tensor, weight: te.Tensor) -> te.Tensor:
        before = data.shape[axis.place]
        tap = te.reduce_axis((0, weights.shape[1]), name="tap")
        shape = [first.shape[0] if place == axis.place else extent for place, extent in enumerate(data.shape)]

        def element(*index: Any) -> Any:
            i = index[axis.place]
            held = tirx.max(tirx.min(first(i) + tap, before - 1), tirx.IntImm("int64", 0))
            value = data(*index[: axis.place], held, *index[axis.place + 1 :])
            return te.sum(value * weight(i, tap).astype(data.dtype), axis=tap)

        return te.compute(shape, element, name="T_resize")

    return op.te(compute, x, op.const(starts, "int64"), op.const(weights, "float32"))


EMIT: dict[str, Emit] = {"Resize": _resize, "Upsample": _resize}
