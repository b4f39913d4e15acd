"""The measures that a contract can name. Each compares one output of one case with the float64 answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from compiler.contracts import Array
from compiler.unit import Floats


@dataclass(frozen=True)
class Metric:
    compute: Callable[[Array, Array], float]
    sign: Literal[">=", "<="]  # on which side of its bound it is good
    example: str
    classes: bool = False  # looks along the last axis, and needs two entries there


def cosine(got: Array, want: Array) -> float:
    """Of the angle between the two, each taken as one vector."""
    have, wanted = _finite(got, want)
    # By its largest element each: the square of a large number may be too large.
    have, wanted = have / (_largest(have) or 1.0), wanted / (_largest(wanted) or 1.0)
    sizes = float(np.linalg.norm(have) * np.linalg.norm(wanted))
    if sizes == 0.0:
        return 1.0 if not have.any() and not wanted.any() else 0.0
    return float(np.dot(have, wanted)) / sizes


def psnr(got: Array, want: Array) -> float:
    """In decibels; the peak is the distance from the smallest to the largest value wanted."""
    have, wanted = _finite(got, want)
    mean_square = float(np.mean((have - wanted) ** 2)) if have.size else 0.0
    if mean_square == 0.0:
        return math.inf
    peak = float(np.ptp(wanted))
    return 10 * math.log10(peak**2 / mean_square) if peak else -math.inf


def top1(got: Array, want: Array) -> float:
    """The share of rows whose largest element is where it should be; of several equally large any one is right."""
    have, wanted = _rows(got), _rows(want)
    if not have.shape[0]:
        return 1.0
    chosen = np.take_along_axis(wanted, np.argmax(have, axis=-1, keepdims=True), axis=-1)[:, 0]
    return float(np.mean(chosen == np.max(wanted, axis=-1)))


def divergence(got: Array, want: Array) -> float:
    """Kullback-Leibler, from the wanted distribution to the one that came out: the mean over rows, in nats."""
    have, wanted = _rows(got), _rows(want)
    if not have.shape[0]:
        return 0.0
    if _are_probabilities(wanted):
        with np.errstate(divide="ignore"):
            have, wanted = np.log(np.maximum(have, 0.0)), np.log(wanted)
    own, other = _log_softmax(wanted), _log_softmax(have)
    share = np.exp(own)
    with np.errstate(invalid="ignore"):
        each = np.where(share > 0, share * (own - other), 0.0)
    return max(0.0, float(np.mean(np.sum(each, axis=-1))))


def equal(got: Array, want: Array) -> float:
    """The share of elements that are the same, in the type that they come in."""
    return float(np.mean(got == want.astype(got.dtype))) if got.size else 1.0


METRICS: Mapping[str, Metric] = {
    "cosine": Metric(cosine, ">=", "cosine>=0.999"),
    "top1": Metric(top1, ">=", "top1>=0.99", classes=True),
    "psnr": Metric(psnr, ">=", "psnr>=40"),
    "kl": Metric(divergence, "<=", "kl<=0.01", classes=True),
    "equal": Metric(equal, ">=", "equal>=0.99"),
}


def _finite(got: Array, want: Array) -> tuple[Floats, Floats]:
    """Where the wanted value is a number; that infinities and NaN stand where they should is checked before."""
    finite = np.isfinite(want.astype(np.float64))
    return got.astype(np.float64)[finite], want.astype(np.float64)[finite]


def _rows(array: Array) -> Floats:
    return np.asarray(array, np.float64).reshape(-1, array.shape[-1])


def _largest(vector: Floats) -> float:
    return float(np.max(np.abs(vector), initial=0.0))


def _are_probabilities(rows: Floats) -> bool:
    """Otherwise they are logits, or logarithms of probabilities, which a softmax leaves as they are."""
    return bool(np.all(rows >= 0) and np.allclose(rows.sum(axis=-1), 1.0, atol=1e-3))


def _log_softmax(rows: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        shifted = rows - np.max(rows, axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        return np.asarray(shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True)))
