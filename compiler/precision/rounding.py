"""Weights as whole numbers: which scale loses least, and what is left of the weights.

Everything here is an array of channels: a row holds what is summed up for one result. `size` neighbours in a row share
a scale, and a row may also be one group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from compiler.contracts import Array

_AT_ONCE = 2**18  # numbers that are tried at a time, so that the trials stay in the processor's cache
_TINY = np.finfo(np.float32).tiny  # the scale of zeros


@dataclass(frozen=True)
class Grid:
    """The whole numbers that a weight may become."""

    bits: int
    size: int  # of a group; 0: a whole row
    symmetric: bool

    @property
    def low(self) -> int:
        return -(1 << (self.bits - 1)) if self.symmetric else 0

    @property
    def high(self) -> int:
        return self.low + (1 << self.bits) - 1

    def ratios(self, *, quick: bool) -> Array:
        """Which parts of a group's range are tried: the fewer the numbers, the more there is to gain."""
        if self.bits > 4:
            return np.linspace(1.0, 0.9, 2 if quick else 5, dtype=np.float32)
        return np.linspace(1.0, 0.7, 4, dtype=np.float32) if quick else np.linspace(1.0, 0.5, 21, dtype=np.float32)

    def groups(self, rows: Array) -> Array:
        return rows.reshape(len(rows), -1, self.size or rows.shape[1])


@dataclass(frozen=True)
class Scales:
    """weight = (code - zero) * scale, for each row and group; symmetric grids have no zero."""

    scale: Array
    zero: Array | None


@dataclass(frozen=True)
class Rounded:
    """Rows of whole numbers, and how they are read."""

    grid: Grid
    codes: Array
    scales: Scales

    @property
    def rows(self) -> Array:
        """The weights that are left, in float32, computed as DequantizeLinear does."""
        codes = self.grid.groups(self.codes).astype(np.float32)
        if self.scales.zero is not None:
            codes = codes - self.scales.zero[..., None].astype(np.float32)
        return (codes * self.scales.scale[..., None]).reshape(self.codes.shape)

    @property
    def bits(self) -> float:
        """Of a weight, with its share of the scale and the zero."""
        each = 32 + (0 if self.scales.zero is None else self.grid.bits)
        return self.grid.bits + each * self.scales.scale.size / self.codes.size


def nearest(rows: Array, grid: Grid, second: Array | None = None, *, quick: bool = False) -> Rounded:
    """Each weight becomes the nearest number, on the scales that lose least."""
    scales = fit(rows, grid, second, quick=quick)
    codes = np.empty(rows.shape, np.int8 if grid.symmetric else np.uint8)
    for part in _parts(rows):
        zero = None if scales.zero is None else scales.zero[part]
        codes[part] = _codes(grid.groups(rows[part]), scales.scale[part], zero, grid).reshape(rows[part].shape)
    return Rounded(grid, codes, scales)


def fit(rows: Array, grid: Grid, second: Array | None = None, *, quick: bool = False) -> Scales:
    """For each group the scale with the smallest error: of the weights, or of what is summed up over the group where
    `second` is the mean of x xT over what they are multiplied with."""
    groups = -(-rows.shape[1] // (grid.size or rows.shape[1]))
    scale = np.empty((len(rows), groups), np.float32)
    zero = None if grid.symmetric else np.empty((len(rows), groups), np.uint8)
    blocks = None if second is None else _blocks(second, grid)
    for part in _parts(rows):
        scale[part], found = _fitted(grid.groups(rows[part]), grid, blocks, grid.ratios(quick=quick))
        if zero is not None:
            zero[part] = found
    return Scales(scale, zero)


def _blocks(second: Array, grid: Grid) -> Array:
    """What belongs to each group; of whole rows the diagonal only, as all of it would take long."""
    if not grid.size:
        return np.diag(second).astype(np.float32)
    starts = range(0, len(second), grid.size)
    return np.stack([second[start : start + grid.size, start : start + grid.size] for start in starts])


def _squares(lost: Array, blocks: Array | None) -> Array:
    """The squared error of each row and group."""
    if blocks is None or blocks.ndim == 1:
        squares = np.square(lost)
        return np.asarray((squares if blocks is None else squares * blocks).sum(axis=-1))
    by_group = lost.transpose(1, 0, 2)
    return np.asarray((by_group @ blocks * by_group).sum(axis=-1).T)


def _fitted(groups: Array, grid: Grid, blocks: Array | None, ratios: Array) -> tuple[Array, Array | None]:
    """A part of a group's range may be better than all of it: what sticks out is cut, the rest becomes finer."""
    largest = np.abs(groups).max(axis=-1)
    largest[largest == 0] = 1
    groups = groups / largest[..., None]  # so that no square leaves the range of float32
    best = np.full(groups.shape[:2], np.inf, np.float32)
    scale = np.ones_like(best)
    zero = None if grid.symmetric else np.zeros_like(best)
    for ratio in ratios:
        tried, shift = _range(groups, grid, ratio)
        lost = _codes(groups, tried, shift, grid)
        if shift is not None:
            lost -= shift[..., None]
        lost *= tried[..., None]
        lost -= groups
        error = _squares(lost, blocks)
        better = error < best
        best[better] = error[better]
        scale[better] = tried[better]
        if zero is not None and shift is not None:
            zero[better] = shift[better]
    return np.maximum(scale * largest, _TINY), zero


def _range(groups: Array, grid: Grid, ratio: float) -> tuple[Array, Array | None]:
    if grid.symmetric:
        return np.maximum(np.abs(groups).max(axis=-1) * (ratio / grid.high), _TINY), None
    low = np.minimum(groups.min(axis=-1), 0) * ratio
    high = np.maximum(groups.max(axis=-1), 0) * ratio
    scale = np.maximum((high - low) / np.float32(grid.high), _TINY)
    return scale, np.rint(-low / scale)


def _codes(groups: Array, scale: Array, zero: Array | None, grid: Grid) -> Array:
    codes = np.rint(groups / scale[..., None])
    if zero is not None:
        codes += zero[..., None]
    return np.clip(codes, grid.low, grid.high, out=codes)


def _parts(rows: Array) -> Iterator[slice]:
    step = max(1, _AT_ONCE // rows.shape[1])
    return (slice(start, start + step) for start in range(0, len(rows), step))
