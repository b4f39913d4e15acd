"""Resize: each axis by its own matrix of interpolation weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from compiler.contracts import Array
from compiler.ir.kernels.support import BFLOAT16, HALF, Call, Kernel, Result, normalize_axes

_ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@dataclass(frozen=True)
class _Axis:
    size: int
    new_size: int
    scale: float
    start: float = 0.0  # the region of interest, of tf_crop_and_resize only
    end: float = 1.0


def _coordinates(mode: str, axis: _Axis) -> Array:
    """Where each new element lies in the old axis."""
    places = np.arange(axis.new_size, dtype=np.float64)
    if mode == "asymmetric":
        return places / axis.scale
    if mode == "align_corners":
        return places * (axis.size - 1) / (axis.new_size - 1) if axis.new_size > 1 else places * 0
    if mode == "tf_crop_and_resize":
        if axis.new_size > 1:
            step = (axis.end - axis.start) * (axis.size - 1) / (axis.new_size - 1)
            return axis.start * (axis.size - 1) + places * step
        return np.full(axis.new_size, 0.5 * (axis.start + axis.end) * (axis.size - 1))
    if mode == "pytorch_half_pixel" and axis.new_size <= 1:
        return places * 0
    if mode == "tf_half_pixel_for_nn":
        return (places + 0.5) / axis.scale
    half_pixel = (places + 0.5) / axis.scale - 0.5
    if mode == "half_pixel_symmetric":
        # Keeps the centre in place when the exact length was rounded.
        adjustment = axis.new_size / (axis.scale * axis.size)
        return axis.size / 2 * (1 - adjustment) + half_pixel
    return half_pixel


def _linear(distance: Array) -> Array:
    return np.maximum(0.0, 1.0 - np.abs(distance))


def _cubic(a: float) -> Callable[[Array], Array]:
    def weight(distance: Array) -> Array:
        d = np.abs(distance)
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0.0))

    return weight


def _weights(call: Call, axis: _Axis, where: Array) -> Array:
    """The matrix from old to new elements of one axis."""
    if call["mode"] == "nearest":
        nearest = _ROUNDINGS[call["nearest_mode"]](where)
        matrix = np.zeros((axis.new_size, axis.size))
        matrix[np.arange(axis.new_size), np.clip(nearest, 0, axis.size - 1).astype(np.int64)] = 1
        return matrix
    kernel, reach = (_linear, 1) if call["mode"] == "linear" else (_cubic(call["cubic_coeff_a"]), 2)
    # Antialiasing widens the filter when the axis shrinks.
    shrink = min(axis.scale, 1.0) if call.get("antialias", 0) else 1.0
    span = math.ceil(reach / shrink)
    taps = np.floor(where)[:, None] + np.arange(-span, span + 2)
    weights = kernel((taps - where[:, None]) * shrink)
    inside = (taps >= 0) & (taps < axis.size)
    if call.get("exclude_outside", 0):
        weights = np.where(inside, weights, 0.0)
    weights = weights / weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((axis.new_size, axis.size))
    rows = np.broadcast_to(np.arange(axis.new_size)[:, None], taps.shape)
    np.add.at(matrix, (rows, np.clip(taps, 0, axis.size - 1).astype(np.int64)), weights)
    return matrix


def _resize(
    call: Call, x: Array, roi: Array | None = None, scales: Array | None = None, sizes: Array | None = None
) -> Array:
    if call.since < 11:  # Resize-10 has the scales in second place
        scales, roi = roi, None
    axes = normalize_axes(call.get("axes") or range(x.ndim), x.ndim)
    plan = _plan(call, x.shape, axes, roi, scales, sizes)
    mode = call.get("coordinate_transformation_mode", "asymmetric")
    wide = x.astype(np.float32) if x.dtype in (HALF, BFLOAT16) else x
    result, outside = wide, np.zeros((1,) * x.ndim, bool)
    for place, axis in plan.items():
        if axis.size == axis.new_size and mode != "tf_crop_and_resize":
            continue
        where = _coordinates(mode, axis)
        if mode == "tf_crop_and_resize":
            beyond = (where < 0) | (where > axis.size - 1)
            outside = outside | beyond.reshape([-1 if dim == place else 1 for dim in range(x.ndim)])
        result = _apply(call, result, place, axis, where)
    if outside.any():
        result = np.where(outside, np.asarray(call["extrapolation_value"], result.dtype), result)
    return np.asarray(result).astype(x.dtype, copy=False)


def _apply(call: Call, x: Array, place: int, axis: _Axis, where: Array) -> Result:
    matrix = _weights(call, axis, where)
    if call["mode"] == "nearest":
        return np.take(x, np.argmax(matrix, axis=1), axis=place)
    floats = x if x.dtype.kind == "f" else x.astype(np.float64)
    mixed = np.moveaxis(np.tensordot(floats, matrix.astype(floats.dtype), axes=(place, 1)), -1, place)
    return mixed if x.dtype.kind == "f" else np.rint(mixed)


def _plan(
    call: Call, shape: Sequence[int], axes: Sequence[int], roi: Array | None, scales: Array | None, sizes: Array | None
) -> dict[int, _Axis]:
    if sizes is not None and sizes.size:
        new = _kept_aspect(call, [shape[axis] for axis in axes], [int(size) for size in sizes])
        factors = [size / shape[axis] for size, axis in zip(new[0], axes, strict=True)]
        factors = new[1] or factors
        new_sizes = new[0]
    else:
        assert scales is not None
        factors = [float(scale) for scale in scales]
        new_sizes = [math.floor(shape[axis] * scale) for axis, scale in zip(axes, factors, strict=True)]
    if call.get("coordinate_transformation_mode") == "tf_crop_and_resize" and roi is not None and roi.size:
        bounds = [float(bound) for bound in roi]
    else:
        bounds = [0.0] * len(axes) + [1.0] * len(axes)
    return {
        axis: _Axis(shape[axis], size, factor, bounds[place], bounds[place + len(axes)])
        for place, (axis, size, factor) in enumerate(zip(axes, new_sizes, factors, strict=True))
    }


def _kept_aspect(call: Call, old: list[int], wanted: list[int]) -> tuple[list[int], list[float] | None]:
    """The new sizes, and the scale they share where the aspect ratio is kept."""
    policy = call.get("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return wanted, None
    choose = min if policy == "not_larger" else max
    scale = choose(size / before for size, before in zip(wanted, old, strict=True))
    return [math.floor(scale * before + 0.5) for before in old], [scale] * len(old)


TABLE: dict[str, Kernel] = {"Resize": _resize}
