"""Where the range of an activation ends: what lies beyond is clipped, what lies within shares 255 steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compiler.contracts import Array
from compiler.errors import UsageError, did_you_mean
from compiler.precision.observe import observe, observe_finite
from compiler.precision.recipe import Samples

STEPS = 255  # of an unsigned byte
_BINS = 2048
_OUTSIDE = 1e-4  # what a percentile leaves out, at both ends together
_SHRINKS = np.linspace(0.2, 1.0, 81)  # parts of the whole range that are tried

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Range:
    """Holds zero, so that padding, masks and relu stay exact."""

    low: float
    high: float

    @property
    def scale(self) -> float:
        return (self.high - self.low) / STEPS or 1.0

    @property
    def zero(self) -> int:
        return int(np.clip(np.rint(-self.low / self.scale), 0, STEPS))

    @property
    def signed_scale(self) -> float:
        """Where the codes lie around zero."""
        return max(self.high, -self.low) / (STEPS // 2) or 1.0


@dataclass
class _Seen:
    low: float = 0.0
    high: float = 0.0
    counts: Floats | None = None

    def widen(self, array: Array) -> None:
        self.low = min(self.low, float(array.min(initial=0)))
        self.high = max(self.high, float(array.max(initial=0)))

    def count(self, array: Array) -> None:
        found = np.histogram(array, _BINS, (self.low, self.high))[0].astype(np.float64)
        self.counts = found if self.counts is None else self.counts + found

    @property
    def centres(self) -> Floats:
        edges = np.linspace(self.low, self.high, _BINS + 1)
        return np.asarray((edges[:-1] + edges[1:]) / 2)


def ranges(model: ir.Model, names: Sequence[str], samples: Samples, calibrator: str) -> dict[str, Range]:
    """The samples are read twice where the ends alone do not tell."""
    choose = CALIBRATORS[known(calibrator)]
    if not names:
        return {}
    seen = {name: _Seen() for name in names}
    for values in observe_finite(model, names, samples):
        for name, array in values.items():
            seen[name].widen(array)
    if choose is not _whole:
        for values in observe(model, [name for name in names if seen[name].low < seen[name].high], samples):
            for name, array in values.items():
                seen[name].count(array)
    return {name: choose(one) for name, one in seen.items()}


def known(calibrator: str) -> str:
    if calibrator in CALIBRATORS:
        return calibrator
    hint = did_you_mean(calibrator, CALIBRATORS) or f"one of {', '.join(CALIBRATORS)}"
    raise UsageError("bad-option", f"there is no calibrator '{calibrator}'", where="--calibrator", hint=hint)


def _whole(seen: _Seen) -> Range:
    return Range(seen.low, seen.high)


def _percentile(seen: _Seen) -> Range:
    if seen.counts is None:
        return _whole(seen)
    share = np.cumsum(seen.counts) / np.sum(seen.counts)
    low, high = np.searchsorted(share, [_OUTSIDE / 2, 1 - _OUTSIDE / 2])
    return Range(min(0.0, seen.centres[low]), max(0.0, seen.centres[min(high, _BINS - 1)]))


def _least(error: Callable[[Floats, Floats, Range], float]) -> Callable[[_Seen], Range]:
    """The part of the whole range on which an error is smallest."""

    def choose(seen: _Seen) -> Range:
        if seen.counts is None:
            return _whole(seen)
        centres, counts = seen.centres, seen.counts
        tried = [Range(part * seen.low, part * seen.high) for part in _SHRINKS]
        return min(tried, key=lambda one: error(centres, counts, one))

    return choose


def _rounded(values: Floats, one: Range) -> Floats:
    codes = np.clip(np.rint(values / one.scale) + one.zero, 0, STEPS)
    return np.asarray((codes - one.zero) * one.scale)


def _square(centres: Floats, counts: Floats, one: Range) -> float:
    return float(np.sum(counts * (_rounded(centres, one) - centres) ** 2))


def _divergence(centres: Floats, counts: Floats, one: Range) -> float:
    """Of the distribution as it was seen from the one that the codes can tell apart."""
    codes = np.clip(np.rint(centres / one.scale) + one.zero, 0, STEPS).astype(np.int64)
    filled = counts > 0
    mass = np.bincount(codes, counts, STEPS + 1)
    bins = np.maximum(np.bincount(codes, filled, STEPS + 1), 1)
    # What is clipped stands at the end of the range, and is missing where it was.
    outside = (centres < one.low - one.scale) | (centres > one.high + one.scale)
    told = np.where(filled & ~outside, (mass / bins)[codes], 0.0)
    p, q = counts / np.sum(counts), told / max(np.sum(told), 1e-30)
    return float(np.sum(p[filled] * np.log(p[filled] / np.maximum(q[filled], 1e-12))))


CALIBRATORS: Mapping[str, Callable[[_Seen], Range]] = {
    "minmax": _whole,
    "percentile": _percentile,
    "mse": _least(_square),
    "entropy": _least(_divergence),
}
