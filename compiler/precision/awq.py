"""Columns that meet large activations become large before they are rounded, so that rounding loses less of them.

W x = (W s) (x / s) for any positive s. It is sought among the powers of the mean magnitude of x, from 0, which
changes nothing, to 1, which makes all columns of x alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compiler.contracts import Array
from compiler.precision.rounding import Grid, Rounded, nearest

_POWERS = np.linspace(0.1, 1.0, 10)
_TRIED_ROWS = 512  # of a layer's weights, while the power is sought
_SMALLEST = 1e-3  # of the mean: a column that is never seen gets no scale that is out of all proportion


@dataclass(frozen=True)
class Scaled:
    """Weights whose columns are multiplied with `by` before they are rounded."""

    rounded: tuple[Rounded, ...]
    by: Array

    def rows(self, place: int) -> Array:
        """The weights that this amounts to."""
        return np.asarray(self.rounded[place].rows / self.by)


def awq(layers: Sequence[tuple[Array, Grid]], second: Array, magnitude: Array) -> Scaled | None:
    """For layers with one input x: `second` is the mean of x xT, `magnitude` that of |x|. None: nothing is gained."""
    tried = [(rows[:: max(1, len(rows) // _TRIED_ROWS)], grid) for rows, grid in layers]

    def total(by: Array) -> float:
        scaled = second / np.outer(by, by)
        rounded = (nearest(rows * by, grid, scaled, quick=True).rows / by - rows for rows, grid in tried)
        return sum(lost(change, second) for change in rounded)

    base = np.maximum(magnitude, _SMALLEST * magnitude.mean())
    if base.min() <= 0:
        return None
    choices = [_balanced(base**power) for power in _POWERS]
    losses = [total(by) for by in choices]
    best = int(np.argmin(losses))
    if losses[best] >= total(np.ones_like(base)):
        return None
    by = choices[best]
    scaled = second / np.outer(by, by)
    return Scaled(tuple(nearest(rows * by, grid, scaled) for rows, grid in layers), by)


def lost(change: Array, second: Array) -> float:
    """The mean of the squared error of a layer's output, summed over its channels."""
    return float(np.vdot(change @ second, change))


def _balanced(by: Array) -> Array:
    """As much above 1 as below."""
    return np.asarray(by / np.sqrt(by.max() * by.min()), np.float32)
