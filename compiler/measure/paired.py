"""Several contenders in turns (A B C, B C A, ...), so that a machine that changes its speed hurts all alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from compiler.measure.contender import Contender

_REST = 0.02  # seconds until a thread pool that spins after its last call has gone to sleep
_RESAMPLES = 2000


@dataclass(frozen=True)
class Ratio:
    """How many times as long one took as another, with the interval that holds 95 % of the bootstrap."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def decided(self) -> bool:
        """Whether there is a difference at all."""
        return not self.low <= 1 <= self.high


@dataclass(frozen=True)
class Timings:
    """The medians of each contender's bursts, round by round, and each of its calls."""

    rounds: dict[str, list[float]] = field(default_factory=dict)
    calls: dict[str, list[float]] = field(default_factory=dict)

    def median(self, name: str) -> float:
        return statistics.median(self.rounds[name])

    def ratio(self, name: str, against: str) -> Ratio:
        return ratio(self.rounds[name], self.rounds[against])


def ratio(ours: Sequence[float], theirs: Sequence[float], confidence: float = 0.95) -> Ratio:
    """From values taken in pairs: each round's own ratio, and their median."""
    logs = np.log(np.asarray(ours)) - np.log(np.asarray(theirs))
    drawn = np.random.default_rng(0).choice(logs, (_RESAMPLES, len(logs)))
    low, high = np.quantile(np.median(drawn, axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Ratio(math.exp(float(np.median(logs))), math.exp(float(low)), math.exp(float(high)))


def measure(
    contenders: Sequence[Contender],
    *,
    rounds: int,
    seconds: float,
    enough: Callable[[Timings], bool] = lambda _: True,
    most_rounds: int | None = None,
) -> Timings:
    """At least `rounds` rounds of bursts of `seconds`, and more until it is `enough`."""
    for contender in contenders:
        contender.burst(seconds)  # the first calls allocate and fill caches
    timings = Timings(*({contender.name: list[float]() for contender in contenders} for _ in range(2)))
    most = most_rounds or 4 * rounds
    for number in range(most):
        if number >= rounds and enough(timings):
            break
        turn = number % len(contenders)
        for contender in (*contenders[turn:], *contenders[:turn]):
            time.sleep(_REST)
            taken = contender.burst(seconds)
            timings.rounds[contender.name].append(statistics.median(taken))
            timings.calls[contender.name] += taken
    return timings
