"""Which of the candidates it is, and why not the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compiler.bench.rows import Row
from compiler.errors import CompileError
from compiler.search.objective import Objective


@dataclass(frozen=True)
class Choice:
    row: Row
    refused: Mapping[str, str] = field(default_factory=dict)  # candidate -> why it could not be chosen
    warnings: Sequence[str] = ()


_AS_GOOD = 1.02  # times the least cost: no reason to set a runtime otherwise than it was verified


def choose(rows: Sequence[Row], candidates: Mapping[str, Mapping[str, Any]], objective: Objective) -> Choice:
    """The cheapest candidate that keeps the limits, or one as good with fewer options.

    `candidates` are names and options. What is no candidate is there to be beaten.
    """
    asked = [row for row in rows if row.name in candidates]
    refused = {row.name: "; ".join(why) for row in asked if (why := list(objective.objections(row)))}
    good = [row for row in asked if row.name not in refused]
    if not good:
        raise CompileError(
            "no-candidate",
            "no target gives what was asked for",
            why="; ".join(f"{name}: {why}" for name, why in refused.items()) or "nothing could be built and run here",
            hint="a wider --max-latency or --max-size, or `compile targets` for what is missing here",
        )
    least = min(map(objective.cost, good))
    as_good = [row for row in good if objective.cost(row) <= _AS_GOOD * least]
    best = min(as_good, key=lambda row: (len(candidates[row.name]), objective.cost(row)))
    return Choice(best, refused, [*_slower(best, [row for row in rows if row.name not in candidates])])


def _slower(best: Row, others: Sequence[Row]) -> list[str]:
    """What was optimized and is slower than before must not be shipped without a word."""
    assert best.latency is not None
    found = []
    for other in others:
        if other.latency is not None and best.latency.p50 > other.latency.p50:
            times = best.latency.p50 / other.latency.p50
            found.append(f"SLOWER THAN {other.what}: a call takes {times:.2f} times as long")
    return found
