"""What is said of many calls: percentiles, a mean with its interval, and when the first ones were over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ENOUGH_FOR_P999 = 10_000  # samples
_RESAMPLES = 1000
_SLOWER = 1.05  # how much slower the first calls must have been to count as warming up
_FEWEST = 3  # calls on either side of a change


@dataclass(frozen=True)
class Latency:
    """Seconds; the interval of the mean holds 95 % of the bootstrap."""

    count: int
    p50: float
    p90: float
    p95: float
    p99: float
    p999: float | None  # of too few samples it would be the largest one
    mean: float
    low: float
    high: float


def latency(samples: Sequence[float]) -> Latency:
    taken = np.asarray(samples, dtype=np.float64)
    p50, p90, p95, p99, p999 = (float(value) for value in np.quantile(taken, [0.5, 0.9, 0.95, 0.99, 0.999]))
    rng = np.random.default_rng(0)
    means = [rng.choice(taken, len(taken)).mean() for _ in range(_RESAMPLES)]
    low, high = (float(value) for value in np.quantile(means, [0.025, 0.975]))
    rare = p999 if len(taken) >= ENOUGH_FOR_P999 else None
    return Latency(len(taken), p50, p90, p95, p99, rare, float(taken.mean()), low, high)


def percentiles(samples: Sequence[float]) -> tuple[float, ...]:
    """The fastest call, those at 1 % to 99 %, and the slowest: enough to draw how they lie."""
    return tuple(np.quantile(np.asarray(samples, dtype=np.float64), np.linspace(0, 1, 101)).tolist())


def steady_after(calls: Sequence[float]) -> int:
    """After how many of the first calls the pace was found: where one change of the mean explains them best.

    Logarithms are compared, so that one call that took ten times as long does not outweigh the rest. The first call
    alone is always apart.
    """
    logs = np.log(np.asarray(calls, dtype=np.float64))[1:]
    best, place = np.inf, 0
    for cut in range(_FEWEST, len(logs) - _FEWEST + 1):
        before, after = logs[:cut], logs[cut:]
        left = float(((before - before.mean()) ** 2).sum() + ((after - after.mean()) ** 2).sum())
        if left < best:
            best, place = left, cut
    if not place or np.median(logs[:place]) - np.median(logs[place:]) < np.log(_SLOWER):
        return 1  # a single hiccup moves the mean, and not the median
    return place + 1
