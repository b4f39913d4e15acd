"""What an output of indices was chosen from, thinned to the candidates that can matter."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from compiler.cases import Scores
from compiler.contracts import Array, dtype_name
from compiler.unit import epsilon_named

# Whoever judges allows less than this; what lies farther off cannot be accepted and need not be kept.
_RMS, _WORST, _ULPS = 256.0, 32.0, 8.0
_ALL = 4096  # so many scores are kept whole: little is known of the error of few
_MOST = 1 << 22  # candidates of one output in one case; beyond, only the first ones of a row are known
_CHUNK = 1 << 20  # elements that are looked at together

Floats = npt.NDArray[np.float64]


def thinned(own: Array, wide: Array, row: Array, chosen: Array) -> Scores:
    """From all scores, PyTorch's own and the oracle's, of shape (rows, candidates).

    `row` says for each element of the output which row it points into, and `chosen` what the oracle chose there.
    """
    torch, oracle = own.astype(np.float64), wide.astype(np.float64)
    finite = np.isfinite(torch) & np.isfinite(oracle)
    error = np.abs(np.where(finite, torch, 0.0) - np.where(finite, oracle, 0.0))
    count = int(np.sum(finite))
    rms, scale = (float(np.sqrt(np.sum(part**2) / max(count, 1))) for part in (error, np.where(finite, oracle, 0.0)))
    worst, kind = float(np.max(error, initial=0.0)), dtype_name(own.dtype)
    rounding = epsilon_named(kind) or 0.0
    margin = np.inf if oracle.size <= _ALL else _RMS * max(rms, rounding * scale) + _WORST * worst
    parts = list(_near(oracle, row.reshape(-1), chosen.reshape(-1), margin, _ULPS * rounding))
    rows, index = (np.concatenate([part[at] for part in parts] or [np.empty(0, np.int64)])[:_MOST] for at in (0, 1))
    starts = np.searchsorted(rows, np.arange(oracle.shape[0] + 1))
    return Scores(row, starts, index, oracle[rows, index], kind, count, rms, worst, scale)


def _near(oracle: Floats, row: Array, chosen: Array, margin: float, relative: float) -> Iterator[tuple[Array, Array]]:
    """Rows and indices of the scores that are near one that was chosen in their row, in order."""
    order = np.argsort(row, kind="stable")
    row, wanted = row[order], oracle[row[order], chosen[order]]
    if np.array_equal(row, np.arange(oracle.shape[0])):  # one choice in each row: many rows at once
        step = max(1, _CHUNK // max(oracle.shape[1], 1))
        for first in range(0, len(row), step):
            part = slice(first, first + step)
            rows, index = np.nonzero(_close(oracle[part], wanted[part, None], margin, relative))
            yield rows + first, index
        return
    borders = np.searchsorted(row, np.arange(oracle.shape[0] + 1))
    for number, (begin, end) in enumerate(pairwise(borders)):
        if begin < end:
            scores = oracle[number]
            index = np.flatnonzero(_close(scores, _nearest(scores, wanted[begin:end]), margin, relative))
            yield np.full(len(index), number), index


def _close(scores: Floats, wanted: Floats, margin: float, relative: float) -> npt.NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        near = np.abs(scores - wanted) <= margin + relative * np.abs(wanted)
    return np.asarray(near | (scores == wanted) | (np.isnan(scores) & np.isnan(wanted)))


def _nearest(scores: Floats, wanted: Floats) -> Floats:
    """For each score, the one that was chosen and is nearest to it."""
    rising = np.sort(wanted)
    above = np.searchsorted(rising, scores).clip(0, len(rising) - 1)
    below = (above - 1).clip(0)
    with np.errstate(invalid="ignore"):
        lower = np.abs(scores - rising[below]) < np.abs(scores - rising[above])
    return np.asarray(np.where(lower, rising[below], rising[above]))
