"""Gathering, scattering, sorting. An index out of range is an error, a negative one counts from the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from compiler.contracts import Array
from compiler.ir.kernels.support import Call, Kernel, normalize_axis

_REDUCTIONS: dict[str, Callable[..., None]] = {
    "add": np.add.at,
    "mul": np.multiply.at,
    "max": np.maximum.at,
    "min": np.minimum.at,
}


def _checked(indices: Array, size: int) -> Array:
    """Non-negative indices below `size`."""
    wide = indices.astype(np.int64)
    wide = np.where(wide < 0, wide + size, wide)
    bad = (wide < 0) | (wide >= size)
    if bad.any():
        raise IndexError(f"index {indices[bad].reshape(-1)[0]} is out of range for an axis of size {size}")
    return wide


def _gather(call: Call, x: Array, indices: Array) -> Array:
    axis = normalize_axis(call["axis"], x.ndim)
    return np.take(x, _checked(indices, x.shape[axis]), axis=axis)


def _along(x_shape: tuple[int, ...], indices: Array, axis: int) -> tuple[Array, ...]:
    """A full index for elements that are picked along one axis and stay in place on the others."""
    grid = list(np.ogrid[tuple(slice(size) for size in indices.shape)]) if indices.ndim else []
    grid[axis] = _checked(indices, x_shape[axis])
    return tuple(grid)


def _gather_elements(call: Call, x: Array, indices: Array) -> Array:
    return x[_along(x.shape, indices, normalize_axis(call["axis"], x.ndim))]


def _tuples(x_shape: tuple[int, ...], indices: Array, first_axis: int) -> tuple[Array, ...]:
    """The index tuples in the last axis of `indices`, one array for each indexed axis."""
    depth = indices.shape[-1]
    return tuple(_checked(indices[..., place], x_shape[first_axis + place]) for place in range(depth))


def _gather_nd(call: Call, x: Array, indices: Array) -> Array:
    batch = call.get("batch_dims", 0)
    leading = np.ogrid[tuple(slice(size) for size in indices.shape[:batch])] if batch else []
    inner = indices.ndim - 1 - batch
    grid = tuple(np.asarray(places).reshape(places.shape + (1,) * inner) for places in leading)
    return x[grid + _tuples(x.shape, indices, batch)]


def _scatter(x: Array, index: Any, updates: Array, reduction: str) -> Array:
    result = x.copy()
    if reduction == "none":
        result[index] = updates
    else:
        _REDUCTIONS[reduction](result, index, updates)
    return result


def _scatter_elements(call: Call, x: Array, indices: Array, updates: Array) -> Array:
    if indices.size == 0:
        return x.copy()
    index = _along(x.shape, indices, normalize_axis(call["axis"], x.ndim))
    return _scatter(x, index, updates, call.get("reduction", "none"))


def _scatter_nd(call: Call, x: Array, indices: Array, updates: Array) -> Array:
    return _scatter(x, _tuples(x.shape, indices, 0), updates, call.get("reduction", "none"))


def _top_k(call: Call, x: Array, k: Array | None = None) -> tuple[Array, Array]:
    axis = normalize_axis(call["axis"], x.ndim)
    count = call["k"] if k is None else int(k.reshape(-1)[0])
    if count > x.shape[axis]:
        raise ValueError(f"k is {count}, but the axis has only {x.shape[axis]} elements")
    if call.get("largest", 1):
        # Sorting the flipped axis keeps the lower index first among equals once the order is reversed.
        flipped = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
        order = x.shape[axis] - 1 - np.flip(flipped, axis)
    else:
        order = np.argsort(x, axis=axis, kind="stable")
    order = np.take(order, np.arange(count), axis=axis).astype(np.int64)
    return np.take_along_axis(x, order, axis), order


def _extreme_index(find: Callable[..., Any]) -> Kernel:
    def kernel(call: Call, x: Array) -> Array:
        axis = normalize_axis(call["axis"], x.ndim)
        if call.get("select_last_index", 0):
            found = x.shape[axis] - 1 - find(np.flip(x, axis), axis=axis)
        else:
            found = find(x, axis=axis)
        return np.expand_dims(found, axis) if call["keepdims"] else np.asarray(found)

    return kernel


TABLE: dict[str, Kernel] = {
    "ArgMax": _extreme_index(np.argmax),
    "ArgMin": _extreme_index(np.argmin),
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Scatter": _scatter_elements,  # what ScatterElements was called until opset 11
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "TopK": _top_k,
}
