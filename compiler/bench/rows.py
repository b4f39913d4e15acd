"""What a bench finds out, as data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from compiler.bench.setting import Setting
from compiler.measure.latency import Latency
from compiler.measure.paired import Ratio


@dataclass(frozen=True)
class Kept:
    """What was asked of an output in place of the error budget, and what that came to."""

    output: str
    text: str  # as it was asked for
    worst: float


@dataclass(frozen=True)
class Error:
    """How equal the numbers are, beside how fast they came: the verdict, and what it rests on."""

    status: str
    used: float | None = None  # share of the model's error budget
    promises: Sequence[Kept] = ()  # what decided in its place
    fidelity: float | None = None  # in lower precision: share of the budget of the graph that was asked for

    @classmethod
    def of_bundle(cls, manifest: Mapping[str, Any]) -> Error:
        """The verdict that a bundle carries."""
        verdict, low = manifest["verdict"], manifest["precision"]
        promises = [
            Kept(output["output"], promise["text"], float(promise["worst"]))
            for output in verdict["outputs"]
            for promise in output["promises"]
        ]
        fidelity = low["fidelity"] if low is not None else None
        return cls(verdict["status"], _used(verdict), promises, _used(fidelity) if fidelity is not None else None)


def _used(verdict: Mapping[str, Any]) -> float | None:
    return max((float(output["used"]) for output in verdict["outputs"]), default=None)


@dataclass(frozen=True)
class Row:
    """One contender at one setting."""

    name: str
    what: str
    error: Error
    place: str = ""  # of a bundle
    disk: int | None = None  # bytes
    load: float | None = None  # seconds
    first: float | None = None  # seconds of the first call
    steady_after: int | None = None  # calls
    latency: Latency | None = None
    spread: Sequence[float] = ()  # percentiles of its calls from 0 to 100, in seconds
    bursts: Sequence[float] = ()  # the median of its calls in each round, in seconds: what any two are compared by
    ratio: Ratio | None = None  # of the time of what it is held against
    rates: Mapping[int, float] = field(default_factory=dict)  # clients -> calls in a second
    peak: int | None = None  # bytes
    failure: str = ""
    note: str = ""  # what is to be known about it before its numbers are believed

    @property
    def verdict(self) -> str:
        """Whether it is faster, in a word or two."""
        if self.ratio is None:
            return ""
        if not self.ratio.decided:
            return "no difference"
        return "faster" if self.ratio.value < 1 else "slower"


@dataclass(frozen=True)
class Table:
    """Every contender at one setting, timed in turns."""

    setting: Setting
    against: str
    rows: Sequence[Row]
    rounds: int = 0
    cores: tuple[int, ...] = ()  # that every contender was held to; any, where there are none

    def to_json(self) -> dict[str, Any]:
        return {
            "threads": self.setting.threads,
            "sizes": dict(self.setting.sizes),
            "against": self.against,
            "rounds": self.rounds,
            "cores": list(self.cores) or _usable_cores(),
            "pinned": bool(self.cores),
            "rows": [{**asdict(row), "verdict": row.verdict} for row in self.rows],
        }


def _usable_cores() -> list[int] | None:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
