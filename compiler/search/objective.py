"""What a user wants of an artifact: the smallest of something, and limits to the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from compiler.bench.rows import Row
from compiler.errors import UsageError, did_you_mean

Goal = Literal["latency", "throughput", "size", "memory"]
GOALS: tuple[Goal, ...] = get_args(Goal)


@dataclass(frozen=True)
class Objective:
    goal: Goal = "latency"
    max_latency: float | None = None  # seconds of a call, at the median
    max_size: int | None = None  # bytes of the artifact

    def cost(self, row: Row) -> float:
        """Of something that was timed; less is better."""
        assert row.latency is not None
        if self.goal == "size":
            return float(row.disk or 0)
        if self.goal == "memory":
            return float(row.peak or 0)
        if self.goal == "throughput":
            return 1 / max(row.rates.values(), default=1 / row.latency.mean)
        # Not the median itself: ratios were taken in turns, and a machine that changed its speed is not in them.
        return row.ratio.value if row.ratio is not None else 1.0

    def objections(self, row: Row) -> Iterator[str]:
        """Why something is no choice, whatever it costs."""
        if row.failure or row.latency is None:
            yield row.failure or "it was not timed"
            return
        if self.max_latency is not None and row.latency.p50 > self.max_latency:
            yield f"a call takes {1000 * row.latency.p50:.3g} ms, and may take {1000 * self.max_latency:.3g}"
        if self.max_size is not None and (row.disk or 0) > self.max_size:
            yield f"it has {(row.disk or 0) / 2**20:.1f} MiB, and may have {self.max_size / 2**20:.1f}"


def goal(text: str) -> Goal:
    for known in GOALS:
        if text == known:
            return known
    hint = did_you_mean(text, GOALS) or f"one of {', '.join(GOALS)}"
    raise UsageError("bad-option", f"there is no goal '{text}'", where="--for", hint=hint)
