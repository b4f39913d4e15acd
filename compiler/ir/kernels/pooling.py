"""Pools, by walking over the offsets in the window: exact about NaN and ties, whatever the window."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from compiler.contracts import Array
from compiler.ir.kernels.support import BFLOAT16, HALF, Call, Kernel
from compiler.ir.kernels.windows import Windows, pooled_sizes, windows_of


def _framed(x: Array, windows: Windows, sizes: Sequence[int], fill: Any) -> Array:
    """The input with padding around it, as far as the last window reaches."""
    shape = list(x.shape[:2])
    for axis, count in enumerate(sizes):
        needed = (count - 1) * windows.strides[axis] + windows.reach[axis]
        shape.append(max(needed, windows.before[axis] + x.shape[2 + axis]))
    frame = np.full(shape, fill, x.dtype)
    inside = (slice(low, low + size) for low, size in zip(windows.before, x.shape[2:], strict=True))
    frame[(slice(None), slice(None), *inside)] = x
    return frame


def _views(frame: Array, windows: Windows, sizes: Sequence[int]) -> Iterator[tuple[tuple[int, ...], Array]]:
    """For each offset in the window: the elements that lie there, one for each window."""
    for offset in itertools.product(*(range(size) for size in windows.kernel)):
        index = tuple(
            slice(place * gap, place * gap + (count - 1) * stride + 1, stride)
            for place, gap, count, stride in zip(offset, windows.dilations, sizes, windows.strides, strict=True)
        )
        yield offset, frame[(slice(None), slice(None), *index)]


def _plan(call: Call, x: Array) -> tuple[Windows, tuple[int, ...]]:
    windows = windows_of(call, call["kernel_shape"], x.shape[2:])
    return windows, pooled_sizes(windows, x.shape[2:], bool(call.get("ceil_mode", 0)))


def _max_pool(call: Call, x: Array) -> Any:
    windows, sizes = _plan(call, x)
    lowest = np.iinfo(x.dtype).min if x.dtype.kind in "iu" else -np.inf
    frame = _framed(x, windows, sizes, lowest)
    if call.outputs < 2:
        result = np.full((*x.shape[:2], *sizes), lowest, x.dtype)
        for _, view in _views(frame, windows, sizes):
            np.maximum(result, view, out=result)
        return result
    return _max_pool_with_indices(call, x, windows, sizes, frame)


def _max_pool_with_indices(
    call: Call, x: Array, windows: Windows, sizes: tuple[int, ...], frame: Array
) -> tuple[Array, Array]:
    places = _framed(_flat_places(call, x), windows, sizes, -1)
    result = indices = None
    for (_, view), (_, place) in zip(_views(frame, windows, sizes), _views(places, windows, sizes), strict=True):
        if result is None or indices is None:
            result, indices = view.copy(), np.array(np.broadcast_to(place, view.shape))
            continue
        # The first of equals wins, a real element wins over padding, and NaN wins over numbers.
        better = ((view > result) | (indices < 0) | (np.isnan(view) & ~np.isnan(result))) & (place >= 0)
        result, indices = np.where(better, view, result), np.where(better, place, indices)
    assert result is not None
    assert indices is not None
    return result, indices.astype(np.int64)


def _flat_places(call: Call, x: Array) -> Array:
    """The index of every element in the flattened input; column-major over the spatial axes where asked for."""
    spatial = x.shape[2:]
    inner = np.arange(int(np.prod(spatial))).reshape(spatial, order="F" if call.get("storage_order", 0) else "C")
    planes = np.arange(x.shape[0] * x.shape[1]).reshape(x.shape[:2] + (1,) * len(spatial))
    return np.asarray(planes * inner.size + inner)


def _average_pool(call: Call, x: Array) -> Array:
    windows, sizes = _plan(call, x)
    wide = x.astype(np.float32) if x.dtype in (HALF, BFLOAT16) else x
    total = np.zeros((*x.shape[:2], *sizes), wide.dtype)
    for _, view in _views(_framed(wide, windows, sizes, 0), windows, sizes):
        total += view
    count = np.zeros((1, 1, *sizes), wide.dtype)
    for _, view in _views(_framed(_counted(call, x, windows), _uncropped(call, windows), sizes, 0), windows, sizes):
        count += view
    return np.asarray(total / count).astype(x.dtype, copy=False)


def _counted(call: Call, x: Array, windows: Windows) -> Array:
    """Ones where an element, or padding that is to be included, counts for the average."""
    shape = list(x.shape[2:])
    if call.get("count_include_pad", 0):
        shape = [low + size + high for low, size, high in zip(windows.before, shape, windows.after, strict=True)]
    return np.ones((1, 1, *shape), np.float32)


def _uncropped(call: Call, windows: Windows) -> Windows:
    if not call.get("count_include_pad", 0):
        return windows
    none = (0,) * len(windows.kernel)
    return Windows(windows.kernel, windows.strides, windows.dilations, none, none)


def _lp_pool(call: Call, x: Array) -> Array:
    windows, sizes = _plan(call, x)
    total = np.zeros((*x.shape[:2], *sizes), x.dtype)
    for _, view in _views(_framed(np.abs(x) ** call["p"], windows, sizes, 0), windows, sizes):
        total += view
    return np.asarray(total ** (1.0 / call["p"])).astype(x.dtype, copy=False)


def _spatial(x: Array) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


def _global_average(call: Call, x: Array) -> Array:
    wide = x.astype(np.float32) if x.dtype in (HALF, BFLOAT16) else x
    return np.asarray(np.mean(wide, axis=_spatial(x), keepdims=True)).astype(x.dtype, copy=False)


TABLE: dict[str, Kernel] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": lambda call, x: np.max(x, axis=_spatial(x), keepdims=True),
    "LpPool": _lp_pool,
    "MaxPool": _max_pool,
}
