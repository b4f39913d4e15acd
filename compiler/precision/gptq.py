"""Rounding one column after the other, where those that are left make up for what the ones before have lost.

With H the mean of x xT over what goes into a layer, the error of its output is the trace of D H DT, D being the change
of the weights. Once a column of D is fixed, the best the others can do is known: it is a row of the upper Cholesky
factor of the inverse of H.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compiler.contracts import Array
from compiler.precision.rounding import Grid, Rounded, Scales, fit

_BLOCK = 128  # columns whose corrections to all the others are made together
_DAMPING = 0.01  # of the mean of H's diagonal is added to it, for what the samples have not shown


def gptq(layers: Sequence[tuple[Array, Grid]], second: Array) -> tuple[Rounded, ...]:
    """For layers with one input; `second` is H. Columns that matter most come first, while there are many others to
    correct them."""
    order = np.argsort(-np.diag(second), kind="stable")
    upper = _upper(second[np.ix_(order, order)])
    return tuple(_rounded(rows, grid, fit(rows, grid, second), order, upper) for rows, grid in layers)


def _rounded(rows: Array, grid: Grid, scales: Scales, order: Array, upper: Array) -> Rounded:
    group = order // (grid.size or len(order))
    left = np.ascontiguousarray(rows.T[order])  # a column of the weights is a row here, contiguous
    codes = np.empty(left.shape, np.int8 if grid.symmetric else np.uint8)
    for start in range(0, len(order), _BLOCK):
        stop = min(start + _BLOCK, len(order))
        errors = np.empty((stop - start, len(rows)), np.float32)
        for at in range(start, stop):
            scale = scales.scale[:, group[at]]
            zero = 0 if scales.zero is None else scales.zero[:, group[at]].astype(np.float32)
            with np.errstate(over="ignore"):  # on the scale of a group of zeros
                code = np.clip(np.rint(left[at] / scale) + zero, grid.low, grid.high)
            codes[at] = code
            errors[at - start] = (left[at] - (code - zero) * scale) / upper[at, at]
            left[at + 1 : stop] -= upper[at, at + 1 : stop, None] * errors[at - start]
        left[stop:] -= upper[start:stop, stop:].T @ errors
    back = np.empty_like(codes)
    back[order] = codes
    return Rounded(grid, np.ascontiguousarray(back.T), scales)


def _upper(second: Array) -> Array:
    mean = float(np.trace(second)) / len(second) or 1.0
    wide = second.astype(np.float64)
    damping = _DAMPING
    while True:
        try:
            inverse = np.linalg.inv(wide + np.eye(len(wide)) * (damping * mean))
            return np.linalg.cholesky(inverse).T.astype(np.float32)
        except np.linalg.LinAlgError:
            damping *= 10  # with more of it, H is as good as a diagonal, which has a factor
